//! Packs that still have room, those alike together, found by the room they have left.
//!
//! Packs alike are one entry with a number, so filling a thousand of them costs as much as filling one. An entry's
//! content is a linked list of slots; entries that were filled alike share their beginning.

use std::collections::{BTreeMap, VecDeque};

use crate::memory::push;
use crate::{Error, Patterns, Slot};

const PACKS: &str = "packs with room";

/// Packs that still have room, and full ones.
pub(crate) struct OpenPacks {
    capacity: u32,
    max_sequences: u64,
    opened: u64,
    nodes: Vec<Node>,
    open: BTreeMap<u32, VecDeque<Alike>>, // by the room taken; queues are never empty
    full: Vec<Alike>,
}

/// Packs with the same content.
#[derive(Clone, Copy)]
struct Alike {
    opened: u64,    // number of packs opened before the first of them
    packs: u64,     // number of packs
    node: usize,    // last slot of each
    sequences: u64, // number of sequences in each
}

/// A slot of a pack, and the slot before it.
struct Node {
    slot: Slot,
    before: usize, // FIRST for the first slot
}

const FIRST: usize = usize::MAX;

impl OpenPacks {
    /// Start without packs. Every pack will have room `capacity` and hold at most `max_sequences`.
    pub fn new(capacity: u32, max_sequences: u64) -> Self {
        Self { capacity, max_sequences, opened: 0, nodes: vec![], open: BTreeMap::new(), full: vec![] }
    }

    /// Number of packs opened.
    pub fn len(&self) -> u64 {
        self.opened
    }

    /// Open `packs` packs that hold `slots`, which take room `taken` together.
    pub fn add(&mut self, slots: &[Slot], taken: u32, packs: u64) -> Result<(), Error> {
        let mut alike = Alike { opened: self.opened, packs, node: FIRST, sequences: 0 };
        self.opened += packs;
        for &slot in slots {
            push(&mut self.nodes, PACKS, Node { slot, before: alike.node })?;
            alike.node = self.nodes.len() - 1;
            alike.sequences += u64::from(slot.copies);
        }
        self.put_back(alike, taken)
    }

    /// Put some of `left` sequences, which take room `taken` each, into the packs with the least room that is enough.
    /// Returns the number placed, or `None` if no pack has room.
    pub fn place(&mut self, class: u32, taken: u32, left: u64) -> Result<Option<u64>, Error> {
        let most = self.capacity.checked_sub(taken);
        let Some((&before, _)) = most.and_then(|most| self.open.range(..=most).next_back()) else { return Ok(None) };
        let packs = self.take(before);
        self.spread(packs, before, class, taken, left).map(Some)
    }

    /// The most room that any pack has; `None` if all are full.
    pub fn most_room(&self) -> Option<u32> {
        self.open.keys().next().map(|taken| self.capacity - taken)
    }

    /// Put one sequence, which takes room `taken`, into each of at most `left` packs with the most room. Returns the
    /// number placed.
    pub fn place_in_most_room(&mut self, class: u32, taken: u32, left: u64) -> Result<u64, Error> {
        let Some((&before, _)) = self.open.iter().next() else { return Ok(0) };
        let mut packs = self.take(before);
        let number = packs.packs.min(left);
        self.put_into(&mut packs, before, number, taken, Slot { class, copies: 1 })?;
        self.put_front(packs, before);
        Ok(number)
    }

    /// Put all `left` sequences, which take room `taken` each, into new packs. Returns their number.
    pub fn open(&mut self, class: u32, taken: u32, left: u64) -> Result<u64, Error> {
        let packs = left.div_ceil(u64::from(self.capacity / taken).min(self.max_sequences));
        let opened = self.opened;
        self.opened += packs;
        self.spread(Alike { opened, packs, node: FIRST, sequences: 0 }, 0, class, taken, left)
    }

    /// Add all packs to `patterns`, in the order in which they were opened.
    pub fn add_to(mut self, patterns: &mut Patterns) -> Result<(), Error> {
        for packs in std::mem::take(&mut self.open).into_values().flatten() {
            push(&mut self.full, PACKS, packs)?;
        }
        self.full.sort_unstable_by_key(|packs| packs.opened);
        for packs in self.full {
            let start = patterns.slots.len();
            let mut at = packs.node;
            while at != FIRST {
                push(&mut patterns.slots, PACKS, self.nodes[at].slot)?;
                at = self.nodes[at].before;
            }
            if patterns.slots.len() > start {
                patterns.slots[start..].reverse();
                patterns.end_pattern(packs.packs)?;
            }
        }
        Ok(())
    }

    /// Fill packs alike one after another, each as far as possible. Returns the number of sequences placed.
    fn spread(&mut self, mut packs: Alike, before: u32, class: u32, taken: u32, left: u64) -> Result<u64, Error> {
        let each = u64::from((self.capacity - before) / taken).min(self.max_sequences - packs.sequences);
        let whole = packs.packs.min(left / each);
        self.put_into(&mut packs, before, whole, taken, Slot { class, copies: each as u32 })?;
        let mut placed = whole * each;
        if left > placed && packs.packs > 0 {
            self.put_into(&mut packs, before, 1, taken, Slot { class, copies: (left - placed) as u32 })?;
            placed = left;
        }
        self.put_front(packs, before);
        Ok(placed)
    }

    /// Remove and return the first packs with room `taken` taken, which are there.
    fn take(&mut self, taken: u32) -> Alike {
        let queue = self.open.get_mut(&taken).expect("packs with that much room");
        let packs = queue.pop_front().expect("no queue is empty");
        if queue.is_empty() {
            self.open.remove(&taken);
        }
        packs
    }

    fn put_front(&mut self, packs: Alike, taken: u32) {
        if packs.packs > 0 {
            self.open.entry(taken).or_default().push_front(packs);
        }
    }

    fn put_back(&mut self, packs: Alike, taken: u32) -> Result<(), Error> {
        if taken == self.capacity || packs.sequences == self.max_sequences {
            push(&mut self.full, PACKS, packs)?;
        } else {
            self.open.entry(taken).or_default().push_back(packs);
        }
        Ok(())
    }

    /// Put the sequences of `slot`, which take room `taken` each, into the first `number` of `packs`, which have room
    /// `before` taken.
    fn put_into(&mut self, packs: &mut Alike, before: u32, number: u64, taken: u32, slot: Slot) -> Result<(), Error> {
        if number == 0 {
            return Ok(());
        }
        push(&mut self.nodes, PACKS, Node { slot, before: packs.node })?;
        let node = self.nodes.len() - 1;
        let sequences = packs.sequences + u64::from(slot.copies);
        let filled = Alike { opened: packs.opened, packs: number, node, sequences };
        packs.opened += number;
        packs.packs -= number;
        self.put_back(filled, before + taken * slot.copies)
    }
}
