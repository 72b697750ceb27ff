// SPDX-License-Identifier: GPL-2.0

//! The arguments of `geist watch`, `geist unwatch` and `geist run`.

use super::Durability;
use clap::Args;
use geist_image::uapi;
use std::ffi::OsString;
use std::str::FromStr;

/// Units of an interval, in microseconds.
const UNITS: [(&str, u64); 6] = [
    ("us", 1),
    ("\u{b5}s", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("min", 60_000_000),
    ("h", 3_600_000_000),
];

/// How versions are taken at an interval. What is not given is left to the module, whose defaults
/// are knobs in `/sys/kernel/geist`, or stays as it is where a watch is changed.
#[derive(Args, Clone, Debug, Default)]
pub struct WatchOptions {
    /// Time from version to version: 10ms, 2s, 5min; a plain number is milliseconds
    #[arg(short, long, value_name = "TIME")]
    pub interval: Option<Interval>,
    /// Keep that many of the newest versions, and drop older ones; 0 keeps all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..i64::from(u32::MAX)))]
    pub keep: Option<u32>,
    /// Make every Nth version a complete one; 0: only where one is needed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..i64::from(u32::MAX)))]
    pub full_every: Option<u32>,
    /// How much of a version is on the disk when the next begins: none (page cache), data (everything)
    #[arg(long, value_enum, value_name = "HOW")]
    pub durability: Option<Durability>,
    /// Milliseconds that the process may take to be stilled
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,
    /// Begin with a complete version
    #[arg(long)]
    pub full: bool,
    /// Leave out descriptors that geist cannot save yet; a restart has them closed
    #[arg(long)]
    pub ignore_unsupported_files: bool,
    /// Text to keep with every version (ASCII)
    #[arg(short, long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Arguments of `geist watch`.
#[derive(Args, Debug)]
#[command(after_help = "\
The call returns when the first version is committed; from there on the module takes versions by
itself, until `geist unwatch`, or the end of the process. Each is an increment on the one before.

A process that is watched already is watched differently from then on: what is given is changed,
the rest stays as it is.

Examples:
  geist watch 812                            as the knobs in /sys/kernel/geist say, every 10 ms
  geist watch 812 --interval 1s --keep 5     every second; the five newest versions are kept
  geist watch 812 --change --interval 100ms  only if it is watched already")]
pub struct WatchArgs {
    /// Process to watch
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pid: u32,
    /// How.
    #[command(flatten)]
    pub options: WatchOptions,
    /// Only change how a watched process is watched
    #[arg(long, conflicts_with_all = ["full", "ignore_unsupported_files", "description"])]
    pub change: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `geist unwatch`.
#[derive(Args, Debug)]
#[command(after_help = "\
The process runs on, and what was saved stays. Returns when no version is in the making any more.

Examples:
  geist unwatch 812
  geist unwatch --all --json")]
pub struct UnwatchArgs {
    /// Watched processes
    #[arg(value_name = "PID", required_unless_present = "all", conflicts_with = "all",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pids: Vec<u32>,
    /// Every process that is watched
    #[arg(long)]
    pub all: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `geist run`.
#[derive(Args, Debug)]
#[command(after_help = "\
The command has this terminal, gets the signals that are sent to geist, and geist ends with its
status. A command that cannot be checkpointed runs all the same, which is said; --required ends it.

Exit codes: that of the command (128 + n when signal n ended it); 125 geist failed; 126 the command
cannot be run; 127 there is no such command.

Examples:
  geist run -- ./simulation input.dat
  geist run --interval 1s --keep 5 -- ./simulation input.dat")]
pub struct RunArgs {
    /// How it is watched.
    #[command(flatten)]
    pub options: WatchOptions,
    /// End the command, and fail, if it cannot be checkpointed
    #[arg(long)]
    pub required: bool,
    /// Command to run, and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// The time from one version to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Microseconds.
    pub us: u64,
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let scale = match unit.trim_start() {
            "" => Some(1_000),
            unit => UNITS.iter().find(|(name, _)| *name == unit).map(|u| u.1),
        };
        let (Ok(number), Some(scale)) = (number.parse::<u64>(), scale) else {
            return Err("expected a time like 10ms, 2s or 5min".to_owned());
        };
        match number.saturating_mul(scale) {
            ..uapi::INTERVAL_MIN_US => Err("the shortest interval is 1ms".to_owned()),
            us @ ..=uapi::INTERVAL_MAX_US => Ok(Self { us }),
            _ => Err("the longest interval is 24h".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser as _;

    #[test]
    fn intervals() {
        let parse = |text: &str| text.parse::<Interval>().map(|interval| interval.us);
        assert_eq!(parse("10"), Ok(10_000));
        assert_eq!(parse("10ms"), Ok(10_000));
        assert_eq!(parse("10 ms"), Ok(10_000));
        assert_eq!(parse("1500us"), Ok(1_500));
        assert_eq!(parse("2s"), Ok(2_000_000));
        assert_eq!(parse("5min"), Ok(300_000_000));
        assert_eq!(parse("24h"), Ok(uapi::INTERVAL_MAX_US));
        for short in ["0", "0s", "500us", "999us"] {
            assert!(parse(short).unwrap_err().contains("shortest"), "{short}");
        }
        for long in ["25h", "18446744073709551615h"] {
            assert!(parse(long).unwrap_err().contains("longest"), "{long}");
        }
        for wrong in [
            "",
            "ms",
            "-1",
            "1.5s",
            "10 m",
            "10d",
            "99999999999999999999",
        ] {
            assert!(parse(wrong).unwrap_err().contains("expected"), "{wrong}");
        }
    }

    #[test]
    fn arguments() {
        let parse = |args: &[&str]| {
            Cli::try_parse_from(["geist"].iter().chain(args))
                .map(|cli| cli.command)
                .map_err(|error| error.to_string())
        };
        let Ok(Command::Run(run)) = parse(&["run", "--keep", "0", "ls", "-l", "--keep", "x"])
        else {
            panic!("not understood");
        };
        assert_eq!(run.command, ["ls", "-l", "--keep", "x"]);
        assert_eq!(run.options.keep, Some(0));
        let Ok(Command::Run(run)) = parse(&["run", "--", "--odd"]) else {
            panic!("not understood");
        };
        assert_eq!(run.command, ["--odd"]);
        assert!(parse(&["run"]).is_err());
        assert!(parse(&["unwatch"]).is_err());
        assert!(parse(&["unwatch", "1", "--all"]).is_err());
        assert!(parse(&["unwatch", "1", "2"]).is_ok());
        assert!(parse(&["watch", "1", "--change", "--full"]).is_err());
        assert!(parse(&["watch", "1", "--keep", "4294967295"]).is_err());
        let short = parse(&["watch", "1", "--interval", "500us"]).unwrap_err();
        assert!(short.contains("the shortest interval is 1ms"), "{short}");
    }
}
