// SPDX-License-Identifier: GPL-2.0

//! `geist rm`

use crate::cli::{Common, RmArgs};
use crate::output;
use crate::store::{App, Change as _, Freeing, Store};
use anyhow::{bail, Result};
use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// Removes an application or one of its versions.
pub fn run(common: &Common, args: &RmArgs) -> Result<()> {
    let store = Store::open(&common.store)?;
    let app = store.app(args.version.app)?;
    let versions = app.numbers()?;
    let what = match args.version.version {
        Some(version) if !versions.contains(&version) => bail!(
            "application {} has no version {version}; `geist list` shows which it has",
            app.id
        ),
        Some(version) => format!("version {version} of application {}", app.id),
        None => format!("application {} with {} versions", app.id, versions.len()),
    };
    if !args.yes && !confirmed(&format!("remove {what}"))? {
        bail!("nothing was removed");
    }
    app.lock(true)?;
    match args.version.version {
        Some(version) => remove_version(&app, version)?,
        None => {
            remove_versions(&app)?;
            app.remove_instance()?;
            store.remove_app(&app)?;
        }
    }
    output::print(&format!("removed {what}\n"))
}

fn remove_version(app: &App, version: u64) -> Result<()> {
    let freeing = Freeing::plan(app, &BTreeSet::from([version]))?;
    let remains = freeing.remains.get(&version);
    if let Some(by) = remains.and_then(|remains| remains.needed_by) {
        bail!(
            "version {version} of application {id} is needed by version {by}, an increment on it; remove that first, or drop version {version} but for the pages that are needed with `geist gc {id} --versions {version}`",
            id = app.id
        );
    }
    freeing.carry_out(app)
}

/// All of them: the `global` files first, so that what an interruption leaves needs nothing that is
/// gone.
fn remove_versions(app: &App) -> Result<()> {
    let files = app.files()?;
    let is_global = |name: &str| name.starts_with("global_");
    let (globals, others): (Vec<_>, Vec<_>) = files
        .iter()
        .map(|(name, _)| name)
        .partition(|name| is_global(name));
    globals.into_iter().try_for_each(|name| app.unlink(name))?;
    app.sync()?;
    others.into_iter().try_for_each(|name| app.unlink(name))
}

/// Asks on a terminal whether to do `what`.
pub fn confirmed(what: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("say --yes to {what} without being asked");
    }
    eprint!("{what}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
