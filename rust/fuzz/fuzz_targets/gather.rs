//! Gathering gives what slices put together one after another give, or an error for what is not there.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use packsort_core::{
    Error, Fillers, IdSlice, ListChunk, ListColumn, Offsets, PADDING, SEPARATOR, Selection, gather, gather_serial,
};

#[derive(Arbitrary, Debug)]
enum AnyOffsets {
    I32(Vec<i32>),
    I64(Vec<i64>),
    /// Rows of these lengths, one after another.
    Rows(Vec<u8>),
    WideRows(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Id {
    Near(u8),
    Filler(bool),
    Any(i64),
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    chunks: Vec<(AnyOffsets, &'a [u8])>,
    width: u16,
    ids: Vec<Id>,
    starts: Option<Vec<i32>>,
    lengths: Option<Vec<i32>>,
    small: bool,
    narrow_ids: bool,
    fillers: Option<(Vec<u8>, Vec<u8>, bool)>,
    repeat: u8,
}

fuzz_target!(|input: Input| {
    let ends = |rows: &[u8]| {
        let mut at = 0;
        std::iter::once(0).chain(rows.iter().map(|&row| (at += i64::from(row % 16), at).1)).collect::<Vec<i64>>()
    };
    let built: Vec<(Option<Vec<i32>>, Vec<i64>)> = input
        .chunks
        .iter()
        .map(|(offsets, _)| match offsets {
            AnyOffsets::I32(offsets) => (Some(offsets.clone()), vec![]),
            AnyOffsets::I64(offsets) => (None, offsets.clone()),
            AnyOffsets::Rows(rows) => (Some(ends(rows).iter().map(|&end| end as i32).collect()), vec![]),
            AnyOffsets::WideRows(rows) => (None, ends(rows)),
        })
        .collect();
    let chunks: Vec<ListChunk> = built
        .iter()
        .zip(&input.chunks)
        .map(|((narrow, wide), (_, values))| {
            let offsets = narrow.as_deref().map_or(Offsets::I64(wide), Offsets::I32);
            ListChunk { offsets, values }
        })
        .collect();
    let width = usize::from(if input.small { input.width % 8 } else { input.width }) + 1;
    let column = ListColumn::new(chunks.clone(), width.try_into().unwrap());
    // From 256 pieces on, several threads gather.
    let times = usize::from(input.repeat).max(1);
    let repeated = |values: &[i32]| -> Vec<i32> { values.repeat(times) };
    let mut ids: Vec<i64> = input
        .ids
        .iter()
        .map(|id| match *id {
            Id::Near(row) => row.into(),
            Id::Filler(separator) => {
                if separator {
                    SEPARATOR
                } else {
                    PADDING
                }
            }
            Id::Any(id) => id,
        })
        .collect();
    ids = ids.repeat(times);
    // A filler is as long as its length says, so long ones take memory.
    let short = |length: i32| if length > 64 { length % 64 } else { length };
    let lengths =
        input.lengths.as_deref().map(|lengths| lengths.iter().map(|&length| short(length)).collect::<Vec<_>>());
    let lengths = lengths.map(|lengths| repeated(&lengths));
    let starts = input.starts.as_deref().map(|starts| {
        repeated(&starts.iter().map(|&start| if input.small { start % 16 } else { start }).collect::<Vec<_>>())
    });
    let fillers = input.fillers.as_ref().map(|(padding, separator, exact)| {
        let fit = |value: &[u8]| {
            if *exact { (0..width).map(|i| value.get(i).copied().unwrap_or(0)).collect() } else { value.to_vec() }
        };
        (fit(padding), fit(separator))
    });
    let narrow: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
    if input.narrow_ids {
        ids = narrow.iter().map(|&id| id.into()).collect();
    }
    let selection = Selection {
        ids: if input.narrow_ids { IdSlice::U32(&narrow) } else { IdSlice::I64(&ids) },
        starts: starts.as_deref(),
        lengths: lengths.as_deref(),
        fillers: fillers.as_ref().map(|(padding, separator)| Fillers { padding, separator }),
    };
    let found = gather(&column, selection);
    assert_eq!(found, gather_serial(&column, selection));
    let expected = by_hand(&chunks, width, &ids, selection);
    match (&found, &expected) {
        (Ok(found), Some(expected)) => assert!(found == expected),
        (Err(Error::OutOfMemory { .. }), _) | (Err(_), None) => {}
        (Ok(_), None) => panic!("gathered what is not there"),
        (Err(error), Some(_)) => panic!("refused what is there: {error}"),
    }
    if let Ok(lengths) = column.lengths() {
        assert_eq!(lengths.len(), column.num_rows());
        assert!(lengths.iter().all(|&length| length >= 0));
    }
});

/// Put pieces together one after another; None if one is not there.
fn by_hand(chunks: &[ListChunk], width: usize, ids: &[i64], selection: Selection) -> Option<Vec<u8>> {
    let Selection { starts, lengths, fillers, .. } = selection;
    let as_many = |array: Option<&[i32]>| array.is_none_or(|array| array.len() == ids.len());
    if !as_many(starts) || !as_many(lengths) {
        return None;
    }
    if fillers.is_some_and(|fillers| fillers.padding.len() != width || fillers.separator.len() != width) {
        return None;
    }
    let mut out = vec![];
    for (piece, &id) in ids.iter().enumerate() {
        let start = starts.map_or(0, |starts| i64::from(starts[piece]));
        let length = lengths.map(|lengths| i64::from(lengths[piece]));
        let is_filler = id == PADDING || id == SEPARATOR;
        if let (true, Some(fillers), Some(length)) = (is_filler && selection_is_wide(selection), fillers, length) {
            let value = if id == PADDING { fillers.padding } else { fillers.separator };
            out.extend(value.repeat(usize::try_from(length).ok()?));
            continue;
        }
        // Only what is copied must lie within the values, not the whole row.
        let (row_start, row_end, values) = row(chunks, id)?;
        let end = length.map_or(row_end, |length| row_start + start + length);
        if start < 0 || length.is_some_and(|length| length < 0) || row_start + start > end || end > row_end {
            return None;
        }
        if end > (values.len() / width) as i64 {
            return None;
        }
        out.extend_from_slice(&values[(row_start + start) as usize * width..end as usize * width]);
    }
    Some(out)
}

fn selection_is_wide(selection: Selection) -> bool {
    matches!(selection.ids, IdSlice::I64(_))
}

/// Find the first value of a row, the place after its last, and the values of its chunk; None if it is not there.
fn row<'a>(chunks: &[ListChunk<'a>], id: i64) -> Option<(i64, i64, &'a [u8])> {
    let mut first = 0;
    for chunk in chunks {
        let offsets: Vec<i64> = match chunk.offsets {
            Offsets::I32(offsets) => offsets.iter().map(|&offset| offset.into()).collect(),
            Offsets::I64(offsets) => offsets.to_vec(),
        };
        let rows = offsets.len().saturating_sub(1) as i64;
        if (first..first + rows).contains(&id) {
            let (start, end) = (offsets[(id - first) as usize], offsets[(id - first) as usize + 1]);
            let sound = 0 <= start && start <= end;
            return sound.then_some((start, end, chunk.values));
        }
        first += rows;
    }
    None
}
