// SPDX-License-Identifier: GPL-2.0

//! Watching an address space: the hook on page faults and the mmu notifier.
//!
//! The hook is an `ftrace_ops` on `handle_mm_fault()`, which every fault passes, of user space and
//! of the kernel on its behalf. It runs in the context of whoever faults, with the VMA or
//! `mmap_lock` locked. It is on `vma_modify_flags_uffd()`, too, where a range begins or ends to belong
//! to a userfaultfd, through which pages come without a fault. The notifier tells of other events
//! without a fault. Both find the watcher of an address space in a small table, under RCU.

use super::helpers;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use kernel::{
    bindings,
    error::to_result,
    mm::Mm,
    prelude::*,
    sync::{aref::ARef, rcu, Arc},
    types::Opaque,
};

/// What becomes of the events of an address space. Every method is called in any context that may
/// not sleep, under RCU, possibly by several CPUs at once.
pub(crate) trait Events: Send + Sync {
    /// The page at `address` faults. `write`: it is about to be written. `absent`: nothing is mapped
    /// there yet.
    fn fault(&self, address: u64, write: bool, absent: bool);

    /// Pages from `start` to `end` are being cleared or replaced, or have been just now.
    fn cleared(&self, start: u64, end: u64);

    /// Pages from `start` to `end` are being unmapped, or moved elsewhere: whatever is there from
    /// here on is new.
    fn unmapped(&self, start: u64, end: u64);

    /// Pages from `start` to `end` may come without a fault from here on, or did.
    fn replaced(&self, start: u64, end: u64);

    /// The process is forking, or exclusive pages become shared otherwise.
    fn shared(&self);

    /// The address space goes: the process exits or calls `execve(2)`.
    fn released(&self);
}

/// Address spaces that can be watched at a time.
pub(crate) const MAX_WATCHED: usize = 256;

struct Watched {
    notifier: Opaque<bindings::mmu_notifier>,
    mm: ARef<Mm>,
    events: Arc<dyn Events>,
}

static TABLE: [AtomicPtr<Watched>; MAX_WATCHED] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_WATCHED];

/// No entry of the table at or behind this one is in use.
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

super::global::global_mutex! {
    static HOOK: usize = 0;
}

static HOOK_READY: AtomicBool = AtomicBool::new(false);

/// Prepares the lock of the hook. When the module is loaded.
pub(crate) fn init() {
    super::global::init_lock(&HOOK, &HOOK_READY);
}

/// Calls `then` with the receivers of the events of `mm`. Returns whether there are any.
fn with(mm: *mut bindings::mm_struct, then: impl Fn(&dyn Events)) -> bool {
    let _rcu = rcu::read_lock();
    let mut found = false;
    for slot in TABLE.iter().take(HIGHEST.load(Ordering::Acquire)) {
        let watched = slot.load(Ordering::Acquire);
        if watched.is_null() {
            continue;
        }
        // SAFETY: an entry is freed only after it was taken out of the table and a grace period
        // has passed.
        let watched = unsafe { &*watched };
        if watched.mm.as_raw() == mm {
            found = true;
            then(&*watched.events);
        }
    }
    found
}

/// Whether `mm` is watched. Called by the hook.
#[no_mangle]
extern "C" fn geist_is_watched(mm: *mut bindings::mm_struct) -> bool {
    with(mm, |_| ())
}

/// A fault is about to be handled. Called by the hook.
#[no_mangle]
extern "C" fn geist_on_fault(
    mm: *mut bindings::mm_struct,
    address: usize,
    write: bool,
    absent: bool,
) {
    with(mm, |events| events.fault(address as u64, write, absent));
}

/// Pages of `mm` from `start` to `end` may come without a fault from here on, or did. Called by the
/// hook.
#[no_mangle]
extern "C" fn geist_on_replaced(mm: *mut bindings::mm_struct, start: usize, end: usize) {
    with(mm, |events| events.replaced(start as u64, end as u64));
}

/// Exclusive pages of `space` become shared by a capture of one of its watchers: entries no longer
/// tell the others what changed. Any context.
pub(super) fn pages_are_shared(space: *mut bindings::mm_struct) {
    with(space, |events| events.shared());
}

/// The entry that `notifier` belongs to.
///
/// # Safety
///
/// `notifier` is the one of an entry that is not freed during `'a`.
unsafe fn entry_of<'a>(notifier: *mut bindings::mmu_notifier) -> &'a Watched {
    let notifier: *const Opaque<bindings::mmu_notifier> = Opaque::cast_from(notifier);
    // SAFETY: as the caller says.
    unsafe { &*kernel::container_of!(notifier.cast_mut(), Watched, notifier) }
}

