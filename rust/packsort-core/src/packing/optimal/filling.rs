//! Packs filled as full as can be.

/// The filling of a pack with the least room left: the longest sequence that is left and those that go best with it.
///
/// Minimum bin slack (Gupta and Ho, 1999, "A new heuristic algorithm for the one-dimensional bin-packing problem"),
/// longest first, so that those that fit anywhere stay for the end; the search stops at a full pack or after `steps`.
pub(super) struct Filling<'a> {
    sizes: &'a [u32],
    left: &'a mut [u64],
    rows: Vec<usize>, // rows with sequences left, ascending
    row_of: Vec<u32>, // by size; NONE
    steps: u64,
    current: Vec<usize>,
    best: Vec<usize>,
    best_room: u32,
}

const NONE: u32 = u32::MAX;

impl<'a> Filling<'a> {
    pub fn new(sizes: &'a [u32], left: &'a mut [u64]) -> Self {
        let mut row_of = vec![NONE; sizes.last().map_or(1, |&size| size as usize + 1)];
        for (row, &size) in (0..).zip(sizes) {
            row_of[size as usize] = row;
        }
        let rows = (0..sizes.len()).filter(|&row| left[row] > 0).collect();
        Self { sizes, left, rows, row_of, steps: 0, current: vec![], best: vec![], best_room: 0 }
    }

    /// Takes out the sequences of the next pack, as rows, longest first; None where nothing is left.
    pub fn next(&mut self, capacity: u32, max_sequences: u64, steps: u64) -> Option<Vec<usize>> {
        let &top = self.rows.last()?;
        self.steps = steps;
        self.current = vec![top];
        self.best = vec![];
        self.best_room = u32::MAX;
        self.left[top] -= 1;
        self.fill(self.rows.len(), capacity - self.sizes[top], max_sequences - 1);
        self.left[top] += 1;
        let mut used_up = false;
        for &row in &self.best {
            self.left[row] -= 1;
            used_up |= self.left[row] == 0;
        }
        if used_up {
            self.rows.retain(|&row| self.left[row] > 0);
        }
        Some(std::mem::take(&mut self.best))
    }

    /// Fills `room` with at most `more` of the first `end` rows; whether the search is over.
    fn fill(&mut self, end: usize, room: u32, more: u64) -> bool {
        if room < self.best_room {
            self.best_room = room;
            self.best.clone_from(&self.current);
        }
        if self.best_room == 0 {
            return true;
        }
        if more == 0 || room == 0 {
            return false;
        }
        match self.row_of.get(room as usize) {
            Some(&row) if row != NONE && self.left[row as usize] > 0 => {
                self.best.clone_from(&self.current);
                self.best.push(row as usize);
                self.best_room = 0;
                return true;
            }
            _ => {}
        }
        let end = self.rows[..end].partition_point(|&row| self.sizes[row] < room);
        for at in (0..end).rev() {
            let row = self.rows[at];
            if self.left[row] == 0 {
                continue;
            }
            if self.steps == 0 {
                return true;
            }
            self.steps -= 1;
            self.left[row] -= 1;
            self.current.push(row);
            let over = self.fill(at + 1, room - self.sizes[row], more - 1);
            self.current.pop();
            self.left[row] += 1;
            if over {
                return true;
            }
        }
        false
    }
}
