//! Packing of tokenized sequences, decided on the histogram of their lengths.
//!
//! Supervised fine-tuning reads sequences of very different lengths. Packing puts several whole sequences into one
//! training example of `max_length` tokens, a pack, so that almost no token is padding. First-fit decreasing gives the
//! same packs as filling one pack after another with the longest sequence that still fits. So packs are decided on the
//! counts of lengths, in time that depends on `max_length` and hardly on the number of sequences.
//!
//! # The way of the data
//!
//! ```text
//! Lengths ──> Plan ──> gather ──> batch
//! how long    which sequences     the arrays of
//! each is     share a pack        a training step
//! ```
//!
//! 1. [`Lengths`] borrows a column of lengths; [`Sequences`] adds groups and cuts, [`Options`] the strategy.
//! 2. [`Plan::new`] counts lengths, finds [`Patterns`] of lengths that share a pack, and hands out ids to packs.
//! 3. [`gather()`] copies the tokens of packs out of a list column.
//! 4. [`batch`] fills the arrays of a training step; [`Schedule`] decides which rank trains on which pack.
//!
//! ```
//! use packsort_core::{Lengths, Options, Plan};
//!
//! let lengths = [3_i64, 5, 2, 2];
//! let plan = Plan::new(&Lengths::from(&lengths[..]).into(), Options::new(7), None, 0)?;
//! for pack in &plan {
//!     println!("sequences {:?} of {:?} tokens", pack.ids, pack.lengths);
//! }
//! assert_eq!(plan.num_packs(), 2);
//! assert_eq!(plan.pack(0).unwrap().ids, [1, 2]); // 5 + 2
//! assert_eq!(plan.pack(1).unwrap().ids, [0, 3]); // 3 + 2
//! # Ok::<(), packsort_core::Error>(())
//! ```
//!
//! Work runs on the threads of the current rayon pool, and gives the same result on any number of threads.

mod error;
mod histogram;
mod ids;
mod input;
mod lengths;
mod memory;
mod options;
mod packing;
mod parallel;
mod permutation;
mod plan;
mod tokens;
mod training;

// What to plan, and how
pub use input::{Groups, PieceStarts, Sequences};
pub use lengths::{Chunk, Lengths};
pub use options::{Options, Overlong, Strategy, TruncationSide};

// Plans
pub use ids::SequenceIds;
pub use plan::packs::{Pack, PackList, Packs};
pub use plan::parts::{ConcatenatedParts, PackParts, Parts, PatternedParts};
pub use plan::{LeftOut, NumFillers, Plan};

// Inside a plan
pub use histogram::classes::Classes;
pub use packing::bounds::lower_bound;
pub use packing::optimal;
pub use packing::patterns::{Patterns, Slot};
pub use packing::room::Room;
pub use permutation::{Permutation, shuffled};
pub use plan::group_sizes::GroupSizes;

// Tokens
pub use tokens::column::{AsListChunk, ListChunk, ListColumn, Offsets};
pub use tokens::gather::{Fillers, IdSlice, PADDING, SEPARATOR, Selection, gather, gather_serial};

// Training
pub use training::attention::Attention;
pub use training::cost::CostModel;
pub use training::schedule::{Schedule, ScheduleOptions, StepTimes, Tail};
pub use training::{batch, block_mask};

// Errors
pub use error::{Error, PackFault, PlanFault, UnknownName};
