// SPDX-License-Identifier: GPL-2.0

//! A restart under way: who has joined, who is ready, what failed.

use super::image::ProcessImage;
use super::track::{track, Origin};
use super::work::Join;
use super::{generation, registers, thread};
use crate::error::{fail, Context, Failure, Outcome};
use crate::sys::file::OpenFile;
use crate::sys::latch::Latch;
use crate::sys::restart_task;
use crate::sys::{creds, restart_work, task};
use crate::uapi::{RestartFinish, RestartJoin};
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::{
    cred::Credential,
    fs::File,
    new_condvar, new_mutex,
    prelude::*,
    sync::{aref::ARef, Arc, CondVar, CondVarTimeoutResult, Mutex},
    task::Task,
    time::{delay::fsleep, msecs_to_jiffies, Delta},
};

/// Files that the client handed in, ascending by the numbers of their objects.
pub(super) type Files = KVec<(u32, OpenFile)>;

/// How often it is looked whether a process that has not joined still exists, milliseconds.
const LOOK_MS: u32 = 100;

/// How long a process may take to fall asleep once it is ready, in steps of [`STEP_US`].
const STEPS: u32 = 50_000;

/// Microseconds between two looks at a process that is about to sleep.
const STEP_US: i64 = 100;

/// How often, and for how long each time (milliseconds), it is looked whether the address space of
/// a process is its own: who reads `/proc/<pid>` holds it for a moment.
const OWN_TRIES: u32 = 20;
const OWN_WAIT_MS: i64 = 5;

/// Where a process of the image is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has not joined.
    Awaited,
    /// It has joined and is being rebuilt.
    Joined,
    /// It waits for its registers.
    Ready,
    /// It has its registers and may go.
    Released,
    /// It is on its way into the program.
    Done,
    /// It failed or died.
    Failed,
}

/// A process of the image.
struct Seat {
    phase: Phase,
    task: Option<ARef<Task>>,
    pages: u64,
}

/// What changes while a restart is under way.
struct Progress {
    seats: KVec<Seat>,
    /// The first failure.
    failure: Option<Failure>,
    /// The client waits for the processes, or has done so.
    finishing: bool,
}

/// A restart, shared by the client's open file and the processes that have joined.
#[pin_data]
pub(super) struct Restart {
    origin: Origin,
    images: KVec<ProcessImage>,
    files: Files,
    /// The processes stop before their first instruction.
    pub(super) stopped: bool,
    pub(super) credentials: ARef<Credential>,
    /// Nobody wants it any more.
    pub(super) given_up: AtomicBool,
    /// Held while registers are set: the processes that are ready wait for it before they end.
    #[pin]
    progress: Mutex<Progress>,
    #[pin]
    changed: CondVar,
    /// Opens when the processes may look what has become of them.
    #[pin]
    pub(super) go: Latch,
}

/// The restart of an image on an open file of the device. Dropped when that file is released; what
/// has joined and was not finished is killed then.
pub(crate) struct Session {
    restart: Arc<Restart>,
}

impl Session {
    /// A restart of these processes with these files, and with the credentials of the caller.
    /// `stopped`: they stop before their first instruction, whatever the image says.
    pub(super) fn new(
        origin: Origin,
        images: KVec<ProcessImage>,
        files: Files,
        stopped: bool,
    ) -> Outcome<Arc<Self>> {
        let mut seats = KVec::with_capacity(images.len(), GFP_KERNEL)?;
        for _ in images.iter() {
            let seat = Seat {
                phase: Phase::Awaited,
                task: None,
                pages: 0,
            };
            seats.push(seat, GFP_KERNEL)?;
        }
        let credentials = creds::credentials()?;
        let restart = Arc::pin_init(
            pin_init!(Restart {
                origin,
                images,
                files,
                stopped,
                credentials,
                given_up: AtomicBool::new(false),
                progress <- new_mutex!(Progress {
                    seats,
                    failure: None,
                    finishing: false,
                }),
                changed <- new_condvar!(),
                go <- Latch::new(),
            }),
            GFP_KERNEL,
        )?;
        Ok(Arc::new(Session { restart }, GFP_KERNEL)?)
    }

