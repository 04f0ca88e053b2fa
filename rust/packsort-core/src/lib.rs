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

mod error;
mod histogram;
mod lengths;
mod memory;
mod packing;
mod parallel;
mod permutation;
mod plan;
mod tokens;
mod training;

pub use error::Error;
pub use histogram::classes::Classes;
pub use histogram::count::{Counts, Overlong};
pub use histogram::cuts::Cuts;
pub use histogram::sort::Order;
pub use lengths::{Chunk, Lengths};
pub use packing::bounds::lower_bound;
pub use packing::optimal;
pub use packing::patterns::{Patterns, Slot, Strategy};
pub use packing::room::Room;
pub use permutation::Permutation;
pub use plan::concatenation::{Concatenation, Pieces, Skipped};
pub use plan::packs::{Listing, Pack};
pub use plan::{Excess, Groups, Options, Parts, Plan, Sequences, Starts};
pub use tokens::column as fill;
pub use tokens::gather::{Fillers, Ids, ListChunk, Offsets, PADDING, SEPARATOR, gather};
pub use training::cost::CostModel;
pub use training::schedule::{Balance, Layout, Schedule, Tail};
pub use training::{batch, block_mask};
