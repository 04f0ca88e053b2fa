//! Writes from several threads into one array.
//!
//! Where every thread writes a stretch of its own, [`split_at_lengths`] hands out sub-slices. Handing out sequence ids is
//! a scatter: counting has given every thread places of its own, but all over the array. [`Scatter`] is for that, and is
//! the only way to write through a shared reference in this crate.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::{ManuallyDrop, MaybeUninit};
#[cfg(debug_assertions)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use crate::Error;
use crate::memory::{prefetch_for_write, reserved};

/// Cut a slice into consecutive parts of these lengths. What is left over is dropped.
///
/// # Panics
/// If the lengths add up to more than the slice has.
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

/// An array whose elements are written by several threads, each to places of its own, and read when all are written.
///
/// Safe Rust would need an atomic store for each element, and zeroed memory. Scattered stores of one thread are as fast
/// if atomic and relaxed, but zeroing costs a pass over memory on one thread: on two threads, listing the packs of a
/// million sequences takes a quarter longer.
///
/// Debug builds check that every place is written.
pub(crate) struct Scatter<T> {
    places: Vec<UnsafeCell<MaybeUninit<T>>>,
    #[cfg(debug_assertions)]
    written: Vec<AtomicBool>,
}

// SAFETY: a shared `Scatter` is only written to, through `write`, whose contract rules out that two threads write to one
// place, and `store_inside`, which stores atomically. The values written on one thread are read on another, which `T: Send` allows.
unsafe impl<T: Send> Sync for Scatter<T> {}

/// A value that several threads may store at one place.
pub(crate) trait Store: Copy {
    /// Store a value, in one or more atomic steps.
    ///
    /// # Safety
    /// `place` is aligned and valid for writes, and all accesses to it meanwhile are atomic.
    unsafe fn store(place: *mut Self, value: Self);
}

macro_rules! store {
    ($($t:ty as $atomic:ty),*) => {$(impl Store for $t {
        #[inline(always)]
        unsafe fn store(place: *mut Self, value: Self) {
            // SAFETY: by contract the place is aligned and valid, and accessed by atomic operations only.
            unsafe { <$atomic>::from_ptr(place) }.store(value, Ordering::Relaxed);
        }
    })*};
}
store!(u32 as AtomicU32, i64 as AtomicI64);

impl<T: Copy> Scatter<T> {
    /// Reserve memory for `len` elements.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(what: &'static str, len: usize) -> Result<Self, Error> {
        let mut places = reserved(what, len)?;
        // SAFETY: the vector has capacity for `len` elements, and an element of type `MaybeUninit` needs no value.
        unsafe { places.set_len(len) };
        Ok(Self {
            places,
            #[cfg(debug_assertions)]
            written: (0..len).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// Write `value` to place `index`.
    ///
    /// # Panics
    /// If `index` is not below the length.
    ///
    /// # Safety
    /// No other thread writes to this place.
    #[inline(always)]
    pub unsafe fn write(&self, index: usize, value: T) {
        let place = self.places[index].get();
        // SAFETY: the pointer comes from a live element, and by contract no other thread writes to it. Nothing reads
        // elements before `finish`, which takes the array by value.
        unsafe { place.write(MaybeUninit::new(value)) };
        #[cfg(debug_assertions)]
        self.written[index].store(true, Ordering::Relaxed);
    }

    /// Store `value` at place `index`, or nowhere if `index` is not below the length. Other threads may store there too:
    /// then the place holds what one of them stored, or parts of each.
    #[inline(always)]
    pub fn store_inside(&self, index: usize, value: T)
    where
        T: Store,
    {
        if let Some(place) = self.places.get(index) {
            // SAFETY: the pointer comes from a live element. Nothing reads elements before `finish`, which takes the array
            // by value, and stores to one place are atomic. A caller of `write` has promised that no thread stores there.
            unsafe { T::store(place.get().cast(), value) };
            #[cfg(debug_assertions)]
            self.written[index].store(true, Ordering::Relaxed);
        }
    }

    /// Ask the processor for the cache line of place `index`, to write to it soon.
    #[inline(always)]
    pub fn prefetch(&self, index: usize) {
        prefetch_for_write(self.places.as_ptr().wrapping_add(index));
    }

    /// The elements.
    ///
    /// # Safety
    /// Every place has been written.
    pub unsafe fn finish(self) -> Vec<T> {
        #[cfg(debug_assertions)]
        assert!(self.written.iter().all(|written| written.load(Ordering::Relaxed)), "a place was not written");
        let mut places = ManuallyDrop::new(self.places);
        // SAFETY: pointer, length and capacity are those of a vector that is not dropped. `UnsafeCell` and `MaybeUninit`
        // have the layout of what they hold, and by contract every element has been written, so it is a valid `T`.
        unsafe { Vec::from_raw_parts(places.as_mut_ptr().cast(), places.len(), places.capacity()) }
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn scattered_values_arrive() {
        let squares = Scatter::new("squares", 1000).unwrap();
        (0..1000_usize).into_par_iter().for_each(|i| {
            let place = i * 7 % 1000; // 7 and 1000 have no common divisor
            // SAFETY: the map from `i` to `place` is a bijection.
            unsafe { squares.write(place, place * place) };
        });
        // SAFETY: a bijection reaches every place.
        let squares = unsafe { squares.finish() };
        assert!(squares.iter().enumerate().all(|(i, &square)| square == i * i));
    }

    #[test]
    #[should_panic(expected = "index out of bounds")]
    fn a_place_outside_is_refused() {
        // SAFETY: there is no other thread.
        unsafe { Scatter::new("bytes", 3).unwrap().write(3, 0_u8) };
    }

    #[test]
    fn a_store_outside_does_nothing() {
        let ids = Scatter::new("ids", 2).unwrap();
        for (place, id) in [(2, 9), (0, 7), (usize::MAX, 9), (1, 8), (0, 5_u32)] {
            ids.store_inside(place, id);
        }
        // SAFETY: both places were stored to.
        assert_eq!(unsafe { ids.finish() }, [5, 8]);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a place was not written")]
    fn debug_builds_find_places_that_were_not_written() {
        let scatter = Scatter::new("bytes", 2).unwrap();
        // SAFETY: there is no other thread. That `finish` panics before it reads is what this test shows.
        unsafe {
            scatter.write(0, 1_u8);
            scatter.finish();
        }
    }

    #[test]
    fn a_slice_is_cut_into_parts() {
        let mut numbers = [1, 2, 3, 4, 5];
        let parts = split_at_lengths(&mut numbers, &[2, 0, 2]);
        assert_eq!(parts, [&mut [1, 2][..], &mut [], &mut [3, 4]]);
    }
}
