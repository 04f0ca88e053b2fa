//! Decide which lengths share a pack.
//!
//! ```text
//! room         the room of a pack, and the room a sequence takes
//! patterns     strategy -> patterns of each group
//! first_fit    first-fit decreasing on counts
//! best_fit     best-fit decreasing on counts
//! hybrid       first-fit decreasing with cuts
//! in_order     next-fit in input order, with a look-ahead
//! optimal      the fewest packs: pricing, sampling, rounding
//! multiple     split packs until their number divides evenly
//! bounds       the fewest packs any plan can have
//! bits         a set of small integers, for first_fit
//! open_packs   packs that still have room, for best_fit and hybrid
//! waiting      sequences that were passed over, for in_order
//! ```

pub mod best_fit;
mod bits;
pub mod bounds;
pub mod first_fit;
pub mod hybrid;
pub mod in_order;
mod multiple;
pub mod open_packs;
pub mod optimal;
pub mod patterns;
pub mod room;
pub mod waiting;
