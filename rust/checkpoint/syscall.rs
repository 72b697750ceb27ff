// SPDX-License-Identifier: GPL-2.0

//! System calls: in which a thread may sleep while it is captured, and what they are called.

use core::fmt;

/// `poll(2)`.
pub(super) const POLL: u64 = 7;
/// `select(2)`.
pub(super) const SELECT: u64 = 23;
/// `nanosleep(2)`.
pub(super) const NANOSLEEP: u64 = 35;
/// `rt_sigtimedwait(2)`.
pub(super) const RT_SIGTIMEDWAIT: u64 = 128;
/// `rt_sigsuspend(2)`.
pub(super) const RT_SIGSUSPEND: u64 = 130;
/// `futex(2)`.
pub(super) const FUTEX: u64 = 202;
/// `restart_syscall(2)`.
pub(super) const RESTART_SYSCALL: u64 = 219;
/// `clock_nanosleep(2)`.
pub(super) const CLOCK_NANOSLEEP: u64 = 230;
/// `pselect6(2)`.
pub(super) const PSELECT6: u64 = 270;
/// `ppoll(2)`.
pub(super) const PPOLL: u64 = 271;

/// Calls that have changed nothing yet while they sleep, so that a restarted thread may begin them
/// anew. In ascending order.
///
/// Not among them: what writes (a part may have been written already), what makes or opens files,
/// `ioctl` (only its driver knows), and `recvmmsg` (messages may have been taken already). Reading
/// is: it sleeps before the first byte, but for a terminal that was told to wait for several
/// (`VMIN` greater than 1), where the bytes that came before the checkpoint are lost.
const RESTARTABLE: &[u64] = &[
    0,   // read
    7,   // poll
    17,  // pread64
    19,  // readv
    23,  // select
    26,  // msync
    34,  // pause
    35,  // nanosleep
    42,  // connect
    43,  // accept
    45,  // recvfrom
    47,  // recvmsg
    61,  // wait4
    65,  // semop
    70,  // msgrcv
    72,  // fcntl
    73,  // flock
    74,  // fsync
    75,  // fdatasync
    128, // rt_sigtimedwait
    130, // rt_sigsuspend
    162, // sync
    202, // futex
    208, // io_getevents
    219, // restart_syscall
    220, // semtimedop
    230, // clock_nanosleep
    232, // epoll_wait
    243, // mq_timedreceive
    247, // waitid
    270, // pselect6
    271, // ppoll
    277, // sync_file_range
    281, // epoll_pwait
    288, // accept4
    295, // preadv
    306, // syncfs
    318, // getrandom
    327, // preadv2
    333, // io_pgetevents
    441, // epoll_pwait2
    449, // futex_waitv
    455, // futex_wait
];

/// Whether a thread that sleeps in system call `number` may be captured there.
pub(crate) fn may_sleep_in(number: u64) -> bool {
    RESTARTABLE.binary_search(&number).is_ok()
}

/// A system call, shown as its manual page is named.
#[derive(Clone, Copy)]
pub(crate) struct Name(pub(crate) u64);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.binary_search_by_key(&self.0, |(number, _)| *number) {
            Ok(index) => match NAMES.get(index) {
                Some((_, name)) => write!(f, "{name}(2)"),
                None => Ok(()),
            },
            Err(_) => write!(f, "system call {}", self.0),
        }
    }
}

/// Names of calls in which a thread may be found, in ascending order of their numbers.
#[rustfmt::skip]
const NAMES: &[(u64, &str)] = &[
    (0, "read"),
    (1, "write"),
    (2, "open"),
    (3, "close"),
    (4, "stat"),
    (5, "fstat"),
    (6, "lstat"),
    (7, "poll"),
    (8, "lseek"),
    (9, "mmap"),
    (10, "mprotect"),
    (11, "munmap"),
    (12, "brk"),
    (13, "rt_sigaction"),
    (14, "rt_sigprocmask"),
    (16, "ioctl"),
    (17, "pread64"),
    (18, "pwrite64"),
    (19, "readv"),
    (20, "writev"),
    (22, "pipe"),
    (23, "select"),
    (24, "sched_yield"),
    (25, "mremap"),
    (26, "msync"),
    (28, "madvise"),
    (34, "pause"),
    (35, "nanosleep"),
    (37, "alarm"),
    (40, "sendfile"),
    (41, "socket"),
    (42, "connect"),
    (43, "accept"),
    (44, "sendto"),
    (45, "recvfrom"),
    (46, "sendmsg"),
    (47, "recvmsg"),
    (48, "shutdown"),
    (49, "bind"),
    (50, "listen"),
    (56, "clone"),
    (57, "fork"),
    (58, "vfork"),
    (59, "execve"),
    (60, "exit"),
    (61, "wait4"),
    (62, "kill"),
    (65, "semop"),
    (69, "msgsnd"),
    (70, "msgrcv"),
    (72, "fcntl"),
    (73, "flock"),
    (74, "fsync"),
    (75, "fdatasync"),
    (76, "truncate"),
    (77, "ftruncate"),
    (78, "getdents"),
    (80, "chdir"),
    (82, "rename"),
    (83, "mkdir"),
    (84, "rmdir"),
    (85, "creat"),
    (86, "link"),
    (87, "unlink"),
    (88, "symlink"),
    (90, "chmod"),
    (92, "chown"),
    (101, "ptrace"),
    (128, "rt_sigtimedwait"),
    (130, "rt_sigsuspend"),
    (149, "mlock"),
    (151, "mlockall"),
    (162, "sync"),
    (165, "mount"),
    (166, "umount2"),
    (169, "reboot"),
    (202, "futex"),
    (206, "io_setup"),
    (207, "io_destroy"),
    (208, "io_getevents"),
    (209, "io_submit"),
    (217, "getdents64"),
    (219, "restart_syscall"),
    (220, "semtimedop"),
    (221, "fadvise64"),
    (230, "clock_nanosleep"),
    (231, "exit_group"),
    (232, "epoll_wait"),
    (242, "mq_timedsend"),
    (243, "mq_timedreceive"),
    (247, "waitid"),
    (249, "request_key"),
    (257, "openat"),
    (258, "mkdirat"),
    (263, "unlinkat"),
    (264, "renameat"),
    (265, "linkat"),
    (270, "pselect6"),
    (271, "ppoll"),
    (275, "splice"),
    (276, "tee"),
    (277, "sync_file_range"),
    (278, "vmsplice"),
    (281, "epoll_pwait"),
    (285, "fallocate"),
    (288, "accept4"),
    (295, "preadv"),
    (296, "pwritev"),
    (299, "recvmmsg"),
    (306, "syncfs"),
    (307, "sendmmsg"),
    (310, "process_vm_readv"),
    (311, "process_vm_writev"),
    (316, "renameat2"),
    (318, "getrandom"),
    (322, "execveat"),
    (323, "userfaultfd"),
    (324, "membarrier"),
    (325, "mlock2"),
    (326, "copy_file_range"),
    (327, "preadv2"),
    (328, "pwritev2"),
    (333, "io_pgetevents"),
    (426, "io_uring_enter"),
    (435, "clone3"),
    (437, "openat2"),
    (441, "epoll_pwait2"),
    (449, "futex_waitv"),
    (455, "futex_wait"),
];
