//! What is in no pack yet, and what the next pack aims at.

use crate::packing::first_fit::Limits;

/// The number of sequences that packs aim at, and the room that is kept for them.
#[derive(Clone, Copy)]
pub(super) struct Aim {
    /// Packs are filled by longest first for as long as the sequences that this leaves can still be spread over the packs
    /// that they need: the average of later packs is at most this part of the way from the average to the cap. `None`
    /// aims at the average itself.
    pub late: Option<u64>,
    /// The room kept for each later place, in tenths of what average sequences take. With less, packs get longer
    /// sequences first and shorter ones then, and leave more of middle length.
    pub kept: u64,
}

/// Aims that make up for each other, the quickest first: it repeats each pattern for as long as its sequences last.
///
/// The average is also best where cap and room are both tight, and where few lengths are of middle size. Late aims keep
/// more short sequences, which fill packs to the last token. The last two aims take half of the time of all, and save
/// about a pack in a thousand.
pub(super) const AIMS: [Aim; 4] = [
    Aim { late: None, kept: 10 },
    Aim { late: Some(16), kept: 5 },
    Aim { late: Some(8), kept: 10 },
    Aim { late: Some(8), kept: 8 },
];

/// More packs than the fewest that count as near: one in so many.
const NEAR: u64 = 448;

/// The sequences that are in no pack yet, all together.
#[derive(Clone, Copy)]
pub(super) struct Rest {
    pub sequences: u64,
    taken: u128, // room that they take
    capacity: u128,
    max_sequences: u64,
}

impl Rest {
    pub fn new(limits: &Limits, counts: &[u64]) -> Self {
        let room = limits.room;
        let taken = |(&length, &count): (&u32, &u64)| u128::from(room.taken(length)) * u128::from(count);
        Self {
            sequences: counts.iter().sum(),
            taken: limits.lengths.iter().zip(counts).map(taken).sum(),
            capacity: room.capacity().into(),
            max_sequences: limits.max_sequences,
        }
    }

    fn packs_by_room(&self) -> u64 {
        self.taken.div_ceil(self.capacity) as u64
    }

    fn packs_by_cap(&self) -> u64 {
        self.sequences.div_ceil(self.max_sequences)
    }

    /// The packs that the rest needs at least.
    pub fn fewest_packs(&self) -> u64 {
        self.packs_by_room().max(self.packs_by_cap())
    }

    /// So many packs are near the fewest. By cap alone, the fewest themselves are often found.
    pub fn near(&self) -> u64 {
        let fewest = self.packs_by_room();
        if fewest > self.packs_by_cap() { fewest + fewest / NEAR } else { self.packs_by_cap() }
    }

    /// The number of sequences that the next pack aims at, of the `needed` that the rest needs at least.
    pub fn places(&self, aim: Aim, needed: u64) -> u64 {
        let (sequences, needed) = (u128::from(self.sequences), u128::from(needed));
        let places = match aim.late {
            None => (2 * sequences + needed) / (2 * needed),
            Some(part) => {
                // sequences - places <= (average * (part - 1) + cap) / part * (needed - 1).
                let (part, spare) = (u128::from(part), u128::from(self.max_sequences) * (needed - 1));
                let asked = ((part - 1) * sequences).div_ceil(needed) + sequences;
                asked.saturating_sub(spare).div_ceil(part)
            }
        };
        (places.min(self.max_sequences.into()) as u64).max(1)
    }

    /// The room kept free for each later place, in 256ths.
    pub fn kept(&self, aim: Aim) -> i64 {
        (self.taken * 256 * u128::from(aim.kept) / (u128::from(self.sequences) * 10)) as i64
    }

    /// Take out packs alike.
    pub fn take_out(&mut self, packs: u64, sequences: u64, taken: u32) {
        self.sequences -= packs * sequences;
        self.taken -= u128::from(packs) * u128::from(taken);
    }
}
