//! Count lengths, sort sequence ids by length, and cut sequences that are too long.
//!
//! ```text
//! cuts          which sequences are cut, and where          lengths -> Cuts
//! count         how many sequences have each length         lengths -> Counts, and the counts of each thread
//! sort          ids by length                               Counts  -> ids
//! grouped_sort  ids by group, then by length                lengths -> ids, Classes
//! piece_order   pieces among ids of equal length            ids     -> ids
//! classes       the sequences a plan does not tell apart    Counts  -> Classes
//! ```

pub mod classes;
pub mod count;
pub mod cuts;
pub mod grouped_sort;
mod piece_order;
pub mod sort;
