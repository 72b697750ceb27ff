// SPDX-License-Identifier: GPL-2.0

//! The `task` file: all records of a process, taken apart.

use geist_image::files::{
    Descriptor, FileLock, FileObject, LeftOut, MemfdContent, RootDirectory, WorkingDirectory,
};
use geist_image::mm::{vma_flags, AddressSpace, GuardPages, Vma};
use geist_image::record::{RawRecord, Record, Records};
use geist_image::task::{Creds, IntervalTimers, PendingSignal, Process, Rlimits, SignalHandlers};
use geist_image::thread::{self, Registers, Restart, Scheduling, Xstate};
use geist_image::{values, Damage};

/// A process.
#[derive(Clone, Debug)]
pub struct Task {
    /// The process itself.
    pub process: Process,
    /// Its credentials.
    pub creds: Creds,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Its resource limits.
    pub limits: Rlimits,
    /// Its signal handlers.
    pub handlers: SignalHandlers,
    /// Signals pending for the process.
    pub pending: Vec<PendingSignal>,
    /// Its interval timers.
    pub timers: IntervalTimers,
    /// File objects with their paths.
    pub objects: Vec<(FileObject, Vec<u8>)>,
    /// Descriptors.
    pub descriptors: Vec<Descriptor>,
    /// File locks.
    pub locks: Vec<FileLock>,
    /// Descriptors left out, and what they were.
    pub left_out: Vec<(LeftOut, Vec<u8>)>,
    /// Working directory.
    pub cwd: (WorkingDirectory, Vec<u8>),
    /// Root directory.
    pub root: Vec<u8>,
    /// Content of memfds that no mapping shows.
    pub memfd_content: Vec<(MemfdContent, Vec<u8>)>,
    /// Address space.
    pub mm: AddressSpace,
    /// Mappings with their names.
    pub vmas: Vec<(Vma, Vec<u8>)>,
    /// Guard pages.
    pub guards: Vec<GuardPages>,
    /// Threads, the first being the leader.
    pub threads: Vec<Thread>,
}

/// A thread.
#[derive(Clone, Debug)]
pub struct Thread {
    /// The thread itself.
    pub thread: thread::Thread,
    /// `struct user_regs_struct`.
    pub registers: Vec<u8>,
    /// Floating point and vector registers.
    pub xstate: Vec<u8>,
    /// Scheduling and the affinity mask.
    pub scheduling: (Scheduling, Vec<u8>),
    /// An interrupted system call.
    pub restart: Option<Restart>,
    /// Signals pending for the thread.
    pub pending: Vec<PendingSignal>,
}

/// Records gathered so far; a record that comes twice or that must be there and is not is damage.
#[derive(Default)]
struct Gather<'a> {
    records: Vec<RawRecord<'a>>,
}

impl Gather<'_> {
    /// All records of kind `T`, taken out.
    fn all<T: Record>(&mut self) -> Result<Vec<(T, Vec<u8>)>, Damage> {
        let mut found = Vec::new();
        let mut others = Vec::new();
        for record in self.records.drain(..) {
            match record.decode::<T>() {
                Some(decoded) => {
                    let (value, tail) = decoded?;
                    found.push((value, tail.to_vec()));
                }
                None => others.push(record),
            }
        }
        self.records = others;
        Ok(found)
    }

    /// The records of kind `T`, which has no tail.
    fn plain<T: Record>(&mut self) -> Result<Vec<T>, Damage> {
        Ok(self.all()?.into_iter().map(|(value, _)| value).collect())
    }

    /// The only record of kind `T`, if there is one.
    fn option<T: Record>(&mut self) -> Result<Option<(T, Vec<u8>)>, Damage> {
        let mut found = self.all()?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(Damage::Value(T::NAME)),
        }
    }

    /// The only record of kind `T`.
    fn one<T: Record>(&mut self) -> Result<(T, Vec<u8>), Damage> {
        self.option()?.ok_or(Damage::Missing(T::NAME))
    }

    /// Nothing may be left.
    fn finish(self) -> Result<(), Damage> {
        match self.records.first() {
            Some(_) => Err(Damage::Value("the kind of a record")),
            None => Ok(()),
        }
    }
}

/// `u32`s from the tail of a record.
fn numbers(tail: &[u8]) -> Vec<u32> {
    tail.chunks_exact(4)
        .filter_map(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)))
        .collect()
}

