// SPDX-License-Identifier: GPL-2.0

//! Folders and files of sysfs.
//!
//! A folder is a kobject of the kernel's own kind, whose release is the kernel's; what it shows
//! belongs to the [`Folder`]. When that goes, the kernel waits for whoever is in one of its files,
//! and lets nobody in any more, however long the file stays open.

use super::helpers;
use core::{fmt, ptr::NonNull};
use kernel::{bindings, error::to_result, ffi, prelude::*, sync::Arc};

/// Bytes that a file shows at most, newline included.
const PAGE_BYTES: usize = crate::image::PAGE_SIZE - 1;

/// Mode of a file that everybody reads.
pub(crate) const READ_ONLY: u32 = 0o444;
/// Mode of a file that root reads.
pub(crate) const PRIVATE: u32 = 0o400;
/// Mode of a file that everybody reads and root writes.
pub(crate) const WRITABLE: u32 = 0o644;

/// What a folder shows.
pub(crate) trait Content: Send + Sync + Sized + 'static {
    /// The files of the folder.
    const FILES: &'static [File<Self>];
}

/// A file of a folder.
pub(crate) struct File<T: 'static> {
    /// Its name.
    pub(crate) name: &'static CStr,
    /// Who may read and write it.
    pub(crate) mode: u32,
    /// Shows it; a newline follows. What is too long for a page is cut off. May sleep.
    pub(crate) show: fn(&T, &mut Page<'_>) -> fmt::Result,
    /// Takes what was written, without the newline at its end. May sleep, but not wait for the end
    /// of the folder.
    pub(crate) store: fn(&T, &str) -> Result,
}

impl<T> File<T> {
    /// For `store` of files that nobody may write.
    pub(crate) fn refuse(_content: &T, _text: &str) -> Result {
        Err(EACCES)
    }
}

/// The text of a file.
pub(crate) struct Page<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

impl Page<'_> {
    /// Adds `text` as far as there is room.
    pub(crate) fn push(&mut self, text: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.used..) {
            let fits = text.len().min(room.len());
            for (to, from) in room.iter_mut().zip(text) {
                *to = *from;
            }
            self.used += fits;
        }
    }
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// What the kernel knows of a file, and what belongs to it.
#[repr(C)]
struct Entry<T: Content> {
    /// First, so that a pointer to it is one to the entry.
    attribute: bindings::kobj_attribute,
    content: Arc<T>,
    file: &'static File<T>,
}

/// A folder, until it is dropped, which waits for who reads or writes one of its files: not while
/// something is locked that those need.
pub(crate) struct Folder<T: Content> {
    kobject: NonNull<bindings::kobject>,
    /// Freed when the kobject is gone. Does not grow, so that the entries stay where they are.
    _entries: KVec<Entry<T>>,
}

// SAFETY: a kobject may be removed by any task, and what it shows is `Send` and `Sync`.
unsafe impl<T: Content> Send for Folder<T> {}
// SAFETY: as above; nothing of a folder is changed through a shared reference.
unsafe impl<T: Content> Sync for Folder<T> {}

impl<T: Content> Folder<T> {
    /// A folder in `/sys/kernel`. The name must not be in use. May sleep.
    pub(crate) fn below_kernel(name: &CStr, content: Arc<T>) -> Result<Self> {
        // SAFETY: set at boot, and never again.
        Self::create(name, unsafe { bindings::kernel_kobj }, content)
    }

    /// A folder in this one. It must go first. The name must not be in use. May sleep.
    pub(crate) fn below<P: Content>(
        parent: &Folder<P>,
        name: &CStr,
        content: Arc<T>,
    ) -> Result<Self> {
        Self::create(name, parent.kobject.as_ptr(), content)
    }

