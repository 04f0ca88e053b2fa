//! Fill packs one after another, each aiming at a number of sequences.

use crate::memory::{copied, push};
use crate::packing::balanced::PATTERNS;
use crate::packing::balanced::rest::{Aim, Rest};
use crate::packing::bits::Bits;
use crate::packing::first_fit::Limits;
use crate::{Error, Patterns, Slot};

/// Pairs that are tried for the last two places of a pack. More gain nothing.
const PAIRS: usize = 2;
/// A pattern of a late aim is repeated for at most this share of the packs, because fewer sequences of other lengths may
/// be needed then.
const LATE_SHARE: u64 = 96;

/// A class, and the room from which on it is the longest that fits, up to the next longer one. In 256ths.
///
/// Where no middle lengths are left, the places of a pack go to a shorter and a longer class by turns, and need no search.
#[derive(Clone, Copy, Default)]
struct Stretch {
    class: usize,
    from: i64,
    to: i64,
}

/// The packing of one group.
pub(super) struct Balancing<'a> {
    limits: &'a Limits<'a>,
    taken: &'a [u32], // room that a sequence of each class takes
    left: Vec<u64>,
    rest: Rest,
    present: Bits, // classes with sequences left
    slots: Vec<Slot>,
    stretches: [Stretch; 2], // found last for this pack
}

