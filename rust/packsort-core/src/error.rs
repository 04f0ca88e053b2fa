//! Errors, as data: what went wrong, where, what was found and what was expected.

use std::fmt;

/// Why sequences cannot be planned, gathered, batched or scheduled.
///
/// Variants that name a length, a source or an option blame what the caller passed. [`Error::DamagedPlan`],
/// [`Error::DamagedPack`], [`Error::DamagedColumn`], [`Error::DamagedLevels`] and [`Error::DamagedValues`] blame data
/// that was read from a file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// `max_length` is below 1 or does not fit an `i32`.
    MaxLength(i64),
    /// A sequence has a length below 1.
    NotPositive {
        /// Row of the sequence.
        row: u64,
        /// Its length.
        length: i64,
    },
    /// A sequence is longer than `max_length`.
    TooLong {
        /// Row of the sequence.
        row: u64,
        /// Its length.
        length: u64,
        /// The limit.
        max_length: u32,
    },
    /// A sequence is longer than the largest multiple of `pad_to_multiple_of` in `max_length`.
    TooLongForMultiple {
        /// Row of the sequence.
        row: u64,
        /// Its length.
        length: u64,
        /// The limit.
        max_length: u32,
        /// `pad_to_multiple_of`.
        multiple: u32,
    },
    /// A sequence is longer than any table of lengths packsort builds.
    Unplannable {
        /// Row of the sequence.
        row: u64,
        /// Its length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// Counted sequences are longer than a pack.
    CountedTooLong {
        /// Number of them.
        sequences: u64,
        /// Tokens of the longest.
        longest: u64,
        /// The limit.
        limit: u64,
    },
    /// Counted sequences have no tokens.
    CountedEmpty {
        /// Number of them.
        sequences: u64,
    },
    /// An option needs more than the counts of lengths.
    NotOfCounts {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// A plan that was made from lengths was asked for what plans made from counts tell.
    NotCounted,
    /// There are more sequences of a length than were counted.
    MoreThanCounted {
        /// The length.
        length: u64,
    },
    /// A number is not that of a planned sequence.
    NoSuchSequence {
        /// The number.
        number: i64,
        /// Number of planned sequences.
        sequences: u64,
    },
    /// Lengths are others than when they were first read: another thread writes to them.
    LengthsChanged,
    /// The system has no memory for something.
    OutOfMemory {
        /// What was to be stored.
        what: &'static str,
        /// Size of all of it.
        bytes: u64,
    },
    /// `pad_to_multiple_of` is below 1 or above `max_length`.
    PadMultiple {
        /// `pad_to_multiple_of`.
        multiple: u32,
        /// `max_length`.
        max_length: u32,
    },
    /// An option does not go with a strategy.
    Clash {
        /// Name of the option.
        option: &'static str,
        /// Name of the strategy.
        strategy: &'static str,
    },
    /// There are fewer sequences than packs asked for by `num_packs_multiple_of`.
    TooFewSequences {
        /// Number of sequences.
        sequences: u64,
        /// Number of packs needed.
        packs: u64,
        /// `num_packs_multiple_of`.
        multiple: u64,
    },
    /// Something is more than a limit of the implementation.
    TooMany {
        /// Name of the things counted.
        what: &'static str,
        /// Number found.
        found: u64,
        /// Largest number possible.
        limit: u64,
    },
    /// An array has another number of elements than it needs.
    ArrayLength {
        /// Name of the array.
        array: &'static str,
        /// Number of its elements.
        found: u64,
        /// Number needed.
        expected: u64,
    },
    /// The group of a sequence is not below the number of groups.
    NoSuchGroup {
        /// The group.
        group: u64,
        /// Number of groups.
        groups: u64,
    },
    /// The starts of a sequence's pieces do not begin with 0, do not ascend, or lie outside the sequence.
    PieceStarts {
        /// Row of the sequence.
        row: u64,
    },
    /// A piece is longer than a pack.
    PieceTooLong {
        /// Row of the sequence.
        row: u64,
        /// First token of the piece.
        start: u32,
        /// Tokens of the piece.
        length: u64,
        /// The limit.
        max_length: u32,
    },
    /// A sequence id is not a row of the column.
    NoSuchRow {
        /// The id.
        row: i64,
        /// Number of rows.
        rows: u64,
    },
    /// A piece ends outside its row.
    PieceOutside {
        /// The row.
        row: i64,
        /// First token of the piece.
        start: i64,
        /// Tokens of the piece.
        length: i64,
        /// Tokens of the row.
        found: u64,
    },
    /// The levels of a list column end too early, or tell of something that no list is.
    DamagedLevels,
    /// A page of Parquet holds fewer values than it says, or values that its dictionary does not have.
    DamagedValues,
    /// A column of Parquet holds nulls, or is stored in a way that is not known here.
    NotPlainLists,
    /// The offsets of a list column point outside its values, are negative, or descend.
    DamagedColumn {
        /// The first such row.
        row: u64,
    },
    /// A pack's columns contradict each other.
    DamagedPack {
        /// Number of the pack among those given.
        pack: u64,
        /// The contradiction.
        fault: PackFault,
    },
    /// A pack has more tokens than a row of the batch.
    PackTooLong {
        /// Number of the pack among those given.
        pack: u64,
        /// Tokens of the pack.
        tokens: u64,
        /// Tokens of a row.
        row_length: u64,
    },
    /// Segments do not start at the rows of a batch, or do not fill them.
    SegmentEnds {
        /// The first row that is not filled.
        row: u64,
        /// Tokens of a row.
        row_length: u64,
    },
    /// The offsets of packs descend or point outside the lengths.
    PackOffsets {
        /// The first such pack.
        pack: u64,
    },
    /// The cost of a pack is negative or not finite.
    Cost {
        /// The first such pack.
        pack: u64,
        /// Its cost.
        cost: f64,
    },
    /// Sizes do not ascend from 1 up to the capacity of a pack.
    Sizes {
        /// The first size out of place.
        index: u64,
    },
    /// A number must be at least 1 and is 0.
    Zero {
        /// Name of the number.
        option: &'static str,
    },
    /// Patterns found for a group do not hold its sequences.
    Patterns(PlanFault),
    /// The parts of a plan contradict each other.
    DamagedPlan(PlanFault),
}

/// A contradiction between the columns of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackFault {
    /// The lengths of pieces are not all positive, or do not add up to the tokens.
    SeqLengths {
        /// Sum of the lengths.
        sum: i64,
        /// Tokens of the pack.
        tokens: u64,
    },
    /// A column has another number of values than it needs.
    Column {
        /// Name of the column.
        column: &'static str,
        /// Number of its values.
        found: u64,
        /// Name of the column it belongs to.
        of: &'static str,
        /// Number of values of that column.
        expected: u64,
    },
}

