//! Packs of a training step, brought together from token columns that stay open.
//!
//! [`gather()`](crate::gather()) moves millions of rows at once and looks at every chunk of a column first. A batch has
//! dozens of rows, out of columns that may have thousands of chunks: here only the chunks that hold them are looked at.

use crate::memory::prefetch;
use crate::permutation::{Permutation, key};
use crate::tokens::gather::AHEAD;
use crate::{Error, ListChunk, Offsets};

/// The pieces of some rows, one after another, as bytes.
///
/// `chunk_of` gives the chunk that holds a row, and the row's place in it. With `lengths`, of each row only so many
/// values are taken, with `starts` from there on.
///
/// # Errors
/// A piece that reaches beyond its row; `starts` or `lengths` that are not as many as `ids`; whatever `chunk_of` says.
pub fn fill_pieces<'a>(
    chunk_of: impl Fn(i64) -> Result<(ListChunk<'a>, usize), Error>,
    width: usize,
    ids: &[i64],
    starts: Option<&[i32]>,
    lengths: Option<&[i32]>,
) -> Result<Vec<u8>, Error> {
    if starts.is_some_and(|s| s.len() != ids.len()) || lengths.is_some_and(|l| l.len() != ids.len()) {
        return Err(Error::Inconsistent("piece starts and lengths are not one for each sequence id"));
    }
    let mut pieces = Vec::with_capacity(ids.len());
    let mut bytes = 0;
    for (i, &id) in ids.iter().enumerate() {
        let (chunk, row) = chunk_of(id)?;
        let (from, to) = bounds(chunk.offsets, row).ok_or(DAMAGED)?;
        let found = (to - from) as u64;
        let start = starts.map_or(0, |s| i64::from(s[i]));
        let length = lengths.map_or(found as i64 - start, |l| i64::from(l[i]));
        if start < 0 || length < 0 || (start + length) as u64 > found {
            return Err(Error::PieceOutside { row: id, start, length, found });
        }
        let (from, to) = (from + start as usize, from + (start + length) as usize);
        let piece = chunk.values.get(from.saturating_mul(width)..to.saturating_mul(width)).ok_or(DAMAGED)?;
        bytes += piece.len();
        pieces.push(piece);
    }
    let mut out = Vec::with_capacity(bytes);
    for (i, piece) in pieces.iter().enumerate() {
        prefetch(pieces.get(i + AHEAD).copied().unwrap_or_default());
        out.extend_from_slice(piece);
    }
    Ok(out)
}

/// Values of each row of a chunk, after `out`.
///
/// # Errors
/// Offsets that fall or point outside the values.
pub fn list_lengths(chunk: ListChunk, width: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    fn push<T: Copy + Into<i64>>(offsets: &[T], values: i64, out: &mut Vec<i64>) -> bool {
        let mut ok = offsets.first().is_none_or(|&first| first.into() >= 0);
        ok &= offsets.last().is_none_or(|&last| last.into() <= values);
        out.extend(offsets.windows(2).map(|pair| {
            let length = pair[1].into() - pair[0].into();
            ok &= length >= 0;
            length
        }));
        ok
    }
    let values = (chunk.values.len() / width) as i64;
    let ok = match chunk.offsets {
        Offsets::I32(offsets) => push(offsets, values, out),
        Offsets::I64(offsets) => push(offsets, values, out),
    };
    if ok { Ok(()) } else { Err(DAMAGED) }
}

/// `0..len` shuffled, as `seed`, `epoch` and `stream` choose: the same for ever, on every machine.
pub fn shuffled(len: u64, seed: u64, epoch: u64, stream: u64) -> Vec<i64> {
    let shuffle = Permutation::new(len, key([seed ^ SHUFFLED, epoch, stream]));
    (0..len).map(|i| shuffle.get(i) as i64).collect()
}

/// Keeps these shuffles apart from those of plans and schedules with the same seed.
const SHUFFLED: u64 = 0x6c6f_6164_6572;

const DAMAGED: Error = Error::Inconsistent("a list column is damaged: its offsets point outside its values");