impl<'a> Balancing<'a> {
    /// Prepare the packing of `counts` sequences of each length.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(limits: &'a Limits<'a>, taken: &'a [u32], counts: &[u64], rest: Rest) -> Result<Self, Error> {
        let left = copied(PATTERNS, counts)?;
        let mut present = Bits::new(left.len())?;
        present.insert_below(left.len());
        (0..left.len()).filter(|&class| left[class] == 0).for_each(|class| present.remove(class));
        Ok(Self { limits, taken, left, rest, present, slots: vec![], stretches: Default::default() })
    }

    /// Pack all. `None` as soon as the packs that are needed at least are `too_many`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn run(mut self, aim: Aim, too_many: impl Fn(u64) -> bool) -> Result<Option<Patterns>, Error> {
        let mut found = Patterns::default();
        let mut packs = 0;
        while self.rest.sequences > 0 {
            let needed = self.rest.fewest_packs();
            if too_many(packs + needed) {
                return Ok(None);
            }
            let (sequences, taken) = self.fill(self.rest.places(aim, needed), self.rest.kept(aim))?;
            self.slots.sort_unstable_by_key(|slot| std::cmp::Reverse(slot.class));
            self.slots.dedup_by(|next, slot| {
                let same = next.class == slot.class;
                slot.copies += if same { next.copies } else { 0 };
                same
            });
            // The first pack was taken while it was filled.
            let mut more = if aim.late.is_some() { (needed / LATE_SHARE).max(1) - 1 } else { u64::MAX };
            for slot in &self.slots {
                let (left, copies) = (self.left[slot.class as usize], u64::from(slot.copies));
                // Mostly it is one copy.
                more = more.min(if copies == 1 { left } else { left / copies });
            }
            for slot in &self.slots {
                let left = &mut self.left[slot.class as usize];
                *left -= more * u64::from(slot.copies);
                if *left == 0 {
                    self.present.remove(slot.class as usize);
                }
            }
            self.rest.take_out(more + 1, sequences, taken);
            found.add(&self.slots, more + 1)?;
            packs += more + 1;
        }
        Ok(Some(found))
    }

    /// Fill one pack, aiming at a number of places. Returns the number of its sequences, and the room that they take.
    fn fill(&mut self, places: u64, kept: i64) -> Result<(u64, u32), Error> {
        self.slots.clear();
        self.stretches = Default::default();
        let mut free = self.limits.room.capacity();
        let mut more = self.limits.max_sequences;
        let mut places = places;
        let mut next = self.present.below(self.left.len()).next().map(|longest| (longest, 1));
        while let Some((class, copies)) = next {
            self.left[class] -= copies;
            if self.left[class] == 0 {
                self.present.remove(class);
                self.stretches = Default::default();
            }
            match self.slots.iter_mut().rev().take(2).find(|slot| slot.class == class as u32) {
                Some(slot) => slot.copies += copies as u32,
                None => push(&mut self.slots, PATTERNS, Slot { class: class as u32, copies: copies as u32 })?,
            }
            free -= self.taken[class] * copies as u32;
            more -= copies;
            places = places.saturating_sub(copies);
            next = match places {
                _ if more == 0 || free == 0 => None,
                0 | 1 => self.longest_in(free).map(|class| (class, self.most(class, free, more))),
                2 if more >= 2 => self.first_of_pair(free, kept).map(|class| (class, 1)),
                _ => self.beside_average(free, places, kept, more),
            };
        }
        Ok((self.limits.max_sequences - more, self.limits.room.capacity() - free))
    }

    /// The most sequences of a class that fit.
    #[inline]
    fn most(&self, class: usize, free: u32, more: u64) -> u64 {
        let (taken, most) = (self.taken[class], self.left[class].min(more));
        // Mostly there are few, and a division takes longer than everything else here.
        if most * u64::from(taken) <= free.into() { most } else { u64::from(free / taken) }
    }

    /// The longest class left that takes at most `free`.
    #[inline]
    fn longest_in(&self, free: u32) -> Option<usize> {
        self.present.below(self.limits.ranks.up_to(self.limits.room.longest_in(free))).next()
    }

    /// The shortest class left, if it takes at most `free`.
    fn shortest_in(&self, free: u32) -> Option<usize> {
        self.present.from(0).filter(|&class| self.taken[class] <= free)
    }

    /// The longest class that leaves `kept` for each later place; if none does, the shortest.
    fn beside(&mut self, free: u32, places: u64, kept: i64) -> Option<Stretch> {
        let wanted = wanted(free, places, kept);
        if let Some(&known) = self.stretches.iter().find(|known| (known.from..known.to).contains(&wanted)) {
            return Some(known);
        }
        let longest = if wanted > 0 { self.longest_in((wanted >> 8) as u32) } else { None };
        let class = longest.or_else(|| self.shortest_in(free))?;
        let room = |class| i64::from(self.taken[class]) << 8;
        let from = room(class);
        if self.left[class] == 1 {
            return Some(Stretch { class, from, to: from }); // not there any more when the next class is looked for
        }
        let found = Stretch { class, from, to: self.present.from(class + 1).map_or(i64::MAX, room) };
        self.stretches = [found, self.stretches[0]];
        Some(found)
    }

    /// The next class beside average sequences, and how often in a row it is the next.
    fn beside_average(&mut self, free: u32, places: u64, kept: i64, more: u64) -> Option<(usize, u64)> {
        let Stretch { class, from, to } = self.beside(free, places, kept)?;
        let most = self.most(class, free, more.min(places - 2).max(1));
        if most == 1 {
            return Some((class, 1));
        }
        // After each copy, `wanted` changes by the same amount, and must stay within the stretch.
        let (wanted, change) = (wanted(free, places, kept), kept - from);
        // Mostly it is one copy, and a division takes longer than everything else here.
        let steps = |gap: i64, step: i64| if gap < step { 0 } else { gap / step };
        let copies = if change > 0 {
            steps(to.saturating_sub(wanted).saturating_sub(1), change) + 1
        } else if change < 0 && wanted >= from {
            steps(wanted - from, -change) + 1
        } else {
            i64::MAX
        };
        Some((class, (copies as u64).min(most)))
    }

    /// The first of two classes that fill the room best, of a few pairs: one gets shorter while the other gets longer.
    fn first_of_pair(&mut self, free: u32, kept: i64) -> Option<usize> {
        let mut first = self.beside(free, 2, kept)?.class;
        let mut best = (0, first);
        for pair in 0..=PAIRS {
            let left = free - self.taken[first];
            let second = self.longest_in_without(first, left);
            let filled = free - left + second.map_or(0, |second| self.taken[second]);
            if filled > best.0 {
                best = (filled, first);
            }
            if filled == free || pair == PAIRS {
                break;
            }
            let Some(longer) = self.present.from(second.map_or(0, |second| second + 1)) else { break };
            let Some(left) = free.checked_sub(self.taken[longer]) else { break };
            let Some(shorter) = self.longest_in(left) else { break };
            first = shorter;
        }
        Some(best.1)
    }

    /// The longest class left that takes at most `free` when a sequence of class `other` is gone.
    fn longest_in_without(&self, other: usize, free: u32) -> Option<usize> {
        let mut classes = self.present.below(self.limits.ranks.up_to(self.limits.room.longest_in(free)));
        classes.find(|&class| class != other || self.left[class] > 1)
    }
}

/// The room for a sequence that leaves `kept` for each of the other places, in 256ths.
fn wanted(free: u32, places: u64, kept: i64) -> i64 {
    (i64::from(free) << 8).saturating_sub(kept.saturating_mul(places as i64 - 1))
}
