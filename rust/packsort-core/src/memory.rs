//! Large buffers whose first touch is cheap.
#![allow(unsafe_code)]

use crate::parallel::Disjoint;

/// Below this the kernel's own pages do. A plan of 1 M sequences, whose buffers have 4 MB, is a fifth faster with huge
/// ones.
const HUGE_FROM: usize = 1 << 20;

/// `len` zeroes. Large buffers ask the kernel for huge pages: touching a fresh gigabyte costs 512 page faults instead
/// of 262,144, which is more than the copy that fills it (`benches/README.md`).
pub(crate) fn zeroed<T: Copy + Default>(len: usize) -> Vec<T> {
    let buffer = vec![T::default(); len]; // calloc: not touched yet, where memory is fresh
    advise_huge(&buffer);
    buffer
}

/// Room for values that several threads write. Zeroing it first would cost as much as many a scatter, where memory is
/// not fresh.
pub(crate) struct Buffer<T> {
    values: Vec<T>,
    len: usize,
}

impl<T: Copy> Buffer<T> {
    /// Room for `len` values.
    pub fn new(len: usize) -> Self {
        let values = Vec::with_capacity(len);
        advise_huge(&values);
        Self { values, len }
    }

    /// Destination of the writes.
    pub fn places(&mut self) -> Disjoint<'_, T> {
        Disjoint::of_room(&mut self.values.spare_capacity_mut()[..self.len])
    }

    /// The values.
    ///
    /// # Safety
    /// Each of them has been written.
    pub unsafe fn written(mut self) -> Vec<T> {
        // SAFETY: so many have room, and are there by contract.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

fn advise_huge<T>(buffer: &Vec<T>) {
    let bytes = buffer.capacity() * size_of::<T>();
    if bytes >= HUGE_FROM {
        advise(buffer.as_ptr().cast(), bytes);
    }
}

#[cfg(target_os = "linux")]
fn advise(start: *const u8, bytes: usize) {
    const PAGE: usize = 4096;
    // from the page it begins in: that is where a mapping begins, which the kernel aligns to huge pages
    let first = start as usize / PAGE * PAGE;
    let end = (start as usize + bytes).next_multiple_of(PAGE);
    // SAFETY: pages that are there, since each has bytes of ours; the advice changes no content, a refusal is no harm.
    unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *const u8, _: usize) {}

/// Asks the processor to bring the first of `data` near: eight lines, after which it sees by itself where this goes.
#[inline(always)]
pub(crate) fn prefetch<T>(data: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(data).min(8 * LINE)).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is no access.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(data.as_ptr().cast::<i8>().wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;
