//! Write the arrays of a batch in place.
//!
//! ```text
//! check packs and arrays
//! cut the packs into segments: cu_seqlens
//! cut every array into one row for each pack
//! for each pack, in parallel if the batch is large: write its row
//! ```
//!
//! Cost: one write of each array.

mod pack;
mod row;
mod segments;
mod tokens;
mod weights;

use rayon::prelude::*;

pub use pack::PackView;
pub use segments::Segments;
pub use tokens::Tokens;
pub use weights::{LossWeights, step_total};

use crate::Error;
use crate::names::named;
use crate::training::attention::Attention;

/// The label of a token that carries no loss: PyTorch's `ignore_index`.
pub const NO_LOSS: i64 = -100;

/// Batches of fewer tokens are written on the calling thread: a second thread does not pay, and a small batch touches no
/// thread pool.
pub const PARALLEL_FROM: usize = 1 << 17;

/// Which token a label is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labels {
    /// The token in the same place; [`NO_LOSS`] at the first token of each segment, which nothing predicts.
    #[default]
    Unshifted,
    /// The next token of the segment; [`NO_LOSS`] at its last token.
    Shifted,
    /// The next token, also where it carries no loss: `loss_mask` says where it does.
    Masked,
}

named!(Labels, "labels", Unshifted => "unshifted", Shifted => "shifted", Masked => "masked");

/// Conversion of packs to the rows of a batch. The default writes packs of any length one after another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchOptions {
    /// Which token a label is.
    pub labels: Labels,
    /// Whether attention and positions stay within segments or run through the pack.
    pub attention: Attention,
    /// Tokens of each row, to which packs are padded; `None` pads nothing.
    pub row_length: Option<usize>,
    /// Token id of padding.
    pub pad_token_id: i64,
    /// Whether the padding of a row is part of the segment before it.
    pub padding_joins: bool,
    /// Whether the positions of a row's padding continue those of the segment before it.
    pub positions_run_on: bool,
    /// Whether `seq_idx` starts at 0 in every pack, instead of once in the batch.
    pub seq_idx_by_pack: bool,
    /// Weight of each sequence in `loss_weights`.
    pub loss_weights: LossWeights,
    /// Divisor of `loss_weights`: the [`step_total`] of all packs of the step, on all ranks.
    pub step_total: f64,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            labels: Labels::Unshifted,
            attention: Attention::Document,
            row_length: None,
            pad_token_id: 0,
            padding_joins: false,
            positions_run_on: false,
            seq_idx_by_pack: false,
            loss_weights: LossWeights::Token,
            step_total: 1.0,
        }
    }
}

/// The arrays of a batch. Packs follow one another, each `row_length` long if that is set.
#[derive(Debug)]
pub struct BatchArrays<'a> {
    /// Token ids.
    pub input_ids: &'a mut [i64], // (tokens,)
    /// Labels.
    pub labels: &'a mut [i64], // (tokens,)
    /// Position of each token in its segment.
    pub position_ids: &'a mut [i64], // (tokens,)
    /// 1 where a token carries loss, else 0.
    pub loss_mask: Option<&'a mut [f32]>, // (tokens,)
    /// Weight of each token in the loss of the step, 0 where it carries none.
    pub loss_weights: Option<&'a mut [f32]>, // (tokens,)
    /// Segment of each token in its pack, from 1; 0 for padding.
    pub segment_ids: Option<&'a mut [i32]>, // (tokens,)
    /// Segment of each token, from 0, padding counted like any other segment.
    pub seq_idx: Option<&'a mut [i32]>, // (tokens,)
    /// 0 and the end of each segment. Places behind the last segment repeat its end.
    pub cu_seqlens: &'a mut [i32], // (segments + 1 or more,)
    /// The ends of segments without their filler. With this array, filler is the end of the segment before it.
    pub unpadded: Option<&'a mut [i32]>, // as long as `cu_seqlens`
}

