//! Copy the tokens of packs out of a list column.
//!
//! Every pack is a run of pieces, and every piece is one stretch of bytes in the column. Looking up a piece needs its
//! row's offsets only, so:
//!
//! ```text
//! cut the pieces into shares, a few for each thread
//! for each share: look up its pieces, add up their bytes
//! cut the output into one slice for each share
//! for each share: copy its pieces into its slice, asking for later pieces from memory ahead of time
//! ```
//!
//! Cost: one copy of the tokens, plus 16 bytes of memory for each piece.

use rayon::prelude::*;

use crate::Error;
use crate::histogram::count::split;
use crate::ids::IdSlice;
use crate::memory::{prefetch, with_room, zeroed};
use crate::parallel::split_at_lengths;
use crate::tokens::column::{AsListChunk, ListColumn, Place};

/// The sequence id of padding.
pub const PADDING: i64 = -1;
/// The sequence id of a separator.
pub const SEPARATOR: i64 = -2;

/// The value, as bytes, that each token of padding and of separators has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fillers<'a> {
    /// Value of padding.
    pub padding: &'a [u8], // (width,)
    /// Value of separators.
    pub separator: &'a [u8], // (width,)
}

/// The pieces to gather, in the order in which they are copied.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// The sequence id of each piece.
    pub ids: IdSlice<'a>, // (pieces,)
    /// The first value of each piece in its row; `None` starts every piece at the start of its row.
    pub starts: Option<&'a [i32]>, // (pieces,)
    /// Number of values of each piece; `None` ends every piece at the end of its row.
    pub lengths: Option<&'a [i32]>, // (pieces,)
    /// Values of padding and separators; `None` refuses ids that are not rows. Padding and separators need `lengths`.
    pub fillers: Option<Fillers<'a>>,
}

impl<'a> Selection<'a> {
    /// Select whole rows.
    pub fn rows(ids: IdSlice<'a>) -> Self {
        Self { ids, starts: None, lengths: None, fillers: None }
    }
}

/// Gather pieces on all threads of the current rayon pool: their values one after another, as bytes.
///
/// The result does not depend on the number of threads.
///
/// # Errors
/// An id that is not a row; a piece that ends outside its row; offsets that point outside the values; `starts` or
/// `lengths` of another number than `ids`; a filler that is not one value.
///
/// # Complexity
/// O(pieces x log chunks + bytes copied).
///
/// # Examples
/// ```
/// use packsort_core::{IdSlice, ListChunk, ListColumn, Offsets, Selection, gather};
///
/// let chunk = ListChunk { offsets: Offsets::I32(&[0, 2, 5]), values: b"abcde" };
/// let column = ListColumn::new(vec![chunk], 1.try_into()?);
/// let rows = gather(&column, Selection::rows(IdSlice::U32(&[1, 0, 1]))).unwrap();
/// assert_eq!(rows, b"cdeabcde");
///
/// let pieces = Selection { starts: Some(&[1]), lengths: Some(&[2]), ..Selection::rows(IdSlice::U32(&[1])) };
/// assert_eq!(gather(&column, pieces).unwrap(), b"de");
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
pub fn gather<C: AsListChunk>(column: &ListColumn<C>, selection: Selection) -> Result<Vec<u8>, Error> {
    let shares = (rayon::current_num_threads() * 8).min(selection.ids.len() / MIN_PIECES + 1);
    if shares == 1 {
        return gather_serial(column, selection);
    }
    let fillers = RepeatedFillers::new(column.width(), selection)?;
    let shares = (0..shares)
        .into_par_iter()
        .map(|share| find_some(column, selection, &fillers, split(selection.ids.len(), shares, share)))
        .collect::<Result<Vec<_>, _>>()?;
    let lengths: Vec<usize> = shares.iter().map(|&(_, bytes)| bytes).collect();
    let mut out = zeroed::<u8>(TOKENS, lengths.iter().sum())?;
    let slices = split_at_lengths(&mut out, &lengths);
    shares.into_par_iter().zip(slices).for_each(|((pieces, _), mut out)| {
        for_each_prefetched(&pieces, |piece| {
            let (copy, rest) = std::mem::take(&mut out).split_at_mut(piece.len());
            copy.copy_from_slice(piece);
            out = rest;
        });
    });
    Ok(out)
}

/// Gather pieces on the calling thread, as [`gather()`] does on many.
///
/// Fast for the dozens of pieces of a batch. It touches no thread pool, so it also runs in a forked process.
///
/// # Errors
/// An id that is not a row; a piece that ends outside its row; offsets that point outside the values; `starts` or
/// `lengths` of another number than `ids`; a filler that is not one value.
///
/// # Complexity
/// O(pieces x log chunks + bytes copied).
pub fn gather_serial<C: AsListChunk>(column: &ListColumn<C>, selection: Selection) -> Result<Vec<u8>, Error> {
    let fillers = RepeatedFillers::new(column.width(), selection)?;
    let (pieces, bytes) = find_some(column, selection, &fillers, 0..selection.ids.len())?;
    let mut out = with_room(TOKENS, bytes)?;
    for_each_prefetched(&pieces, |piece| out.extend_from_slice(piece));
    Ok(out)
}

