//! Buffers whose size the data decides: an error where there is no memory for them, a cheap first touch where they are
//! large, and prefetching.
//!
//! Rust ends the process if it finds no memory for a `vec!`, a `collect` or a `push`. So whatever grows with the rows,
//! the packs, the tokens or `max_length` is allocated here, and each function takes the name of what is to be stored.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed};

use crate::Error;

/// A number that is 0 where all of its bytes are.
///
/// # Safety
/// A value of all zero bytes is valid.
pub(crate) unsafe trait Zero: Copy {}

macro_rules! zero {
    ($($t:ty),*) => {$(
        // SAFETY: the zero of a primitive number has no bit set.
        unsafe impl Zero for $t {}
    )*};
}
zero!(u8, u32, u64, usize, i32, i64, f64);

/// Allocate `len` zeros.
///
/// Fresh memory from the system is zero already and is not written here. See [`prepare`].
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn zeroed<T: Zero>(what: &'static str, len: usize) -> Result<Vec<T>, Error> {
    let buffer = zeros(what, len)?;
    prepare(&buffer);
    Ok(buffer)
}

/// Allocate `len` zeros on the calling thread, which may have no pool: see [`prepare`].
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn zeros<T: Zero>(what: &'static str, len: usize) -> Result<Vec<T>, Error> {
    let missing = || out_of_memory::<T>(what, len);
    let layout = Layout::array::<T>(len).map_err(|_| missing())?;
    if layout.size() == 0 {
        return Ok(vec![]);
    }
    // SAFETY: the layout has a size above 0.
    let start = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if start.is_null() {
        return Err(missing());
    }
    // SAFETY: the memory comes from the global allocator with the layout of `len` elements, and its bytes are zero, which
    // `T: Zero` makes valid elements.
    Ok(unsafe { Vec::from_raw_parts(start, len, len) })
}

/// Reserve memory for `len` values, all of which the caller writes before it sets the length.
///
/// Planning a million sequences in 1,000 groups writes 40 MB of consecutive stretches, and takes 6 % more processor time
/// if they are zeroed first.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn reserved<T>(what: &'static str, len: usize) -> Result<Vec<T>, Error> {
    let buffer = with_room(what, len)?;
    prepare(&buffer);
    Ok(buffer)
}

/// Make an empty vector with room for `len` values, on the calling thread.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn with_room<T>(what: &'static str, len: usize) -> Result<Vec<T>, Error> {
    let mut buffer = vec![];
    buffer.try_reserve_exact(len).map_err(|_| out_of_memory::<T>(what, len))?;
    Ok(buffer)
}

/// Make room for `more` values, so that adding them allocates nothing.
///
/// # Errors
/// [`Error::OutOfMemory`].
#[inline]
pub(crate) fn make_room<T>(buffer: &mut Vec<T>, what: &'static str, more: usize) -> Result<(), Error> {
    buffer.try_reserve(more).map_err(|_| out_of_memory::<T>(what, buffer.len().saturating_add(more)))
}

/// Add a value.
///
/// # Errors
/// [`Error::OutOfMemory`].
#[inline]
pub(crate) fn push<T>(buffer: &mut Vec<T>, what: &'static str, value: T) -> Result<(), Error> {
    make_room(buffer, what, 1)?;
    buffer.push(value);
    Ok(())
}

/// Collect values whose number is known.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn collected<T>(what: &'static str, values: impl Iterator<Item = T>) -> Result<Vec<T>, Error> {
    let mut buffer = with_room(what, values.size_hint().0)?;
    for value in values {
        push(&mut buffer, what, value)?;
    }
    Ok(buffer)
}

/// Repeat a value.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn filled<T: Copy>(what: &'static str, len: usize, value: T) -> Result<Vec<T>, Error> {
    let mut buffer = with_room(what, len)?;
    buffer.resize(len, value);
    Ok(buffer)
}

/// Copy values.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn copied<T: Copy>(what: &'static str, values: &[T]) -> Result<Vec<T>, Error> {
    let mut buffer = with_room(what, values.len())?;
    buffer.extend_from_slice(values);
    Ok(buffer)
}

fn out_of_memory<T>(what: &'static str, len: usize) -> Error {
    Error::OutOfMemory { what, bytes: (len as u64).saturating_mul(size_of::<T>() as u64) }
}

/// Buffers of fewer bytes keep normal pages. A plan of a million sequences, whose buffers have 4 MB, is a fifth faster
/// with huge pages.
const HUGE_FROM: usize = 1 << 20;

/// Larger buffers consist of huge pages but for their ends, and threads that touch them share the work.
const MAPPED_AT_ONCE: usize = 1 << 23;

