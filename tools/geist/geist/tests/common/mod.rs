// SPDX-License-Identifier: GPL-2.0

//! Makes small images, as the module would write them, of a process that never was.

use geist_image::control::{ControlHeader, Extent};
use geist_image::files::*;
use geist_image::global::{Global, ManifestEntry, Node, NodeTask, VersionKind};
use geist_image::mm::{vma_flags, AddressSpace, GuardPages, Vma, VmaKind};
use geist_image::name::Name;
use geist_image::record::{padding, End, Record, RecordHeader};
use geist_image::task::*;
use geist_image::task_mm::{Index, IndexEntry, INDEX_ENTRIES};
use geist_image::thread::{
    Registers, Restart, RestartKind, Scheduling, Thread, ThreadState, Xstate,
};
use geist_image::{FileHeader, FileKind, Trailer, CRC_START, PAGE_SIZE};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use zerocopy::{FromZeros, IntoBytes};

/// Pid and application of every made image; no system has as many processes.
pub const PID: u32 = 4_194_000;
/// Where its heap begins.
pub const HEAP: u64 = 0x5555_0000_0000;
/// Where its stack begins.
pub const STACK: u64 = 0x7fff_0000_0000;

/// CRC32C in the convention of the image crate.
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!crc, bytes)
}

/// The records of a `task` file.
#[derive(Default)]
pub struct Records {
    bytes: Vec<u8>,
    count: u64,
}

impl Records {
    /// Adds a record.
    pub fn add<T: Record>(&mut self, value: &T, tail: &[u8]) -> &mut Self {
        let length = size_of::<T>() + tail.len();
        let header = RecordHeader {
            tag: T::TAG,
            length: length as u32,
        };
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.extend_from_slice(tail);
        self.bytes.extend(std::iter::repeat_n(0, padding(length)));
        self.count += 1;
        self
    }

    /// Ends the records.
    pub fn end(mut self) -> Vec<u8> {
        let records = self.count;
        self.add(&End { records }, &[]);
        self.bytes
    }
}

/// A version to be made.
pub struct Made {
    /// Version.
    pub version: u64,
    /// The user's text.
    pub text: &'static str,
    /// A regular file that the process reads.
    pub file: PathBuf,
    /// Stored pages: address and protection.
    pub pages: Vec<(u64, u32)>,
    /// Version that it is an increment on; 0: none.
    pub parent: u64,
    /// An increment: stored pages of older versions that are no longer there, and the number of
    /// those that are.
    pub gone: (Vec<Extent>, u64),
    /// Version whose control file that of this one builds on, when it is not that of the parent.
    pub base: Option<u64>,
    /// Pages of older versions that the control file names itself.
    pub others: Vec<Extent>,
    /// What the content of the pages depends on beside their addresses.
    pub salt: u64,
    /// Size of the heap in pages.
    pub heap_pages: u64,
    /// Changes the process before it is written.
    pub process: fn(&mut Process),
    /// Changes the body of a file before it gets its checksums.
    pub forge: Box<dyn Fn(FileKind, Vec<u8>) -> Vec<u8>>,
}

impl Made {
    /// A version with a few pages; `dir` is where a file of the process is put.
    pub fn new(dir: &Path, version: u64) -> Self {
        let file = dir.join("input.txt");
        if !file.exists() {
            fs::write(&file, "the input of a process\n").unwrap();
        }
        let page = |number: u64| HEAP + number * PAGE_SIZE as u64;
        Self {
            version,
            text: "before the long run",
            file,
            pages: vec![(page(0), 3), (page(1), 3), (page(3), 3), (STACK, 3)],
            parent: 0,
            gone: (Vec::new(), 0),
            base: None,
            others: Vec::new(),
            salt: 0,
            heap_pages: 8,
            process: |_| {},
            forge: Box::new(|_, body| body),
        }
    }

    /// Writes all files of the version into the directory of its application below `store`.
    pub fn write(&self, store: &Path) -> PathBuf {
        let dir = store.join(PID.to_string());
        fs::create_dir_all(&dir).unwrap();
        let mut manifest = Vec::new();
        let mut put = |kind: FileKind, pid: u32, bytes: &[u8], crc: u32| {
            fs::write(dir.join(Name::new(kind, pid, self.version).as_str()), bytes).unwrap();
            manifest.push(ManifestEntry {
                kind: kind as u32,
                pid,
                bytes: bytes.len() as u64,
                crc,
                reserved: 0,
            });
        };
        let framed = |kind, pid, body: &[u8]| {
            let body = &(self.forge)(kind, body.to_vec())[..];
            let header = FileHeader::new(kind, PID, pid, self.version, crc32c);
            let crc = crc32c(CRC_START, body);
            let trailer = Trailer::new(body.len() as u64, crc);
            ([header.as_bytes(), body, trailer.as_bytes()].concat(), crc)
        };
        let text = format!(
            "Date: 2026-11-23 07:06:09 UTC\nVersion: {}\nDescription: {}\nLeft out: fd 9: a TCP socket\n",
            self.version, self.text
        );
        let crc = crc32c(CRC_START, text.as_bytes());
        put(FileKind::Description, 0, text.as_bytes(), crc);
        let (bytes, crc) = framed(FileKind::Node, 0, &self.node());
        put(FileKind::Node, 0, &bytes, crc);
        let (bytes, crc) = framed(FileKind::Task, PID, &self.task());
        put(FileKind::Task, PID, &bytes, crc);
        let (bytes, crc) = self.task_mm();
        put(FileKind::TaskMm, PID, &bytes, crc);
        let (bytes, crc) = framed(FileKind::Control, PID, &self.control());
        put(FileKind::Control, PID, &bytes, crc);
        let (bytes, _) = framed(FileKind::Global, 0, &self.global(&manifest));
        let name = Name::new(FileKind::Global, 0, self.version);
        fs::write(dir.join(name.as_str()), bytes).unwrap();
        dir
    }

