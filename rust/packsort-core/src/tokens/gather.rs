//! Moving tokens: the lists of chosen rows, one after another.
#![allow(unsafe_code)]

use rayon::prelude::*;

use crate::Error;
use crate::histogram::count::split;
use crate::memory::{prefetch, zeroed};
use crate::parallel::Disjoint;

/// Where the lists of a chunk start, as Arrow has them.
#[derive(Clone, Copy, Debug)]
pub enum Offsets<'a> {
    /// `list`.
    I32(&'a [i32]),
    /// `large_list`.
    I64(&'a [i64]),
}

impl Offsets<'_> {
    #[inline(always)]
    fn get(&self, i: usize) -> usize {
        match self {
            Self::I32(o) => o[i] as usize,
            Self::I64(o) => o[i] as usize,
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::I32(o) => o.len().saturating_sub(1),
            Self::I64(o) => o.len().saturating_sub(1),
        }
    }
}

/// One chunk of a column of lists: values as bytes, `width` bytes each.
#[derive(Clone, Copy, Debug)]
pub struct ListChunk<'a> {
    /// Row `i` holds values `offsets[i]..offsets[i + 1]`.
    pub offsets: Offsets<'a>, // (rows + 1,)
    /// The values of all rows.
    pub values: &'a [u8],
}

/// Rows to gather.
#[derive(Clone, Copy, Debug)]
pub enum Ids<'a> {
    /// Fewer than 2^32 rows.
    U32(&'a [u32]),
    /// Any.
    I64(&'a [i64]),
}

impl Ids<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::U32(ids) => ids.len(),
            Self::I64(ids) => ids.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    fn get(&self, i: usize) -> i64 {
        match self {
            Self::U32(ids) => ids[i].into(),
            Self::I64(ids) => ids[i],
        }
    }
}

/// What stands where the id is no row but [`PADDING`] or [`SEPARATOR`]: a value as bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fillers<'a> {
    /// In padding.
    pub padding: &'a [u8], // (width,)
    /// In a separator.
    pub separator: &'a [u8], // (width,)
}

/// The id of padding.
pub const PADDING: i64 = -1;
/// The id of a separator.
pub const SEPARATOR: i64 = -2;

/// A column of lists with what is asked of it.
struct Request<'a> {
    chunks: &'a [ListChunk<'a>],
    first_rows: Vec<usize>, // (chunks + 1,)
    width: usize,
    ids: Ids<'a>,
    starts: Option<&'a [i32]>,
    lengths: Option<&'a [i32]>,
    padding: &'a [u8],
    separator: &'a [u8],
}

impl<'a> Request<'a> {
    fn new(
        chunks: &'a [ListChunk<'a>],
        width: usize,
        ids: Ids<'a>,
        starts: Option<&'a [i32]>,
        lengths: Option<&'a [i32]>,
        filled: &'a [Vec<u8>; 2],
    ) -> Result<Self, Error> {
        let one_each = |part: Option<&[i32]>| part.is_none_or(|p| p.len() == ids.len());
        if !one_each(starts) || !one_each(lengths) {
            return Err(Error::Inconsistent("piece starts and lengths are not one for each sequence id"));
        }
        let mut first_rows = vec![0];
        let mut rows = 0;
        for chunk in chunks {
            rows += chunk.offsets.rows();
            first_rows.push(rows);
        }
        Ok(Self { chunks, first_rows, width, ids, starts, lengths, padding: &filled[0], separator: &filled[1] })
    }

    /// The bytes of piece `i`.
    #[inline(always)]
    fn piece(&self, i: usize) -> Result<&'a [u8], Error> {
        let id = self.ids.get(i);
        let rows = self.first_rows[self.chunks.len()];
        if id < 0 || id as usize >= rows {
            if let (PADDING | SEPARATOR, Some(lengths)) = (id, self.lengths) {
                let value = if id == PADDING { self.padding } else { self.separator };
                if let Some(filled) = usize::try_from(lengths[i]).ok().and_then(|n| value.get(..n * self.width)) {
                    return Ok(filled);
                }
            }
            return Err(Error::NoSuchRow { row: id, rows: rows as u64 });
        }
        let row = id as usize;
        let c = if self.chunks.len() == 1 { 0 } else { self.first_rows.partition_point(|&first| first <= row) - 1 };
        let chunk = &self.chunks[c];
        let row = row - self.first_rows[c];
        let (start, end) = (chunk.offsets.get(row), chunk.offsets.get(row + 1));
        let (from, to) = match (self.starts, self.lengths) {
            (None, None) => (start, end),
            (starts, lengths) => {
                let first = starts.map_or(0, |s| i64::from(s[i]));
                let found = end.saturating_sub(start) as u64;
                let length = lengths.map_or(found as i64 - first, |l| i64::from(l[i]));
                if first < 0 || length < 0 || (first + length) as u64 > found {
                    return Err(Error::PieceOutside { row: id, start: first, length, found });
                }
                (start + first as usize, start + (first + length) as usize)
            }
        };
        chunk
            .values
            .get(from.wrapping_mul(self.width)..to.wrapping_mul(self.width))
            .ok_or(Error::Inconsistent("a list column is damaged: its offsets point outside its values"))
    }
}

