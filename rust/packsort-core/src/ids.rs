//! Sequence ids: 32 bits where there are few enough, for half the memory.

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

    /// The id at `index`; `None` outside.
    pub fn get(&self, index: usize) -> Option<u64> {
        with_ids!(self, ids => ids.get(index).map(|id| id.to_u64()))
    }

    /// Iterate over the ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> {
        (0..self.len()).map(|index| with_ids!(self, ids => ids[index].to_u64()))
    }
}

/// An integer type for sequence ids and for positions among them.
pub(crate) trait Id: Copy + Default + Ord + Send + Sync + std::fmt::Debug {
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
