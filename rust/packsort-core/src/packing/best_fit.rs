//! Best-fit decreasing on counts.
//!
//! ```text
//! for each length, longest first:
//!     while sequences of this length are left:
//!         take the open packs with the least room that is enough; among equals, those that had this room first
//!         (none: open new packs)
//!         put as many sequences into each as fit
//! ```
//!
//! A pack that takes a sequence then has the least room, so it also takes the next sequences of this length while they
//! fit. Packs alike stay alike and are filled together. Rooms and ties are those of TRL's `bfd`, after Ding et al.
//! (2024, "Fewer Truncations Improve Language Modeling").
//!
//! Cost: O(steps x log max_length), with one step for each pattern and length, whatever the number of sequences.

use crate::packing::open_packs::OpenPacks;
use crate::packing::room::Room;
use crate::{Classes, Error, Patterns};

impl Patterns {
    /// Add the patterns of a group, by best-fit decreasing.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn add_best_fit(&mut self, classes: &Classes, group: usize, room: Room) -> Result<(), Error> {
        let mut packs = OpenPacks::new(room.capacity(), u64::MAX);
        for class in classes.of_group(group).rev() {
            let taken = room.taken(classes.lengths[class]);
            let mut left = classes.count(class);
            while left > 0 {
                left -= match packs.place(class as u32, taken, left)? {
                    Some(placed) => placed,
                    None => packs.open(class as u32, taken, left)?,
                };
            }
        }
        packs.add_to(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// Best-fit decreasing as textbooks have it: one sequence after another.
    fn one_by_one(counts: &[u64], max_length: usize) -> Vec<Vec<u32>> {
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
                with_room[room - length].push_back(pack);
            }
        }
        packs
    }

    proptest! {
        #[test]
        fn best_fit_on_counts_is_best_fit_one_by_one(
            max_length in 1_usize..120,
            lengths in prop::collection::vec(1_usize..120, 0..200),
        ) {
            let mut counts = vec![0_u64; max_length + 1];
            for length in lengths {
                counts[(length - 1) % max_length + 1] += 1;
            }
            let classes = Classes::from_histogram(&counts).unwrap();
            let mut found = Patterns::default();
            let room = Room::new(max_length as u32, 1, false).unwrap();
            found.add_best_fit(&classes, 0, room).unwrap();
            let mut packs = vec![];
            for p in 0..found.len() {
                let slots = found.slots_of(p).iter();
                let pack: Vec<u32> = slots.flat_map(|s| vec![classes.lengths[s.class as usize]; s.copies as usize]).collect();
                packs.extend(vec![pack; found.repeats[p] as usize]);
            }
            prop_assert_eq!(packs, one_by_one(&counts, max_length));
        }
    }
}
