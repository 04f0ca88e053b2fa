//! Writing from several threads into one slice, where each index belongs to one thread only.
//!
//! Handing out ids is a scatter: which thread writes where is known from the counts, but it is no split into
//! sub-slices, so safe Rust would need an atomic or a copy for each element.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Cut a slice into consecutive parts of these lengths, which several threads then write. What is left over is dropped.
pub(crate) fn split_at_lengths<'a, T>(mut slice: &'a mut [T], lengths: &[usize]) -> Vec<&'a mut [T]> {
    lengths
        .iter()
        .map(|&length| {
            let (part, rest) = std::mem::take(&mut slice).split_at_mut(length);
            slice = rest;
            part
        })
        .collect()
}

/// A slice that several threads write to, each to indices of its own.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: only `write` reaches the elements, and its contract rules out two threads at one of them.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T: Copy> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The same in room that has no values yet.
    pub(crate) fn of_room(room: &'a mut [MaybeUninit<T>]) -> Self {
        Self { start: room.as_mut_ptr().cast(), len: room.len(), slice: PhantomData }
    }

    /// Stores `value` at `index`; an index outside the slice panics.
    ///
    /// # Safety
    /// No other thread writes to `index` while this `Disjoint` lives.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, index: usize, value: T) {
        assert!(index < self.len);
        // SAFETY: inside the slice by the line above; nobody else is there by contract.
        unsafe { self.start.add(index).write(value) }
    }

    /// Store `value` at `index`, unless `index` lies outside the slice.
    ///
    /// # Safety
    /// No other thread writes to `index` while this `Disjoint` lives.
    #[inline(always)]
    pub(crate) unsafe fn write_inside(&self, index: usize, value: T) {
        if index < self.len {
            // SAFETY: the index was just checked, and by contract no other thread writes there.
            unsafe { self.start.add(index).write(value) }
        }
    }

    /// Copies `from` to `index..`; a range outside the slice panics.
    ///
    /// # Safety
    /// No other thread writes to the range while this `Disjoint` lives.
    #[inline(always)]
    pub(crate) unsafe fn copy(&self, index: usize, from: &[T]) {
        assert!(index <= self.len && from.len() <= self.len - index);
        // SAFETY: inside the slice by the line above, which `from` cannot overlap, being another borrow.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.start.add(index), from.len()) }
    }
}
