// SPDX-License-Identifier: GPL-2.0

//! Capture of an address space: its fields, its mappings, its pages.

use super::changes::Changes;
use super::files::FileTable;
use super::pages::{self, Gathered, Range, Wanted};
use super::paranoid::Seen;
use super::task_mm::{Pages, ZERO_UNLESS_STORED};
use crate::app::FrozenProcess;
use crate::error::{fail, Outcome};
use crate::ghost::RecordWriter;
use crate::image::files::ObjectKind;
use crate::image::mm::{self, Vma, VmaKind};
use crate::image::{CRC_START, PAGE_SIZE};
use crate::knobs::KNOBS;
use crate::sys::crc32c::crc32c;
use crate::sys::fd::FileRef;
use crate::sys::mm::{read_memory, vma_bits, AddressSpace, Fields, Mapping};
use crate::sys::page::NewPage;
use crate::track::{Backing, DirtySet, Layout};
use core::mem;
use kernel::prelude::*;

/// A mapping, as far as the capture of its pages must know it.
pub(super) struct Plan {
    pub(super) vma: Vma,
    pub(super) file: Option<FileRef>,
    pub(super) may_have_guards: bool,
    name: KVec<u8>,
    writable_shared: bool,
}

impl Plan {
    /// Whether its changed pages belong to the process alone.
    pub(super) fn is_private(&self) -> bool {
        [VmaKind::Anonymous as u32, VmaKind::FilePrivate as u32].contains(&self.vma.kind)
    }

    /// What its pages are captured with (see [`Pages::push`]).
    pub(super) fn protection(&self) -> u32 {
        let protection = self.vma.flags as u32 & 7;
        // Under a page of a private mapping of a file lies that of the file.
        if self.vma.kind == VmaKind::FilePrivate as u32 {
            protection
        } else {
            protection | ZERO_UNLESS_STORED
        }
    }

    fn backing(&self) -> Backing {
        match &self.file {
            Some(file) => Backing {
                kind: self.vma.kind,
                file: file.identity(),
                shift: self.vma.start.wrapping_sub(self.vma.offset),
            },
            None => Backing {
                kind: self.vma.kind,
                file: (0, 0),
                shift: 0,
            },
        }
    }
}

/// A vDSO, and the checksum of its content.
#[derive(Clone, Copy)]
pub(crate) struct Vdso {
    start: u64,
    end: u64,
    crc: u32,
}

/// What the last capture of an address space found: the next one prepares for as much before it
/// freezes the process.
#[derive(Clone, Copy, Default)]
pub(crate) struct Expected {
    /// The vDSO. It is the kernel's, and what it holds does not change while the process runs.
    pub(super) vdso: Option<Vdso>,
    /// Bytes of all records.
    pub(super) state: usize,
    /// Pages.
    pub(super) pages: usize,
}

/// A range of a memfd or of shared anonymous memory that mappings show.
pub(crate) struct Shown {
    /// The file object.
    pub(crate) object: u32,
    /// First byte in the object.
    pub(crate) start: u64,
    /// Byte behind the last.
    pub(crate) end: u64,
}

impl Vdso {
    /// Reads the one that `plan` maps. May sleep.
    fn read(process: &FrozenProcess, plan: &Plan) -> Outcome<Self> {
        let (start, end) = (plan.vma.start, plan.vma.end);
        let mut crc = CRC_START;
        let mut page = NewPage::new()?;
        for address in (start..end).step_by(PAGE_SIZE) {
            let bytes = page.bytes();
            if read_memory(&process.leader, address, bytes) != bytes.len() {
                fail!(EFAULT, "pid {}: its vDSO cannot be read", process.pid);
            }
            crc = crc32c(crc, bytes);
        }
        Ok(Self { start, end, crc })
    }

    fn is_that_of(&self, plan: &Plan) -> bool {
        (self.start, self.end) == (plan.vma.start, plan.vma.end)
    }
}

