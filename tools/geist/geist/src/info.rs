// SPDX-License-Identifier: GPL-2.0

//! `geist info`

use crate::cli::{Common, InfoArgs};
use crate::device::Device;
use crate::output;
use crate::sys::ioctl;
use anyhow::Result;
use geist_image::{uapi, FORMAT_VERSION};
use serde::Serialize;
use std::os::fd::AsFd as _;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    client_version: &'static str,
    client_interface: u32,
    client_format: u32,
    module_version: Option<String>,
    module_interface: u32,
    module_format: u32,
    applications: u32,
}

/// Shows versions.
pub fn run(common: &Common, args: &InfoArgs) -> Result<()> {
    let device = Device::open(&common.device)?;
    let info = ioctl::info(device.as_fd())?;
    let version = std::fs::read_to_string("/sys/module/geist/version").ok();
    let report = Report {
        client_version: env!("CARGO_PKG_VERSION"),
        client_interface: uapi::ABI_VERSION,
        client_format: FORMAT_VERSION,
        module_version: version.map(|text| text.trim().to_owned()),
        module_interface: info.abi_version,
        module_format: info.format_version,
        applications: info.applications,
    };
    if args.json {
        return output::print_json(&report);
    }
    let version = report.module_version.unwrap_or_else(|| "-".to_owned());
    let text = output::table(
        &["", "VERSION", "INTERFACE", "FORMAT"],
        &[2, 3],
        &[
            vec![
                "client".to_owned(),
                report.client_version.to_owned(),
                report.client_interface.to_string(),
                report.client_format.to_string(),
            ],
            vec![
                "module".to_owned(),
                version,
                report.module_interface.to_string(),
                report.module_format.to_string(),
            ],
        ],
    );
    output::print(&text)?;
    let applications = report.applications;
    output::print(&format!(
        "applications being checkpointed or restarted: {applications}\n"
    ))
}
