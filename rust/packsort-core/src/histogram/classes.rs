//! Sequences that are alike to a plan: of one length, and of one group.

use crate::{Error, Room};

/// The classes of a plan, by group and then by length, and where their ids are in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// Tokens of each sequence of a class, ascending within a group.
    pub lengths: Vec<u32>, // (classes,)
    /// Where in the order a class's ids start.
    pub first: Vec<u64>, // (classes + 1,)
    /// Where a group's classes start.
    pub groups: Vec<usize>, // (groups + 1,)
}

impl Classes {
    /// One group: `by_length[l]` sequences of length `l`.
    pub(crate) fn of_lengths(by_length: &[u64]) -> Self {
        let mut classes = Self { lengths: vec![], first: vec![0], groups: vec![0] };
        let mut next = 0;
        for (&count, length) in by_length.iter().zip(0..) {
            if count > 0 {
                next += count;
                classes.lengths.push(length);
                classes.first.push(next);
            }
        }
        classes.groups.push(classes.lengths.len());
        classes
    }

    /// Checks classes that come from a file.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let ascending = |group: &[usize]| group[0] <= group[1] && group[1] <= self.len();
        let sound = self.first.len() == self.len() + 1
            && self.first[0] == 0
            && self.first.windows(2).all(|w| w[0] < w[1])
            && self.groups.first() == Some(&0)
            && self.groups.last() == Some(&self.len())
            && self.groups.windows(2).all(ascending)
            && (0..self.groups.len() - 1).all(|g| self.lengths[self.of_group(g)].is_sorted_by(|a, b| a < b))
            && !self.lengths.contains(&0);
        if sound { Ok(()) } else { Err(Error::Inconsistent("the classes of lengths are out of order")) }
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Number of sequences of a class.
    pub fn count(&self, class: usize) -> u64 {
        self.first[class + 1] - self.first[class]
    }

    /// Number of sequences of all classes.
    pub fn sequences(&self) -> u64 {
        self.first[self.len()]
    }

    /// Tokens of all sequences of all classes.
    pub fn tokens(&self) -> u64 {
        (0..self.len()).map(|class| self.count(class) * u64::from(self.lengths[class])).sum()
    }

    /// The classes of a group.
    pub fn of_group(&self, group: usize) -> std::ops::Range<usize> {
        self.groups[group]..self.groups[group + 1]
    }

    /// The group of a class.
    pub(crate) fn group_of(&self, class: usize) -> usize {
        self.groups.partition_point(|&first| first <= class) - 1
    }

    /// The histogram of a group by what its sequences take of a pack's room: `0..=` the most.
    pub(crate) fn histogram(&self, group: usize, room: Room) -> Vec<u64> {
        let classes = self.of_group(group);
        let most = self.lengths[classes.clone()].last().map_or(0, |&longest| room.taken(longest));
        let mut counts = vec![0; most as usize + 1];
        for class in classes {
            counts[room.taken(self.lengths[class]) as usize] += self.count(class);
        }
        counts
    }
}
