//! Decompression of pages.

use crate::Error;
use crate::memory::make_room;

/// How the pages of a column are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    Uncompressed,
    /// One block of Snappy.
    Snappy,
    /// One block of LZ4, without a frame.
    Lz4,
    /// Frames of Zstandard.
    Zstd,
}

impl Codec {
    /// Return the codec of a name in Parquet's layout; `None` where it is not known here.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::parquet::Codec;
    ///
    /// assert_eq!(Codec::of_name("ZSTD"), Some(Codec::Zstd));
    /// assert_eq!(Codec::of_name("LZO"), None);
    /// ```
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "UNCOMPRESSED" => Some(Self::Uncompressed),
            "SNAPPY" => Some(Self::Snappy),
            "LZ4" => Some(Self::Lz4),
            "ZSTD" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Return a page of `size` bytes: as it is stored, or decompressed into `memory`.
    ///
    /// # Errors
    /// [`Error::NotPlainLists`] if it says that it is far larger than it can be; [`Error::DamagedValues`] if it is damaged, or
    /// has another size; [`Error::OutOfMemory`].
    pub(super) fn page<'a>(self, stored: &'a [u8], size: usize, memory: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
        let decompress: fn(&[u8], &mut [u8]) -> Option<usize> = match self {
            Self::Uncompressed => return if stored.len() == size { Ok(stored) } else { Err(DAMAGED) },
            Self::Snappy => |stored, page| snap::raw::Decoder::new().decompress(stored, page).ok(),
            Self::Lz4 => |stored, page| lz4_flex::block::decompress_into(stored, page).ok(),
            Self::Zstd => |stored, page| zstd::bulk::decompress_to_buffer(stored, page).ok(),
        };
        if size / MOST_GROWTH > stored.len() {
            return Err(Error::NotPlainLists);
        }
        let page = at_least(memory, size)?;
        if size > 0 && decompress(stored, page) != Some(size) {
            return Err(DAMAGED);
        }
        Ok(page)
    }
}

pub(super) const DAMAGED: Error = Error::DamagedValues;
pub(super) const PAGE: &str = "a page of Parquet";
/// The most times that a page is larger in memory than in the file: its size in memory is a number in the file.
const MOST_GROWTH: usize = 256;

/// Return the first `size` bytes of memory that is used for one page after another.
pub(super) fn at_least(memory: &mut Vec<u8>, size: usize) -> Result<&mut [u8], Error> {
    if memory.len() < size {
        make_room(memory, PAGE, size - memory.len())?;
        memory.resize(size, 0);
    }
    Ok(&mut memory[..size])
}
