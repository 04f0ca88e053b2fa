//! Time gathering. The tokens are first compared with rows copied one by one.
#![allow(missing_docs)]

mod common;

use common::{Distribution, Random};
use divan::Bencher;
use divan::counter::BytesCount;
use packsort_core::{IdSlice, ListChunk, ListColumn, Offsets, Selection, gather, gather_serial};

fn main() {
    divan::main();
}

/// Rows of 4-byte values in chunks of equally many rows.
struct Rows {
    chunks: Vec<(Vec<i32>, Vec<u8>)>,
    rows_of_chunk: usize,
}

impl Rows {
    fn new(rows: usize, chunks: usize, distribution: Distribution) -> Self {
        let lengths = distribution.lengths(rows, 4096);
        let rows_of_chunk = rows / chunks;
        let mut random = Random(3);
        let chunks = lengths.chunks(rows_of_chunk).map(|lengths| {
            let mut offsets = vec![0];
            for &length in lengths {
                offsets.push(offsets[offsets.len() - 1] + length as i32);
            }
            let bytes = (0..offsets[lengths.len()]).flat_map(|_| (random.next() as u32).to_ne_bytes()).collect();
            (offsets, bytes)
        });
        Self { chunks: chunks.collect(), rows_of_chunk }
    }

    fn column(&self) -> ListColumn<ListChunk<'_>> {
        let chunk = |(offsets, values)| ListChunk { offsets: Offsets::I32(offsets), values };
        let chunks = self.chunks.iter().map(|(offsets, values)| chunk((&offsets[..], &values[..])));
        ListColumn::new(chunks.collect(), 4.try_into().unwrap())
    }

    fn copied(&self, ids: &[i64]) -> Vec<u8> {
        let mut out = vec![];
        for &id in ids {
            let (offsets, values) = &self.chunks[id as usize / self.rows_of_chunk];
            let row = id as usize % self.rows_of_chunk;
            out.extend_from_slice(&values[offsets[row] as usize * 4..offsets[row + 1] as usize * 4]);
        }
        out
    }
}

/// All rows of a table, shuffled, as `pack` gathers them.
#[divan::bench(args = [
    (200_000, Distribution::Chats),
    (20_000, Distribution::Uniform),
], sample_count = 20)]
fn gather_table(bencher: Bencher, (rows, distribution): (usize, Distribution)) {
    let table = Rows::new(rows, 4, distribution);
    let column = table.column();
    let mut ids: Vec<i64> = (0..rows as i64).collect();
    Random(1).shuffle(&mut ids);
    let selection = Selection::rows(IdSlice::I64(&ids));
    let expected = table.copied(&ids);
    assert!(gather(&column, selection).unwrap() == expected, "gathered rows differ from copied ones");
    bencher.counter(BytesCount::new(expected.len())).bench(|| gather(&column, selection));
}

/// The 320 pieces of a batch out of a column of many chunks, as a loader gathers them.
#[divan::bench(args = [1, 4_000])]
fn gather_batch(bencher: Bencher, chunks: usize) {
    let table = Rows::new(80_000, chunks, Distribution::Chats);
    let column = table.column();
    let mut random = Random(2);
    let ids: Vec<i64> = (0..320).map(|_| random.below(80_000) as i64).collect();
    let selection = Selection::rows(IdSlice::I64(&ids));
    let expected = table.copied(&ids);
    assert!(gather_serial(&column, selection).unwrap() == expected, "gathered rows differ from copied ones");
    bencher.counter(BytesCount::new(expected.len())).bench(|| gather_serial(&column, selection));
}
