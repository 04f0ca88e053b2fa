//! Which rank trains on which pack at which step, so that ranks do not wait for each other.

use std::num::NonZeroUsize;

use rayon::prelude::*;

use crate::memory::zeroed;
use crate::permutation::{Permutation, key};

/// What becomes of packs that do not fill a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The last step is filled with the first packs of the shuffled order, once more.
    Pad,
    /// The last packs of the shuffled order are left out.
    Drop,
}

/// How packs are laid out over ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Ranks that train together.
    pub world_size: NonZeroUsize,
    /// Packs each rank trains on in one step.
    pub accumulation: NonZeroUsize,
    /// Packs trade places within so many steps at most.
    pub window: NonZeroUsize,
    /// What becomes of packs that do not fill a step.
    pub tail: Tail,
    /// Shuffles packs, then the steps of each window; without one the order given is that which is balanced.
    pub seed: Option<u64>,
}

/// Packs in the order in which ranks train on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Packs: rank `r` takes `order[(s * world_size + r) * accumulation..][..accumulation]` at step `s`.
    pub order: Vec<i64>, // (steps, world_size, accumulation)
    /// Packs that are there twice, or not at all.
    pub tail: Vec<i64>, // (packs,)
    /// The shuffled order, cut into steps as it is.
    pub before: Balance,
    /// What was made of it.
    pub after: Balance,
}

/// How well ranks are used. A step takes as long as its slowest rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Balance {
    /// Sum over steps of mean / max cost over ranks.
    pub utilization: f64,
    /// Sum over steps of the max cost over ranks.
    pub time: f64,
}

impl Schedule {
    /// Deals packs of `costs` to ranks, each pack once, so that the ranks of a step have about equal costs.
    ///
    /// Packs are shuffled and cut into windows of steps. In a window they are sorted by cost and cut into runs of one
    /// pack a rank: costs in a run are neighbours, and no other way to cut has a smaller sum of the runs' maxima. Runs
    /// are shuffled; a step takes `accumulation` of them, the one with the widest spread first, and gives the dearest
    /// pack of a run to the rank that has the least so far (longest processing time first; Graham, 1969). So ranks are
    /// level at each of a step's packs, not at its end alone. A window that would not gain keeps its shuffled order.
    ///
    /// Costs are 0 or more, and their sum is finite.
    ///
    /// # Complexity
    /// O(n log window), in parallel by window; the result does not depend on the number of threads.
    ///
    /// ```
    /// use packsort_core::{Layout, Schedule, Tail};
    ///
    /// let two = 2.try_into()?;
    /// let layout = Layout { world_size: two, accumulation: 1.try_into()?, window: two, tail: Tail::Pad, seed: Some(0) };
    /// let schedule = Schedule::new(&[1.0, 9.0, 1.0, 9.0], &layout);
    /// assert_eq!(schedule.after.utilization, 2.0); // both steps
    /// assert_eq!(schedule.order[0] % 2, schedule.order[1] % 2); // 1 and 9 never meet
    /// # Ok::<(), std::num::TryFromIntError>(())
    /// ```
    pub fn new(costs: &[f64], layout: &Layout) -> Self {
        let step = layout.world_size.get() * layout.accumulation.get();
        let steps = match layout.tail {
            Tail::Pad => costs.len().div_ceil(step),
            Tail::Drop => costs.len() / step,
        };
        let (mut order, tail) = shuffled(costs.len(), steps * step, layout.seed);
        let windows = steps.div_ceil(layout.window.get());
        // As even as they come: a short last window would balance badly.
        let cuts: Vec<usize> =
            (0..=windows).map(|w| (w as u128 * steps as u128 / windows.max(1) as u128) as usize).collect();
        let mut shares = Vec::with_capacity(windows);
        let mut rest = &mut order[..];
        for cut in cuts.windows(2) {
            let (own, others) = rest.split_at_mut((cut[1] - cut[0]) * step);
            shares.push((cut[0], own));
            rest = others;
        }
        let balances: Vec<[Balance; 2]> =
            shares.into_par_iter().map(|(first, packs)| balance_window(costs, layout, first, packs)).collect();
        // One after another: a sum's last digits depend on its order.
        let sum = |i: usize| balances.iter().fold(Balance::default(), |sum, b| sum.and(b[i]));
        Self { tail, before: sum(0), after: sum(1), order }
    }
}

impl Balance {
    fn and(self, other: Self) -> Self {
        Self { utilization: self.utilization + other.utilization, time: self.time + other.time }
    }

    fn of(costs: &[f64], layout: &Layout, packs: &[i64]) -> Self {
        let each = layout.accumulation.get();
        packs.chunks(layout.world_size.get() * each).fold(Self::default(), |sum, step| {
            let (mut most, mut total) = (0.0_f64, 0.0);
            for rank in step.chunks(each) {
                let cost: f64 = rank.iter().map(|&pack| costs[pack as usize]).sum();
                most = most.max(cost);
                total += cost;
            }
            let mean = total / layout.world_size.get() as f64;
            sum.and(Self { utilization: if mean < most { mean / most } else { 1.0 }, time: most })
        })
    }

