//! A member of a room, and where it stands.

use std::rc::Rc;

use super::queue::At;
use crate::delivery::sink::MemberSink;
use crate::ops::metrics::ShardMetrics;

pub(super) struct Member<S> {
    pub(super) sink: Rc<S>,
    pub(super) place: Place,
    /// What it has missed is being read from the database.
    pub(super) is_fetching: bool,
    /// Of one that is given deltas: it has the publication before its place, and was given it last.
    pub(super) has_newest: bool,
}

/// Where a member is. `With` becomes `Behind` when its socket is full, when it starts in the middle of a batch or when the
/// group lost messages; only [`RoomFeed::catch_up`](super::RoomFeed::catch_up) leads back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Takes the group's batches, from there on.
    With(At),
    /// Takes nothing from the group; it goes on there.
    Behind(At),
}

impl<S: MemberSink> Member<S> {
    /// From here on it goes on by itself, from there; one more is `behind`.
    pub(super) fn fall_behind(&mut self, at: At, behind: &mut usize, metrics: &ShardMetrics) {
        *behind += 1;
        self.place = Place::Behind(at);
        self.sink.fell_behind();
        metrics.behind.inc();
    }

    /// One that is behind goes on there, without what lies before it.
    pub(super) fn skip_to(&mut self, at: At) {
        self.place = Place::Behind(at);
        self.has_newest = false;
    }

    /// From here on it takes the group's batches again.
    pub(super) fn catch_up(&mut self, at: At, behind: &mut usize, metrics: &ShardMetrics) {
        *behind -= 1;
        self.place = Place::With(at);
        self.sink.caught_up();
        metrics.behind.dec();
    }
}
