// SPDX-License-Identifier: GPL-2.0

//! Pipes that a process has to itself, empty: made anew at a restart. Others are refused by name.

use crate::app::FrozenProcess;
use crate::error::{fail, Outcome};
use crate::sys::fd::{FileRef, Pipe};
use kernel::prelude::*;

/// An open file description of a pipe.
struct End {
    description: usize,
    inode: usize,
    /// Descriptors of the process that show it.
    descriptors: usize,
}

/// The pipes of a frozen process, which neither opens nor closes one meanwhile.
pub(super) struct Pipes {
    ends: KVVec<End>,
}

impl Pipes {
    /// Looks at all descriptors.
    pub(super) fn of(process: &FrozenProcess) -> Outcome<Self> {
        let mut ends: KVVec<End> = KVVec::new();
        let mut from = 0;
        while let Some((number, file)) = FileRef::next(&process.leader, from) {
            if file.pipe().is_some() {
                let description = file.description();
                let known = ends.iter_mut().find(|end| end.description == description);
                if let Some(end) = known {
                    end.descriptors += 1;
                } else {
                    let end = End {
                        description,
                        inode: file.inode(),
                        descriptors: 1,
                    };
                    ends.push(end, GFP_KERNEL)?;
                }
            }
            let Some(next) = number.checked_add(1) else {
                break;
            };
            from = next;
        }
        Ok(Self { ends })
    }

    /// Refuses the pipe behind `file`, to which the caller has one reference, unless it is empty and
    /// nobody else has it. `EOPNOTSUPP`.
    pub(super) fn refuse_others(&self, file: &FileRef, pipe: &Pipe) -> Outcome {
        if file.is_path_only() {
            fail!(EOPNOTSUPP, "a pipe that was opened as a path (O_PATH)");
        }
        if pipe.notifies {
            fail!(EOPNOTSUPP, "a pipe for notifications");
        }
        if !pipe.is_empty {
            fail!(EOPNOTSUPP, "a pipe with data in it");
        }
        let inode = file.inode();
        let own = self.ends.iter().filter(|end| end.inode == inode).count();
        let end = self
            .ends
            .iter()
            .find(|end| end.description == file.description());
        let shared = end.is_none_or(|end| file.references() > end.descriptors + 1);
        if shared || own != pipe.open_files {
            fail!(EOPNOTSUPP, "a pipe that another process has open, too");
        }
        Ok(())
    }
}