/// What the capture of an address space gave.
pub(crate) struct Memory {
    /// Pages of the process alone.
    pub(crate) pages: Pages,
    /// Pages of shared memory, all that there are.
    pub(crate) shared: Pages,
    /// Ranges in which no page of an earlier version counts any more, but those captured now.
    pub(crate) gone: KVVec<Range>,
    /// Addresses of blocks of which many pages may well be what they were.
    pub(crate) doubted: KVVec<u64>,
    /// The mappings.
    pub(crate) layout: Layout,
    /// What of shared objects is in the pages.
    pub(crate) shown: KVec<Shown>,
    /// Files with shared mappings, to be flushed before the version is committed.
    pub(crate) shared_files: KVec<FileRef>,
    /// Everything was captured, whatever could be built on.
    pub(crate) complete: bool,
    /// What was seen of all private pages, if somebody is paranoid.
    pub(crate) seen: Option<Seen>,
}

impl Memory {
    /// What both captures gave, of which `later` builds on the one `before`. May sleep.
    pub(super) fn of_both(mut before: KBox<Self>, mut later: KBox<Self>) -> Outcome<KBox<Self>> {
        if later.complete {
            return Ok(later);
        }
        let mut gone = KVVec::new();
        gone.extend_from_slice(&later.gone, GFP_KERNEL)?;
        // What was unmapped in between is not even asked for.
        later
            .layout
            .gaps(|start, end| Ok(gone.push((start, end), GFP_KERNEL)?))?;
        let changes = Changes::new(later.pages.addresses(), &gone)?;
        before.pages.retain(|address, _| !changes.has(address));
        // In any order: they are sorted when it is decided what is stored.
        later
            .pages
            .append(mem::replace(&mut before.pages, Pages::new()))?;
        later.gone.extend_from_slice(&before.gone, GFP_KERNEL)?;
        later
            .doubted
            .extend_from_slice(&before.doubted, GFP_KERNEL)?;
        later.complete = before.complete;
        Ok(later)
    }
}

