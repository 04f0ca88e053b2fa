//! The parts of a search for the fewest packs. The linear program itself is left to a library.
//!
//! Column generation on the histogram of lengths (Gilmore and Gomory, 1961, "A linear programming approach to the
//! cutting-stock problem"). A column of the program is a pattern, a row is an item: one distinct size.
//!
//! ```text
//! sizes = Plan::sizes(group)                  how much room sequences take
//! patterns = sample(...)                      full patterns to start from
//! repeat:
//!     solve: fewest packs of patterns, fractions allowed      (a library's job)
//!     Knapsack::price(its dual values)        better patterns, and a lower bound
//! until no pattern is better, or the bound is met
//! Packing: take whole packs of the fractions, pack what is left
//! Plan::with_packs                            a plan of the packs found
//! ```
//!
//! # Examples
//! ```
//! use packsort_core::optimal::{Knapsack, Packing, Search};
//!
//! // Two sequences of each of three sizes, in packs of 10.
//! let knapsack = Knapsack::new(&[3, 4, 6], 10, u64::MAX)?;
//! let counts = [2, 2, 2];
//!
//! // With the capacity's share of each size as its dual value, the bound is that of the tokens: 26 / 10.
//! let priced = knapsack.price(&counts, &[&[0.3, 0.4, 0.6]], &[0.3, 0.4, 0.6])?;
//! assert_eq!(priced.bound, 3);
//!
//! let mut packing = Packing::new(&knapsack, &counts)?;
//! assert_eq!(packing.finish_within(3, 1000)?, Search::Found(())); // 6 + 4, 6 + 4, 3 + 3
//! # Ok::<(), packsort_core::Error>(())
//! ```

mod bin_slack;
mod exact;
mod knapsack;
mod packing;
mod sampling;
mod size_patterns;

pub use exact::{Search, pack_few};
pub use knapsack::{Knapsack, Priced};
pub use packing::Packing;
pub use sampling::sample;
pub use size_patterns::SizePatterns;
