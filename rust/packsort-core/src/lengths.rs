//! A column of lengths: any integer type, any number of chunks, nothing copied.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::EmptySequences;

/// One contiguous chunk of a column of lengths.
#[derive(Clone, Copy, Debug)]
pub enum Chunk<'a> {
    /// Signed 8-bit lengths.
    I8(&'a [i8]),
    /// Signed 16-bit lengths.
    I16(&'a [i16]),
    /// Signed 32-bit lengths.
    I32(&'a [i32]),
    /// Signed 64-bit lengths.
    I64(&'a [i64]),
    /// Unsigned 8-bit lengths.
    U8(&'a [u8]),
    /// Unsigned 16-bit lengths.
    U16(&'a [u16]),
    /// Unsigned 32-bit lengths.
    U32(&'a [u32]),
    /// Unsigned 64-bit lengths.
    U64(&'a [u64]),
}

/// Evaluate `$body` with `$slice` bound to the typed slice of a [`Chunk`].
macro_rules! with_slice {
    ($chunk:expr, $slice:ident => $body:expr) => {
        match $chunk {
            $crate::lengths::Chunk::I8($slice) => $body,
            $crate::lengths::Chunk::I16($slice) => $body,
            $crate::lengths::Chunk::I32($slice) => $body,
            $crate::lengths::Chunk::I64($slice) => $body,
            $crate::lengths::Chunk::U8($slice) => $body,
            $crate::lengths::Chunk::U16($slice) => $body,
            $crate::lengths::Chunk::U32($slice) => $body,
            $crate::lengths::Chunk::U64($slice) => $body,
        }
    };
}
pub(crate) use with_slice;

/// Read a length from memory exactly once.
///
/// Lengths may be borrowed from an array that another thread writes to, against the rules. A compiler that trusts the rules
/// may read a length twice and get two. Where a place to write to follows from the length, it is read by this function.
#[inline(always)]
pub(crate) fn read_once<T: Length>(length: &T) -> T {
    // SAFETY: the pointer comes from a reference, and every bit pattern is a valid integer.
    unsafe { std::ptr::read_volatile(length) }
}

/// An integer type for lengths.
pub(crate) trait Length: Copy + Send + Sync {
    /// The length as an unsigned number. A negative length wraps to more than any `max_length`, so that one comparison
    /// finds both kinds of lengths that cannot be packed.
    fn wrapped(self) -> u64;
    /// The length if it is negative, or if it is zero and `empty` refuses it.
    fn refused(self, empty: EmptySequences) -> Option<i64>;
}

macro_rules! signed {
    ($($t:ty),*) => {$(impl Length for $t {
        #[inline(always)]
        fn wrapped(self) -> u64 { self as i64 as u64 }
        fn refused(self, empty: EmptySequences) -> Option<i64> {
            (self < 0 || (self == 0 && empty == EmptySequences::Error)).then_some(self as i64)
        }
    })*};
}
macro_rules! unsigned {
    ($($t:ty),*) => {$(impl Length for $t {
        #[inline(always)]
        fn wrapped(self) -> u64 { self as u64 }
        fn refused(self, empty: EmptySequences) -> Option<i64> {
            (self == 0 && empty == EmptySequences::Error).then_some(0)
        }
    })*};
}
signed!(i8, i16, i32, i64);
unsigned!(u8, u16, u32, u64);

impl<'a> Chunk<'a> {
    /// Number of lengths.
    pub fn len(&self) -> usize {
        with_slice!(self, s => s.len())
    }

    /// Whether there are no lengths.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn slice(self, r: Range<usize>) -> Self {
        match self {
            Self::I8(s) => Self::I8(&s[r]),
            Self::I16(s) => Self::I16(&s[r]),
            Self::I32(s) => Self::I32(&s[r]),
            Self::I64(s) => Self::I64(&s[r]),
            Self::U8(s) => Self::U8(&s[r]),
            Self::U16(s) => Self::U16(&s[r]),
            Self::U32(s) => Self::U32(&s[r]),
            Self::U64(s) => Self::U64(&s[r]),
        }
    }
}

/// A column of lengths: borrowed chunks, whose rows run on from one chunk to the next.
///
/// # Examples
/// ```
/// use packsort_core::{Chunk, Lengths};
///
/// let one = Lengths::from(&[3_u16, 5, 2][..]);
/// let two = Lengths::new(vec![Chunk::I64(&[3, 5]), Chunk::U8(&[2])]);
/// assert_eq!(one.len(), two.len());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Lengths<'a> {
    chunks: Vec<Chunk<'a>>,
    first_rows: Vec<usize>, // (chunks + 1,)
}

impl<'a> Lengths<'a> {
    /// Build a column of chunks.
    pub fn new(chunks: Vec<Chunk<'a>>) -> Self {
        let mut first_rows = vec![0];
        let mut rows = 0;
        for chunk in &chunks {
            rows += chunk.len();
            first_rows.push(rows);
        }
        Self { chunks, first_rows }
    }

    /// Number of lengths.
    pub fn len(&self) -> usize {
        self.first_rows.last().copied().unwrap_or(0)
    }

    /// Whether there are no lengths.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterate over the stretches of chunks that make up `rows`, each with its first row.
    pub(crate) fn stretches(&self, rows: Range<usize>) -> impl Iterator<Item = (usize, Chunk<'a>)> {
        let first = self.first_rows.partition_point(|&r| r <= rows.start).saturating_sub(1);
        (first..self.chunks.len()).take_while(move |&c| self.first_rows[c] < rows.end).map(move |c| {
            let chunk_start = self.first_rows[c];
            let start = rows.start.max(chunk_start);
            let end = rows.end.min(self.first_rows[c + 1]);
            (start, self.chunks[c].slice(start - chunk_start..end - chunk_start))
        })
    }
}

macro_rules! from_slice {
    ($($t:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a [$t]> for Lengths<'a> {
            fn from(slice: &'a [$t]) -> Self { Self::new(vec![Chunk::$variant(slice)]) }
        }
    )*};
}
from_slice!(i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64);
