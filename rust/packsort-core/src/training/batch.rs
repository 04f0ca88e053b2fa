//! The arrays of a training step, filled in place.

use rayon::prelude::*;

use crate::Error;

/// No loss is taken where a label has this value (PyTorch's `ignore_index`).
pub const NO_LOSS: i64 = -100;

/// The `sequence_ids` of a piece that is padding; any negative id says that a piece is filler, of no sequence.
pub const PADDING: i64 = -1;

/// Tokens from which a second thread pays; a smaller batch touches no thread pool.
pub const PARALLEL_FROM: usize = 1 << 17;

/// One pack as a shard holds it.
#[derive(Clone, Copy, Debug)]
pub struct PackView<'a> {
    /// Tokens.
    pub input_ids: &'a [i32], // (tokens,)
    /// Labels, unshifted; the tokens themselves where there are none.
    pub labels: Option<&'a [i32]>, // (tokens,)
    /// Tokens of each piece; they sum to `tokens`.
    pub seq_lengths: &'a [i32], // (pieces,)
    /// The sequence of each piece, negative for filler; without them, no piece is filler.
    pub sequence_ids: Option<&'a [i64]>, // (pieces,)
}

impl PackView<'_> {
    fn id(&self, piece: usize) -> i64 {
        self.sequence_ids.map_or(0, |ids| ids[piece])
    }

    fn check(&self) -> Result<(), Error> {
        let sum: i64 = self.seq_lengths.iter().map(|&l| i64::from(l)).sum();
        if sum != self.input_ids.len() as i64 || self.seq_lengths.iter().any(|&l| l < 1) {
            return Err(Error::Inconsistent("a pack's seq_lengths do not add up to its tokens"));
        }
        if self.labels.is_some_and(|l| l.len() != self.input_ids.len()) {
            return Err(Error::Inconsistent("a pack has another number of labels than of tokens"));
        }
        if self.sequence_ids.is_some_and(|ids| ids.len() != self.seq_lengths.len()) {
            return Err(Error::Inconsistent("a pack has another number of sequence_ids than of seq_lengths"));
        }
        Ok(())
    }
}

/// Which token a label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The token at the same place; [`NO_LOSS`] at the first of each piece, which nothing predicts.
    Unshifted,
    /// The next token of the piece; [`NO_LOSS`] at its last.
    Shifted,
    /// As `Shifted`, but always a token: `loss_mask` says where loss is taken.
    Masked,
}

/// How packs become rows.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Which token a label is.
    pub labels: Labels,
    /// Tokens see all of their pack before them, and positions run on in it.
    pub whole_pack: bool,
    /// Tokens to which each pack is padded; 0 pads none.
    pub row: usize,
    /// The token that padding is of.
    pub pad_token: i64,
    /// Padding belongs to the piece before it.
    pub padding_joins: bool,
    /// Positions run on from the piece before into padding.
    pub positions_run_on: bool,
    /// `seq_idx` counts from 0 in each pack, not in the batch.
    pub count_by_pack: bool,
}

/// How much the tokens of a sequence with `n` trained tokens weigh in the loss of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Each trained token alike.
    Token,
    /// Each sequence alike: its tokens share its weight.
    Sample,
    /// Each sequence by the square root of its trained tokens.
    Sqrt,
}

impl Scheme {
    /// What a sequence weighs, unnormalised.
    fn sequence(self, trained: usize) -> f64 {
        match self {
            Scheme::Token => trained as f64,
            Scheme::Sample => f64::from(trained > 0),
            Scheme::Sqrt => (trained as f64).sqrt(),
        }
    }
}

/// Where the arrays of a batch go; packs one after another, each `row` long if that is given.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Tokens.
    pub input_ids: &'a mut [i64], // (tokens,)
    /// Labels.
    pub labels: &'a mut [i64], // (tokens,)
    /// Position of each token in its segment.
    pub position_ids: &'a mut [i64], // (tokens,)
    /// 1 where loss is taken, else 0.
    pub loss_mask: Option<&'a mut [f32]>, // (tokens,)
    /// Weight of each token in the loss; 0 where none is taken.
    pub loss_weights: Option<&'a mut [f32]>, // (tokens,)
    /// Segment of each token in its pack, from 1; 0 for padding.
    pub segment_ids: Option<&'a mut [i32]>, // (tokens,)
    /// Segment of each token, from 0, padding counted like any other.
    pub seq_idx: Option<&'a mut [i32]>, // (tokens,)
    /// Where each segment starts, and then, as often as there is room, the end of the last.
    pub cu_seqlens: &'a mut [i32], // (segments + 1 or more,)
    /// As `cu_seqlens`, as if there were no filler. Only if given, filler is part of the segment before it.
    pub unpadded: Option<&'a mut [i32]>, // as long as `cu_seqlens`
}

/// What filling a batch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Segments: what attends to itself only.
    pub segments: usize,
    /// Tokens of the longest.
    pub longest: i32,
}

