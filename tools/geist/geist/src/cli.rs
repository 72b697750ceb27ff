// SPDX-License-Identifier: GPL-2.0

//! The command line.

mod watch;

pub use watch::{RunArgs, UnwatchArgs, WatchArgs, WatchOptions};

use clap::{Args, Parser, Subcommand, ValueEnum};
use geist_image::uapi;
use std::path::PathBuf;
use std::str::FromStr;

/// Exit codes, as `--help` and the user guide give them.
pub mod exit {
    /// It failed.
    pub const FAILED: u8 = 1;
    /// `geist verify`: a version is damaged.
    pub const DAMAGED: u8 = 3;
    /// `geist verify`: a version is good, but cannot be restarted here and now.
    pub const NOT_RESTARTABLE: u8 = 4;
    /// `geist diff --exit-code`: the versions differ.
    pub const DIFFERENT: u8 = 5;
    /// `geist restart --foreground`, `geist run`: geist itself failed, not the process.
    pub const FOREGROUND_FAILED: u8 = 125;
    /// `geist run`: the command cannot be run.
    pub const CANNOT_RUN: u8 = 126;
    /// `geist run`: there is no such command.
    pub const NO_COMMAND: u8 = 127;
}

const AFTER_HELP: &str = "\
Examples:
  geist checkpoint 812 -d 'before the long run'   save process 812, which runs on
  geist checkpoint 812 --kill                     save it, and end it
  geist watch 812 --interval 1s --keep 5          save it every second
  geist run --interval 1s -- ./simulation         start a program that is saved every second
  geist list                                      what the store holds
  geist restart 812                               let it go on, from its newest version
  geist restart 812 --version 3 --foreground      from version 3, on this terminal
  geist verify 812                                could it be restarted?
  geist diff 812@3 812@7                          what changed in between
  geist gc 812 --keep 5                           only the five newest versions stay

Exit codes: 0 done; 1 failed; 2 wrong usage; `verify`: 3 damaged, 4 good but cannot be restarted
here and now; `diff --exit-code`: 5 they differ; `restart --foreground` and `run`: that of the
process (128 + n when signal n ended it), 125 when geist failed; `run`: 126 cannot be run, 127 no
such command.";

/// Checkpoints running applications and restarts them, also after a reboot.
#[derive(Debug, Parser)]
#[command(name = "geist", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
pub struct Common {
    /// Directory that holds the checkpoints
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/chkpt")]
    pub store: PathBuf,
    /// Device of the module
    #[arg(long, global = true, value_name = "FILE", default_value = "/dev/geist")]
    pub device: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Save a running process as a new version; it runs on
    Checkpoint(CheckpointArgs),
    /// Save a running process again and again, at an interval, or change how that is done
    Watch(WatchArgs),
    /// End what `watch` began
    Unwatch(UnwatchArgs),
    /// Start a command that is watched from its beginning
    Run(RunArgs),
    /// Let a saved process go on, with its old pid
    Restart(RestartArgs),
    /// List applications and their versions
    List(ListArgs),
    /// Show everything that a version holds
    Show(ShowArgs),
    /// Check versions, and whether they could be restarted; touches nothing
    Verify(VerifyArgs),
    /// Say which pages of which mapping differ between two versions
    Diff(DiffArgs),
    /// Drop old versions, and free what no version needs
    Gc(GcArgs),
    /// Make a version complete, so that it needs no other
    Consolidate(ConsolidateArgs),
    /// Remove an application or one of its versions from the store
    Rm(RmArgs),
    /// Watch the applications that are tracked, live
    Top(TopArgs),
    /// Show the versions of this program and of the module
    Info(InfoArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of `geist checkpoint`.
#[derive(Args, Debug)]
#[command(after_help = "\
The first checkpoint makes an application, named by the pid of the process; every further one makes
its next version, an increment where that is possible. The process is paused only while its state is captured, and runs on while that is
written.

Examples:
  geist checkpoint 812
  geist checkpoint 812 --kill=INT -d 'end of the day'
  geist checkpoint $(pidof xz) --json | jq .pause_us")]
pub struct CheckpointArgs {
    /// Process to save
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pid: u32,
    /// Text to keep with the version (ASCII)
    #[arg(short, long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Send a signal once the version is committed (KILL when none is named)
    #[arg(long, value_name = "SIGNAL", num_args = 0..=1, require_equals = true,
          default_missing_value = "KILL", conflicts_with = "stop")]
    pub kill: Option<Signal>,
    /// Stop the process once the version is committed
    #[arg(long)]
    pub stop: bool,
    /// Save everything, not only what changed since the last version
    #[arg(long)]
    pub full: bool,
    /// Leave out descriptors that geist cannot save yet; a restart has them closed
    #[arg(long)]
    pub ignore_unsupported_files: bool,
    /// How much is on the disk at the end: none (page cache), data (everything)
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Durability::Data)]
    pub durability: Durability,
    /// Milliseconds that the process may take to be stilled
    #[arg(long, value_name = "MS", default_value_t = 30_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How durable a version is when its checkpoint returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// In the page cache
    None,
    /// On the disk
    Data,
}

