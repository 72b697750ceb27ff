// SPDX-License-Identifier: GPL-2.0

//! Files of the image, opened by the client before there is a skeleton.

use super::check::{self, shown, Allowed};
use super::memfd;
use crate::image::Task;
use anyhow::{anyhow, bail, Context as _, Result};
use geist_image::files::{FileObject, ObjectKind};
use geist_image::mm::{vma_flags, VmaKind};
use geist_image::uapi::RestartFile;
use rustix::fs::{self, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::termios::isatty;
use std::collections::btree_map::{BTreeMap, Entry};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

/// Flags that an open file description keeps from its opening.
const KEPT: u32 = (libc::O_ACCMODE
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_DIRECT
    | libc::O_NOATIME
    | libc::O_DIRECTORY
    | libc::O_NOFOLLOW) as u32;
/// Of them, those that are possible with `O_PATH`.
const KEPT_WITH_PATH: u32 = (libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW) as u32;
/// Of them, those that `F_SETFL` can change.
const SETTABLE: u32 = (libc::O_APPEND | libc::O_NONBLOCK | libc::O_DIRECT | libc::O_NOATIME) as u32;
/// The files of a process, open in this one at numbers that the process does not use.
pub struct Files {
    /// Lowest number that no descriptor of the process has or is below.
    pub lowest: i32,
    /// By number of the file object.
    pub objects: BTreeMap<u32, OwnedFd>,
    /// Working directory.
    pub cwd: OwnedFd,
    /// Root directory, when it is not that of the caller.
    pub root: Option<OwnedFd>,
    /// What people should know.
    pub notes: Vec<String>,
    /// Objects to be truncated to these sizes.
    rewinds: Vec<(u32, u64)>,
    /// Seals that can only be set when everything is written.
    late_seals: Vec<(u32, u32)>,
}

/// Opens files for one process.
struct Opener<'a> {
    task: &'a Task,
    allowed: Allowed,
    foreground: bool,
    files: Files,
    /// By inode number; an end that no object is stays in here, and is closed in the end.
    pipes: BTreeMap<u64, Pipe>,
}

impl Files {
    /// Opens all files of a process.
    pub fn open(task: &Task, allowed: Allowed, foreground: bool) -> Result<Self> {
        let used = task.descriptors.iter().map(|descriptor| descriptor.fd);
        let lowest = used.max().map_or(3, |fd| fd + 1).max(3);
        let wanted = u64::from(lowest) + task.objects.len() as u64 + 64;
        allow_descriptors(wanted)?;
        let lowest = i32::try_from(lowest).context("a descriptor of the image")?;
        let pid = task.process.pid;
        let files = Self {
            lowest,
            objects: BTreeMap::new(),
            cwd: directory(pid, &task.cwd.1, lowest)?,
            root: match task.root.as_slice() {
                b"/" => None,
                path => Some(directory(pid, path, lowest)?),
            },
            notes: Vec::new(),
            rewinds: Vec::new(),
            late_seals: Vec::new(),
        };
        let mut opener = Opener {
            task,
            allowed,
            foreground,
            files,
            pipes: BTreeMap::new(),
        };
        for (object, path) in &task.objects {
            if let Some(fd) = opener.open(object, path)? {
                let fd = fcntl_dupfd_cloexec(&fd, lowest)?;
                opener.files.objects.insert(object.object, fd);
            }
        }
        Ok(opener.files)
    }

    /// What the module needs: the files of mappings, and the executable.
    pub fn for_mappings(&self, task: &Task) -> Vec<RestartFile> {
        let mapped = |number: &u32| {
            *number == task.mm.exe_object || task.vmas.iter().any(|(vma, _)| vma.object == *number)
        };
        let named = self.objects.iter().filter(|(number, _)| mapped(number));
        named
            .map(|(number, fd)| RestartFile {
                object: *number,
                fd: fd.as_raw_fd(),
            })
            .collect()
    }

    /// Truncates the files that have grown.
    pub fn rewind(&self) -> Result<()> {
        for (number, size) in &self.rewinds {
            fs::ftruncate(&self.objects[number], *size).context("a file cannot be truncated")?;
        }
        Ok(())
    }

    /// Sets the seals that had to wait.
    pub fn seal(&self) -> Result<()> {
        for (number, seals) in &self.late_seals {
            memfd::seal(self.objects[number].as_fd(), *seals)?;
        }
        Ok(())
    }
}

