//! The allocator: mimalloc, which keeps freed memory for the next allocation.
//!
//! With glibc's allocator every plan gets fresh pages from the kernel, which costs more than the work on them.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, Ordering};

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

struct Allocator;

/// The option of mimalloc to commit its arenas as a whole. They then consist of huge pages only, and a plan of a million
/// shuffled sequences takes twice the memory. The number is that of `mi_option_e` in `mimalloc.h`.
const ARENA_EAGER_COMMIT: mi_option_t = 4;

static IS_SET: AtomicBool = AtomicBool::new(false);

impl Allocator {
    #[inline(always)]
    fn set_options() {
        if !IS_SET.load(Ordering::Relaxed) {
            IS_SET.store(true, Ordering::Relaxed);
            // SAFETY: the function stores a number and allocates nothing. Any thread may call it, any number of times. The
            // environment variable `MIMALLOC_ARENA_EAGER_COMMIT` wins over it.
            unsafe { mi_option_set_default(ARENA_EAGER_COMMIT, 0) };
        }
    }
}

// SAFETY: every method forwards to mimalloc, which fulfils the contract. Setting its options allocates nothing.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::set_options();
        // SAFETY: the caller fulfils the contract of this method, which is the contract of the method called.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::set_options();
        // SAFETY: the caller fulfils the contract of this method, which is the contract of the method called.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller fulfils the contract of this method, which is the contract of the method called.
        unsafe { MiMalloc.dealloc(start, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller fulfils the contract of this method, which is the contract of the method called.
        unsafe { MiMalloc.realloc(start, layout, size) }
    }
}
