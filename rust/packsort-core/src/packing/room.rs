//! The room of a pack, and the room a sequence takes: its tokens, a separator, and padding to a multiple.

use crate::Error;

/// The room of a pack, and the room sequences take of it.
///
/// A pack with a separator between any two sequences is a pack with room for one more token, in which every sequence
/// takes one more token. With a multiple, every sequence takes its tokens and separator rounded up. The last sequence's
/// separator is then counted although it is not there, which matters only if that sequence is a multiple by itself.
///
/// # Examples
/// ```
/// use packsort_core::{Options, Room};
///
/// let room: Room = Options { pad_to_multiple_of: 8, ..Options::new(20) }.room()?;
/// assert_eq!(room.capacity(), 16);
/// assert_eq!(room.taken(5), 8);
/// # Ok::<(), packsort_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    capacity: u32,
    longest: u32,
    multiple: u32,
    separator: u32,
}

impl Room {
    /// Build the room of packs of `max_length` tokens. Every sequence takes a multiple of `multiple` tokens, and a
    /// separator stands between any two sequences if `separated`.
    ///
    /// # Errors
    /// A `max_length` outside 1 to `i32::MAX`; a multiple outside 1 to `max_length`.
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

    /// Build the room of packs in which a sequence takes its tokens and nothing else.
    pub(crate) fn plain(capacity: u32) -> Self {
        Self { capacity, longest: capacity, multiple: 1, separator: 0 }
    }

    /// Every sequence takes a multiple of this many tokens.
    pub fn multiple(&self) -> u32 {
        self.multiple
    }

    /// Whether a separator stands between any two sequences.
    pub fn separated(&self) -> bool {
        self.separator > 0
    }

    /// The room of an empty pack.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The length of the longest sequence that fits an empty pack.
    #[inline]
    pub fn longest(&self) -> u32 {
        self.longest
    }

    /// The room that a sequence of `length` tokens takes. `length` is at most [`longest`](Self::longest); a longer
    /// sequence takes `u32::MAX` at most.
    #[inline(always)]
    pub fn taken(&self, length: u32) -> u32 {
        match self.multiple {
            1 => length.saturating_add(self.separator),
            // A sequence alone in its pack has no separator, so none takes more than the capacity.
            multiple => length
                .saturating_add(self.separator)
                .checked_next_multiple_of(multiple)
                .map_or(self.capacity, |taken| taken.min(self.capacity)),
        }
    }

    /// The length of the longest sequence that takes at most `room`; 0 if none does.
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

    /// Number of padding tokens after the separator of a sequence that is not the last of its pack.
    pub fn padding_after(&self, length: u32) -> u32 {
        self.padding(u64::from(length) + u64::from(self.separator))
    }

    /// Number of padding tokens after the last sequence of a pack, which has no separator.
    pub fn padding_at_end(&self, length: u32) -> u32 {
        self.padding(length.into())
    }

    fn padding(&self, tokens: u64) -> u32 {
        (tokens.next_multiple_of(self.multiple.into()) - tokens) as u32
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
