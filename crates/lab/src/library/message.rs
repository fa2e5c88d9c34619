//! What is published in the process.

use std::sync::Arc;

/// A message: whose it is, which one of theirs, when it was due, and so many bytes.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(super) source: u32,
    /// Nanoseconds of the run's clock; 0 when it is not timed.
    pub(super) due: u64,
    pub(super) sequence: u64,
    body: Option<Box<[u8]>>,
}

impl Message {
    /// With so many bytes, each written.
    #[inline]
    pub(crate) fn new(source: usize, sequence: u64, due: u64, bytes: usize) -> Self {
        let body = (bytes > 0).then(|| vec![sequence as u8 | 1; bytes].into_boxed_slice());
        Self { source: source as u32, due, sequence, body }
    }

    /// Whether its first and last byte are what they were written as.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        let written = self.sequence as u8 | 1;
        self.body.as_ref().is_none_or(|body| body[0] == written && body[body.len() - 1] == written)
    }
}

/// How a message travels: itself, or behind a counted pointer.
pub(super) trait Carried: Clone + Send + Sync + 'static {
    /// Packs it.
    fn pack(message: Message) -> Self;
    /// Looks at it.
    fn look(&self) -> &Message;
}

impl Carried for Message {
    #[inline]
    fn pack(message: Message) -> Self {
        message
    }

    #[inline]
    fn look(&self) -> &Message {
        self
    }
}

impl Carried for Arc<Message> {
    #[inline]
    fn pack(message: Message) -> Self {
        Self::new(message)
    }

    #[inline]
    fn look(&self) -> &Message {
        self
    }
}
