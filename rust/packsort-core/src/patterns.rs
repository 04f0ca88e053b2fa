//! Steps 2 and 3: which lengths share a pack, and how many packs are alike.

use crate::Error;
use crate::length_set::LengthSet;

/// So many sequences of one length in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Tokens of each.
    pub length: u32,
    /// How many a pack holds.
    pub copies: u32,
}

/// All patterns of a plan, in the order in which first-fit decreasing opens their packs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// Packs alike, by pattern.
    pub repeats: Vec<u64>,
    /// Slots of pattern `p`: `slots[slot_offsets[p]..slot_offsets[p + 1]]`.
    pub slot_offsets: Vec<usize>, // (patterns + 1,)
    /// The slots of all patterns.
    pub slots: Vec<Slot>,
}

impl Patterns {
    /// First-fit decreasing on counts: `counts[l]` sequences of length `l`, `counts[0]` is 0.
    ///
    /// A pack takes the longest length left, then the longest that still fits, as many copies as fit and are left;
    /// the next packs are the same while those lengths last. Johnson (1973) has the algorithm on items; filling
    /// pack after pack with the longest that fits gives the same packs.
    ///
    /// # Complexity
    /// O(patterns x slots a pattern) steps, whatever the number of sequences; patterns are at most about twice the
    /// distinct lengths, since each uses up the last copies of a length or more.
    pub fn first_fit_decreasing(counts: &[u64], max_length: u32) -> Self {
        let top = counts.len() - 1;
        let mut left = counts.to_vec();
        let mut set = LengthSet::new(top);
        for (length, &count) in counts.iter().enumerate() {
            if count > 0 {
                set.insert(length);
            }
        }
        let mut found = Self { slot_offsets: vec![0], ..Self::default() };
        let mut longest = top;
        while let Some(first) = set.largest_up_to(longest) {
            longest = first;
            let start = found.slots.len();
            let mut room = max_length as usize;
            let mut repeat = u64::MAX;
            let mut next = Some(first);
            while let Some(length) = next {
                let copies = ((room / length) as u64).min(left[length]);
                found.slots.push(Slot { length: length as u32, copies: copies as u32 });
                repeat = repeat.min(left[length] / copies);
                room -= length * copies as usize;
                next = match room.min(length - 1) {
                    0 => None,
                    fits => set.largest_up_to(fits),
                };
            }
            for slot in &found.slots[start..] {
                let left = &mut left[slot.length as usize];
                *left -= repeat * u64::from(slot.copies);
                if *left == 0 {
                    set.remove(slot.length as usize);
                }
            }
            found.repeats.push(repeat);
            found.slot_offsets.push(found.slots.len());
        }
        found
    }

    /// Number of patterns.
    pub fn len(&self) -> usize {
        self.repeats.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.repeats.is_empty()
    }

    /// The slots of pattern `p`.
    pub fn slots_of(&self, p: usize) -> &[Slot] {
        &self.slots[self.slot_offsets[p]..self.slot_offsets[p + 1]]
    }

    /// The counts these patterns use up, or what is wrong with them: for patterns that come from a file.
    pub fn counts(&self, max_length: u32) -> Result<Vec<u64>, Error> {
        let bad = |what| Err(Error::Inconsistent(what));
        if self.slot_offsets.len() != self.repeats.len() + 1
            || self.slot_offsets.first() != Some(&0)
            || self.slot_offsets.last() != Some(&self.slots.len())
            || self.slot_offsets.windows(2).any(|w| w[0] >= w[1])
        {
            return bad("slot offsets do not divide the slots into patterns");
        }
        let top = self.slots.iter().map(|s| s.length).max().unwrap_or(0);
        if top > max_length {
            return bad("a pattern holds a sequence longer than max_length");
        }
        let mut counts = vec![0_u64; top as usize + 1];
        for (p, &repeat) in self.repeats.iter().enumerate() {
            let mut tokens = 0_u64;
            for slot in self.slots_of(p) {
                if slot.length == 0 || slot.copies == 0 || repeat == 0 {
                    return bad("a pattern has a length, copies or repeat of zero");
                }
                tokens += u64::from(slot.length) * u64::from(slot.copies);
                let count = &mut counts[slot.length as usize];
                match repeat.checked_mul(slot.copies.into()).and_then(|n| count.checked_add(n)) {
                    Some(sum) => *count = sum,
                    None => return bad("a pattern repeats more often than there are numbers"),
                }
            }
            if tokens > max_length.into() {
                return bad("a pattern holds more tokens than max_length");
            }
        }
        Ok(counts)
    }
}
