// SPDX-License-Identifier: GPL-2.0

//! Freezing a process without a trace, and thawing it.
//!
//! Every thread gets a task work that parks it on its way to user space. A thread that sleeps in a
//! system call stays in it, and counts as still as long as the scheduler says that it has not run;
//! whether that held is checked again when the capture is over ([`Frozen::stood_still`]).

use super::{FrozenProcess, FrozenThread};
use crate::checkpoint::syscall;
use crate::error::{fail, Failure, Outcome};
use crate::image::thread::ThreadState;
use crate::sys::park::{Gate, ParkedThread};
use crate::sys::task::{self, Place, SleepState};
use kernel::{
    prelude::*,
    sync::{aref::ARef, Arc},
    task::Task,
    time::{delay::fsleep, Delta, Instant, Monotonic},
};

/// Task states, from `<linux/sched.h>`.
mod state {
    pub(super) const INTERRUPTIBLE: u32 = 0x1;
    pub(super) const STOPPED: u32 = 0x4;
    pub(super) const TRACED: u32 = 0x8;
}

/// How long to wait for an arrival before the threads are looked at again, milliseconds: a thread
/// that falls asleep tells nobody.
const LOOK_AGAIN_MS: u32 = 1;

/// Before that, the threads are looked at after a nap, which is twice as long each time. What runs
/// in user space parks at once, and what is about to fall asleep does so soon: the timers that a
/// wait for an arrival has would make the pause several times as long (4 ms where HZ is 250).
const FIRST_NAP_US: i64 = 20;
/// The longest nap, microseconds.
const LONGEST_NAP_US: i64 = 640;

/// A frozen process. It goes on when this is dropped.
pub(crate) struct Frozen {
    process: FrozenProcess,
    sleeping: KVVec<(ARef<Task>, SleepState)>,
    gate: Arc<Gate>,
    // Dropped after the gate was opened: works that have not begun are withdrawn.
    parked: KVVec<ParkedThread>,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.gate.open();
    }
}

/// What was found of one thread.
enum Found {
    Still(ThreadState, Option<SleepState>),
    Moving(Busy),
}

/// Why a thread is not still.
#[derive(Clone, Copy)]
enum Busy {
    Running,
    InSyscall(u64),
    Uninterruptible,
    Exiting,
}

fn look(thread: &ParkedThread) -> Found {
    if thread.is_parked() {
        return Found::Still(ThreadState::User, None);
    }
    let sleep = SleepState::of(thread.task());
    if sleep.runs || sleep.state == 0 {
        return Found::Moving(Busy::Running);
    }
    if sleep.state & (state::STOPPED | state::TRACED) != 0 {
        return Found::Still(ThreadState::Stopped, Some(sleep));
    }
    if sleep.state & state::INTERRUPTIBLE == 0 {
        return Found::Moving(Busy::Uninterruptible);
    }
    match task::system_call(thread.task()) {
        Some(number) if syscall::may_sleep_in(number) => {
            Found::Still(ThreadState::Syscall, Some(sleep))
        }
        Some(number) => Found::Moving(Busy::InSyscall(number)),
        None => Found::Moving(Busy::Uninterruptible),
    }
}

impl Frozen {
    /// Freezes the process of `leader`, at most for `timeout_ms` milliseconds.
    ///
    /// On failure the process runs on as if nothing had been. `ESRCH` when it is ending,
    /// `ETIMEDOUT` when a thread cannot be stilled, `EINTR` when the caller got a signal.
    pub(crate) fn freeze(leader: &ARef<Task>, pid: u32, timeout_ms: u32) -> Outcome<Self> {
        let mut frozen = Self {
            process: FrozenProcess {
                leader: leader.clone(),
                pid,
                threads: KVVec::new(),
            },
            sleeping: KVVec::new(),
            gate: Gate::new()?,
            parked: KVVec::new(),
        };
        let begun = Instant::<Monotonic>::now();
        let mut arrivals = 0;
        let mut nap_us = FIRST_NAP_US;
        loop {
            frozen.refuse_ending()?;
            let threads = task::threads(leader)?;
            if threads.is_empty() {
                fail!(ESRCH, "pid {pid} has exited");
            }
            frozen.queue_works(&threads)?;
            let Some((tid, busy)) = frozen.look_at_all(threads.len())? else {
                return Ok(frozen);
            };
            if begun.elapsed().as_millis() > i64::from(timeout_ms) {
                return Err(not_still(pid, tid, busy));
            }
            if nap_us <= LONGEST_NAP_US {
                fsleep(Delta::from_micros(nap_us));
                nap_us *= 2;
                continue;
            }
            arrivals = frozen.gate.wait_for_arrival(arrivals, LOOK_AGAIN_MS)?;
        }
    }

