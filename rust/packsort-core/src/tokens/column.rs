//! List columns: rows of values in chunks, laid out as Arrow lays them out.

use std::num::NonZeroUsize;

use crate::Error;
use crate::memory::{prefetch, with_room};

/// Offsets of the rows of a chunk: row `i` holds values `offsets[i]..offsets[i + 1]`.
#[derive(Clone, Copy, Debug)]
pub enum Offsets<'a> {
    /// Offsets of an Arrow `list`.
    I32(&'a [i32]), // (rows + 1,)
    /// Offsets of an Arrow `large_list`.
    I64(&'a [i64]), // (rows + 1,)
}

impl Offsets<'_> {
    fn num_rows(&self) -> usize {
        match self {
            Self::I32(offsets) => offsets.len().saturating_sub(1),
            Self::I64(offsets) => offsets.len().saturating_sub(1),
        }
    }

    /// Whether two offsets are the same memory.
    #[inline(always)]
    fn are(&self, other: Self) -> bool {
        match (self, other) {
            (Self::I32(own), Self::I32(others)) => std::ptr::eq(*own, others),
            (Self::I64(own), Self::I64(others)) => std::ptr::eq(*own, others),
            _ => false,
        }
    }

    /// Start and end of a row; `None` for a row that is not there, or offsets that are negative or descend.
    #[inline(always)]
    fn ends(&self, row: usize) -> Option<(usize, usize)> {
        let (start, end) = match self {
            Self::I32(offsets) => (i64::from(*offsets.get(row)?), i64::from(*offsets.get(row + 1)?)),
            Self::I64(offsets) => (*offsets.get(row)?, *offsets.get(row + 1)?),
        };
        (0 <= start && start <= end).then_some((start as usize, end as usize))
    }
}

/// One chunk of a list column.
#[derive(Clone, Copy, Debug)]
pub struct ListChunk<'a> {
    /// Start and end of each row.
    pub offsets: Offsets<'a>,
    /// The values of all rows, as bytes.
    pub values: &'a [u8], // (values * width,)
}

/// A chunk that may own its memory. A column of such chunks can be kept between batches.
pub trait AsListChunk: Sync {
    /// View this chunk. Every call must return the same data.
    fn as_list_chunk(&self) -> ListChunk<'_>;
}

impl AsListChunk for ListChunk<'_> {
    #[inline(always)]
    fn as_list_chunk(&self) -> ListChunk<'_> {
        *self
    }
}

/// A list column: chunks of rows, numbered from the first row of the first chunk.
///
/// Building a column reads the number of rows of each chunk and nothing else. Values and offsets are checked when a row
/// is looked up, so a batch of a few rows costs the same whatever the number of chunks.
///
/// # Examples
/// ```
/// use packsort_core::{ListChunk, ListColumn, Offsets};
///
/// let chunk = ListChunk { offsets: Offsets::I32(&[0, 2, 5]), values: b"abcde" };
/// let column = ListColumn::new(vec![chunk, chunk], 1.try_into()?);
/// assert_eq!(column.num_rows(), 4);
/// assert_eq!(column.lengths().unwrap(), [2, 3, 2, 3]);
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListColumn<C> {
    chunks: Vec<C>,
    first_rows: Vec<usize>, // (chunks + 1,)
    guide: Guide,
    width: usize, // bytes of a value
}

/// The chunk of each 2^shift-th row, so that a row is searched among a chunk or two and not among all.
#[derive(Clone, Debug)]
struct Guide {
    shift: u32,
    chunks: Vec<usize>, // (rows / 2^shift + 2,)
}

impl Guide {
    fn new(first_rows: &[usize]) -> Self {
        let rows = first_rows.last().copied().unwrap_or(0);
        let shift = (rows / first_rows.len()).checked_ilog2().unwrap_or(0);
        let mut chunk = 0;
        let chunk_of = |step: usize| {
            while first_rows.get(chunk + 1).is_some_and(|&first| first <= step << shift) {
                chunk += 1;
            }
            chunk
        };
        Self { shift, chunks: (0..(rows >> shift) + 2).map(chunk_of).collect() }
    }
}

impl<C: AsListChunk> ListColumn<C> {
    /// Build a column of `chunks`, whose values are `width` bytes each.
    pub fn new(chunks: Vec<C>, width: NonZeroUsize) -> Self {
        let mut first_rows = Vec::with_capacity(chunks.len() + 1);
        let mut rows = 0;
        first_rows.push(0);
        for chunk in &chunks {
            rows += chunk.as_list_chunk().offsets.num_rows();
            first_rows.push(rows);
        }
        Self { chunks, guide: Guide::new(&first_rows), first_rows, width: width.get() }
    }

