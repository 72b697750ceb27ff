// SPDX-License-Identifier: GPL-2.0

//! Capture of credentials.

use crate::app::FrozenProcess;
use crate::error::{fail, Outcome};
use crate::ghost::{Export, RecordWriter};
use crate::image::task::Creds;
use crate::sys::process::Credentials;
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// The credentials of the process, IDs in the user namespace of the caller.
pub(super) struct CredsState;

impl Export<FrozenProcess> for CredsState {
    fn export(process: &FrozenProcess, out: &mut RecordWriter<'_>) -> Outcome {
        let creds = Credentials::of(&process.leader);
        let groups = creds.supplementary_groups()?;
        let Ok(count) = u32::try_from(groups.len()) else {
            fail!(E2BIG, "it is in too many groups");
        };
        let record = Creds {
            uid: creds.users(),
            gid: creds.groups(),
            caps: creds.capabilities(),
            securebits: creds.securebits(),
            groups: count,
        };
        out.record_with_tail(&record, groups.as_slice().as_bytes())
    }
}