    fn node(&self) -> Vec<u8> {
        let node = Node { node: 0, tasks: 1 };
        let task = NodeTask {
            pid: PID,
            ppid: 1,
            threads: 1,
            reserved: 0,
        };
        [node.as_bytes(), task.as_bytes()].concat()
    }

    fn global(&self, manifest: &[ManifestEntry]) -> Vec<u8> {
        let mut global = Global::new_zeroed();
        global.app = PID;
        global.kind = match self.parent {
            0 => VersionKind::Full as u32,
            _ => VersionKind::Increment as u32,
        };
        global.parent = self.parent;
        global.version = self.version;
        global.node_mask = 1;
        global.realtime_ns = 1_795_417_569_000_000_000;
        global.kernel[..5].copy_from_slice(b"7.3.4");
        global.pause_us = 812;
        global.pages = self.pages.len() as u64;
        global.files = manifest.len() as u32;
        global.left_out = 1;
        [global.as_bytes(), manifest.as_bytes()].concat()
    }

    /// The `task_mm` file and the checksum of its indexes.
    pub fn task_mm(&self) -> (Vec<u8>, u32) {
        let header = FileHeader::new(FileKind::TaskMm, PID, PID, self.version, crc32c);
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(PAGE_SIZE, 0);
        let mut index_crc = CRC_START;
        let mut blocks: Vec<&[(u64, u32)]> = self.pages.chunks(INDEX_ENTRIES).collect();
        if self.pages.len() % INDEX_ENTRIES == 0 {
            blocks.push(&[]);
        }
        for (number, block) in blocks.iter().enumerate() {
            let mut index = Index::empty(number as u64);
            let content: Vec<Vec<u8>> = block
                .iter()
                .map(|(address, _)| page(*address, self.salt))
                .collect();
            for (entry, ((address, protection), page)) in
                index.entries.iter_mut().zip(block.iter().zip(&content))
            {
                *entry = IndexEntry::page(*address, *protection, crc32c(CRC_START, page));
            }
            if block.len() < INDEX_ENTRIES {
                index.entries[block.len()] = IndexEntry::end(self.pages.len() as u64);
            }
            index.seal(crc32c);
            index_crc = crc32c(index_crc, index.as_bytes());
            bytes.extend_from_slice(index.as_bytes());
            bytes.extend(content.concat());
        }
        (bytes, index_crc)
    }

    fn control(&self) -> Vec<u8> {
        let mut extents: Vec<Extent> = Vec::new();
        for (offset, (address, _)) in (0..).zip(&self.pages) {
            match extents.last_mut() {
                Some(last) if last.end() == Some(*address) => last.pages += 1,
                _ => extents.push(Extent {
                    address: *address,
                    pages: 1,
                    version: self.version,
                    offset,
                }),
            }
        }
        let (gone, left) = &self.gone;
        extents.extend(gone);
        extents.extend(&self.others);
        extents.sort_by_key(|extent| extent.address);
        let header = ControlHeader {
            vma_count: 3,
            address_count: self.pages.len() as u64 + left,
            app: PID,
            reserved: 0,
            base: self.base.unwrap_or(self.parent),
            extents: extents.len() as u64,
        };
        [header.as_bytes(), extents.as_bytes()].concat()
    }

    fn task(&self) -> Vec<u8> {
        let mut records = Records::default();
        let mut process = Process::new_zeroed();
        (process.pid, process.ppid, process.pgid, process.sid) = (PID, 1, PID, PID);
        (process.threads, process.dumpable) = (1, 1);
        process.start_time_ns = 55_000_000_000;
        (self.process)(&mut process);
        let mut creds = Creds::new_zeroed();
        creds.groups = 2;
        let mut handlers = SignalHandlers::new_zeroed();
        handlers.actions[1].handler = 0x5555_0000_1000;
        let mut pending = PendingSignal::new_zeroed();
        pending.siginfo[0] = 10;
        records
            .add(&process, &[])
            .add(&creds, [4u32, 27].as_bytes())
            .add(&Rlimits::new_zeroed(), &[])
            .add(&handlers, &[])
            .add(&pending, &[])
            .add(&IntervalTimers::new_zeroed(), &[]);
        self.files(&mut records);
        self.memory(&mut records);
        self.thread(&mut records);
        records.end()
    }