impl BatchArrays<'_> {
    /// Check that every array has `tokens` elements.
    fn check(&self, tokens: usize) -> Result<(), Error> {
        fn optional<T>(array: &Option<&mut [T]>) -> Option<usize> {
            array.as_ref().map(|array| array.len())
        }
        let arrays = [
            ("input_ids", Some(self.input_ids.len())),
            ("labels", Some(self.labels.len())),
            ("position_ids", Some(self.position_ids.len())),
            ("loss_mask", optional(&self.loss_mask)),
            ("loss_weights", optional(&self.loss_weights)),
            ("segment_ids", optional(&self.segment_ids)),
            ("seq_idx", optional(&self.seq_idx)),
        ];
        match arrays.into_iter().find(|&(_, found)| found.is_some_and(|found| found != tokens)) {
            Some((array, found)) => {
                let found = found.unwrap_or(0) as u64;
                Err(Error::ArrayLength { array, found, expected: tokens as u64 })
            }
            None => Ok(()),
        }
    }
}

/// Write packs into the arrays of a batch; returns its segments.
///
/// # Errors
/// A pack whose columns contradict each other; a pack longer than a row; arrays of another length than packs and rows
/// need; a batch of more than `i32::MAX` tokens.
///
/// # Complexity
/// O(tokens); on the threads of the current rayon pool from [`PARALLEL_FROM`] tokens on.
///
/// # Examples
/// ```
/// use packsort_core::batch::{BatchArrays, BatchOptions, NO_LOSS, PackView, Tokens, write_batch};
///
/// let tokens = Tokens::Whole(&[5, 6, 7, 8, 9]);
/// let pack = PackView { input_ids: tokens, labels: None, seq_lengths: &[3, 2], sequence_ids: None };
/// let (mut input_ids, mut labels, mut position_ids, mut cu_seqlens) = ([0; 5], [0; 5], [0; 5], [0; 3]);
/// let arrays = BatchArrays {
///     input_ids: &mut input_ids,
///     labels: &mut labels,
///     position_ids: &mut position_ids,
///     loss_mask: None,
///     loss_weights: None,
///     segment_ids: None,
///     seq_idx: None,
///     cu_seqlens: &mut cu_seqlens,
///     unpadded: None,
/// };
/// let segments = write_batch(&[pack], &BatchOptions::default(), arrays)?;
/// assert_eq!((segments.count, segments.longest), (2, 3));
/// assert_eq!(labels, [NO_LOSS, 6, 7, NO_LOSS, 9]);
/// assert_eq!(position_ids, [0, 1, 2, 0, 1]);
/// assert_eq!(cu_seqlens, [0, 3, 5]);
/// # Ok::<(), packsort_core::Error>(())
/// ```
pub fn write_batch(packs: &[PackView], options: &BatchOptions, mut arrays: BatchArrays) -> Result<Segments, Error> {
    pack::check_all(packs)?;
    let length = |pack: &PackView| options.row_length.unwrap_or(pack.input_ids.len());
    if let Some(row_length) = options.row_length {
        let long = |pack: &PackView| pack.input_ids.len() > row_length;
        if let Some(pack) = packs.iter().position(long) {
            let (tokens, row_length) = (packs[pack].input_ids.len() as u64, row_length as u64);
            return Err(Error::PackTooLong { pack: pack as u64, tokens, row_length });
        }
    }
    let tokens = packs.iter().map(length).fold(0, usize::saturating_add);
    if tokens > i32::MAX as usize {
        let limit = i32::MAX as u64;
        return Err(Error::TooMany { what: "tokens in a batch", found: tokens as u64, limit });
    }
    arrays.check(tokens)?;
    let unpadded = arrays.unpadded.as_deref_mut();
    let (segments, firsts) = segments::write_segments(packs, options, arrays.cu_seqlens, unpadded)?;
    let rows = row::Row::cut(arrays, packs.iter().map(length));
    let write = |((pack, row), first): ((&PackView, row::Row), i32)| {
        row.write(pack, options, if options.seq_idx_by_pack { 0 } else { first });
    };
    if tokens < PARALLEL_FROM {
        packs.iter().zip(rows).zip(firsts).for_each(write);
    } else {
        packs.par_iter().zip(rows).zip(firsts).for_each(write);
    }
    Ok(segments)
}