    /// The last chunk whose first row is not behind `row`; `None` behind the last row.
    #[inline(always)]
    fn chunk_of(&self, row: usize) -> Option<usize> {
        let step = row >> self.guide.shift;
        let (&first, &last) = (self.guide.chunks.get(step)?, self.guide.chunks.get(step + 1)?);
        Some(first + self.first_rows[first..=last].partition_point(|&first| first <= row) - 1)
    }

    /// Number of rows of all chunks.
    pub fn num_rows(&self) -> usize {
        self.first_rows[self.chunks.len()]
    }

    /// Bytes of one value.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Count the values of each row: shape (rows,).
    ///
    /// # Errors
    /// Offsets that are negative, descend, or point outside the values; [`Error::OutOfMemory`].
    ///
    /// # Complexity
    /// O(rows).
    pub fn lengths(&self) -> Result<Vec<i64>, Error> {
        fn push<T: Copy + Into<i64>>(offsets: &[T], values: i64, lengths: &mut Vec<i64>) -> bool {
            let mut sound = offsets.first().is_none_or(|&first| first.into() >= 0);
            sound &= offsets.last().is_none_or(|&last| last.into() <= values);
            lengths.extend(offsets.windows(2).map(|ends| {
                let (start, end) = (ends[0].into(), ends[1].into());
                sound &= start <= end;
                end.wrapping_sub(start)
            }));
            sound
        }
        let mut lengths = with_room("lengths of rows", self.num_rows())?;
        for chunk in &self.chunks {
            let ListChunk { offsets, values } = chunk.as_list_chunk();
            let values = (values.len() / self.width) as i64;
            let first_row = lengths.len();
            let sound = match offsets {
                Offsets::I32(offsets) => push(offsets, values, &mut lengths),
                Offsets::I64(offsets) => push(offsets, values, &mut lengths),
            };
            if !sound {
                let outside = |&row: &usize| offsets.ends(row).is_none_or(|(_, end)| end as i64 > values);
                let row = (0..offsets.num_rows()).find(outside).unwrap_or(0);
                return Err(Error::DamagedColumn { row: (first_row + row) as u64 });
            }
        }
        Ok(lengths)
    }

    /// Ask for the offsets of a row from memory.
    #[inline(always)]
    pub(crate) fn prefetch_row(&self, row: i64) {
        let Ok(row) = usize::try_from(row) else { return };
        let Some(index) = self.chunk_of(row) else { return };
        let Some(chunk) = self.chunks.get(index) else { return };
        let row = row - self.first_rows[index];
        match chunk.as_list_chunk().offsets {
            Offsets::I32(offsets) => prefetch(offsets.get(row..row + 1).unwrap_or_default()),
            Offsets::I64(offsets) => prefetch(offsets.get(row..row + 1).unwrap_or_default()),
        }
    }

    /// Look up a piece of a row, as bytes: `length` values from `start` on. `None` is the start, and the end, of the row.
    #[inline(always)]
    pub(crate) fn piece(&self, row: usize, start: Option<i32>, length: Option<i32>) -> Result<&[u8], Error> {
        let place = self.place(row, start, length)?;
        self.at(place).ok_or(Error::DamagedColumn { row: row as u64 })
    }

    /// Look up where a piece of a row is.
    #[inline(always)]
    pub(crate) fn place(&self, row: usize, start: Option<i32>, length: Option<i32>) -> Result<Place, Error> {
        let damaged = Error::DamagedColumn { row: row as u64 };
        let index = self.chunk_of(row).ok_or(damaged)?;
        let chunk = self.chunks.get(index).ok_or(damaged)?.as_list_chunk();
        let (mut from, mut to) = chunk.offsets.ends(row - self.first_rows[index]).ok_or(damaged)?;
        if start.is_some() || length.is_some() {
            let found = (to - from) as u64;
            let start = i64::from(start.unwrap_or(0));
            let length = length.map_or(found as i64 - start, i64::from);
            if start < 0 || length < 0 || (start + length) as u64 > found {
                return Err(Error::PieceOutside { row: row as i64, start, length, found });
            }
            to = from + (start + length) as usize;
            from += start as usize;
        }
        Ok(Place { chunk: index, from: from.saturating_mul(self.width), to: to.saturating_mul(self.width) })
    }