impl Durability {
    /// Its number in the module's interface.
    pub fn number(self) -> u32 {
        match self {
            Self::None => uapi::DURABILITY_NONE,
            Self::Data => uapi::DURABILITY_DATA,
        }
    }
}

/// A signal, by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub u32);

impl FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text.parse::<u32>() {
            Ok(number) => Some(number),
            Err(_) => crate::signals::number(text),
        };
        match number {
            Some(number @ 1..=64) => Ok(Self(number)),
            _ => Err("no such signal; use a name like TERM or a number from 1 to 64".to_owned()),
        }
    }
}

/// Arguments of `geist restart`.
#[derive(Args, Debug)]
#[command(after_help = "\
The version is verified whole before anything is touched. The process gets its old pid back, its
files at their old descriptors and offsets, and goes on where it was. Without --foreground it runs
in a session of its own; terminals that are gone are replaced by /dev/null.

Examples:
  geist restart 812
  geist restart 812 --version 3
  geist restart 812 --foreground; echo \"it ended with $?\"")]
pub struct RestartArgs {
    /// Application to restart (see `geist list`)
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub app: u32,
    /// Version to restart from [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub version: Option<u64>,
    /// Use this terminal, pass signals on, wait for the end and exit with the status of the process
    #[arg(long)]
    pub foreground: bool,
    /// Leave the process stopped before its first instruction; `kill -CONT PID` lets it go on
    #[arg(long, conflicts_with = "foreground")]
    pub stopped: bool,
    /// Run this with sh before the first instruction of the process; where it fails, there is no process
    #[arg(long, value_name = "COMMAND")]
    pub hook: Option<String>,
    /// Truncate files that the process was writing to their size at the checkpoint
    #[arg(long)]
    pub rewind_files: bool,
    /// Restart even if files that the process reads were changed since the checkpoint
    #[arg(long)]
    pub ignore_changed_files: bool,
    /// Seconds until a restart that does not get through is given up
    #[arg(long, value_name = "S", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `geist list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Also list what was never committed
    #[arg(long)]
    pub all: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `geist show`.
#[derive(Args, Debug)]
#[command(after_help = "\
Without --control and --pages, memory is shown in extents: neighbouring pages that lie behind each
other in the same file.

Examples:
  geist show 812                the newest version
  geist show 812@3 --control    the control table of version 3, a row per page")]
pub struct ShowArgs {
    /// Application, and a version other than the newest
    #[arg(value_name = "APP[@VERSION]")]
    pub version: AppVersion,
    /// Show the control table with a row per page
    #[arg(long)]
    pub control: bool,
    /// Show every stored page with its protection
    #[arg(long)]
    pub pages: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `geist verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes: 0 all is well (a pid in use is only noted); 3 a version is damaged; 4 versions are good,
but one cannot be restarted here and now, for example because a file is gone.

Examples:
  geist verify 812 && geist restart 812
  geist verify 812@3 --json")]
pub struct VerifyArgs {
    /// Application, and a version when not all are meant
    #[arg(value_name = "APP[@VERSION]")]
    pub version: AppVersion,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `geist rm`.
#[derive(Args, Debug)]
pub struct RmArgs {
    /// Application, and a version when not all are meant
    #[arg(value_name = "APP[@VERSION]")]
    pub version: AppVersion,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Arguments of `geist top`.
#[derive(Args, Debug)]
#[command(after_help = "\
On a terminal the table is shown anew every second, until q or Ctrl-C; elsewhere once. DIRTY: pages
that may have changed since the last version; PAGES, PAUSE, SIZE: those of the last version; SKIPPED:
ticks of the interval without a version, because the one before was not done.

Examples:
  geist top
  geist top --once
  geist top --json --delay 0.5 | jq .applications[].pause_us")]
pub struct TopArgs {
    /// Seconds between two refreshes
    #[arg(short, long, value_name = "S", default_value_t = 1.0, value_parser = delay)]
    pub delay: f64,
    /// Show it once
    #[arg(long)]
    pub once: bool,
    /// Print one JSON object in a line for each refresh
    #[arg(long)]
    pub json: bool,
    /// Folder of the module
    #[arg(long, value_name = "DIR", default_value = crate::sysfs::ROOT)]
    pub sysfs: PathBuf,
}

fn delay(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, 0.1 to 3600".to_owned()),
    }
}

/// Arguments of `geist diff`.
#[derive(Args, Debug)]
#[command(after_help = "\
Pages are compared by content, wherever it lies; a page of zeros is the same as none where memory is
zero by itself. Only what differs is listed: mappings that came, went or have another protection,
and pages: changed, new (only the second version has content for them) and gone (only the first).

Examples:
  geist diff 812@3 812@7
  geist diff 812@3 812@7 --pages            with the addresses
  geist diff 812@3 812@7 --exit-code        5 when they differ, for scripts")]
pub struct DiffArgs {
    /// One version
    #[arg(value_name = "APP@VERSION")]
    pub from: AppVersion,
    /// Another version of the same application
    #[arg(value_name = "APP@VERSION")]
    pub to: AppVersion,
    /// List the addresses of the pages
    #[arg(long)]
    pub pages: bool,
    /// Exit with 5 when they differ
    #[arg(long)]
    pub exit_code: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `geist gc`.
#[derive(Args, Debug)]
#[command(after_help = "\
A version that is dropped exists no longer. Of its files those stay that hold pages which a kept
version needs; everything else is freed, also of versions that were dropped earlier. Without --keep
and --versions nothing is dropped. Being cut off harms no version that is kept: what could not be
freed is freed the next time. `geist consolidate` makes a version need no other.

Examples:
  geist gc 812 --keep 5                     drop all but the five newest
  geist gc 812 --versions 3,5-7 --dry-run   what would happen?
  geist gc 812                              only free what nothing needs")]
pub struct GcArgs {
    /// Application
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub app: u32,
    /// Drop all versions but the newest N
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "versions")]
    pub keep: Option<usize>,
    /// Drop these versions
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub versions: Vec<VersionRange>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("expected a number from 1".to_owned()),
    }
}

/// `5`, or `5-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// First version.
    pub first: u64,
    /// Last version.
    pub last: u64,
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for VersionRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first @ 1..), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err("expected a version like 3, or versions like 5-7".to_owned()),
        }
    }
}

