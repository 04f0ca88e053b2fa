//! Which blocks of an attention matrix are seen when each segment attends causally to itself only.
//!
//! The blocks that the first token of a row of blocks sees are those from the start of its segment on, and no later
//! token of the row sees an earlier one. So both ends of what is seen follow from where segments start: nothing of the
//! matrix itself is looked at, as PyTorch's `create_block_mask` does.

use std::ops::Range;

use crate::Error;

/// Blocks in ordered form, as PyTorch's `BlockMask` holds them: of each line (of queries or of keys), how many there are
/// and which, ascending, followed by those that are not.
#[derive(Debug)]
pub struct Blocks<'a> {
    /// How many blocks of a line are seen.
    pub counts: &'a mut [i32], // (rows, lines)
    /// Which; the rest of the blocks behind them.
    pub indices: &'a mut [i32], // (rows, lines, lines)
}

/// The blocks of a batch. `partial` are seen in part, `full` wholly.
#[derive(Debug)]
pub struct BlockMask<'a> {
    /// Blocks of keys that each block of queries sees.
    pub partial: Blocks<'a>,
    /// Likewise.
    pub full: Blocks<'a>,
    /// Blocks of queries that see each block of keys.
    pub partial_queries: Blocks<'a>,
    /// Likewise.
    pub full_queries: Blocks<'a>,
}

/// Fills the block masks of a batch's rows.
///
/// Takes where segments start, over all rows, of `width` tokens each; every row starts with a segment. Blocks at the end
/// that reach over the row are never full.
///
/// # Errors
/// Places that are not as long as `width` and `block` need; segments that do not fill rows.
pub fn fill_blocks(cu_seqlens: &[i32], width: usize, block: usize, mask: BlockMask) -> Result<(), Error> {
    const SIZE: Error = Error::Inconsistent("the block mask's arrays are not as long as its rows need");
    if width == 0 || block == 0 {
        return Err(SIZE);
    }
    let lines = width.div_ceil(block);
    let rows = mask.partial.counts.len() / lines;
    let parts = [mask.partial, mask.full, mask.partial_queries, mask.full_queries];
    if parts.iter().any(|p| p.counts.len() != rows * lines || p.indices.len() != rows * lines * lines) {
        return Err(SIZE);
    }
    let mut segments = cu_seqlens.windows(2).map(|w| (w[0] as usize, w[1] as usize)).filter(|(a, b)| a != b);
    let [mut partial, mut full, mut partial_queries, mut full_queries] = parts;
    for row in 0..rows {
        // the first token and the end of the segment that the first, and that the last token of each block is in
        let mut first = vec![(0, 0); lines];
        let mut last = vec![(0, 0); lines];
        let (offset, mut end) = (row * width, 0);
        while end < width {
            let (start, stop) = segments.next().ok_or(SIZE)?;
            if start != offset + end || stop < start || stop > offset + width {
                return Err(Error::Inconsistent("segments do not fill the rows of the batch"));
            }
            let segment = (end, stop - offset);
            end = segment.1;
            first[segment.0.div_ceil(block)..end.div_ceil(block)].fill(segment);
            // the last token of a block is the one before the next block starts, or the last of the row
            let blocks = (segment.0 + 1).div_ceil(block) - 1..if end == width { lines } else { end / block };
            last[blocks].fill(segment);
        }
        for line in 0..lines {
            let (start, stop) = first[line];
            // full: whole blocks of the segment that the line's first token is in, if all of the line is
            let inside = (line + 1) * block <= stop;
            let whole = start.div_ceil(block)..if inside { line + usize::from(block == 1) } else { 0 };
            let (some, all) = split(start / block..line + 1, whole);
            partial.set(row * lines + line, lines, some);
            full.set(row * lines + line, lines, all);

            let (start, stop) = last[line];
            let inside = start <= line * block && (line + 1) * block <= width;
            let whole = line + usize::from(block > 1)..if inside { stop / block } else { 0 };
            let (some, all) = split(line..stop.div_ceil(block), whole);
            partial_queries.set(row * lines + line, lines, some);
            full_queries.set(row * lines + line, lines, all);
        }
    }
    Ok(())
}

impl Blocks<'_> {
    /// Sets one line to the blocks of two ranges, ascending and apart, and the rest behind them.
    fn set(&mut self, at: usize, lines: usize, [one, two]: [Range<usize>; 2]) {
        self.counts[at] = (one.len() + two.len()) as i32;
        let rest = [0..one.start, one.end..two.start, two.end..lines];
        let mut place = self.indices[at * lines..(at + 1) * lines].iter_mut();
        for range in [one, two].into_iter().chain(rest) {
            place.by_ref().zip(range).for_each(|(to, block)| *to = block as i32);
        }
    }
}

/// `seen` without `whole`, and `whole`, each as two ranges.
fn split(seen: Range<usize>, whole: Range<usize>) -> ([Range<usize>; 2], [Range<usize>; 2]) {
    if whole.is_empty() {
        return ([seen.clone(), seen.end..seen.end], [0..0, 0..0]);
    }
    ([seen.start..whole.start, whole.end..seen.end], [whole.clone(), whole.end..whole.end])
}
