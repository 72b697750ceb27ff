// SPDX-License-Identifier: GPL-2.0

//! A thread: registers, signal mask, scheduling.

use super::task::{pending, seconds};
use super::tree::{address, bytes, number, said, text, yes, Cell, Section, Table};
use crate::image::Thread;
use crate::output;
use crate::signals;
use geist_image::thread::{Restart, RestartKind, ThreadState};

/// Names of the registers in `struct user_regs_struct`.
const REGISTERS: [&str; 27] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs",
    "gs",
];

/// Names of the scheduling policies.
const POLICIES: [&str; 8] = [
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
    "SCHED_EXT",
];

/// Everything of a thread.
pub fn section(own: &Thread) -> Section {
    let thread = &own.thread;
    let end = thread.comm.iter().position(|byte| *byte == 0);
    let state = match ThreadState::from_number(thread.state) {
        Some(ThreadState::User) => "in user space",
        Some(ThreadState::Syscall) => "asleep in a system call",
        Some(ThreadState::Stopped) => "stopped",
        None => "unknown",
    };
    let mut section = Section::new(format!("thread {}", thread.tid));
    section
        .value("tid", number(thread.tid))
        .value("name", bytes(&thread.comm[..end.unwrap_or(16)]))
        .value("state", text(state))
        .value(
            "blocked signals",
            said(signals::set(thread.blocked), thread.blocked),
        )
        .value("alternate stack", address(thread.altstack_sp))
        .value("alternate stack bytes", number(thread.altstack_size))
        .value(
            "alternate stack flags",
            address(thread.altstack_flags.into()),
        )
        .value("parent death signal", number(thread.pdeath_signal))
        .value("robust list", address(thread.robust_list))
        .value("clear child tid", address(thread.clear_child_tid))
        .value("rseq", address(thread.rseq))
        .value("rseq bytes", number(thread.rseq_len))
        .value("rseq signature", address(thread.rseq_signature.into()))
        .value("rseq critical section", address(thread.rseq_cs))
        .value("timer slack", seconds(thread.timer_slack_ns))
        .value("user time", seconds(thread.utime_ns))
        .value("system time", seconds(thread.stime_ns))
        .table(registers(own))
        .value(
            "vector registers",
            said(
                format!("{} bytes", own.xstate.len()),
                output::hex(&own.xstate),
            ),
        )
        .section(scheduling(own));
    if let Some(restart) = &own.restart {
        section.section(interrupted(restart));
    }
    section.table(pending("pending signals", &own.pending));
    section
}

fn registers(own: &Thread) -> Table {
    let mut table = Table::new("registers", &["Register", "Value"]);
    let values = own.registers.chunks_exact(8);
    for (name, value) in REGISTERS.iter().zip(values) {
        let value = value
            .iter()
            .rev()
            .fold(0, |n, byte| (n << 8) | u64::from(*byte));
        table.row(vec![text(name), said(format!("{value:016x}"), value)]);
    }
    table
}

fn scheduling(own: &Thread) -> Section {
    let (record, affinity) = &own.scheduling;
    let policy = POLICIES.get(record.policy as usize).unwrap_or(&"unknown");
    let mut section = Section::new("scheduling");
    section
        .value("policy", text(policy))
        .value("nice", number(record.nice))
        .value("priority", number(record.priority))
        .value("io priority", address(record.ioprio.into()))
        .value("reset on fork", yes(record.reset_on_fork != 0))
        .value("processors", processors(affinity));
    section
}

/// The processors in an affinity mask.
fn processors(mask: &[u8]) -> Cell {
    let bit = |number: &usize| (mask[number / 8] >> (number % 8)) & 1 == 1;
    let numbers: Vec<usize> = (0..mask.len() * 8).filter(bit).collect();
    let words: Vec<String> = numbers.iter().map(usize::to_string).collect();
    match mask.is_empty() {
        true => said("all".to_owned(), serde_json::Value::Null),
        false => said(words.join(" "), numbers),
    }
}

fn interrupted(restart: &Restart) -> Section {
    let kind = match RestartKind::from_number(restart.kind) {
        Some(RestartKind::Nanosleep) => "nanosleep",
        Some(RestartKind::Poll) => "poll",
        Some(RestartKind::Futex) => "futex",
        Some(RestartKind::Timeout) => "select or ppoll, begun anew with what is left",
        None => "unknown",
    };
    let mut section = Section::new("interrupted system call");
    section
        .value("call", text(kind))
        .value("clock", number(restart.clock))
        .value(
            "expires",
            match restart.expires_ns {
                u64::MAX => said("never".to_owned(), serde_json::Value::Null),
                ns => seconds(ns),
            },
        );
    for (place, argument) in restart.args.iter().enumerate() {
        section.value(&format!("argument {place}"), address(*argument));
    }
    section
}