/// The tail, which must have the length that the record gives.
fn sized(tail: Vec<u8>, length: u64, what: &'static str) -> Result<Vec<u8>, Damage> {
    match tail.len() as u64 == length {
        true => Ok(tail),
        false => Err(Damage::Value(what)),
    }
}

impl Task {
    /// Takes the body of a `task` file apart.
    pub fn parse(body: &[u8]) -> Result<Self, Damage> {
        let mut process = Gather::default();
        let mut threads: Vec<(thread::Thread, Gather<'_>)> = Vec::new();
        for (number, record) in Records::new(body).enumerate() {
            let record = record?;
            values::check(&record)?;
            if (number == 0) != (record.tag == Process::TAG) {
                return Err(Damage::Value(Process::NAME));
            }
            if let Some(thread) = record.decode::<thread::Thread>() {
                threads.push((thread?.0, Gather::default()));
            } else {
                let gather = threads.last_mut().map_or(&mut process, |(_, last)| last);
                gather.records.push(record);
            }
        }
        let threads = threads
            .into_iter()
            .map(|(thread, gather)| Thread::parse(thread, gather))
            .collect::<Result<Vec<_>, _>>()?;
        let (creds, groups) = process.one::<Creds>()?;
        let groups = sized(groups, u64::from(creds.groups) * 4, Creds::NAME)?;
        let task = Self {
            process: process.one()?.0,
            creds,
            groups: numbers(&groups),
            limits: process.one()?.0,
            handlers: process.one()?.0,
            pending: process.plain()?,
            timers: process.one()?.0,
            objects: process.all()?,
            descriptors: process.plain()?,
            locks: process.plain()?,
            left_out: process.all()?,
            cwd: process.one()?,
            root: process.one::<RootDirectory>()?.1,
            memfd_content: process.all()?,
            mm: process.one()?.0,
            vmas: process.all()?,
            guards: process.plain()?,
            threads,
        };
        process.finish()?;
        task.check_counts()?;
        Ok(task)
    }

    fn check_counts(&self) -> Result<(), Damage> {
        if self.process.threads as usize != self.threads.len() || self.threads.is_empty() {
            return Err(Damage::Value("the number of threads"));
        }
        if self.threads[0].thread.tid != self.process.pid {
            return Err(Damage::Value("the first thread"));
        }
        if self.mm.vmas != self.vmas.len() as u64 {
            return Err(Damage::Value("the number of mappings"));
        }
        Ok(())
    }

    /// The access that the mapping at an address gives (`PROT_*`).
    pub fn protection(&self, address: u64) -> u32 {
        let behind = self.vmas.partition_point(|(vma, _)| vma.end <= address);
        let mapping = self.vmas.get(behind);
        let bits = vma_flags::READ | vma_flags::WRITE | vma_flags::EXEC;
        mapping
            .filter(|(vma, _)| vma.start <= address)
            .map_or(0, |(vma, _)| (vma.flags & bits) as u32)
    }

    /// The file object with this number.
    pub fn object(&self, number: u32) -> Option<&(FileObject, Vec<u8>)> {
        self.objects
            .iter()
            .find(|(object, _)| object.object == number)
    }

    /// Its name.
    pub fn comm(&self) -> String {
        let comm = &self.threads[0].thread.comm;
        let end = comm.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&comm[..end.unwrap_or(comm.len())]).into_owned()
    }
}

impl Thread {
    fn parse(thread: thread::Thread, mut records: Gather<'_>) -> Result<Self, Damage> {
        let (registers, registers_tail) = records.one::<Registers>()?;
        let (xstate, xstate_tail) = records.one::<Xstate>()?;
        let (scheduling, affinity) = records.one::<Scheduling>()?;
        let length = u64::from(scheduling.affinity_bytes);
        let parsed = Self {
            thread,
            registers: sized(registers_tail, registers.length, Registers::NAME)?,
            xstate: sized(xstate_tail, xstate.length, Xstate::NAME)?,
            scheduling: (scheduling, sized(affinity, length, Scheduling::NAME)?),
            restart: records.option()?.map(|(restart, _)| restart),
            pending: records.plain()?,
        };
        records.finish()?;
        Ok(parsed)
    }
}
