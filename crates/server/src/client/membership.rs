//! The rooms that a client is in: entering, becoming a member, catching up, leaving, and saying so there.

use std::rc::Rc;

use roomcast::Subscription;
use roomcast_protocol::{ClientInfo, CloseCode, Publication, RoomName};

use crate::client::connection::Connection;
use crate::client::deferred::{Done, Receiver};
use crate::client::shard::Shard;
use crate::config::Echo;
use crate::delivery::feed::{CaughtUp, MemberKey, MemberOptions};
use crate::delivery::sink::MemberSink as _;
use crate::events::Reason;
use crate::rooms::engine::Entered;
use crate::rooms::join_leave::What;
use crate::session::{MembershipGrant, Subscribed, View};
use crate::util::reserve::reserve_one;
use crate::wire::disconnect::Disconnect;

/// Messages that are fetched at once for a member that is behind its ring: few enough that many such members do not fill the memory
/// with them, also where each is as large as it may be.
const FETCHED: usize = 64;

/// A room the client is in.
#[derive(Debug)]
struct Membership {
    room: RoomName,
    member_key: MemberKey,
    membership: MembershipGrant,
    /// Who the client is to others there; the session forgets it when it ends, and leaving is announced after that.
    info: ClientInfo,
    /// Whether the backend is told of it.
    has_events: bool,
}

/// The rooms of one client.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    /// Where the client stands in the rooms whose subscribe replies are being written.
    entering: Vec<(RoomName, Subscription<Publication>)>,
    rooms: Vec<Membership>,
}

impl Memberships {
    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Its place in the delivery of a room.
    pub(crate) fn member_key(&self, room: &RoomName) -> Option<MemberKey> {
        self.rooms.iter().find(|membership| membership.room == *room).map(|membership| membership.member_key)
    }

    /// Remembers where the client stands in a room until it is made a member.
    pub(crate) fn remember(&mut self, room: RoomName, entered: Entered) -> Subscribed {
        let Entered { subscription, subscribed } = entered;
        self.entering.push((room, subscription));
        subscribed
    }

    /// Makes the client a member of a room that it has entered.
    pub(crate) fn activate(
        &mut self,
        connection: &Rc<Connection>,
        shard: &Shard,
        room: RoomName,
        (membership, view): (MembershipGrant, View),
        info: ClientInfo,
    ) -> Result<(), Disconnect> {
        let at = self.entering.iter().position(|(entered, _)| *entered == room);
        let entered = at.map(|at| self.entering.swap_remove(at));
        if self.entering.is_empty() {
            // A member that is silent holds no memory for how it came in.
            self.entering = Vec::new();
        }
        let Some((_, start)) = entered else {
            debug_assert!(false, "a room is activated that was not entered");
            return Err(CloseCode::ServerError.into());
        };
        tracing::debug!(client = info.client(), %room, shard = shard.index, "join");
        let options = shard.hub.delivery_options(&room);
        // A room that nobody knows how far to show is not shown: the client comes again.
        let edge = shard.hub.engine_of(room.as_str()).edge(&start.room()).map_err(|_| CloseCode::ServerError)?;
        let own = (view.echo != Echo::All).then(|| info.clone());
        let member = MemberOptions { hears: membership.hears_join_leave, view, own };
        let member_key = shard.delivery.join(&room, start, connection, (options, edge), member);
        if membership.presence {
            shard.hub.presence.enter(&room, info.clone());
        }
        let has_events = shard.hub.has_events(&room);
        if has_events && let Some(journal) = shard.hub.journal() {
            journal.enter(room.as_str(), info.client(), info.user());
        }
        reserve_one(&mut self.rooms);
        self.rooms.push(Membership { room: room.clone(), member_key, membership, info: info.clone(), has_events });
        shard.metrics.members.inc();
        if membership.announced
            && let Some(position) = shard.delivery.position(member_key)
        {
            shard.hub.events.announce(&room, What::Join(info), position);
        }
        Ok(())
    }

    /// Leaves a room, or gives up entering it; false if it was not in it.
    pub(crate) fn leave(&mut self, shard: &Shard, client: &str, room: &RoomName) -> bool {
        self.entering.retain(|(entering, _)| entering != room);
        let Some(at) = self.rooms.iter().position(|membership| membership.room == *room) else { return false };
        let membership = self.rooms.swap_remove(at);
        self.end(shard, client, membership, Reason::UNSUBSCRIBE);
        true
    }

    pub(crate) fn leave_all(&mut self, shard: &Shard, client: &str, disconnect: &Disconnect) {
        self.entering = Vec::new();
        let reason = if shard.hub.sends_on(disconnect) { Reason::HAND_OVER } else { Reason::DISCONNECT };
        for membership in std::mem::take(&mut self.rooms) {
            self.end(shard, client, membership, reason.clone());
        }
    }

    fn end(&self, shard: &Shard, client: &str, membership: Membership, reason: Reason) {
        let Membership { room, member_key, membership, info, has_events } = membership;
        tracing::debug!(client, %room, shard = shard.index, "leave");
        let position = shard.delivery.leave(member_key);
        shard.metrics.members.dec();
        if membership.presence {
            shard.hub.presence.leave(&room, client);
        }
        if has_events && let Some(journal) = shard.hub.journal() {
            journal.leave(room.as_str(), client, reason);
        }
        // It goes to the process that has the room now, like those who would hear of it.
        if membership.announced
            && !shard.hub.is_released()
            && let Some(position) = position
        {
            shard.hub.events.announce(&room, What::Leave(info), position);
        }
    }

    /// Lets the rooms go on whose messages the client did not take; those that it is to leave.
    ///
    /// # Errors
    /// With what the connection is to be closed.
    pub(crate) fn catch_up(
        &self,
        connection: &Rc<Connection>,
        shard: &Shard,
        client: &str,
        receiver: impl Fn() -> Result<Receiver, Disconnect>,
    ) -> Result<Vec<RoomName>, Disconnect> {
        let mut ended = Vec::new();
        for Membership { room, member_key, .. } in &self.rooms {
            // Of one client the database is read for one room at a time, as for its commands.
            let caught_up = match connection.is_fetching.get() {
                false => shard.delivery.catch_up(*member_key),
                true => shard.delivery.catch_up_from_ring(*member_key),
            };
            match caught_up {
                CaughtUp::Rejoined | CaughtUp::Waits | CaughtUp::Held => {}
                CaughtUp::InTheDatabase(of, from) => {
                    let fetched = shard.hub.engine_of(room.as_str()).fetch(&of, from, FETCHED);
                    let room = room.clone();
                    connection.is_fetching.set(true);
                    receiver()?.complete_with(async move {
                        Done::Fetched(room, from, fetched.wait().await.unwrap_or_default())
                    });
                }
                // Who was put out of a room before is told, socket or not.
                CaughtUp::Full => break,
                CaughtUp::Unfinished => connection.wake(),
                CaughtUp::Ended => ended.push(room.clone()),
                CaughtUp::Skipped(missed) => {
                    tracing::warn!(client, %room, missed, "slow consumer, out of the room");
                    shard.metrics.slow_consumers.inc();
                    ended.push(room.clone());
                }
                CaughtUp::EventsLost => {
                    tracing::warn!(client, %room, "joins and leaves were lost, out of the room");
                    shard.metrics.slow_consumers.inc();
                    ended.push(room.clone());
                }
                CaughtUp::Missed(missed) => {
                    tracing::warn!(client, %room, missed, "slow consumer");
                    return Err(CloseCode::Slow.into());
                }
            }
        }
        Ok(ended)
    }
}
