//! Plans: which sequences share a pack, for every strategy.
//!
//! ```text
//! build          lengths and options -> Plan
//! counted        counts of lengths and options -> Plan
//! in_order       the packs of strategy `in_order`, and their items
//! packs          the packs of a plan: one, an iterator, or all of a range
//! parts          Plan <-> what a file holds
//! patterned      the content of plans made of patterns
//! group_sizes    what a search for fewer packs is given, and packs found taken back
//! items          ids by length, listed or only counted
//! places         the packs of sequences, in plans made from counts
//! list           packs of patterned plans, listed in parallel
//! shuffle        the shuffle of one epoch of a patterned plan
//! concatenated   the content of plans by strategy `random`
//! ```

pub mod build;
pub mod concatenated;
pub mod counted;
pub mod group_sizes;
mod in_order;
mod items;
mod list;
pub mod packs;
pub mod parts;
pub mod patterned;
mod places;
mod shuffle;

use std::sync::Arc;

use crate::memory::collected;
use crate::{Classes, Error, Options, Patterns};
use concatenated::Concatenated;
use patterned::Patterned;
use shuffle::Shuffle;

/// A plan: which sequences share a pack. It holds no tokens, and clones share their memory.
///
/// # Examples
/// ```
/// use packsort_core::{Lengths, Options, Plan};
///
/// let lengths = [3_u16, 5, 2, 2];
/// let plan = Plan::new(&Lengths::from(&lengths[..]).into(), Options::new(7), None, 0)?;
/// assert_eq!((plan.num_packs(), plan.lower_bound()?), (2, 2));
/// let packs: Vec<Vec<u64>> = plan.packs(0..2).map(|pack| pack.ids).collect();
/// assert_eq!(packs, [[1, 2], [0, 3]]); // 5 + 2, 3 + 2
/// # Ok::<(), packsort_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    options: Options,
    left_out: LeftOut,
    seed: Option<u64>,
    epoch: u64,
    content: Content,
}

/// The packs of a plan.
#[derive(Clone, Debug)]
enum Content {
    /// Patterns, and the shuffle of the epoch. The patterns are shared by all epochs.
    Patterned(Arc<Patterned>, Option<Arc<Shuffle>>),
    /// All sequences one after another, cut at `max_length`.
    Concatenated(Concatenated),
}

/// Sequences that were dropped or truncated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Number of sequences that are too long.
    pub sequences: u64,
    /// Number of their tokens that are not in the plan.
    pub tokens: u64,
    /// Number of sequences of no tokens.
    pub empty: u64,
}

/// Tokens of packs that belong to no sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NumFillers {
    /// Number of separators between sequences.
    pub separators: u64,
    /// Number of padding tokens that fill sequences up to a multiple.
    pub padding: u64,
}

impl Plan {
    /// Put a plan of patterns together, with the shuffle of its epoch.
    pub(crate) fn from_patterned(
        options: Options,
        left_out: LeftOut,
        seed: Option<u64>,
        epoch: u64,
        patterned: Arc<Patterned>,
    ) -> Result<Self, Error> {
        let keeps_packs = options.strategy.keeps_packs();
        let shuffle = match seed {
            None if epoch == 0 || keeps_packs => None,
            Some(seed) if keeps_packs => Some(Shuffle::of_packs(&patterned, seed, epoch)?),
            seed => Some(Shuffle::new(&patterned, seed.unwrap_or(0), epoch)?),
        };
        let shuffle = shuffle.map(Arc::new);
        Ok(Self { options, left_out, seed, epoch, content: Content::Patterned(patterned, shuffle) })
    }

    /// Shuffle for another epoch: the same packs by length, with other ids of these lengths, in another order. A plan
    /// without a seed is shuffled as by seed 0 in every epoch but epoch 0. The packs of
    /// [`InOrder`](crate::Strategy::InOrder) and [`Given`](crate::Strategy::Given) keep their ids, and without a seed
    /// their order.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(distinct lengths); O(sequences) for strategy [`Random`](crate::Strategy::Random), which concatenates anew.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Lengths, Options, Plan};
    ///
    /// let plan = Plan::new(&Lengths::from(&[4_u8, 4, 4, 3, 3, 3][..]).into(), Options::new(7), Some(1), 0)?;
    /// assert_eq!(plan.with_epoch(1)?.num_packs(), plan.num_packs());
    /// # Ok::<(), packsort_core::Error>(())
    /// ```
    pub fn with_epoch(&self, epoch: u64) -> Result<Self, Error> {
        let Self { options, left_out, seed, .. } = *self;
        match &self.content {
            Content::Patterned(patterned, _) => Self::from_patterned(options, left_out, seed, epoch, patterned.clone()),
            Content::Concatenated(concatenated) => {
                let content = Content::Concatenated(concatenated.shuffled(seed, epoch)?);
                Ok(Self { options, left_out, seed, epoch, content })
            }
        }
    }

