//! Headers of pages, in Thrift's compact protocol.
//!
//! Protocol: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use super::levels::varint;

/// What a page says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// Its kind.
    pub kind: PageKind,
    /// Its bytes in the file, after the header.
    pub size: usize,
    /// Its bytes without compression.
    pub size_in_memory: usize,
    /// Number of its values, nulls and empty lists included.
    pub values: u64,
    /// Number of the encoding of its values.
    pub encoding: i64,
    /// CRC-32 of its bytes in the file.
    pub checksum: Option<u32>,
}

/// Kinds of pages that hold values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Values to which other pages point.
    Dictionary,
    /// Values after their levels, compressed together.
    V1 {
        /// Whether both kinds of levels are runs.
        runs: bool,
    },
    /// Values after their levels, which are not compressed.
    V2 {
        /// Bytes of the repetition levels.
        repetition: usize,
        /// Bytes of the definition levels.
        definition: usize,
        /// Whether the values are compressed.
        compressed: bool,
    },
}

/// Number of the encoding of levels as runs.
const RLE: i64 = 3;

const MAX_DEPTH: u32 = 16;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const INTEGERS: std::ops::RangeInclusive<u8> = 4..=6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

impl PageHeader {
    /// Read a header from the beginning of `bytes`, which then begin after it. Returns `None` if they end too early, or
    /// are no header of such a page.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::parquet::{PageHeader, PageKind};
    ///
    /// // kind 2, 8 bytes, 7 of them in the file, and a dictionary's own fields: 2 values, encoding 0
    /// let mut bytes = &[0x15, 4, 0x15, 16, 0x15, 14, 0x4c, 0x15, 4, 0x15, 0, 0, 0, 99][..];
    /// let header = PageHeader::take_from(&mut bytes).unwrap();
    /// assert_eq!((header.kind, header.size, header.values), (PageKind::Dictionary, 7, 2));
    /// assert_eq!(bytes, [99]);
    /// ```
    pub fn take_from(bytes: &mut &[u8]) -> Option<Self> {
        let mut reader = Compact(bytes);
        let mut facts = [None; 5];
        let mut own = [[None; 9]; 9];
        reader.fields(|reader, id, kind| match (id, kind) {
            (1..=4, _) => {
                facts[id as usize] = Some(reader.number(kind)?);
                Some(())
            }
            (5 | 7 | 8, STRUCT) => reader.fields(|reader, inner, kind| match inner {
                1..=7 if kind != STRUCT => {
                    own[id as usize][inner as usize] = Some(reader.number(kind)?);
                    Some(())
                }
                _ => reader.skip(kind, MAX_DEPTH),
            }),
            _ => reader.skip(kind, MAX_DEPTH),
        })?;
        let rest = reader.0;
        let [_, kind, size_in_memory, size, checksum] = facts;
        let (kind, values, encoding) = match kind? {
            0 => {
                let own = own[5];
                (PageKind::V1 { runs: own[3]? == RLE && own[4]? == RLE }, own[1]?, own[2]?)
            }
            2 => (PageKind::Dictionary, own[7][1]?, own[7][2]?),
            3 => {
                let own = own[8];
                let (repetition, definition) = (bytes_of(own[6]?)?, bytes_of(own[5]?)?);
                (PageKind::V2 { repetition, definition, compressed: own[7].unwrap_or(1) == 1 }, own[1]?, own[4]?)
            }
            _ => return None,
        };
        *bytes = rest;
        Some(Self {
            kind,
            size: bytes_of(size?)?,
            size_in_memory: bytes_of(size_in_memory?)?,
            values: u64::try_from(values).ok()?,
            encoding,
            checksum: checksum.map(|number| number as u32),
        })
    }
}

/// Return a number of bytes, which are at most 2 GiB in this layout.
fn bytes_of(number: i64) -> Option<usize> {
    i32::try_from(number).ok()?.try_into().ok()
}

/// Reader of structs. Its methods return `None` where the bytes are no struct, or end too early.
struct Compact<'a>(&'a [u8]);

impl Compact<'_> {
    /// Call `field` with the id and the type of each field, whose value it must read or skip.
    fn fields(&mut self, mut field: impl FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = if head >> 4 == 0 { self.integer()? } else { id.checked_add(i64::from(head >> 4))? };
            field(self, id, head & 15)?;
        }
    }

    /// Read an integer, or a boolean as 0 or 1.
    fn number(&mut self, kind: u8) -> Option<i64> {
        match kind {
            TRUE => Some(1),
            FALSE => Some(0),
            _ if INTEGERS.contains(&kind) => self.integer(),
            _ => None,
        }
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            TRUE | FALSE => Some(()),
            BYTE => self.drop(1),
            DOUBLE => self.drop(8),
            BINARY => {
                let size = varint(&mut self.0)?;
                self.drop(size)
            }
            LIST | SET => {
                let head = self.byte()?;
                let count = if head >> 4 < 15 { u64::from(head >> 4) } else { varint(&mut self.0)? };
                // Each takes a byte at least, booleans too, so that a wrong count soon runs out of them.
                (0..count).try_for_each(|_| match head & 15 {
                    TRUE | FALSE => self.drop(1),
                    kind => self.skip(kind, depth),
                })
            }
            STRUCT => self.fields(|reader, _, kind| reader.skip(kind, depth)),
            _ if INTEGERS.contains(&kind) => varint(&mut self.0).map(drop),
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn drop(&mut self, count: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn integer(&mut self) -> Option<i64> {
        let number = varint(&mut self.0)?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of version 2 with statistics, an unknown field and a checksum.
    const V2: [u8; 44] = [
        0x15, 6, 0x15, 40, 0x15, 30, 0x15, 0x03, // kind 3, 20 bytes, 15 in the file, checksum -2
        0x4c, // field 8
        0x15, 10, 0x15, 0, 0x15, 4, 0x15, 16, 0x15, 6, 0x15, 8,
        0x12, // 5 values, 2 rows, encoding 8, levels, false
        0x1c, 0x18, 2, 0xaa, 0xbb, 0x16, 0, 0, // statistics: bytes, a number
        0, // end of field 8
        0x19, 0xf1, 2, 1, 2, // field 9: a list of two booleans
        0x17, 0, 0, 0, 0, 0, 0, 0, // field 10: a double, whose last byte is missing
    ];

    #[test]
    fn fields_that_nobody_needs_are_skipped() {
        let whole = [&V2[..], &[0, 0, 77]].concat();
        let mut bytes = &whole[..];
        let header = PageHeader::take_from(&mut bytes).unwrap();
        assert_eq!(bytes, [77]);
        let expected = PageHeader {
            kind: PageKind::V2 { repetition: 4, definition: 3, compressed: false },
            size: 15,
            size_in_memory: 20,
            values: 5,
            encoding: 8,
            checksum: Some(u32::MAX - 1),
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn a_header_that_ends_too_early_is_none() {
        let whole = [&V2[..], &[0, 0]].concat();
        for end in 0..whole.len() {
            assert_eq!(PageHeader::take_from(&mut &whole[..end]), None, "{end}");
        }
        let deep = [&[0x15, 6], &[0x5c; 100][..]].concat();
        assert_eq!(PageHeader::take_from(&mut &deep[..]), None);
    }
}
