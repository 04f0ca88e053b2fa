//! Schedule packs over ranks and steps, so that ranks do not wait for each other.
//!
//! Packs of equally many tokens cost different amounts, and a step takes as long as its slowest rank. The idea: let
//! packs of similar cost meet in a step, but only packs that a shuffle has put near each other.
//!
//! ```text
//! shuffle the packs and cut them into windows of steps
//! for each window:
//!     sort its packs by cost and cut them into runs of one pack for each rank
//!     shuffle the runs
//!     for each step: take `accumulation` runs, the widest spread of costs first
//!         give the most expensive pack of a run to the rank with the least cost so far
//!     keep the shuffled packs instead if this did not help
//! ```
//!
//! Costs within a run are neighbours, and no other way to cut a window into runs has a smaller sum of the runs' maxima.
//! Giving the most expensive pack to the least loaded rank is longest processing time first (Graham, 1969, "Bounds on
//! multiprocessing timing anomalies"). Ranks are level after each of a step's packs, not only at its end.
//!
//! Cost: O(packs x log(packs of a window)), in parallel over windows.

mod window;

use std::num::NonZeroUsize;

use rayon::prelude::*;

pub use window::StepTimes;

use crate::Error;
use crate::memory::{collected, zeroed};
use crate::names::named;
use crate::parallel::split_at_lengths;
use crate::permutation::{Permutation, key};

/// Treatment of packs that do not fill a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// The first packs of the shuffled order are repeated to fill the last step.
    #[default]
    Pad,
    /// The last packs of the shuffled order are left out.
    Drop,
}

named!(Tail, "tail", Pad => "pad", Drop => "drop");

/// Options of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// Number of ranks that train together.
    pub world_size: NonZeroUsize,
    /// Number of packs each rank trains on in one step.
    pub accumulation: NonZeroUsize,
    /// Number of steps within which packs may trade places.
    pub window: NonZeroUsize,
    /// Treatment of packs that do not fill a step.
    pub tail: Tail,
    /// Seed of the shuffles of packs and runs. `None` keeps the order of packs that is given.
    pub seed: Option<u64>,
}

impl ScheduleOptions {
    fn ranks(&self) -> usize {
        self.world_size.get()
    }

    fn packs_of_rank(&self) -> usize {
        self.accumulation.get()
    }

    /// Packs of one step; 1 or more.
    fn packs_of_step(&self) -> usize {
        self.ranks() * self.packs_of_rank()
    }

    fn check(&self) -> Result<(), Error> {
        let found = self.ranks().saturating_mul(self.packs_of_rank());
        if found > MAX_PACKS_OF_STEP {
            let (found, limit) = (found as u64, MAX_PACKS_OF_STEP as u64);
            return Err(Error::TooMany { what: "packs in a step", found, limit });
        }
        Ok(())
    }
}

/// Larger steps are mistakes: padding a step of this size takes 128 MB.
const MAX_PACKS_OF_STEP: usize = 1 << 24;

/// Packs in the order in which ranks train on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Pack numbers: at step `s`, rank `r` trains on `packs[(s * world_size + r) * accumulation..][..accumulation]`.
    pub packs: Vec<i64>, // (steps, world_size, accumulation)
    /// Numbers of the packs that occur twice ([`Tail::Pad`]) or not at all ([`Tail::Drop`]).
    pub tail: Vec<i64>,
    /// Times of the steps in shuffled order.
    pub before: StepTimes,
    /// Times of the scheduled steps.
    pub after: StepTimes,
}

impl Schedule {
    /// Schedule packs with these `costs`, so that the ranks of every step have about equal costs.
    ///
    /// Each pack occurs once, except those of the tail. The schedule does not depend on the number of threads.
    ///
    /// # Errors
    /// A cost that is negative or not finite; a step of more than 2^24 packs.
    ///
    /// # Complexity
    /// O(packs x log(packs of a window)), on all threads of the current rayon pool.
    ///
    /// # Examples
    /// ```
    /// use packsort_core::{Schedule, ScheduleOptions, Tail};
    ///
    /// let two = 2.try_into()?;
    /// let options =
    ///     ScheduleOptions { world_size: two, accumulation: 1.try_into()?, window: two, tail: Tail::Pad, seed: Some(0) };
    /// let schedule = Schedule::new(&[1.0, 9.0, 1.0, 9.0], &options)?;
    /// assert_eq!(schedule.after.utilization, 2.0); // 1.0 at each of two steps
    /// assert_eq!(schedule.packs[0] % 2, schedule.packs[1] % 2); // costs of 1 and 9 never meet
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(costs: &[f64], options: &ScheduleOptions) -> Result<Self, Error> {
        options.check()?;
        let sound = |cost: &f64| cost.is_finite() && *cost >= 0.0;
        if let Some(pack) = costs.iter().position(|cost| !sound(cost)) {
            return Err(Error::Cost { pack: pack as u64, cost: costs[pack] });
        }
        let step = options.packs_of_step();
        let steps = match options.tail {
            Tail::Pad => costs.len().div_ceil(step),
            Tail::Drop => costs.len() / step,
        };
        let (mut packs, tail) = shuffled(costs.len(), steps * step, options.seed)?;
        // Windows differ by one step at most: a short last window would balance badly.
        let windows = steps.div_ceil(options.window.get());
        let first_step = |w: usize| (w as u128 * steps as u128 / windows as u128) as usize;
        let first_steps: Vec<usize> = (0..windows).map(first_step).collect();
        let lengths: Vec<usize> = (0..windows).map(|w| (first_step(w + 1) - first_step(w)) * step).collect();
        let times = split_at_lengths(&mut packs, &lengths)
            .into_par_iter()
            .zip(first_steps)
            .map(|(packs, first_step)| window::balance(costs, options, first_step, packs))
            .collect::<Result<Vec<[StepTimes; 2]>, Error>>()?;
        // Added one after another, because the last digits of a sum depend on its order.
        let sum = |i: usize| times.iter().fold(StepTimes::default(), |sum, window| sum + window[i]);
        Ok(Self { tail, before: sum(0), after: sum(1), packs })
    }
}

