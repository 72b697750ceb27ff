// SPDX-License-Identifier: GPL-2.0

//! The list that the module makes of the kernel's vectors, made of those of the standard library.
//! It takes no more than room was made for.

use std::ops::{Deref, DerefMut};

/// There is no memory.
#[derive(Clone, Copy, Debug)]
pub struct NoMemory;

/// A list that grows only when it is asked to.
#[derive(Debug)]
pub struct List<T> {
    values: Vec<T>,
    room: usize,
}

impl<T> List<T> {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            values: Vec::new(),
            room: 0,
        }
    }

    /// Makes room for `count` more.
    pub fn reserve(&mut self, count: usize) -> Result<(), NoMemory> {
        self.room = self.room.max(self.values.len() + count);
        Ok(())
    }

    /// Adds one where room was made.
    pub fn push(&mut self, value: T) -> Result<(), NoMemory> {
        assert!(self.values.len() < self.room, "no room was made");
        self.values.push(value);
        Ok(())
    }

    /// Takes the last one.
    pub fn pop(&mut self) -> Option<T> {
        self.values.pop()
    }

    /// Keeps those for which `wanted` says so.
    pub fn retain(&mut self, wanted: impl FnMut(&mut T) -> bool) {
        self.values.retain_mut(wanted);
    }

    /// Removes the first `count`.
    pub fn remove_front(&mut self, count: usize) {
        self.values.drain(..count);
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}
