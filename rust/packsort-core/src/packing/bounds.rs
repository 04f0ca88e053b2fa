//! Fewest packs that any plan could need.

/// The better of `ceil(tokens / max_length)` and the bound L2 of Martello and Toth (1990, "Lower bounds and reduction
/// procedures for the bin packing problem").
///
/// For a threshold `a` up to half of `max_length`: sequences over `max_length - a` share with none of `a` or more,
/// those over the half do not share with each other, and what of the rest does not fit beside these needs packs too.
///
/// # Complexity
/// O(max_length), whatever the number of sequences.
pub fn lower_bound(counts: &[u64], max_length: u32) -> u64 {
    let capacity = u128::from(max_length);
    let top = counts.len() - 1;
    let count = |length: usize| counts.get(length).copied().unwrap_or(0);
    let half = max_length as usize / 2;

    let over_half: u64 = counts.iter().skip(half + 1).sum();
    // a = 0: every length over the half counts as middle, every other as small
    let mut middle_tokens: u128 = (half + 1..=top).map(|l| count(l) as u128 * l as u128).sum();
    let mut middle = over_half;
    let mut small_tokens: u128 = (1..=half.min(top)).map(|l| count(l) as u128 * l as u128).sum();
    let mut best = (small_tokens + middle_tokens).div_ceil(capacity) as u64;
    if over_half == 0 {
        return best; // a larger threshold only leaves more out
    }
    for a in 1..=half {
        // lengths of max_length - a + 1 become large, those of a - 1 are left out
        let large = max_length as usize - a + 1;
        middle -= count(large);
        middle_tokens -= count(large) as u128 * large as u128;
        small_tokens -= count(a - 1) as u128 * (a - 1) as u128;
        let room = middle as u128 * capacity - middle_tokens;
        let more = small_tokens.saturating_sub(room).div_ceil(capacity) as u64;
        best = best.max(over_half + more);
    }
    best
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
    fn nothing_needs_no_pack() {
        assert_eq!(bound(&[], 10), 0);
        assert_eq!(bound(&[1], 1), 1);
    }
}
