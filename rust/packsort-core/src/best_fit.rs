//! Best-fit decreasing on counts.

use std::collections::{BTreeMap, VecDeque};

use crate::{Classes, Patterns, Slot};

/// Packs alike, still open.
#[derive(Clone, Copy)]
struct Open {
    opened: u64,    // how many were opened before the first of them
    packs: u64,     // how many
    node: usize,    // what they hold
    sequences: u64, // how many each holds
}

/// Some sequences of one length, and what was in the pack before them.
struct Node {
    slot: Slot,
    before: usize, // FIRST where nothing was
}

const FIRST: usize = usize::MAX;

impl Patterns {
    /// Best-fit decreasing on counts: longest first, into the open pack with the least room that is enough; among
    /// equals into the one that has had that room for longest.
    ///
    /// A pack that takes a sequence has then the least room, so it takes the next ones of that length too, while they
    /// fit: packs alike stay alike, and are filled together. Rooms and ties are as in TRL's `bfd`, after Ding et al.
    /// (2024, "Fewer Truncations Improve Language Modeling").
    pub(crate) fn add_best_fit(&mut self, classes: &Classes, group: usize, max_length: u32, max_sequences: u64) {
        let capacity = max_length as usize;
        let mut packing = Packing { capacity, max_sequences, nodes: vec![], open: BTreeMap::new(), full: vec![] };
        let mut opened = 0;
        for class in classes.of_group(group).rev() {
            let length = classes.lengths[class] as usize;
            let mut left = classes.count(class);
            while left > 0 {
                let (tokens, mut packs) = packing.least_room(length).unwrap_or_else(|| {
                    let packs = left.div_ceil(((capacity / length) as u64).min(max_sequences));
                    opened += packs;
                    (0, Open { opened: opened - packs, packs, node: FIRST, sequences: 0 })
                });
                let each = (((capacity - tokens) / length) as u64).min(max_sequences - packs.sequences);
                let whole = packs.packs.min(left / each);
                packing.fill(&mut packs, tokens, whole, length, Slot { class: class as u32, copies: each as u32 });
                left -= whole * each;
                if left > 0 && packs.packs > 0 {
                    packing.fill(&mut packs, tokens, 1, length, Slot { class: class as u32, copies: left as u32 });
                    left = 0;
                }
                if packs.packs > 0 {
                    packing.open.entry(tokens).or_default().push_front(packs);
                }
            }
        }
        packing.add_to(self);
    }
}

/// All packs on the way.
struct Packing {
    capacity: usize,
    max_sequences: u64,
    nodes: Vec<Node>,
    open: BTreeMap<usize, VecDeque<Open>>, // by tokens held; no queue is empty
    full: Vec<Open>,
}

impl Packing {
    /// Takes out the packs with the least room that is enough: those that hold the most tokens.
    fn least_room(&mut self, length: usize) -> Option<(usize, Open)> {
        let (&tokens, queue) = self.open.range_mut(..=self.capacity - length).next_back()?;
        let packs = queue.pop_front()?;
        if queue.is_empty() {
            self.open.remove(&tokens);
        }
        Some((tokens, packs))
    }

    /// Puts the sequences of `slot`, of `length`, into each of the first `number` of `packs`, which hold `tokens`.
    fn fill(&mut self, packs: &mut Open, tokens: usize, number: u64, length: usize, slot: Slot) {
        if number == 0 {
            return;
        }
        self.nodes.push(Node { slot, before: packs.node });
        let node = self.nodes.len() - 1;
        let filled =
            Open { opened: packs.opened, packs: number, node, sequences: packs.sequences + u64::from(slot.copies) };
        packs.opened += number;
        packs.packs -= number;
        let tokens = tokens + length * slot.copies as usize;
        if tokens == self.capacity || filled.sequences == self.max_sequences {
            self.full.push(filled);
        } else {
            self.open.entry(tokens).or_default().push_back(filled);
        }
    }

    fn add_to(mut self, patterns: &mut Patterns) {
        self.full.extend(self.open.into_values().flatten());
        self.full.sort_by_key(|packs| packs.opened);
        for packs in self.full {
            let start = patterns.slots.len();
            let mut at = packs.node;
            while at != FIRST {
                patterns.slots.push(self.nodes[at].slot);
                at = self.nodes[at].before;
            }
            patterns.slots[start..].reverse();
            patterns.add(packs.packs);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One sequence after another, each pack its own.
    fn one_by_one(counts: &[u64], max_length: usize, max_sequences: u64) -> Vec<Vec<u32>> {
        let mut packs: Vec<Vec<u32>> = vec![];
        let mut with_room: Vec<VecDeque<usize>> = vec![VecDeque::new(); max_length + 1];
        for length in (1..counts.len()).rev() {
            for _ in 0..counts[length] {
                let room = (length..=max_length).find(|&room| !with_room[room].is_empty());
                let (room, pack) = match room {
                    Some(room) => (room, with_room[room].pop_front().unwrap()),
                    None => {
                        packs.push(vec![]);
                        (max_length, packs.len() - 1)
                    }
                };
                packs[pack].push(length as u32);
                if (packs[pack].len() as u64) < max_sequences {
                    with_room[room - length].push_back(pack);
                }
            }
        }
        packs
    }

    proptest! {
        #[test]
        fn best_fit_on_counts_is_best_fit_one_by_one(
            max_length in 1_usize..120,
            lengths in prop::collection::vec(1_usize..120, 0..200),
            max_sequences in prop_oneof![Just(u64::MAX), 1_u64..6],
        ) {
            let mut counts = vec![0_u64; max_length + 1];
            for length in lengths {
                counts[(length - 1) % max_length + 1] += 1;
            }
            let classes = Classes::of_lengths(&counts);
            let mut found = Patterns::default();
            found.add_best_fit(&classes, 0, max_length as u32, max_sequences);
            let mut packs = vec![];
            for p in 0..found.len() {
                let slots = found.slots_of(p).iter();
                let pack: Vec<u32> = slots.flat_map(|s| vec![classes.lengths[s.class as usize]; s.copies as usize]).collect();
                packs.extend(vec![pack; found.repeats[p] as usize]);
            }
            prop_assert_eq!(packs, one_by_one(&counts, max_length, max_sequences));
        }
    }
}