fn bounds(offsets: Offsets, row: usize) -> Option<(usize, usize)> {
    let (from, to) = match offsets {
        Offsets::I32(o) => (i64::from(*o.get(row)?), i64::from(*o.get(row + 1)?)),
        Offsets::I64(o) => (*o.get(row)?, *o.get(row + 1)?),
    };
    (0 <= from && from <= to).then_some((from as usize, to as usize))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Ids, gather};

    prop_compose! {
        /// Chunks of lists of bytes, each as offsets and values.
        fn any_chunks()(
            chunks in prop::collection::vec(prop::collection::vec(0_i32..9, 1..20), 1..5)
        ) -> Vec<(Vec<i32>, Vec<u8>)> {
            let mut value = 0_u8;
            chunks.into_iter().map(|lengths| {
                let mut offsets = vec![0];
                lengths.iter().for_each(|l| offsets.push(offsets.last().unwrap() + l));
                let values = (0..*offsets.last().unwrap()).map(|_| { value = value.wrapping_add(1); value }).collect();
                (offsets, values)
            }).collect()
        }
    }

    fn views(chunks: &[(Vec<i32>, Vec<u8>)]) -> Vec<ListChunk<'_>> {
        chunks.iter().map(|(o, v)| ListChunk { offsets: Offsets::I32(o), values: v }).collect()
    }

    proptest! {
        #[test]
        fn pieces_are_what_gather_gives(chunks in any_chunks(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..30)) {
            let chunks = views(&chunks);
            let rows: Vec<(usize, usize)> = chunks.iter().enumerate().flat_map(|(c, chunk)| {
                let Offsets::I32(o) = chunk.offsets else { unreachable!() };
                (0..o.len() - 1).map(move |row| (c, row))
            }).collect();
            let mut lengths = vec![];
            chunks.iter().for_each(|&c| list_lengths(c, 1, &mut lengths).unwrap());
            let ids: Vec<i64> = picks.iter().map(|p| p.index(rows.len()) as i64).collect();
            let starts: Vec<i32> = ids.iter().map(|&id| (lengths[id as usize] / 3) as i32).collect();
            let takes: Vec<i32> = ids.iter().map(|&id| (lengths[id as usize] / 2) as i32).collect();
            let chunk_of = |id: i64| { let (c, row) = rows[id as usize]; Ok((chunks[c], row)) };
            for (starts, takes) in [(None, None), (None, Some(&takes[..])), (Some(&starts[..]), Some(&takes[..])), (Some(&starts[..]), None)] {
                prop_assert_eq!(
                    fill_pieces(chunk_of, 1, &ids, starts, takes)?,
                    gather(&chunks, 1, Ids::I64(&ids), starts, takes, None)?
                );
            }
        }

        #[test]
        fn shuffles_are_permutations_and_differ(len in 0_u64..200, seed: u64, epoch in 0_u64..9) {
            let mut one = shuffled(len, seed, epoch, 0);
            prop_assert!(len < 20 || one != shuffled(len, seed, epoch + 1, 0));
            prop_assert!(len < 20 || one != shuffled(len, seed, epoch, 1));
            one.sort();
            prop_assert_eq!(one, (0..len as i64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_reaches_outside_is_refused() {
        const CHUNK: ListChunk = ListChunk { offsets: Offsets::I32(&[0, 2, 5]), values: &[1, 2, 3, 4, 5] };
        const SHORT: ListChunk = ListChunk { values: &[1, 2, 3], ..CHUNK };
        const FALLING: ListChunk = ListChunk { offsets: Offsets::I32(&[3, 9, 5]), values: &[0; 9] };
        let fill = |chunk, starts, lengths| fill_pieces(move |id| Ok((chunk, id as usize)), 1, &[1], starts, lengths);
        let outside = |start, length| Err(Error::PieceOutside { row: 1, start, length, found: 3 });
        assert_eq!(fill(CHUNK, None, None), Ok(vec![3, 4, 5]));
        assert_eq!(fill(CHUNK, None, Some(&[4])), outside(0, 4));
        assert_eq!(fill(CHUNK, Some(&[-1]), None), outside(-1, 4));
        assert_eq!(fill(CHUNK, Some(&[1]), Some(&[3])), outside(1, 3));
        for damaged in [SHORT, FALLING] {
            assert_eq!(fill(damaged, None, None), Err(DAMAGED));
            assert_eq!(list_lengths(damaged, 1, &mut vec![]), Err(DAMAGED));
        }
        assert!(matches!(fill(CHUNK, None, Some(&[])), Err(Error::Inconsistent(_))));
    }
}
