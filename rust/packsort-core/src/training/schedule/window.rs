//! Balance the steps of one window.

use std::ops::Add;

use crate::Error;
use crate::memory::{collected, zeros};
use crate::permutation::{Permutation, key};
use crate::training::schedule::{RANKS, RUNS, SCHEDULE, ScheduleOptions};

/// Times of steps, added up. A step takes as long as its slowest rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// Sum over steps of mean / max cost of the ranks. Divided by the number of steps, it is the share of time in which
    /// ranks work.
    pub utilization: f64,
    /// Sum over steps of the max cost of the ranks.
    pub time: f64,
}

impl Add for StepTimes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { utilization: self.utilization + other.utilization, time: self.time + other.time }
    }
}

impl StepTimes {
    /// Add up the times of the steps that `packs` make.
    fn of_steps(costs: &[f64], options: &ScheduleOptions, packs: &[i64]) -> Self {
        packs.chunks(options.packs_of_step()).fold(Self::default(), |sum, step| {
            let (mut most, mut total) = (0.0_f64, 0.0);
            for rank in step.chunks(options.packs_of_rank()) {
                let cost: f64 = rank.iter().map(|&pack| costs[pack as usize]).sum();
                most = most.max(cost);
                total += cost;
            }
            let mean = total / options.ranks() as f64;
            sum + Self { utilization: if mean < most { mean / most } else { 1.0 }, time: most }
        })
    }

    /// Whether neither utilization nor time is worse. Times may differ by rounding: they are sums in another order.
    pub(super) fn is_no_worse_than(self, other: Self) -> bool {
        self.utilization >= other.utilization && self.time <= other.time * (1.0 + 1e-12)
    }
}

/// Balance the steps of one window in place; returns their times before and after.
pub(super) fn balance(
    costs: &[f64],
    options: &ScheduleOptions,
    first_step: usize,
    packs: &mut [i64],
) -> Result<[StepTimes; 2], Error> {
    let (ranks, each) = (options.ranks(), options.packs_of_rank());
    let before = StepTimes::of_steps(costs, options, packs);
    if ranks == 1 {
        return Ok([before, before]);
    }
    // Packs of equal cost stay in shuffled order. A stable sort would say the same, but asks for memory that may fail it.
    let mut order = collected(WINDOW, packs.iter().map(|&pack| costs[pack as usize]).zip(0..))?;
    order.sort_unstable_by(|a: &(f64, usize), b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let by_cost = collected(WINDOW, order.iter().map(|&(cost, place)| (cost, packs[place])))?;
    let runs = collected(WINDOW, by_cost.chunks(ranks))?;
    // Without a seed the key is that of version 0.1, so that a balanced loader resumes a run of that version.
    let seed = options.seed.map_or(0, |seed| seed ^ SCHEDULE);
    let shuffle = Permutation::new(runs.len() as u64, key([seed, first_step as u64, RUNS]));
    let mut balanced = zeros::<i64>(WINDOW, packs.len())?;
    let mut dealer = Dealer { costs: vec![0.0; ranks], ranks: vec![0; ranks], runs: Vec::with_capacity(each) };
    for (s, step) in balanced.chunks_mut(options.packs_of_step()).enumerate() {
        let runs = (0..each).map(|i| runs[shuffle.at((s * each + i) as u64) as usize]);
        dealer.deal(runs, key([seed, (first_step + s) as u64, RANKS]), step);
    }
    let after = StepTimes::of_steps(costs, options, &balanced);
    if after.is_no_worse_than(before) {
        packs.copy_from_slice(&balanced);
        Ok([before, after])
    } else {
        Ok([before, before])
    }
}

const WINDOW: &str = "the packs of a window";

/// Deals the packs of steps to ranks. It is kept between steps to reuse its memory.
struct Dealer<'a> {
    costs: Vec<f64>,                      // (ranks,): cost of each rank so far
    ranks: Vec<usize>,                    // (ranks,): in the order in which they take a pack of a run
    runs: Vec<(usize, &'a [(f64, i64)])>, // (accumulation,): place in the step, and packs with their costs
}

impl<'a> Dealer<'a> {
    fn deal(&mut self, runs: impl Iterator<Item = &'a [(f64, i64)]>, key: u64, step: &mut [i64]) {
        self.runs.clear();
        self.runs.extend(runs.enumerate());
        let each = self.runs.len();
        let spread = |run: &[(f64, i64)]| run[0].0 - run[run.len() - 1].0;
        self.runs.sort_by(|a, b| spread(b.1).total_cmp(&spread(a.1)));
        self.costs.fill(0.0);
        // Ranks take turns by chance: a rank that always takes first would have the expensive packs of the whole epoch.
        let shuffle = Permutation::new(self.ranks.len() as u64, key);
        self.ranks.iter_mut().zip(0..).for_each(|(rank, i)| *rank = shuffle.at(i) as usize);
        for &(place, run) in &self.runs {
            let costs = &mut self.costs;
            self.ranks.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]));
            for (&rank, &(cost, pack)) in self.ranks.iter().zip(run) {
                costs[rank] += cost;
                step[rank * each + place] = pack;
            }
        }
    }
}
