//! mimalloc, which keeps memory that is freed for what comes next: with glibc's allocator a plan takes fresh pages with
//! every call, which costs more than the work that is done on them.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, Ordering};

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

struct Allocator;

/// Whether mimalloc takes its memory from the system as a whole, which then comes in huge pages: 10 MB for a plan of
/// 4 MB. The number is that of `mi_option_e` in `mimalloc.h`.
const ARENA_EAGER_COMMIT: mi_option_t = 4;

static ASKED: AtomicBool = AtomicBool::new(false);

impl Allocator {
    #[inline(always)]
    fn ask() {
        if !ASKED.load(Ordering::Relaxed) {
            ASKED.store(true, Ordering::Relaxed);
            // SAFETY: sets a number, whoever does it how often; the environment's `MIMALLOC_ARENA_EAGER_COMMIT` wins.
            unsafe { mi_option_set_default(ARENA_EAGER_COMMIT, 0) };
        }
    }
}

// SAFETY: it is mimalloc's; nothing is allocated on the way to it.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::ask();
        // SAFETY: the caller's.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::ask();
        // SAFETY: the caller's.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { MiMalloc.dealloc(start, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { MiMalloc.realloc(start, layout, size) }
    }
}
