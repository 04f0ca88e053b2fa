//! Cut a batch into segments: the stretches that attention treats as documents.

use crate::Error;
use crate::training::attention::Attention;
use crate::training::batch::BatchOptions;
use crate::training::batch::pack::PackView;

/// The segments of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Number of segments.
    pub count: usize,
    /// Tokens of the longest segment.
    pub longest: i32,
}

/// Write the ends of segments; returns the segments, and the number of the first segment of each pack.
///
/// `unpadded` gets the ends as they would be without filler. With it, filler is the end of the segment before it.
/// Places behind the last segment repeat its end.
pub(super) fn write_segments(
    packs: &[PackView],
    options: &BatchOptions,
    cu_seqlens: &mut [i32],
    unpadded: Option<&mut [i32]>,
) -> Result<(Segments, Vec<i32>), Error> {
    let merge = unpadded.is_some();
    let mut ends = Ends { cu_seqlens, unpadded, count: 0, end: 0, unpadded_end: 0 };
    ends.set(0);
    let mut firsts = Vec::with_capacity(packs.len());
    for pack in packs {
        let tokens = pack.input_ids.len();
        firsts.push(ends.count as i32);
        if options.attention == Attention::Pack {
            ends.push(tokens as i32, false, false);
        } else {
            for (segment, &length) in pack.seq_lengths.iter().enumerate() {
                let filler = pack.id(segment) < 0;
                let first = ends.push(length, filler, filler && merge);
                if segment == 0 {
                    *firsts.last_mut().unwrap_or(&mut 0) = first;
                }
            }
        }
        if let Some(row_length) = options.row_length.filter(|&row_length| row_length > tokens) {
            ends.push((row_length - tokens) as i32, true, merge || (options.padding_joins && tokens > 0));
        }
    }
    ends.finish(firsts)
}

struct Ends<'a> {
    cu_seqlens: &'a mut [i32],
    unpadded: Option<&'a mut [i32]>,
    count: usize,      // segments so far
    end: i32,          // tokens so far
    unpadded_end: i32, // tokens so far that are not filler
}

impl Ends<'_> {
    /// Add a segment of `length` tokens, or join it to the segment before it; returns the number of its segment.
    fn push(&mut self, length: i32, filler: bool, joins: bool) -> i32 {
        self.end += length;
        self.unpadded_end += if filler { 0 } else { length };
        if !joins || self.count == 0 {
            self.count += 1;
        }
        self.set(self.count);
        self.count as i32 - 1
    }

    /// Write the end so far at `place`. Places outside the array are reported at the end, all at once.
    fn set(&mut self, place: usize) {
        if let Some(end) = self.cu_seqlens.get_mut(place) {
            *end = self.end;
        }
        if let Some(end) = self.unpadded.as_deref_mut().and_then(|unpadded| unpadded.get_mut(place)) {
            *end = self.unpadded_end;
        }
    }

    fn finish(self, firsts: Vec<i32>) -> Result<(Segments, Vec<i32>), Error> {
        let Self { cu_seqlens, unpadded, count, end, unpadded_end } = self;
        let (found, expected) = (cu_seqlens.len() as u64, count as u64 + 1);
        if found < expected {
            return Err(Error::ArrayLength { array: "cu_seqlens", found, expected });
        }
        cu_seqlens[count + 1..].fill(end);
        if let Some(unpadded) = unpadded {
            if unpadded.len() != cu_seqlens.len() {
                let (found, expected) = (unpadded.len() as u64, found);
                return Err(Error::ArrayLength { array: "unpadded", found, expected });
            }
            unpadded[count + 1..].fill(unpadded_end);
        }
        let longest = cu_seqlens[..=count].windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
        Ok((Segments { count, longest }, firsts))
    }
}
