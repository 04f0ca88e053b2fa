//! Lengths of lists from Parquet's levels, without the values.
//!
//! Parquet stores two small numbers with each value of a list column. The repetition level is 0 where a row begins. The
//! definition level tells a value from a list that is empty or null. Both are runs of one number and groups of eight
//! packed numbers, in turn:
//!
//! ```text
//! run   = varint(count << 1), number in whole bytes
//! group = varint(groups << 1 | 1), 8 * groups numbers of `width` bits each, the lowest bit first
//! ```
//!
//! A row of 500 tokens is three runs, so that rows are counted and not tokens.

use crate::Error;
use crate::memory::make_room;

/// Levels of the lists of a column.
#[derive(Clone, Copy, Debug)]
pub struct ListLevels {
    /// The definition level of a value that is not null; the largest of the column.
    pub most: u32,
    /// The least definition level of a value, null or not; a list without values has less.
    pub value: u32,
    /// Whether a definition level of 0 is a null list instead of an empty one.
    pub nullable: bool,
}

/// Lists of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageLists {
    /// Values that belong to the last list of the page before.
    pub continued: i64,
    /// Number of values of each list that begins in the page, -1 where it is null.
    pub lengths: Vec<i64>, // (lists,)
    /// Number of values that are null.
    pub nulls: u64,
}

/// Count the values of each list of a page.
///
/// # Arguments
/// - `repetition`, `definition`: the two kinds of levels, encoded. The repetition levels are 0 and 1.
/// - `values`: number of levels of each kind.
/// - `rows`: the most lists that can begin in the page.
///
/// # Errors
/// [`Error::DamagedLevels`] if the levels end before `values` of them, or exceed `levels.most`, or more than `rows` lists begin; [`Error::OutOfMemory`].
///
/// # Complexity
/// O(runs), and O(values) within packed groups. Memory grows with the lists that were found, not with `values`.
///
/// # Examples
/// ```
/// use packsort_core::parquet::{ListLevels, count_page};
///
/// // [[5, 6], []]: repetition 0 1 0, definition 1 1 0
/// let levels = ListLevels { most: 1, value: 1, nullable: false };
/// let page = count_page(&[0b11, 0b010], &[0b11, 0b011], 3, levels, 2)?;
/// assert_eq!((page.continued, page.lengths), (0, vec![2, 0]));
/// # Ok::<(), packsort_core::Error>(())
/// ```
pub fn count_page(
    repetition: &[u8],
    definition: &[u8],
    values: u64,
    levels: ListLevels,
    rows: usize,
) -> Result<PageLists, Error> {
    let mut repetition = Runs::new(repetition, 1);
    let mut definition = Runs::new(definition, u32::BITS - levels.most.leading_zeros());
    let mut page = PageLists::default();
    let mut left = values;
    while left > 0 {
        let (begins, defined) = (repetition.peek()?, definition.peek()?);
        if begins.number > 1 || defined.number > levels.most {
            return Err(Error::DamagedLevels);
        }
        let count = begins.count.min(defined.count).min(left);
        let has_value = defined.number >= levels.value;
        if begins.number == 0 {
            let length = if has_value { 1 } else { -i64::from(levels.nullable && defined.number == 0) };
            // A few bytes may say that 2**60 lists follow.
            let room = rows - page.lengths.len();
            let count = usize::try_from(count).ok().filter(|&count| count <= room).ok_or(Error::DamagedLevels)?;
            make_room(&mut page.lengths, LENGTHS, count)?;
            page.lengths.resize(page.lengths.len() + count, length);
        } else if has_value {
            *page.lengths.last_mut().unwrap_or(&mut page.continued) += count as i64;
        } else {
            return Err(Error::DamagedLevels); // a value that goes on a list, and is none
        }
        page.nulls += if has_value && defined.number < levels.most { count } else { 0 };
        repetition.skip(count);
        definition.skip(count);
        left -= count;
    }
    Ok(page)
}

const LENGTHS: &str = "lengths of lists";

/// A number that follows several times.
#[derive(Clone, Copy)]
struct Run {
    number: u32,
    count: u64,
}

