//! Decide which lengths share a pack.

pub mod best_fit;
mod bits;
pub mod bounds;
pub mod first_fit;
pub mod hybrid;
mod multiple;
pub mod open_packs;
pub mod optimal;
pub mod patterns;
pub mod room;
