#![doc = include_str!("../README.md")]

mod error;
mod histogram;
mod ids;
mod input;
pub mod json_lines;
mod lengths;

mod memory;
mod names;
mod options;
mod packing;
mod parallel;
pub mod parquet;
mod permutation;
mod plan;
mod tokens;
mod training;

// What to plan, and how
pub use input::{Groups, PieceStarts, Sequences};
pub use lengths::{Chunk, Lengths};
pub use options::{DEFAULT_WINDOW, EmptySequences, Options, Overlong, Strategy, TruncationSide};

// Plans
pub use ids::{IdSlice, SequenceIds};
pub use plan::counted::LengthCounts;
pub use plan::packs::{Pack, PackList, Packs};
pub use plan::parts::{ConcatenatedParts, PackParts, Parts, PatternedParts};
pub use plan::{LeftOut, NumFillers, Plan};

// Inside a plan
pub use histogram::classes::Classes;
pub use packing::bounds::lower_bound;
pub use packing::in_order::InOrder;
pub use packing::optimal;
pub use packing::patterns::{Patterns, Slot};
pub use packing::room::Room;
pub use permutation::{Permutation, shuffled};
pub use plan::group_sizes::GroupSizes;

// Tokens
pub use tokens::column::{AsListChunk, ListChunk, ListColumn, Offsets};
pub use tokens::gather::{Fillers, FoundPieces, PADDING, SEPARATOR, Selection, gather, gather_serial};

// Training
pub use training::attention::Attention;
pub use training::cost::CostModel;
pub use training::schedule::{Schedule, ScheduleOptions, StepTimes, Tail};
pub use training::{batch, block_mask};

// Errors
pub use error::{Error, PackFault, PlanFault};
pub use names::UnknownName;
