//! What the search for the fewest packs is made of: all but the linear program, which is a library's job.
//!
//! Column generation on the histogram (Gilmore and Gomory, 1961, "A linear programming approach to the cutting-stock
//! problem"): the program has a row per distinct size, [`Knapsack`] finds the patterns that improve it and proves a
//! bound by its duals, [`sample`] finds full patterns to start from, [`Packing`] makes whole packs of the fractions.
//! [`Sizes`] is what the search is given of a plan, and [`Plan::with_packs`](crate::Plan::with_packs) what becomes of
//! what it finds.

mod columns;
mod exact;
mod filling;
mod knapsack;
mod packing;
mod sampling;
mod sizes;

pub use columns::Columns;
pub use exact::pack_few;
pub use knapsack::{Knapsack, Priced};
pub use packing::Packing;
pub use sampling::sample;
pub use sizes::Sizes;
