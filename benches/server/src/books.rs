//! A member's books: what it received, what it was told it missed, and whether that is everything.

use crate::fault::Fault;
use crate::payload::Stamp;

/// What one member knows of its room.
#[derive(Debug)]
pub struct Books {
    /// The sequence that comes next, for each publisher.
    next: Box<[u32]>,
    received: u64,
    missed: u64,
    /// Told as missed and not yet seen to be missing.
    untraced: u64,
    /// The server's own number of the message before; 0 where it tells none.
    offset: u64,
}

impl Books {
    /// Of a member that came before anything was published.
    pub fn new(publishers: usize) -> Self {
        Self { next: vec![0; publishers].into(), received: 0, missed: 0, untraced: 0, offset: 0 }
    }

    /// Of a member that comes back to the room of one publisher, having had everything up to there.
    pub fn since(sequence: u32) -> Self {
        let offset = u64::from(sequence);
        Self { next: [sequence].into(), received: offset, missed: 0, untraced: 0, offset }
    }

    /// Enters a message.
    ///
    /// # Errors
    /// [`Fault::Again`] when it was here before, [`Fault::Lost`] when others should have come first and nobody said that
    /// they are gone.
    #[inline]
    pub fn receive(&mut self, stamp: Stamp, offset: u64) -> Result<(), Fault> {
        let next = self.next.get_mut(stamp.publisher).ok_or(Fault::Unexpected("a message of somebody else"))?;
        let gap = stamp.sequence.checked_sub(*next).ok_or(Fault::Again(stamp.sequence, *next))?;
        *next = stamp.sequence + 1;
        self.received += 1;
        let gap = u64::from(gap);
        self.untraced = self.untraced.checked_sub(gap).ok_or(Fault::Lost(gap))?;
        if offset != 0 {
            if offset != self.offset + gap + 1 {
                return Err(Fault::Unexpected("an offset out of order"));
            }
            self.offset = offset;
        }
        Ok(())
    }

    /// Enters that so many messages are gone.
    pub fn miss(&mut self, count: u64) {
        self.missed += count;
        self.untraced += count;
    }

    /// Messages received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Messages told as missed.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Messages that have come, or been told as missed.
    pub fn accounted(&self) -> u64 {
        self.received + self.missed
    }

    /// Closes the books: everything that each publisher published was received once or told as missed.
    ///
    /// # Errors
    /// [`Fault::Books`] when they do not balance.
    pub fn check(&self, published: impl Iterator<Item = u32>) -> Result<(), Fault> {
        let (mut all, mut tail) = (0, 0);
        for (next, published) in self.next.iter().zip(published) {
            all += u64::from(published);
            tail += u64::from(published - next);
        }
        if self.accounted() == all && self.untraced == tail {
            return Ok(());
        }
        let Self { received, missed, .. } = self;
        Err(Fault::Books(format!("received {received} and told of {missed} missed, of {all} published")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(publisher: usize, sequence: u32) -> Stamp {
        Stamp { publisher, sequence }
    }

    #[test]
    fn several_publishers_are_kept_apart() {
        let mut books = Books::new(2);
        for stamp in [of(1, 0), of(0, 0), of(1, 1), of(0, 1), of(1, 2)] {
            assert_eq!(books.receive(stamp, 0), Ok(()));
        }
        assert_eq!(books.check([2, 3].into_iter()), Ok(()));
        assert!(books.check([2, 4].into_iter()).is_err(), "the last one is missing");
        assert!(books.receive(of(2, 0), 0).is_err(), "nobody with that number publishes here");
    }

    #[test]
    fn repeats_gaps_and_offsets_out_of_order_are_found() {
        let mut books = Books::new(1);
        assert_eq!(books.receive(of(0, 0), 1), Ok(()));
        assert_eq!(books.receive(of(0, 0), 2), Err(Fault::Again(0, 1)));
        assert!(books.receive(of(0, 1), 3).is_err());
        assert_eq!(books.receive(of(0, 3), 4), Err(Fault::Lost(1)));
    }

    #[test]
    fn a_loss_that_is_told_balances() {
        let mut books = Books::new(1);
        assert_eq!(books.receive(of(0, 0), 1), Ok(()));
        books.miss(4);
        assert!(books.check([5].into_iter()).is_ok(), "nothing came after the loss");
        assert_eq!(books.receive(of(0, 5), 6), Ok(()));
        assert_eq!((books.received(), books.missed()), (2, 4));
        assert_eq!(books.check([6].into_iter()), Ok(()));
        books.miss(1);
        assert!(books.check([6].into_iter()).is_err(), "told of a loss that was none");
    }
}