/// `invalidate_range_start` of [`OPS`].
///
/// # Safety
///
/// Called by the kernel with a registered notifier of a [`Watched`] and a valid range.
unsafe extern "C" fn range_start(
    notifier: *mut bindings::mmu_notifier,
    range: *const bindings::mmu_notifier_range,
) -> i32 {
    // SAFETY: the kernel calls with a registered notifier, whose entry is freed after it was
    // unregistered only, and with a valid range.
    let (watched, range) = unsafe { (entry_of(notifier), &*range) };
    match range.event {
        bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_PAGE => watched.events.shared(),
        bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_VMA
        | bindings::mmu_notifier_event_MMU_NOTIFY_SOFT_DIRTY => {}
        bindings::mmu_notifier_event_MMU_NOTIFY_UNMAP => {
            watched
                .events
                .unmapped(range.start as u64, range.end as u64);
        }
        _ => watched.events.cleared(range.start as u64, range.end as u64),
    }
    0
}

/// `invalidate_range_end` of [`OPS`]. Not everything that clears pages holds `mmap_lock`: a capture
/// may have come in between, and have seen the pages still there.
///
/// # Safety
///
/// As for [`range_start`].
unsafe extern "C" fn range_end(
    notifier: *mut bindings::mmu_notifier,
    range: *const bindings::mmu_notifier_range,
) {
    // SAFETY: as for `range_start`.
    let (watched, range) = unsafe { (entry_of(notifier), &*range) };
    match range.event {
        bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_PAGE
        | bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_VMA
        | bindings::mmu_notifier_event_MMU_NOTIFY_SOFT_DIRTY
        | bindings::mmu_notifier_event_MMU_NOTIFY_UNMAP => {}
        _ => watched.events.cleared(range.start as u64, range.end as u64),
    }
}

/// `release` of [`OPS`].
///
/// # Safety
///
/// Called by the kernel with a registered notifier of a [`Watched`].
unsafe extern "C" fn release(notifier: *mut bindings::mmu_notifier, _mm: *mut bindings::mm_struct) {
    // SAFETY: as for `range_start`.
    unsafe { entry_of(notifier) }.events.released();
}

static OPS: bindings::mmu_notifier_ops = {
    // SAFETY: every field may be null.
    let mut ops: bindings::mmu_notifier_ops = unsafe { core::mem::zeroed() };
    ops.invalidate_range_start = Some(range_start);
    ops.invalidate_range_end = Some(range_end);
    ops.release = Some(release);
    ops
};

/// An address space being watched, until this is dropped.
pub(crate) struct Watch {
    watched: KBox<Watched>,
    slot: usize,
}

// SAFETY: the entry is shared between CPUs anyway; watching may end on any.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

impl Watch {
    /// Begins to watch the address space `mm`, which has users. `EBUSY` when too many are. May
    /// sleep, and takes `mmap_lock`; the first one takes a while (about 0.2 s), since code is
    /// patched.
    pub(crate) fn begin(space: &super::mm::AddressSpace, events: Arc<dyn Events>) -> Result<Self> {
        let watched = KBox::new(
            Watched {
                notifier: Opaque::new(bindings::mmu_notifier {
                    ops: &OPS,
                    ..Default::default()
                }),
                mm: space.grab(),
                events,
            },
            GFP_KERNEL,
        )?;
        let notifier = watched.notifier.get();
        let mm = watched.mm.as_raw();
        // SAFETY: the notifier stays where it is until it is unregistered, and the address space
        // has users.
        to_result(unsafe { bindings::mmu_notifier_register(notifier, mm) })?;
        match enter(&watched) {
            Ok(slot) => Ok(Self { watched, slot }),
            Err(error) => {
                // SAFETY: it was registered just now.
                unsafe { bindings::mmu_notifier_unregister(notifier, mm) };
                Err(error)
            }
        }
    }
}

/// Enters `watched` into the table, and hooks the faults when it is the first.
fn enter(watched: &KBox<Watched>) -> Result<usize> {
    let mut hook = HOOK.lock();
    let (slot, entry) = TABLE
        .iter()
        .enumerate()
        .find(|(_, entry)| entry.load(Ordering::Relaxed).is_null())
        .ok_or(EBUSY)?;
    if *hook == 0 {
        // SAFETY: it is not registered.
        to_result(unsafe { helpers::geist_hook_register() })?;
    }
    *hook += 1;
    entry.store((&raw const **watched).cast_mut(), Ordering::Release);
    HIGHEST.fetch_max(slot + 1, Ordering::AcqRel);
    Ok(slot)
}

impl Watch {
    /// Whether `space` is what is being watched.
    pub(crate) fn is_of(&self, space: &super::mm::AddressSpace) -> bool {
        core::ptr::eq(&*self.watched.mm, &*space.grab())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut hook = HOOK.lock();
        if let Some(entry) = TABLE.get(self.slot) {
            entry.store(core::ptr::null_mut(), Ordering::Release);
        }
        *hook -= 1;
        if *hook == 0 {
            // SAFETY: it is registered, since the count was not zero.
            unsafe { helpers::geist_hook_unregister() };
        }
        drop(hook);
        // SAFETY: the notifier was registered with this address space. When the first call
        // returns, no callback of it runs any more; when the second does, no hook uses the entry.
        unsafe {
            bindings::mmu_notifier_unregister(
                self.watched.notifier.get(),
                self.watched.mm.as_raw(),
            );
            bindings::synchronize_rcu();
        }
    }
}