/// Pieces that were looked up once, to be read later from the same column.
#[derive(Clone, Debug)]
pub struct FoundPieces {
    places: Vec<Found>,
    fillers: RepeatedFillers,
    values: usize,
}

#[derive(Clone, Copy, Debug)]
enum Found {
    At(Place),
    Filler(i64, i32), // the id and the length
}

impl FoundPieces {
    /// Look up pieces.
    ///
    /// # Errors
    /// As [`gather()`].
    ///
    /// # Complexity
    /// O(pieces x log chunks).
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{FoundPieces, IdSlice, ListChunk, ListColumn, Offsets, Selection};
    ///
    /// let chunk = ListChunk { offsets: Offsets::I32(&[0, 2, 5]), values: b"abcde" };
    /// let column = ListColumn::new(vec![chunk], 1.try_into()?);
    /// let found = FoundPieces::new(&column, Selection::rows(IdSlice::U32(&[1, 0]))).unwrap();
    /// assert_eq!(found.values(), 5);
    /// assert_eq!(found.of(&column).unwrap(), [&b"cde"[..], b"ab"]);
    /// assert_eq!(found.gather(&column).unwrap(), b"cdeab");
    /// # Ok::<(), std::num::TryFromIntError>(())
    /// ```
    pub fn new<C: AsListChunk>(column: &ListColumn<C>, selection: Selection) -> Result<Self, Error> {
        Self::find(column, selection, |_| None)
    }

    /// Look up the same pieces in another column. Where its rows have the same offsets, in the same memory, that reads
    /// no offsets.
    ///
    /// # Arguments
    /// - `column`: the column in which these pieces were looked up.
    /// - `other`: the other column.
    /// - `selection`: the pieces, with the fillers of the other column.
    ///
    /// # Errors
    /// As [`gather()`].
    pub fn in_other<C: AsListChunk>(
        &self,
        column: &ListColumn<C>,
        other: &ListColumn<C>,
        selection: Selection,
    ) -> Result<Self, Error> {
        Self::find(other, selection, |i| match *self.places.get(i)? {
            Found::At(place) => column.place_in(other, place),
            Found::Filler(..) => None,
        })
    }

    #[inline(always)]
    fn find<C: AsListChunk>(
        column: &ListColumn<C>,
        selection: Selection,
        known: impl Fn(usize) -> Option<Place>,
    ) -> Result<Self, Error> {
        let Selection { ids, starts, lengths, .. } = selection;
        let fillers = RepeatedFillers::new(column.width(), selection)?;
        let rows = column.num_rows();
        let mut places = with_room(PIECES, ids.len())?;
        let mut bytes = 0;
        (0..ids.len()).filter(|&i| known(i).is_none()).for_each(|i| column.prefetch_row(ids.get(i)));
        for i in 0..ids.len() {
            let (id, length) = (ids.get(i), lengths.map(|lengths| lengths[i]));
            let no_such_row = Error::NoSuchRow { row: id, rows: rows as u64 };
            let piece = match usize::try_from(id) {
                Ok(row) if row < rows => {
                    let place = match known(i) {
                        Some(place) => place,
                        None => column.place(row, starts.map(|starts| starts[i]), length)?,
                    };
                    places.push(Found::At(place));
                    column.at(place).ok_or(Error::DamagedColumn { row: row as u64 })?
                }
                _ => {
                    places.push(Found::Filler(id, length.ok_or(no_such_row)?));
                    fillers.get(id, length).ok_or(no_such_row)?
                }
            };
            bytes += piece.len();
        }
        Ok(Self { places, fillers, values: bytes / column.width() })
    }

    /// Number of values of all pieces.
    pub fn values(&self) -> usize {
        self.values
    }

    /// The pieces, as bytes, in the column in which they were looked up.
    ///
    /// # Errors
    /// [`Error::DamagedColumn`] if it is another column, without them; [`Error::OutOfMemory`].
    pub fn of<'a, C: AsListChunk>(&'a self, column: &'a ListColumn<C>) -> Result<Vec<&'a [u8]>, Error> {
        let mut pieces = with_room(PIECES, self.places.len())?;
        for (i, &found) in self.places.iter().enumerate() {
            let piece = match found {
                Found::At(place) => column.at(place),
                Found::Filler(id, length) => self.fillers.get(id, Some(length)),
            };
            pieces.push(piece.ok_or(Error::DamagedColumn { row: i as u64 })?);
        }
        Ok(pieces)
    }

