// SPDX-License-Identifier: GPL-2.0

//! Names of signals.

/// Names of the signals from 1 to 31.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Number of the first real-time signal.
const FIRST_REAL_TIME: u32 = 32;

/// The number of a signal by its name, with or without `SIG`.
pub fn number(name: &str) -> Option<u32> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let position = NAMES.iter().position(|known| *known == name)?;
    Some(position as u32 + 1)
}

/// The name of a signal.
pub fn name(number: u32) -> String {
    match NAMES.get((number as usize).wrapping_sub(1)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

/// The names of the signals in a set (bit 0 is signal 1).
pub fn set(set: u64) -> String {
    match set {
        0 => "none".to_owned(),
        u64::MAX => "all".to_owned(),
        _ => {
            let names = (1..=64)
                .filter(|n| (set >> (n - 1)) & 1 == 1)
                .map(|n| match n {
                    FIRST_REAL_TIME.. => n.to_string(),
                    _ => name(n),
                });
            names.collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for number in 1..=31 {
            assert_eq!(super::number(&name(number)), Some(number));
        }
        assert_eq!(number("term"), Some(15));
        assert_eq!(number("SIGFOO"), None);
        assert_eq!(name(64), "signal 64");
        assert_eq!(set(0b11 | (1 << 63)), "SIGHUP SIGINT 64");
    }
}
