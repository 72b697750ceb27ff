// SPDX-License-Identifier: GPL-2.0

//! A growing list, as [`super::accounts`] wants it.

use core::ops::{Deref, DerefMut};
use kernel::prelude::*;

/// There is no memory.
#[derive(Clone, Copy, Debug)]
pub struct NoMemory;

/// A list that grows by halves only when it is asked to.
pub struct List<T>(KVVec<T>);

impl<T> List<T> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(KVVec::new())
    }

    /// Makes room for `count` more. May sleep.
    pub fn reserve(&mut self, count: usize) -> Result<(), NoMemory> {
        if self.0.capacity() - self.0.len() >= count {
            return Ok(());
        }
        let more = count.max(self.0.len() / 2).max(16);
        self.0.reserve(more, GFP_KERNEL).map_err(|_| NoMemory)
    }

    /// Adds one where room was made.
    pub fn push(&mut self, value: T) -> Result<(), NoMemory> {
        self.0.push_within_capacity(value).map_err(|_| NoMemory)
    }

    /// Takes the last one.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Keeps those for which `wanted` says so.
    pub fn retain(&mut self, wanted: impl FnMut(&mut T) -> bool) {
        self.0.retain(wanted);
    }

    /// Removes the first `count`.
    pub fn remove_front(&mut self, count: usize) {
        let count = count.min(self.0.len());
        self.0.rotate_left(count);
        self.0.truncate(self.0.len() - count);
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
