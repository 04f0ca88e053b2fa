//! Whole packs from the fractions of a program.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::filling::Filling;
use super::{Columns, Knapsack, pack_few};
use crate::packing::first_fit::{Scratch, first_fit};
use crate::packing::room::Room;

/// Packs on the way: what is packed already, and what is left.
#[derive(Clone, Debug)]
pub struct Packing {
    sizes: Vec<u32>,
    capacity: u32,
    max_sequences: u64,
    left: Vec<u64>,
    patterns: Columns,
    repeats: Vec<u64>,
    packs: u64,
}

impl Packing {
    /// Nothing is packed yet.
    pub fn new(knapsack: &Knapsack<'_>, counts: &[u64]) -> Self {
        Self {
            sizes: knapsack.sizes.to_vec(),
            capacity: knapsack.capacity,
            max_sequences: knapsack.max_sequences,
            left: counts.to_vec(),
            patterns: Columns::default(),
            repeats: vec![],
            packs: 0,
        }
    }

    /// Sequences of each size that are in no pack.
    pub fn left(&self) -> &[u64] {
        &self.left
    }

    /// Packs so far.
    pub fn packs(&self) -> u64 {
        self.packs
    }

    /// The patterns so far, each once, in the order in which they were first taken; and how many packs are alike.
    pub fn patterns(&self) -> (Columns, Vec<u64>) {
        let mut columns = Columns::default();
        let mut repeats: Vec<u64> = vec![];
        let mut number = HashMap::new();
        for (p, &repeat) in self.repeats.iter().enumerate() {
            let at = self.patterns.offsets[p]..self.patterns.offsets[p + 1];
            match number.entry((&self.patterns.rows[at.clone()], &self.patterns.copies[at])) {
                Entry::Occupied(same) => repeats[*same.get()] += repeat,
                Entry::Vacant(new) => {
                    new.insert(repeats.len());
                    columns.push(self.patterns.pattern(p));
                    repeats.push(repeat);
                }
            }
        }
        (columns, repeats)
    }

    /// Packs like each pattern, `repeats` of them.
    ///
    /// First all that hold just what the pattern says. Where sequences of a size have run out, its places go to the
    /// longest that fit, which is what the program meant where it let long places serve short sequences.
    pub fn take(&mut self, patterns: &Columns, repeats: &[u64]) {
        let rest: Vec<u64> = (0..patterns.len())
            .map(|p| {
                let whole = patterns.pattern(p).map(|(row, copies)| self.left[row] / copies).min().unwrap_or(0);
                let repeat = whole.min(repeats[p]);
                if repeat > 0 {
                    self.add(patterns.pattern(p), repeat);
                }
                repeats[p] - repeat
            })
            .collect();
        for (p, mut rest) in rest.into_iter().enumerate() {
            while rest > 0 {
                let like = self.like(patterns.pattern(p));
                let Some(whole) = like.iter().map(|&(row, copies)| self.left[row] / copies).min() else { break };
                let repeat = whole.min(rest);
                self.add(like.iter().copied(), repeat);
                rest -= repeat;
            }
        }
    }

    /// What is there nearest to a pattern: its places filled, longest first, by the longest that fit; then the room.
    fn like(&self, pattern: impl DoubleEndedIterator<Item = (usize, u64)>) -> Vec<(usize, u64)> {
        let mut taken: Vec<(usize, u64)> = vec![];
        let mut room = self.capacity;
        let mut more = self.max_sequences;
        let mut fill = |from: usize, mut places: u64| {
            let mut row = from;
            loop {
                let size = self.sizes[row];
                let used = taken.iter().find(|&&(other, _)| other == row).map_or(0, |&(_, copies)| copies);
                let copies = (self.left[row] - used).min(places).min((room / size).into()).min(more);
                if copies > 0 {
                    room -= size * copies as u32;
                    more -= copies;
                    places -= copies;
                    match taken.iter_mut().find(|(other, _)| *other == row) {
                        Some(slot) => slot.1 += copies,
                        None => taken.push((row, copies)),
                    }
                }
                let fitting = self.sizes[..row].partition_point(|&size| size <= room);
                if places == 0 || more == 0 || fitting == 0 {
                    return;
                }
                row = fitting - 1;
            }
        };
        for (row, copies) in pattern.rev() {
            fill(row, copies);
        }
        fill(self.sizes.len() - 1, u64::MAX);
        taken.sort_unstable();
        taken
    }

    fn add(&mut self, pattern: impl Iterator<Item = (usize, u64)> + Clone, repeat: u64) {
        for (row, copies) in pattern.clone() {
            self.left[row] -= copies * repeat;
        }
        self.patterns.push(pattern);
        self.repeats.push(repeat);
        self.packs += repeat;
    }

    /// Packs all that is left by first-fit decreasing.
    pub fn finish(&mut self) {
        let room = Room::plain(self.capacity);
        let mut scratch = Scratch::new(self.sizes.len(), self.sizes.last().copied().unwrap_or(0));
        let (sizes, mut left) = (self.sizes.clone(), self.left.clone());
        first_fit(&sizes, &mut left, room, self.max_sequences, &mut scratch, |slots, repeat| {
            self.add(slots.iter().rev().map(|slot| (slot.class as usize, slot.copies.into())), repeat);
        });
    }

    /// Packs all that is left, each pack as full as `steps` steps find.
    pub fn finish_full(&mut self, steps: u64) {
        let mut left = self.left.clone();
        let mut filling = Filling::new(&self.sizes, &mut left);
        let mut packs = vec![];
        while let Some(mut pack) = filling.next(self.capacity, self.max_sequences, steps) {
            pack.reverse();
            packs.push(pack);
        }
        for pack in packs {
            let slots: Vec<_> = pack.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect();
            self.add(slots.iter().copied(), 1);
        }
    }

    /// Packs all that is left into `packs` packs, if that is found to be possible within `steps` steps; the second:
    /// whether it is proven impossible otherwise.
    pub fn finish_within(&mut self, packs: u64, steps: u64) -> (bool, bool) {
        let items: Vec<u32> = (0..self.sizes.len() as u32)
            .rev()
            .flat_map(|row| std::iter::repeat_n(row, self.left[row as usize] as usize))
            .collect();
        let sizes: Vec<u32> = items.iter().map(|&item| self.sizes[item as usize]).collect();
        match pack_few(&sizes, self.capacity, self.max_sequences, packs, steps) {
            Ok(found) => {
                for pack in found {
                    let pack = Columns::of_slots(vec![pack.into_iter().map(|i| (items[i], 1)).collect()]);
                    self.add(pack.pattern(0), 1);
                }
                (true, false)
            }
            Err(proven) => (false, proven),
        }
    }
}