/// Fills a batch.
///
/// `weights` has the scheme of `loss_weights` and what they are divided by: [`step_total`] of the whole step.
///
/// # Errors
/// Packs whose columns do not fit each other or whose tokens do not fit a row; places of another size than the packs
/// need.
pub fn fill(packs: &[PackView], style: &Style, weights: (Scheme, f64), batch: Batch) -> Result<Filled, Error> {
    packs.iter().try_for_each(PackView::check)?;
    if style.row > 0 && packs.iter().any(|p| p.input_ids.len() > style.row) {
        return Err(Error::Inconsistent("a pack has more tokens than a row"));
    }
    let width = |pack: &PackView| if style.row > 0 { style.row } else { pack.input_ids.len() };
    let tokens = packs.iter().map(width).sum::<usize>();
    let optional = [&batch.loss_mask, &batch.loss_weights].map(|o| o.as_ref().map_or(tokens, |s| s.len()));
    let numbers = [&batch.segment_ids, &batch.seq_idx].map(|o| o.as_ref().map_or(tokens, |s| s.len()));
    if [batch.input_ids.len(), batch.labels.len(), batch.position_ids.len()] != [tokens; 3]
        || optional != [tokens; 2]
        || numbers != [tokens; 2]
        || tokens > i32::MAX as usize
    {
        return Err(Error::Inconsistent("the batch's arrays are not as long as its packs need"));
    }
    let (filled, firsts) = list_segments(packs, style, batch.cu_seqlens, batch.unpadded)?;

    let (mut ids, mut labels, mut positions) = (batch.input_ids, batch.labels, batch.position_ids);
    let (mut mask, mut weight) = (batch.loss_mask, batch.loss_weights);
    let (mut segment, mut index) = (batch.segment_ids, batch.seq_idx);
    let mut work = Vec::with_capacity(packs.len());
    for (pack, first) in packs.iter().zip(firsts) {
        let n = width(pack);
        let row = Row {
            input_ids: take(&mut ids, n),
            labels: take(&mut labels, n),
            position_ids: take(&mut positions, n),
            loss_mask: mask.as_mut().map(|s| take(s, n)),
            loss_weights: weight.as_mut().map(|s| take(s, n)),
            segment_ids: segment.as_mut().map(|s| take(s, n)),
            seq_idx: index.as_mut().map(|s| take(s, n)),
        };
        work.push((pack, row, if style.count_by_pack { 0 } else { first }));
    }
    let one = |(pack, row, first): (&PackView, Row, i32)| fill_row(pack, style, weights, row, first);
    if tokens < PARALLEL_FROM {
        work.into_iter().for_each(one);
    } else {
        work.into_par_iter().for_each(one);
    }
    Ok(filled)
}

/// What the loss weights of a step are divided by: the sum over the sequences of its packs.
///
/// # Errors
/// Packs whose columns do not fit each other.
pub fn step_total(packs: &[PackView], scheme: Scheme) -> Result<f64, Error> {
    packs.iter().try_for_each(PackView::check)?;
    let total = |pack: &PackView| -> f64 {
        let labels = pack.labels.unwrap_or(pack.input_ids);
        let mut first = 0;
        let mut sum = 0.0;
        for (piece, &length) in pack.seq_lengths.iter().enumerate() {
            let end = first + length as usize;
            if pack.id(piece) >= 0 {
                sum += scheme.sequence(labels[first + 1..end].iter().filter(|&&l| i64::from(l) != NO_LOSS).count());
            }
            first = end;
        }
        sum
    };
    Ok(packs.iter().map(total).sum())
}

/// Fills the starts of segments; returns how many there are, and the first of each pack.
fn list_segments(
    packs: &[PackView],
    style: &Style,
    cu_seqlens: &mut [i32],
    mut unpadded: Option<&mut [i32]>,
) -> Result<(Filled, Vec<i32>), Error> {
    const ROOM: Error = Error::Inconsistent("the batch has more segments than its cu_seqlens have room for");
    if cu_seqlens.is_empty() || unpadded.as_ref().is_some_and(|u| u.len() != cu_seqlens.len()) {
        return Err(ROOM);
    }
    let merge = unpadded.is_some();
    let (mut count, mut end, mut real) = (0, 0, 0); // segments, tokens, tokens that are not filler
    cu_seqlens[0] = 0;
    if let Some(unpadded) = unpadded.as_deref_mut() {
        unpadded[0] = 0;
    }
    let mut add = |length: i32, filler: bool, joins: bool| {
        end += length;
        real += if filler { 0 } else { length };
        if !joins || count == 0 {
            count += 1;
        }
        *cu_seqlens.get_mut(count).ok_or(ROOM)? = end;
        if let Some(unpadded) = unpadded.as_deref_mut() {
            unpadded[count] = real;
        }
        Ok(count as i32 - 1)
    };
    let mut firsts = Vec::with_capacity(packs.len());
    let mut last = -1;
    for pack in packs {
        let tokens = pack.input_ids.len();
        let before = last;
        if style.whole_pack {
            last = add(tokens as i32, false, false)?;
            firsts.push(last);
        } else {
            for (piece, &length) in pack.seq_lengths.iter().enumerate() {
                let filler = pack.id(piece) < 0;
                last = add(length, filler, filler && merge)?;
                if piece == 0 {
                    firsts.push(last);
                }
            }
            if pack.seq_lengths.is_empty() {
                firsts.push(before + 1);
            }
        }
        if style.row > tokens {
            last = add((style.row - tokens) as i32, true, merge || (style.padding_joins && tokens > 0))?;
        }
    }
    let longest = cu_seqlens[..=count].windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
    cu_seqlens[count + 1..].fill(end);
    if let Some(unpadded) = unpadded {
        unpadded[count + 1..].fill(real);
    }
    Ok((Filled { segments: count, longest }, firsts))
}

