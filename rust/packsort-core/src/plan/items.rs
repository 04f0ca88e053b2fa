//! The items of a plan by class: listed, or only counted.

use crate::Error;
use crate::SequenceIds;
use crate::ids::{Id, with_ids};
use crate::memory::prefetch;

/// Items by class (see [`Cuts`](crate::histogram::cuts::Cuts)); rows where nothing is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Items {
    /// The items of a plan that was made from lengths.
    Listed(SequenceIds),
    /// The number of items of a plan that was made from counts. Each is its own place, so none is stored.
    Counted(u64),
}

impl Items {
    /// Number of items.
    pub fn len(&self) -> u64 {
        match self {
            Self::Listed(items) => items.len() as u64,
            Self::Counted(len) => *len,
        }
    }

    /// The item at a place.
    pub fn at(&self, place: u64) -> u64 {
        match self {
            Self::Listed(items) => with_ids!(items, items => items[place as usize].to_u64()),
            Self::Counted(_) => place,
        }
    }

    /// Copy the items.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn copied(&self) -> Result<Self, Error> {
        match self {
            Self::Listed(items) => items.copied().map(Self::Listed),
            Self::Counted(len) => Ok(Self::Counted(*len)),
        }
    }
}

/// Items of one type by their places.
pub(crate) trait ByPlace<I: Id>: Sync {
    /// The largest place.
    fn last(&self) -> usize;
    /// The item at a place.
    fn item(&self, place: usize) -> I;
    /// Ask for the memory of a place.
    fn prefetch(&self, place: usize);
}

impl<I: Id> ByPlace<I> for [I] {
    #[inline(always)]
    fn last(&self) -> usize {
        self.len() - 1
    }

    #[inline(always)]
    fn item(&self, place: usize) -> I {
        self[place]
    }

    #[inline(always)]
    fn prefetch(&self, place: usize) {
        prefetch(&self[place..=place]);
    }
}

/// Items that are their own places.
pub(crate) struct OwnPlaces(pub u64);

impl ByPlace<i64> for OwnPlaces {
    fn last(&self) -> usize {
        self.0 as usize - 1
    }

    #[inline(always)]
    fn item(&self, place: usize) -> i64 {
        place as i64
    }

    fn prefetch(&self, _place: usize) {}
}
