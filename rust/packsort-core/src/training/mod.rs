//! Write the arrays of batches, estimate costs, and schedule packs over ranks.

pub mod attention;
pub mod batch;
pub mod block_mask;
pub mod cost;
pub mod schedule;
