//! All lists of a column in one row group.

use std::io::{Read, Seek, SeekFrom};

use super::codec::{Codec, DAMAGED, PAGE, at_least};
use super::header::{PageHeader, PageKind};
use super::levels::{ListLevels, count_page};
use super::values::{PageValues, write_page};
use crate::Error;
use crate::memory::{copied, make_room};

/// The pages of one column of lists in one row group.
#[derive(Clone, Copy, Debug)]
pub struct ColumnChunk {
    /// First byte of the pages in the file.
    pub at: u64,
    /// Bytes of all pages.
    pub size: u64,
    /// How they are compressed.
    pub codec: Codec,
    /// Number of values, nulls and empty lists included.
    pub values: u64,
    /// Number of lists.
    pub rows: usize,
    /// Levels of the lists.
    pub levels: ListLevels,
}

/// Read the lists of a row group: their values, each of `N` bytes, the lowest byte first, and the length of each.
///
/// # Arguments
/// - `file`: the file, which is read page by page.
/// - `values`: takes the values of all lists, one list after another; `chunk.values` are enough.
///
/// # Returns
/// Number of values of each list: `(rows,)`.
///
/// # Errors
/// [`Error::NotPlainLists`] if there are nulls, or a page is compressed or encoded in a way that is not known here;
/// [`Error::DamagedLevels`] and [`Error::DamagedValues`] if pages are damaged, end too early, or cannot be read;
/// [`Error::OutOfMemory`].
///
/// # Complexity
/// O(bytes) time; memory for two pages and the dictionary.
pub fn read_lists<const N: usize>(
    file: &mut (impl Read + Seek),
    chunk: &ColumnChunk,
    values: &mut [[u8; N]],
) -> Result<Vec<i64>, Error> {
    let mut pages = Pages::new(file, chunk)?;
    let (mut memory, mut dictionary) = (vec![], vec![]);
    let mut lengths: Vec<i64> = vec![];
    let (mut levels_found, mut end) = (0_u64, 0_usize);
    while let Some((header, stored)) = pages.next()? {
        let page = Page::of(&header, stored, chunk.codec, &mut memory)?;
        if header.kind == PageKind::Dictionary {
            if !dictionary.is_empty() || levels_found > 0 {
                return Err(Error::NotPlainLists);
            }
            dictionary = entries(&header, page.values)?;
            continue;
        }
        let own = match header.encoding {
            PLAIN => PageValues::Plain(page.values),
            encoding if BY_DICTIONARY.contains(&encoding) => PageValues::Places(page.values),
            _ => return Err(Error::NotPlainLists),
        };
        levels_found = levels_found.saturating_add(header.values);
        if levels_found > chunk.values {
            return Err(DAMAGED);
        }
        let left = chunk.rows - lengths.len();
        let lists = count_page(page.repetition, page.definition, header.values, chunk.levels, left)?;
        if lists.nulls > 0 || lists.lengths.iter().any(|&length| length < 0) {
            return Err(Error::NotPlainLists);
        }
        let count = lists.continued + lists.lengths.iter().sum::<i64>();
        match lengths.last_mut() {
            Some(last) => *last += lists.continued,
            None if lists.continued > 0 => return Err(Error::DamagedLevels),
            None => {}
        }
        let places = values.get_mut(end..).and_then(|rest| rest.get_mut(..count as usize)).ok_or(DAMAGED)?;
        write_page(&dictionary, own, places)?;
        make_room(&mut lengths, "lengths of lists", lists.lengths.len())?;
        lengths.extend(lists.lengths);
        end += count as usize;
    }
    if lengths.len() == chunk.rows && levels_found == chunk.values { Ok(lengths) } else { Err(DAMAGED) }
}

/// Return the values of a dictionary.
fn entries<const N: usize>(header: &PageHeader, page: &[u8]) -> Result<Vec<[u8; N]>, Error> {
    if header.encoding != PLAIN && !BY_DICTIONARY.contains(&header.encoding) {
        return Err(Error::NotPlainLists);
    }
    match page.as_chunks() {
        (values, []) if values.len() as u64 == header.values => copied(PAGE, values),
        _ => Err(DAMAGED),
    }
}

const PLAIN: i64 = 0;
const BY_DICTIONARY: [i64; 2] = [2, 8];
/// Bytes of nearly every header, and of the largest.
const HEADERS: [u64; 2] = [1 << 10, 1 << 16];

/// The pages of a column, each of which is read where the one before was.
struct Pages<'a, F> {
    file: &'a mut F,
    at: u64,
    end: u64,
    stored: Vec<u8>,
}

impl<'a, F: Read + Seek> Pages<'a, F> {
    fn new(file: &'a mut F, chunk: &ColumnChunk) -> Result<Self, Error> {
        let length = file.seek(SeekFrom::End(0)).map_err(|_| DAMAGED)?;
        let end = chunk.at.checked_add(chunk.size).filter(|&end| end <= length).ok_or(DAMAGED)?;
        Ok(Self { file, at: chunk.at, end, stored: vec![] })
    }

