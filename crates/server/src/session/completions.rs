//! Completions: what the world's answer to an action makes of the waiting command.

use super::access::Grant;
use super::stays::RoomStay;
use super::tokens::Opened;
use super::{Action, Connecting, Pending, PendingKind, PutIn, Recover, Session, Subscribed, Ticket, View, work};
use crate::config::RecoveryMode;
use roomcast_protocol::{
    ClientInfo, CloseCode, ErrorCode, HistoryResult, Placed, PresenceStats, Push, ReplyBody, StreamPosition,
    SubscribeResult, recovered,
};

impl Session {
    /// Completes [`Action::Subscribe`].
    ///
    /// On `Ok` either [`Action::Activate`] follows, or [`Action::Unsubscribe`], when the client would rather not be in
    /// a room it cannot recover in.
    pub(crate) fn subscribed(&mut self, ticket: Ticket, result: Result<Subscribed, ErrorCode>, out: &mut Vec<Action>) {
        let Some(pending) = self.finish_pending(ticket) else {
            return;
        };
        let (room, recover, was_recovering, grant, reject_unrecovered, opened) = match pending.kind {
            PendingKind::Subscribe { room, recover, was_recovering, grant, reject_unrecovered, opened } => {
                (room, recover, was_recovering, grant, reject_unrecovered, opened)
            }
            PendingKind::Connect(connecting) => return self.put_in(pending.id, *connecting, result, out),
            PendingKind::PutIn { room, grant, recover, options } => {
                return self.was_put_in(room, (grant, recover), options, result, out);
            }
            _ => return self.misused(pending, out),
        };
        match result {
            Err(error) => self.reply(pending.id, ReplyBody::Error(error), out),
            Ok(subscribed) => {
                self.has_told(subscribed.found.len());
                let (mut result, view) = self.subscribe_result(subscribed, recover.as_ref(), was_recovering, &grant);
                if reject_unrecovered && result.was_recovering && !result.recovered {
                    let reply = ReplyBody::Error(ErrorCode::UnrecoverablePosition);
                    let ticket = self.begin_pending(pending.id, PendingKind::Unsubscribe { reply });
                    out.push(Action::Unsubscribe { ticket, room });
                } else {
                    self.rooms.insert(room.clone());
                    self.take_opened(opened, false, &mut result);
                    self.reply(pending.id, ReplyBody::Subscribe(Box::new(result)), out);
                    out.push(Action::Activate { room, membership: grant.membership, view });
                }
            }
        }
        self.advance(out);
    }

    /// The client is in one of the rooms that it is put into, or cannot be.
    fn put_in(
        &mut self,
        id: u32,
        mut connecting: Connecting,
        subscribed: Result<Subscribed, ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let Some(PutIn { room, recover, was_recovering, grant, opened, is_wish }) = connecting.rooms.pop() else {
            return;
        };
        match subscribed {
            Ok(subscribed) => {
                self.has_told(subscribed.found.len());
                let (mut result, view) = self.subscribe_result(subscribed, recover.as_ref(), was_recovering, &grant);
                self.take_opened(opened, true, &mut result);
                connecting.result.subs.push((room.clone(), result));
                self.rooms.insert(room.clone());
                connecting.entered.push((room, grant.membership, view));
            }
            Err(_) if is_wish => {}
            // It would go on without what it relies on; its SDK connects again.
            Err(error) => {
                self.log_not_put_in(room.as_str(), error);
                return self.close(CloseCode::ServerError, out);
            }
        }
        self.put_in_next(id, connecting, out);
        self.advance(out);
    }

    /// What a token has said of a room holds from here on, and is told.
    fn take_opened(&mut self, opened: Option<Box<Opened>>, is_put_in: bool, result: &mut SubscribeResult) {
        if let Some(opened) = opened {
            let Opened { ttl_s, data, stay, .. } = *opened;
            (result.ttl_s, result.data) = (ttl_s, data);
            if let Some(stay) = stay {
                self.stays.set_room(RoomStay { is_put_in, ..stay });
            }
        }
    }

    /// Completes [`Action::Unsubscribe`]: nothing of the room will be written any more.
    pub(crate) fn unsubscribed(&mut self, ticket: Ticket, out: &mut Vec<Action>) {
        let Some(pending) = self.finish_pending(ticket) else {
            return;
        };
        match pending.kind {
            PendingKind::Unsubscribe { reply } => self.reply(pending.id, reply, out),
            PendingKind::TakeOut { room, code } => out.push(Action::Push(Push::Unsubscribe { room, code })),
            _ => return self.misused(pending, out),
        }
        self.advance(out);
    }

    /// Completes [`Action::Publish`].
    pub(crate) fn published(&mut self, ticket: Ticket, result: Result<(), ErrorCode>, out: &mut Vec<Action>) {
        let Some(pending) = self.finish_pending(ticket) else {
            return;
        };
        let PendingKind::Publish { .. } = pending.kind else {
            return self.misused(pending, out);
        };
        self.finish(pending.id, result.map(|()| ReplyBody::Publish), out);
    }

