//! Fills a batch with what rooms have published.

use std::collections::HashMap;
use std::sync::Arc;

use super::batch::{Batch, PartRange};
use super::codec::Codec;
use super::options::Options;
use super::watermark::Watermark;
use crate::message;
use crate::room::RoomKey;

/// A batch being filled, and whose watermarks it moves.
#[derive(Debug, Default)]
pub(super) struct BatchBuilder {
    pub(super) batch: Batch,
    /// The incarnations of the batch, in its order, and where those stand that were read.
    watermarks: Vec<(Arc<Watermark>, Option<RoomKey>)>,
    /// Where an incarnation stands in the batch, by the address of its watermark.
    places: HashMap<usize, usize>,
}

impl BatchBuilder {
    /// Takes an incarnation in, unless it is there.
    pub(super) fn incarnation(&mut self, watermark: &Arc<Watermark>) -> usize {
        *self.places.entry(Arc::as_ptr(watermark) as usize).or_insert_with(|| {
            self.watermarks.push((Arc::clone(watermark), None));
            self.batch.push_incarnation(&watermark.incarnation)
        })
    }

    /// The same of an incarnation that is read there.
    pub(super) fn incarnation_at(&mut self, watermark: &Arc<Watermark>, key: RoomKey) -> usize {
        let incarnation = self.incarnation(watermark);
        self.watermarks[incarnation].1 = Some(key);
        incarnation
    }

    /// Takes note that nothing more of an incarnation is to be read.
    pub(super) fn left(&mut self, watermark: &Arc<Watermark>) {
        if let Some(incarnation) = self.places.get(&(Arc::as_ptr(watermark) as usize)) {
            self.watermarks[*incarnation].1 = None;
        }
    }

    /// Takes messages of one incarnation in, which stands there.
    pub(super) fn take<T: 'static>(&mut self, incarnation: usize, batch: &message::Batch<'_, T>, codec: &dyn Codec<T>) {
        for (sequence, time, message) in batch.iter() {
            let author = codec.author(message).unwrap_or_default();
            self.batch.push(incarnation, (sequence, time.unwrap_or(0)), author, |bytes| codec.encode(message, bytes));
        }
    }

    /// Whether the batch takes no more.
    pub(super) fn is_full(&self, options: &Options) -> bool {
        self.batch.len() >= options.batch_messages_max || self.batch.bytes.len() >= options.batch_bytes_max
    }

    /// The incarnations that were read, where they go on, and how far each has come with this batch.
    pub(super) fn advanced(&self) -> impl Iterator<Item = (&Arc<Watermark>, Option<RoomKey>, u64)> {
        let last =
            |part: &PartRange| self.batch.messages[part.messages.clone()].last().map(|message| message.sequence + 1);
        self.batch.parts.iter().filter_map(move |part| {
            let (watermark, key) = &self.watermarks[part.incarnation];
            Some((watermark, *key, last(part)?))
        })
    }

    pub(super) fn clear(&mut self, bytes_kept: usize) {
        self.batch.clear(bytes_kept);
        self.watermarks.clear();
        self.places.clear();
    }
}
