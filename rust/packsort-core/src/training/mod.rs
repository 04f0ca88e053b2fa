//! Fill the arrays of a training step, and order packs over ranks.

pub mod batch;
pub mod block_mask;
pub mod cost;
pub mod schedule;
