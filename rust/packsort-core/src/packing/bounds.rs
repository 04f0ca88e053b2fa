//! The fewest packs that any plan can have.

/// Compute a lower bound on the number of packs, from `counts[l]` sequences of each length `l`.
///
/// The better of `ceil(tokens / max_length)` and the bound L2 of Martello and Toth (1990, "Lower bounds and reduction
/// procedures for the bin packing problem"). For a threshold `a` up to half of `max_length`, sequences longer than
/// `max_length - a` share a pack with none of length `a` or more, and sequences over the half do not share with each
/// other. The rest needs packs as far as it does not fit beside these. Sequences longer than `max_length` count as
/// `max_length`. The bound is 0 if `max_length` is 0, and at most `u64::MAX`.
///
/// # Complexity
/// O(max_length), whatever the number of sequences.
///
/// # Examples
/// ```
/// let mut counts = [0; 11];
/// counts[6] = 3;
/// assert_eq!(packsort_core::lower_bound(&counts, 10), 3); // 18 tokens fit 2 packs of 10, but no two sequences share one
/// ```
pub fn lower_bound(counts: &[u64], max_length: u32) -> u64 {
    let (capacity, longest) = (u128::from(max_length), max_length as usize);
    if max_length == 0 {
        return 0;
    }
    let too_long: u128 = counts.iter().skip(longest + 1).map(|&count| u128::from(count)).sum();
    let count = |length: usize| {
        let count = u128::from(counts.get(length).copied().unwrap_or(0));
        if length == longest { count + too_long } else { count }
    };
    let tokens = |lengths: std::ops::RangeInclusive<usize>| -> u128 { lengths.map(|l| count(l) * l as u128).sum() };
    let top = longest.min(counts.len().saturating_sub(1));
    let top = if too_long > 0 { longest } else { top };
    let half = longest / 2;

    let over_half: u128 = (half + 1..=top).map(count).sum();
    // For a = 0 every length over the half is of middle size, and every other length is small.
    let mut middle = over_half;
    let mut middle_tokens = tokens(half + 1..=top);
    let mut small_tokens = tokens(1..=half.min(top));
    let mut best = (small_tokens + middle_tokens).div_ceil(capacity);
    // Without a sequence over the half, a larger threshold only leaves more out.
    if over_half > 0 {
        for a in 1..=half {
            // Length max_length - a + 1 becomes large, and length a - 1 is left out.
            let large = longest - a + 1;
            middle -= count(large);
            middle_tokens -= count(large) * large as u128;
            small_tokens -= count(a - 1) * (a - 1) as u128;
            let room = middle * capacity - middle_tokens;
            best = best.max(over_half + small_tokens.saturating_sub(room).div_ceil(capacity));
        }
    }
    u64::try_from(best).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(lengths: &[usize], max_length: u32) -> u64 {
        let mut counts = vec![0; max_length as usize + 1];
        for &l in lengths {
            counts[l] += 1;
        }
        lower_bound(&counts, max_length)
    }

    #[test]
    fn sequences_over_the_half_need_a_pack_each() {
        assert_eq!(bound(&[6, 6, 6], 10), 3); // tokens alone say 2
    }

    #[test]
    fn halves_share() {
        assert_eq!(bound(&[5, 5, 5], 10), 2);
        assert_eq!(bound(&[5, 5, 6], 10), 2);
    }

    #[test]
    fn small_ones_that_fit_beside_no_large_one_need_packs() {
        assert_eq!(bound(&[7, 7, 4, 4, 4], 10), 4); // tokens alone say 3; 7s alone, two 4s a pack
    }

    #[test]
    fn any_counts_have_a_bound() {
        assert_eq!(lower_bound(&[], 10), 0);
        assert_eq!(lower_bound(&[5], 10), 0);
        assert_eq!(lower_bound(&[0, 5, 7], 0), 0);
        assert_eq!(lower_bound(&[0, 0, 7], 1), 7); // too long: a pack each
        assert_eq!(lower_bound(&[0, 9, 0, 0, 0, 0, 2], 4), 5); // 2 full packs, 9 tokens
        assert_eq!(lower_bound(&[u64::MAX; 9], 8), u64::MAX);
        assert_eq!(lower_bound(&[u64::MAX; 9], 3), u64::MAX);
    }

    #[test]
    fn nothing_needs_no_pack() {
        assert_eq!(bound(&[], 10), 0);
        assert_eq!(bound(&[1], 1), 1);
    }
}
