//! Memory set aside for small allocations that the system refuses.
//!
//! Rust ends the process where a small allocation fails: a string for a message, a job for a thread. The core asks for
//! large buffers in a way that can fail, so a plan that does not fit memory becomes a `MemoryError`. The reserve carries
//! what is small until that error has reached Python.
//!
//! ```text
//! take: move the end of the used part on
//! give back: count one less; when nothing is in use any more, all of the reserve is free again
//! ```
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the reserve. They are zeroed data of the library, which take no memory until they are used.
const SIZE: usize = 16 << 20;

/// Larger allocations are the core's to ask for in a way that can fail.
const LARGEST: usize = 1 << 20;

/// Memory of a fixed size that is handed out front to back.
pub struct Reserve {
    memory: Memory,
    /// Number of allocations in use (high half) and end of the used part (low half), in one number so that both change
    /// together.
    state: AtomicU64,
}

#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; SIZE]>);

// SAFETY: the reserve itself never reads or writes its memory. It gives every byte to one allocation at a time: the state,
// which says what is used, changes in one atomic step.
unsafe impl Sync for Reserve {}

impl Reserve {
    pub const fn new() -> Self {
        Self { memory: Memory(UnsafeCell::new([0; SIZE])), state: AtomicU64::new(0) }
    }

    /// Allocate; null if the allocation is large, or nothing is left. The memory is not zeroed.
    #[cold]
    pub fn take(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST || layout.align() > 4096 {
            return ptr::null_mut();
        }
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let start = ((state & 0xffff_ffff) as usize).next_multiple_of(layout.align());
            let end = start + layout.size();
            if end > SIZE {
                return ptr::null_mut();
            }
            let next = ((state >> 32) + 1) << 32 | end as u64;
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.memory.0.get().cast::<u8>().wrapping_add(start),
                Err(seen) => state = seen,
            }
        }
    }

    /// Whether an allocation comes from the reserve.
    #[inline(always)]
    pub fn holds(&self, start: *mut u8) -> bool {
        (start as usize).wrapping_sub(self.memory.0.get() as usize) < SIZE
    }

    /// Give an allocation back.
    #[cold]
    pub fn give_back(&self) {
        let less = |state: u64| Some(if state >> 32 == 1 { 0 } else { state - (1 << 32) });
        // The closure always gives a new state, so the update always succeeds.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }
}