    /// Completes [`Action::History`]. Whether the epoch the client named is the room's is judged here.
    pub(crate) fn history(&mut self, ticket: Ticket, result: Result<HistoryResult, ErrorCode>, out: &mut Vec<Action>) {
        let Some(pending) = self.finish_pending(ticket) else {
            return;
        };
        let PendingKind::History { since } = pending.kind else {
            return self.misused(pending, out);
        };
        self.has_told(result.as_ref().map_or(0, |history| history.publications.len()));
        let result = result.and_then(|history| {
            let is_foreign =
                since.is_some_and(|since| !since.epoch.is_empty() && since.epoch != history.position.epoch);
            if is_foreign { Err(ErrorCode::UnrecoverablePosition) } else { Ok(ReplyBody::History(history)) }
        });
        self.finish(pending.id, result, out);
    }

    /// Completes [`Action::Presence`].
    pub(crate) fn presence(
        &mut self,
        ticket: Ticket,
        result: Result<Vec<ClientInfo>, ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let Some(pending) = self.finish_pending(ticket) else {
            return;
        };
        let PendingKind::Presence = pending.kind else {
            return self.misused(pending, out);
        };
        self.has_told(result.as_ref().map_or(0, Vec::len));
        self.finish(pending.id, result.map(ReplyBody::Presence), out);
    }

    /// Completes [`Action::PresenceStats`].
    pub(crate) fn presence_stats(
        &mut self,
        ticket: Ticket,
        result: Result<PresenceStats, ErrorCode>,
        out: &mut Vec<Action>,
    ) {
        let Some(pending) = self.finish_pending(ticket) else {
            return;
        };
        let PendingKind::PresenceStats = pending.kind else {
            return self.misused(pending, out);
        };
        self.finish(pending.id, result.map(ReplyBody::PresenceStats), out);
    }

    /// What entering a room is answered with, by the recovery rule, and how the client is given what comes then.
    pub(super) fn subscribe_result(
        &self,
        subscribed: Subscribed,
        recover: Option<&Recover>,
        was_recovering: bool,
        grant: &Grant,
    ) -> (SubscribeResult, View) {
        let Subscribed { top: StreamPosition { mut offset, epoch }, found } = subscribed;
        let mut result = SubscribeResult {
            recoverable: grant.recoverable,
            positioned: grant.positioned,
            was_recovering,
            delta: grant.view.is_delta,
            ..SubscribeResult::default()
        };
        let mut view = grant.view.clone();
        if let Some(Recover { position: asked, mode, .. }) = recover {
            let top = StreamPosition { offset, epoch: epoch.clone() };
            let offsets = found.iter().map(|placed| placed.offset);
            let publications_max = self.settings.limits.recovery_publications_max;
            // Then there is nothing to recover, whether the newest publication is still there or not.
            let is_known = *mode == RecoveryMode::Cache && asked.offset > 0 && *asked == top;
            result.recovered = match mode {
                RecoveryMode::Stream => recovered(asked, &top, offsets, publications_max),
                RecoveryMode::Cache => is_known || offsets.last() == Some(top.offset),
            };
            if result.recovered && !is_known {
                result.publications = self.shown(found, &mut view);
                if *mode == RecoveryMode::Cache {
                    // The newest of what it is given. Where nothing of it matches its filter, that is not told from a loss, as at
                    // Centrifugo.
                    let older = result.publications.len().saturating_sub(1);
                    result.publications.drain(..older);
                    result.recovered = !result.publications.is_empty() || view.filter.is_none();
                }
            }
            if result.recovered {
                // Where the client stands until it has handled them: who saves it and breaks off recovers them again.
                offset = asked.offset;
            }
        }
        result.position = grant.positioned.then_some(StreamPosition { offset, epoch });
        (result, view)
    }

    /// What of these the client is given.
    fn shown(&self, mut found: Vec<Placed>, view: &mut View) -> Vec<Placed> {
        let newest = found.last().map(|newest| newest.offset);
        if let Some(own) = self.info()
            && !view.shows_all()
        {
            found.retain(|placed| view.shows(&placed.publication, own));
        }
        view.has_newest = newest.is_some() && found.last().map(|newest| newest.offset) == newest;
        found
    }

    /// Counts what it takes to tell so many messages, or members: a command may ask for one, or for all there are.
    fn has_told(&mut self, count: usize) {
        self.work_left = self.work_left.saturating_sub(work::of_telling(count));
    }

    pub(super) fn finish_pending(&mut self, ticket: Ticket) -> Option<Pending> {
        self.pending.take_if(|pending| pending.ticket == ticket)
    }

    /// A ticket came back to the wrong method: our own mistake, which the client hears as an internal error.
    pub(super) fn misused(&mut self, pending: Pending, out: &mut Vec<Action>) {
        debug_assert!(false, "{pending:?} was completed as another kind of action");
        self.finish(pending.id, Err(ErrorCode::Internal), out);
    }

    fn finish(&mut self, id: u32, result: Result<ReplyBody, ErrorCode>, out: &mut Vec<Action>) {
        self.reply(id, result.unwrap_or_else(ReplyBody::Error), out);
        self.advance(out);
    }
}
