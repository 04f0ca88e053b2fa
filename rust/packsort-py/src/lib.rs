//! `packsort._core`: convert arguments, release the GIL, map errors, return arrays. All logic is in `packsort_core`.

use pyo3::prelude::*;

mod allocator;
mod arrays;
mod batch;
mod columns;
mod errors;
mod gather;
mod in_order;
mod json_lines;
mod lengths;
mod optimal;
mod parquet;
mod parts;
mod pieces;
mod plan;
mod pool;
mod reserve;
mod schedule;

// Importing a module that does not say so turns the lock of free-threaded Python on. This one can do without: the core
// runs without the lock in every Python, so arrays that another thread changes meanwhile are met in each, all its state
// is atomic or belongs to one thread, and PyO3 refuses a call on an object that is being changed.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::batch::{fill_batch, fill_blocks, step_total};
    #[pymodule_export]
    use super::gather::{ListColumn, gather};
    #[pymodule_export]
    use super::in_order::InOrder;
    #[pymodule_export]
    use super::json_lines::count_objects;
    #[pymodule_export]
    use super::optimal::{Packing, price_patterns, sample_patterns};
    #[pymodule_export]
    use super::parquet::{count_list_values, read_column_lists, read_page_header};
    #[pymodule_export]
    use super::pieces::{Pieces, cut_pieces};
    #[pymodule_export]
    use super::plan::Plan;
    #[pymodule_export]
    use super::pool::num_threads;
    #[pymodule_export]
    use super::schedule::{pack_costs, schedule, shuffled};

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("PADDING", packsort_core::PADDING)?;
        module.add("SEPARATOR", packsort_core::SEPARATOR)?;
        module.add("NO_LOSS", packsort_core::batch::NO_LOSS)
    }
}
