//! Gathering against slices put together by hand.

use packsort_core::{
    Error, Fillers, FoundPieces, IdSlice, ListChunk, ListColumn, Offsets, PADDING, SEPARATOR, Selection, gather,
    gather_serial,
};
use proptest::prelude::*;

fn bytes(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

fn column<'a>(chunks: &[ListChunk<'a>]) -> ListColumn<ListChunk<'a>> {
    ListColumn::new(chunks.to_vec(), 4.try_into().unwrap())
}

/// Gather on many threads, on one, and of pieces that were found before, also in columns of other chunks: all say the
/// same.
fn gathered(chunks: &[ListChunk], selection: Selection) -> Result<Vec<u8>, Error> {
    let own = column(chunks);
    let result = gather(&own, selection);
    assert_eq!(result, gather_serial(&own, selection));
    let found = FoundPieces::new(&own, selection);
    assert_eq!(result, found.as_ref().map_err(|&error| error).and_then(|found| found.gather(&own)));
    let empty = ListChunk { offsets: Offsets::I32(&[0]), values: &[] };
    for other in [column(chunks), column(&[&[empty], chunks].concat())] {
        if let Ok(found) = &found {
            let there = found.in_other(&own, &other, selection);
            assert_eq!(result, there.and_then(|there| there.gather(&other)));
        }
    }
    result
}

#[test]
fn pieces_are_found_in_a_column_of_other_rows() {
    let values = bytes(&[1, 2, 3, 4, 5]);
    let chunk = |offsets| ListChunk { offsets: Offsets::I32(offsets), values: &values };
    let (own, other) = (column(&[chunk(&[0, 2, 5])]), column(&[chunk(&[0, 4, 5])]));
    let selection = Selection::rows(IdSlice::I64(&[1, 0]));
    let found = FoundPieces::new(&own, selection).unwrap();
    assert_eq!(found.gather(&own).unwrap(), bytes(&[3, 4, 5, 1, 2]));
    let there = found.in_other(&own, &other, selection).unwrap();
    assert_eq!(there.gather(&other).unwrap(), bytes(&[5, 1, 2, 3, 4]));
    assert_eq!(there.values(), 5);
    let short = ListChunk { offsets: Offsets::I32(&[0, 2, 5]), values: &values[..8] };
    assert_eq!(found.of(&column(&[short])), Err(Error::DamagedColumn { row: 0 }));
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
        let lengths: Vec<i64> = rows.iter().map(|row| row.len() as i64).collect();
        prop_assert_eq!(column(&chunks).lengths().unwrap(), lengths);

        let ids: Vec<u32> = picks.iter().map(|(i, _, _)| i.index(rows.len()) as u32).collect();
        let whole: Vec<i32> = ids.iter().flat_map(|&i| rows[i as usize].clone()).collect();
        prop_assert_eq!(gathered(&chunks, Selection::rows(IdSlice::U32(&ids))).unwrap(), bytes(&whole));

        let (mut starts, mut lengths, mut pieces, mut heads, mut tails) = (vec![], vec![], vec![], vec![], vec![]);
        for (&i, (_, a, b)) in ids.iter().zip(&picks) {
            let row = &rows[i as usize];
            let start = (a * row.len() as f64) as usize;
            let length = (b * (row.len() - start) as f64) as usize;
            starts.push(start as i32);
            lengths.push(length as i32);
            pieces.extend_from_slice(&row[start..start + length]);
            heads.extend_from_slice(&row[..length]);
            tails.extend_from_slice(&row[start..]);
        }
        let ids: Vec<i64> = ids.iter().map(|&i| i.into()).collect();
        let rows = Selection::rows(IdSlice::I64(&ids));
        for (starts, lengths, expected) in [
            (Some(&starts[..]), Some(&lengths[..]), pieces),
            (None, Some(&lengths[..]), heads),
            (Some(&starts[..]), None, tails),
        ] {
            prop_assert_eq!(gathered(&chunks, Selection { starts, lengths, ..rows }).unwrap(), bytes(&expected));
        }
    }

    #[test]
    fn hostile_input_is_an_error(
        offsets in prop::collection::vec(any::<i32>(), 0..9),
        wide in prop::collection::vec(any::<i64>(), 0..9),
        values in prop::collection::vec(any::<u8>(), 0..50),
        ids in prop::collection::vec(any::<i64>(), 1..9),
        pieces in prop::collection::vec(any::<i32>(), 0..9),
        width in 1..=usize::MAX,
    ) {
        let chunks = vec![
            ListChunk { offsets: Offsets::I32(&offsets), values: &values },
            ListChunk { offsets: Offsets::I64(&wide), values: &values },
        ];
        let column = ListColumn::new(chunks, width.try_into().unwrap());
        let _ = column.lengths();
        let near: Vec<i64> = ids.iter().map(|id| id.rem_euclid(20)).collect();
        for ids in [&ids, &near] {
            for (starts, lengths) in [(None, None), (Some(&pieces[..]), None), (None, Some(&pieces[..]))] {
                let _ = gather(&column, Selection { ids: IdSlice::I64(ids), starts, lengths, fillers: None });
            }
        }
    }
}

