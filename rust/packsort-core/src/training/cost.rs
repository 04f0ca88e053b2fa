//! Estimate the cost of training on a pack.
//!
//! Dense layers cost the same for every token, attention costs the same for every pair of tokens that see each other. A
//! sequence of `L` tokens therefore costs `linear * L + quadratic * L^2`, and a pack the sum over its segments.

use rayon::prelude::*;

use crate::Error;
use crate::memory::zeroed;
use crate::training::attention::Attention;

/// Cost of a segment of `L` tokens: `linear * L + quadratic * L^2`, in a unit of the caller: operations, or seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    /// Cost of one token.
    pub linear: f64,
    /// Cost of one pair of tokens.
    pub quadratic: f64,
    /// Whether attention stays within segments or sees the whole pack.
    pub attention: Attention,
}

impl CostModel {
    /// Estimate the cost of one pack from the tokens of each of its segments. Negative lengths count as 0.
    ///
    /// Sums are integers until the last step, so the order of segments changes no digit of the result.
    ///
    /// # Complexity
    /// O(segments).
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Attention, CostModel};
    ///
    /// let model = CostModel { linear: 10.0, quadratic: 1.0, attention: Attention::Document };
    /// assert_eq!(model.of_pack(&[3, 2]), 10.0 * 5.0 + 9.0 + 4.0);
    /// let unmasked = CostModel { attention: Attention::Pack, ..model };
    /// assert_eq!(unmasked.of_pack(&[3, 2]), 10.0 * 5.0 + 25.0);
    /// ```
    pub fn of_pack(&self, lengths: &[i32]) -> f64 {
        let lengths = || lengths.iter().map(|&length| u64::from(length.max(0).unsigned_abs()));
        let tokens: u64 = lengths().sum();
        let pairs = match self.attention {
            Attention::Document => lengths().fold(0, |pairs: u64, length| pairs.saturating_add(length * length)),
            Attention::Pack => tokens.saturating_mul(tokens),
        };
        self.linear * tokens as f64 + self.quadratic * pairs as f64
    }

    /// Estimate the cost of many packs: pack `i` holds segments of `lengths[offsets[i]..offsets[i + 1]]` tokens.
    ///
    /// Returns one cost for each pack: shape (packs,).
    ///
    /// # Errors
    /// Offsets that descend or point outside the lengths.
    ///
    /// # Complexity
    /// O(segments), on all threads of the current rayon pool.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Attention, CostModel};
    ///
    /// let model = CostModel { linear: 1.0, quadratic: 0.0, attention: Attention::Document };
    /// assert_eq!(model.of_packs(&[0, 2, 3], &[3, 2, 7])?, [5.0, 7.0]);
    /// # Ok::<(), packsort_core::Error>(())
    /// ```
    pub fn of_packs(&self, offsets: &[i64], lengths: &[i32]) -> Result<Vec<f64>, Error> {
        let mut costs = zeroed::<f64>("costs of packs", offsets.len().saturating_sub(1))?;
        let packs = costs.par_iter_mut().zip(offsets.par_windows(2)).with_min_len(MIN_PACKS).enumerate();
        packs.try_for_each(|(pack, (cost, ends))| {
            let segments = match [ends[0], ends[1]].map(usize::try_from) {
                [Ok(start), Ok(end)] => lengths.get(start..end),
                _ => None,
            };
            *cost = self.of_pack(segments.ok_or(Error::PackOffsets { pack: pack as u64 })?);
            Ok(())
        })?;
        Ok(costs)
    }
}

/// Fewer packs than this are counted faster than a thread wakes up.
const MIN_PACKS: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: CostModel = CostModel { linear: 0.1, quadratic: 0.3, attention: Attention::Document };

    #[test]
    fn order_in_a_pack_makes_no_difference() {
        assert_eq!(MODEL.of_pack(&[7, 31, 1, 300]), MODEL.of_pack(&[300, 1, 7, 31]));
    }

    #[test]
    fn the_longest_packs_do_not_overflow() {
        let length = i32::MAX as u64;
        assert_eq!(MODEL.of_pack(&[i32::MAX]), 0.1 * length as f64 + 0.3 * (length * length) as f64);
        let unmasked = CostModel { attention: Attention::Pack, ..MODEL };
        assert!(unmasked.of_pack(&[i32::MAX; 40]) > MODEL.of_pack(&[i32::MAX; 4]));
        assert_eq!(MODEL.of_pack(&[i32::MIN, 3, -1]), MODEL.of_pack(&[3]));
    }

    #[test]
    fn offsets_that_are_none_are_refused() {
        for offsets in [vec![0, 3], vec![-1, 1], vec![2, 1], vec![i64::MIN, i64::MAX]] {
            assert_eq!(MODEL.of_packs(&offsets, &[5, 6]), Err(Error::PackOffsets { pack: 0 }), "{offsets:?}");
        }
        assert_eq!(MODEL.of_packs(&[], &[]), Ok(vec![]));
        assert_eq!(MODEL.of_packs(&[0, 0, 2], &[5, 6]), Ok(vec![0.0, MODEL.of_pack(&[5, 6])]));
    }
}
