//! The allocator: mimalloc, which keeps freed memory for the next allocation, and a reserve for when the system has none.
//!
//! With glibc's allocator every plan gets fresh pages from the kernel, which costs more than the work on them.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
use mimalloc::MiMalloc;

use crate::reserve::Reserve;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

static RESERVE: Reserve = Reserve::new();

struct Allocator;

/// The option of mimalloc to commit its arenas as a whole. They then consist of huge pages only, and a plan of a million
/// shuffled sequences takes twice the memory. The number is that of `mi_option_e` in `mimalloc.h`.
const ARENA_EAGER_COMMIT: mi_option_t = 4;

/// The option of mimalloc to give freed memory back to the system: ten times this many milliseconds later, when something
/// is allocated. By default it is a tenth of a second, and a program that plans once a second gets fresh pages each time:
/// a million sequences then take a tenth longer.
const PURGE_DELAY: mi_option_t = 15;
const PURGE_DELAY_MS: std::ffi::c_long = 300;

static IS_SET: AtomicBool = AtomicBool::new(false);

impl Allocator {
    #[inline(always)]
    fn set_options() {
        if !IS_SET.load(Ordering::Relaxed) {
            IS_SET.store(true, Ordering::Relaxed);
            // SAFETY: the function stores a number and allocates nothing. Any thread may call it, any number of times. The
            // environment variables `MIMALLOC_ARENA_EAGER_COMMIT` and `MIMALLOC_PURGE_DELAY` win over it.
            unsafe {
                mi_option_set_default(ARENA_EAGER_COMMIT, 0);
                mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS);
            }
        }
    }
}

// SAFETY: every method forwards to mimalloc, which fulfils the contract, or to the reserve, which gives memory that is
// nobody else's, aligned and as large as asked for. Memory goes back to where it came from. Setting mimalloc's options
// allocates nothing.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::set_options();
        // SAFETY: the caller fulfils the contract of this method, which is the contract of the method called.
        let start = unsafe { MiMalloc.alloc(layout) };
        if start.is_null() { RESERVE.take(layout) } else { start }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::set_options();
        // SAFETY: the caller fulfils the contract of this method, which is the contract of the method called.
        let start = unsafe { MiMalloc.alloc_zeroed(layout) };
        if !start.is_null() {
            return start;
        }
        let start = RESERVE.take(layout);
        if !start.is_null() {
            // SAFETY: the reserve gave this many bytes, which nobody else uses.
            unsafe { ptr::write_bytes(start, 0, layout.size()) };
        }
        start
    }

    #[inline]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if RESERVE.holds(start) {
            return RESERVE.give_back();
        }
        // SAFETY: the caller fulfils the contract of this method, which is the contract of the method called. The memory
        // is not the reserve's, so it comes from mimalloc.
        unsafe { MiMalloc.dealloc(start, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !RESERVE.holds(start) {
            // SAFETY: the caller fulfils the contract of this method, which is the contract of the method called. The
            // memory is not the reserve's, so it comes from mimalloc.
            let moved = unsafe { MiMalloc.realloc(start, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller guarantees that the new size, rounded up to the alignment, is above 0 and does not overflow.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both allocations are at least as large as the smaller size, and they are apart. The old one is live
            // until it is given back, with the layout it was allocated with.
            unsafe {
                ptr::copy_nonoverlapping(start, moved, layout.size().min(size));
                self.dealloc(start, layout);
            }
        }
        moved
    }
}
