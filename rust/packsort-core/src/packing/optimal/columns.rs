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

    /// These patterns, of size numbers with their copies in any order; sorted, each once.
    pub(super) fn of_slots(mut patterns: Vec<Vec<(u32, u32)>>) -> Self {
        for pattern in &mut patterns {
            pattern.sort_unstable();
            pattern.dedup_by(|next, slot| {
                let same = next.0 == slot.0;
                slot.1 += if same { next.1 } else { 0 };
                same
            });
        }
        patterns.sort_unstable();
        patterns.dedup();
        let mut columns = Self::default();
        for pattern in &patterns {
            columns.push(pattern.iter().map(|&(row, copies)| (row as usize, copies.into())));
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_alike_are_one() {
        let columns = Columns::of_slots(vec![vec![(2, 1), (0, 1), (2, 1)], vec![(0, 1), (2, 2)], vec![(0, 3)]]);
        assert_eq!(columns, Columns { offsets: vec![0, 2, 3], rows: vec![0, 2, 0], copies: vec![1, 2, 3] });
    }
}