#[test]
fn what_is_not_there_is_named() {
    let values = bytes(&[1, 2, 3]);
    let chunks = [ListChunk { offsets: Offsets::I32(&[0, 1, 3]), values: &values }];
    let row = gathered(&chunks, Selection::rows(IdSlice::I64(&[0, 2])));
    assert_eq!(row, Err(Error::NoSuchRow { row: 2, rows: 2 }));
    let rows = Selection::rows(IdSlice::U32(&[1]));
    let piece = gathered(&chunks, Selection { starts: Some(&[1]), lengths: Some(&[2]), ..rows }).unwrap_err();
    assert_eq!(piece, Error::PieceOutside { row: 1, start: 1, length: 2, found: 2 });
    assert!(gathered(&chunks, Selection { lengths: Some(&[]), ..rows }).is_err());
    assert!(gathered(&chunks, Selection { starts: Some(&[0, 0]), ..rows }).is_err());
    assert_eq!(gathered(&[], rows), Err(Error::NoSuchRow { row: 1, rows: 0 }));
}

#[test]
fn fillers_stand_where_the_id_is_theirs() {
    let values = bytes(&[1, 2, 3]);
    let chunks = [ListChunk { offsets: Offsets::I32(&[0, 1, 3]), values: &values }];
    let (padding, separator) = (bytes(&[7]), bytes(&[9]));
    let fillers = Some(Fillers { padding: &padding, separator: &separator });
    let ids = IdSlice::I64(&[1, SEPARATOR, 0, PADDING]);
    let lengths = Some(&[2, 1, 1, 3][..]);
    let selection = Selection { lengths, fillers, ..Selection::rows(ids) };
    assert_eq!(gathered(&chunks, selection).unwrap(), bytes(&[2, 3, 9, 1, 7, 7, 7]));
    let without = gathered(&chunks, Selection { fillers: None, ..selection });
    assert_eq!(without, Err(Error::NoSuchRow { row: -2, rows: 2 }));
    let empty = gathered(&chunks, Selection { lengths: Some(&[2, 0, 1, 0]), fillers: None, ..selection });
    assert_eq!(empty, Err(Error::NoSuchRow { row: -2, rows: 2 }), "not even an empty one");
    let unmeasured = gathered(&chunks, Selection { lengths: None, ..selection });
    assert_eq!(unmeasured, Err(Error::NoSuchRow { row: -2, rows: 2 }));
    let negative = gathered(&chunks, Selection { lengths: Some(&[2, -1, 1, 3]), ..selection });
    assert_eq!(negative, Err(Error::NoSuchRow { row: -2, rows: 2 }));
    let wide = Fillers { padding: &values, separator: &separator };
    assert!(gathered(&chunks, Selection { fillers: Some(wide), ..selection }).is_err());
    let rows = Selection { ids: IdSlice::I64(&[1, 0]), lengths: None, ..selection };
    assert!(gathered(&chunks, rows).is_ok());
    assert!(gathered(&chunks, Selection { fillers: Some(wide), ..rows }).is_err());
}
