//! Time planning. The plan is first compared with first-fit decreasing, sequence by sequence.
#![allow(missing_docs)]

mod common;

use common::Distribution;
use divan::Bencher;
use packsort_core::{Lengths, Options, Plan};

fn main() {
    divan::main();
}

/// First-fit decreasing with a tree of rooms: each node holds the largest room below it.
fn first_fit_decreasing(lengths: &[i64], max_length: i64) -> Vec<Vec<u64>> {
    let mut by_length: Vec<usize> = (0..lengths.len()).collect();
    by_length.sort_by_key(|&i| -lengths[i]);
    let leaves = lengths.len().next_power_of_two();
    let mut rooms = vec![max_length; 2 * leaves];
    let mut packs: Vec<Vec<u64>> = vec![];
    for i in by_length {
        let mut node = 1;
        while node < leaves {
            node = if rooms[2 * node] >= lengths[i] { 2 * node } else { 2 * node + 1 };
        }
        if node - leaves == packs.len() {
            packs.push(vec![]);
        }
        packs[node - leaves].push(i as u64);
        rooms[node] -= lengths[i];
        while node > 1 {
            node /= 2;
            rooms[node] = rooms[2 * node].max(rooms[2 * node + 1]);
        }
    }
    packs
}

fn plan(lengths: &[i64], max_length: u32) -> Plan {
    Plan::new(&Lengths::from(lengths).into(), Options::new(max_length), None, 0).unwrap()
}

const ARGS: [(usize, u32, Distribution); 4] = [
    (100_000, 4096, Distribution::Chats),
    (1_000_000, 8192, Distribution::Chats),
    (100_000, 4096, Distribution::Uniform),
    (1_000_000, 8192, Distribution::Uniform),
];

#[divan::bench(args = ARGS)]
fn plan_sequences(bencher: Bencher, (number, max_length, distribution): (usize, u32, Distribution)) {
    let lengths = distribution.lengths(number, max_length);
    let packs: Vec<Vec<u64>> = (&plan(&lengths, max_length)).into_iter().map(|pack| pack.ids).collect();
    assert!(packs == first_fit_decreasing(&lengths, max_length.into()), "packs differ from first-fit decreasing");
    bencher.bench(|| plan(&lengths, max_length));
}

#[divan::bench(args = ARGS)]
fn list_packs(bencher: Bencher, (number, max_length, distribution): (usize, u32, Distribution)) {
    let lengths = distribution.lengths(number, max_length);
    let plan = plan(&lengths, max_length);
    let listed: Vec<u64> = plan.list_packs(0..plan.num_packs()).unwrap().ids.iter().collect();
    let one_by_one: Vec<u64> = plan.packs(0..u64::MAX).flat_map(|pack| pack.ids).collect();
    assert!(listed == one_by_one, "listed packs differ from single ones");
    bencher.bench(|| plan.list_packs(0..plan.num_packs()).unwrap());
}
