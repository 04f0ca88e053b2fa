//! The threads that work, safe to fork.
//!
//! Rayon's own global pool does not survive `fork`: the child has the queue but not the threads, and waits for ever.
//! `torch.utils.data.DataLoader` forks its workers. So each process makes a pool of its own when it first needs one.
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

/// Runs `work` on this process's threads. Their number is that of the cores, or `RAYON_NUM_THREADS`.
pub fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    pool().threads.install(work)
}

/// Number of threads that packsort works with in this process.
#[pyfunction]
pub fn num_threads(py: Python<'_>) -> usize {
    py.detach(|| pool().threads.current_num_threads())
}

fn pool() -> &'static Pool {
    let process = process::id();
    let seen = POOL.load(Ordering::Acquire);
    // SAFETY: what is stored here is never freed: a pool of a parent process cannot be shut down from its child.
    if let Some(pool) = unsafe { seen.as_ref() }
        && pool.process == process
    {
        return pool;
    }
    let threads = ThreadPoolBuilder::new()
        .thread_name(|i| format!("packsort-{i}"))
        .build()
        .expect("the system has no thread left for packsort");
    let made: &'static Pool = Box::leak(Box::new(Pool { process, threads }));
    match POOL.compare_exchange(seen, ptr::from_ref(made).cast_mut(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        // SAFETY: as above; another thread of this process was first.
        Err(first) => unsafe { &*first },
    }
}
