//! Values of the tokens of a pack: in one stretch, or where their column holds them.

use std::ops::Range;

use crate::memory::prefetch;

/// Distance, in pieces, between the piece that is read and the piece that is prefetched.
const AHEAD: usize = 4;

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

    /// The values of one segment, which stand at `range` of the pack. Those of a later segment are prefetched.
    #[inline(always)]
    pub(super) fn of_segment(&self, segment: usize, range: Range<usize>) -> Values<'a> {
        match self {
            Self::Whole(values) => Values::I32(&values[range]),
            Self::I32(pieces) => {
                prefetch(pieces.get(segment + AHEAD).copied().unwrap_or_default());
                Values::Bytes32(pieces[segment].as_chunks().0)
            }
            Self::I64(pieces) => {
                prefetch(pieces.get(segment + AHEAD).copied().unwrap_or_default());
                Values::Bytes64(pieces[segment].as_chunks().0)
            }
        }
    }
}

/// The values of one segment.
#[derive(Clone, Copy)]
pub(super) enum Values<'a> {
    I32(&'a [i32]),
    Bytes32(&'a [[u8; 4]]),
    Bytes64(&'a [[u8; 8]]),
}

impl Values<'_> {
    /// Write the values from the `first` on.
    #[inline(always)]
    pub(super) fn write(self, first: usize, out: &mut [i64]) {
        match self {
            Self::I32(values) => convert(values, first, out, i64::from),
            Self::Bytes32(values) => convert(values, first, out, |value| i32::from_ne_bytes(value).into()),
            Self::Bytes64(values) => convert(values, first, out, i64::from_ne_bytes),
        }
    }

    /// Count the values from the `first` on that differ from one.
    pub(super) fn count_others(self, first: usize, than: i64) -> usize {
        match self {
            Self::I32(values) => count(values, first, |value| i64::from(value) != than),
            Self::Bytes32(values) => count(values, first, |value| i64::from(i32::from_ne_bytes(value)) != than),
            Self::Bytes64(values) => count(values, first, |value| i64::from_ne_bytes(value) != than),
        }
    }
}

#[inline(always)]
fn convert<T: Copy>(values: &[T], first: usize, out: &mut [i64], to: impl Fn(T) -> i64) {
    for (out, &value) in out.iter_mut().zip(values.get(first..).unwrap_or_default()) {
        *out = to(value);
    }
}

fn count<T: Copy>(values: &[T], first: usize, wanted: impl Fn(T) -> bool) -> usize {
    values.get(first..).unwrap_or_default().iter().filter(|&&value| wanted(value)).count()
}