    fn create(name: &CStr, parent: *mut bindings::kobject, content: Arc<T>) -> Result<Self> {
        let mut entries = KVec::with_capacity(T::FILES.len(), GFP_KERNEL)?;
        let mut pointers = KVec::with_capacity(T::FILES.len() + 1, GFP_KERNEL)?;
        for file in T::FILES {
            entries.push(
                Entry {
                    attribute: bindings::kobj_attribute::default(),
                    content: content.clone(),
                    file,
                },
                GFP_KERNEL,
            )?;
        }
        for entry in entries.iter_mut() {
            let attribute = &raw mut entry.attribute;
            // The address of the file's description tells lockdep files apart.
            let key = (&raw const *entry.file).cast_mut().cast();
            // SAFETY: the attribute is part of an entry, which stays where it is; the name is a
            // static, as is the key.
            unsafe {
                helpers::geist_attribute_init(
                    attribute,
                    entry.file.name.as_char_ptr(),
                    entry.file.mode,
                    Some(show::<T>),
                    Some(store::<T>),
                    key,
                );
            }
            pointers.push(
                attribute.cast_const().cast::<bindings::attribute>(),
                GFP_KERNEL,
            )?;
        }
        pointers.push(core::ptr::null(), GFP_KERNEL)?;
        // SAFETY: the name is a C string, which is copied; the parent is a kobject that stays
        // longer.
        let kobject = unsafe { bindings::kobject_create_and_add(name.as_char_ptr(), parent) };
        let folder = Self {
            kobject: NonNull::new(kobject).ok_or(ENOMEM)?,
            _entries: entries,
        };
        // SAFETY: the list ends with a null pointer; the attributes are part of entries that stay
        // until the folder is dropped.
        to_result(unsafe { bindings::sysfs_create_files(kobject, pointers.as_ptr()) })?;
        Ok(folder)
    }
}

impl<T: Content> Drop for Folder<T> {
    fn drop(&mut self) {
        // SAFETY: the reference from its creation. When the first call returns, nobody is in a
        // file of the folder or gets into one any more, so that the entries may go.
        unsafe {
            bindings::kobject_del(self.kobject.as_ptr());
            bindings::kobject_put(self.kobject.as_ptr());
        }
    }
}

/// `show` of every file.
///
/// # Safety
///
/// Called by sysfs with the attribute of an [`Entry<T>`] of a folder that is not dropped meanwhile,
/// and a page.
unsafe extern "C" fn show<T: Content>(
    _folder: *mut bindings::kobject,
    attribute: *mut bindings::kobj_attribute,
    page: *mut ffi::c_char,
) -> isize {
    // SAFETY: as the caller says; an entry begins with its attribute.
    let entry = unsafe { &*attribute.cast_const().cast::<Entry<T>>() };
    // SAFETY: as the caller says; sysfs cleared the page.
    let bytes = unsafe { core::slice::from_raw_parts_mut(page.cast::<u8>(), PAGE_BYTES) };
    let Some((last, text)) = bytes.split_last_mut() else {
        return 0;
    };
    let mut page = Page {
        bytes: text,
        used: 0,
    };
    if (entry.file.show)(&entry.content, &mut page).is_err() {
        return EIO.to_errno() as isize;
    }
    let Page { bytes, used } = page;
    *bytes.get_mut(used).unwrap_or(last) = b'\n';
    used as isize + 1
}

/// `store` of every file.
///
/// # Safety
///
/// As for [`show`], with `count` bytes of text.
unsafe extern "C" fn store<T: Content>(
    _folder: *mut bindings::kobject,
    attribute: *mut bindings::kobj_attribute,
    text: *const ffi::c_char,
    count: usize,
) -> isize {
    // SAFETY: as for `show`.
    let entry = unsafe { &*attribute.cast_const().cast::<Entry<T>>() };
    // SAFETY: as the caller says.
    let bytes = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), count) };
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let stored = match core::str::from_utf8(line) {
        Ok(text) => (entry.file.store)(&entry.content, text),
        Err(_) => (entry.file.store)(&entry.content, ""),
    };
    match stored {
        Ok(()) => count as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// The decimal number that `text` is: digits, and nothing else.
pub(crate) fn number(text: &str) -> Result<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EINVAL);
    }
    text.parse().map_err(|_| EINVAL)
}

/// Whether a line about what a user did may go into the kernel's log: not too many of them.
pub(crate) fn may_log() -> bool {
    // SAFETY: always callable.
    unsafe { helpers::geist_may_log() }
}
