//! Read list columns and gather the tokens of packs.

pub mod column;
pub mod gather;
