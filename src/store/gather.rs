//! Reading what rooms have published into a group.

use std::collections::HashMap;
use std::sync::Arc;

use super::codec::Codec;
use super::group::{Group, RunPart};
use super::mark::StoredMark;
use super::options::Options;
use crate::message::Batch;
use crate::room::RoomKey;

/// A group being filled, and whose marks it moves.
#[derive(Debug, Default)]
pub(super) struct Filling {
    pub(super) group: Group,
    /// The lives of the group, in its order, and where those stand that were read.
    marks: Vec<(Arc<StoredMark>, Option<RoomKey>)>,
    /// Where a life stands in the group, by the address of its mark.
    places: HashMap<usize, usize>,
}

impl Filling {
    /// Takes a life in, unless it is there.
    pub(super) fn life(&mut self, mark: &Arc<StoredMark>) -> usize {
        *self.places.entry(Arc::as_ptr(mark) as usize).or_insert_with(|| {
            self.marks.push((Arc::clone(mark), None));
            self.group.push_life(&mark.life)
        })
    }

    /// The same of a life that is read there.
    pub(super) fn life_at(&mut self, mark: &Arc<StoredMark>, key: RoomKey) -> usize {
        let life = self.life(mark);
        self.marks[life].1 = Some(key);
        life
    }

    /// Takes note that nothing more of a life is to be read.
    pub(super) fn left(&mut self, mark: &Arc<StoredMark>) {
        if let Some(life) = self.places.get(&(Arc::as_ptr(mark) as usize)) {
            self.marks[*life].1 = None;
        }
    }

    /// Takes messages of one life in, which stands there.
    pub(super) fn take<T: 'static>(&mut self, life: usize, batch: &Batch<'_, T>, codec: &dyn Codec<T>) {
        for (sequence, time, message) in batch.iter() {
            let author = codec.author(message).unwrap_or_default();
            self.group.push(life, (sequence, time.unwrap_or(0)), author, |bytes| codec.encode(message, bytes));
        }
    }

    /// Whether the group takes no more.
    pub(super) fn is_full(&self, options: &Options) -> bool {
        self.group.len() >= options.group_messages_max || self.group.bytes.len() >= options.group_bytes_max
    }

    /// The lives that were read, where they go on, and how far each has come with this group.
    pub(super) fn advanced(&self) -> impl Iterator<Item = (&Arc<StoredMark>, Option<RoomKey>, u64)> {
        let last = |run: &RunPart| self.group.messages[run.messages.clone()].last().map(|part| part.sequence + 1);
        self.group.runs.iter().filter_map(move |run| {
            let (mark, key) = &self.marks[run.life];
            Some((mark, *key, last(run)?))
        })
    }

    pub(super) fn clear(&mut self, bytes_kept: usize) {
        self.group.clear(bytes_kept);
        self.marks.clear();
        self.places.clear();
    }
}