/// The values of rows `ids`, one row after another, as bytes. With `lengths`, of each row only so many values are
/// taken, with `starts` from there on. Where there are `fillers`, ids may be [`PADDING`] or [`SEPARATOR`].
///
/// # Errors
/// An id that is no row; a piece that reaches beyond its row; `starts` or `lengths` that are not as many as `ids`.
pub fn gather(
    chunks: &[ListChunk],
    width: usize,
    ids: Ids,
    starts: Option<&[i32]>,
    lengths: Option<&[i32]>,
    fillers: Option<Fillers>,
) -> Result<Vec<u8>, Error> {
    let filled = filled(width, ids, lengths, fillers)?;
    let request = Request::new(chunks, width, ids, starts, lengths, &filled)?;
    let shares = (rayon::current_num_threads() * 8).min(ids.len() / 256 + 1);
    let lens = request.share_lens(shares)?;
    let mut firsts = vec![0];
    for (w, len) in lens.iter().enumerate() {
        firsts.push(firsts[w] + len);
    }
    let mut out = zeroed::<u8>(firsts[shares]);
    let places = Disjoint::new(&mut out);
    (0..shares).into_par_iter().try_for_each(|w| {
        let mut at = firsts[w];
        let mut coming = [&[] as &[u8]; AHEAD];
        let pieces = split(ids.len(), shares, w);
        for i in pieces.start..pieces.end + AHEAD {
            let far = if i < pieces.end { request.piece(i)? } else { &[] };
            prefetch(far);
            let near = std::mem::replace(&mut coming[i % AHEAD], far);
            // SAFETY: shares are laid out one after another, each as long as its pieces are together.
            unsafe { places.copy(at, near) };
            at += near.len();
        }
        Ok(())
    })?;
    Ok(out)
}

/// The values of fillers as often as the longest of each kind needs them: padding, then separators.
fn filled(width: usize, ids: Ids, lengths: Option<&[i32]>, fillers: Option<Fillers>) -> Result<[Vec<u8>; 2], Error> {
    let (Some(fillers), Some(lengths)) = (fillers, lengths) else { return Ok(Default::default()) };
    let mut filled = <[Vec<u8>; 2]>::default();
    for ((kind, value), filled) in
        [(PADDING, fillers.padding), (SEPARATOR, fillers.separator)].into_iter().zip(&mut filled)
    {
        if value.len() != width {
            return Err(Error::Inconsistent("a filler is not one value of the column"));
        }
        let longest = lengths.iter().zip(0..ids.len()).filter(|&(_, i)| ids.get(i) == kind).map(|(&l, _)| l).max();
        *filled = value.repeat(longest.map_or(0, |l| l.max(0) as usize));
    }
    Ok(filled)
}

/// Pieces between the one that is copied and the one that is asked for from memory. Asking for none takes a fifth longer;
/// 4 to 12 are alike. Asking for whole pieces is slower, and stores past the cache are no faster into fresh memory.
pub(crate) const AHEAD: usize = 8;

impl Request<'_> {
    /// Bytes of each share of the pieces.
    fn share_lens(&self, shares: usize) -> Result<Vec<usize>, Error> {
        (0..shares)
            .into_par_iter()
            .map(|w| split(self.ids.len(), shares, w).map(|i| self.piece(i).map(<[u8]>::len)).sum())
            .collect()
    }
}
