//! What is published, and the proof that a reader has seen all of it.

use bytes::Bytes;

/// A message that carries the number it was made with.
pub trait Payload: Clone + Default + Send + Sync + Unpin + 'static {
    /// As it is called in the report.
    const NAME: &'static str;

    /// The message with that number.
    fn make(number: u64) -> Self;

    /// The number it was made with, read from the message itself.
    fn number(&self) -> u64;
}

impl Payload for u64 {
    const NAME: &'static str = "u64";

    #[inline]
    fn make(number: u64) -> Self {
        number
    }

    #[inline]
    fn number(&self) -> u64 {
        *self
    }
}

/// 128 bytes with the number at both ends, so that reading it touches both of its cache lines.
impl Payload for Bytes {
    const NAME: &'static str = "Bytes";

    #[inline]
    fn make(number: u64) -> Self {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[BYTES - 8..].copy_from_slice(&number.to_le_bytes());
        Self::copy_from_slice(&bytes)
    }

    #[inline]
    fn number(&self) -> u64 {
        let word = |from: usize| {
            let bytes = self.get(from..from + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        // Right only while both ends agree.
        word(0).wrapping_add(word(BYTES - 8)) / 2
    }
}

const BYTES: usize = 128;

/// A reader's books: what it has received and missed, and a checksum over both sequence and payload.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    start: u64,
    next: u64,
    sum: u64,
    lagged: u64,
    lagged_sum: u64,
}

impl Tally {
    /// Of a reader whose first message has that sequence.
    pub fn from(start: u64) -> Self {
        Self { start, next: start, sum: 0, lagged: 0, lagged_sum: 0 }
    }

    /// Folds in a message that came with its sequence.
    #[inline]
    pub fn see<T: Payload>(&mut self, sequence: u64, message: &T) {
        self.sum = self.sum.wrapping_add((2 * message.number()).wrapping_sub(sequence));
        self.next = sequence + 1;
    }

    /// Folds in a message of somebody who does not tell sequences: the reader counts.
    #[inline]
    pub fn see_next<T: Payload>(&mut self, message: &T) {
        self.see(self.next, message);
    }

    /// Folds in a run of consecutive messages.
    #[inline]
    pub fn see_slice<T: Payload>(&mut self, first: u64, messages: &[T]) {
        let folded = (first..).zip(messages).map(|(sequence, message)| (2 * message.number()).wrapping_sub(sequence));
        self.sum = folded.fold(self.sum, u64::wrapping_add);
        self.next = first + messages.len() as u64;
    }

    /// The next messages were lost, and the reader was told how many.
    #[cold]
    pub fn miss(&mut self, count: u64) {
        self.lagged += count;
        self.lagged_sum = self.lagged_sum.wrapping_add(sum_of(self.next, self.next + count));
        self.next += count;
    }

    /// The sequence that comes next.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Messages seen.
    pub fn received(&self) -> u64 {
        self.next - self.start - self.lagged
    }

    /// Messages missed.
    pub fn lagged(&self) -> u64 {
        self.lagged
    }

    /// Fails unless every message from the start to `end` was received once, with its own payload, or told as lost.
    ///
    /// Where several publish, their numbers together are `start..end` too, in whatever order.
    #[track_caller]
    pub fn check(&self, end: u64) {
        assert_eq!(self.next, end, "the reader stands where the publisher does");
        assert_eq!(self.received() + self.lagged, end - self.start);
        let expected = sum_of(self.start, end).wrapping_sub(self.lagged_sum);
        assert_eq!(self.sum, expected, "every message was seen once, with its sequence and its payload");
    }
}

/// The sum of the numbers from `from` to below `to`, modulo 2^64.
fn sum_of(from: u64, to: u64) -> u64 {
    let below = |end: u128| end * end.saturating_sub(1) / 2;
    (below(u128::from(to)) - below(u128::from(from))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Payload>(missed: std::ops::Range<u64>, wrong: Option<u64>) -> Tally {
        let mut tally = Tally::from(5);
        for sequence in 5..100 {
            if missed.contains(&sequence) {
                if sequence == missed.start {
                    tally.miss(missed.end - missed.start);
                }
                continue;
            }
            tally.see_next(&T::make(if wrong == Some(sequence) { 7 } else { sequence }));
        }
        tally
    }

    #[test]
    fn what_was_received_and_missed_adds_up() {
        read::<u64>(0..0, None).check(100);
        read::<Bytes>(20..30, None).check(100);
        assert_eq!(read::<u64>(20..30, None).lagged(), 10);
        assert_eq!(read::<u64>(20..30, None).received(), 85);
    }

    #[test]
    fn slices_count_as_their_messages() {
        let mut tally = Tally::from(5);
        tally.see_slice(5, &(5..64).collect::<Vec<u64>>());
        tally.see_slice(64, &(64..100).collect::<Vec<u64>>());
        tally.check(100);
    }

    #[test]
    #[should_panic(expected = "every message was seen once")]
    fn a_wrong_payload_is_found() {
        read::<Bytes>(0..0, Some(50)).check(100);
    }

    #[test]
    #[should_panic(expected = "where the publisher does")]
    fn a_message_too_few_is_found() {
        read::<u64>(0..0, None).check(101);
    }
}