/// Prepare the memory of a large buffer for its first touch.
///
/// The kernel is asked for huge pages. Touching a fresh gigabyte then takes 512 page faults instead of 262,144, which cost
/// more than copying the gigabyte (`benches/README.md`).
///
/// Half of a buffer of 4 MB or more lies outside whole huge pages, so smaller buffers are mapped at once, by one call on
/// each of two threads. On a virtual machine 4 MB are mapped in 2.3 ms, and 1,024 page faults take 7 ms; the first plan
/// of a million sequences takes a tenth less processor time. Memory that was freed and is used again is mapped already:
/// asking for each of its pages takes a twentieth of a plan.
///
/// Both concern the allocation as a whole, whatever part of it is used.
pub(crate) fn prepare<T>(buffer: &Vec<T>) {
    let bytes = buffer.capacity() * size_of::<T>();
    if bytes < HUGE_FROM {
        return;
    }
    let start = buffer.as_ptr() as usize;
    let half = bytes / 2;
    if bytes <= MAPPED_AT_ONCE && [start, start + half, start + bytes - 1].into_iter().all(is_mapped) {
        return;
    }
    advise(start, bytes, Advice::HugePages);
    if bytes <= MAPPED_AT_ONCE {
        let map = |start, bytes| move || advise(start, bytes, Advice::MapNow);
        rayon::join(map(start, half), map(start + half, bytes - half));
    }
}

/// Advice to the kernel about memory.
enum Advice {
    HugePages,
    /// From Linux 5.14 on; before, pages are mapped when they are touched.
    MapNow,
}

const PAGE: usize = 4096;

/// Whether the page of an address in a live allocation is in memory.
#[cfg(all(target_os = "linux", not(miri)))]
fn is_mapped(address: usize) -> bool {
    let mut found = 0_u8;
    let page = (address / PAGE * PAGE) as *mut libc::c_void;
    // SAFETY: the kernel writes one byte for the one page, and reports an error where it cannot say.
    let known = unsafe { libc::mincore(page, PAGE, &raw mut found) };
    known == 0 && found & 1 == 1
}

#[cfg(any(not(target_os = "linux"), miri))]
fn is_mapped(_: usize) -> bool {
    false
}

// Miri, which checks the unsafe code of tests, knows no `madvise`.
#[cfg(all(target_os = "linux", not(miri)))]
fn advise(start: usize, bytes: usize, advice: Advice) {
    let advice = match advice {
        Advice::HugePages => libc::MADV_HUGEPAGE,
        Advice::MapNow => libc::MADV_POPULATE_WRITE,
    };
    // The page of the first byte is included: mappings begin there, and the kernel aligns them to huge pages.
    let first = start / PAGE * PAGE;
    let end = (start + bytes).next_multiple_of(PAGE);
    // SAFETY: the range holds only pages that hold bytes of a live allocation, so all of it is mapped. The advice
    // changes no content, and the kernel may refuse it without harm.
    unsafe { libc::madvise(first as *mut libc::c_void, end - first, advice) };
}

#[cfg(any(not(target_os = "linux"), miri))]
fn advise(_: usize, _: usize, _: Advice) {}

/// Ask the processor to bring the start of `data` into cache: eight lines, after which it detects the stream itself. A
/// gather without it takes a fifth longer.
#[inline(always)]
pub(crate) fn prefetch<T>(data: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(data).min(8 * LINE)).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching an address, valid or not, reads nothing and cannot fault; every x86-64 processor has the
        // instruction.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(data.as_ptr().cast::<i8>().wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

/// Ask the processor to bring the cache line at byte `at` of `data`, which is read once, into its nearest cache, unless it
/// is behind its end.
#[inline(always)]
pub(crate) fn prefetch_once(data: &[u8], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if at < data.len() {
        use std::arch::x86_64::{_MM_HINT_NTA, _mm_prefetch};
        // SAFETY: as in `prefetch`.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(data.as_ptr().cast::<i8>().wrapping_add(at)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, at);
}

/// Ask the processor to bring the cache line at `place` into cache, to write to it soon.
#[inline(always)]
pub(crate) fn prefetch_for_write<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: as in `prefetch`; a processor without the instruction for writes takes it for one without effect.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn a_page_is_mapped_once_it_is_touched() {
        let mut buffer = with_room::<u8>("bytes", 1 << 26).unwrap();
        let middle = buffer.as_ptr() as usize + (1 << 25);
        assert!(!is_mapped(middle));
        buffer.resize(1 << 26, 1);
        assert!(is_mapped(middle));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri itself ends where there is no memory")]
    fn what_no_memory_holds_is_an_error_that_names_it() {
        let missing = Error::OutOfMemory { what: "numbers", bytes: 1 << 62 };
        assert_eq!(zeros::<u64>("numbers", 1 << 59), Err(missing));
        assert_eq!(zeroed::<u64>("numbers", 1 << 59), Err(missing));
        assert_eq!(with_room::<u64>("numbers", 1 << 59), Err(missing));
        assert_eq!(reserved::<u64>("numbers", 1 << 59), Err(missing));
        assert_eq!(filled("numbers", 1 << 59, 3_u64), Err(missing));
        assert_eq!(collected("numbers", 0..1_u64 << 59), Err(missing));
        let missing = Error::OutOfMemory { what: "numbers", bytes: u64::MAX };
        assert_eq!(zeros::<u64>("numbers", usize::MAX), Err(missing));
        let mut one = vec![5_u64];
        assert_eq!(make_room(&mut one, "numbers", usize::MAX), Err(missing));
        assert_eq!(one, [5]);
    }

    #[test]
    fn zeros_are_zero_and_can_be_none() {
        assert_eq!(zeros::<i64>("numbers", 3), Ok(vec![0; 3]));
        assert_eq!(zeroed::<u8>("numbers", 0), Ok(vec![]));
        assert_eq!(zeroed::<f64>("numbers", 1 << 20), Ok(vec![0.0; 1 << 20]));
    }
}
