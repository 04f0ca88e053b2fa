use std::fmt;

/// Why lengths cannot be planned, or tokens not gathered. The text is made when somebody reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// `max_length` is below 1 or does not fit an `i32`.
    MaxLength(i64),
    /// Sequence `row` has a length of zero or less.
    NotPositive {
        /// Index in the whole input, chunks run on.
        row: u64,
        /// What was found.
        length: i64,
    },
    /// Sequence `row` is longer than `max_length`.
    TooLong {
        /// Index in the whole input, chunks run on.
        row: u64,
        /// What was found.
        length: u64,
        /// The limit.
        max_length: u32,
    },
    /// Sequence `row` does not fit a pack in which each sequence takes a multiple.
    TooLongForMultiple {
        /// Index in the whole input, chunks run on.
        row: u64,
        /// What was found.
        length: u64,
        /// The most tokens a pack may hold.
        max_length: u32,
        /// Of what each sequence takes a multiple.
        multiple: u32,
    },
    /// A sequence would take a multiple of more than a pack holds.
    PadMultiple {
        /// Of what each sequence is to take a multiple.
        multiple: u32,
        /// The most tokens a pack may hold.
        max_length: u32,
    },
    /// Where sequence `row` is to be cut makes no sense.
    PieceStarts {
        /// Index in the whole input, chunks run on.
        row: u64,
    },
    /// A piece of sequence `row` is longer than a pack.
    PieceTooLong {
        /// Index in the whole input, chunks run on.
        row: u64,
        /// First token of the piece.
        start: u32,
        /// Tokens of the piece.
        length: u64,
        /// The limit.
        max_length: u32,
    },
    /// Sequence `row` is longer than is planned at all.
    Unplannable {
        /// Index in the whole input, chunks run on.
        row: u64,
        /// What was found.
        length: u64,
    },
    /// Not even a pack for each sequence makes the number of packs a multiple of what was asked.
    TooFewSequences {
        /// Sequences there are.
        sequences: u64,
        /// Packs there would have to be.
        packs: u64,
        /// Of what their number is to be a multiple.
        multiple: u64,
    },
    /// A sequence id is not a row of the column.
    NoSuchRow {
        /// The id asked for.
        row: i64,
        /// Rows there are.
        rows: u64,
    },
    /// A piece reaches beyond its sequence: the column is not the one that was planned.
    PieceOutside {
        /// The sequence's row.
        row: i64,
        /// First token of the piece.
        start: i64,
        /// Tokens of the piece.
        length: i64,
        /// Tokens the column has there.
        found: u64,
    },
    /// Parts that should make up a plan or a batch do not fit each other.
    Inconsistent(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MaxLength(found) => {
                write!(f, "max_length is {found}, allowed is 1 to {}", i32::MAX)
            }
            Self::NotPositive { row, length } => {
                write!(f, "sequence {row} has length {length}, allowed is 1 and more")
            }
            Self::TooLong { row, length, max_length } => {
                write!(f, "sequence {row} has {length} tokens, more than max_length {max_length}")
            }
            Self::TooLongForMultiple { row, length, max_length, multiple } => {
                let left = max_length / multiple * multiple;
                write!(
                    f,
                    "sequence {row} has {length} tokens, more than the {left} that max_length {max_length} leaves in \
                     multiples of {multiple}"
                )
            }
            Self::PadMultiple { multiple, max_length } => {
                write!(
                    f,
                    "pad_to_multiple_of is {multiple} and max_length {max_length}, allowed is 1 to {max_length}: no \
                     sequence would fit"
                )
            }
            Self::PieceStarts { row } => {
                write!(
                    f,
                    "piece_starts of sequence {row} are not allowed: they begin with 0, ascend, and lie within it"
                )
            }
            Self::PieceTooLong { row, start, length, max_length } => {
                write!(
                    f,
                    "sequence {row} has a piece of {length} tokens from token {start} on, more than max_length \
                     {max_length}"
                )
            }
            Self::Unplannable { row, length } => {
                write!(
                    f,
                    "sequence {row} has {length} tokens, packsort plans sequences of up to {}",
                    crate::histogram::count::LONGEST
                )
            }
            Self::TooFewSequences { sequences, packs, multiple } => {
                write!(
                    f,
                    "num_packs_multiple_of is {multiple}, which takes {packs} packs, but there are {sequences} sequences"
                )
            }
            Self::NoSuchRow { row, rows } => {
                write!(f, "sequence id {row} is not a row of the column, which has {rows}")
            }
            Self::PieceOutside { row, start, length, found } => {
                write!(f, "tokens {start} to {} are planned of sequence {row}, but it has {found}", start + length)
            }
            Self::Inconsistent(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
