// SPDX-License-Identifier: GPL-2.0

//! Parts of the module that need no kernel, compiled from its own sources for their tests.

#[path = "../../../../rust/app/ledger/accounts.rs"]
pub mod accounts;
pub mod list;
