//! Values of the tokens of a pack: in one stretch, or where their column holds them.

use std::ops::Range;

use crate::memory::prefetch_once;

/// Bytes of a line of the cache.
const LINE: usize = 64;
/// Lines at the start of a piece that are asked for together.
const FIRST_LINES: usize = 8;
/// The most lines of a piece that are asked for together once the piece before it is written.
const MOST_LINES: usize = 16;

/// The values of a pack's tokens.
#[derive(Clone, Copy, Debug)]
pub enum Tokens<'a> {
    /// All values, one after another.
    Whole(&'a [i32]), // (tokens,)
    /// Values of each segment, as bytes of `i32`.
    I32(&'a [&'a [u8]]), // (segments,)
    /// Values of each segment, as bytes of `i64`.
    I64(&'a [&'a [u8]]), // (segments,)
}

impl<'a> Tokens<'a> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(values) => values.len(),
            Self::I32(pieces) => pieces.iter().map(|piece| piece.len() / size_of::<i32>()).sum(),
            Self::I64(pieces) => pieces.iter().map(|piece| piece.len() / size_of::<i64>()).sum(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether each segment of these lengths has as many values, provided that they have as many together.
    pub(super) fn fit(&self, seq_lengths: &[i32]) -> bool {
        let (pieces, width) = match self {
            Self::Whole(_) => return true,
            Self::I32(pieces) => (pieces, size_of::<i32>()),
            Self::I64(pieces) => (pieces, size_of::<i64>()),
        };
        pieces.len() == seq_lengths.len()
            && pieces.iter().zip(seq_lengths).all(|(piece, &length)| piece.len() == length as usize * width)
    }

    /// Ask for both ends of a segment from memory. Pieces are on many pages, and finding these takes as long as reading a
    /// line; the processor finds many at once only if nothing else is asked for in between.
    #[inline(always)]
    pub(super) fn ask_for_ends(&self, segment: usize) {
        if let Self::I32(pieces) | Self::I64(pieces) = self {
            let piece = piece_of(pieces, segment);
            prefetch_once(piece, 0);
            prefetch_once(piece, piece.len().saturating_sub(1));
        }
    }

    /// Ask for the first lines of a segment from memory.
    #[inline(always)]
    pub(super) fn ask_for_start(&self, segment: usize) {
        if let Self::I32(pieces) | Self::I64(pieces) = self {
            let piece = piece_of(pieces, segment);
            (0..FIRST_LINES).for_each(|line| prefetch_once(piece, line * LINE));
        }
    }

    /// The values of one segment, which stand at `range` of the pack. Those of the next segment are prefetched line by line
    /// while these are written: pieces are far apart in memory, and the processor detects no stream across them.
    #[inline(always)]
    pub(super) fn of_segment(&self, segment: usize, range: Range<usize>) -> Values<'a> {
        match self {
            Self::Whole(values) => Values::I32(&values[range]),
            Self::I32(pieces) => Values::Bytes32(pieces[segment].as_chunks().0, piece_of(pieces, segment + 1)),
            Self::I64(pieces) => Values::Bytes64(pieces[segment].as_chunks().0, piece_of(pieces, segment + 1)),
        }
    }
}

/// The piece of a segment; none behind the last.
#[inline(always)]
fn piece_of<'a>(pieces: &[&'a [u8]], segment: usize) -> &'a [u8] {
    pieces.get(segment).copied().unwrap_or_default()
}

/// The values of one segment, and the bytes of those of the next.
#[derive(Clone, Copy)]
pub(super) enum Values<'a> {
    I32(&'a [i32]),
    Bytes32(&'a [[u8; 4]], &'a [u8]),
    Bytes64(&'a [[u8; 8]], &'a [u8]),
}

impl Values<'_> {
    /// Write the values from the `first` on.
    #[inline(always)]
    pub(super) fn write(self, first: usize, out: &mut [i64]) {
        match self {
            Self::I32(values) => convert(values, first, out, i64::from),
            Self::Bytes32(values, next) => {
                convert_ahead::<_, 64>(values, first, out, next, |value| i32::from_ne_bytes(value).into());
            }
            Self::Bytes64(values, next) => convert_ahead::<_, 32>(values, first, out, next, i64::from_ne_bytes),
        }
    }

    /// Count the values from the `first` on that differ from one.
    pub(super) fn count_others(self, first: usize, than: i64) -> usize {
        match self {
            Self::I32(values) => count(values, first, |value| i64::from(value) != than),
            Self::Bytes32(values, _) => count(values, first, |value| i64::from(i32::from_ne_bytes(value)) != than),
            Self::Bytes64(values, _) => count(values, first, |value| i64::from_ne_bytes(value) != than),
        }
    }
}

#[inline(always)]
fn convert<T: Copy>(values: &[T], first: usize, out: &mut [i64], to: impl Fn(T) -> i64) {
    for (out, &value) in out.iter_mut().zip(values.get(first..).unwrap_or_default()) {
        *out = to(value);
    }
}

/// Convert the values of a piece, `ROW` of them in a few lines of the cache, and ask for as many lines of the next. Rows of
/// one line would be unrolled into moves of single values.
#[inline(always)]
fn convert_ahead<T: Copy, const ROW: usize>(
    values: &[T],
    first: usize,
    out: &mut [i64],
    next: &[u8],
    to: impl Fn(T) -> i64,
) {
    let values = values.get(first..).unwrap_or_default();
    let count = values.len().min(out.len());
    let (rows, rest) = values[..count].as_chunks::<ROW>();
    let (row_outs, rest_out) = out[..count].as_chunks_mut::<ROW>();
    let mut line = 0;
    for (out, row) in row_outs.iter_mut().zip(rows) {
        (0..ROW * size_of::<T>()).step_by(LINE).for_each(|more| prefetch_once(next, line + more));
        line += ROW * size_of::<T>();
        for (out, &value) in out.iter_mut().zip(row) {
            *out = to(value);
        }
    }
    for (out, &value) in rest_out.iter_mut().zip(rest) {
        *out = to(value);
    }
    (0..MOST_LINES).for_each(|more| prefetch_once(next, line + more * LINE));
}

fn count<T: Copy>(values: &[T], first: usize, wanted: impl Fn(T) -> bool) -> usize {
    values.get(first..).unwrap_or_default().iter().filter(|&&value| wanted(value)).count()
}