/// Shuffle packs into `places` places; returns them, and the packs that this repeats or leaves out.
fn shuffled(packs: usize, places: usize, seed: Option<u64>) -> Result<(Vec<i64>, Vec<i64>), Error> {
    let shuffle = seed.map(|seed| Permutation::new(packs as u64, key([seed ^ SCHEDULE, 0, PACKS])));
    let pack_at = |place: usize| {
        let place = (place % packs) as u64;
        shuffle.as_ref().map_or(place, |s| s.at(place)) as i64
    };
    let mut order = zeroed::<i64>(PACKS_OF_STEPS, places)?;
    order.par_iter_mut().enumerate().with_min_len(1 << 14).for_each(|(place, pack)| *pack = pack_at(place));
    let tail = packs.min(places)..packs.max(places);
    Ok((order, collected(PACKS_OF_STEPS, tail.map(pack_at))?))
}

const PACKS_OF_STEPS: &str = "the packs of a schedule";

/// Separates these shuffles from those of plans with the same seed. A plan shuffles its packs too: the same key would
/// apply one permutation twice.
const SCHEDULE: u64 = 0x7363_6865_6475_6c65;

// Each shuffle of a schedule has a stream of its own.
const PACKS: u64 = 0;
const RUNS: u64 = 1;
const RANKS: u64 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(world_size: usize, accumulation: usize, window: usize, tail: Tail) -> ScheduleOptions {
        let [world_size, accumulation, window] = [world_size, accumulation, window].map(|n| n.try_into().unwrap());
        ScheduleOptions { world_size, accumulation, window, tail, seed: Some(3) }
    }

    fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    fn sorted(mut packs: Vec<i64>) -> Vec<i64> {
        packs.sort();
        packs
    }

    prop_compose! {
        fn any_options()(
            world_size in 1_usize..9,
            accumulation in 1_usize..5,
            window in 1_usize..12,
            drop: bool,
            seed: Option<u64>,
        ) -> ScheduleOptions {
            let tail = if drop { Tail::Drop } else { Tail::Pad };
            ScheduleOptions { seed, ..options(world_size, accumulation, window, tail) }
        }
    }

    fn any_costs() -> impl Strategy<Value = Vec<f64>> {
        let alike = (1_u8..6).prop_map(f64::from);
        prop::collection::vec(prop_oneof![alike, 0.0..1e15], 0..300)
    }

    proptest! {
        #[test]
        fn each_pack_is_trained_once_but_for_the_tail(costs in any_costs(), options in any_options()) {
            let made = Schedule::new(&costs, &options).unwrap();
            let step = options.world_size.get() * options.accumulation.get();
            prop_assert_eq!(made.packs.len() % step, 0);
            prop_assert!(made.tail.len() < step);
            let all: Vec<i64> = (0..costs.len() as i64).collect();
            match options.tail {
                Tail::Pad => prop_assert_eq!(sorted(made.packs), sorted([all, made.tail].concat())),
                Tail::Drop => prop_assert_eq!(sorted([made.packs, made.tail].concat()), all),
            }
        }

        #[test]
        fn packs_stay_in_their_window(costs in any_costs(), options in any_options()) {
            let made = Schedule::new(&costs, &options).unwrap();
            let shuffled = shuffled(costs.len(), made.packs.len(), options.seed).unwrap().0;
            let step = options.world_size.get() * options.accumulation.get();
            let steps = made.packs.len() / step;
            let windows = steps.div_ceil(options.window.get());
            for w in 0..windows {
                let (start, stop) = (w * steps / windows, (w + 1) * steps / windows);
                prop_assert!(stop - start <= options.window.get());
                let own = |order: &[i64]| sorted(order[start * step..stop * step].to_vec());
                prop_assert_eq!(own(&made.packs), own(&shuffled));
            }
        }

        #[test]
        fn never_worse_than_before(costs in any_costs(), options in any_options()) {
            let made = Schedule::new(&costs, &options).unwrap();
            prop_assert!(made.after.is_no_worse_than(made.before), "{:?}", made);
            let steps = made.packs.len() / options.world_size.get() / options.accumulation.get();
            prop_assert!(made.after.utilization <= steps as f64);
        }

        #[test]
        fn any_number_of_threads_gives_the_same(costs in any_costs(), options in any_options()) {
            let one = in_pool(1, || Schedule::new(&costs, &options).unwrap());
            prop_assert_eq!(in_pool(5, || Schedule::new(&costs, &options).unwrap()), one);
        }
    }

    #[test]
    fn hostile_options_and_costs_are_refused() {
        let huge = options(usize::MAX, 3, 1, Tail::Pad);
        let refused = Error::TooMany { what: "packs in a step", found: u64::MAX, limit: 1 << 24 };
        assert_eq!(Schedule::new(&[1.0], &huge), Err(refused));
        for cost in [f64::INFINITY, f64::NEG_INFINITY, -1e-300] {
            let refused = Err(Error::Cost { pack: 1, cost });
            assert_eq!(Schedule::new(&[1.0, cost], &options(2, 1, 1, Tail::Pad)), refused);
        }
        assert!(Schedule::new(&[f64::NAN], &options(2, 1, 1, Tail::Pad)).is_err());
        let largest = [f64::MAX; 9]; // their sum is not finite
        assert_eq!(Schedule::new(&largest, &options(2, 2, usize::MAX, Tail::Pad)).unwrap().packs.len(), 12);
    }

    #[test]
    fn the_shuffle_is_not_that_of_a_plan() {
        let of_plan = Permutation::new(100, key([3, 0, 0]));
        let of_plan: Vec<i64> = (0..100).map(|pack| of_plan.at(pack) as i64).collect();
        assert_ne!(shuffled(100, 100, Some(3)).unwrap().0, of_plan);
    }

    #[test]
    fn whole_windows_of_two_costs_are_level() {
        let costs: Vec<f64> = (0..640).map(|i| if i % 2 == 0 { 1.0 } else { 7.0 }).collect();
        let made = Schedule::new(&costs, &options(8, 1, 80, Tail::Pad)).unwrap();
        assert_eq!(made.after.utilization, 80.0);
        assert!(made.before.utilization < 60.0, "{:?}", made.before);
    }

    #[test]
    fn accumulated_packs_even_out_what_single_ones_cannot() {
        let costs: Vec<f64> = (0..64).map(|i| f64::from(i * i)).collect();
        let utilization = |each: usize| {
            let made = Schedule::new(&costs, &options(4, each, 100, Tail::Pad)).unwrap();
            made.after.utilization / (16 / each) as f64
        };
        let [one, four] = [1, 4].map(utilization);
        assert!(one < 0.9 && four > 0.98, "{one} {four}");
    }

    #[test]
    fn no_rank_always_has_the_dearest_pack() {
        let costs: Vec<f64> = (0..8000).map(f64::from).collect();
        let made = Schedule::new(&costs, &options(8, 1, 50, Tail::Pad)).unwrap();
        let mut dearest = [0; 8];
        for step in made.packs.chunks(8) {
            dearest[(0..8).max_by_key(|&rank| step[rank]).unwrap()] += 1;
        }
        assert!(dearest.iter().all(|n| (80..180).contains(n)), "{dearest:?}");
    }

    #[test]
    fn cheap_and_dear_steps_are_mixed_within_a_window() {
        let costs: Vec<f64> = (0..800).map(f64::from).collect();
        let made = Schedule::new(&costs, &options(8, 1, 100, Tail::Pad)).unwrap();
        let rises =
            made.packs.chunks(8).map(|step| step[0]).collect::<Vec<_>>().windows(2).filter(|w| w[0] < w[1]).count();
        assert!((35..65).contains(&rises), "{rises}");
    }

    #[test]
    fn fewer_packs_than_ranks_are_repeated_or_dropped() {
        let padded = Schedule::new(&[1.0, 2.0], &options(5, 1, 4, Tail::Pad)).unwrap();
        assert_eq!((padded.packs.len(), padded.tail.len()), (5, 3));
        let dropped = Schedule::new(&[1.0, 2.0], &options(5, 1, 4, Tail::Drop)).unwrap();
        assert_eq!((dropped.packs.len(), dropped.tail.len()), (0, 2));
        let none = Schedule::new(&[], &options(5, 1, 4, Tail::Pad)).unwrap();
        assert_eq!((none.packs, none.tail), (vec![], vec![]));
    }
}
