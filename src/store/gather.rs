//! Reading what rooms have published into a group.

use std::collections::HashMap;
use std::sync::Arc;

use super::codec::Codec;
use super::group::{Group, Part, RunPart};
use super::mark::StoredMark;
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
            self.group.lives.push(mark.life.clone());
            self.group.durability = self.group.durability.max(mark.life.durability);
            self.marks.push((Arc::clone(mark), None));
            self.marks.len() - 1
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
        let Group { runs, messages, bytes, .. } = &mut self.group;
        let first = messages.len();
        for (sequence, time, message) in batch.iter() {
            let author = bytes.len();
            bytes.extend_from_slice(codec.author(message).unwrap_or_default().as_bytes());
            let body = bytes.len();
            codec.encode(message, bytes);
            let time = time.unwrap_or(0);
            messages.push(Part { sequence, time, author: author..body, body: body..bytes.len() });
        }
        match runs.last_mut().filter(|run| run.life == life) {
            Some(run) => run.messages.end = messages.len(),
            None => runs.push(RunPart { life, messages: first..messages.len() }),
        }
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