    /// Makes the calling process become process `args.pid` of the image, before it returns to user
    /// space. `device` is the file on which it asks; its descriptors are closed.
    pub(crate) fn join(&self, args: &RestartJoin, device: &File) -> Outcome {
        let restart = &self.restart;
        if args.reserved != 0 {
            fail!(EINVAL, "a reserved field of the request is not zero");
        }
        let pid = args.pid;
        let Some(seat) = restart
            .images
            .iter()
            .position(|one| i32::try_from(one.pid) == Ok(pid))
        else {
            fail!(ESRCH, "the image has no process with pid {pid}");
        };
        let own = restart_task::own_pid();
        if own != pid {
            fail!(
                EINVAL,
                "pid {own} cannot become pid {pid}: the pid must be the old one"
            );
        }
        for tried in 1.. {
            match restart_task::skeleton_unfit() {
                None => break,
                Some(why) if tried == OWN_TRIES => {
                    fail!(
                        EINVAL,
                        "pid {pid} cannot become a process of the image: {why}"
                    )
                }
                Some(_) => fsleep(Delta::from_millis(OWN_WAIT_MS)),
            }
        }
        restart.take_seat(seat, pid)?;
        let work = Join {
            restart: restart.clone(),
            seat,
            device: restart_task::identity(device),
        };
        let queued = thread::leave_rseq()
            .and_then(|()| Ok(restart_work::queue_on_current(work)?))
            .within(format_args!("pid {pid}"));
        if queued.is_err() {
            restart.leave_seat(seat);
        }
        queued
    }

    /// Waits until every process is rebuilt, sets the registers and lets them run. Called by a
    /// process that does not take part.
    pub(crate) fn finish(&self, args: &mut RestartFinish) -> Outcome {
        if args.reserved != 0 {
            fail!(EINVAL, "a reserved field of the request is not zero");
        }
        {
            let mut progress = self.restart.progress.lock();
            if core::mem::replace(&mut progress.finishing, true) {
                fail!(EBUSY, "the restart is being finished already");
            }
        }
        let result = self.restart.finish();
        if let Err(failure) = &result {
            self.restart
                .give_up(failure.errno, format_args!("{failure}"));
        }
        args.pages = result?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.restart
            .give_up(ECANCELED, format_args!("the client went away"));
    }
}

impl Restart {
    /// The process at `seat`.
    pub(super) fn image(&self, seat: usize) -> Option<&ProcessImage> {
        self.images.get(seat)
    }

    /// The file that was handed in for `object`.
    pub(super) fn file(&self, object: u32) -> Option<&OpenFile> {
        let index = self
            .files
            .binary_search_by_key(&object, |(number, _)| *number)
            .ok()?;
        self.files.get(index).map(|(_, file)| file)
    }

    fn take_seat(&self, seat: usize, pid: i32) -> Outcome {
        let mut progress = self.progress.lock();
        if self.given_up.load(Ordering::Relaxed) {
            fail!(ECANCELED, "the restart was given up");
        }
        match progress.seats.get_mut(seat) {
            Some(seat) if seat.phase == Phase::Awaited => {
                seat.phase = Phase::Joined;
                seat.task = Some(ARef::from(&**kernel::current!()));
                Ok(())
            }
            _ => fail!(EBUSY, "pid {pid} has joined already"),
        }
    }

    fn leave_seat(&self, seat: usize) {
        self.change(seat, |seat| {
            seat.phase = Phase::Awaited;
            seat.task = None;
        });
    }

    fn change(&self, seat: usize, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.progress.lock().seats.get_mut(seat) {
            change(seat);
        }
        self.changed.notify_all();
    }

    /// The process at `seat` is rebuilt, of this many pages.
    pub(super) fn ready(&self, seat: usize, pages: u64) {
        self.change(seat, |seat| {
            seat.phase = Phase::Ready;
            seat.pages = pages;
        });
    }

    /// Whether the process at `seat` has its registers. Waits while they are being set.
    pub(super) fn is_released(&self, seat: usize) -> bool {
        let progress = self.progress.lock();
        matches!(progress.seats.get(seat), Some(seat) if seat.phase == Phase::Released)
    }

    /// The process at `seat` goes into its program.
    pub(super) fn done(&self, seat: usize) {
        self.change(seat, |seat| seat.phase = Phase::Done);
    }

