//! Write one pack into its place in the arrays of a batch.

use std::ops::Range;

use crate::PADDING;
use crate::training::attention::Attention;
use crate::training::batch::pack::PackView;
use crate::training::batch::weights::write_weights;
use crate::training::batch::{BatchArrays, BatchOptions, Labels, NO_LOSS};

/// Distance, in segments, between the one that is written and the one whose first lines are asked for from memory.
const AHEAD: usize = 16;
/// The same for the ends of segments.
const FAR_AHEAD: usize = 64;

/// The place of one pack in each array of the batch.
pub(super) struct Row<'a> {
    input_ids: &'a mut [i64],
    labels: &'a mut [i64],
    position_ids: &'a mut [i64],
    loss_mask: Option<&'a mut [f32]>,
    loss_weights: Option<&'a mut [f32]>,
    segment_ids: Option<&'a mut [i32]>,
    seq_idx: Option<&'a mut [i32]>,
}

impl<'a> Row<'a> {
    /// Cut the arrays, of the checked length, into rows of these lengths.
    pub(super) fn cut(arrays: BatchArrays<'a>, lengths: impl Iterator<Item = usize>) -> Vec<Self> {
        let BatchArrays { mut input_ids, mut labels, mut position_ids, .. } = arrays;
        let BatchArrays { mut loss_mask, mut loss_weights, mut segment_ids, mut seq_idx, .. } = arrays;
        lengths
            .map(|length| Self {
                input_ids: take(&mut input_ids, length),
                labels: take(&mut labels, length),
                position_ids: take(&mut position_ids, length),
                loss_mask: loss_mask.as_mut().map(|array| take(array, length)),
                loss_weights: loss_weights.as_mut().map(|array| take(array, length)),
                segment_ids: segment_ids.as_mut().map(|array| take(array, length)),
                seq_idx: seq_idx.as_mut().map(|array| take(array, length)),
            })
            .collect()
    }

    /// Write `pack`, whose first segment has number `first`.
    pub(super) fn write(mut self, pack: &PackView, options: &BatchOptions, first: i32) {
        let (number, segment) = self.write_segments(pack, options, first);
        self.write_padding(pack.input_ids.len(), options, number, segment);
        if let Some(mask) = &mut self.loss_mask {
            for (mask, &label) in mask.iter_mut().zip(&*self.labels) {
                *mask = f32::from(u8::from(label != NO_LOSS));
            }
        }
        if options.labels == Labels::Masked {
            // Where no loss is taken: the next token of the row, and padding behind the last.
            let next = self.input_ids.get(1..).unwrap_or(&[]);
            for (label, &next) in self.labels.iter_mut().zip(next) {
                *label = if *label == NO_LOSS { next } else { *label };
            }
            if let Some(label) = self.labels.last_mut() {
                *label = options.pad_token_id;
            }
        }
    }

    /// Write one segment's tokens and labels.
    fn write_tokens(&mut self, pack: &PackView, options: &BatchOptions, segment: usize, range: Range<usize>) {
        pack.input_ids.of_segment(segment, range.clone()).write(0, &mut self.input_ids[range.clone()]);
        let labels = &mut self.labels[range.clone()];
        if pack.id(segment) < 0 {
            labels.fill(NO_LOSS);
            return;
        }
        // Nothing predicts the first token of a segment: shifted, its place is that of the last.
        let own = pack.labels().of_segment(segment, range);
        if options.labels == Labels::Unshifted {
            labels[0] = NO_LOSS;
            own.write(1, &mut labels[1..]);
        } else {
            own.write(1, labels);
            labels[labels.len() - 1] = NO_LOSS;
        }
    }

    /// Write the segments of the pack; returns how many are not padding, and the number of the next.
    fn write_segments(&mut self, pack: &PackView, options: &BatchOptions, first: i32) -> (i32, i32) {
        let (mut start, mut segment, mut number) = (0, first, 0);
        let (tokens, labels) = (&pack.input_ids, &pack.labels());
        let ask_for_ends = |segment| [tokens, labels].iter().for_each(|values| values.ask_for_ends(segment));
        let ask_for_start = |segment| [tokens, labels].iter().for_each(|values| values.ask_for_start(segment));
        (0..FAR_AHEAD).for_each(ask_for_ends);
        (0..AHEAD).for_each(ask_for_start);
        for (piece, &length) in pack.seq_lengths.iter().enumerate() {
            let end = start + length as usize;
            let id = pack.id(piece);
            ask_for_ends(piece + FAR_AHEAD);
            ask_for_start(piece + AHEAD);
            self.write_tokens(pack, options, piece, start..end);
            if options.attention == Attention::Document {
                count_from(0, &mut self.position_ids[start..end]);
                number += i32::from(id != PADDING);
                if let Some(ids) = &mut self.segment_ids {
                    ids[start..end].fill(if id == PADDING { 0 } else { number });
                }
                if let Some(index) = &mut self.seq_idx {
                    index[start..end].fill(segment);
                }
                segment += 1;
            }
            if let Some(weights) = &mut self.loss_weights {
                write_weights(
                    &mut weights[start..end],
                    &self.labels[start..end],
                    options.loss_weights,
                    options.step_total,
                );
            }
            start = end;
        }
        if options.attention == Attention::Pack {
            count_from(0, &mut self.position_ids[..start]);
            number = 1;
            if let Some(ids) = &mut self.segment_ids {
                ids[..start].fill(1);
            }
            if let Some(index) = &mut self.seq_idx {
                index[..start].fill(first);
            }
            segment += 1;
        }
        (number, segment)
    }

    /// Write the padding behind the pack's tokens.
    fn write_padding(&mut self, tokens: usize, options: &BatchOptions, number: i32, segment: i32) {
        self.input_ids[tokens..].fill(options.pad_token_id);
        self.labels[tokens..].fill(NO_LOSS);
        let joins = options.padding_joins && tokens > 0;
        let next = self.position_ids[..tokens].last().map_or(0, |&position| position + 1);
        count_from(if options.positions_run_on { next } else { 0 }, &mut self.position_ids[tokens..]);
        if let Some(ids) = &mut self.segment_ids {
            ids[tokens..].fill(if joins { number } else { 0 });
        }
        if let Some(index) = &mut self.seq_idx {
            index[tokens..].fill(if joins { segment - 1 } else { segment });
        }
        if let Some(weights) = &mut self.loss_weights {
            weights[tokens..].fill(0.0);
        }
    }
}

fn count_from(start: i64, out: &mut [i64]) {
    for (position, number) in out.iter_mut().zip(start..) {
        *position = number;
    }
}

fn take<'a, T>(slice: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(slice).split_at_mut(length);
    *slice = tail;
    head
}
