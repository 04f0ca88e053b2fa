//! Sequence ids: 32 bits where there are few enough, for half the memory.

use crate::Error;
use crate::memory::{Zero, copied};
use crate::parallel::Store;

/// The ids of sequences, which are rows of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceIds {
    /// Ids below 2^32.
    U32(Vec<u32>),
    /// Any ids.
    I64(Vec<i64>),
}

/// Evaluate `$body` with `$ids` bound to the typed vector or slice of [`SequenceIds`].
macro_rules! with_ids {
    ($sequence_ids:expr, $ids:ident => $body:expr) => {
        match $sequence_ids {
            $crate::ids::SequenceIds::U32($ids) => $body,
            $crate::ids::SequenceIds::I64($ids) => $body,
        }
    };
}
pub(crate) use with_ids;

impl SequenceIds {
    /// Number of ids.
    pub fn len(&self) -> usize {
        with_ids!(self, ids => ids.len())
    }

    /// Whether there are no ids.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copy the ids.
    pub(crate) fn copied(&self) -> Result<Self, Error> {
        match self {
            Self::U32(ids) => copied("sequence ids", ids).map(Self::U32),
            Self::I64(ids) => copied("sequence ids", ids).map(Self::I64),
        }
    }

    /// The id at `index`; `None` outside.
    pub fn get(&self, index: usize) -> Option<u64> {
        with_ids!(self, ids => ids.get(index).map(|id| id.to_u64()))
    }

    /// Borrow the ids, to gather them.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Lengths, ListChunk, ListColumn, Offsets, Options, Plan, Selection, gather};
    ///
    /// let plan = Plan::new(&Lengths::from(&[1_u8, 3][..]).into(), Options::new(4), None, 0).unwrap();
    /// let column = ListColumn::new(vec![ListChunk { offsets: Offsets::I32(&[0, 1, 4]), values: b"abcd" }], 1.try_into()?);
    /// let packs = plan.list_packs(0..plan.num_packs()).unwrap();
    /// assert_eq!(gather(&column, Selection::rows(packs.ids.as_slice())).unwrap(), b"bcda");
    /// # Ok::<(), std::num::TryFromIntError>(())
    /// ```
    pub fn as_slice(&self) -> IdSlice<'_> {
        match self {
            Self::U32(ids) => IdSlice::U32(ids),
            Self::I64(ids) => IdSlice::I64(ids),
        }
    }

    /// Iterate over the ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> {
        (0..self.len()).map(|index| with_ids!(self, ids => ids[index].to_u64()))
    }
}

/// Borrowed sequence ids: rows of a column, [`PADDING`](crate::PADDING) or [`SEPARATOR`](crate::SEPARATOR).
#[derive(Clone, Copy, Debug)]
pub enum IdSlice<'a> {
    /// Ids below 2^32.
    U32(&'a [u32]),
    /// Any ids.
    I64(&'a [i64]),
}

impl IdSlice<'_> {
    /// Number of ids.
    pub fn len(&self) -> usize {
        match self {
            Self::U32(ids) => ids.len(),
            Self::I64(ids) => ids.len(),
        }
    }

    /// Whether there are no ids.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    pub(crate) fn get(&self, i: usize) -> i64 {
        match self {
            Self::U32(ids) => ids[i].into(),
            Self::I64(ids) => ids[i],
        }
    }
}

/// An integer type for sequence ids and for positions among them.
pub(crate) trait Id: Zero + Store + Default + Ord + Send + Sync + std::fmt::Debug {
    /// Convert an index, which the caller knows to fit.
    fn from_index(index: usize) -> Self;
    /// Convert to a number.
    fn to_u64(self) -> u64;
    /// Convert to an index.
    #[inline(always)]
    fn to_usize(self) -> usize {
        self.to_u64() as usize
    }
    /// Add an index, where the caller knows the sum to fit.
    #[inline(always)]
    fn plus(self, more: usize) -> Self {
        Self::from_index(self.to_usize() + more)
    }
}

impl Id for u32 {
    #[inline(always)]
    fn from_index(index: usize) -> Self {
        index as u32
    }
    #[inline(always)]
    fn to_u64(self) -> u64 {
        self.into()
    }
}

impl Id for i64 {
    #[inline(always)]
    fn from_index(index: usize) -> Self {
        index as i64
    }
    #[inline(always)]
    fn to_u64(self) -> u64 {
        self as u64
    }
}
