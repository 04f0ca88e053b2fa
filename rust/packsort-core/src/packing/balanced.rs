//! Packing under a cap on sequences, decided on counts.
//!
//! Longest first fills early packs with few long sequences, and leaves so many short ones that the last packs reach the
//! cap with most of their room empty. Here a pack of long sequences gets short ones as well:
//!
//! ```text
//! while sequences are left:
//!     places = the number of sequences that this pack aims at
//!     take the longest left
//!     while more than two places are to be filled:
//!         take the longest that leaves room for average sequences in the other places; if none does, the shortest
//!     for the last two places: take the two that fill the room best, of a few pairs
//!     beyond the places: take the longest that fits, while there is one and the cap allows it
//!     repeat this pattern while its sequences last
//! ```
//!
//! There are two aims, and the better one counts. `Even` aims at the average of all sequences that are left. That is
//! best where cap and room are both tight. `Late` fills packs by longest first for as long as the sequences that this
//! leaves can still be spread over the packs that they need. It keeps more short sequences, which fill packs to the last
//! token.
//!
//! Cost: O(patterns x sequences of a pack), whatever the number of sequences. As in [`first_fit`](super::first_fit),
//! there are about as many patterns as distinct lengths.

use crate::memory::{copied, push};
use crate::packing::bits::Bits;
use crate::packing::first_fit::{Ranks, Scratch};
use crate::packing::room::Room;
use crate::{Error, Patterns, Slot};

const PATTERNS: &str = "balanced patterns";

/// The number of sequences that packs aim at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Even,
    Late,
}

/// Pairs that are tried for the last two places of a pack. More gain nothing.
const PAIRS: usize = 2;
/// A pattern of `Late` is repeated for at most this share of the packs, because fewer sequences of other lengths may be
/// needed then.
const LATE_SHARE: u64 = 256;

/// Whether a pack has room for more than `max_sequences` sequences of the shortest length.
pub(crate) fn can_be_reached(max_sequences: u64, shortest: u32, room: Room) -> bool {
    max_sequences < u64::from(room.capacity() / room.taken(shortest))
}

/// Pack `counts` sequences of each of `lengths`, which ascend, into fewer than `packs` packs of at most `max_sequences`
/// sequences. Slots hold indices of `lengths` as classes. `None` if that is not found, or no pack can reach the cap.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn fewer_than(
    mut packs: u64,
    lengths: &[u32],
    counts: &[u64],
    room: Room,
    max_sequences: u64,
    scratch: &mut Scratch,
) -> Result<Option<Patterns>, Error> {
    let shortest = counts.iter().zip(lengths).find(|&(&count, _)| count > 0).map(|(_, &length)| length);
    if !shortest.is_some_and(|shortest| can_be_reached(max_sequences, shortest, room)) {
        return Ok(None);
    }
    let rest = Rest::new(lengths, counts, room, max_sequences);
    let (by_room, by_cap) = (rest.packs_by_room(), rest.packs_by_cap());
    let fewest = by_room.max(by_cap);
    // Where every pack must reach the cap, both aims are the cap.
    let aims: &[Aim] = match by_room > by_cap {
        false => &[Aim::Late],
        true if 3 * u128::from(max_sequences) * u128::from(fewest) < 4 * u128::from(rest.sequences) => {
            &[Aim::Even, Aim::Late]
        }
        true => &[Aim::Late, Aim::Even],
    };
    let mut best = None;
    let mut near = fewest;
    for &aim in aims {
        if packs <= near {
            break;
        }
        near = fewest + fewest / NEAR;
        let found = Balancing::new(lengths, copied(PATTERNS, counts)?, room, rest, scratch).run(aim)?;
        if found.num_packs() < packs {
            packs = found.num_packs();
            best = Some(found);
        }
    }
    Ok(best)
}

/// The second aim is not tried where the first is within this share of the fewest packs.
const NEAR: u64 = 512;

/// The sequences that are in no pack yet, all together.
#[derive(Clone, Copy)]
struct Rest {
    sequences: u64,
    taken: u128, // room that they take
    capacity: u128,
    max_sequences: u64,
}

impl Rest {
    fn new(lengths: &[u32], counts: &[u64], room: Room, max_sequences: u64) -> Self {
        let taken = |(&length, &count): (&u32, &u64)| u128::from(room.taken(length)) * u128::from(count);
        Self {
            sequences: counts.iter().sum(),
            taken: lengths.iter().zip(counts).map(taken).sum(),
            capacity: room.capacity().into(),
            max_sequences,
        }
    }

