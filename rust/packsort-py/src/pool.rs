//! A thread pool that survives `fork`, and does with the threads that the system has.
//!
//! After a fork, the child of a process with rayon's global pool has the pool's queue but none of its threads, so it
//! waits forever. `torch.utils.data.DataLoader` forks its workers. So every process builds a pool of its own when it
//! first needs one.
//!
//! Where the system refuses threads (`ulimit -u`, a limit on memory), the pool has half as many, or half of these, and so
//! on. Where there is not one, the calling thread does the work, and the next call asks for threads again.
#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::hint::black_box;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

struct Pool {
    process: u32,
    threads: ThreadPool,
}

static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// A pool whose only thread is this one, which no other thread gives work to.
    static ALONE: OnceCell<ThreadPool> = const { OnceCell::new() };
}

/// Run `work` on the threads of this process: one for each core, or `RAYON_NUM_THREADS`.
///
/// # Panics
/// `work` panics, on whatever thread.
pub fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match pool() {
        Some(pool) => pool.threads.install(work),
        None => alone(work),
    }
}

/// Number of threads that packsort uses in this process.
#[pyfunction]
pub fn num_threads(py: Python<'_>) -> usize {
    py.detach(|| pool().map_or(1, |pool| pool.threads.current_num_threads()))
}

/// The pool of this process; `None` where the system has no thread for it.
fn pool() -> Option<&'static Pool> {
    let process = process::id();
    let seen = POOL.load(Ordering::Acquire);
    // SAFETY: the pointer is null or comes from `Box::leak`, so it stays valid. Pools are never freed, because a child
    // process cannot shut down the pool of its parent.
    if let Some(pool) = unsafe { seen.as_ref() }
        && pool.process == process
    {
        return Some(pool);
    }
    let threads = threads()?;
    let built: &'static Pool = Box::leak(Box::new(Pool { process, threads }));
    match POOL.compare_exchange(seen, ptr::from_ref(built).cast_mut(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(built),
        // SAFETY: another thread of this process stored its pool first. It comes from `Box::leak` and is never freed.
        Err(first) => Some(unsafe { &*first }),
    }
}

/// Start as many threads as are wanted, or as the system gives; `None` if it gives none.
fn threads() -> Option<ThreadPool> {
    let build = |number| -> Result<ThreadPool, ThreadPoolBuildError> {
        ThreadPoolBuilder::new().num_threads(number).thread_name(|i| format!("packsort-{i}")).build()
    };
    let mut number = wanted();
    while number > 0 {
        // A pool that cannot start all of its threads ends those that it has started.
        if let Ok(threads) = build(number) {
            // A thread gets its thread-local memory on first use, and glibc ends the process where there is none. So each
            // allocates something now, before the work takes what memory is left.
            threads.broadcast(|_| drop(black_box(Box::new(0_u8))));
            return Some(threads);
        }
        number /= 2;
        // They count until the system has cleared them away.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    None
}

/// Number of threads that rayon would start: `RAYON_NUM_THREADS`, or one for each core.
fn wanted() -> usize {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|number| number.parse().ok());
    let wanted = asked.filter(|&number| number > 0);
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).min(rayon::max_num_threads())
}

/// Run `work` on the calling thread, and what it does in parallel as well.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    ALONE.with(|alone| {
        let pool = alone.get_or_init(|| {
            let only_this = ThreadPoolBuilder::new().num_threads(1).use_current_thread();
            only_this.build().expect("a pool of the calling thread starts none")
        });
        pool.install(work)
    })
}
