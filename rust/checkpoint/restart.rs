// SPDX-License-Identifier: GPL-2.0

//! Capture of an interrupted system call that continues with what is left of its time.

use super::syscall::{
    CLOCK_NANOSLEEP, FUTEX, NANOSLEEP, POLL, PPOLL, PSELECT6, RESTART_SYSCALL, SELECT,
};
use crate::app::FrozenThread;
use crate::error::{fail, Outcome};
use crate::ghost::{Export, RecordWriter};
use crate::image::thread::{clocks, futex_flags, Restart, RestartKind, ThreadState, TT_NATIVE};
use crate::sys::process;
use crate::sys::regset::Entry;
use crate::sys::sleeper::{self, RestartBlock};
use kernel::prelude::*;

/// -`ERESTART_RESTARTBLOCK`.
const ERESTART_RESTARTBLOCK: i64 = -516;

/// `STICKY_TIMEOUTS` of `personality(2)`: timeouts in memory stay what they are.
const STICKY_TIMEOUTS: u32 = 0x0400_0000;

/// `TIMER_ABSTIME`.
const TIMER_ABSTIME: u64 = 1;

/// Operations of `futex(2)`, from `<linux/futex.h>`.
mod futex {
    pub(super) const COMMAND: u64 = 0x7f;
    pub(super) const WAIT: u64 = 0;
    pub(super) const WAIT_BITSET: u64 = 9;
    pub(super) const PRIVATE: u64 = 128;
    pub(super) const CLOCK_REALTIME: u64 = 256;
    pub(super) const ANY_BIT: u64 = 0xffff_ffff;
}

/// How the thread's system call goes on. Writes nothing for a call that is begun anew.
pub(super) struct RestartState;

/// The system call of a thread.
struct Call<'a>(&'a FrozenThread);

impl Call<'_> {
    /// Of a thread that sleeps in a call for the first time: its arguments, and the timer that
    /// it sleeps for.
    fn of_first_call(&self, entry: &Entry) -> Option<Restart> {
        let [first, second, third, fourth, fifth, sixth] = entry.args;
        let sleeper = || sleeper::find(&self.0.task);
        let nanosleep = |remainder: u64| {
            let sleeper = sleeper()?;
            Some(Restart {
                kind: RestartKind::Nanosleep as u32,
                clock: sleeper.clock,
                expires_ns: sleeper.expires_ns,
                args: [remainder, if remainder == 0 { 0 } else { TT_NATIVE }, 0, 0],
            })
        };
        match u64::try_from(entry.number).ok()? {
            NANOSLEEP => nanosleep(second),
            CLOCK_NANOSLEEP if second & TIMER_ABSTIME == 0 => nanosleep(fourth),
            // A date is one after a reboot too; a moment of another clock is not, since those
            // begin again. It does not tell what remains of it.
            CLOCK_NANOSLEEP => nanosleep(0).filter(|call| call.clock != clocks::REALTIME),
            POLL => {
                let sleeper = sleeper()?;
                Some(Restart {
                    kind: RestartKind::Poll as u32,
                    clock: sleeper.clock,
                    expires_ns: sleeper.expires_ns,
                    args: [first, second & u64::from(u32::MAX), 0, 0],
                })
            }
            SELECT => self.timeout_in_memory(fifth, 1000),
            PSELECT6 => self.timeout_in_memory(fifth, 1),
            PPOLL => self.timeout_in_memory(third, 1),
            // Anew it would be right as well when its timeout is an absolute one, but not after a
            // reboot, where the monotonic clock begins again.
            FUTEX if second & futex::CLOCK_REALTIME == 0 && fourth != 0 => {
                let bitset = match second & futex::COMMAND {
                    futex::WAIT => futex::ANY_BIT,
                    futex::WAIT_BITSET => sixth & futex::ANY_BIT,
                    _ => return None,
                };
                let shared = match second & futex::PRIVATE {
                    0 => futex_flags::SHARED,
                    _ => 0,
                };
                let sleeper = sleeper()?;
                Some(Restart {
                    kind: RestartKind::Futex as u32,
                    clock: sleeper.clock,
                    expires_ns: sleeper.expires_ns,
                    args: [
                        first,
                        third & u64::from(u32::MAX),
                        bitset,
                        futex_flags::SIZE_32 | shared | futex_flags::TIMEOUT,
                    ],
                })
            }
            _ => None,
        }
    }

    /// Of a call that the kernel would begin anew with what is left of its timeout, written to where
    /// it lies, in seconds and a number of `unit` nanoseconds.
    fn timeout_in_memory(&self, address: u64, unit: u64) -> Option<Restart> {
        let task = &self.0.task;
        if address == 0 || process::identity(task).personality & STICKY_TIMEOUTS != 0 {
            return None;
        }
        let sleeper = sleeper::find(task)?;
        Some(Restart {
            kind: RestartKind::Timeout as u32,
            clock: sleeper.clock,
            expires_ns: sleeper.expires_ns,
            args: [address, unit, 0, 0],
        })
    }

    /// Of a thread whose call the kernel has prepared to go on, or that is going on already.
    fn of_block(&self, block: RestartBlock) -> Outcome<Option<Restart>> {
        Ok(match block {
            RestartBlock::Nanosleep(clock, expires_ns, remainder, kind) => Some(Restart {
                kind: RestartKind::Nanosleep as u32,
                clock,
                expires_ns,
                args: [remainder, kind, 0, 0],
            }),
            RestartBlock::Poll(descriptors, count, expires) => Some(Restart {
                kind: RestartKind::Poll as u32,
                clock: clocks::MONOTONIC,
                expires_ns: expires.unwrap_or(u64::MAX),
                args: [descriptors, count, 0, 0],
            }),
            RestartBlock::Futex(address, value, bitset, flags, expires_ns) => Some(Restart {
                kind: RestartKind::Futex as u32,
                clock: clocks::MONOTONIC,
                expires_ns,
                args: [address, value, bitset, flags],
            }),
            RestartBlock::Nothing => None,
            RestartBlock::Other => fail!(
                EOPNOTSUPP,
                "it was interrupted in a sleep on a CPU clock or an alarm clock, which geist cannot checkpoint yet"
            ),
        })
    }

    fn record(&self) -> Outcome<Option<Restart>> {
        let entry = Entry::of(&self.0.task);
        let continues = u64::try_from(entry.number) == Ok(RESTART_SYSCALL);
        if self.0.state == ThreadState::Syscall {
            if !continues {
                return Ok(self.of_first_call(&entry));
            }
            let block = match RestartBlock::of(&self.0.task) {
                RestartBlock::Nothing => RestartBlock::of_futex(&self.0.task),
                block => block,
            };
            return self.of_block(block);
        }
        // The kernel makes `ax` the number of restart_syscall(2) when no handler runs before.
        let result = entry.result;
        if entry.number >= 0
            && (result == ERESTART_RESTARTBLOCK || u64::try_from(result) == Ok(RESTART_SYSCALL))
        {
            return self.of_block(RestartBlock::of(&self.0.task));
        }
        Ok(None)
    }
}

impl Export<FrozenThread> for RestartState {
    fn export(thread: &FrozenThread, out: &mut RecordWriter<'_>) -> Outcome {
        match Call(thread).record()? {
            Some(record) => out.record(&record),
            None => Ok(()),
        }
    }
}
