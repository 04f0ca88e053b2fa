//! Pages of any bytes are lists or an error, and take no more memory than they may.
#![no_main]

use std::io::Cursor;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use packsort_core::parquet::{Codec, ColumnChunk, ListLevels, read_lists};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    codec: u8,
    values: u16,
    rows: u16,
    levels: (u8, u8, bool),
    bytes: &'a [u8],
}

fuzz_target!(|input: Input| {
    let codecs = [Codec::Uncompressed, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let (most, value, nullable) = input.levels;
    let chunk = ColumnChunk {
        at: 0,
        size: input.bytes.len() as u64,
        codec: codecs[usize::from(input.codec) % codecs.len()],
        values: input.values.into(),
        rows: input.rows.into(),
        levels: ListLevels { most: most.into(), value: value.into(), nullable },
    };
    let mut values = vec![[0; 4]; input.values.into()];
    if let Ok(lengths) = read_lists(&mut Cursor::new(input.bytes), &chunk, &mut values) {
        assert_eq!(lengths.len(), chunk.rows);
        assert!(lengths.iter().all(|&length| length >= 0));
        assert!(lengths.iter().sum::<i64>() as u64 <= chunk.values);
    }
});
