// SPDX-License-Identifier: GPL-2.0

//! Applications that are tracked from one version to the next.

use super::interval::Interval;
use super::ledger::Ledger;
use super::{folders, Stats};
use crate::checkpoint::{Expected, Losses, Seen};
use crate::error::{fail, Context, Outcome};
use crate::sys::clock::monotonic_ns;
use crate::sys::file::{Directory, Incarnation};
use crate::sys::kthread::Worker;
use crate::sys::mm::AddressSpace;
use crate::sys::sysfs::{Content, Folder};
use crate::sys::{global, task, workqueue};
use crate::track::{ControlTree, Layout, Tracker};
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{aref::ARef, Arc, Mutex},
    task::Task,
};

/// What the next increment builds on: the last version that was committed.
pub(crate) struct Base {
    /// That version.
    pub(crate) version: u64,
    /// Its `global` file, once it is committed: another one of the same name is that of a version
    /// that was restored or consolidated, and may say something else.
    pub(crate) global: Option<Incarnation>,
    /// It is on the disk, and with it every file that it needs.
    pub(crate) durable: bool,
    /// Number of its files, from which control files count on.
    pub(crate) number: u64,
    /// Where the content of every page is stored.
    pub(crate) tree: ControlTree,
    /// The mappings at its freeze.
    pub(crate) layout: Layout,
    /// Pages of shared memory in it, ascending: address, and fingerprint where it is known.
    pub(crate) shared: KVVec<(u64, Option<u64>)>,
    /// Numbers of the control files that have to be read to know the tree, ascending, this
    /// version's included. Empty when nobody knows: then the next one is complete.
    pub(crate) chain: KVVec<u64>,
    /// What it holds of the private pages, where the knob `paranoid` was on.
    pub(crate) seen: Option<Seen>,
    /// Pages of this version's tree that `tree` has no more, since versions that could not be
    /// written replaced them.
    pub(crate) lost: Losses,
}

impl Base {
    /// What a complete version builds on.
    pub(crate) fn nothing() -> Self {
        Self {
            version: 0,
            global: None,
            durable: true,
            number: 0,
            tree: ControlTree::new(),
            layout: Layout::new(),
            shared: KVVec::new(),
            chain: KVVec::new(),
            seen: None,
            lost: Losses::default(),
        }
    }
}

/// What is known of a tracked application between two checkpoints.
pub(crate) struct Progress {
    /// Tracks the address space.
    pub(crate) tracker: Tracker,
    /// Directory of the store that the versions lie in: device and inode number.
    pub(crate) directory: (u64, u64),
    /// What the last capture found.
    pub(crate) expected: Expected,
    /// What to build on; `None`: the next version must be complete.
    pub(crate) base: Option<Base>,
    /// Which versions are kept, while the application is watched.
    pub(crate) ledger: Option<Ledger>,
}

impl Progress {
    /// The ledger of the watch, where versions in `directory` belong to it.
    pub(crate) fn ledger_of(&mut self, directory: &Directory) -> Option<&mut Ledger> {
        let ledger = self.ledger.as_mut()?;
        ledger.is_of(directory).then_some(ledger)
    }
}

/// A tracked application.
#[pin_data]
pub(crate) struct App {
    /// Application ID.
    pub(crate) id: u32,
    leader: ARef<Task>,
    /// What its checkpoints took.
    #[pin]
    pub(crate) stats: Stats,
    /// Held during a checkpoint, so that one at a time is taken.
    #[pin]
    pub(crate) progress: Mutex<Progress>,
    /// Calls that are about to take a version; see [`Claim`]. Changed with the list locked.
    claims: AtomicUsize,
    /// When there were no more of them, nanoseconds of the monotonic clock.
    idle_since: AtomicU64,
    /// The thread that takes versions at an interval. It refers to the application: whoever takes
    /// that out of the list ends the thread ([`App::end_interval`]).
    #[pin]
    interval: Mutex<Option<Worker<Interval>>>,
}

