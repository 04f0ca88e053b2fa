//! Lists of numbers from Parquet, without a level for each number.
//!
//! A file of tokens holds two levels for each token, which say where rows begin. Readers that make an array of them take
//! more time for it than for the tokens. Here levels stay runs, and pages go straight into the memory of the lists.
//! Layout: <https://parquet.apache.org/docs/file-format/>

mod codec;
mod header;
mod levels;
mod lists;
mod values;

pub use codec::Codec;
pub use header::{PageHeader, PageKind};
pub use levels::{ListLevels, PageLists, count_page};
pub use lists::{ColumnChunk, read_lists};
pub use values::{PageValues, write_page};
