//! A few sequences, by trying everything.

/// Packs sequences of these sizes, longest first, into at most `packs` packs, as indices. An error where that was not
/// found: whether it is proven impossible, or `steps` ran out.
///
/// Depth first: each sequence into one of the open packs, those with equal room and number once, then into a new one.
/// A branch ends where the room left is below the tokens left.
pub fn pack_few(
    sizes: &[u32],
    capacity: u32,
    max_sequences: u64,
    packs: u64,
    steps: u64,
) -> Result<Vec<Vec<usize>>, bool> {
    let tokens: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
    let slack = match (packs * u64::from(capacity)).checked_sub(tokens) {
        Some(slack) if packs.saturating_mul(max_sequences) >= sizes.len() as u64 => slack,
        _ => return Err(true),
    };
    let mut search = Search {
        sizes,
        smallest: sizes.last().copied().unwrap_or(0),
        capacity,
        max_sequences,
        packs: packs as usize,
        steps,
        open: vec![],
    };
    match search.place(0, slack, 0) {
        Some(true) => Ok(search.open.into_iter().map(|pack| pack.held).collect()),
        Some(false) => Err(true),
        None => Err(false),
    }
}

struct Search<'a> {
    sizes: &'a [u32],
    smallest: u32,
    capacity: u32,
    max_sequences: u64,
    packs: usize,
    steps: u64,
    open: Vec<Open>,
}

struct Open {
    room: u32,
    held: Vec<usize>,
}

impl Search<'_> {
    /// Whether sequences from `item` on can be placed with at most `slack` room lost; None where steps ran out.
    /// Sequences of one size go into packs in order, from pack `from` on where the one before is as long.
    fn place(&mut self, item: usize, slack: u64, from: usize) -> Option<bool> {
        if item == self.sizes.len() {
            return Some(true);
        }
        self.steps = self.steps.checked_sub(1)?;
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
        for pack in choices {
            if pack == self.open.len() {
                self.open.push(Open { room: self.capacity, held: vec![] });
            }
            let open = &mut self.open[pack];
            open.room -= size;
            open.held.push(item);
            // room below the smallest sequence is lost
            let lost = if open.room < self.smallest { u64::from(open.room) } else { 0 };
            let alike = self.sizes.get(item + 1) == Some(&size);
            if lost <= slack {
                let found = self.place(item + 1, slack - lost, if alike { pack } else { 0 });
                if found != Some(false) {
                    return found;
                }
            }
            let open = &mut self.open[pack];
            open.room += size;
            open.held.pop();
            if open.held.is_empty() {
                self.open.pop();
            }
        }
        Some(false)
    }
}