    /// The place of a piece in a column whose rows have the same offsets, in the same memory; `None` in another column.
    #[inline(always)]
    pub(crate) fn place_in<D: AsListChunk>(&self, other: &ListColumn<D>, place: Place) -> Option<Place> {
        let same_rows = self.first_rows.get(place.chunk) == other.first_rows.get(place.chunk);
        let (own, others) = (self.chunks.get(place.chunk)?, other.chunks.get(place.chunk)?);
        let same_offsets = own.as_list_chunk().offsets.are(others.as_list_chunk().offsets);
        (same_rows && same_offsets && self.width == other.width).then_some(place)
    }

    /// The bytes at a place; `None` where it ends outside the values.
    #[inline(always)]
    pub(crate) fn at(&self, place: Place) -> Option<&[u8]> {
        self.chunks.get(place.chunk)?.as_list_chunk().values.get(place.from..place.to)
    }
}

/// Place of a piece: bytes of the values of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    chunk: usize,
    from: usize,
    to: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(offsets: &'static [i32], values: &'static [u8]) -> ListColumn<ListChunk<'static>> {
        ListColumn::new(vec![ListChunk { offsets: Offsets::I32(offsets), values }], NonZeroUsize::MIN)
    }

    #[test]
    fn a_piece_outside_its_row_is_refused() {
        let column = column(&[0, 2, 5], &[1, 2, 3, 4, 5]);
        let outside = |start, length| Err(Error::PieceOutside { row: 1, start, length, found: 3 });
        assert_eq!(column.piece(1, None, None), Ok(&[3, 4, 5][..]));
        assert_eq!(column.piece(1, Some(1), None), Ok(&[4, 5][..]));
        assert_eq!(column.piece(1, Some(1), Some(1)), Ok(&[4][..]));
        assert_eq!(column.piece(1, None, Some(4)), outside(0, 4));
        assert_eq!(column.piece(1, Some(-1), None), outside(-1, 4));
        assert_eq!(column.piece(1, Some(1), Some(3)), outside(1, 3));
        assert_eq!(column.piece(1, Some(i32::MAX), Some(i32::MAX)), outside(i32::MAX.into(), i32::MAX.into()));
        assert_eq!(column.piece(1, Some(i32::MIN), None), outside(i32::MIN.into(), 3 - i64::from(i32::MIN)));
    }

    #[test]
    fn damaged_offsets_are_refused() {
        let damaged = |row| Error::DamagedColumn { row };
        for (column, first) in
            [(column(&[0, 2, 5], &[1, 2, 3]), 1), (column(&[3, 9, 5], &[0; 9]), 1), (column(&[-4, -2, 1], &[0; 9]), 0)]
        {
            assert_eq!(column.piece(1, None, None), Err(damaged(1)));
            assert_eq!(column.lengths(), Err(damaged(first)));
        }
        let far = [i64::MIN, i64::MAX, i64::MAX];
        let chunk = ListChunk { offsets: Offsets::I64(&far), values: &[0; 9] };
        let wide = ListColumn::new(vec![chunk], NonZeroUsize::MAX);
        assert_eq!(wide.lengths(), Err(damaged(0)));
        assert_eq!(wide.piece(0, None, None), Err(damaged(0)));
        assert_eq!(wide.piece(1, None, None), Err(damaged(1)));
    }

    #[test]
    fn rows_are_found_in_chunks_of_any_size() {
        let offsets: Vec<i32> = (0..=3000).collect();
        for sizes in [&[1, 0, 0, 7, 2900, 0, 1, 1, 0][..], &[5; 100], &[0, 3, 1000], &[1000], &[0, 0], &[1]] {
            let chunk = |&size: &usize| ListChunk { offsets: Offsets::I32(&offsets[..=size]), values: &[0; 3000] };
            let column = ListColumn::new(sizes.iter().map(chunk).collect(), NonZeroUsize::MIN);
            for row in 0..column.num_rows() {
                let expected = column.first_rows.partition_point(|&first| first <= row) - 1;
                assert_eq!(column.chunk_of(row), Some(expected), "{sizes:?} {row}");
            }
        }
    }

    #[test]
    fn a_chunk_without_offsets_has_no_rows() {
        let empty = ListChunk { offsets: Offsets::I64(&[]), values: &[] };
        let column = ListColumn::new(vec![empty, empty], NonZeroUsize::MIN);
        assert_eq!((column.num_rows(), column.lengths()), (0, Ok(vec![])));
        let none = ListColumn::<ListChunk>::new(vec![], NonZeroUsize::MIN);
        assert_eq!((none.num_rows(), none.lengths()), (0, Ok(vec![])));
    }
}
