//! Large zeroed buffers whose first touch is cheap.
#![allow(unsafe_code)]

/// Below this the kernel's own pages do. A plan of 1 M sequences, whose buffers have 4 MB, is a fifth faster with huge
/// ones.
const HUGE_FROM: usize = 1 << 20;

/// `len` zeroes. Large buffers ask the kernel for huge pages: touching a fresh gigabyte costs 512 page faults instead
/// of 262,144, which is more than the copy that fills it (`benches/README.md`).
pub(crate) fn zeroed<T: Copy + Default>(len: usize) -> Vec<T> {
    let buffer = vec![T::default(); len]; // calloc: not touched yet
    let bytes = len * size_of::<T>();
    if bytes >= HUGE_FROM {
        advise_huge(buffer.as_ptr().cast(), bytes);
    }
    buffer
}

#[cfg(target_os = "linux")]
fn advise_huge(start: *const u8, bytes: usize) {
    const PAGE: usize = 4096;
    let address = start as usize;
    let first = address.next_multiple_of(PAGE);
    let end = (address + bytes) / PAGE * PAGE;
    if first < end {
        // SAFETY: whole pages inside one allocation of ours; the advice changes no content, and a refusal is no harm.
        unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge(_: *const u8, _: usize) {}

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
