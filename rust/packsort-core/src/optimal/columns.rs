//! Patterns as columns of the program.

/// Patterns: pattern `p` holds `copies[k]` sequences of size number `rows[k]` for `k` in `offsets[p]..offsets[p + 1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Where each pattern starts.
    pub offsets: Vec<usize>, // (patterns + 1,)
    /// Size numbers, ascending within a pattern.
    pub rows: Vec<u32>,
    /// Sequences of that size.
    pub copies: Vec<u32>,
}

impl Default for Columns {
    fn default() -> Self {
        Self { offsets: vec![0], rows: vec![], copies: vec![] }
    }
}

impl Columns {
    /// Number of patterns.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pattern `p`: size numbers and copies.
    pub fn pattern(&self, p: usize) -> impl ExactSizeIterator<Item = (usize, u64)> + DoubleEndedIterator + Clone {
        let at = self.offsets[p]..self.offsets[p + 1];
        self.rows[at.clone()].iter().zip(&self.copies[at]).map(|(&row, &copies)| (row as usize, u64::from(copies)))
    }

    /// Adds a pattern of size numbers with their copies, ascending.
    pub fn push(&mut self, pattern: impl IntoIterator<Item = (usize, u64)>) {
        for (row, copies) in pattern {
            self.rows.push(row as u32);
            self.copies.push(copies as u32);
        }
        self.offsets.push(self.rows.len());
    }

    /// The patterns that hold these sizes, one number a sequence; sorted, each once.
    pub(super) fn of_items(mut patterns: Vec<Vec<u32>>) -> Self {
        for pattern in &mut patterns {
            pattern.sort_unstable();
        }
        patterns.sort_unstable();
        patterns.dedup();
        let mut columns = Self::default();
        for pattern in &patterns {
            columns.push(pattern.chunk_by(|a, b| a == b).map(|same| (same[0] as usize, same.len() as u64)));
        }
        columns
    }
}
