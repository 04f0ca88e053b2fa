//! Pack sequences so that each pack is as full as possible.
//!
//! Minimum bin slack (Gupta and Ho, 1999, "A new heuristic algorithm for the one-dimensional bin-packing problem"),
//! longest first, so that short sequences, which fit anywhere, stay for the last packs:
//!
//! ```text
//! start with the longest sequence left
//! depth first, longest first: add a sequence that fits
//!     if a single sequence fits the room exactly: take it and stop
//! keep the fullest pack that was met
//! ```
//!
//! Cost: exponential, bounded by a number of steps for each pack.

use crate::Error;
use crate::memory::{collected, filled};

/// Search for full packs of the sequences left.
pub(super) struct BinSlack<'a> {
    sizes: &'a [u32],
    left: &'a mut [u64],
    items: Vec<usize>, // items with sequences left, ascending
    item_of: Vec<u32>, // by size; NONE
    steps: u64,
    current: Vec<usize>,
    best: Vec<usize>,
    best_room: u32,
    unsaved: bool, // whether `current` is the best, but not yet copied
}

const NONE: u32 = u32::MAX;

/// A partial pack whose extensions are being tried.
struct Level {
    /// Only items below this place in `items` are left to try.
    end: usize,
    room: u32,
    more: u64,
}

/// Next step with a partial pack.
enum Next {
    Extend(Level),
    TurnBack,
    Stop,
}

impl<'a> BinSlack<'a> {
    pub fn new(sizes: &'a [u32], left: &'a mut [u64]) -> Result<Self, Error> {
        let mut item_of = filled("items by size", sizes.last().map_or(1, |&size| size as usize + 1), NONE)?;
        for (item, &size) in (0..).zip(sizes) {
            item_of[size as usize] = item;
        }
        let items = collected("items by size", (0..sizes.len()).filter(|&item| left[item] > 0))?;
        let (current, best) = (vec![], vec![]);
        Ok(Self { sizes, left, items, item_of, steps: 0, current, best, best_room: 0, unsaved: false })
    }

    /// Take out the sequences of the next pack, as items, longest first; `None` if nothing is left.
    pub fn next(&mut self, capacity: u32, max_sequences: u64, steps: u64) -> Option<Vec<usize>> {
        let &longest = self.items.last()?;
        self.steps = steps;
        self.best_room = u32::MAX;
        self.push(longest);
        self.search(capacity - self.sizes[longest], max_sequences - 1);
        while !self.current.is_empty() {
            self.pop();
        }
        let mut used_up = false;
        for &item in &self.best {
            self.left[item] -= 1;
            used_up |= self.left[item] == 0;
        }
        if used_up {
            self.items.retain(|&item| self.left[item] > 0);
        }
        Some(std::mem::take(&mut self.best))
    }

    /// Extend the current pack, which has this room for at most `more` sequences, until it is full or steps run out.
    ///
    /// The levels are kept in a vector: recursion would overflow the stack where a pack holds many sequences.
    fn search(&mut self, room: u32, more: u64) {
        let mut levels = vec![];
        let mut next = self.look_at(self.items.len(), room, more);
        loop {
            match next {
                Next::Stop => return,
                Next::Extend(level) => levels.push(level),
                // The first pack of the search is no extension, and stays.
                Next::TurnBack if levels.is_empty() => return,
                Next::TurnBack => self.pop(),
            }
            let extension = loop {
                let Some(level) = levels.last_mut() else { return };
                let longest = (0..level.end).rev().find(|&place| self.left[self.items[place]] > 0);
                if let Some(place) = longest {
                    level.end = place;
                    break (place, level.room, level.more);
                }
                levels.pop();
                if levels.is_empty() {
                    return;
                }
                self.pop();
            };
            let (place, room, more) = extension;
            let Some(fewer) = self.steps.checked_sub(1) else { return };
            self.steps = fewer;
            let item = self.items[place];
            self.push(item);
            next = self.look_at(place + 1, room - self.sizes[item], more - 1);
        }
    }

    /// Remember the current pack if it is the fullest, and decide whether to extend it by items below `end`.
    fn look_at(&mut self, end: usize, room: u32, more: u64) -> Next {
        if room < self.best_room {
            self.best_room = room;
            self.unsaved = true;
        }
        if self.best_room == 0 {
            return Next::Stop;
        }
        if more == 0 || room == 0 {
            return Next::TurnBack;
        }
        match self.item_of.get(room as usize) {
            Some(&item) if item != NONE && self.left[item as usize] > 0 => {
                self.save();
                self.best.push(item as usize);
                self.best_room = 0;
                Next::Stop
            }
            _ => {
                let end = self.items[..end].partition_point(|&item| self.sizes[item] < room);
                Next::Extend(Level { end, room, more })
            }
        }
    }

    fn push(&mut self, item: usize) {
        self.left[item] -= 1;
        self.current.push(item);
    }

    /// Copy the current pack as the best. On the way down every pack is better than the one before, so it is copied on
    /// the way back only.
    fn save(&mut self) {
        self.best.clone_from(&self.current);
        self.unsaved = false;
    }

    fn pop(&mut self) {
        if self.unsaved {
            self.save();
        }
        if let Some(item) = self.current.pop() {
            self.left[item] += 1;
        }
    }
}
