//! Weigh the tokens of a step in its loss.

use crate::Error;
use crate::names::named;
use crate::training::batch::NO_LOSS;
use crate::training::batch::pack::{PackView, check_all};

/// Weight of each sequence in the loss of a step. The tokens of a sequence that carry loss share its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LossWeights {
    /// By its number of tokens with loss: every such token weighs the same.
    #[default]
    Token,
    /// Every sequence weighs the same.
    Sample,
    /// By the square root of its number of tokens with loss.
    Sqrt,
}

named!(LossWeights, "loss_weights", Token => "token", Sample => "sample", Sqrt => "sqrt");

impl LossWeights {
    /// The weight of a sequence with this many tokens that carry loss, before it is divided by the step's total.
    fn of_sequence(self, with_loss: usize) -> f64 {
        match self {
            Self::Token => with_loss as f64,
            Self::Sample => f64::from(with_loss > 0),
            Self::Sqrt => (with_loss as f64).sqrt(),
        }
    }
}

/// Add up the weights of all sequences of a step: the total that loss weights are divided by.
///
/// # Errors
/// A pack whose columns contradict each other.
///
/// # Complexity
/// O(tokens).
///
/// # Examples
/// ```
/// use packsort_core::batch::{LossWeights, PackView, Tokens, step_total};
///
/// let input_ids = Tokens::Whole(&[5, 6, 7, 8, 9]);
/// let pack = PackView { input_ids, labels: None, seq_lengths: &[3, 2], sequence_ids: None };
/// // The first token of a sequence carries no loss: 2 + 1 tokens are left.
/// assert_eq!(step_total(&[pack], LossWeights::Token)?, 3.0);
/// assert_eq!(step_total(&[pack], LossWeights::Sample)?, 2.0);
/// # Ok::<(), packsort_core::Error>(())
/// ```
pub fn step_total(packs: &[PackView], weights: LossWeights) -> Result<f64, Error> {
    check_all(packs)?;
    let total = |pack: &PackView| -> f64 {
        let labels = pack.labels();
        let mut start = 0;
        let mut sum = 0.0;
        for (segment, &length) in pack.seq_lengths.iter().enumerate() {
            let end = start + length as usize;
            if pack.id(segment) >= 0 {
                let with_loss = labels.of_segment(segment, start..end).count_others(1, NO_LOSS);
                sum += weights.of_sequence(with_loss);
            }
            start = end;
        }
        sum
    };
    Ok(packs.iter().map(total).sum())
}

/// Write the loss weights of one segment's tokens, whose labels are written.
pub(super) fn write_weights(out: &mut [f32], labels: &[i64], weights: LossWeights, step_total: f64) {
    let with_loss = labels.iter().filter(|&&label| label != NO_LOSS).count();
    let weight = if with_loss == 0 { 0.0 } else { weights.of_sequence(with_loss) / with_loss as f64 / step_total };
    for (out, &label) in out.iter_mut().zip(labels) {
        *out = if label == NO_LOSS { 0.0 } else { weight as f32 };
    }
}
