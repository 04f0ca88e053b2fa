//! What a sequence takes of a pack's room: its tokens, the separator after it, and padding to a multiple.

use crate::Error;

/// The room of a pack, and what sequences take of it.
///
/// A pack of sequences with a separator between any two is a pack with room for one more token, in which each sequence
/// takes one more. With a multiple each sequence takes its tokens and separator rounded up; the last one's separator is
/// then counted though it is not there, which matters only where that sequence is a multiple by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    capacity: u32,
    longest: u32,
    multiple: u32,
    separator: u32,
}

impl Room {
    /// The room of packs of `max_length` tokens, in which each sequence takes a multiple of `multiple` and, where
    /// `separated`, a token stands between any two.
    ///
    /// # Errors
    /// A `max_length` of 0 or above `i32::MAX`; a multiple of 0 or above `max_length`.
    pub fn new(max_length: u32, multiple: u32, separated: bool) -> Result<Self, Error> {
        if max_length == 0 || max_length > i32::MAX as u32 {
            return Err(Error::MaxLength(max_length.into()));
        }
        if multiple == 0 || multiple > max_length {
            return Err(Error::PadMultiple { multiple, max_length });
        }
        let separator = u32::from(separated);
        let longest = max_length / multiple * multiple;
        let capacity = if multiple == 1 { max_length + separator } else { longest };
        Ok(Self { capacity, longest, multiple, separator })
    }

    /// The room of packs in which a sequence takes its tokens and no more.
    pub(crate) fn plain(capacity: u32) -> Self {
        Self { capacity, longest: capacity, multiple: 1, separator: 0 }
    }

    /// Of what each sequence takes a multiple.
    pub fn multiple(&self) -> u32 {
        self.multiple
    }

    /// Whether a token stands between any two sequences.
    pub fn separated(&self) -> bool {
        self.separator > 0
    }

    /// Room of an empty pack.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Tokens of the longest sequence that fits an empty pack.
    #[inline]
    pub fn longest(&self) -> u32 {
        self.longest
    }

    /// What a sequence of `length` tokens takes.
    #[inline(always)]
    pub fn taken(&self, length: u32) -> u32 {
        match self.multiple {
            1 => length + self.separator,
            // one that is alone in its pack has no separator
            multiple => (length + self.separator).next_multiple_of(multiple).min(self.capacity),
        }
    }

    /// Tokens of the longest sequence that takes no more than `room`; 0 where none does.
    #[inline(always)]
    pub fn longest_in(&self, room: u32) -> u32 {
        if room >= self.capacity {
            return self.longest;
        }
        match self.multiple {
            1 => room.saturating_sub(self.separator),
            multiple => (room / multiple * multiple).saturating_sub(self.separator),
        }
    }

    /// Padding after a sequence that is not the last of its pack, and its separator.
    pub fn padding_after(&self, length: u32) -> u32 {
        let tokens = length + self.separator;
        tokens.next_multiple_of(self.multiple) - tokens
    }

    /// Padding after the last sequence of a pack, which has no separator.
    pub fn padding_at_end(&self, length: u32) -> u32 {
        length.next_multiple_of(self.multiple) - length
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_separator_is_reserved_between_sequences_only() {
        let room = Room::new(10, 1, true).unwrap();
        assert_eq!((room.capacity(), room.longest()), (11, 10));
        assert_eq!(room.taken(10), 11);
        assert_eq!(room.taken(4) + room.taken(5), 11); // 4 + separator + 5
    }

    #[test]
    fn sequences_take_multiples() {
        let room = Room::new(20, 8, false).unwrap();
        assert_eq!((room.capacity(), room.longest()), (16, 16));
        assert_eq!([room.taken(1), room.taken(8), room.taken(9)], [8, 8, 16]);
    }

    proptest! {
        #[test]
        fn the_longest_in_a_room_takes_no_more_and_one_token_more_does(
            max_length in 1_u32..200, multiple in 1_u32..20, separated: bool, room in 0_u32..220,
        ) {
            let multiple = multiple.min(max_length);
            let pack = Room::new(max_length, multiple, separated).unwrap();
            let length = pack.longest_in(room);
            prop_assert!(length <= pack.longest());
            if length > 0 {
                prop_assert!(pack.taken(length) <= room);
            }
            if length < pack.longest() {
                prop_assert!(pack.taken(length + 1) > room);
            }
        }

        #[test]
        fn what_takes_no_more_than_the_capacity_fits_max_length(
            max_length in 1_u32..100, multiple in 1_u32..20, separated: bool, lengths in prop::collection::vec(1_u32..40, 1..9),
        ) {
            let multiple = multiple.min(max_length);
            let pack = Room::new(max_length, multiple, separated).unwrap();
            let mut room = pack.capacity();
            let fits = |&length: &u32| {
                let there = length <= pack.longest() && pack.taken(length) <= room;
                room -= if there { pack.taken(length) } else { 0 };
                there
            };
            let lengths: Vec<u32> = lengths.into_iter().filter(fits).collect();
            prop_assume!(!lengths.is_empty());
            let (last, others) = lengths.split_last().unwrap();
            let separator = u32::from(separated);
            let written: u32 = others.iter().map(|&l| (l + separator).next_multiple_of(multiple)).sum::<u32>()
                + last + pack.padding_at_end(*last);
            prop_assert!(written <= max_length);
        }
    }
}
