//! Decompression of pages.

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

    /// Decompress a page into memory of its size; `None` if it is damaged, or has another size.
    pub(super) fn decompress(self, stored: &[u8], page: &mut [u8]) -> Option<()> {
        let size = match self {
            Self::Uncompressed => {
                page.copy_from_slice(stored.get(..page.len())?);
                stored.len()
            }
            Self::Snappy => snap::raw::Decoder::new().decompress(stored, page).ok()?,
            Self::Lz4 => lz4_flex::block::decompress_into(stored, page).ok()?,
            Self::Zstd => zstd::bulk::decompress_to_buffer(stored, page).ok()?,
        };
        (size == page.len()).then_some(())
    }
}
