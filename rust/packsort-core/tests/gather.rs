//! Gathering against slices put together by hand.

use packsort_core::{Error, Fillers, Ids, ListChunk, Offsets, gather};
use proptest::prelude::*;

fn bytes(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

proptest! {
    #[test]
    fn pieces_come_one_after_another(
        rows in prop::collection::vec(prop::collection::vec(any::<i32>(), 0..20), 1..60),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0.0..1.0, 0.0..1.0), 0..900),
        cut: prop::sample::Index,
    ) {
        let cut = cut.index(rows.len());
        let parts = [&rows[..cut], &rows[cut..]];
        let values = parts.map(|rows| bytes(&rows.concat()));
        let offsets = parts.map(|rows| {
            rows.iter().scan(0, |at, r| { *at += r.len() as i32; Some(*at) }).fold(vec![0], |mut o, e| { o.push(e); o })
        });
        let wide: Vec<i64> = offsets[1].iter().map(|&o| o.into()).collect();
        let chunks = [
            ListChunk { offsets: Offsets::I32(&offsets[0]), values: &values[0] },
            ListChunk { offsets: Offsets::I64(&wide), values: &values[1] },
        ];
        let ids: Vec<u32> = picks.iter().map(|(i, _, _)| i.index(rows.len()) as u32).collect();
        let whole: Vec<i32> = ids.iter().flat_map(|&i| rows[i as usize].clone()).collect();
        prop_assert_eq!(gather(&chunks, 4, Ids::U32(&ids), None, None, None).unwrap(), bytes(&whole));

        let (mut starts, mut lengths, mut pieces) = (vec![], vec![], vec![]);
        for (&i, (_, a, b)) in ids.iter().zip(&picks) {
            let row = &rows[i as usize];
            let start = (a * row.len() as f64) as usize;
            let length = (b * (row.len() - start) as f64) as usize;
            starts.push(start as i32);
            lengths.push(length as i32);
            pieces.extend_from_slice(&row[start..start + length]);
        }
        let ids: Vec<i64> = ids.iter().map(|&i| i.into()).collect();
        let found = gather(&chunks, 4, Ids::I64(&ids), Some(&starts), Some(&lengths), None).unwrap();
        prop_assert_eq!(found, bytes(&pieces));
    }
}

#[test]
fn what_is_not_there_is_named() {
    let values = bytes(&[1, 2, 3]);
    let chunks = [ListChunk { offsets: Offsets::I32(&[0, 1, 3]), values: &values }];
    let row = gather(&chunks, 4, Ids::I64(&[0, 2]), None, None, None);
    assert_eq!(row, Err(Error::NoSuchRow { row: 2, rows: 2 }));
    let piece = gather(&chunks, 4, Ids::U32(&[1]), Some(&[1]), Some(&[2]), None).unwrap_err();
    assert_eq!(piece.to_string(), "tokens 1 to 3 are planned of sequence 1, but it has 2");
    assert!(gather(&chunks, 4, Ids::U32(&[1]), None, Some(&[]), None).is_err());
}

#[test]
fn fillers_stand_where_the_id_is_theirs() {
    let values = bytes(&[1, 2, 3]);
    let chunks = [ListChunk { offsets: Offsets::I32(&[0, 1, 3]), values: &values }];
    let (padding, separator) = (bytes(&[7]), bytes(&[9]));
    let fillers = Fillers { padding: &padding, separator: &separator };
    let (ids, lengths) = ([1, -2, 0, -1], [2, 1, 1, 3]);
    let found = gather(&chunks, 4, Ids::I64(&ids), None, Some(&lengths), Some(fillers)).unwrap();
    assert_eq!(found, bytes(&[2, 3, 9, 1, 7, 7, 7]));
    let without = gather(&chunks, 4, Ids::I64(&ids), None, Some(&lengths), None);
    assert_eq!(without, Err(Error::NoSuchRow { row: -2, rows: 2 }));
    let wide = Fillers { padding: &values, separator: &separator };
    assert!(gather(&chunks, 4, Ids::I64(&ids), None, Some(&lengths), Some(wide)).is_err());
}
