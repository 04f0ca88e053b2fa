//! Write the block mask of a batch, as PyTorch's flex attention takes it.
//!
//! A query attends to the keys before it in its own segment, or with a window to the last of them. The matrix of queries
//! and keys is cut into square blocks; a block is full, partial or empty. The idea: look at segment starts instead of the
//! matrix.
//!
//! ```text
//! a query attends to all keys from its first key to itself
//! its first key is the start of its segment, or of its window if that is later
//! for each row of blocks:
//!     no later query has an earlier first key
//!     so blocks from the first key of the first query to the diagonal are not empty
//!     and whole blocks from the first key of the last query to the first query are full
//! the same for each column of blocks, from the last query that attends to a key
//! ```
//!
//! Cost: O(blocks) to write the indices, against O(tokens^2) for PyTorch's `create_block_mask`, which evaluates the
//! matrix.

use std::ops::Range;

use crate::Error;

/// Block numbers of each line, in the form of PyTorch's `BlockMask`. A line is a row of blocks (one block of queries)
/// or a column of blocks (one block of keys).
#[derive(Debug)]
pub struct BlockLines<'a> {
    /// Number of chosen blocks of each line.
    pub counts: &'a mut [i32], // (rows, lines)
    /// Numbers of the chosen blocks of each line, ascending, followed by the numbers of all others.
    pub indices: &'a mut [i32], // (rows, lines, lines)
}

/// The four pairs of arrays of a block mask.
#[derive(Debug)]
pub struct BlockMask<'a> {
    /// For each block of queries, the blocks of keys it attends to in part.
    pub partial: BlockLines<'a>,
    /// For each block of queries, the blocks of keys it attends to wholly.
    pub full: BlockLines<'a>,
    /// For each block of keys, the blocks of queries that attend to it in part.
    pub partial_queries: BlockLines<'a>,
    /// For each block of keys, the blocks of queries that attend to it wholly.
    pub full_queries: BlockLines<'a>,
}