    /// The process at `seat` failed, and with it the restart.
    pub(super) fn failed(&self, seat: usize, failure: Failure) {
        self.change(seat, |seat| seat.phase = Phase::Failed);
        self.give_up(failure.errno, format_args!("{failure}"));
    }

    /// Ends the restart: processes that were not let go are killed. The first failure stays.
    fn give_up(&self, errno: Error, sentence: core::fmt::Arguments<'_>) {
        {
            let mut progress = self.progress.lock();
            let done = |seat: &Seat| seat.phase == Phase::Done;
            if progress.failure.is_none() && !progress.seats.iter().all(done) {
                progress.failure = Some(Failure::new(errno, sentence));
            }
            self.given_up.store(true, Ordering::Relaxed);
        }
        self.go.open();
        self.changed.notify_all();
    }

    /// Waits for everybody, sets registers, lets them go. Returns the pages filled.
    fn finish(&self) -> Outcome<u64> {
        self.wait_for(Phase::Ready)?;
        self.track();
        self.release()?;
        self.go.open();
        self.wait_for(Phase::Done)?;
        let progress = self.progress.lock();
        Ok(progress.seats.iter().map(|seat| seat.pages).sum())
    }

    /// Has every process tracked that can be. One that cannot has a complete version next.
    fn track(&self) {
        for (seat, image) in self.images.iter().enumerate() {
            let task = self
                .progress
                .lock()
                .seats
                .get(seat)
                .and_then(|seat| seat.task.clone());
            if let Some(Err(failure)) = task.map(|task| track(image, &task, self.origin)) {
                let errno = failure.errno.to_errno();
                pr_info!("pid {} is not tracked: error {errno}\n", image.pid);
            }
        }
    }

    /// Waits until every process is in `phase`.
    fn wait_for(&self, phase: Phase) -> Outcome {
        let mut progress = self.progress.lock();
        loop {
            if let Some(failure) = progress.failure.take() {
                return Err(failure);
            }
            if self.given_up.load(Ordering::Relaxed) {
                fail!(ECANCELED, "the restart was given up");
            }
            if progress.seats.iter().all(|seat| seat.phase == phase) {
                return Ok(());
            }
            for (seat, image) in progress.seats.iter().zip(&self.images) {
                if seat.phase == Phase::Awaited && !exists(image.pid) {
                    fail!(
                        ESRCH,
                        "pid {} ended before it could be restarted",
                        image.pid
                    );
                }
            }
            let timeout = msecs_to_jiffies(LOOK_MS);
            if let CondVarTimeoutResult::Signal { .. } = self
                .changed
                .wait_interruptible_timeout(&mut progress, timeout)
            {
                // Those that were released are in their programs; nothing can be taken back.
                if phase != Phase::Done {
                    return Err(EINTR.into());
                }
                drop(progress);
                fsleep(Delta::from_micros(STEP_US));
                progress = self.progress.lock();
            }
        }
    }

    /// Sets the registers of every process and lets it go.
    fn release(&self) -> Outcome {
        let mut progress = self.progress.lock();
        for (seat, image) in progress.seats.iter().zip(&self.images) {
            let Some(task) = seat.task.as_ref().filter(|_| seat.phase == Phase::Ready) else {
                fail!(ESRCH, "pid {} ended before it was restarted", image.pid);
            };
            wait_for_sleep(task).within(format_args!("pid {}", image.pid))?;
            registers::set(image, task).within(format_args!("pid {}", image.pid))?;
        }
        generation::renew();
        for seat in progress.seats.iter_mut() {
            seat.phase = Phase::Released;
        }
        Ok(())
    }
}

/// Whether process `pid` of the caller's pid namespace lives.
fn exists(pid: u32) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(|pid| task::find(pid).ok())
        .is_some_and(|task| !restart_task::is_exiting(&task))
}

/// Waits until `task`, which is about to wait, is off its CPU: then its registers are in memory. It
/// stays so long as the lock of the progress is held, for which it waits even when it is killed.
fn wait_for_sleep(task: &Task) -> Outcome {
    for _ in 0..STEPS {
        if !task::SleepState::of(task).runs {
            return Ok(());
        }
        fsleep(Delta::from_micros(STEP_US));
    }
    fail!(EAGAIN, "it does not come to rest")
}
