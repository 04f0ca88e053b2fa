//! Packing of tokenized sequences, decided on the histogram of their lengths.
//!
//! The way of the data: [`Lengths`] are counted, [`Patterns`] say which lengths share a pack, a [`Plan`] hands out
//! sequence ids to packs, [`gather()`] moves the tokens, [`batch`] fills the arrays of a training step.
//!
//! ```
//! use packsort_core::{Lengths, Overlong, Plan};
//!
//! let lengths = [3_i64, 5, 2, 2];
//! let plan = Plan::first_fit_decreasing(&Lengths::from(&lengths[..]), 7, Overlong::Error, None, 0)?;
//! assert_eq!(plan.num_packs(), 2);
//! assert_eq!(plan.pack(0).unwrap().ids, [1, 2]); // 5 + 2
//! assert_eq!(plan.pack(1).unwrap().ids, [0, 3]); // 3 + 2
//! # Ok::<(), packsort_core::Error>(())
//! ```

pub mod batch;
mod best_fit;
mod bits;
pub mod block_mask;
mod bounds;
mod classes;
mod concatenation;
mod cost;
mod count;
mod disjoint;
mod error;
pub mod fill;
mod first_fit;
mod gather;
mod grouped;
mod hybrid;
mod lengths;
mod listing;
mod make;
mod memory;
mod multiple;
mod open_packs;
pub mod optimal;
mod order;
mod patterns;
mod permutation;
mod pieces;
mod plan;
mod room;
mod schedule;

pub use bounds::lower_bound;
pub use classes::Classes;
pub use concatenation::{Concatenation, Pieces, Skipped};
pub use cost::CostModel;
pub use count::{Counts, Overlong};
pub use error::Error;
pub use gather::{Fillers, Ids, ListChunk, Offsets, PADDING, SEPARATOR, gather};
pub use lengths::{Chunk, Lengths};
pub use listing::{Listing, Pack};
pub use order::Order;
pub use patterns::{Patterns, Slot, Strategy};
pub use permutation::Permutation;
pub use pieces::Cuts;
pub use plan::{Excess, Groups, Options, Parts, Plan, Sequences, Starts};
pub use room::Room;
pub use schedule::{Balance, Layout, Schedule, Tail};
