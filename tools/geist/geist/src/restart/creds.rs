// SPDX-License-Identifier: GPL-2.0

//! Credentials: the skeleton ends with exactly those of the image, or not at all.

use crate::sys::creds::{self, Caps};
use anyhow::{bail, Context as _, Result};
use geist_image::task::Creds;
use std::io;

/// `SECBIT_KEEP_CAPS`: not guarded by rights, and set by another call.
const KEEP_CAPS: u32 = 1 << 4;

/// Places of the sets in [`Creds::caps`].
const INHERITABLE: usize = 0;
const PERMITTED: usize = 1;
const EFFECTIVE: usize = 2;
const BOUNDING: usize = 3;
const AMBIENT: usize = 4;

/// Numbers of the capabilities in a set.
fn members(set: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |cap| (set >> cap) & 1 == 1)
}

/// The set of capabilities for which `has` says yes, up to the last that the kernel knows.
fn gather(has: impl Fn(u32) -> io::Result<bool>) -> u64 {
    (0..64)
        .map_while(|cap| has(cap).ok().map(|has| u64::from(has) << cap))
        .fold(0, |set, one| set | one)
}

/// Takes the credentials of the image.
pub fn restore(wanted: &Creds, groups: &[u32]) -> Result<()> {
    let own = creds::caps().context("capabilities")?;
    let refuse = |what: &str, right: &str| {
        format!("{what} of the image cannot be taken; the user who restarts needs {right}")
    };
    let bounding = gather(creds::in_bounding_set);
    if wanted.caps[BOUNDING] & !bounding != 0 {
        bail!("the image has capabilities in its bounding set that the user who restarts lacks");
    }
    if wanted.caps[PERMITTED] & !own.permitted != 0 {
        bail!("the image has capabilities that the user who restarts lacks");
    }
    if creds::groups().context("groups")? != groups {
        creds::set_groups(groups).with_context(|| refuse("the groups", "CAP_SETGID"))?;
    }
    let [gid, egid, sgid, fsgid] = wanted.gid;
    if creds::gids()? != wanted.gid {
        creds::set_gids(gid, egid, sgid).with_context(|| refuse("group IDs", "CAP_SETGID"))?;
        creds::set_fsgid(fsgid);
    }
    for cap in members(bounding & !wanted.caps[BOUNDING]) {
        creds::drop_from_bounding_set(cap)
            .with_context(|| refuse("the bounding set", "CAP_SETPCAP"))?;
    }
    let [uid, euid, suid, fsuid] = wanted.uid;
    if creds::uids()? != wanted.uid {
        // So that the capabilities, which are put right below, do not go with user 0.
        creds::set_keepcaps(true).with_context(|| refuse("user IDs", "unlocked securebits"))?;
        creds::set_uids(uid, euid, suid).with_context(|| refuse("user IDs", "CAP_SETUID"))?;
        creds::set_fsuid(fsuid);
    }
    capabilities(wanted, own)?;
    verify(wanted, groups)
}

/// Capabilities and securebits, which guard each other.
fn capabilities(wanted: &Creds, own: Caps) -> Result<()> {
    let inheritable = wanted.caps[INHERITABLE];
    let last = Caps {
        inheritable,
        permitted: wanted.caps[PERMITTED],
        effective: wanted.caps[EFFECTIVE],
    };
    // Everything that is left, to have the rights for what follows.
    let permitted = creds::caps()?.permitted & own.permitted;
    creds::set_caps(Caps {
        inheritable,
        permitted,
        effective: permitted,
    })
    .context("inheritable capabilities of the image cannot be taken")?;
    if gather(creds::in_ambient_set) != wanted.caps[AMBIENT] {
        creds::clear_ambient()?;
        for cap in members(wanted.caps[AMBIENT]) {
            creds::raise_ambient(cap)
                .context("ambient capabilities of the image cannot be taken")?;
        }
    }
    if (creds::securebits()? ^ wanted.securebits) & !KEEP_CAPS != 0 {
        creds::set_securebits(wanted.securebits)
            .context("securebits of the image cannot be taken; this needs CAP_SETPCAP")?;
    } else if creds::securebits()? != wanted.securebits {
        creds::set_keepcaps(wanted.securebits & KEEP_CAPS != 0)?;
    }
    creds::set_caps(last).context("capabilities of the image cannot be taken")
}

/// What was set must be what was wanted: a difference would give or take rights.
fn verify(wanted: &Creds, groups: &[u32]) -> Result<()> {
    let caps = creds::caps()?;
    let found = [
        caps.inheritable,
        caps.permitted,
        caps.effective,
        gather(creds::in_bounding_set),
        gather(creds::in_ambient_set),
    ];
    let checks = [
        ("user IDs", creds::uids()? == wanted.uid),
        ("group IDs", creds::gids()? == wanted.gid),
        ("groups", creds::groups()? == groups),
        ("capabilities", found == wanted.caps),
        ("securebits", creds::securebits()? == wanted.securebits),
    ];
    for (what, right) in checks {
        if !right {
            bail!("the {what} are not those of the image");
        }
    }
    Ok(())
}
