//! Values of a column from the pages of Parquet, without a level for each.
//!
//! A page holds its values as they are, or the place of each in the dictionary of the column, with as many bits as the
//! largest needs. Places are runs of one number and groups of eight packed numbers in turn, as levels are (see
//! [`count_page`](super::count_page)). The lists of tokens come from the levels, and their values from here.

use super::levels::varint;
use crate::Error;

/// Values of one page, decompressed.
#[derive(Clone, Copy, Debug)]
pub enum PageValues<'a> {
    /// The values.
    Plain(&'a [u8]),
    /// The number of bits of each place, and the places.
    Places(&'a [u8]),
}

/// Write the values of a page, each of `N` bytes, the lowest byte first.
///
/// # Errors
/// [`Error::DamagedValues`] if the page has fewer values than `values`, or the dictionary has not the value of a place.
///
/// # Complexity
/// O(values).
///
/// # Examples
/// ```
/// use packsort_core::parquet::{PageValues, write_page};
///
/// // 1 bit for each place; three times place 1, then one group of 8 places
/// let mut values = [[0]; 6];
/// write_page(&[*b"a", *b"b"], PageValues::Places(&[1, 3 << 1, 1, 1 << 1 | 1, 0b0000_0101]), &mut values)?;
/// assert_eq!(values.as_flattened(), b"bbbbab");
/// # Ok::<(), packsort_core::Error>(())
/// ```
pub fn write_page<const N: usize>(
    dictionary: &[[u8; N]],
    page: PageValues,
    values: &mut [[u8; N]],
) -> Result<(), Error> {
    match page {
        PageValues::Plain(bytes) => {
            let (plain, _) = bytes.as_chunks::<N>();
            values.copy_from_slice(plain.get(..values.len()).ok_or(Error::DamagedValues)?);
            Ok(())
        }
        PageValues::Places(_) if values.is_empty() => Ok(()),
        PageValues::Places(bytes) => look_up(dictionary, bytes, values).ok_or(Error::DamagedValues),
    }
}

/// Write the values of places; `None` if they are damaged.
fn look_up<const N: usize>(dictionary: &[[u8; N]], bytes: &[u8], mut values: &mut [[u8; N]]) -> Option<()> {
    let (&width, mut bytes) = bytes.split_first()?;
    let width = usize::from(width);
    if width > 32 {
        return None;
    }
    while !values.is_empty() {
        let header = varint(&mut bytes)?;
        let count = usize::try_from(header >> 1).ok()?;
        let packed = header & 1 == 1;
        let size = if packed { count.checked_mul(width)? } else { width.div_ceil(8) };
        let (places, rest) = bytes.split_at_checked(size)?;
        bytes = rest;
        let count = if packed { count.saturating_mul(8) } else { count }.min(values.len());
        let (own, rest) = std::mem::take(&mut values).split_at_mut(count);
        values = rest;
        if packed {
            unpack(dictionary, places, width, own)?;
        } else {
            let place = places.iter().rev().fold(0, |place, &byte| place << 8 | usize::from(byte));
            own.fill(*dictionary.get(place)?);
        }
    }
    Some(())
}

/// Write the values of packed places.
fn unpack<const N: usize>(dictionary: &[[u8; N]], packed: &[u8], width: usize, values: &mut [[u8; N]]) -> Option<()> {
    macro_rules! of_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_groups::<N, $width>(dictionary, packed, values)?,)*
                _ => 0,
            }
        };
    }
    // The compiler makes a function for each width, in which no shift depends on a number in memory.
    let done = of_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
    for (number, value) in values.iter_mut().enumerate().skip(done) {
        let bit = number * width;
        let word = match packed.get(bit / 8..).and_then(<[u8]>::first_chunk) {
            Some(&word) => u64::from_le_bytes(word),
            None => last_word(packed.get(bit / 8..)?),
        };
        *value = *dictionary.get((word >> (bit % 8) & mask(width)) as usize)?;
    }
    Some(())
}

/// Write the values of whole groups of eight places, as far as each group has [`WINDOW`] bytes; returns their number.
fn unpack_groups<const N: usize, const WIDTH: usize>(
    dictionary: &[[u8; N]],
    packed: &[u8],
    values: &mut [[u8; N]],
) -> Option<usize> {
    let (groups, _) = values.as_chunks_mut::<8>();
    let mut done = 0;
    for (number, group) in groups.iter_mut().enumerate() {
        let Some(window) = packed.get(number * WIDTH..).and_then(<[u8]>::first_chunk::<WINDOW>) else { break };
        for (i, value) in group.iter_mut().enumerate() {
            let bit = i * WIDTH;
            let word = window[bit / 8..].first_chunk().map_or(0, |&word| u64::from_le_bytes(word));
            *value = *dictionary.get((word >> (bit % 8) & mask(WIDTH)) as usize)?;
        }
        done += group.len();
    }
    Some(done)
}

/// Bytes of eight places of the largest width, and of a word that begins with the last.
const WINDOW: usize = 40;

const fn mask(width: usize) -> u64 {
    (1 << width) - 1
}

#[cold]
fn last_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_every_width_are_found() {
        for width in 0..=32_usize {
            let places: Vec<u64> = (0..200).map(|i| i * 0x9e37 % (1 << width.min(10))).collect();
            let mut packed = vec![0; 25 * width];
            for (i, place) in places.iter().enumerate() {
                (0..width).filter(|bit| place >> bit & 1 == 1).for_each(|bit| {
                    packed[(i * width + bit) / 8] |= 1 << ((i * width + bit) % 8);
                });
            }
            let dictionary: Vec<_> = (0..1024_u32).map(u32::to_le_bytes).collect();
            let bytes = [&[width as u8, 25 << 1 | 1][..], &packed].concat();
            let mut found = [[0; 4]; 197];
            write_page(&dictionary, PageValues::Places(&bytes), &mut found).unwrap();
            let expected: Vec<_> = places[..197].iter().map(|&place| (place as u32).to_le_bytes()).collect();
            assert_eq!(found[..], expected, "{width}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let places: [(&[u8], usize); 7] = [
            (b"", 1),                     // no width
            (&[33, 2, 0, 0, 0, 0, 0], 1), // too many bits
            (&[1], 1),                    // no places
            (&[1, 2], 1),                 // a run without its place
            (&[1, 2, 0], 2),              // too few
            (&[8, 3, 0, 0], 3),           // a group that is cut off
            (&[8, 2, 2], 1),              // the dictionary has two values
        ];
        let dictionary = [*b"ab", *b"cd"];
        for (bytes, count) in places {
            let found = write_page(&dictionary, PageValues::Places(bytes), &mut vec![[0; 2]; count]);
            assert_eq!(found, Err(Error::DamagedValues), "{bytes:?}");
        }
        // one value and a half
        assert_eq!(write_page(&[], PageValues::Plain(b"abc"), &mut [[0; 2]; 2]), Err(Error::DamagedValues));
    }
}
