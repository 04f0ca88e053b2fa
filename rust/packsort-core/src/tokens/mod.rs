//! Move the tokens of packs.

pub mod column;
pub mod gather;