    /// Whether neither steps nor their mean got worse. A sum of times is let differ by rounding.
    fn is_no_worse_than(self, other: Self) -> bool {
        self.utilization >= other.utilization && self.time <= other.time * (1.0 + 1e-12)
    }
}

/// The order to balance, of `places` packs, and which packs that repeats or leaves out.
fn shuffled(packs: usize, places: usize, seed: Option<u64>) -> (Vec<i64>, Vec<i64>) {
    let shuffle = seed.map(|seed| Permutation::new(packs as u64, key([seed, 0, ORDER])));
    let pack_at = |place: usize| {
        let place = (place % packs) as u64;
        shuffle.as_ref().map_or(place, |s| s.get(place)) as i64
    };
    let mut order = zeroed::<i64>(places);
    order.par_iter_mut().enumerate().with_min_len(1 << 14).for_each(|(place, pack)| *pack = pack_at(place));
    let tail = packs.min(places)..packs.max(places);
    (order, tail.map(pack_at).collect())
}

// What a key is for, so that no two shuffles are the same.
const ORDER: u64 = 0;
const RUNS: u64 = 1;
const RANKS: u64 = 2;

/// Balances the steps of one window in place; how well ranks are used before and after.
fn balance_window(costs: &[f64], layout: &Layout, first_step: usize, packs: &mut [i64]) -> [Balance; 2] {
    let (ranks, each) = (layout.world_size.get(), layout.accumulation.get());
    let before = Balance::of(costs, layout, packs);
    if ranks == 1 {
        return [before, before];
    }
    let mut by_cost: Vec<(f64, i64)> = packs.iter().map(|&pack| (costs[pack as usize], pack)).collect();
    // Stable: packs alike stay as they were shuffled.
    by_cost.sort_by(|a, b| b.0.total_cmp(&a.0));
    let runs: Vec<&[(f64, i64)]> = by_cost.chunks(ranks).collect();
    let seed = layout.seed.unwrap_or(0);
    let shuffle = Permutation::new(runs.len() as u64, key([seed, first_step as u64, RUNS]));
    let mut found = vec![0_i64; packs.len()];
    let mut dealer = Dealer { sums: vec![0.0; ranks], turns: vec![0; ranks], takes: Vec::with_capacity(each) };
    for (s, step) in found.chunks_mut(ranks * each).enumerate() {
        let runs = (0..each).map(|i| runs[shuffle.get((s * each + i) as u64) as usize]);
        dealer.deal(runs, key([seed, (first_step + s) as u64, RANKS]), step);
    }
    let after = Balance::of(costs, layout, &found);
    if after.is_no_worse_than(before) {
        packs.copy_from_slice(&found);
        [before, after]
    } else {
        [before, before]
    }
}

/// Gives the packs of a step to ranks; what it keeps is only memory to use again.
struct Dealer<'a> {
    sums: Vec<f64>,                        // (ranks,)
    turns: Vec<usize>,                     // (ranks,): who takes first
    takes: Vec<(usize, &'a [(f64, i64)])>, // (accumulation,): a run, and its place in the step
}