/// Write the block mask of a batch of rows of `row_length` tokens, for blocks of `block` tokens.
///
/// `cu_seqlens` are the ends of segments over all rows, as [`write_batch`](crate::batch::write_batch) writes them; a
/// segment must start at each row. With a `window` a query attends to that many keys, itself included. The last block of
/// a line may reach over the end of the row and is never full then.
///
/// # Errors
/// A `row_length`, `block` or `window` of 0; arrays of another size than rows and blocks need; segments that do not fill every
/// row.
///
/// # Complexity
/// O(rows x lines x lines): each index is written once.
///
/// # Examples
/// ```
/// use packsort_core::block_mask::{BlockLines, BlockMask, write_block_mask};
///
/// let (mut counts, mut indices) = ([[0; 2]; 4], [[0; 4]; 4]);
/// let mut lines = counts.iter_mut().zip(&mut indices).map(|(counts, indices)| BlockLines { counts, indices });
/// let mut next = || lines.next().unwrap();
/// let mask = BlockMask { partial: next(), full: next(), partial_queries: next(), full_queries: next() };
/// write_block_mask(&[0, 4], 4, 2, None, mask)?; // one segment of 4 tokens, blocks of 2
/// assert_eq!(counts[0], [1, 1]); // the diagonal is partial
/// assert_eq!(counts[1], [0, 1]); // queries 2 and 3 attend to keys 0 and 1 wholly
/// # Ok::<(), packsort_core::Error>(())
/// ```
pub fn write_block_mask(
    cu_seqlens: &[i32],
    row_length: usize,
    block: usize,
    window: Option<usize>,
    mask: BlockMask,
) -> Result<(), Error> {
    for (option, number) in [("row_length", row_length), ("block", block), ("window", window.unwrap_or(1))] {
        if number == 0 {
            return Err(Error::Zero { option });
        }
    }
    let window = window.unwrap_or(row_length);
    let lines = row_length.div_ceil(block);
    let rows = mask.partial.counts.len() / lines;
    let BlockMask { mut partial, mut full, mut partial_queries, mut full_queries } = mask;
    for part in [&partial, &full, &partial_queries, &full_queries] {
        let counts = (rows * lines) as u64;
        check_length("counts", part.counts.len(), counts)?;
        check_length("indices", part.indices.len(), counts.saturating_mul(lines as u64))?;
    }
    let mut segments = cu_seqlens.windows(2).map(|ends| (ends[0] as usize, ends[1] as usize)).filter(|(a, b)| a != b);
    for row in 0..rows {
        // Start and end of the segment of the first token of each block, and of the segment of its last token.
        let mut first = vec![(0, 0); lines];
        let mut last = vec![(0, 0); lines];
        let (offset, mut end) = (row * row_length, 0);
        while end < row_length {
            let refused = Error::SegmentEnds { row: row as u64, row_length: row_length as u64 };
            let (start, stop) = segments.next().ok_or(refused)?;
            if start != offset + end || stop < start || stop > offset + row_length {
                return Err(refused);
            }
            let segment = (end, stop - offset);
            end = segment.1;
            first[segment.0.div_ceil(block)..end.div_ceil(block)].fill(segment);
            // The last token of a block is the one before the next block, or the last token of the row.
            let blocks = (segment.0 + 1).div_ceil(block) - 1..if end == row_length { lines } else { end / block };
            last[blocks].fill(segment);
        }
        for line in 0..lines {
            let (begin, end) = (line * block, row_length.min((line + 1) * block));
            let complete = end == (line + 1) * block; // no block is full that reaches over the end of the row
            let first_key = |query: usize, segment: (usize, usize)| segment.0.max((query + 1).saturating_sub(window));
            let seen = first_key(begin, first[line]) / block..line + 1;
            let whole = first_key(end - 1, last[line]).div_ceil(block)..if complete { (begin + 1) / block } else { 0 };
            let (some, all) = without(seen, whole);
            partial.set(row * lines + line, lines, some);
            full.set(row * lines + line, lines, all);

            let behind = |key: usize, segment: (usize, usize)| segment.1.min(key.saturating_add(window));
            let seen = line..behind(end - 1, last[line]).div_ceil(block);
            let whole = (end - 1).div_ceil(block)..if complete { behind(begin, first[line]) / block } else { 0 };
            let (some, all) = without(seen, whole);
            partial_queries.set(row * lines + line, lines, some);
            full_queries.set(row * lines + line, lines, all);
        }
    }
    Ok(())
}

fn check_length(array: &'static str, found: usize, expected: u64) -> Result<(), Error> {
    let found = found as u64;
    if found == expected { Ok(()) } else { Err(Error::ArrayLength { array, found, expected }) }
}

impl BlockLines<'_> {
    /// Write one line: the blocks of two ranges, ascending and apart, then all others.
    fn set(&mut self, at: usize, lines: usize, [one, two]: [Range<usize>; 2]) {
        self.counts[at] = (one.len() + two.len()) as i32;
        let rest = [0..one.start, one.end..two.start, two.end..lines];
        let mut place = self.indices[at * lines..(at + 1) * lines].iter_mut();
        for range in [one, two].into_iter().chain(rest) {
            // The range comes first: a zip that ends at its second half has taken one place too many.
            range.zip(place.by_ref()).for_each(|(block, to)| *to = block as i32);
        }
    }
}

/// The blocks of `seen` that are not in `whole`, and those of `whole`, each as two ranges.
fn without(seen: Range<usize>, whole: Range<usize>) -> ([Range<usize>; 2], [Range<usize>; 2]) {
    if whole.is_empty() {
        return ([seen.clone(), seen.end..seen.end], [0..0, 0..0]);
    }
    ([seen.start..whole.start, whole.end..seen.end], [whole.clone(), whole.end..whole.end])
}