/// A contradiction between the parts of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanFault {
    /// Two arrays that describe the same things have different lengths.
    ArrayLength {
        /// Name of the array.
        array: &'static str,
        /// Number of its elements.
        found: u64,
        /// Number expected.
        expected: u64,
    },
    /// An array does not ascend, or an element is out of range.
    OutOfOrder {
        /// Name of the array.
        array: &'static str,
        /// The first element out of place.
        index: u64,
    },
    /// A pattern repeats zero times, or holds zero copies of a class or a class that is not there.
    Slot {
        /// The pattern.
        pattern: u64,
    },
    /// A pattern takes more room than a pack has.
    OverFull {
        /// The pattern.
        pattern: u64,
        /// Room the pattern takes.
        taken: u64,
        /// Room of a pack.
        capacity: u64,
    },
    /// A pattern mixes groups, or comes after a pattern of a later group.
    Groups {
        /// The pattern.
        pattern: u64,
    },
    /// Patterns hold another number of sequences of a class than the class has.
    Sequences {
        /// The class.
        class: u64,
        /// Number of sequences in patterns.
        found: u64,
        /// Number of sequences of the class.
        expected: u64,
    },
    /// A pattern holds more sequences of a size than are left.
    Short {
        /// The pattern.
        pattern: u64,
    },
    /// A sequence id is not below the number of sequences and pieces.
    NoSuchId {
        /// The id.
        id: u64,
        /// Number of sequences and pieces.
        limit: u64,
    },
    /// A sequence id occurs twice.
    IdTwice {
        /// The id.
        id: u64,
    },
    /// A piece of a cut sequence is not planned.
    PieceLost {
        /// Row of the sequence.
        row: u64,
    },
    /// A proven bound is above the number of packs.
    Bound {
        /// The bound.
        bound: u64,
        /// Number of packs.
        packs: u64,
    },
    /// A count is more than 64 bits hold.
    Overflow,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MaxLength(found) => write!(f, "max_length must be between 1 and {}, got {found}", i32::MAX),
            Self::NotPositive { row, length } => {
                write!(f, "sequence {row} has length {length}; every length must be at least 1")?;
                if length == 0 { write!(f, ": pass empty='drop' to leave empty sequences out") } else { Ok(()) }
            }
            Self::TooLong { row, length, max_length } => {
                write!(f, "sequence {row} has {length} tokens, more than max_length {max_length}")
            }
            Self::TooLongForMultiple { row, length, max_length, multiple } => {
                let longest = max_length / multiple * multiple;
                write!(
                    f,
                    "sequence {row} has {length} tokens, more than {longest}, the largest multiple of {multiple} in \
                     max_length {max_length}"
                )
            }
            Self::Unplannable { row, length, limit } => {
                write!(f, "sequence {row} has {length} tokens; packsort plans sequences of up to {limit} tokens")
            }
            Self::CountedTooLong { sequences, longest, limit } => {
                let are = if sequences == 1 { "sequence is" } else { "sequences are" };
                write!(f, "{sequences} {are} longer than {limit} tokens; the longest has {longest}")
            }
            Self::CountedEmpty { sequences } => {
                let have = if sequences == 1 { "sequence has" } else { "sequences have" };
                write!(f, "{sequences} {have} length 0: pass empty='drop' to leave empty sequences out")
            }
            Self::NotOfCounts { option, value } => {
                write!(f, "{option}='{value}' needs all lengths in order, not their counts: plan the lengths")
            }
            Self::NotCounted => f.write_str("plan was made from lengths, and only one made from counts has places"),
            Self::MoreThanCounted { length } => {
                write!(f, "there are more sequences of {length} tokens than the plan counts")
            }
            Self::NoSuchSequence { number, sequences } => {
                write!(f, "number of a sequence must be between 0 and {sequences}, exclusive, got {number}")
            }
            Self::LengthsChanged => f.write_str("lengths changed while they were read: pass a copy"),
            Self::OutOfMemory { what, bytes } => write!(f, "out of memory: no {bytes} bytes for {what}"),
            Self::PadMultiple { multiple, max_length } => {
                write!(f, "pad_to_multiple_of must be between 1 and max_length {max_length}, got {multiple}")
            }
            Self::Clash { option, strategy } => write!(f, "{option} does not go with strategy '{strategy}'"),
            Self::TooFewSequences { sequences, packs, multiple } => {
                write!(f, "num_packs_multiple_of {multiple} needs {packs} packs, but there are {sequences} sequences")
            }
            Self::TooMany { what, found, limit } => write!(f, "at most {limit} {what} are possible, got {found}"),
            Self::ArrayLength { array, found, expected } => {
                write!(f, "{array} must have {expected} elements, got {found}")
            }
            Self::NoSuchGroup { group, groups } => {
                write!(f, "group must be below the number of groups {groups}, got {group}")
            }
            Self::PieceStarts { row } => {
                write!(f, "piece_starts of sequence {row} must begin with 0, ascend, and lie within the sequence")
            }
            Self::PieceTooLong { row, start, length, max_length } => {
                write!(
                    f,
                    "sequence {row} has a piece of {length} tokens at token {start}, more than max_length {max_length}"
                )
            }
            Self::NoSuchRow { row, rows } => {
                write!(f, "sequence id {row} is not a row of the column, which has {rows} rows")
            }
            Self::PieceOutside { row, start, length, found } => {
                let end = start.saturating_add(length);
                write!(f, "the plan takes tokens {start} to {end} of sequence {row}, which has {found} tokens")
            }
            Self::DamagedLevels => f.write_str("its repetition and definition levels tell of no lists"),
            Self::DamagedValues => f.write_str("a page holds other values than it says"),
            Self::NotPlainLists => f.write_str("a column holds nulls, or is stored in a way that is not known here"),
            Self::DamagedColumn { row } => write!(f, "list column is damaged: row {row} lies outside the values"),
            Self::DamagedPack { pack, fault } => write!(f, "pack {pack} of the batch is damaged: {fault}"),
            Self::PackTooLong { pack, tokens, row_length } => {
                write!(f, "pack {pack} of the batch has {tokens} tokens, more than a row's {row_length}")
            }
            Self::SegmentEnds { row, row_length } => {
                write!(f, "segments must fill every row of {row_length} tokens, but they do not fill row {row}")
            }
            Self::PackOffsets { pack } => {
                write!(f, "offsets must ascend within the lengths, but those of pack {pack} do not")
            }
            Self::Cost { pack, cost } => {
                write!(f, "costs must be finite and at least 0, got {cost} for pack {pack}")
            }
            Self::Sizes { index } => {
                write!(f, "sizes must ascend from 1 up to the capacity, but size {index} does not")
            }
            Self::Zero { option } => write!(f, "{option} must be at least 1, got 0"),
            Self::Patterns(fault) => write!(f, "patterns must hold each sequence once: {fault}"),
            Self::DamagedPlan(fault) => write!(f, "plan is damaged: {fault}"),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for PackFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SeqLengths { sum, tokens } => {
                write!(f, "seq_lengths must be positive and add up to its {tokens} tokens, got a sum of {sum}")
            }
            Self::Column { column, found, of, expected } => {
                write!(f, "it has {found} {column} for {expected} {of}")
            }
        }
    }
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ArrayLength { array, found, expected } => {
                write!(f, "{array} must have {expected} elements, got {found}")
            }
            Self::OutOfOrder { array, index } => write!(f, "element {index} of {array} is out of order or of range"),
            Self::Slot { pattern } => write!(f, "pattern {pattern} has no repeats, no copies, or an unknown class"),
            Self::OverFull { pattern, taken, capacity } => {
                write!(f, "pattern {pattern} takes room {taken} of {capacity}")
            }
            Self::Groups { pattern } => write!(f, "pattern {pattern} mixes groups or follows one of a later group"),
            Self::Sequences { class, found, expected } => {
                write!(f, "patterns hold {found} sequences of class {class}, which has {expected}")
            }
            Self::Short { pattern } => write!(f, "pattern {pattern} holds more sequences of a size than are left"),
            Self::NoSuchId { id, limit } => write!(f, "sequence id {id} is not below {limit}"),
            Self::IdTwice { id } => write!(f, "sequence id {id} occurs twice"),
            Self::PieceLost { row } => write!(f, "sequence {row} is cut, but not all of its pieces are planned"),
            Self::Bound { bound, packs } => write!(f, "the lower bound {bound} is above the number of packs {packs}"),
            Self::Overflow => f.write_str("a count does not fit 64 bits"),
        }
    }
}