/// Decoder of levels, run by run.
struct Runs<'a> {
    bytes: &'a [u8],
    width: u32,
    run: Run,
    /// Packed numbers that are left of a group, and the bit at which they begin in `bytes`.
    packed: u64,
    bit: usize,
}

impl<'a> Runs<'a> {
    fn new(bytes: &'a [u8], width: u32) -> Self {
        Self { bytes, width, run: Run { number: 0, count: 0 }, packed: 0, bit: 0 }
    }

    /// Return the number that comes next, and how often it follows at least.
    fn peek(&mut self) -> Result<Run, Error> {
        while self.run.count == 0 {
            if self.packed > 0 {
                self.run = Run { number: self.unpack()?, count: 1 };
                // Equal numbers of a group count as one run.
                while self.packed > 0 && self.number_at(self.bit) == Some(self.run.number) {
                    self.unpack()?;
                    self.run.count += 1;
                }
                break;
            }
            self.bytes = self.bytes.get(self.bit.div_ceil(8)..).ok_or(Error::DamagedLevels)?;
            self.bit = 0;
            let header = self.varint()?;
            if header & 1 == 1 {
                self.packed = (header >> 1).checked_mul(8).ok_or(Error::DamagedLevels)?;
            } else {
                let (number, rest) =
                    self.bytes.split_at_checked(self.width.div_ceil(8) as usize).ok_or(Error::DamagedLevels)?;
                let number = number.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte));
                self.bytes = rest;
                self.run = Run { number, count: header >> 1 };
            }
        }
        Ok(self.run)
    }

    fn skip(&mut self, count: u64) {
        self.run.count -= count;
    }

    fn unpack(&mut self) -> Result<u32, Error> {
        let number = self.number_at(self.bit).ok_or(Error::DamagedLevels)?;
        self.bit += self.width as usize;
        self.packed -= 1;
        Ok(number)
    }

    fn number_at(&self, bit: usize) -> Option<u32> {
        let mut number = 0;
        for i in 0..self.width as usize {
            let at = bit + i;
            number |= u32::from(self.bytes.get(at / 8)? >> (at % 8) & 1) << i;
        }
        Some(number)
    }

    fn varint(&mut self) -> Result<u64, Error> {
        varint(&mut self.bytes).ok_or(Error::DamagedLevels)
    }
}

/// Take a number of seven bits a byte, the lowest first, from the beginning of `bytes`.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NULLABLE: ListLevels = ListLevels { most: 3, value: 2, nullable: true };

    #[test]
    fn runs_and_groups_count_alike() {
        // [[a, b], null, [], [null]]: repetition 0 1 0 0 0, definition 3 3 0 1 2
        let packed = count_page(&[0b11, 0b0_0010], &[0b11, 0b0100_1111, 0b10], 5, NULLABLE, 9).unwrap();
        assert_eq!((packed.nulls, &packed.lengths[..]), (1, &[2, -1, 0, 1][..]));
        let runs = count_page(&[2, 0, 2, 1, 6, 0], &[4, 3, 2, 0, 2, 1, 2, 2], 5, NULLABLE, 9).unwrap();
        assert_eq!(runs, packed);
    }

    #[test]
    fn a_list_goes_on_in_the_next_page() {
        let page = count_page(&[4, 1, 2, 0], &[6, 3], 3, NULLABLE, 9).unwrap();
        assert_eq!(page, PageLists { continued: 2, lengths: vec![1], nulls: 0 });
    }

    #[test]
    fn damage_is_an_error() {
        let damaged: [(&[u8], &[u8], u64); 6] = [
            (&[], &[6, 3], 3),                 // no levels
            (&[6, 0], &[4, 3], 3),             // too few
            (&[6, 2], &[6, 3], 3),             // no such repetition
            (&[2, 0, 4, 1], &[2, 3, 4, 1], 3), // an empty list that goes on
            (&[0xff; 12], &[6, 3], 3),         // a count without end
            (&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 3], u64::MAX),
        ];
        for (repetition, definition, values) in damaged {
            assert_eq!(count_page(repetition, definition, values, NULLABLE, 9), Err(Error::DamagedLevels));
        }
    }
}