/// The places of one pack.
struct Row<'a> {
    input_ids: &'a mut [i64],
    labels: &'a mut [i64],
    position_ids: &'a mut [i64],
    loss_mask: Option<&'a mut [f32]>,
    loss_weights: Option<&'a mut [f32]>,
    segment_ids: Option<&'a mut [i32]>,
    seq_idx: Option<&'a mut [i32]>,
}

fn fill_row(pack: &PackView, style: &Style, weights: (Scheme, f64), mut row: Row, first: i32) {
    let tokens = pack.input_ids.len();
    copy(&mut row.input_ids[..tokens], pack.input_ids);
    row.input_ids[tokens..].fill(style.pad_token);

    let labels = pack.labels.unwrap_or(pack.input_ids);
    if style.labels == Labels::Unshifted {
        copy(&mut row.labels[..tokens], labels);
    } else {
        copy(&mut row.labels[..tokens.saturating_sub(1)], labels.get(1..).unwrap_or(&[]));
    }
    row.labels[tokens..].fill(NO_LOSS);

    let (mut start, mut segment, mut number) = (0, first, 0); // number: from 1, of pieces that are not padding
    for (piece, &length) in pack.seq_lengths.iter().enumerate() {
        let end = start + length as usize;
        let id = pack.id(piece);
        if id < 0 {
            row.labels[start..end].fill(NO_LOSS);
        } else if style.labels == Labels::Unshifted {
            row.labels[start] = NO_LOSS;
        } else {
            row.labels[end - 1] = NO_LOSS;
        }
        if !style.whole_pack {
            count_from(0, &mut row.position_ids[start..end]);
            number += i32::from(id != PADDING);
            if let Some(ids) = &mut row.segment_ids {
                ids[start..end].fill(if id == PADDING { 0 } else { number });
            }
            if let Some(index) = &mut row.seq_idx {
                index[start..end].fill(segment);
            }
            segment += 1;
        }
        if let Some(out) = &mut row.loss_weights {
            weigh(&mut out[start..end], &row.labels[start..end], weights);
        }
        start = end;
    }
    if style.whole_pack {
        count_from(0, &mut row.position_ids[..tokens]);
        number = 1;
        if let Some(ids) = &mut row.segment_ids {
            ids[..tokens].fill(1);
        }
        if let Some(index) = &mut row.seq_idx {
            index[..tokens].fill(first);
        }
        segment += 1;
    }

    let joins = style.padding_joins && tokens > 0;
    let next = row.position_ids[..tokens].last().map_or(0, |&p| p + 1);
    count_from(if style.positions_run_on { next } else { 0 }, &mut row.position_ids[tokens..]);
    if let Some(ids) = &mut row.segment_ids {
        ids[tokens..].fill(if joins { number } else { 0 });
    }
    if let Some(index) = &mut row.seq_idx {
        index[tokens..].fill(if joins { segment - 1 } else { segment });
    }
    if let Some(out) = &mut row.loss_weights {
        out[tokens..].fill(0.0);
    }
    if let Some(mask) = &mut row.loss_mask {
        for (mask, &label) in mask.iter_mut().zip(&*row.labels) {
            *mask = f32::from(u8::from(label != NO_LOSS));
        }
    }
    if style.labels == Labels::Masked {
        // where no loss is taken: the next token of the row, and behind the last, padding
        let next = row.input_ids.get(1..).unwrap_or(&[]);
        for (label, &next) in row.labels.iter_mut().zip(next) {
            *label = if *label == NO_LOSS { next } else { *label };
        }
        if let Some(label) = row.labels.last_mut() {
            *label = style.pad_token;
        }
    }
}

/// Weights of one piece.
fn weigh(out: &mut [f32], labels: &[i64], (scheme, total): (Scheme, f64)) {
    let trained = labels.iter().filter(|&&label| label != NO_LOSS).count();
    let weight = if trained == 0 { 0.0 } else { scheme.sequence(trained) / trained as f64 / total };
    for (out, &label) in out.iter_mut().zip(labels) {
        *out = if label == NO_LOSS { 0.0 } else { weight as f32 };
    }
}

fn copy(to: &mut [i64], from: &[i32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from.into();
    }
}

fn count_from(start: i64, out: &mut [i64]) {
    for (position, number) in out.iter_mut().zip(start..) {
        *position = number;
    }
}

fn take<'a, T>(slice: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(slice).split_at_mut(n);
    *slice = tail;
    head
}
