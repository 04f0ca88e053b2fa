//! Options of a plan.

use crate::names::named;
use crate::{Error, Room};

/// The options of a plan, under the names and with the values they have in Python.
///
/// # Examples
/// ```
/// use packsort_core::{Options, Overlong};
///
/// let options = Options { overlong: Overlong::Truncate, max_sequences: Some(8), ..Options::new(4096) };
/// assert_eq!(options.strategy.as_str(), "ffd");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most tokens a pack may hold: 1 to `i32::MAX`.
    pub max_length: u32,
    /// Rule that puts sequences into packs.
    pub strategy: Strategy,
    /// Treatment of sequences longer than `max_length`.
    pub overlong: Overlong,
    /// The side on which [`Overlong::Truncate`] removes tokens.
    pub truncation_side: TruncationSide,
    /// Treatment of sequences of no tokens.
    pub empty: EmptySequences,
    /// The most sequences a pack may hold; `None` for any number. Where packs can reach it, `FirstFit`, `BestFit` and
    /// `Hybrid` put short sequences beside long ones if that takes fewer packs.
    pub max_sequences: Option<u32>,
    /// Every sequence occupies a multiple of this many tokens, padding included: 1 to `max_length`.
    pub pad_to_multiple_of: u32,
    /// The number of packs is a multiple of this: 1 or more.
    pub num_packs_multiple_of: u32,
    /// Whether packs have room for a separator token between any two sequences.
    pub separator: bool,
    /// The most sequences that [`Strategy::InOrder`] takes another past; no other strategy reads it.
    pub window: u32,
}

/// The window of [`Strategy::InOrder`] where none is chosen.
pub const DEFAULT_WINDOW: u32 = 64;

impl Options {
    /// First-fit decreasing of whole sequences, without constraints.
    pub fn new(max_length: u32) -> Self {
        Self {
            max_length,
            strategy: Strategy::FirstFit,
            overlong: Overlong::Error,
            truncation_side: TruncationSide::Right,
            empty: EmptySequences::Error,
            max_sequences: None,
            pad_to_multiple_of: 1,
            num_packs_multiple_of: 1,
            separator: false,
            window: DEFAULT_WINDOW,
        }
    }

    /// The room of a pack, and the room sequences take of it.
    ///
    /// # Errors
    /// A `max_length` outside 1 to `i32::MAX`; a `pad_to_multiple_of` outside 1 to `max_length`.
    pub fn room(&self) -> Result<Room, Error> {
        Room::new(self.max_length, self.pad_to_multiple_of, self.separator)
    }

    /// Check all options; returns the room of a pack.
    pub(crate) fn check(&self) -> Result<Room, Error> {
        if self.max_sequences == Some(0) {
            return Err(Error::Zero { option: "max_sequences" });
        }
        if self.num_packs_multiple_of == 0 {
            return Err(Error::Zero { option: "num_packs_multiple_of" });
        }
        if self.strategy == Strategy::Random {
            let given = [
                ("max_sequences", self.max_sequences.is_some()),
                ("pad_to_multiple_of", self.pad_to_multiple_of > 1),
                ("num_packs_multiple_of", self.num_packs_multiple_of > 1),
                ("separator", self.separator),
            ];
            if let Some((option, _)) = given.into_iter().find(|&(_, given)| given) {
                return Err(Error::Clash { option, strategy: self.strategy.as_str() });
            }
        }
        self.room()
    }

    /// The most sequences a pack may hold, as a number.
    pub(crate) fn most_sequences(&self) -> u64 {
        self.max_sequences.map_or(u64::MAX, u64::from)
    }
}

/// Rule that puts sequences into packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// First-fit decreasing: longest first, into the first open pack with room.
    FirstFit,
    /// Best-fit decreasing: longest first, into the open pack with the least room that is enough.
    BestFit,
    /// First-fit decreasing; where it saves packs, splittable sequences are cut to fill the room that is left.
    Hybrid,
    /// One sequence in each pack.
    Padding,
    /// Sequences in random order, concatenated and cut at `max_length`.
    Random,
    /// Next-fit in input order: a sequence that does not fit the open pack is passed over, up to
    /// [`window`](Options::window) of them, and what follows and fits is taken forward; then the pack is closed. Packs
    /// come in the order of their first sequences.
    InOrder,
    /// The fewest packs that are found. [`Plan::new`](crate::Plan::new) starts with first-fit decreasing, and
    /// [`optimal`](crate::optimal) has the parts of the search for fewer packs.
    Optimal,
    /// Packs that the caller made. Such a plan comes from [`Plan::from_parts`](crate::Plan::from_parts) alone.
    Given,
}

impl Strategy {
    /// Whether packs keep their sequences in every epoch: only the order of the packs is shuffled.
    pub(crate) fn keeps_packs(self) -> bool {
        matches!(self, Self::InOrder | Self::Given)
    }
}

named!(Strategy, "strategy",
    FirstFit => "ffd",
    BestFit => "bfd",
    Hybrid => "hybrid",
    Padding => "padding",
    Random => "random",
    InOrder => "in_order",
    Optimal => "optimal",
    Given => "given",
);

/// Treatment of sequences longer than `max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlong {
    /// Refuse the lengths, naming the first such sequence.
    Error,
    /// Leave the sequence out.
    Drop,
    /// Keep `max_length` tokens.
    Truncate,
    /// Cut the sequence into pieces of `max_length` tokens and a rest.
    Split,
}

named!(Overlong, "overlong",
    Error => "error",
    Drop => "drop",
    Truncate => "truncate",
    Split => "split",
);

/// The side on which truncation removes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruncationSide {
    /// Keep the first tokens.
    Right,
    /// Keep the last tokens.
    Left,
}

named!(TruncationSide, "truncation_side",
    Right => "right",
    Left => "left",
);

/// Treatment of sequences of no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptySequences {
    /// Refuse the lengths, naming the first such sequence.
    Error,
    /// Leave the sequence out.
    Drop,
}

named!(EmptySequences, "empty",
    Error => "error",
    Drop => "drop",
);