    fn packs_by_room(&self) -> u64 {
        self.taken.div_ceil(self.capacity) as u64
    }

    fn packs_by_cap(&self) -> u64 {
        self.sequences.div_ceil(self.max_sequences)
    }

    /// The number of sequences that the next pack aims at, of the `needed` that the rest needs at least.
    fn places(&self, aim: Aim, needed: u64) -> u64 {
        let places = match aim {
            Aim::Even => (2 * u128::from(self.sequences) + u128::from(needed)) / (2 * u128::from(needed)),
            Aim::Late => {
                // So many that the average of later packs is at most an eighth of the way from the average to the cap:
                // sequences - places <= (average * 7 / 8 + cap / 8) * (needed - 1).
                let spare = u128::from(self.max_sequences) * u128::from(needed - 1);
                let asked = (7 * u128::from(self.sequences)).div_ceil(needed.into()) + u128::from(self.sequences);
                asked.saturating_sub(spare).div_ceil(8)
            }
        };
        (places.min(self.max_sequences.into()) as u64).max(1)
    }

    /// The room kept free for each later place, in 256ths: what the average sequence takes, or less.
    ///
    /// With less, packs get longer sequences first and shorter ones then, and leave more of middle length.
    fn kept(&self, aim: Aim) -> i64 {
        let (part, whole) = if aim == Aim::Even { (1, 1) } else { (4, 5) };
        (self.taken * 256 * part / (u128::from(self.sequences) * whole)) as i64
    }

    /// Take out packs alike.
    fn take_out(&mut self, packs: u64, sequences: u64, taken: u32) {
        self.sequences -= packs * sequences;
        self.taken -= u128::from(packs) * u128::from(taken);
    }
}

/// The packing of one group.
struct Balancing<'a> {
    lengths: &'a [u32],
    left: Vec<u64>,
    room: Room,
    rest: Rest,
    ranks: &'a mut Ranks,
    present: &'a mut Bits, // classes with sequences left
    slots: &'a mut Vec<Slot>,
}

impl<'a> Balancing<'a> {
    fn new(lengths: &'a [u32], left: Vec<u64>, room: Room, rest: Rest, scratch: &'a mut Scratch) -> Self {
        let Scratch { ranks, left: present, slots } = scratch;
        ranks.set(lengths);
        present.insert_below(lengths.len());
        (0..lengths.len()).filter(|&class| left[class] == 0).for_each(|class| present.remove(class));
        Self { lengths, left, room, rest, ranks, present, slots }
    }

    fn run(mut self, aim: Aim) -> Result<Patterns, Error> {
        let mut found = Patterns::default();
        while self.rest.sequences > 0 {
            let needed = self.rest.packs_by_room().max(self.rest.packs_by_cap());
            let (sequences, taken) = self.fill(self.rest.places(aim, needed), self.rest.kept(aim))?;
            self.slots.sort_unstable_by_key(|slot| std::cmp::Reverse(slot.class));
            self.slots.dedup_by(|next, slot| {
                let same = next.class == slot.class;
                slot.copies += if same { next.copies } else { 0 };
                same
            });
            // The first pack was taken while it was filled.
            let more = self.slots.iter().map(|slot| self.left[slot.class as usize] / u64::from(slot.copies)).min();
            let most = if aim == Aim::Late { (needed / LATE_SHARE).max(1) - 1 } else { u64::MAX };
            let more = more.unwrap_or(0).min(most);
            for slot in &self.slots[..] {
                let left = &mut self.left[slot.class as usize];
                *left -= more * u64::from(slot.copies);
                if *left == 0 {
                    self.present.remove(slot.class as usize);
                }
            }
            self.rest.take_out(more + 1, sequences, taken);
            found.add(self.slots, more + 1)?;
        }
        self.ranks.clear(self.lengths);
        Ok(found)
    }

