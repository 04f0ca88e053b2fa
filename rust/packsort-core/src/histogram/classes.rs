//! Classes: the sequences that a plan does not tell apart.

use std::ops::Range;

use crate::error::PlanFault;
use crate::histogram::count::LONGEST;
use crate::memory::{copied, push, zeros};
use crate::{Error, Room};

const CLASSES: &str = "classes of lengths";

/// Classes of sequences with the same length and group, ordered by group and then by length.
///
/// The ids of a class lie side by side among the sorted ids, at `first[class]..first[class + 1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// Number of tokens of each sequence of a class; ascends within a group.
    pub lengths: Vec<u32>, // (classes,)
    /// The position of a class's first id among the sorted ids.
    pub first: Vec<u64>, // (classes + 1,)
    /// The first class of a group.
    pub groups: Vec<usize>, // (groups + 1,)
}

impl Classes {
    /// Build the classes of one group from a histogram of its lengths.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn from_histogram(by_length: &[u64]) -> Result<Self, Error> {
        let mut classes = Self { lengths: vec![], first: vec![0], groups: vec![0] };
        let mut next = 0;
        for (&count, length) in by_length.iter().zip(0..) {
            if count > 0 {
                next += count;
                push(&mut classes.lengths, CLASSES, length)?;
                push(&mut classes.first, CLASSES, next)?;
            }
        }
        classes.groups.push(classes.lengths.len());
        Ok(classes)
    }

    /// Copy the classes.
    pub(crate) fn copied(&self) -> Result<Self, Error> {
        let (lengths, first) = (copied(CLASSES, &self.lengths)?, copied(CLASSES, &self.first)?);
        Ok(Self { lengths, first, groups: copied(CLASSES, &self.groups)? })
    }

    /// Check classes read from a file.
    pub(crate) fn check(&self) -> Result<(), PlanFault> {
        let out_of_order = |array, index: usize| Err(PlanFault::OutOfOrder { array, index: index as u64 });
        let (found, expected) = (self.first.len() as u64, self.len() as u64 + 1);
        if found != expected {
            return Err(PlanFault::ArrayLength { array: "class_first", found, expected });
        }
        if self.first[0] != 0 {
            return out_of_order("class_first", 0);
        }
        if let Some(at) = self.first.windows(2).position(|pair| pair[0] >= pair[1]) {
            return out_of_order("class_first", at + 1);
        }
        if self.groups.first() != Some(&0) || self.groups.last() != Some(&self.len()) {
            return out_of_order("group_first", 0);
        }
        if let Some(at) = self.groups.windows(2).position(|pair| pair[0] > pair[1]) {
            return out_of_order("group_first", at + 1);
        }
        for group in 0..self.num_groups() {
            let own = self.of_group(group);
            let lengths = &self.lengths[own.clone()];
            if let Some(at) = lengths.windows(2).position(|pair| pair[0] >= pair[1]) {
                return out_of_order("class_lengths", own.start + at + 1);
            }
        }
        match self.lengths.iter().position(|&length| length == 0 || length as usize > LONGEST) {
            Some(at) => out_of_order("class_lengths", at),
            None => Ok(()),
        }
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are no classes.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Number of groups; 1 for a plan without groups.
    pub fn num_groups(&self) -> usize {
        self.groups.len().saturating_sub(1)
    }

    /// Number of sequences of a class.
    ///
    /// # Panics
    /// There is no such class.
    pub fn count(&self, class: usize) -> u64 {
        self.first[class + 1] - self.first[class]
    }

    /// Number of sequences of all classes.
    pub fn num_sequences(&self) -> u64 {
        self.first.last().copied().unwrap_or(0)
    }

    /// Number of tokens of all sequences.
    pub fn num_tokens(&self) -> u64 {
        self.lengths
            .iter()
            .zip(self.first.windows(2))
            .map(|(&length, ends)| (ends[1] - ends[0]) * u64::from(length))
            .sum()
    }

    /// The room that all sequences take, their tokens included; `None` if that is more than 63 bits count.
    pub(crate) fn room_taken(&self, room: Room) -> Option<u64> {
        let counts = self.first.windows(2).map(|ends| ends[1] - ends[0]);
        let mut taken =
            self.lengths.iter().zip(counts).map(|(&length, count)| count.checked_mul(room.taken(length).into()));
        taken.try_fold(0_u64, |sum, taken| sum.checked_add(taken?)).filter(|&sum| sum <= i64::MAX as u64)
    }

    /// The classes of a group.
    ///
    /// # Panics
    /// There is no such group.
    pub fn of_group(&self, group: usize) -> Range<usize> {
        self.groups[group]..self.groups[group + 1]
    }

    /// The group of a class.
    pub(crate) fn group_of(&self, class: usize) -> usize {
        self.groups.partition_point(|&first| first <= class) - 1
    }

    /// Count the sequences of a group by the room they take, from 0 to the most, in units of the room's multiple.
    ///
    /// Counts by tokens would take memory by the multiple: 8 GB for one token of a multiple of 2^30.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn histogram(&self, group: usize, room: Room) -> Result<Vec<u64>, Error> {
        let classes = self.of_group(group);
        let units = |length| (room.taken(length) / room.multiple()) as usize;
        let most = self.lengths[classes.clone()].last().map_or(0, |&longest| units(longest));
        let mut counts = zeros::<u64>("counts by room", most + 1)?;
        for class in classes {
            counts[units(self.lengths[class])] += self.count(class);
        }
        Ok(counts)
    }
}
