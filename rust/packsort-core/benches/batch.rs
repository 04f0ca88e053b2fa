//! Time writing batches. The arrays are first compared with plain loops over tokens.
#![allow(missing_docs)]

mod common;

use common::{Distribution, Random};
use divan::Bencher;
use divan::counter::ItemsCount;
use packsort_core::batch::{BatchArrays, BatchOptions, NO_LOSS, PackView, Tokens, write_batch};
use packsort_core::{Lengths, Options, Plan};

fn main() {
    divan::main();
}

struct Pack {
    input_ids: Vec<i32>,
    labels: Vec<i32>,
    seq_lengths: Vec<i32>,
}

/// The first packs of a plan of lengths up to `max_length`, with random tokens, a third of them without loss.
fn packs(number: usize, max_length: u32, distribution: Distribution) -> Vec<Pack> {
    let lengths = distribution.lengths(100_000, max_length);
    let plan = Plan::new(&Lengths::from(&lengths[..]).into(), Options::new(max_length), Some(0), 0).unwrap();
    let mut random = Random(5);
    plan.packs(0..number as u64)
        .map(|pack| {
            let seq_lengths: Vec<i32> = pack.lengths.iter().map(|&length| length as i32).collect();
            let tokens: i32 = seq_lengths.iter().sum();
            let input_ids: Vec<i32> = (0..tokens).map(|_| random.below(100_000) as i32).collect();
            let labels = input_ids.iter().map(|&id| if random.below(3) == 0 { NO_LOSS as i32 } else { id }).collect();
            Pack { input_ids, labels, seq_lengths }
        })
        .collect()
}

/// The arrays of a batch.
#[derive(Default, PartialEq)]
struct Arrays {
    input_ids: Vec<i64>,
    labels: Vec<i64>,
    position_ids: Vec<i64>,
    seq_idx: Vec<i32>,
    cu_seqlens: Vec<i32>,
}

impl Arrays {
    /// Arrays of the right size.
    fn empty(packs: &[Pack]) -> Self {
        let tokens = packs.iter().map(|pack| pack.input_ids.len()).sum();
        let segments: usize = packs.iter().map(|pack| pack.seq_lengths.len()).sum();
        Self {
            input_ids: vec![0; tokens],
            labels: vec![0; tokens],
            position_ids: vec![0; tokens],
            seq_idx: vec![0; tokens],
            cu_seqlens: vec![0; segments + 1],
        }
    }

    fn write(&mut self, packs: &[PackView]) {
        let arrays = BatchArrays {
            input_ids: &mut self.input_ids,
            labels: &mut self.labels,
            position_ids: &mut self.position_ids,
            loss_mask: None,
            loss_weights: None,
            segment_ids: None,
            seq_idx: Some(&mut self.seq_idx),
            cu_seqlens: &mut self.cu_seqlens,
            unpadded: None,
        };
        write_batch(packs, &BatchOptions::default(), arrays).unwrap();
    }

    /// Arrays written token by token.
    fn token_by_token(packs: &[Pack]) -> Self {
        let mut arrays = Self { cu_seqlens: vec![0], ..Self::default() };
        for pack in packs {
            let mut token = 0;
            for &length in &pack.seq_lengths {
                for position in 0..length {
                    arrays.input_ids.push(pack.input_ids[token].into());
                    arrays.labels.push(if position == 0 { NO_LOSS } else { pack.labels[token].into() });
                    arrays.position_ids.push(position.into());
                    arrays.seq_idx.push(arrays.cu_seqlens.len() as i32 - 1);
                    token += 1;
                }
                arrays.cu_seqlens.push(arrays.input_ids.len() as i32);
            }
        }
        arrays
    }
}

#[divan::bench(args = [
    (4, 4096, Distribution::Chats),
    (4, 4096, Distribution::Uniform),
    (16, 8192, Distribution::Chats),
    (64, 8192, Distribution::Chats),
])]
fn write_packs(bencher: Bencher, (number, max_length, distribution): (usize, u32, Distribution)) {
    let packs = packs(number, max_length, distribution);
    let views: Vec<PackView> = packs
        .iter()
        .map(|pack| PackView {
            input_ids: Tokens::Whole(&pack.input_ids),
            labels: Some(Tokens::Whole(&pack.labels)),
            seq_lengths: &pack.seq_lengths,
            sequence_ids: None,
        })
        .collect();
    let mut arrays = Arrays::empty(&packs);
    arrays.write(&views);
    assert!(arrays == Arrays::token_by_token(&packs), "the batch differs from one written token by token");
    bencher.counter(ItemsCount::new(arrays.input_ids.len())).bench_local(|| arrays.write(&views));
}
