//! What it costs to train on a pack.

use rayon::prelude::*;

use crate::Error;
use crate::memory::zeroed;

/// Cost of a sequence of L tokens: `linear` L + `quadratic` L². Units are the caller's: operations, or seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    /// Cost of a token.
    pub linear: f64,
    /// Cost of a pair of tokens.
    pub quadratic: f64,
    /// Whether attention sees the whole pack as one sequence, as it does without document masks.
    pub whole_pack: bool,
}

impl CostModel {
    /// Cost of one pack, by the tokens of each of its sequences. The order of sequences makes no difference, not even
    /// in the last digit: packs alike are equal.
    ///
    /// ```
    /// let model = packsort_core::CostModel { linear: 10.0, quadratic: 1.0, whole_pack: false };
    /// assert_eq!(model.of_pack(&[3, 2]), 10.0 * 5.0 + 9.0 + 4.0);
    /// let unmasked = packsort_core::CostModel { whole_pack: true, ..model };
    /// assert_eq!(unmasked.of_pack(&[3, 2]), 10.0 * 5.0 + 25.0);
    /// ```
    pub fn of_pack(&self, lengths: &[i32]) -> f64 {
        let lengths = || lengths.iter().map(|&length| u64::from(length.max(0).unsigned_abs()));
        let tokens: u64 = lengths().sum();
        let pairs = match self.whole_pack {
            false => lengths().fold(0, |pairs: u64, length| pairs.saturating_add(length * length)),
            true => tokens.saturating_mul(tokens),
        };
        self.linear * tokens as f64 + self.quadratic * pairs as f64
    }

    /// Cost of each pack: pack `i` holds sequences of `lengths[offsets[i]..offsets[i + 1]]` tokens.
    ///
    /// # Errors
    /// Offsets that fall or leave the lengths.
    pub fn of_packs(&self, offsets: &[i64], lengths: &[i32]) -> Result<Vec<f64>, Error> {
        let mut costs = zeroed::<f64>(offsets.len().saturating_sub(1));
        let bad = Error::Inconsistent("pack offsets do not divide the lengths into packs");
        costs.par_iter_mut().zip(offsets.par_windows(2)).with_min_len(MIN_PACKS).try_for_each(|(cost, ends)| {
            let at = |offset| usize::try_from(offset).map_err(|_| bad);
            *cost = self.of_pack(lengths.get(at(ends[0])?..at(ends[1])?).ok_or(bad)?);
            Ok(())
        })?;
        Ok(costs)
    }
}

/// Fewer packs than this a worker are faster counted than a thread is woken.
const MIN_PACKS: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: CostModel = CostModel { linear: 0.1, quadratic: 0.3, whole_pack: false };

    #[test]
    fn order_in_a_pack_makes_no_difference() {
        assert_eq!(MODEL.of_pack(&[7, 31, 1, 300]), MODEL.of_pack(&[300, 1, 7, 31]));
    }

    #[test]
    fn the_longest_packs_do_not_overflow() {
        let length = i32::MAX as u64;
        assert_eq!(MODEL.of_pack(&[i32::MAX]), 0.1 * length as f64 + 0.3 * (length * length) as f64);
        assert!(CostModel { whole_pack: true, ..MODEL }.of_pack(&[i32::MAX; 40]) > MODEL.of_pack(&[i32::MAX; 4]));
    }

    #[test]
    fn offsets_that_are_none_are_refused() {
        for offsets in [vec![0, 3], vec![-1, 1], vec![2, 1]] {
            assert!(MODEL.of_packs(&offsets, &[5, 6]).is_err(), "{offsets:?}");
        }
        assert_eq!(MODEL.of_packs(&[], &[]), Ok(vec![]));
        assert_eq!(MODEL.of_packs(&[0, 0, 2], &[5, 6]), Ok(vec![0.0, MODEL.of_pack(&[5, 6])]));
    }
}