    /// Fill one pack, aiming at a number of places. Returns the number of its sequences, and the room that they take.
    fn fill(&mut self, places: u64, kept: i64) -> Result<(u64, u32), Error> {
        self.slots.clear();
        let mut free = self.room.capacity();
        let mut more = self.rest.max_sequences;
        let mut places = places;
        let mut next = self.present.below(self.lengths.len()).next().map(|longest| (longest, 1));
        while let Some((class, copies)) = next {
            self.left[class] -= copies;
            if self.left[class] == 0 {
                self.present.remove(class);
            }
            push(self.slots, PATTERNS, Slot { class: class as u32, copies: copies as u32 })?;
            free -= self.taken(class) * copies as u32;
            more -= copies;
            places = places.saturating_sub(copies);
            next = match places {
                _ if more == 0 || free == 0 => None,
                0 | 1 => self.longest_in(free).map(|class| (class, self.most(class, free, more))),
                2 if more >= 2 => self.first_of_pair(free, kept).map(|class| (class, 1)),
                _ => self.beside_average(free, places, kept, more),
            };
        }
        Ok((self.rest.max_sequences - more, self.room.capacity() - free))
    }

    #[inline]
    fn taken(&self, class: usize) -> u32 {
        self.room.taken(self.lengths[class])
    }

    /// The most sequences of a class that fit.
    #[inline]
    fn most(&self, class: usize, free: u32, more: u64) -> u64 {
        let (taken, most) = (self.taken(class), self.left[class].min(more));
        // Mostly there are few, and a division takes longer than everything else here.
        if most * u64::from(taken) <= free.into() { most } else { u64::from(free / taken) }
    }

    /// The longest class left that takes at most `free`.
    #[inline]
    fn longest_in(&self, free: u32) -> Option<usize> {
        self.present.below(self.ranks.up_to(self.room.longest_in(free))).next()
    }

    /// The shortest class left, if it takes at most `free`.
    fn shortest_in(&self, free: u32) -> Option<usize> {
        self.present.from(0).filter(|&class| self.taken(class) <= free)
    }

    /// The longest class that leaves `kept` for each later place; if none does, the shortest.
    fn longest_beside(&self, free: u32, places: u64, kept: i64) -> Option<usize> {
        let wanted = wanted(free, places, kept);
        let longest = if wanted > 0 { self.longest_in((wanted >> 8) as u32) } else { None };
        longest.or_else(|| self.shortest_in(free))
    }

    /// The next class beside average sequences, and how often in a row it is the next.
    fn beside_average(&self, free: u32, places: u64, kept: i64, more: u64) -> Option<(usize, u64)> {
        let class = self.longest_beside(free, places, kept)?;
        let most = self.most(class, free, more.min(places - 2).max(1));
        if most == 1 {
            return Some((class, 1));
        }
        // After each copy, `wanted` changes by the same amount, and must stay between this class and the next longer one.
        let (wanted, own) = (wanted(free, places, kept), i64::from(self.taken(class)) << 8);
        let change = kept - own;
        let longer = self.present.from(class + 1).map(|longer| i64::from(self.taken(longer)) << 8);
        let copies = match longer {
            Some(longer) if change > 0 => longer.saturating_sub(wanted).saturating_add(change - 1) / change,
            _ if change < 0 && wanted >= own => (wanted - own) / -change + 1,
            _ => i64::MAX,
        };
        Some((class, (copies.max(1) as u64).min(most)))
    }

    /// The first of two classes that fill the room best, of a few pairs: one gets shorter while the other gets longer.
    fn first_of_pair(&self, free: u32, kept: i64) -> Option<usize> {
        let mut first = self.longest_beside(free, 2, kept)?;
        let mut best = (0, first);
        for pair in 0..=PAIRS {
            let left = free - self.taken(first);
            let second = self.longest_in_without(first, left);
            let filled = free - left + second.map_or(0, |second| self.taken(second));
            if filled > best.0 {
                best = (filled, first);
            }
            if filled == free || pair == PAIRS {
                break;
            }
            let Some(longer) = self.present.from(second.map_or(0, |second| second + 1)) else { break };
            let Some(left) = free.checked_sub(self.taken(longer)) else { break };
            let Some(shorter) = self.longest_in(left) else { break };
            first = shorter;
        }
        Some(best.1)
    }

    /// The longest class left that takes at most `free` when a sequence of class `other` is gone.
    fn longest_in_without(&self, other: usize, free: u32) -> Option<usize> {
        let mut classes = self.present.below(self.ranks.up_to(self.room.longest_in(free)));
        classes.find(|&class| class != other || self.left[class] > 1)
    }
}

/// The room for a sequence that leaves `kept` for each of the other places, in 256ths.
fn wanted(free: u32, places: u64, kept: i64) -> i64 {
    (i64::from(free) << 8).saturating_sub(kept.saturating_mul(places as i64 - 1))
}
