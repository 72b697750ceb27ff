// SPDX-License-Identifier: GPL-2.0

//! Address spaces: locking them, their mappings, capturing pages by reference.

use super::helpers;
use super::page::{AddressedPage, HeldPage};
use super::selection::{has_page, Selection, HUGE_PAGES};
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    mm::{Mm, MmWithUser},
    prelude::*,
    sync::aref::ARef,
    task::Task,
};

/// The address space of a process, kept alive.
pub(crate) struct AddressSpace {
    mm: ARef<MmWithUser>,
}

/// The fields of an address space that `prctl(PR_SET_MM_MAP)` sets, and the like.
pub(crate) struct Fields {
    /// In the order of `struct prctl_mm_map`: `start_code` to `env_end`.
    pub(crate) map: [u64; 11],
    /// Where `mmap(2)` looks for room first.
    pub(crate) mmap_base: u64,
    /// Address of the vDSO's code, or 0.
    pub(crate) vdso: u64,
    /// The auxiliary vector.
    pub(crate) auxv: [u64; 64],
    /// `mlockall(MCL_FUTURE)`.
    pub(crate) lock_future: bool,
    /// `MCL_ONFAULT`.
    pub(crate) lock_on_fault: bool,
    /// `PR_SET_THP_DISABLE`.
    pub(crate) thp_disabled: bool,
}

impl AddressSpace {
    /// The address space of `task`; `ESRCH` when it has none (any more).
    pub(crate) fn of(task: &Task) -> Result<Self> {
        // SAFETY: the task is valid.
        let mm = NonNull::new(unsafe { bindings::get_task_mm(task.as_ptr()) }).ok_or(ESRCH)?;
        // SAFETY: `get_task_mm` took a reference to a user of the address space, which the `ARef`
        // owns; `MmWithUser` is a transparent `mm_struct`.
        let mm = unsafe { ARef::from_raw(mm.cast::<MmWithUser>()) };
        Ok(Self { mm })
    }

    pub(super) fn raw(&self) -> *mut bindings::mm_struct {
        self.mm.as_raw()
    }

    /// A reference that keeps the structure, not the memory.
    pub(super) fn grab(&self) -> ARef<Mm> {
        ARef::from(&**self.mm)
    }

    /// The file that the exe link names, or `None`.
    pub(crate) fn executable(&self) -> Option<super::fd::FileRef> {
        // SAFETY: the address space is valid.
        let file = NonNull::new(unsafe { helpers::geist_mm_exe_file(self.raw()) })?;
        // SAFETY: the helper took a reference, which the value owns.
        Some(unsafe { super::fd::FileRef::from_raw(file) })
    }

    /// Takes `mmap_lock` for writing, and the write lock of every mapping, so that no fault runs.
    /// May sleep. `EINTR` when the caller is being killed.
    pub(crate) fn lock(&self) -> Result<Locked<'_>> {
        // SAFETY: the address space is valid.
        to_result(unsafe { helpers::geist_mmap_write_lock_killable(self.raw()) })?;
        let locked = Locked { space: self };
        // SAFETY: `mmap_lock` is held for writing.
        unsafe { helpers::geist_vmas_start_write(self.raw()) };
        Ok(locked)
    }
}

/// An address space that is locked for writing; nothing faults or changes mappings.
pub(crate) struct Locked<'a> {
    pub(super) space: &'a AddressSpace,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: the lock is held by this task.
        unsafe { helpers::geist_mmap_write_unlock(self.space.raw()) }
    }
}

/// A mapping of a locked address space.
#[repr(transparent)]
pub(crate) struct Mapping<'a> {
    raw: helpers::geist_vma,
    locked: PhantomData<&'a Locked<'a>>,
}

