//! Which tokens of a pack attend to each other.

use crate::names::named;

/// Which tokens of its pack a token attends to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attention {
    /// The tokens before it in its own segment. Positions restart in every segment.
    #[default]
    Document,
    /// All tokens before it in the pack. Positions run through the pack.
    Pack,
}

named!(Attention, "attention", Document => "document", Pack => "pack");