impl Opener<'_> {
    fn open(&mut self, object: &FileObject, path: &[u8]) -> Result<Option<OwnedFd>> {
        let fd = match ObjectKind::from_number(object.kind) {
            Some(ObjectKind::Regular | ObjectKind::Directory | ObjectKind::Device) => {
                self.by_path(object, path)?
            }
            Some(ObjectKind::Terminal) => self.terminal(object, path)?,
            Some(ObjectKind::Memfd) => self.memfd(object, path)?,
            Some(ObjectKind::SharedAnonymous) => return Ok(None),
            Some(ObjectKind::Pipe) => self.pipe(object)?,
            None => bail!(
                "file object {} of the image has an unknown kind",
                object.object
            ),
        };
        Ok(Some(fd))
    }

    /// The flags to open an object with. A file that only mappings use needs what they need.
    fn flags(&self, object: &FileObject) -> u32 {
        if object.flags & geist_image::files::OBJECT_MAPPED_ONLY == 0 {
            return match object.open_flags & libc::O_PATH as u32 {
                0 => object.open_flags & KEPT,
                _ => object.open_flags & KEPT_WITH_PATH,
            };
        }
        let written = self.task.vmas.iter().any(|(vma, _)| {
            let shared =
                vma.kind == VmaKind::FileShared as u32 || vma.kind == VmaKind::SharedMemory as u32;
            vma.object == object.object && shared && vma.flags & vma_flags::MAY_WRITE != 0
        });
        let access = if written {
            libc::O_RDWR
        } else {
            libc::O_RDONLY
        };
        access as u32 | object.open_flags & KEPT & !(libc::O_ACCMODE as u32)
    }

    /// A file that has a path. It must not lead through a link: the path had none.
    fn by_path(&mut self, object: &FileObject, path: &[u8]) -> Result<OwnedFd> {
        let pid = self.task.process.pid;
        let flags = self.flags(object);
        let is_path = flags & libc::O_PATH as u32 != 0;
        // Not blocking: what was a file may be a pipe by now.
        let extra = match is_path {
            true => OFlags::CLOEXEC,
            false => OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK,
        };
        let fd = fs::openat2(
            fs::CWD,
            path,
            OFlags::from_bits_retain(flags) | extra,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        )
        .map_err(|error| anyhow!(check::missing(pid, path, error.into())))?;
        let stat = fs::fstat(&fd)?;
        check::check(pid, object, path, &stat, self.allowed).map_err(|why| anyhow!(why))?;
        if is_path {
            return Ok(fd);
        }
        self.set_state(object, path, fd.as_fd(), flags)?;
        let size = stat.st_size as u64;
        let regular = object.kind == ObjectKind::Regular as u32;
        if regular && self.allowed.rewind && check::is_written(object) && size > object.size {
            self.files.rewinds.push((object.object, object.size));
        }
        Ok(fd)
    }

    /// Flags that can be set later, and the position.
    fn set_state(
        &self,
        object: &FileObject,
        path: &[u8],
        fd: BorrowedFd<'_>,
        flags: u32,
    ) -> Result<()> {
        let name = || check::file_name(self.task.process.pid, path);
        fs::fcntl_setfl(fd, OFlags::from_bits_retain(flags & SETTABLE)).with_context(name)?;
        let kind = ObjectKind::from_number(object.kind);
        if object.position != 0 && kind != Some(ObjectKind::Terminal) {
            fs::seek(fd, SeekFrom::Start(object.position)).with_context(name)?;
        }
        Ok(())
    }

    /// A terminal: that of the user, or the one it was, or none.
    fn terminal(&mut self, object: &FileObject, path: &[u8]) -> Result<OwnedFd> {
        let flags = self.flags(object);
        let open = |path: &[u8]| {
            let extra = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
            let flags = OFlags::from_bits_retain(flags) | extra;
            fs::open(path, flags, Mode::empty())
                .ok()
                .filter(|fd| isatty(fd))
        };
        let fd = match self.foreground {
            true => self.own_terminal(object, open),
            false => open(path),
        };
        if let Some(fd) = fd {
            self.set_state(object, path, fd.as_fd(), flags)?;
            return Ok(fd);
        }
        self.files.notes.push(format!(
            "the terminal {} of process {} is replaced by /dev/null{}",
            shown(path),
            self.task.process.pid,
            match self.foreground {
                true => ": there is no terminal here",
                false => "; --foreground gives it this terminal",
            }
        ));
        let flags = OFlags::from_bits_retain(flags) | OFlags::CLOEXEC;
        fs::open("/dev/null", flags, Mode::empty()).context("/dev/null")
    }

    /// The terminal behind the standard stream that the object was, or the controlling one.
    fn own_terminal(
        &self,
        object: &FileObject,
        open: impl Fn(&[u8]) -> Option<OwnedFd>,
    ) -> Option<OwnedFd> {
        let fds = self.task.descriptors.iter();
        let standard = fds
            .filter(|descriptor| descriptor.object == object.object && descriptor.fd <= 2)
            .map(|descriptor| descriptor.fd);
        for fd in standard.chain(0..=2) {
            let standard = [
                rustix::stdio::stdin(),
                rustix::stdio::stdout(),
                rustix::stdio::stderr(),
            ][fd as usize];
            if isatty(standard) {
                // A description of its own, so that its flags are not those of the shell's.
                let own = open(format!("/proc/self/fd/{fd}").as_bytes());
                return own.or_else(|| standard.try_clone_to_owned().ok());
            }
        }
        open(b"/dev/tty")
    }

    /// An end of a pipe; the first object of a pipe has it made.
    fn pipe(&mut self, object: &FileObject) -> Result<OwnedFd> {
        let flags = self.flags(object);
        let pipe = match self.pipes.entry(object.inode) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(Pipe::new(object.size)?),
        };
        let fd = pipe.end(flags)?;
        self.set_state(object, b"a pipe", fd.as_fd(), flags)?;
        Ok(fd)
    }

    /// Anonymous memory with a descriptor. Two objects may be one such memory, opened twice.
    fn memfd(&mut self, object: &FileObject, name: &[u8]) -> Result<OwnedFd> {
        let same = |other: &&(FileObject, Vec<u8>)| {
            memfd::same(&other.0, object) && self.files.objects.contains_key(&other.0.object)
        };
        let first = self.task.objects.iter().find(same);
        let fd = match first {
            Some((first, _)) => self.files.objects[&first.object].try_clone()?,
            None => {
                let made = memfd::make(self.task, object, name)?;
                let late = made.late_seals.map(|seals| (object.object, seals));
                self.files.late_seals.extend(late);
                made.fd
            }
        };
        let flags = self.flags(object);
        let plain = flags & libc::O_ACCMODE as u32 == libc::O_RDWR as u32;
        let fd = match first.is_none() && plain {
            true => fd,
            false => {
                opened_again(fd.as_fd(), OFlags::from_bits_retain(flags)).context("a memfd")?
            }
        };
        self.set_state(object, name, fd.as_fd(), flags)?;
        Ok(fd)
    }
}

