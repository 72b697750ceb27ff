// SPDX-License-Identifier: GPL-2.0

//! What a process does that becomes one of an image.

use super::session::Restart;
use super::{call, memory, space, thread, verify, Member};
use crate::error::{fail, Context, Outcome};
use crate::sys::creds::ActingAs;
use crate::sys::restart_task;
use crate::sys::restart_work::Work;
use crate::sys::task;
use kernel::{bindings, prelude::*, sync::Arc};

/// The restart of the process that queued it.
pub(super) struct Join {
    pub(super) restart: Arc<Restart>,
    /// Which process of the image it becomes.
    pub(super) seat: usize,
    /// Identity of the open file on which it joined.
    pub(super) device: usize,
}

impl Work for Join {
    fn run(self) {
        match self.become_it() {
            Ok(()) => self.restart.done(self.seat),
            Err(failure) => {
                self.restart.failed(self.seat, failure);
                // Fails only for a process that is dying already.
                let _ = task::send_signal(kernel::current!(), bindings::SIGKILL);
            }
        }
    }
}

impl Join {
    fn become_it(&self) -> Outcome {
        let Some(image) = self.restart.image(self.seat) else {
            fail!(ESRCH, "the image has no such process");
        };
        let member = Member {
            image,
            restart: &self.restart,
        };
        self.rebuild_and_go(&member)
            .within(format_args!("pid {}", image.pid))
    }

    fn rebuild_and_go(&self, member: &Member<'_>) -> Outcome {
        // A process that was killed before runs this while it exits, without memory or files.
        member.proceed()?;
        // When the client is gone, this ends the restart, as nobody else would.
        restart_task::close_file(self.device);

        // The process may have given up rights that its restarter has.
        let acting = ActingAs::new(&self.restart.credentials);
        let unbounded = space::Unbounded::new();
        space::empty()?;
        let pages = memory::rebuild(member)?;
        space::set(member)?;
        thread::enter_rseq(member.image)?;
        memory::lock_and_seal(member.image)?;
        verify::verify(member.image)?;

        self.restart.ready(self.seat, pages);
        let woken = self.restart.go.wait_killable();
        // Asked even by a process that is being killed: its registers may just be set.
        if !self.restart.is_released(self.seat) {
            member.proceed()?;
            woken?;
            fail!(ECANCELED, "the restart was given up");
        }
        call::set(member.image)?;
        thread::start_timers(member.image)?;
        unbounded.end(member.image)?;
        drop(acting);
        thread::let_signals_in(member.image, self.restart.stopped);
        Ok(())
    }
}