/// Captures the memory of `process`: records to `out`, pages by reference.
///
/// Belongs to the pause: nothing is written, and only what cannot be held is copied. May sleep.
pub(super) fn capture(
    process: &FrozenProcess,
    space: &AddressSpace,
    (wanted, room): (&mut Wanted<'_>, Gathered),
    known_vdso: &mut Option<Vdso>,
    files: &mut FileTable,
    out: &mut RecordWriter<'_>,
) -> Outcome<KBox<Memory>> {
    let pid = process.pid;
    let View {
        fields,
        mut plans,
        layout,
        gathered,
        seen,
    } = look(pid, space, wanted, room, KNOBS.paranoid())?;
    let vdso = plans
        .iter()
        .find(|plan| plan.vma.kind == VmaKind::Vdso as u32);
    if let Some(plan) = vdso {
        if !known_vdso.is_some_and(|known| known.is_that_of(plan)) {
            *known_vdso = Some(Vdso::read(process, plan)?);
        }
    }
    let vdso = known_vdso.filter(|_| vdso.is_some());
    export_space(process, space, &fields, plans.len(), vdso, files, out)?;
    let mut shown = KVec::new();
    let mut shared_files = KVec::new();
    for plan in plans.iter_mut() {
        export_vma(pid, plan, files, &mut shown, &mut shared_files, out)?;
    }
    for guard in gathered.guards.iter() {
        out.record(guard)?;
    }
    let mut shared = Pages::new();
    for plan in plans.iter() {
        pages::capture_shared(pid, plan, &mut shared)?;
    }
    let memory = Memory {
        pages: gathered.pages,
        shared,
        gone: gathered.gone,
        doubted: gathered.doubted,
        layout,
        shown,
        shared_files,
        complete: matches!(wanted, Wanted::All(_)),
        seen,
    };
    // It is handed on many times, and the kernel's stack is small.
    Ok(KBox::new(memory, GFP_KERNEL)?)
}

/// Makes what `space` holds now count as captured: only what is written from here on changes. The
/// process does not run. Returns the mappings. May sleep.
pub(crate) fn mark_clean(pid: u32, space: &AddressSpace, set: &DirtySet) -> Outcome<Layout> {
    // The captured pages are let go at once.
    let room = Gathered::with_room_for(0)?;
    Ok(look(pid, space, &mut Wanted::All(Some(set)), room, false)?.layout)
}

/// What was found in a locked address space.
struct View {
    fields: Fields,
    plans: KVVec<Plan>,
    layout: Layout,
    gathered: Gathered,
    seen: Option<Seen>,
}

/// What has to be done while `space` is locked: describes all mappings, or names one that cannot be
/// checkpointed, and captures the pages that belong to the process alone.
fn look(
    pid: u32,
    space: &AddressSpace,
    wanted: &mut Wanted<'_>,
    room: Gathered,
    paranoid: bool,
) -> Outcome<View> {
    let locked = space.lock()?;
    let mappings = locked.mappings()?;
    let mut plans = KVVec::with_capacity(mappings.len(), GFP_KERNEL)?;
    let mut layout = Layout::with_room_for(mappings.len())?;
    for mapping in mappings.iter() {
        let plan = plan_of(pid, mapping)?;
        layout.push(plan.vma.start, plan.vma.end, plan.backing())?;
        plans.push(plan, GFP_KERNEL)?;
    }
    if let Wanted::Changed(set, old, _) = wanted {
        if KNOBS.seed_layout_rule() && !layout.counts_as(old) {
            *wanted = Wanted::All(Some(set));
        }
    }
    let gathered = pages::capture_private(pid, &locked, &mappings, &plans, &layout, wanted, room)?;
    let mut seen = None;
    if paranoid {
        let mut now = Seen::look(pid, &locked, &mappings, &plans)?;
        if let Wanted::Changed(_, _, Some(old)) = wanted {
            let changes = Changes::new(gathered.pages.addresses(), &gathered.gone)?;
            now.compare(pid, old, &changes, &plans)?;
        }
        seen = Some(now);
    }
    Ok(View {
        fields: locked.fields(),
        plans,
        layout,
        gathered,
        seen,
    })
}

/// Kernel flags of mappings that cannot be checkpointed.
static UNSUPPORTED: [(u32, &str); 7] = [
    (vma_bits::HUGETLB, "of huge pages (hugetlbfs)"),
    (vma_bits::UFFD_MISSING, "watched through userfaultfd"),
    (vma_bits::UFFD_WP, "watched through userfaultfd"),
    (vma_bits::UFFD_MINOR, "watched through userfaultfd"),
    (vma_bits::UFFD_RWP, "watched through userfaultfd"),
    (vma_bits::SHADOW_STACK, "used as a shadow stack"),
    (vma_bits::SYNC, "synchronous (MAP_SYNC)"),
];

fn plan_of(pid: u32, mapping: &Mapping<'_>) -> Outcome<Plan> {
    let (start, end) = (mapping.start(), mapping.end());
    let refuse = |what: core::fmt::Arguments<'_>| {
        crate::error::Failure::new(
            EOPNOTSUPP,
            format_args!(
                "pid {pid}: the mapping at {start:#x}-{end:#x} is {what}, which geist cannot checkpoint yet"
            ),
        )
    };
    for (bit, what) in &UNSUPPORTED {
        if mapping.flag(*bit) {
            return Err(refuse(format_args!("{what}")));
        }
    }
    if mapping.protection_key() != 0 {
        return Err(refuse(format_args!("guarded by a memory protection key")));
    }
    let special = mapping.special_name().and_then(|name| name.to_str().ok());
    let shared = mapping.flag(vma_bits::MAY_SHARE);
    let kind = match special {
        Some("[vdso]") => VmaKind::Vdso,
        Some(name) if name.starts_with("[vvar") => VmaKind::Vvar,
        Some(name) => return Err(refuse(format_args!("the kernel's {name}"))),
        None if mapping.flag(vma_bits::PFN_MAP)
            || mapping.flag(vma_bits::IO)
            || mapping.flag(vma_bits::MIXED_MAP) =>
        {
            return Err(refuse(format_args!("of a device")))
        }
        None if mapping.is_anonymous() => VmaKind::Anonymous,
        None if mapping.is_shmem() && shared => VmaKind::SharedMemory,
        None if mapping.is_shmem() || mapping.is_regular() => {
            if shared {
                VmaKind::FileShared
            } else {
                VmaKind::FilePrivate
            }
        }
        None => return Err(refuse(format_args!("of something that is not a file"))),
    };
    let mut name = KVec::new();
    if let Some(anon_name) = mapping.anon_name() {
        name.extend_from_slice(anon_name.to_bytes(), GFP_KERNEL)?;
    }
    let backed = !matches!(kind, VmaKind::Anonymous | VmaKind::Vdso | VmaKind::Vvar);
    Ok(Plan {
        vma: Vma {
            start,
            end,
            flags: mapping.image_flags(),
            // Only that of a file means anything.
            offset: if backed { mapping.offset() } else { 0 },
            kind: kind as u32,
            object: 0,
        },
        name,
        may_have_guards: mapping.flag(vma_bits::MAY_HAVE_GUARDS),
        file: if backed { mapping.file() } else { None },
        writable_shared: shared && mapping.flag(vma_bits::MAY_WRITE),
    })
}