    /// Gather the values on the calling thread, as bytes.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn gather<C: AsListChunk>(&self, column: &ListColumn<C>) -> Result<Vec<u8>, Error> {
        let mut out = with_room(TOKENS, self.values.saturating_mul(column.width()))?;
        for_each_prefetched(&self.of(column)?, |piece| out.extend_from_slice(piece));
        Ok(out)
    }
}

const TOKENS: &str = "gathered tokens";
const PIECES: &str = "pieces to gather";

/// Fewer pieces than this are copied faster than a thread wakes up.
const MIN_PIECES: usize = 256;

/// Distance, in pieces, between the piece that is copied and the piece that is prefetched. Without prefetching a gather
/// takes a fifth longer; distances of 4 to 12 measure the same. Prefetching whole pieces is slower, and non-temporal
/// stores into fresh memory are no faster.
const AHEAD: usize = 8;

#[inline(always)]
fn for_each_prefetched<'a>(pieces: &[&'a [u8]], mut copy: impl FnMut(&'a [u8])) {
    for (i, piece) in pieces.iter().enumerate() {
        prefetch(pieces.get(i + AHEAD).copied().unwrap_or_default());
        copy(piece);
    }
}

/// Look up the pieces of a range; returns them and the sum of their bytes.
fn find_some<'a, C: AsListChunk>(
    column: &'a ListColumn<C>,
    selection: Selection,
    fillers: &'a RepeatedFillers,
    range: std::ops::Range<usize>,
) -> Result<(Vec<&'a [u8]>, usize), Error> {
    let Selection { ids, starts, lengths, .. } = selection;
    let rows = column.num_rows();
    let mut pieces = with_room(PIECES, range.len())?;
    let mut bytes = 0;
    for i in range {
        let (id, length) = (ids.get(i), lengths.map(|lengths| lengths[i]));
        let piece = match usize::try_from(id) {
            Ok(row) if row < rows => column.piece(row, starts.map(|starts| starts[i]), length)?,
            _ => fillers.get(id, length).ok_or(Error::NoSuchRow { row: id, rows: rows as u64 })?,
        };
        bytes += piece.len();
        pieces.push(piece);
    }
    Ok((pieces, bytes))
}

fn repeat(value: &[u8], times: usize) -> Result<Vec<u8>, Error> {
    let mut values = with_room(TOKENS, value.len().saturating_mul(times))?;
    (0..times).for_each(|_| values.extend_from_slice(value));
    Ok(values)
}

/// The values of the fillers of a selection, repeated as often as the longest piece of each kind needs.
#[derive(Clone, Debug)]
struct RepeatedFillers {
    width: usize,
    given: bool,
    padding: Vec<u8>,
    separator: Vec<u8>,
}

impl RepeatedFillers {
    /// Check a selection from a column of values of `width` bytes, and repeat its fillers.
    ///
    /// # Errors
    /// `starts` or `lengths` of another number than `ids`; a filler that is not one value; [`Error::OutOfMemory`].
    fn new(width: usize, selection: Selection) -> Result<Self, Error> {
        let Selection { ids, starts, lengths, fillers } = selection;
        let check = |array, found: usize, expected: usize| {
            let (found, expected) = (found as u64, expected as u64);
            if found == expected { Ok(()) } else { Err(Error::ArrayLength { array, found, expected }) }
        };
        for (array, values) in [("starts", starts), ("lengths", lengths)] {
            check(array, values.map_or(ids.len(), <[i32]>::len), ids.len())?;
        }
        let mut repeated = Self { width, given: fillers.is_some(), padding: vec![], separator: vec![] };
        let Some(fillers) = fillers else { return Ok(repeated) };
        check("bytes of the padding value", fillers.padding.len(), width)?;
        check("bytes of the separator value", fillers.separator.len(), width)?;
        let Some(lengths) = lengths else { return Ok(repeated) };
        let (mut padding, mut separator) = (0, 0);
        for (i, &length) in lengths.iter().enumerate() {
            match ids.get(i) {
                PADDING => padding = length.max(padding),
                SEPARATOR => separator = length.max(separator),
                _ => {}
            }
        }
        repeated.padding = repeat(fillers.padding, padding as usize)?;
        repeated.separator = repeat(fillers.separator, separator as usize)?;
        Ok(repeated)
    }

    fn get(&self, id: i64, length: Option<i32>) -> Option<&[u8]> {
        let values = match id {
            PADDING if self.given => &self.padding,
            SEPARATOR if self.given => &self.separator,
            _ => return None,
        };
        values.get(..usize::try_from(length?).ok()?.checked_mul(self.width)?)
    }
}
