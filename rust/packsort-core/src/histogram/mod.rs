//! Count lengths, sort sequence ids by length, and cut sequences that are too long.

pub mod classes;
pub mod count;
pub mod cuts;
pub mod grouped_sort;
pub mod sort;
