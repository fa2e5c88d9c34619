//! Bytes that come in pieces, for which memory is taken as they come and not as they are announced: who says that much will come, and
//! sends nothing, keeps none from others.

use bytes::{Bytes, BytesMut};

/// Memory of somebody, who may want more of it.
pub(crate) trait Grow {
    /// Takes so many bytes more; false, and none are taken, where they are not to be had.
    fn grow(&mut self, bytes: u64) -> bool;
}

/// What is counted nowhere.
impl<M: Grow> Grow for Option<M> {
    fn grow(&mut self, bytes: u64) -> bool {
        self.as_mut().is_none_or(|memory| memory.grow(bytes))
    }
}

/// Why no more is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotGathered {
    TooLong,
    NoMemory,
}

/// What has come so far, and memory for it.
#[derive(Debug)]
pub(crate) struct Gathering<M> {
    bytes: BytesMut,
    bytes_max: usize,
    /// What of the memory is for these.
    taken: u64,
    memory: M,
}

impl<M: Grow> Gathering<M> {
    /// Memory for so many bytes `at_first`; nothing where there is none.
    pub(crate) fn begin(mut memory: M, at_first: u64, bytes_max: usize) -> Option<Self> {
        memory.grow(at_first).then(|| Self { bytes: BytesMut::new(), bytes_max, taken: at_first, memory })
    }

    /// Takes a piece in.
    ///
    /// # Errors
    /// It would be too much.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), NotGathered> {
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes_max {
            return Err(NotGathered::TooLong);
        }
        let missing = (needed as u64).saturating_sub(self.taken);
        if missing > 0 {
            // Twice as much, as the buffer grows.
            let more = missing.max(self.taken);
            if !self.memory.grow(more) {
                return Err(NotGathered::NoMemory);
            }
            self.taken += more;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// All of it, and its memory.
    pub(crate) fn finish(self) -> (Bytes, M) {
        (self.bytes.freeze(), self.memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left.
    #[derive(Debug)]
    struct Purse(u64);

    impl Grow for Purse {
        fn grow(&mut self, bytes: u64) -> bool {
            let Some(left) = self.0.checked_sub(bytes) else { return false };
            self.0 = left;
            true
        }
    }

    #[test]
    fn memory_is_taken_as_pieces_come_and_as_the_buffer_grows() {
        let mut gathering = Gathering::begin(Purse(100), 10, 60).expect("there is as much");
        assert_eq!(gathering.push(b"123456789"), Ok(()));
        assert_eq!(gathering.memory.0, 90);
        assert_eq!(gathering.push(b"ab"), Ok(()));
        assert_eq!(gathering.memory.0, 80, "twice as much");
        assert_eq!(gathering.push(&[b'x'; 50]), Err(NotGathered::TooLong));
        assert_eq!(gathering.push(&[b'x'; 40]), Ok(()));
        let (bytes, left) = gathering.finish();
        assert_eq!((bytes.len(), left.0), (51, 49));
    }

    #[test]
    fn where_there_is_none_nothing_is_taken() {
        assert!(Gathering::begin(Purse(9), 10, 60).is_none());
        let mut gathering = Gathering::begin(Purse(15), 10, 60).expect("there is as much");
        assert_eq!(gathering.push(&[b'x'; 11]), Err(NotGathered::NoMemory));
        assert_eq!((gathering.bytes.len(), gathering.memory.0), (0, 5));
        let mut nowhere = Gathering::begin(None::<Purse>, 10, 60).expect("it is counted nowhere");
        assert_eq!(nowhere.push(&[b'x'; 60]), Ok(()));
    }
}