    /// Read the next page; `None` after the last.
    fn next(&mut self) -> Result<Option<(PageHeader, &[u8])>, Error> {
        if self.at >= self.end {
            return Ok(None);
        }
        let header = self.header()?;
        if header.size as u64 > self.end - self.at {
            return Err(DAMAGED);
        }
        self.read(header.size)?;
        self.at += header.size as u64;
        let stored = &self.stored[..header.size];
        if header.checksum.is_some_and(|checksum| crc32fast::hash(stored) != checksum) {
            return Err(DAMAGED);
        }
        Ok(Some((header, stored)))
    }

    /// Read a header, and go on to what follows it.
    fn header(&mut self) -> Result<PageHeader, Error> {
        for most in HEADERS {
            let size = most.min(self.end - self.at) as usize;
            self.read(size)?;
            let mut rest = &self.stored[..size];
            if let Some(header) = PageHeader::take_from(&mut rest) {
                self.at += (size - rest.len()) as u64;
                return Ok(header);
            }
        }
        Err(DAMAGED)
    }

    fn read(&mut self, size: usize) -> Result<(), Error> {
        let stored = at_least(&mut self.stored, size)?;
        self.file.seek(SeekFrom::Start(self.at)).and_then(|_| self.file.read_exact(stored)).map_err(|_| DAMAGED)
    }
}

/// The parts of a page, decompressed.
struct Page<'a> {
    repetition: &'a [u8],
    definition: &'a [u8],
    values: &'a [u8],
}

impl<'a> Page<'a> {
    fn of(header: &PageHeader, stored: &'a [u8], codec: Codec, memory: &'a mut Vec<u8>) -> Result<Self, Error> {
        match header.kind {
            PageKind::V2 { repetition, definition, compressed } => {
                let first = repetition.checked_add(definition).ok_or(DAMAGED)?;
                let (levels, values) = stored.split_at_checked(first).ok_or(DAMAGED)?;
                let (repetition, definition) = levels.split_at(repetition);
                let size = header.size_in_memory.checked_sub(first).ok_or(DAMAGED)?;
                let codec = if compressed { codec } else { Codec::Uncompressed };
                Ok(Self { repetition, definition, values: codec.page(values, size, memory)? })
            }
            PageKind::Dictionary => {
                let values = codec.page(stored, header.size_in_memory, memory)?;
                Ok(Self { repetition: &[], definition: &[], values })
            }
            PageKind::V1 { runs: false } => Err(Error::NotPlainLists),
            PageKind::V1 { runs: true } => {
                let mut values = codec.page(stored, header.size_in_memory, memory)?;
                let (repetition, definition) = (prefixed(&mut values)?, prefixed(&mut values)?);
                Ok(Self { repetition, definition, values })
            }
        }
    }
}

