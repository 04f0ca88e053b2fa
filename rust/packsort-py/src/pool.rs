//! A thread pool that survives `fork`.
//!
//! After a fork, the child of a process with rayon's global pool has the pool's queue but none of its threads, so it
//! waits forever. `torch.utils.data.DataLoader` forks its workers. So every process builds a pool of its own when it
//! first needs one.
#![allow(unsafe_code)]

use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

struct Pool {
    process: u32,
    threads: ThreadPool,
}

static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());

/// Run `work` on the threads of this process: one for each core, or `RAYON_NUM_THREADS`.
pub fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    pool().threads.install(work)
}

/// Number of threads that packsort uses in this process.
#[pyfunction]
pub fn num_threads(py: Python<'_>) -> usize {
    py.detach(|| pool().threads.current_num_threads())
}

fn pool() -> &'static Pool {
    let process = process::id();
    let seen = POOL.load(Ordering::Acquire);
    // SAFETY: the pointer is null or comes from `Box::leak`, so it stays valid. Pools are never freed, because a child
    // process cannot shut down the pool of its parent.
    if let Some(pool) = unsafe { seen.as_ref() }
        && pool.process == process
    {
        return pool;
    }
    let threads = ThreadPoolBuilder::new()
        .thread_name(|i| format!("packsort-{i}"))
        .build()
        .expect("the system has no thread left for packsort");
    let built: &'static Pool = Box::leak(Box::new(Pool { process, threads }));
    match POOL.compare_exchange(seen, ptr::from_ref(built).cast_mut(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => built,
        // SAFETY: another thread of this process stored its pool first. It comes from `Box::leak` and is never freed.
        Err(first) => unsafe { &*first },
    }
}
