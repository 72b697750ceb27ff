// SPDX-License-Identifier: GPL-2.0

//! Open files that geist cannot checkpoint yet, and what they are called.

use super::text::Text;
use crate::error::{fail, Outcome};
use crate::sys::fd::{FileRef, Socket};
use kernel::prelude::*;

/// `s_magic` of file systems without files that could be opened again, from `<linux/magic.h>`.
mod magic {
    pub(super) const HUGETLBFS: u64 = 0x958458f6;
    pub(super) const SECRETMEM: u64 = 0x5345434d;
    pub(super) const DMA_BUF: u64 = 0x444d4142;
    pub(super) const NSFS: u64 = 0x6e736673;
    pub(super) const PIDFS: u64 = 0x50494446;
    pub(super) const MQUEUE: u64 = 0x19800202;
}

/// What anonymous inodes call themselves, and what people call them.
const ANONYMOUS: &[(&[u8], &str)] = &[
    (b"[eventfd]", "an eventfd"),
    (b"[eventpoll]", "an epoll instance"),
    (b"[timerfd]", "a timerfd"),
    (b"[signalfd]", "a signalfd"),
    (b"inotify", "an inotify instance"),
    (b"[fanotify]", "a fanotify group"),
    (b"[userfaultfd]", "a userfaultfd"),
    (b"[io_uring]", "an io_uring"),
    (b"[pidfd]", "a pidfd"),
    (b"[perf_event]", "a perf event"),
    (b"bpf-map", "a BPF map"),
    (b"bpf-prog", "a BPF program"),
    (b"bpf_link", "a BPF link"),
    (b"[landlock-ruleset]", "a Landlock ruleset"),
    (b"seccomp notify", "a seccomp listener"),
    (b"[fscontext]", "a file system context (fsopen)"),
];

/// Fails with `EOPNOTSUPP`; the sentence says what the file is: `a TCP socket`.
///
/// For everything that a path does not bring back: sockets, anonymous inodes and so on.
/// Returns for files on an ordinary file system.
pub(super) fn refuse_pathless(file: &FileRef) -> Outcome {
    if let Some(socket) = file.socket() {
        return refuse_socket(socket);
    }
    if file.is_ours() {
        fail!(EOPNOTSUPP, "/dev/geist itself");
    }
    match file.file_system() {
        magic::HUGETLBFS => fail!(EOPNOTSUPP, "a file of huge pages"),
        magic::SECRETMEM => fail!(EOPNOTSUPP, "secret memory (memfd_secret)"),
        magic::DMA_BUF => fail!(EOPNOTSUPP, "a DMA buffer"),
        magic::NSFS => fail!(EOPNOTSUPP, "a namespace"),
        magic::PIDFS => fail!(EOPNOTSUPP, "a pidfd"),
        magic::MQUEUE => fail!(EOPNOTSUPP, "a POSIX message queue"),
        _ => {}
    }
    if !file.is_on_internal_mount() {
        return Ok(());
    }
    let path = file.shown_path()?;
    let Some(name) = path.strip_prefix(b"anon_inode:") else {
        return Ok(());
    };
    for (prefix, words) in ANONYMOUS {
        if name.starts_with(prefix) {
            fail!(EOPNOTSUPP, "{words}");
        }
    }
    let name = name.strip_prefix(b"[").unwrap_or(name);
    let name = name.strip_suffix(b"]").unwrap_or(name);
    fail!(EOPNOTSUPP, "an anonymous file ({})", Text(name))
}

/// Numbers of `<linux/socket.h>` and `<linux/in.h>`.
fn refuse_socket(socket: Socket) -> Outcome {
    let words = match (socket.family, socket.kind, socket.protocol) {
        (2 | 10, 1, 132) | (2 | 10, 5, _) => "an SCTP socket",
        (2 | 10, 1, 262) => "an MPTCP socket",
        (2 | 10, 1, _) => "a TCP socket",
        (2 | 10, 2, 136) => "a UDP-Lite socket",
        (2 | 10, 2, 1 | 58) => "a ping socket",
        (2 | 10, 2, _) => "a UDP socket",
        (2 | 10, 3, _) => "a raw IP socket",
        (1, ..) => "a Unix socket",
        (16, ..) => "a netlink socket",
        (17, ..) => "a packet socket",
        (38, ..) => "a socket of the kernel's cryptography (AF_ALG)",
        (40, ..) => "a VM socket",
        (29, ..) => "a CAN socket",
        (31, ..) => "a Bluetooth socket",
        (44, ..) => "an XDP socket",
        _ => fail!(
            EOPNOTSUPP,
            "a socket (family {}, type {}, protocol {})",
            socket.family,
            socket.kind,
            socket.protocol
        ),
    };
    fail!(EOPNOTSUPP, "{words}")
}
