// SPDX-License-Identifier: GPL-2.0

//! Values in the records of a process that no writer makes: of enumerations, flags, limits and
//! reserved fields. What must fit between records is another matter.

use super::files::{
    Descriptor, FileLock, FileObject, LeftOut, LockKind, MemfdContent, ObjectKind, RootDirectory,
    WorkingDirectory, DESCRIPTOR_CLOEXEC, OBJECT_MAPPED_ONLY, OBJECT_UNCHANGED,
};
use super::mm::{vma_flags, AddressSpace, GuardPages, Vma, VmaKind};
use super::record::{RawRecord, Record};
use super::task::{
    Creds, IntervalTimers, PendingSignal, Process, Rlimits, SignalHandlers, PROCESS_NO_NEW_PRIVS,
    PROCESS_STOPPED, PROCESS_SUBREAPER,
};
use super::thread::{
    altstack_flags, Registers, Restart, RestartKind, Scheduling, Thread, ThreadState, Xstate,
};
use super::Damage;

/// `SIGKILL` and `SIGSTOP`, which have no handlers and never wait.
const FIXED: [u32; 2] = [9, 19];

/// Highest signal number.
const MAX_SIGNAL: u32 = 64;

/// A record that knows which values it may have.
trait Values: Record {
    /// Demands them.
    fn check(&self, demand: &mut Demand);
}

