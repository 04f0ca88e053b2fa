//! The arrays of a training step, filled in place.

use rayon::prelude::*;

use crate::Error;

/// No loss is taken where a label has this value (PyTorch's `ignore_index`).
pub const NO_LOSS: i64 = -100;

/// One pack as a shard holds it.
#[derive(Clone, Copy, Debug)]
pub struct PackView<'a> {
    /// Tokens.
    pub input_ids: &'a [i32], // (tokens,)
    /// Labels, unshifted; the tokens themselves where there are none.
    pub labels: Option<&'a [i32]>, // (tokens,)
    /// Tokens of each piece; they sum to `tokens`.
    pub seq_lengths: &'a [i32], // (pieces,)
}

/// Where the arrays of a flat batch go: the tokens of all its packs one after another.
#[derive(Debug)]
pub struct Flat<'a> {
    /// Tokens.
    pub input_ids: &'a mut [i64], // (tokens,)
    /// Labels, unshifted; [`NO_LOSS`] at the first token of each piece.
    pub labels: &'a mut [i64], // (tokens,)
    /// Position of each token in its piece.
    pub position_ids: &'a mut [i64], // (tokens,)
    /// Where each piece starts, and the end of the last.
    pub cu_seq_lens: &'a mut [i32], // (pieces + 1,)
}

/// Tokens from which a second thread pays; a smaller batch touches no thread pool.
pub const PARALLEL_FROM: usize = 1 << 16;

/// Fills a flat batch and returns the tokens of its longest piece.
///
/// # Errors
/// Packs whose labels or piece lengths do not add up to their tokens; places of another size than the packs need.
pub fn fill_flat(packs: &[PackView], flat: Flat) -> Result<i32, Error> {
    let tokens = packs.iter().map(|p| p.input_ids.len()).sum::<usize>();
    let pieces = packs.iter().map(|p| p.seq_lengths.len()).sum::<usize>();
    if [flat.input_ids.len(), flat.labels.len(), flat.position_ids.len()] != [tokens; 3]
        || flat.cu_seq_lens.len() != pieces + 1
        || tokens > i32::MAX as usize
    {
        return Err(Error::Inconsistent("the batch's arrays are not as long as its packs need"));
    }
    for pack in packs {
        let sum: i64 = pack.seq_lengths.iter().map(|&l| i64::from(l)).sum();
        if sum != pack.input_ids.len() as i64 || pack.seq_lengths.iter().any(|&l| l < 1) {
            return Err(Error::Inconsistent("a pack's seq_lengths do not add up to its tokens"));
        }
        if pack.labels.is_some_and(|l| l.len() != pack.input_ids.len()) {
            return Err(Error::Inconsistent("a pack has another number of labels than of tokens"));
        }
    }

    flat.cu_seq_lens[0] = 0;
    let (mut ids, mut labels, mut positions, mut ends) =
        (flat.input_ids, flat.labels, flat.position_ids, &mut flat.cu_seq_lens[1..]);
    let mut start = 0;
    let mut work = vec![];
    for pack in packs {
        let one = Flat {
            input_ids: take(&mut ids, pack.input_ids.len()),
            labels: take(&mut labels, pack.input_ids.len()),
            position_ids: take(&mut positions, pack.input_ids.len()),
            cu_seq_lens: take(&mut ends, pack.seq_lengths.len()),
        };
        work.push((pack, one, start));
        start += pack.input_ids.len() as i32;
    }
    if tokens < PARALLEL_FROM {
        work.into_iter().for_each(|(pack, one, start)| fill_pack(pack, one, start));
    } else {
        work.into_par_iter().for_each(|(pack, one, start)| fill_pack(pack, one, start));
    }
    Ok(packs.iter().flat_map(|p| p.seq_lengths).copied().max().unwrap_or(0))
}

fn take<'a, T>(slice: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(slice).split_at_mut(n);
    *slice = tail;
    head
}

/// Here `cu_seq_lens` has only the ends of the pack's pieces.
fn fill_pack(pack: &PackView, out: Flat, mut end: i32) {
    for (to, &from) in out.input_ids.iter_mut().zip(pack.input_ids) {
        *to = from.into();
    }
    for (to, &from) in out.labels.iter_mut().zip(pack.labels.unwrap_or(pack.input_ids)) {
        *to = from.into();
    }
    let mut first = 0;
    for (place, &length) in out.cu_seq_lens.iter_mut().zip(pack.seq_lengths) {
        end += length;
        *place = end;
        let piece = first..first + length as usize;
        first = piece.end;
        out.labels[piece.start] = NO_LOSS;
        for (position, number) in out.position_ids[piece].iter_mut().zip(0..) {
            *position = number;
        }
    }
}
