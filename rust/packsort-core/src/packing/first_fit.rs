//! First-fit decreasing on counts.

use crate::packing::bits::Bits;
use crate::packing::room::Room;
use crate::{Classes, Patterns, Slot};

impl Patterns {
    /// First-fit decreasing of `left` sequences of each class of a group.
    pub(crate) fn add_first_fit(
        &mut self,
        classes: &Classes,
        group: usize,
        mut left: Vec<u64>,
        room: Room,
        max_sequences: u64,
        scratch: &mut Scratch,
    ) {
        let own = classes.of_group(group);
        let first = own.start as u32;
        first_fit(&classes.lengths[own], &mut left, room, max_sequences, scratch, |slots, repeat| {
            self.slots.extend(slots.iter().map(|slot| Slot { class: first + slot.class, ..*slot }));
            self.add(repeat);
        });
    }
}

/// First-fit decreasing of `left` sequences of each length; `lengths` ascend. Calls `take` with the slots of each
/// pattern, longest first, their classes being places in `lengths`, and with its repeats. Nothing is left then.
///
/// A pack takes the longest length left, then the longest that still fits, as many copies as fit and are left;
/// the next packs are the same while those lengths last. Johnson (1973) has the algorithm on items; filling
/// pack after pack with the longest that fits gives the same packs.
///
/// # Complexity
/// O(patterns x slots a pattern) steps, whatever the number of sequences; patterns are at most about twice the
/// distinct lengths, since each uses up the last copies of a length or more.
pub(crate) fn first_fit(
    lengths: &[u32],
    left: &mut [u64],
    room: Room,
    max_sequences: u64,
    scratch: &mut Scratch,
    mut take: impl FnMut(&[Slot], u64),
) {
    let Scratch { ranks, there, slots } = scratch;
    ranks.set(lengths);
    there.insert_below(lengths.len());
    (0..lengths.len()).filter(|&class| left[class] == 0).for_each(|class| there.remove(class));
    let mut longest = lengths.len();
    while let Some(first) = there.below(longest).next() {
        longest = first + 1;
        slots.clear();
        let mut free = room.capacity();
        let mut more = max_sequences;
        let mut repeat = u64::MAX;
        let mut class = first;
        let mut shorter = there.below(first);
        loop {
            let taken = room.taken(lengths[class]);
            // mostly all that are left fit, and a division takes longer than all else here
            let copies = match left[class].min(more) {
                few if few * u64::from(taken) <= free.into() => few,
                many => u64::from(free / taken).min(many),
            };
            slots.push(Slot { class: class as u32, copies: copies as u32 });
            if repeat > 1 {
                repeat = repeat.min(left[class] / copies);
            }
            free -= taken * copies as u32;
            more -= copies;
            let fits = room.longest_in(free);
            if more == 0 || fits == 0 {
                break;
            }
            // mostly the next shorter length fits; its rank is asked for where it does not
            let Some(next) = shorter.next() else { break };
            class = next;
            if lengths[next] > fits {
                shorter = there.below(ranks.up_to(fits));
                let Some(next) = shorter.next() else { break };
                class = next;
            }
        }
        for slot in &slots[..] {
            let class = slot.class as usize;
            left[class] -= repeat * u64::from(slot.copies);
            if left[class] == 0 {
                there.remove(class);
            }
        }
        take(slots, repeat);
    }
    ranks.clear(lengths);
}

/// Tables of one worker, left as they were found: a table for each of many small groups would cost more than what it is
/// for.
pub(crate) struct Scratch {
    ranks: Ranks,
    there: Bits,      // classes of which some sequences are left
    slots: Vec<Slot>, // of one pattern
}

impl Scratch {
    /// For any group.
    pub(crate) fn of_groups(classes: &Classes) -> Self {
        let groups = || (0..classes.groups.len() - 1).map(|group| &classes.lengths[classes.of_group(group)]);
        let most = groups().map(<[u32]>::len).max().unwrap_or(0);
        Self::new(most, groups().filter_map(|lengths| lengths.last()).copied().max().unwrap_or(0))
    }

    /// For up to `most` lengths, up to `top`.
    pub(crate) fn new(most: usize, top: u32) -> Self {
        Self { ranks: Ranks::new(top), there: Bits::new(most), slots: vec![] }
    }
}

/// How many lengths of a list are up to any length: a bit a length, and the number before each 64.
struct Ranks {
    words: Vec<u64>,
    before: Vec<u32>,
    len: usize,
}

impl Ranks {
    fn new(top: u32) -> Self {
        let words = top as usize / 64 + 1;
        Self { words: vec![0; words], before: vec![0; words], len: 0 }
    }

    /// The list: ascending, each length once.
    fn set(&mut self, lengths: &[u32]) {
        lengths.iter().for_each(|&length| self.words[length as usize / 64] |= 1 << (length % 64));
        self.len = 0;
        for (word, before) in self.words.iter().zip(&mut self.before) {
            *before = self.len as u32;
            self.len += word.count_ones() as usize;
        }
    }

    fn clear(&mut self, lengths: &[u32]) {
        lengths.iter().for_each(|&length| self.words[length as usize / 64] = 0);
    }

    /// How many are `length` or less.
    fn up_to(&self, length: u32) -> usize {
        let word = length as usize / 64;
        match self.words.get(word) {
            None => self.len,
            Some(bits) => self.before[word] as usize + (bits & (u64::MAX >> (63 - length % 64))).count_ones() as usize,
        }
    }
}