/// Take the bytes after their number, of four bytes, from the beginning of `bytes`.
fn prefixed<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let (&size, rest) = bytes.split_first_chunk().ok_or(DAMAGED)?;
    let (own, rest) = rest.split_at_checked(u32::from_le_bytes(size) as usize).ok_or(DAMAGED)?;
    *bytes = rest;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const LEVELS: ListLevels = ListLevels { most: 1, value: 1, nullable: false };

    /// Return a number as Thrift writes it, below 2**13.
    fn number(value: usize) -> [u8; 2] {
        let zigzag = 2 * value;
        [zigzag as u8 | 0x80, (zigzag >> 7) as u8]
    }

    /// Return a page with a header: its kind, its size in memory, its bytes, and fields of its own.
    fn page(kind: usize, size: usize, stored: &[u8], own: &[&[u8]]) -> Vec<u8> {
        let field = [0x5c, 0, 0x4c, 0x5c][kind]; // 5, 7 or 8 after field 3
        let field = if kind == 0 { 0x2c } else { field };
        [
            &[0x15][..],
            &number(kind),
            &[0x15],
            &number(size),
            &[0x15],
            &number(stored.len()),
            &[field],
            &own.concat(),
            &[0, 0],
            stored,
        ]
        .concat()
    }

    /// Return a page of version 1: the lists [a, b] and [], with values as they are given.
    fn two_lists(encoding: usize, values: &[u8], codec: Codec) -> Vec<u8> {
        let whole = [&[2, 0, 0, 0, 0b11, 0b010][..], &[2, 0, 0, 0, 0b11, 0b011], values].concat();
        let stored = match codec {
            Codec::Uncompressed => whole.clone(),
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(&whole).unwrap(),
            Codec::Lz4 => lz4_flex::block::compress(&whole),
            Codec::Zstd => zstd::bulk::compress(&whole, 1).unwrap(),
        };
        let (count, encoding, runs) = (number(3), number(encoding), number(3));
        page(0, whole.len(), &stored, &[&[0x15], &count, &[0x15], &encoding, &[0x15], &runs, &[0x15], &runs])
    }

    fn read(bytes: &[u8], codec: Codec, values: u64, rows: usize) -> Result<(Vec<i64>, Vec<u8>), Error> {
        let chunk = ColumnChunk { at: 5, size: bytes.len() as u64, codec, values, rows, levels: LEVELS };
        let file = [b"ahead", bytes, b"after"].concat();
        let mut found = [[0; 4]; 9];
        let lengths = read_lists(&mut Cursor::new(file), &chunk, &mut found)?;
        let count = lengths.iter().sum::<i64>() as usize;
        Ok((lengths, found[..count].as_flattened().to_vec()))
    }

    #[test]
    fn lists_come_from_pages_of_every_codec() {
        for codec in [Codec::Uncompressed, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let (one, other) = (two_lists(0, b"aaaabbbb", codec), two_lists(0, b"ccccdddd", codec));
            let (lengths, values) = read(&[one, other].concat(), codec, 6, 4).unwrap();
            assert_eq!((&lengths[..], &values[..]), (&[2, 0, 2, 0][..], &b"aaaabbbbccccdddd"[..]), "{codec:?}");
        }
    }

    #[test]
    fn values_come_from_a_dictionary_and_lists_go_on() {
        let dictionary = page(2, 8, b"aaaabbbb", &[&[0x15], &number(2), &[0x15], &number(0)]);
        let first = two_lists(8, &[1, 0b11, 0b01], Codec::Uncompressed); // places 1 0 of one bit
        // version 2, not compressed: [] and then two values more; repetition 1 0 1 1, definition 1 1 1 1
        let stored = [&[0b11, 0b1101, 8, 1][..], b"ccccddddeeeeffff"].concat();
        let fields: Vec<_> = [4, 0, 2, 0, 2, 2].iter().map(|&value| [&[0x15][..], &number(value)].concat()).collect();
        let fields: Vec<_> = fields.iter().map(|field| &field[..]).chain([&[0x12][..]]).collect();
        let second = page(3, stored.len(), &stored, &fields);
        let whole = [dictionary.clone(), first.clone(), second.clone()].concat();
        let (lengths, values) = read(&whole, Codec::Uncompressed, 7, 3).unwrap();
        assert_eq!((&lengths[..], &values[..]), (&[2, 1, 3][..], &b"bbbbaaaaccccddddeeeeffff"[..]));

        // a list that goes on, and has not begun
        assert_eq!(read(&second, Codec::Uncompressed, 4, 1), Err(Error::DamagedLevels));
        // places, and no dictionary; a second one; too few levels; a row too many
        assert_eq!(read(&first, Codec::Uncompressed, 3, 2), Err(Error::DamagedValues));
        let two = [&dictionary[..], &dictionary, &first].concat();
        assert_eq!(read(&two, Codec::Uncompressed, 3, 2), Err(Error::NotPlainLists));
        assert_eq!(read(&whole, Codec::Uncompressed, 8, 3), Err(Error::DamagedValues));
        assert_eq!(read(&whole, Codec::Uncompressed, 7, 2), Err(Error::DamagedLevels));
    }

    #[test]
    fn nulls_and_other_encodings_are_left_to_others() {
        assert_eq!(read(&two_lists(5, b"aaaabbbb", Codec::Snappy), Codec::Snappy, 3, 2), Err(Error::NotPlainLists));
        let chunk = two_lists(0, b"aaaabbbb", Codec::Uncompressed);
        let levels = ListLevels { most: 1, value: 0, nullable: false };
        let facts =
            ColumnChunk { at: 0, size: chunk.len() as u64, codec: Codec::Uncompressed, values: 3, rows: 2, levels };
        let found = read_lists(&mut Cursor::new(&chunk), &facts, &mut [[0; 4]; 9]);
        assert_eq!(found, Err(Error::NotPlainLists));
    }

    #[test]
    fn damage_is_an_error() {
        for codec in [Codec::Uncompressed, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let whole = two_lists(0, b"aaaabbbb", codec);
            for end in 1..whole.len() {
                assert!(read(&whole[..end], codec, 3, 2).is_err(), "{codec:?} {end}");
            }
        }
        // a page that says that it is far larger in memory than it can be
        let tall = page(0, 8000, b"12", &[&[0x15], &number(3), &[0x15], &number(0), &[0x15, 6, 0x15, 6]]);
        assert_eq!(read(&tall, Codec::Zstd, 3, 2), Err(Error::NotPlainLists));
        // one that ends where the file does not
        let short = Cursor::new(&tall[..]);
        let facts = ColumnChunk { at: 0, size: 1 << 40, codec: Codec::Zstd, values: 3, rows: 2, levels: LEVELS };
        assert_eq!(read_lists(&mut short.clone(), &facts, &mut [[0; 4]; 9]), Err(Error::DamagedValues));
        // and one that is larger than the memory for it
        let mut none = [[0; 4]; 1];
        let whole = two_lists(0, b"aaaabbbb", Codec::Uncompressed);
        let size = whole.len() as u64;
        let chunk = ColumnChunk { at: 0, size, codec: Codec::Uncompressed, values: 3, rows: 2, levels: LEVELS };
        assert_eq!(read_lists(&mut Cursor::new(whole), &chunk, &mut none), Err(Error::DamagedValues));
    }
}