impl<'a> Locked<'a> {
    /// The first mapping that ends behind `address`.
    pub(crate) fn next_mapping(&'a self, address: u64) -> Option<Mapping<'a>> {
        // SAFETY: `mmap_lock` is held.
        let vma = unsafe { helpers::geist_vma_next(self.space.raw(), address as usize) };
        if vma.is_null() {
            return None;
        }
        // SAFETY: all fields of the structure may be zero.
        let mut raw: helpers::geist_vma = unsafe { core::mem::zeroed() };
        // SAFETY: the mapping is valid under the lock.
        unsafe { helpers::geist_vma_describe(vma, &mut raw) };
        Some(Mapping {
            raw,
            locked: PhantomData,
        })
    }

    /// All mappings, ascending. May sleep. `ENOMEM`.
    pub(crate) fn mappings(&'a self) -> Result<KVVec<Mapping<'a>>> {
        let mm = self.space.raw();
        // SAFETY: the lock is held.
        let count = unsafe { (*mm).__bindgen_anon_1.map_count };
        let mut mappings = KVVec::with_capacity(usize::try_from(count)?, GFP_KERNEL)?;
        let room = mappings.spare_capacity_mut();
        // SAFETY: the lock is held, there is as much room as said, and a `Mapping` is a description.
        let count = unsafe {
            helpers::geist_vmas_describe(
                mm,
                room.as_mut_ptr().cast(),
                u32::try_from(room.len()).unwrap_or(u32::MAX),
            )
        };
        // SAFETY: so many were filled, within the capacity.
        unsafe { mappings.inc_len(count as usize) };
        Ok(mappings)
    }

    /// The fields of the address space.
    pub(crate) fn fields(&self) -> Fields {
        let mm = self.space.raw();
        // SAFETY: the address space is valid, and the lock held.
        let flags = unsafe { helpers::geist_mm_flags(mm) };
        // SAFETY: as above. The fields that `arg_lock` guards are changed by `prctl(2)` of the
        // process itself only, which does not run.
        let anon = unsafe { &(*mm).__bindgen_anon_1 };
        let mut auxv = [0u64; 64];
        for (to, from) in auxv.iter_mut().zip(anon.saved_auxv.iter()) {
            *to = *from as u64;
        }
        Fields {
            map: [
                anon.start_code as u64,
                anon.end_code as u64,
                anon.start_data as u64,
                anon.end_data as u64,
                anon.start_brk as u64,
                anon.brk as u64,
                anon.start_stack as u64,
                anon.arg_start as u64,
                anon.arg_end as u64,
                anon.env_start as u64,
                anon.env_end as u64,
            ],
            mmap_base: anon.mmap_base as u64,
            // SAFETY: the address space is valid.
            vdso: unsafe { helpers::geist_mm_vdso(mm) } as u64,
            auxv,
            lock_future: flags & helpers::GEIST_MM_LOCK_FUTURE as usize != 0,
            lock_on_fault: flags & helpers::GEIST_MM_LOCK_ON_FAULT as usize != 0,
            thp_disabled: flags & helpers::GEIST_MM_THP_DISABLED as usize != 0,
        }
    }

    /// Brings the page at `address` in from swap, or waits for its migration. May sleep.
    fn fault_in(&self, address: u64) -> Result {
        // SAFETY: `mmap_lock` is held.
        match unsafe { helpers::geist_fault_in(self.space.raw(), address as usize) } {
            1 => Ok(()),
            0 => Err(EFAULT),
            error => Err(Error::from_errno(error as i32)),
        }
    }

    /// Starts capturing pages by reference. Pages captured may be written again only after a copy,
    /// once the TLB was flushed, which dropping the [`Capture`] does. Who watches the address space
    /// is told that pages become shared.
    pub(crate) fn capture(&'a self) -> Capture<'a> {
        super::watch::pages_are_shared(self.space.raw());
        // SAFETY: `mmap_lock` is held for writing, as `copy_page_range()` holds it.
        unsafe { helpers::geist_write_protect_begin(self.space.raw()) };
        Capture { locked: self }
    }
}

/// Numbers of the flags of a mapping (`VMA_*_BIT`).
pub(crate) mod vma_bits {
    use kernel::bindings;

    macro_rules! bits {
        ($($name:ident = $bit:ident,)*) => {
            $(
                #[doc = concat!("`", stringify!($bit), "`")]
                pub(crate) const $name: u32 = bindings::$bit as u32;
            )*
        };
    }

    bits! {
        READ = VMA_READ_BIT,
        WRITE = VMA_WRITE_BIT,
        EXEC = VMA_EXEC_BIT,
        MAY_READ = VMA_MAYREAD_BIT,
        MAY_WRITE = VMA_MAYWRITE_BIT,
        MAY_EXEC = VMA_MAYEXEC_BIT,
        MAY_SHARE = VMA_MAYSHARE_BIT,
        GROWS_DOWN = VMA_GROWSDOWN_BIT,
        UFFD_MISSING = VMA_UFFD_MISSING_BIT,
        PFN_MAP = VMA_PFNMAP_BIT,
        MAY_HAVE_GUARDS = VMA_MAYBE_GUARD_BIT,
        UFFD_WP = VMA_UFFD_WP_BIT,
        LOCKED = VMA_LOCKED_BIT,
        IO = VMA_IO_BIT,
        SEQUENTIAL = VMA_SEQ_READ_BIT,
        RANDOM = VMA_RAND_READ_BIT,
        DONT_COPY = VMA_DONTCOPY_BIT,
        LOCK_ON_FAULT = VMA_LOCKONFAULT_BIT,
        NO_RESERVE = VMA_NORESERVE_BIT,
        HUGETLB = VMA_HUGETLB_BIT,
        SYNC = VMA_SYNC_BIT,
        WIPE_ON_FORK = VMA_WIPEONFORK_BIT,
        DONT_DUMP = VMA_DONTDUMP_BIT,
        MIXED_MAP = VMA_MIXEDMAP_BIT,
        HUGE_PAGE = VMA_HUGEPAGE_BIT,
        NO_HUGE_PAGE = VMA_NOHUGEPAGE_BIT,
        MERGEABLE = VMA_MERGEABLE_BIT,
        SHADOW_STACK = VMA_SHADOW_STACK_BIT,
        DROPPABLE = VMA_DROPPABLE_BIT,
        UFFD_MINOR = VMA_UFFD_MINOR_BIT,
        UFFD_RWP = VMA_UFFD_RWP_BIT,
        SEALED = VMA_SEALED_BIT,
    }
}

/// Reads memory of the process of `task`, also where it may not. Returns the bytes read. Takes
/// `mmap_lock`; may sleep.
pub(crate) fn read_memory(task: &Task, address: u64, bytes: &mut [u8]) -> usize {
    // SAFETY: the task is valid, pointer and length are those of a slice.
    let read = unsafe {
        bindings::access_process_vm(
            task.as_ptr(),
            address as usize,
            bytes.as_mut_ptr().cast(),
            bytes.len() as i32,
            bindings::FOLL_FORCE,
        )
    };
    usize::try_from(read).unwrap_or(0)
}

/// What a page table holds for one address.
pub(crate) enum Entry {
    /// An anonymous page, captured by reference: nothing can change it any more.
    Captured(HeldPage),
    /// An anonymous page that is pinned for DMA and must be copied now.
    Pinned(HeldPage),
    /// No anonymous page. Only where [`Selection::TELLS_GONE`].
    Gone,
    /// A page that `madvise(MADV_GUARD_INSTALL)` made a guard.
    Guard,
    /// Something that cannot be checkpointed: poison, device memory.
    Unknown,
}

/// What visits pages.
pub(crate) trait Visitor {
    /// Called before at most 512 pages. May sleep.
    fn prepare(&mut self) -> Result;

    /// Where captured pages may be added, instead of visiting them one by one, and the low bits that
    /// their addresses are to have.
    fn captured(&mut self) -> (&mut KVVec<AddressedPage>, u64);

    /// Takes the entry of the page at `address`. Must not sleep.
    fn visit(&mut self, address: u64, entry: Entry);
}

/// A capture that is under way.
pub(crate) struct Capture<'a> {
    locked: &'a Locked<'a>,
}

const PAGE: u64 = crate::image::PAGE_SIZE as u64;

impl Capture<'_> {
    /// Visits the pages of `mapping` from `start` to `end` that belong to the process alone, in
    /// ascending order. Pages in swap that are to be captured are brought in. May sleep.
    pub(crate) fn pages<S: Selection>(
        &self,
        mapping: &Mapping<'_>,
        start: u64,
        end: u64,
        selection: &S,
        visitor: &mut impl Visitor,
    ) -> Result {
        let mm = self.locked.space.raw();
        let end = end.min(mapping.end());
        let start = start.max(mapping.start());
        let mut from = start;
        while let Some(address) = selection.next(from, end) {
            visitor.prepare()?;
            let mut next = 0;
            // SAFETY: `mmap_lock` is held for writing: upper tables stay.
            let pmd = unsafe { helpers::geist_pmd_find(mm, address as usize, &mut next) };
            let next = (next as u64).min(end);
            from = next;
            if pmd.is_null() {
                gone(selection, visitor, address, next);
                continue;
            }
            // Nearly always there is a table. Otherwise the entry tells what there is, under its lock.
            if let Some(done) = self.table(mapping, pmd, address, next, selection, visitor)? {
                from = done;
                continue;
            }
            let only_changed = selection.all_only_changed(address, next);
            let mut page = core::ptr::null_mut();
            // SAFETY: the entry and the mapping are valid; faults are locked out.
            let kind = unsafe {
                helpers::geist_pmd_capture(
                    mapping.vma(),
                    address as usize,
                    pmd,
                    only_changed,
                    &mut page,
                )
            };
            match kind as u32 {
                // A huge page was split just now.
                helpers::geist_entry_GEIST_ENTRY_TABLE => from = address,
                helpers::geist_entry_GEIST_ENTRY_ABSENT => {
                    self.locked.fault_in(address)?;
                    from = address;
                }
                helpers::geist_entry_GEIST_ENTRY_CAPTURED
                | helpers::geist_entry_GEIST_ENTRY_PINNED => {
                    let pinned = kind as u32 == helpers::geist_entry_GEIST_ENTRY_PINNED;
                    // SAFETY: the helper took a reference to the folio that starts here.
                    let whole = unsafe { HeldPage::from_raw(page) };
                    // All of it was captured, whatever led here.
                    let first = start.max(address & !(HUGE_PAGES * PAGE - 1));
                    for address in (first..next).step_by(PAGE as usize) {
                        let one = whole.nth((address / PAGE % HUGE_PAGES) as usize);
                        let entry = if pinned {
                            Entry::Pinned(one)
                        } else {
                            Entry::Captured(one)
                        };
                        visitor.visit(address, entry);
                    }
                }
                helpers::geist_entry_GEIST_ENTRY_UNCHANGED => {}
                _ => gone(selection, visitor, address, next),
            }
        }
        Ok(())
    }

    /// Visits the pages below one page table. Returns where to go on; `None` where there is no table.
    fn table<S: Selection>(
        &self,
        mapping: &Mapping<'_>,
        pmd: *mut bindings::pmd_t,
        mut address: u64,
        end: u64,
        selection: &S,
        visitor: &mut impl Visitor,
    ) -> Result<Option<u64>> {
        let mm = self.locked.space.raw();
        let mut lock = core::ptr::null_mut();
        // SAFETY: the entry is valid.
        let pte = unsafe { helpers::geist_pte_lock(mm, pmd, address as usize, &mut lock) };
        if pte.is_null() {
            return Ok(None);
        }
        let base = address & !(HUGE_PAGES * PAGE - 1);
        let number = |address: u64| ((address - base) / PAGE) as usize;
        // SAFETY: `pte` is the entry of `address` in a table whose first entry is that of `base`.
        let table = unsafe { pte.sub(number(address)) };
        let mut absent = false;
        while address < end {
            let entries = number(address)..number(end);
            // SAFETY: the table is locked, begins at `base`, and has more entries than these.
            let stopped =
                unsafe { capture_entries(mapping, base, table, entries, selection, visitor) };
            address = base + stopped as u64 * PAGE;
            if address >= end {
                break;
            }
            let (_, written) = selection.table();
            let only_changed = !has_page(written, stopped);
            let mut page = core::ptr::null_mut();
            // SAFETY: the table is locked, and this is its entry for `address`.
            let kind = unsafe {
                helpers::geist_pte_capture(
                    mapping.vma(),
                    address as usize,
                    table.add(stopped),
                    only_changed,
                    &mut page,
                )
            };
            if kind as u32 == helpers::geist_entry_GEIST_ENTRY_ABSENT {
                absent = true;
                break;
            }
            // SAFETY: the helper took a reference where it captured.
            if let Some(entry) = unsafe { entry_of(kind as u32, page, S::TELLS_GONE) } {
                visitor.visit(address, entry);
            }
            address += PAGE;
        }
        // SAFETY: the lock was taken above.
        unsafe { helpers::geist_pte_unlock(lock) };
        if absent {
            self.locked.fault_in(address)?;
            return Ok(Some(address));
        }
        Ok(Some(end))
    }
}

/// Captures the selected of some `entries` of a table, up to one that is to be looked at by itself.
/// Returns the number of that one, or the end.
///
/// # Safety
///
/// `table` is locked, has all the entries, and its first entry is that of `base`, in `mapping`.
unsafe fn capture_entries<S: Selection>(
    mapping: &Mapping<'_>,
    base: u64,
    table: *mut bindings::pte_t,
    entries: core::ops::Range<usize>,
    selection: &S,
    visitor: &mut impl Visitor,
) -> usize {
    const {
        assert!(size_of::<AddressedPage>() == size_of::<helpers::geist_captured>());
    }
    let (wanted, written) = selection.table();
    let (list, low_bits) = visitor.captured();
    let room = list.spare_capacity_mut();
    let mut capture = helpers::geist_capture {
        wanted: wanted.as_ptr().cast(),
        written: written.as_ptr().cast(),
        skip_others: !S::TELLS_GONE,
        low_bits: low_bits as usize,
        // Both are an address and a pointer to a page that is held.
        out: room.as_mut_ptr().cast(),
        room: u32::try_from(room.len()).unwrap_or(u32::MAX),
        count: 0,
    };
    // SAFETY: the table is as the caller says; the bits are those of a whole table, and there is as
    // much room as said.
    let stopped = unsafe {
        helpers::geist_ptes_capture(
            mapping.vma(),
            base as usize,
            table,
            entries.start as u32,
            entries.end as u32,
            &mut capture,
        )
    };
    // SAFETY: so many were filled, within the capacity; the list owns the references.
    unsafe { list.inc_len(capture.count as usize) };
    stopped as usize
}

/// What to tell the visitor of an entry of this `kind`, if anything.
///
/// # Safety
///
/// Where the kind says that `page` was captured, a reference to it is given up.
unsafe fn entry_of(kind: u32, page: *mut bindings::page, tell_gone: bool) -> Option<Entry> {
    match kind {
        helpers::geist_entry_GEIST_ENTRY_CAPTURED => {
            // SAFETY: as the caller says.
            Some(Entry::Captured(unsafe { HeldPage::from_raw(page) }))
        }
        helpers::geist_entry_GEIST_ENTRY_PINNED => {
            // SAFETY: as the caller says.
            Some(Entry::Pinned(unsafe { HeldPage::from_raw(page) }))
        }
        helpers::geist_entry_GEIST_ENTRY_GUARD => Some(Entry::Guard),
        helpers::geist_entry_GEIST_ENTRY_UNKNOWN => Some(Entry::Unknown),
        helpers::geist_entry_GEIST_ENTRY_UNCHANGED => None,
        _ => tell_gone.then_some(Entry::Gone),
    }
}

/// Tells the visitor that nothing is mapped from `start` to `end`, which lie in one 2 MiB block or
/// where the selection tells nothing.
fn gone<S: Selection>(selection: &S, visitor: &mut impl Visitor, start: u64, end: u64) {
    if S::TELLS_GONE {
        let mut from = start;
        while let Some(address) = selection.next(from, end) {
            visitor.visit(address, Entry::Gone);
            from = address + PAGE;
        }
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        let mm = self.locked.space.raw();
        // SAFETY: begun when the value was made; `mmap_lock` is still held, so no task can see a
        // page writable that was captured before the flush is through.
        unsafe {
            helpers::geist_write_protect_end(mm);
            helpers::geist_flush_tlb_mm(mm);
        }
    }
}

impl Mapping<'_> {
    /// The kernel's structure, valid under the lock.
    pub(super) fn vma(&self) -> *mut bindings::vm_area_struct {
        self.raw.vma
    }