/// Arguments of `geist consolidate`.
#[derive(Args, Debug)]
#[command(after_help = "\
An increment holds only what changed, and needs older versions for the rest. This writes all pages
of the version into files of its own; older versions can then be dropped and all of their space
freed. The version keeps its number. The files get another one, above all others; the next
checkpoint continues behind that. Being cut off leaves the version as it was, or complete.

Examples:
  geist consolidate 812@7
  geist consolidate 812@7 && geist gc 812 --keep 1")]
pub struct ConsolidateArgs {
    /// Application and version
    #[arg(value_name = "APP@VERSION")]
    pub version: AppVersion,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `geist info`.
#[derive(Args, Debug)]
pub struct InfoArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `APP` or `APP@VERSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppVersion {
    /// Application.
    pub app: u32,
    /// Version, when one is named.
    pub version: Option<u64>,
}

impl FromStr for AppVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (app, version) = match text.split_once('@') {
            Some((app, version)) => (app, Some(version)),
            None => (text, None),
        };
        let error = || "expected an application like 812, or a version of it like 812@3".to_owned();
        let version = match version {
            Some(version) => match version.parse::<u64>() {
                Ok(version @ 1..) => Some(version),
                _ => return Err(error()),
            },
            None => None,
        };
        match app.parse::<u32>() {
            Ok(app @ 1..) => Ok(Self { app, version }),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn versions() {
        let parse = |text: &str| text.parse::<AppVersion>().ok().map(|v| (v.app, v.version));
        assert_eq!(parse("812"), Some((812, None)));
        assert_eq!(parse("812@3"), Some((812, Some(3))));
        for wrong in ["", "0", "@3", "812@", "812@0", "812@x", "-1", "812@3@4"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn delays() {
        assert_eq!(delay("0.1"), Ok(0.1));
        assert_eq!(delay("3600"), Ok(3600.0));
        for wrong in ["", "0", "0.09", "3601", "-1", "nan", "inf", "1s"] {
            assert!(delay(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges() {
        let parse = |text: &str| {
            let range = text.parse::<VersionRange>();
            range.ok().map(|range| (range.first, range.last))
        };
        assert_eq!(parse("3"), Some((3, 3)));
        assert_eq!(parse("5-7"), Some((5, 7)));
        for wrong in ["", "0", "7-5", "-5", "5-", "5-6-7", "x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn kill_signals() {
        let kill = |args: &[&str]| match Cli::try_parse_from(args).map(|cli| cli.command) {
            Ok(Command::Checkpoint(args)) => args.kill.map(|signal| signal.0),
            _ => Some(0),
        };
        assert_eq!(kill(&["geist", "checkpoint", "812"]), None);
        assert_eq!(kill(&["geist", "checkpoint", "812", "--kill"]), Some(9));
        assert_eq!(kill(&["geist", "checkpoint", "--kill", "812"]), Some(9));
        assert_eq!(
            kill(&["geist", "checkpoint", "812", "--kill=SIGINT"]),
            Some(2)
        );
        assert_eq!(kill(&["geist", "checkpoint", "812", "--kill=15"]), Some(15));
        assert_eq!(kill(&["geist", "checkpoint", "812", "--kill=65"]), Some(0));
        assert_eq!(
            kill(&["geist", "checkpoint", "812", "--kill", "--stop"]),
            Some(0)
        );
    }
}
