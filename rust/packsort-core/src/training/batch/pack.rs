//! Packs as shards hold them.

use crate::training::batch::tokens::Tokens;
use crate::{Error, PackFault};

/// One pack, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct PackView<'a> {
    /// Token ids.
    pub input_ids: Tokens<'a>, // (tokens,)
    /// Unshifted labels; `None` takes the tokens themselves.
    pub labels: Option<Tokens<'a>>, // (tokens,)
    /// Tokens of each segment.
    pub seq_lengths: &'a [i32], // (segments,)
    /// Sequence id of each segment, negative for filler: [`PADDING`](crate::PADDING) or
    /// [`SEPARATOR`](crate::SEPARATOR). `None` if there is no filler.
    pub sequence_ids: Option<&'a [i64]>, // (segments,)
}

impl<'a> PackView<'a> {
    pub(super) fn labels(&self) -> Tokens<'a> {
        self.labels.unwrap_or(self.input_ids)
    }

    /// The sequence id of a segment; 0 where there are none.
    pub(super) fn id(&self, segment: usize) -> i64 {
        self.sequence_ids.map_or(0, |ids| ids[segment])
    }

    /// Check that the columns of this pack, which is number `pack` of its batch, fit each other.
    pub(super) fn check(&self, pack: usize) -> Result<(), Error> {
        let damaged = |fault| Err(Error::DamagedPack { pack: pack as u64, fault });
        let tokens = self.input_ids.len() as u64;
        let sum: i64 = self.seq_lengths.iter().map(|&length| i64::from(length)).sum();
        if sum != tokens as i64 || self.seq_lengths.iter().any(|&length| length < 1) {
            return damaged(PackFault::SeqLengths { sum, tokens });
        }
        if let Some(labels) = self.labels.filter(|labels| labels.len() as u64 != tokens) {
            let found = labels.len() as u64;
            return damaged(PackFault::Column { column: "labels", found, of: "input_ids", expected: tokens });
        }
        if !self.input_ids.fit(self.seq_lengths) || !self.labels().fit(self.seq_lengths) {
            return damaged(PackFault::SeqLengths { sum, tokens });
        }
        let expected = self.seq_lengths.len() as u64;
        if let Some(ids) = self.sequence_ids.filter(|ids| ids.len() as u64 != expected) {
            let found = ids.len() as u64;
            return damaged(PackFault::Column { column: "sequence_ids", found, of: "seq_lengths", expected });
        }
        Ok(())
    }
}

/// Check every pack.
pub(super) fn check_all(packs: &[PackView]) -> Result<(), Error> {
    packs.iter().enumerate().try_for_each(|(number, pack)| pack.check(number))
}
