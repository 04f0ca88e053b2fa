//! The packs of a plan.

use std::ops::Range;

use crate::plan::{Content, Plan};
use crate::{Error, SequenceIds};

/// One pack: its pieces in order. A sequence that is not cut is one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pack {
    /// The row of each piece's sequence.
    pub ids: Vec<u64>, // (pieces,)
    /// The first token of each piece in its sequence.
    pub starts: Vec<u32>, // (pieces,)
    /// Number of tokens of each piece.
    pub lengths: Vec<u32>, // (pieces,)
}

/// The sequence ids of consecutive packs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackList {
    /// Pack `i` of the list holds `ids[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<i64>, // (packs + 1,)
    /// The row of each piece's sequence.
    pub ids: SequenceIds, // (pieces,)
}

impl Plan {
    /// Find one pack without listing the others; `None` outside the plan.
    ///
    /// # Panics
    /// The system has no memory for a pack.
    ///
    /// # Complexity
    /// O(pieces of the pack + log patterns); O(log sequences) for strategy [`Random`](crate::Strategy::Random).
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Lengths, Options, Plan};
    ///
    /// let plan = Plan::new(&Lengths::from(&[3_u8, 5, 2, 2][..]).into(), Options::new(7), None, 0)?;
    /// let pack = plan.pack(1).unwrap();
    /// assert_eq!((pack.ids, pack.lengths), (vec![0, 3], vec![3, 2]));
    /// assert_eq!(plan.pack(2), None);
    /// # Ok::<(), packsort_core::Error>(())
    /// ```
    pub fn pack(&self, index: u64) -> Option<Pack> {
        (index < self.num_packs()).then(|| match &self.content {
            Content::Patterned(patterned, shuffle) => patterned.pack(shuffle.as_deref(), index),
            Content::Concatenated(concatenated) => {
                let pieces = concatenated.list(index..index + 1).expect("memory for one pack");
                Pack {
                    ids: pieces.ids.into_iter().map(u64::from).collect(),
                    starts: pieces.starts.into_iter().map(|start| start as u32).collect(),
                    lengths: pieces.lengths.into_iter().map(|length| length as u32).collect(),
                }
            }
        })
    }

    /// Iterate over packs `range`, which is cut at the number of packs. Each pack is found when it is asked for.
    ///
    /// [`list_packs`](Self::list_packs) lists many packs faster, in parallel.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Lengths, Options, Plan};
    ///
    /// let plan = Plan::new(&Lengths::from(&[3_u8, 5, 2, 2][..]).into(), Options::new(7), None, 0)?;
    /// let tokens: Vec<u32> = plan.packs(0..u64::MAX).map(|pack| pack.lengths.iter().sum()).collect();
    /// assert_eq!(tokens, [7, 5]);
    /// assert_eq!((&plan).into_iter().last(), plan.pack(1));
    /// # Ok::<(), packsort_core::Error>(())
    /// ```
    pub fn packs(&self, range: Range<u64>) -> Packs<'_> {
        Packs { plan: self, range: self.inside(range) }
    }

    /// List packs `range` in parallel; the range is cut at the number of packs.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(pieces), over all threads.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Lengths, Options, Plan, SequenceIds};
    ///
    /// let plan = Plan::new(&Lengths::from(&[3_u8, 5, 2, 2][..]).into(), Options::new(7), None, 0)?;
    /// let all = plan.list_packs(0..plan.num_packs())?;
    /// assert_eq!(all.offsets, [0, 2, 4]);
    /// assert_eq!(all.ids, SequenceIds::U32(vec![1, 2, 0, 3]));
    /// assert_eq!(plan.list_lengths(0..2)?, [5, 2, 3, 2]);
    /// assert_eq!(plan.list_starts(0..2)?, [0; 4]);
    /// # Ok::<(), packsort_core::Error>(())
    /// ```
    pub fn list_packs(&self, range: Range<u64>) -> Result<PackList, Error> {
        let range = self.inside(range);
        match &self.content {
            Content::Patterned(patterned, shuffle) => patterned.list_packs(shuffle.as_deref(), range),
            Content::Concatenated(concatenated) => {
                let pieces = concatenated.list(range)?;
                Ok(PackList { offsets: pieces.offsets, ids: SequenceIds::U32(pieces.ids) })
            }
        }
    }

    /// List the number of tokens of each piece of packs `range`, in the order of [`list_packs`](Self::list_packs).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(pieces), over all threads.
    pub fn list_lengths(&self, range: Range<u64>) -> Result<Vec<i32>, Error> {
        let range = self.inside(range);
        match &self.content {
            Content::Patterned(patterned, shuffle) => patterned.list_lengths(shuffle.as_deref(), range),
            Content::Concatenated(concatenated) => Ok(concatenated.list(range)?.lengths),
        }
    }

    /// List the first token of each piece of packs `range` in its sequence, in the order of
    /// [`list_packs`](Self::list_packs).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(pieces log cut sequences), over all threads.
    pub fn list_starts(&self, range: Range<u64>) -> Result<Vec<i32>, Error> {
        let range = self.inside(range);
        match &self.content {
            Content::Patterned(patterned, shuffle) => patterned.list_starts(shuffle.as_deref(), range),
            Content::Concatenated(concatenated) => Ok(concatenated.list(range)?.starts),
        }
    }

    fn inside(&self, range: Range<u64>) -> Range<u64> {
        let packs = self.num_packs();
        let start = range.start.min(packs);
        start..range.end.clamp(start, packs)
    }
}

/// Iterator over the packs of a plan, from [`Plan::packs`].
#[derive(Clone, Debug)]
pub struct Packs<'a> {
    plan: &'a Plan,
    range: Range<u64>,
}

impl Iterator for Packs<'_> {
    type Item = Pack;

    fn next(&mut self) -> Option<Pack> {
        self.nth(0)
    }

    fn nth(&mut self, skipped: usize) -> Option<Pack> {
        self.range.nth(skipped).and_then(|index| self.plan.pack(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl DoubleEndedIterator for Packs<'_> {
    fn next_back(&mut self) -> Option<Pack> {
        self.range.next_back().and_then(|index| self.plan.pack(index))
    }
}

impl<'a> IntoIterator for &'a Plan {
    type Item = Pack;
    type IntoIter = Packs<'a>;

    fn into_iter(self) -> Packs<'a> {
        self.packs(0..self.num_packs())
    }
}