    fn files(&self, records: &mut Records) {
        let metadata = fs::metadata(&self.file).unwrap();
        let mut regular = FileObject::new_zeroed();
        regular.object = 1;
        regular.kind = ObjectKind::Regular as u32;
        regular.flags = OBJECT_UNCHANGED;
        regular.size = metadata.len();
        regular.position = 4;
        regular.mode = metadata.mode();
        regular.mtime_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
        let mut null = FileObject::new_zeroed();
        null.object = 2;
        null.kind = ObjectKind::Device as u32;
        null.open_flags = 2;
        null.rdev = (1 << 8) | 3;
        let mut memfd = FileObject::new_zeroed();
        memfd.object = 3;
        memfd.kind = ObjectKind::Memfd as u32;
        memfd.size = 100;
        let path = self.file.as_os_str().as_encoded_bytes();
        records.add(&regular, path).add(&null, b"/dev/null");
        records.add(&memfd, b"notes");
        for (fd, object) in [(0, 2), (1, 2), (3, 1), (4, 3)] {
            let flags = DESCRIPTOR_CLOEXEC & u32::from(fd == 3);
            let reserved = 0;
            let descriptor = Descriptor {
                fd,
                object,
                flags,
                reserved,
            };
            records.add(&descriptor, &[]);
        }
        let lock = FileLock {
            object: 1,
            kind: LockKind::Posix as u32,
            exclusive: 0,
            reserved: 0,
            start: 0,
            end: i64::MAX as u64,
        };
        let content = MemfdContent {
            object: 3,
            reserved: 0,
            offset: 10,
        };
        let (umask, fd, reserved) = (0o022, 9, 0);
        records
            .add(&lock, &[])
            .add(&LeftOut { fd, reserved }, b"a TCP socket")
            .add(&WorkingDirectory { umask, reserved }, b"/tmp")
            .add(&RootDirectory { reserved: 0 }, b"/")
            .add(&content, b"kept in a memfd");
    }

    fn memory(&self, records: &mut Records) {
        let mut mm = AddressSpace::new_zeroed();
        (mm.start_brk, mm.brk) = (HEAP, HEAP + self.heap_pages * PAGE_SIZE as u64);
        (mm.exe_object, mm.vmas) = (1, 3);
        let may = vma_flags::MAY_READ | vma_flags::MAY_WRITE | vma_flags::MAY_EXEC;
        let vma = |start: u64, pages: u64, flags, kind: VmaKind, object| Vma {
            start,
            end: start + pages * PAGE_SIZE as u64,
            flags: flags | may,
            offset: 0,
            kind: kind as u32,
            object,
        };
        let (read, write) = (vma_flags::READ, vma_flags::READ | vma_flags::WRITE);
        let stack = write | vma_flags::GROWS_DOWN;
        let guard = GuardPages {
            start: HEAP + 4 * PAGE_SIZE as u64,
            end: HEAP + 5 * PAGE_SIZE as u64,
        };
        records
            .add(&mm, &[])
            .add(&vma(0x40_0000, 1, read, VmaKind::FilePrivate, 1), &[])
            .add(
                &vma(HEAP, self.heap_pages, write, VmaKind::Anonymous, 0),
                b"arena",
            )
            .add(&vma(STACK, 2, stack, VmaKind::Anonymous, 0), &[])
            .add(&guard, &[]);
    }

    fn thread(&self, records: &mut Records) {
        let mut thread = Thread::new_zeroed();
        thread.tid = PID;
        thread.state = ThreadState::Syscall as u32;
        thread.comm[..6].copy_from_slice(b"dreamy");
        thread.blocked = 1 << 9;
        let mut scheduling = Scheduling::new_zeroed();
        scheduling.affinity_bytes = 8;
        let mut restart = Restart::new_zeroed();
        restart.kind = RestartKind::Nanosleep as u32;
        restart.expires_ns = 60_000_000_000;
        let registers: Vec<u64> = (0..27).map(|number| number * 0x1111).collect();
        records
            .add(&thread, &[])
            .add(&Registers { length: 27 * 8 }, registers.as_bytes())
            .add(&Xstate { length: 64 }, &[0x5a; 64])
            .add(&scheduling, &3u64.to_le_bytes())
            .add(&restart, &[]);
    }
}

/// The content of the page at an address; of zeros with the highest salt.
pub fn page(address: u64, salt: u64) -> Vec<u8> {
    let byte = |n: u64| match salt {
        u64::MAX => 0,
        _ => (address / 4096 * 31 + n * 7 + salt * (n + 1)) as u8,
    };
    (0..PAGE_SIZE as u64).map(byte).collect()
}
