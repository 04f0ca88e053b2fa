//! A schedule has each pack once, except for the packs of the tail, and keeps ranks no longer than before.
#![no_main]

use std::num::NonZeroUsize;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use packsort_core::{Error, Schedule, ScheduleOptions, Tail};

#[derive(Arbitrary, Debug)]
enum Cost {
    Alike(u8),
    Any(f64),
}

#[derive(Arbitrary, Debug)]
struct Input {
    costs: Vec<Cost>,
    world_size: u8,
    accumulation: u8,
    too_large: bool,
    window: NonZeroUsize,
    drop: bool,
    seed: Option<u64>,
}

fuzz_target!(|input: Input| {
    let cost = |cost: &Cost| match cost {
        Cost::Alike(cost) => f64::from(*cost),
        Cost::Any(cost) => *cost,
    };
    let costs: Vec<f64> = input.costs.iter().map(cost).collect();
    // A step of up to 2^10 packs keeps the run fast; larger ones than 2^24 are refused.
    let world_size = usize::from(input.world_size % 32) + 1 + if input.too_large { 1 << 24 } else { 0 };
    let accumulation = usize::from(input.accumulation % 32) + 1;
    let nonzero = |number: usize| NonZeroUsize::new(number).unwrap();
    let options = ScheduleOptions {
        world_size: nonzero(world_size),
        accumulation: nonzero(accumulation),
        window: input.window,
        tail: if input.drop { Tail::Drop } else { Tail::Pad },
        seed: input.seed,
    };
    let made = match Schedule::new(&costs, &options) {
        Ok(made) => made,
        Err(Error::Cost { pack, cost }) => {
            assert!(!(cost.is_finite() && cost >= 0.0) && costs[pack as usize].to_bits() == cost.to_bits());
            return;
        }
        Err(Error::TooMany { .. }) => {
            assert!(input.too_large && world_size * accumulation > 1 << 24);
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert!(costs.iter().all(|cost| cost.is_finite() && *cost >= 0.0));
    let step = world_size * accumulation;
    assert_eq!(made.packs.len() % step, 0);
    assert!(made.tail.len() < step);
    let mut all: Vec<i64> = (0..costs.len() as i64).collect();
    let mut packs = made.packs;
    match options.tail {
        Tail::Pad => all.extend(&made.tail),
        Tail::Drop => packs.extend(&made.tail),
    }
    all.sort_unstable();
    packs.sort_unstable();
    assert_eq!(packs, all);
});