    /// The process, still until `self` is dropped.
    pub(crate) fn process(&self) -> &FrozenProcess {
        &self.process
    }

    /// Whether no thread has run since the freeze. When one did (an event woke it from its system
    /// call), what was captured is worth nothing and must be captured again.
    pub(crate) fn stood_still(&self) -> bool {
        self.sleeping
            .iter()
            .all(|(task, sleep)| SleepState::of(task) == *sleep)
    }

    /// `ESRCH` when the process was killed or exits. A work that runs in `do_exit()` parks the thread
    /// as any other does, and one that dumps core may sleep: both look still, with registers of a
    /// program that goes on. Asked behind a capture as well, for what may have come during it.
    pub(crate) fn refuse_ending(&self) -> Outcome {
        if task::is_ending(&self.process.leader) {
            fail!(ESRCH, "pid {} is ending", self.process.pid);
        }
        Ok(())
    }

    /// The capture is over, though the threads stay where they are: those that are being killed
    /// may die.
    pub(crate) fn capture_done(&self) {
        self.gate.capture_done();
    }

    /// Queues a work for every thread that has none, and forgets those that are gone.
    fn queue_works(&mut self, threads: &[ARef<Task>]) -> Outcome {
        self.parked
            .retain(|known| threads.iter().any(|thread| same(known.task(), thread)));
        for thread in threads {
            if self.parked.iter().any(|known| same(known.task(), thread)) {
                continue;
            }
            self.parked.reserve(1, GFP_KERNEL)?;
            match ParkedThread::queue(thread.clone(), self.gate.clone()) {
                Ok(thread) => self.parked.push(thread, GFP_KERNEL)?,
                // It is exiting, and gone from the list soon.
                Err(error) if error == ESRCH => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Looks at all threads. `None` when all `expected` are still, else one that is not.
    fn look_at_all(&mut self, expected: usize) -> Outcome<Option<(u32, Busy)>> {
        self.process.threads.clear();
        self.sleeping.clear();
        for thread in self.parked.iter() {
            let tid = task::id_of(thread.task());
            match look(thread) {
                Found::Moving(busy) => return Ok(Some((tid, busy))),
                Found::Still(state, sleep) => {
                    if let Some(sleep) = sleep {
                        let sleeper = (thread.task().clone(), sleep);
                        self.sleeping.push(sleeper, GFP_KERNEL)?;
                    }
                    let thread = FrozenThread {
                        task: thread.task().clone(),
                        tid,
                        state,
                    };
                    self.process.threads.push(thread, GFP_KERNEL)?;
                }
            }
        }
        let all = self.process.threads.len() == expected;
        Ok((!all).then_some((self.process.pid, Busy::Exiting)))
    }
}

fn same(one: &ARef<Task>, other: &ARef<Task>) -> bool {
    one.as_ptr() == other.as_ptr()
}

/// Where a process waits for its `vfork()` child.
const VFORK: &str = "kernel_clone";

/// The words for a thread that could not be stilled in time.
fn not_still(pid: u32, tid: u32, busy: Busy) -> Failure {
    match busy {
        Busy::Running => Failure::new(
            ETIMEDOUT,
            format_args!("pid {pid}: thread {tid} did not come back from the kernel in time; try again, or give it more time"),
        ),
        Busy::InSyscall(number) => Failure::new(
            ETIMEDOUT,
            format_args!(
                "pid {pid}: thread {tid} is in the middle of {}, which cannot be begun anew; try again, or give it more time",
                syscall::Name(number)
            ),
        ),
        Busy::Uninterruptible => {
            let place = task::find(tid as i32).map(|task| Place::of(&task));
            let place = place.as_ref().map_or("", |place| place.name());
            let what = match place {
                VFORK => "its vfork() child",
                _ => "a device or for a lock",
            };
            Failure::new(
                ETIMEDOUT,
                format_args!("pid {pid}: thread {tid} waits for {what} (in {place}) and cannot be stilled; try again, or give it more time"),
            )
        }
        Busy::Exiting => Failure::new(
            ETIMEDOUT,
            format_args!("pid {pid}: thread {tid} is exiting; try again"),
        ),
    }
}
