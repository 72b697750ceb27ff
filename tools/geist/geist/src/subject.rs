// SPDX-License-Identifier: GPL-2.0

//! A running process of which versions are to be taken, and its place in the store.

use crate::cli::Common;
use crate::instance::{self, Instance, Match};
use crate::output::{self, plain};
use crate::proc::Running;
use crate::store::{App, Store};
use crate::sys::ioctl::Refusal;
use anyhow::{bail, Result};
use geist_image::uapi;

/// The process must be one that can be checkpointed at all.
pub fn find(pid: u32) -> Result<Running> {
    if pid == std::process::id() {
        bail!("pid {pid} is this geist itself, which cannot be checkpointed");
    }
    let Some(running) = Running::find(pid)? else {
        bail!("there is no process with pid {pid}");
    };
    let comm = plain(&running.comm);
    if running.kernel_thread {
        bail!("pid {pid} is the kernel thread `{comm}`, which cannot be checkpointed");
    }
    if running.has_ended() {
        bail!("pid {pid} (`{comm}`) has already ended");
    }
    Ok(running)
}

/// The bytes of a description, which may be none.
pub fn description(text: Option<&str>) -> Result<&[u8]> {
    let text = text.unwrap_or("");
    if text.len() > uapi::DESCRIPTION_MAX {
        bail!(
            "the description is {} bytes long, at most {} are possible",
            text.len(),
            uapi::DESCRIPTION_MAX
        );
    }
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) || byte == b'\n';
    if let Some(odd) = text.chars().find(|c| !c.is_ascii() || !plain(*c as u8)) {
        bail!("the description contains {odd:?}; it must be plain ASCII text");
    }
    Ok(text.as_bytes())
}

/// Who makes the next version of an application.
pub enum Turn<T> {
    /// This geist: its directory is locked.
    Ours(App),
    /// The watch that has locked the directory: what it answered.
    Watched(T),
}

/// Locks the directory of the application with that process, waiting for others. When it is a watch
/// that has it, `ask` is to call that: its error is ENODATA when there is none.
pub fn turn<T>(
    store: &Store,
    pid: u32,
    mut ask: impl FnMut() -> Result<T, Refusal>,
) -> Result<Turn<T>> {
    let mut seconds = 0;
    loop {
        if let Some(app) = store.app_for_checkpoint(pid, seconds)? {
            return Ok(Turn::Ours(app));
        }
        match ask() {
            Ok(answer) => return Ok(Turn::Watched(answer)),
            Err(refusal) if refusal.errno == libc::ENODATA => seconds = 1,
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

/// A process, and the locked directory of the application that it is.
pub struct Subject<'a> {
    /// Its application.
    pub app: &'a App,
    /// The version that comes next.
    pub next: u64,
    instance: Instance,
    first: bool,
}

impl<'a> Subject<'a> {
    /// Runs `take`, which makes a version of the process. Leaves no trace of an application that
    /// has no version then.
    pub fn with<T>(
        common: &Common,
        store: &Store,
        app: &'a App,
        running: &Running,
        take: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let taken = Self::new(common, app, running).and_then(|subject| {
            let taken = take(&subject)?;
            subject.record();
            Ok(taken)
        });
        if taken.is_err() {
            // A directory that is not empty stays, and that is no error.
            let _ = store.remove_app(app);
        }
        taken
    }

    fn new(common: &Common, app: &'a App, running: &Running) -> Result<Self> {
        for number in app.clean(app)? {
            output::note(&format!(
                "removed files with number {number} of application {} that no version needs",
                app.id
            ));
        }
        let instance = Instance::of(app.id, running, None)?;
        let first = match instance::compare(app, &instance)? {
            Match::New => true,
            Match::Same => false,
            Match::Other(newest) => bail!(
                "the store already holds application {}{}, which is another process; remove it with `geist rm {}` or use another --store than {}",
                app.id,
                newest.map_or(String::new(), |summary| format!(
                    " (`{}`, last checkpointed {})",
                    plain(&summary.command()),
                    output::date(summary.global.realtime_ns)
                )),
                app.id,
                common.store.display()
            ),
        };
        Ok(Self {
            app,
            next: app.next_number()?,
            instance,
            first,
        })
    }

    /// Notes in the store which process the application is.
    fn record(&self) {
        if self.first || matches!(self.app.read_instance(), Ok(None)) {
            self.instance.record(self.app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_cannot_be() {
        let refusal = |pid| find(pid).unwrap_err().to_string();
        assert!(refusal(std::process::id()).contains("itself"));
        assert!(refusal(i32::MAX as u32).contains("no process with pid"));
    }

    #[test]
    fn descriptions() {
        assert!(description(None).is_ok());
        assert!(description(Some("two\nlines")).is_ok());
        assert!(description(Some("caf\u{e9}")).is_err());
        assert!(description(Some("\x1b[2J")).is_err());
        assert!(description(Some(&"x".repeat(4096))).is_err());
    }
}