impl<'a> Dealer<'a> {
    fn deal(&mut self, runs: impl Iterator<Item = &'a [(f64, i64)]>, key: u64, step: &mut [i64]) {
        self.takes.clear();
        self.takes.extend(runs.enumerate());
        let each = self.takes.len();
        let spread = |run: &[(f64, i64)]| run[0].0 - run[run.len() - 1].0;
        self.takes.sort_by(|a, b| spread(b.1).total_cmp(&spread(a.1)));
        self.sums.fill(0.0);
        // Whoever took first always would have the dearer packs all along.
        let shuffle = Permutation::new(self.turns.len() as u64, key);
        self.turns.iter_mut().zip(0..).for_each(|(rank, i)| *rank = shuffle.get(i) as usize);
        for &(place, run) in &self.takes {
            let sums = &mut self.sums;
            self.turns.sort_by(|&a, &b| sums[a].total_cmp(&sums[b]));
            for (&rank, &(cost, pack)) in self.turns.iter().zip(run) {
                sums[rank] += cost;
                step[rank * each + place] = pack;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(world_size: usize, accumulation: usize, window: usize, tail: Tail) -> Layout {
        let [world_size, accumulation, window] = [world_size, accumulation, window].map(|n| n.try_into().unwrap());
        Layout { world_size, accumulation, window, tail, seed: Some(3) }
    }

    fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    fn sorted(mut packs: Vec<i64>) -> Vec<i64> {
        packs.sort();
        packs
    }

    prop_compose! {
        fn any_layout()(
            world_size in 1_usize..9,
            accumulation in 1_usize..5,
            window in 1_usize..12,
            drop: bool,
            seed: Option<u64>,
        ) -> Layout {
            let tail = if drop { Tail::Drop } else { Tail::Pad };
            Layout { seed, ..layout(world_size, accumulation, window, tail) }
        }
    }

    fn any_costs() -> impl Strategy<Value = Vec<f64>> {
        let alike = (1_u8..6).prop_map(f64::from);
        prop::collection::vec(prop_oneof![alike, 0.0..1e15], 0..300)
    }

    proptest! {
        #[test]
        fn each_pack_is_trained_once_but_for_the_tail(costs in any_costs(), layout in any_layout()) {
            let made = Schedule::new(&costs, &layout);
            let step = layout.world_size.get() * layout.accumulation.get();
            prop_assert_eq!(made.order.len() % step, 0);
            prop_assert!(made.tail.len() < step);
            let all: Vec<i64> = (0..costs.len() as i64).collect();
            match layout.tail {
                Tail::Pad => prop_assert_eq!(sorted(made.order), sorted([all, made.tail].concat())),
                Tail::Drop => prop_assert_eq!(sorted([made.order, made.tail].concat()), all),
            }
        }

        #[test]
        fn packs_stay_in_their_window(costs in any_costs(), layout in any_layout()) {
            let made = Schedule::new(&costs, &layout);
            let shuffled = shuffled(costs.len(), made.order.len(), layout.seed).0;
            let step = layout.world_size.get() * layout.accumulation.get();
            let steps = made.order.len() / step;
            let windows = steps.div_ceil(layout.window.get());
            for w in 0..windows {
                let (start, stop) = (w * steps / windows, (w + 1) * steps / windows);
                prop_assert!(stop - start <= layout.window.get());
                let own = |order: &[i64]| sorted(order[start * step..stop * step].to_vec());
                prop_assert_eq!(own(&made.order), own(&shuffled));
            }
        }

        #[test]
        fn never_worse_than_before(costs in any_costs(), layout in any_layout()) {
            let made = Schedule::new(&costs, &layout);
            prop_assert!(made.after.is_no_worse_than(made.before), "{:?}", made);
            let steps = made.order.len() / layout.world_size.get() / layout.accumulation.get();
            prop_assert!(made.after.utilization <= steps as f64);
        }

        #[test]
        fn any_number_of_threads_gives_the_same(costs in any_costs(), layout in any_layout()) {
            let one = in_pool(1, || Schedule::new(&costs, &layout));
            prop_assert_eq!(in_pool(5, || Schedule::new(&costs, &layout)), one);
        }
    }

    #[test]
    fn whole_windows_of_two_costs_are_level() {
        let costs: Vec<f64> = (0..640).map(|i| if i % 2 == 0 { 1.0 } else { 7.0 }).collect();
        let made = Schedule::new(&costs, &layout(8, 1, 80, Tail::Pad));
        assert_eq!(made.after.utilization, 80.0);
        assert!(made.before.utilization < 60.0, "{:?}", made.before);
    }

    #[test]
    fn accumulated_packs_even_out_what_single_ones_cannot() {
        let costs: Vec<f64> = (0..64).map(|i| f64::from(i * i)).collect();
        let utilization = |each: usize| {
            let made = Schedule::new(&costs, &layout(4, each, 100, Tail::Pad));
            made.after.utilization / (16 / each) as f64
        };
        let [one, four] = [1, 4].map(utilization);
        assert!(one < 0.9 && four > 0.98, "{one} {four}");
    }

    #[test]
    fn no_rank_always_has_the_dearest_pack() {
        let costs: Vec<f64> = (0..8000).map(f64::from).collect();
        let made = Schedule::new(&costs, &layout(8, 1, 50, Tail::Pad));
        let mut dearest = [0; 8];
        for step in made.order.chunks(8) {
            dearest[(0..8).max_by_key(|&rank| step[rank]).unwrap()] += 1;
        }
        assert!(dearest.iter().all(|n| (80..180).contains(n)), "{dearest:?}");
    }

    #[test]
    fn cheap_and_dear_steps_are_mixed_within_a_window() {
        let costs: Vec<f64> = (0..800).map(f64::from).collect();
        let made = Schedule::new(&costs, &layout(8, 1, 100, Tail::Pad));
        let rises =
            made.order.chunks(8).map(|step| step[0]).collect::<Vec<_>>().windows(2).filter(|w| w[0] < w[1]).count();
        assert!((35..65).contains(&rises), "{rises}");
    }

    #[test]
    fn fewer_packs_than_ranks_are_repeated_or_dropped() {
        let padded = Schedule::new(&[1.0, 2.0], &layout(5, 1, 4, Tail::Pad));
        assert_eq!((padded.order.len(), padded.tail.len()), (5, 3));
        let dropped = Schedule::new(&[1.0, 2.0], &layout(5, 1, 4, Tail::Drop));
        assert_eq!((dropped.order.len(), dropped.tail.len()), (0, 2));
        let none = Schedule::new(&[], &layout(5, 1, 4, Tail::Pad));
        assert_eq!((none.order, none.tail), (vec![], vec![]));
    }
}