fn export_space(
    process: &FrozenProcess,
    space: &AddressSpace,
    fields: &Fields,
    vmas: usize,
    vdso: Option<Vdso>,
    files: &mut FileTable,
    out: &mut RecordWriter<'_>,
) -> Outcome {
    let pid = process.pid;
    let Some(exe) = space.executable() else {
        fail!(EOPNOTSUPP, "pid {pid} has no executable");
    };
    let (exe_object, _) =
        files.mapped_object(&exe, false, pid, format_args!("the executable"), out)?;
    let [start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end, env_start, env_end] =
        fields.map;
    out.record(&mm::AddressSpace {
        start_code,
        end_code,
        start_data,
        end_data,
        start_brk,
        brk,
        start_stack,
        arg_start,
        arg_end,
        env_start,
        env_end,
        mmap_base: fields.mmap_base,
        vdso: fields.vdso,
        vdso_bytes: vdso.map_or(0, |vdso| vdso.end - vdso.start),
        vdso_crc: vdso.map_or(0, |vdso| vdso.crc),
        exe_object,
        lock_future: u32::from(fields.lock_future) | u32::from(fields.lock_on_fault) << 1,
        thp_disable: u32::from(fields.thp_disabled),
        vmas: vmas as u64,
        auxv: fields.auxv,
    })
}

fn export_vma(
    pid: u32,
    plan: &mut Plan,
    files: &mut FileTable,
    shown: &mut KVec<Shown>,
    shared_files: &mut KVec<FileRef>,
    out: &mut RecordWriter<'_>,
) -> Outcome {
    let vma = &mut plan.vma;
    if let Some(file) = &plan.file {
        let (object, kind) = files.mapped_object(
            file,
            plan.writable_shared,
            pid,
            format_args!("the mapping at {:#x}-{:#x}", vma.start, vma.end),
            out,
        )?;
        vma.object = object;
        if vma.kind == VmaKind::SharedMemory as u32 {
            let range = Shown {
                object,
                start: vma.offset,
                end: vma.offset.saturating_add(vma.end - vma.start),
            };
            shown.push(range, GFP_KERNEL)?;
        } else if vma.kind == VmaKind::FileShared as u32 && kind == ObjectKind::Regular {
            shared_files.push(file.clone(), GFP_KERNEL)?;
        }
    }
    out.record_with_tail(vma, &plan.name)
}
