//! Pack a few sequences by trying everything.
//!
//! ```text
//! place the sequences one after another, depth first:
//!     into each open pack with room; of packs with equal room and number of sequences, into one only
//!     then into a new pack
//!     a sequence as long as the one before goes into the same pack or a later one
//!     turn back if more room is lost than the packs can spare
//! ```
//!
//! Room is lost if it is below the smallest sequence. Cost: exponential, bounded by a number of steps.

/// The outcome of a search that may give up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search<T> {
    /// Problem that was searched.
    Found(T),
    /// A proof that there is none.
    Impossible,
    /// The steps ran out first.
    OutOfSteps,
}

/// Pack sequences of these sizes into at most `packs` packs of `capacity`; returns the sequences of each pack, as
/// indices.
///
/// Each try to place a sequence after the one before takes one of `steps`. Longest first needs the fewest.
///
/// # Complexity
/// O(steps x packs) time, O(sizes x packs) memory.
///
/// # Examples
/// ```
/// use packsort_core::optimal::{Search, pack_few};
///
/// assert_eq!(pack_few(&[6, 5, 4, 3], 9, u64::MAX, 2, 100), Search::Found(vec![vec![0, 3], vec![1, 2]]));
/// assert_eq!(pack_few(&[6, 6, 6], 10, u64::MAX, 2, 100), Search::Impossible);
/// ```
pub fn pack_few(sizes: &[u32], capacity: u32, max_sequences: u64, packs: u64, steps: u64) -> Search<Vec<Vec<usize>>> {
    let tokens: u128 = sizes.iter().map(|&size| u128::from(size)).sum();
    let room = u128::from(packs) * u128::from(capacity);
    let few = u128::from(packs) * u128::from(max_sequences) < sizes.len() as u128;
    if room < tokens || few || sizes.iter().any(|&size| size > capacity) {
        return Search::Impossible;
    }
    let smallest = sizes.iter().copied().min().unwrap_or(0);
    let packs = usize::try_from(packs).unwrap_or(usize::MAX);
    DepthFirst { sizes, smallest, capacity, max_sequences, packs, open: vec![] }.run(room - tokens, steps)
}

struct DepthFirst<'a> {
    sizes: &'a [u32],
    smallest: u32,
    capacity: u32,
    max_sequences: u64,
    packs: usize,
    open: Vec<Open>,
}

struct Open {
    room: u32,
    held: Vec<usize>,
}

/// One sequence that is being placed.
struct Level {
    /// Packs still to be tried, the next one last.
    choices: Vec<usize>,
    /// Room that may still be lost.
    slack: u128,
    /// The pack that holds the sequence now.
    pack: Option<usize>,
}

impl DepthFirst<'_> {
    /// The levels are kept in a vector: recursion would overflow the stack at some ten thousand sequences.
    fn run(mut self, slack: u128, mut steps: u64) -> Search<Vec<Vec<usize>>> {
        let mut levels: Vec<Level> = vec![];
        let mut next = (slack, 0); // slack and first pack of the next level
        loop {
            if levels.len() == self.sizes.len() {
                return Search::Found(self.open.into_iter().map(|pack| pack.held).collect());
            }
            let Some(fewer) = steps.checked_sub(1) else { return Search::OutOfSteps };
            steps = fewer;
            levels.push(Level { choices: self.choices(levels.len(), next.1), slack: next.0, pack: None });
            next = loop {
                let item = levels.len() - 1;
                let Some(level) = levels.last_mut() else { return Search::Impossible };
                if let Some(pack) = level.pack.take() {
                    self.remove(item, pack);
                }
                let Some(pack) = level.choices.pop() else {
                    levels.pop();
                    if levels.is_empty() {
                        return Search::Impossible;
                    }
                    continue;
                };
                level.pack = Some(pack);
                let lost = self.insert(item, pack);
                if let Some(slack) = level.slack.checked_sub(lost.into()) {
                    let alike = self.sizes.get(item + 1) == Some(&self.sizes[item]);
                    break (slack, if alike { pack } else { 0 });
                }
            };
        }
    }

    /// The packs from `from` on that a sequence may go into, the best last: least room first, then a new pack.
    fn choices(&self, item: usize, from: usize) -> Vec<usize> {
        let size = self.sizes[item];
        let mut tried: Vec<(u32, usize)> = vec![];
        let mut choices: Vec<usize> = (from..self.open.len())
            .filter(|&pack| {
                let pack = &self.open[pack];
                let kind = (pack.room, pack.held.len());
                let fits = size <= pack.room && (kind.1 as u64) < self.max_sequences && !tried.contains(&kind);
                if fits {
                    tried.push(kind);
                }
                fits
            })
            .collect();
        choices.sort_by_key(|&pack| self.open[pack].room);
        if self.open.len() < self.packs {
            choices.push(self.open.len());
        }
        choices.reverse();
        choices
    }

    /// Put a sequence into a pack; returns the room that is lost.
    fn insert(&mut self, item: usize, pack: usize) -> u32 {
        if pack == self.open.len() {
            self.open.push(Open { room: self.capacity, held: vec![] });
        }
        let open = &mut self.open[pack];
        open.room -= self.sizes[item];
        open.held.push(item);
        if open.room < self.smallest { open.room } else { 0 }
    }

    fn remove(&mut self, item: usize, pack: usize) {
        let open = &mut self.open[pack];
        open.room += self.sizes[item];
        open.held.pop();
        if open.held.is_empty() {
            self.open.pop();
        }
    }
}