/// The first value that was demanded and is not there.
struct Demand(Option<&'static str>);

impl Demand {
    fn that(&mut self, right: bool, what: &'static str) {
        if !right {
            self.0.get_or_insert(what);
        }
    }
}

/// Refuses a record of a `task` file that is of no kind there is, that has another length than its
/// kind, or a value that no writer makes.
pub fn check(record: &RawRecord<'_>) -> Result<(), Damage> {
    macro_rules! first_of {
        ($($kind:ty),* $(,)?) => {
            $(if <$kind>::TAG == record.tag {
                return checked::<$kind>(record);
            })*
        };
    }
    first_of![
        Process,
        Creds,
        Rlimits,
        SignalHandlers,
        PendingSignal,
        IntervalTimers,
        FileObject,
        Descriptor,
        FileLock,
        LeftOut,
        WorkingDirectory,
        RootDirectory,
        MemfdContent,
        AddressSpace,
        Vma,
        GuardPages,
        Thread,
        Registers,
        Xstate,
        Scheduling,
        Restart,
    ];
    Err(Damage::Value("the kind of a record"))
}

/// Not made part of its caller: copies of all kinds at once are too much for the kernel's stack.
#[inline(never)]
fn checked<T: Values>(record: &RawRecord<'_>) -> Result<(), Damage> {
    let mut demand = Demand(None);
    if let Some(decoded) = record.decode::<T>() {
        decoded?.0.check(&mut demand);
    }
    demand.0.map_or(Ok(()), |what| Err(Damage::Value(what)))
}

impl Values for Process {
    fn check(&self, demand: &mut Demand) {
        let flags = PROCESS_STOPPED | PROCESS_NO_NEW_PRIVS | PROCESS_SUBREAPER;
        demand.that(self.flags & !flags == 0, "a flag of the process");
        demand.that(self.reserved == 0, "a reserved field of the process");
        demand.that(self.dumpable <= 2, "the dumpable attribute");
        let score = -1000..=1000;
        demand.that(score.contains(&self.oom_score_adj), "oom_score_adj");
    }
}

impl Values for Rlimits {
    fn check(&self, demand: &mut Demand) {
        let right = self.limits.iter().all(|[soft, hard]| soft <= hard);
        demand.that(right, "a resource limit");
    }
}

impl Values for SignalHandlers {
    fn check(&self, demand: &mut Demand) {
        for (number, action) in (1..).zip(&self.actions) {
            let right = !FIXED.contains(&number) || action.handler == 0;
            demand.that(right, "the handler of a fixed signal");
        }
    }
}

impl Values for PendingSignal {
    fn check(&self, demand: &mut Demand) {
        let number = self.number();
        let right = (1..=MAX_SIGNAL).contains(&number) && !FIXED.contains(&number);
        demand.that(right, "a pending signal");
    }
}

impl Values for FileObject {
    fn check(&self, demand: &mut Demand) {
        let known = ObjectKind::from_number(self.kind).is_some();
        demand.that(known, "the kind of a file object");
        let flags = OBJECT_MAPPED_ONLY | OBJECT_UNCHANGED;
        demand.that(self.flags & !flags == 0, "a flag of a file object");
        demand.that(i64::try_from(self.size).is_ok(), "the size of a file");
        let position = i64::try_from(self.position).is_ok();
        demand.that(position, "an offset in a file");
    }
}

impl Values for Descriptor {
    fn check(&self, demand: &mut Demand) {
        let right = i32::try_from(self.fd).is_ok();
        demand.that(right, "the number of a descriptor");
        let known = self.flags & !DESCRIPTOR_CLOEXEC == 0;
        demand.that(known, "a flag of a descriptor");
        demand.that(self.reserved == 0, "a reserved field of a descriptor");
    }
}

impl Values for FileLock {
    fn check(&self, demand: &mut Demand) {
        let known = LockKind::from_number(self.kind).is_some();
        demand.that(known, "the kind of a file lock");
        demand.that(self.exclusive <= 1, "the mode of a file lock");
        demand.that(self.reserved == 0, "a reserved field of a file lock");
        let range = self.start <= self.end && i64::try_from(self.end).is_ok();
        demand.that(range, "the range of a file lock");
    }
}

impl Values for LeftOut {
    fn check(&self, demand: &mut Demand) {
        demand.that(self.reserved == 0, "a reserved field of what was left out");
    }
}

impl Values for WorkingDirectory {
    fn check(&self, demand: &mut Demand) {
        demand.that(self.umask <= 0o777, "the umask");
        let right = self.reserved == 0;
        demand.that(right, "a reserved field of the working directory");
    }
}

impl Values for RootDirectory {
    fn check(&self, demand: &mut Demand) {
        let right = self.reserved == 0;
        demand.that(right, "a reserved field of the root directory");
    }
}

impl Values for MemfdContent {
    fn check(&self, demand: &mut Demand) {
        let right = self.reserved == 0;
        demand.that(right, "a reserved field of a memfd's content");
    }
}

impl Values for AddressSpace {
    fn check(&self, demand: &mut Demand) {
        let known = [0, 1, 3].contains(&self.lock_future);
        demand.that(known, "what mlockall(2) is to lock");
        demand.that(self.thp_disable <= 1, "PR_SET_THP_DISABLE");
    }
}

impl Values for Vma {
    fn check(&self, demand: &mut Demand) {
        let known = VmaKind::from_number(self.kind).is_some();
        demand.that(known, "the kind of a mapping");
        demand.that(self.flags & !vma_flags::ALL == 0, "a flag of a mapping");
    }
}

impl Values for Thread {
    fn check(&self, demand: &mut Demand) {
        let known = ThreadState::from_number(self.state).is_some();
        demand.that(known, "the state of a thread");
        demand.that(self.comm.ends_with(&[0]), "the name of a thread");
        let death = self.pdeath_signal <= MAX_SIGNAL;
        demand.that(death, "a signal at the parent's death");
        let known = self.altstack_flags & !altstack_flags::ALL == 0;
        demand.that(known, "a flag of an alternate stack");
    }
}

impl Values for Scheduling {
    fn check(&self, demand: &mut Demand) {
        demand.that((-20..=19).contains(&self.nice), "a nice value");
        demand.that(self.policy <= 7, "a scheduling policy");
        demand.that(self.priority <= 99, "a real-time priority");
        demand.that(self.reset_on_fork <= 1, "a flag of the scheduling");
    }
}

impl Values for Restart {
    fn check(&self, demand: &mut Demand) {
        let known = RestartKind::from_number(self.kind).is_some();
        demand.that(known, "the kind of an interrupted system call");
    }
}

/// Kinds of records of which every value may be: the kernel decides.
macro_rules! any_value {
    ($($kind:ty),*) => {
        $(impl Values for $kind {
            fn check(&self, _demand: &mut Demand) {}
        })*
    };
}
any_value!(Creds, IntervalTimers, GuardPages, Registers, Xstate);