    /// The patterns and ids of the plan; `None` for strategy `Random`.
    pub(crate) fn patterned(&self) -> Option<&Arc<Patterned>> {
        match &self.content {
            Content::Patterned(patterned, _) => Some(patterned),
            Content::Concatenated(_) => None,
        }
    }

    /// The shuffle of the epoch; `None` for a plan that is not shuffled, or not by patterns.
    fn shuffle(&self) -> Option<&Shuffle> {
        match &self.content {
            Content::Patterned(_, shuffle) => shuffle.as_deref(),
            Content::Concatenated(_) => None,
        }
    }

    /// The options the plan was made with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// The sequences that were dropped or truncated.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// The seed the plan was made with.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The epoch the plan is shuffled for.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of rows of the source, planned or not.
    pub fn num_rows(&self) -> u64 {
        match &self.content {
            Content::Patterned(patterned, _) => patterned.rows,
            Content::Concatenated(concatenated) => concatenated.num_rows(),
        }
    }

    /// Number of packs.
    pub fn num_packs(&self) -> u64 {
        match &self.content {
            Content::Patterned(patterned, _) => patterned.num_packs(),
            Content::Concatenated(concatenated) => concatenated.num_packs(),
        }
    }

    /// Number of planned sequences.
    pub fn num_sequences(&self) -> u64 {
        match &self.content {
            Content::Patterned(patterned, _) => patterned.num_sequences(),
            Content::Concatenated(concatenated) => concatenated.num_sequences(),
        }
    }

    /// Number of planned tokens.
    pub fn num_tokens(&self) -> u64 {
        match &self.content {
            Content::Patterned(patterned, _) => patterned.num_tokens,
            Content::Concatenated(concatenated) => concatenated.num_tokens(),
        }
    }

    /// Number of sequences in more than one piece.
    ///
    /// # Complexity
    /// O(pieces of cut sequences); O(sequences) for strategy [`Random`](crate::Strategy::Random).
    pub fn num_split(&self) -> u64 {
        match &self.content {
            Content::Patterned(patterned, _) => patterned.cuts.split_rows().count() as u64,
            Content::Concatenated(concatenated) => concatenated.split_rows().count() as u64,
        }
    }

    /// The rows of the sequences in more than one piece, ascending.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(pieces of cut sequences); O(sequences log sequences) for strategy [`Random`](crate::Strategy::Random).
    pub fn split_rows(&self) -> Result<Vec<u64>, Error> {
        const ROWS: &str = "rows of cut sequences";
        match &self.content {
            Content::Patterned(patterned, _) => collected(ROWS, patterned.cuts.split_rows()),
            Content::Concatenated(concatenated) => {
                let mut rows = collected(ROWS, concatenated.split_rows())?;
                rows.sort_unstable();
                Ok(rows)
            }
        }
    }

    /// Whether any piece may start after the first token of its sequence.
    pub fn has_starts(&self) -> bool {
        self.patterned().is_none_or(|patterned| patterned.has_starts())
    }

    /// Number of tokens in packs that belong to no sequence.
    ///
    /// # Complexity
    /// O(slots of all patterns).
    pub fn num_fillers(&self) -> NumFillers {
        self.patterned().map_or_else(NumFillers::default, |patterned| patterned.num_fillers())
    }

    /// A lower bound on the packs of any plan of these sequences under these constraints.
    ///
    /// The bound proven by a search, or for each group the better of [`lower_bound`](crate::lower_bound()) and the packs
    /// that `max_sequences` asks for. Where sequences are cut, the bound is for their pieces.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(max_length) for each group at the first call.
    pub fn lower_bound(&self) -> Result<u64, Error> {
        match &self.content {
            Content::Patterned(patterned, _) => patterned.lower_bound(&self.options),
            Content::Concatenated(concatenated) => Ok(concatenated.num_packs()),
        }
    }

    /// The lengths and groups of the sequences; `None` for strategy [`Random`](crate::Strategy::Random).
    pub fn classes(&self) -> Option<&Classes> {
        self.patterned().map(|patterned| &patterned.classes)
    }

    /// Which lengths share a pack, over the plan's [`classes`](Self::classes); `None` for strategy
    /// [`Random`](crate::Strategy::Random), where no two packs need be alike.
    pub fn patterns(&self) -> Option<&Patterns> {
        self.patterned().map(|patterned| &patterned.patterns)
    }
}