impl App {
    fn new(leader: &ARef<Task>, id: u32, progress: Progress) -> Result<Arc<Self>> {
        let version = progress.base.as_ref().map_or(0, |base| base.version);
        let dirty = progress.tracker.counter();
        Arc::pin_init(
            pin_init!(Self {
                id,
                leader: leader.clone(),
                stats <- Stats::new(version, dirty),
                progress <- new_mutex!(progress),
                claims: AtomicUsize::new(0),
                idle_since: AtomicU64::new(0),
                interval <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// The thread whose ID is that of the process.
    pub(crate) fn leader(&self) -> &ARef<Task> {
        &self.leader
    }

    /// The interval at which versions are taken, if any.
    pub(crate) fn interval(&self) -> Option<Arc<Interval>> {
        self.interval
            .lock()
            .as_ref()
            .map(|worker| worker.job().clone())
    }

    /// Has a thread begin with what `prepare` returns. `EBUSY` when there is one already, `ESRCH`
    /// when the application has ended meanwhile.
    pub(super) fn begin_interval(
        self: &Arc<Self>,
        prepare: impl FnOnce() -> Outcome<Arc<Interval>>,
    ) -> Outcome {
        let mut interval = self.interval.lock();
        if interval.is_some() {
            fail!(EBUSY, "application {} is watched already", self.id);
        }
        let begun = prepare().and_then(|job| Ok(Worker::start(job, self.id)?));
        match begun {
            Ok(worker) => *interval = Some(worker),
            Err(failure) => {
                self.progress.lock().ledger = None;
                return Err(failure);
            }
        }
        // Who forgets it ends the thread, but may have done so before there was one.
        if !APPS.lock().iter().any(|app| Arc::ptr_eq(app, self)) {
            *interval = None;
            fail!(ESRCH, "application {} has ended", self.id);
        }
        self.show_interval(interval.as_ref());
        Ok(())
    }

    /// Ends the thread, when it is done with the version that it is at. Not in that thread.
    pub(super) fn end_interval(&self) -> Option<Arc<Interval>> {
        let mut interval = self.interval.lock();
        let worker = interval.take()?;
        self.show_interval(None);
        drop(interval);
        Some(worker.job().clone())
    }

    /// Tells the thread that its settings were changed.
    pub(super) fn interval_changed(&self) {
        let interval = self.interval.lock();
        if let Some(worker) = &*interval {
            worker.notify();
        }
        self.show_interval(interval.as_ref());
    }

    /// Notes for who looks how the thread takes versions. With the lock on it, so that what is shown
    /// last is what holds.
    fn show_interval(&self, worker: Option<&Worker<Interval>>) {
        let settings = worker.map(|worker| worker.job().settings());
        let (interval_us, keep) = settings.map_or((0, 0), |now| (now.interval_us, now.keep));
        self.stats.watch(settings.is_some(), interval_us, keep);
    }

    /// Whether it has no version, and nobody is about to take one. With the list locked.
    fn is_idle(&self) -> bool {
        self.stats.version() == 0 && self.claims.load(Ordering::Relaxed) == 0
    }

    /// Whether there will be no further version: the process has ended, or has become another
    /// program and nobody watches it; or nobody has tried again to take a first one.
    fn is_over(&self) -> bool {
        let idle_ns = monotonic_ns().saturating_sub(self.idle_since.load(Ordering::Relaxed));
        self.is_idle() && idle_ns >= IDLE_NS
            || task::kind_of(&self.leader) == task::Kind::Exiting
            || self
                .interval
                .try_lock()
                .is_some_and(|watched| watched.is_none())
                && self
                    .progress
                    .try_lock()
                    .is_some_and(|progress| progress.tracker.is_over())
    }
}

global::global_mutex! {
    static APPS: KVec<Arc<App>> = KVec::new();
}

static APPS_READY: AtomicBool = AtomicBool::new(false);

/// All tracked applications. They are no longer tracked when this is dropped, which unloading does.
pub(crate) struct Apps;

impl Apps {
    /// Prepares the list, and its folder in `root`. Once, when the module is loaded.
    pub(crate) fn init<P: Content>(root: &Folder<P>) -> Result<Self> {
        global::init_lock(&APPS, &APPS_READY);
        folders::open(root)?;
        Ok(Self)
    }
}

impl Drop for Apps {
    fn drop(&mut self) {
        folders::close();
        // Tracking ends outside of the lock, since that waits.
        let apps = core::mem::take(&mut *APPS.lock());
        for app in apps.iter() {
            app.end_interval();
        }
        drop(apps);
        // Now nothing schedules it any more.
        workqueue::cancel();
    }
}

/// How long an application without a version is tracked on behind the last call for it, nanoseconds:
/// to begin and to end tracking takes a while, and what was refused is often tried again.
const IDLE_NS: u64 = 5_000_000_000;

/// A tracked application that a call is about to take a version of. When the last claim goes and there
/// still is no version, it is none that anybody sees: a call that was refused leaves nothing behind,
/// and the process may become another application.
pub(crate) struct Claim(Arc<App>);

impl Claim {
    /// Of an application in the list, which is locked.
    fn new(app: &Arc<App>) -> Self {
        app.claims.fetch_add(1, Ordering::Relaxed);
        Self(app.clone())
    }
}

impl Deref for Claim {
    type Target = Arc<App>;

    fn deref(&self) -> &Arc<App> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _apps = APPS.lock();
        self.0.idle_since.store(monotonic_ns(), Ordering::Relaxed);
        self.0.claims.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Claims the tracked application `id` of the process of `leader`, which is made when there is none.
/// Begins to track: not while the process is frozen. `EBUSY` when it is another application.
pub(crate) fn find_or_track(leader: &ARef<Task>, id: u32) -> Outcome<Claim> {
    forget_ended();
    if let Some(app) = known(leader, id, None)? {
        return Ok(app);
    }
    let space = AddressSpace::of(leader).within(format_args!("pid {}", task::id_of(leader)))?;
    let progress = Progress {
        tracker: Tracker::begin(&space)?,
        directory: (0, 0),
        expected: Expected::default(),
        base: None,
        ledger: None,
    };
    let app = App::new(leader, id, progress)?;
    // Another checkpoint may have been faster.
    match known(leader, id, Some(&app))? {
        Some(app) => Ok(app),
        None => Err(ESRCH.into()),
    }
}

/// Claims the application of the process of `leader`, which must be `id`: with two, what a capture for
/// one takes from the page tables would be lost to the other. Where there is none, or one that nobody
/// sees, `new` takes its place.
fn known(leader: &ARef<Task>, id: u32, new: Option<&Arc<App>>) -> Outcome<Option<Claim>> {
    let mut apps = APPS.lock();
    let place = apps
        .iter()
        .position(|app| app.leader.as_ptr() == leader.as_ptr());
    let before = match place.and_then(|place| Some((place, apps.get(place)?))) {
        Some((_, app)) if app.id == id => return Ok(Some(Claim::new(app))),
        Some((place, app)) if app.is_idle() => apps.remove(place).ok(),
        Some((_, app)) => fail!(
            EBUSY,
            "pid {} is tracked as application {} already, it cannot be application {id} as well",
            task::id_of(leader),
            app.id
        ),
        None => None,
    };
    let claim = match new {
        Some(app) => {
            apps.push(app.clone(), GFP_KERNEL)?;
            Some(Claim::new(app))
        }
        None => None,
    };
    // Not under the lock: to stop tracking takes a while.
    drop(apps);
    drop(before);
    Ok(claim)
}

/// Enters the process of `leader`, which was restarted from the version `base` in `directory`, as
/// application `id`. The tracker began when its memory was that of the version.
pub(crate) fn adopt(
    leader: &ARef<Task>,
    id: u32,
    tracker: Tracker,
    directory: (u64, u64),
    base: Base,
) -> Outcome {
    forget_ended();
    let progress = Progress {
        tracker,
        directory,
        expected: Expected::default(),
        base: Some(base),
        ledger: None,
    };
    let app = App::new(leader, id, progress)?;
    Ok(APPS.lock().push(app, GFP_KERNEL)?)
}

/// The tracked application of the process of `leader`.
pub(crate) fn of_process(leader: &ARef<Task>) -> Option<Arc<App>> {
    let apps = APPS.lock();
    let mut all = apps.iter();
    all.find(|app| app.leader.as_ptr() == leader.as_ptr())
        .cloned()
}

/// Number of tracked applications.
pub(crate) fn count() -> usize {
    APPS.lock().iter().filter(|app| !app.is_idle()).count()
}

/// All tracked applications that anybody sees.
pub(super) fn all() -> Result<KVec<Arc<App>>> {
    let apps = APPS.lock();
    let mut all = KVec::with_capacity(apps.len(), GFP_KERNEL)?;
    for app in apps.iter().filter(|app| !app.is_idle()) {
        all.push(app.clone(), GFP_KERNEL)?;
    }
    if all.len() < apps.len() {
        workqueue::schedule_after(IDLE_NS / 1_000_000 + 100);
    }
    Ok(all)
}

/// Stops to track applications that have ended. Their folders stay until [`folders::settle`]. May
/// sleep.
pub(super) fn forget_ended() {
    let mut ended = KVec::new();
    {
        let mut apps = APPS.lock();
        let mut index = 0;
        while let Some(app) = apps.get(index) {
            if app.is_over() && ended.reserve(1, GFP_KERNEL).is_ok() {
                if let Ok(app) = apps.remove(index) {
                    // Cannot fail: room was made.
                    let _ = ended.push(app, GFP_KERNEL);
                }
            } else {
                index += 1;
            }
        }
    }
    for app in ended.iter() {
        app.end_interval();
    }
}

/// Has applications that have ended forgotten soon, by a worker. For a caller that must not wait:
/// an address space tells that it goes while it goes. Any context.
pub(crate) fn reap_soon() {
    workqueue::schedule();
}
