//! The shuffle of one epoch of a patterned plan: the order of packs, and the ids within each class.

use crate::Error;
use crate::memory::{collected, with_room};
use crate::permutation::{Permutation, key};
use crate::plan::patterned::Patterned;

/// The permutations of one epoch. Equal lengths trade places, and so do packs, so the patterns stay.
#[derive(Debug)]
pub(crate) struct Shuffle {
    /// The order of packs: pack `i` is the one that was opened as number `packs.at(i)`.
    pub packs: Permutation,
    /// The order of the ids of each class.
    pub ids: Vec<Permutation>, // (classes,)
}

impl Shuffle {
    /// Choose the permutations of an epoch.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(patterned: &Patterned, seed: u64, epoch: u64) -> Result<Self, Error> {
        let classes = &patterned.classes;
        let mut ids = with_room(IDS, classes.len())?;
        for group in 0..classes.num_groups() {
            for class in classes.of_group(group) {
                let stream = (group as u64) << 32 | u64::from(classes.lengths[class]);
                ids.push(Permutation::new(classes.count(class), key([seed, epoch, stream])));
            }
        }
        Ok(Self { packs: order_of_packs(patterned, seed, epoch), ids })
    }

    /// Choose the order of packs in an epoch; each keeps its ids.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn of_packs(patterned: &Patterned, seed: u64, epoch: u64) -> Result<Self, Error> {
        let classes = &patterned.classes;
        let own = (0..classes.len()).map(|class| Permutation::identity(classes.count(class)));
        Ok(Self { packs: order_of_packs(patterned, seed, epoch), ids: collected(IDS, own)? })
    }
}

const IDS: &str = "shuffles of equal lengths";

fn order_of_packs(patterned: &Patterned, seed: u64, epoch: u64) -> Permutation {
    // Stream 0 is free for the packs: no sequence has length 0.
    Permutation::new(patterned.num_packs(), key([seed, epoch, 0]))
}
