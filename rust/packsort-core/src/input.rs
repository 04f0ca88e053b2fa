//! The sequences to plan, and what is known about them.

use rayon::prelude::*;

use crate::{Error, Lengths};

/// Sequences to plan.
///
/// # Examples
/// ```
/// use packsort_core::{Groups, Lengths, Options, Plan, Sequences};
///
/// // Sequences 0 and 2 may share a pack, and so may 1 and 3.
/// let groups = Groups { group_of: &[0, 1, 0, 1], num_groups: 2, last_alone: false };
/// let sequences = Sequences { groups: Some(groups), ..Lengths::from(&[3, 4, 2, 2][..]).into() };
/// let plan = Plan::new(&sequences, Options::new(8), None, 0)?;
/// assert_eq!(plan.pack(0).unwrap().ids, [0, 2]);
/// assert_eq!(plan.pack(1).unwrap().ids, [1, 3]);
/// # Ok::<(), packsort_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequences<'a> {
    /// Number of tokens of each sequence.
    pub lengths: Lengths<'a>, // (rows,)
    /// Which sequences may share a pack; `None` for all.
    pub groups: Option<Groups<'a>>,
    /// Whether [`Strategy::Hybrid`](crate::Strategy::Hybrid) may cut each sequence.
    pub splittable: Option<&'a [bool]>, // (rows,)
    /// First tokens of the pieces of sequences that are already cut.
    pub piece_starts: Option<PieceStarts<'a>>,
}

impl<'a> From<Lengths<'a>> for Sequences<'a> {
    fn from(lengths: Lengths<'a>) -> Self {
        Self { lengths, groups: None, splittable: None, piece_starts: None }
    }
}

impl Sequences<'_> {
    /// Check that there is one group, flag and list of starts for each length, and that groups exist.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let rows = self.lengths.len();
        let one_each = |array, found: usize, expected: usize| {
            let (found, expected) = (found as u64, expected as u64);
            if found == expected { Ok(()) } else { Err(Error::ArrayLength { array, found, expected }) }
        };
        if let Some(Groups { group_of, num_groups, .. }) = self.groups {
            one_each("groups", group_of.len(), rows)?;
            let largest_of = |groups: &[u32]| groups.iter().copied().max();
            let largest = group_of.par_chunks(1 << 15).filter_map(largest_of).max();
            if let Some(group) = largest.filter(|&group| group as usize >= num_groups) {
                return Err(Error::NoSuchGroup { group: group.into(), groups: num_groups as u64 });
            }
        }
        if let Some(splittable) = self.splittable {
            one_each("splittable", splittable.len(), rows)?;
        }
        if let Some(starts) = self.piece_starts {
            one_each("offsets of piece_starts", starts.offsets.len(), rows + 1)?;
        }
        Ok(())
    }
}

/// First tokens of the pieces of sequences that are already cut. Pieces are packed like sequences.
#[derive(Clone, Copy, Debug)]
pub struct PieceStarts<'a> {
    /// The pieces of row `i` start at `starts[offsets[i]..offsets[i + 1]]`.
    pub offsets: &'a [i64], // (rows + 1,)
    /// The first token of each piece; 0 for the first piece of a row.
    pub starts: &'a [i32], // (pieces,)
}

/// Groups of sequences; packs never mix groups.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a> {
    /// The group of each sequence.
    pub group_of: &'a [u32], // (rows,)
    /// Number of groups.
    pub num_groups: usize,
    /// Whether every sequence of the last group gets a pack of its own.
    pub last_alone: bool,
}