    /// First address.
    pub(crate) fn start(&self) -> u64 {
        self.raw.start as u64
    }

    /// Address behind the last.
    pub(crate) fn end(&self) -> u64 {
        self.raw.end as u64
    }

    /// Offset in the file, bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.raw.offset as u64
    }

    /// Whether the flag with this number (`VMA_*_BIT`) is set.
    pub(crate) fn flag(&self, bit: u32) -> bool {
        self.raw.flags as u64 & 1 << bit != 0
    }

    /// The memory protection key, or 0.
    pub(crate) fn protection_key(&self) -> u32 {
        self.raw.protection_key
    }

    /// Private memory without a file.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.raw.anonymous
    }

    /// Backed by a file on the kernel's own tmpfs: memfd, shared anonymous memory.
    pub(crate) fn is_shmem(&self) -> bool {
        self.raw.shmem
    }

    /// Backed by a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.raw.regular
    }

    /// The name of a mapping that the kernel made: `[vdso]`, `[vvar]`.
    pub(crate) fn special_name(&self) -> Option<&CStr> {
        let name = NonNull::new(self.raw.special_name.cast_mut())?;
        // SAFETY: the name of a special mapping is a constant of the kernel.
        Some(unsafe { CStr::from_char_ptr(name.as_ptr()) })
    }

    /// The name that `PR_SET_VMA_ANON_NAME` gave.
    pub(crate) fn anon_name(&self) -> Option<&CStr> {
        let name = NonNull::new(self.raw.anon_name.cast_mut())?;
        // SAFETY: the name lives as long as the mapping, which the lock keeps.
        Some(unsafe { CStr::from_char_ptr(name.as_ptr()) })
    }

    /// The file, or `None`.
    pub(crate) fn file(&self) -> Option<super::fd::FileRef> {
        let file = NonNull::new(self.raw.file)?;
        // SAFETY: the mapping holds a reference to its file, and the lock keeps the mapping.
        Some(unsafe { super::fd::FileRef::get(file) })
    }
}