/// A pipe and those of its ends that nobody has taken yet.
struct Pipe {
    /// Shows it, but is no end of it (`O_PATH`).
    itself: OwnedFd,
    read: Option<OwnedFd>,
    write: Option<OwnedFd>,
}

impl Pipe {
    /// A new one that has room for so many bytes.
    fn new(capacity: u64) -> Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        if rustix::pipe::fcntl_getpipe_size(&read)? as u64 != capacity {
            let wanted = usize::try_from(capacity).context("the capacity of a pipe")?;
            rustix::pipe::fcntl_setpipe_size(&read, wanted).with_context(|| {
                format!(
                    "a pipe cannot have room for {capacity} bytes; this may need CAP_SYS_RESOURCE"
                )
            })?;
        }
        let itself = opened_again(read.as_fd(), OFlags::PATH)?;
        Ok(Self {
            itself,
            read: Some(read),
            write: Some(write),
        })
    }

    /// An open file description of its own for these flags.
    fn end(&mut self, flags: u32) -> Result<OwnedFd> {
        let made = match (flags as i32) & libc::O_ACCMODE {
            libc::O_RDONLY => self.read.take(),
            libc::O_WRONLY => self.write.take(),
            _ => None,
        };
        match made {
            Some(fd) => Ok(fd),
            None => {
                let flags = OFlags::from_bits_retain(flags) | OFlags::NONBLOCK;
                opened_again(self.itself.as_fd(), flags).context("a pipe")
            }
        }
    }
}

/// Another open file description of what `fd` shows.
fn opened_again(fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).context("it cannot be opened again")
}

/// Opens a directory at a number of at least `lowest`.
fn directory(pid: u32, path: &[u8], lowest: i32) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = fs::open(path, flags, Mode::empty())
        .map_err(|error| anyhow!(check::missing(pid, path, error.into())))?;
    Ok(fcntl_dupfd_cloexec(&fd, lowest)?)
}

/// Makes room for descriptors up to number `wanted`.
fn allow_descriptors(wanted: u64) -> Result<()> {
    const NOFILE: u32 = libc::RLIMIT_NOFILE;
    let [soft, hard] = crate::sys::thread::limit(NOFILE)?;
    if soft >= wanted {
        return Ok(());
    }
    crate::sys::thread::set_limit(NOFILE, wanted, hard.max(wanted)).with_context(|| {
        format!("descriptors up to {wanted} are needed, RLIMIT_NOFILE cannot be raised to that")
    })
}
