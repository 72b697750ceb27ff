// SPDX-License-Identifier: GPL-2.0

//! `geist`: checkpoints running applications and restarts them.

#![deny(unsafe_code)]

mod checkpoint;
mod cli;
mod consolidate;
mod device;
mod diff;
mod foreground;
mod gc;
mod image;
mod info;
mod instance;
mod list;
mod lock;
mod output;
mod proc;
mod progress;
mod restart;
mod rm;
mod run;
mod show;
mod signals;
mod store;
mod subject;
mod sys;
mod sysfs;
mod top;
mod unwatch;
mod verify;
mod watch;

use anyhow::Result;
use clap::{CommandFactory as _, Parser as _};
use cli::{exit, Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("geist: {error:#}");
            match &cli.command {
                Command::Restart(args) => restart::failure(args),
                Command::Run(_) => exit::FOREGROUND_FAILED.into(),
                _ => exit::FAILED.into(),
            }
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let common = &cli.common;
    match &cli.command {
        Command::Checkpoint(args) => checkpoint::run(common, args)?,
        Command::Watch(args) => watch::run(common, args)?,
        Command::Unwatch(args) => return unwatch::run(common, args),
        Command::Run(args) => return run::run(common, args),
        Command::Restart(args) => return restart::run(common, args),
        Command::List(args) => list::run(common, args)?,
        Command::Show(args) => show::run(common, args)?,
        Command::Verify(args) => return verify::run(common, args),
        Command::Diff(args) => return diff::run(common, args),
        Command::Gc(args) => gc::run(common, args)?,
        Command::Consolidate(args) => consolidate::run(common, args)?,
        Command::Rm(args) => rm::run(common, args)?,
        Command::Top(args) => top::run(args)?,
        Command::Info(args) => info::run(common, args)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "geist", &mut script);
            output::print(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
