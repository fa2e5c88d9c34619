//! What tokens grant a client for a while, or in one room: until when it may stay, and what is said of it there.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::Ticket;
use roomcast_protocol::ClientInfo;

/// What tokens have said of a client beyond who it is. Most say nothing, and then there is nothing to keep.
#[derive(Debug, Default)]
pub(super) struct Stays(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// When the connection is closed, unless another token comes before.
    connection_ms: Option<u64>,
    /// By room; a client may be in many, and enter them all at once.
    rooms: HashMap<Box<str>, InRoom>,
    /// When the stays in rooms end, in their order.
    ends: BTreeSet<(u64, Box<str>)>,
    /// The names of the rooms that the connection token has put the client into, in their order.
    granted: Vec<Box<str>>,
    /// What the backend has attached to the connection, compact JSON.
    meta: Option<Bytes>,
    /// What the client has said in place of headers, of what is passed on.
    headers: Vec<(String, String)>,
    /// What the backend is being asked while the client goes on.
    asked: Vec<(Ticket, Stay)>,
}

/// What is kept of a [`RoomStay`].
#[derive(Debug)]
struct InRoom {
    until_ms: Option<u64>,
    info: Option<ClientInfo>,
    is_put_in: bool,
}

/// What may stay for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    Connection,
    Room(Box<str>),
}

impl Stay {
    /// The name of the room, if it is in one.
    pub(super) fn room(&self) -> &str {
        match self {
            Self::Connection => "",
            Self::Room(room) => room,
        }
    }
}

/// What a subscription token has said.
#[derive(Debug)]
pub(super) struct RoomStay {
    pub(super) room: Box<str>,
    /// When the client is put out of the room, unless another token comes before.
    pub(super) until_ms: Option<u64>,
    /// Who the client is in this room, where something is said of it there.
    pub(super) info: Option<ClientInfo>,
    /// The client has not asked for the room: the server has put it in.
    pub(super) is_put_in: bool,
}

impl Stays {
    /// The connection token has put the client into these rooms.
    pub(super) fn grant(&mut self, rooms: impl Iterator<Item = Box<str>>) {
        let mut granted: Vec<_> = rooms.collect();
        if !granted.is_empty() {
            granted.sort_unstable();
            granted.dedup();
            self.change(|kept| kept.granted = granted);
        }
    }

    /// Whether these are the rooms that the connection token has put the client into.
    pub(super) fn is_granted<T>(&self, rooms: &[(String, T)]) -> bool {
        let granted = self.0.as_ref().map_or(&[][..], |kept| &kept.granted);
        let names: BTreeSet<&str> = rooms.iter().map(|(name, _)| name.as_str()).collect();
        granted.iter().map(|name| &**name).eq(names)
    }

    /// The connection may stay until then, or for good, whatever the backend answers that was asked before.
    pub(super) fn set_connection(&mut self, until_ms: Option<u64>) {
        self.change(|kept| {
            kept.connection_ms = until_ms;
            kept.asked.retain(|(_, asked)| *asked != Stay::Connection);
        });
    }

    /// Takes what holds in a room, in place of what held there before and of what the backend answers that was asked before.
    pub(super) fn set_room(&mut self, RoomStay { room, until_ms, info, is_put_in }: RoomStay) {
        self.change(|kept| {
            kept.forget_room(&room);
            kept.asked.retain(|(_, asked)| !matches!(asked, Stay::Room(of) if *of == room));
            if let Some(until_ms) = until_ms {
                kept.ends.insert((until_ms, room.clone()));
            }
            kept.rooms.insert(room, InRoom { until_ms, info, is_put_in });
        });
    }

    /// The client may stay in a room until then, or for good; what is said of it there stays, unless something else is.
    pub(super) fn prolong_room(&mut self, room: Box<str>, until_ms: Option<u64>, info: Option<ClientInfo>) {
        let info = info.or_else(|| self.info_in(&room).cloned());
        if until_ms.is_some() || info.is_some() {
            let is_put_in = self.is_put_in(&room);
            self.set_room(RoomStay { room, until_ms, info, is_put_in });
        } else {
            self.forget_room(&room);
        }
    }

    /// The client is not in the room any more, or nothing is said of it there.
    pub(super) fn forget_room(&mut self, room: &str) {
        if self.0.is_some() {
            self.change(|kept| {
                kept.forget_room(room);
                kept.asked.retain(|(_, asked)| !matches!(asked, Stay::Room(of) if **of == *room));
            });
        }
    }

    pub(super) fn set_meta(&mut self, meta: Option<Bytes>) {
        if meta.is_some() || self.0.is_some() {
            self.change(|kept| kept.meta = meta);
        }
    }

    pub(super) fn meta(&self) -> Option<&Bytes> {
        self.0.as_ref()?.meta.as_ref()
    }

    pub(super) fn set_headers(&mut self, headers: Vec<(String, String)>) {
        if !headers.is_empty() || self.0.is_some() {
            self.change(|kept| kept.headers = headers);
        }
    }

    pub(super) fn headers(&self) -> &[(String, String)] {
        self.0.as_ref().map_or(&[], |kept| &kept.headers)
    }

    /// The backend is asked, and its answer has this ticket.
    pub(super) fn ask(&mut self, ticket: Ticket, asked: Stay) {
        self.change(|kept| kept.asked.push((ticket, asked)));
    }

    /// What the answer with this ticket is about.
    pub(super) fn take_asked(&mut self, ticket: Ticket) -> Option<Stay> {
        let at = self.0.as_ref()?.asked.iter().position(|(of, _)| *of == ticket)?;
        let mut taken = None;
        self.change(|kept| taken = Some(kept.asked.swap_remove(at).1));
        taken
    }

    /// Who the client is in a room, where something is said of it there.
    pub(super) fn info_in(&self, room: &str) -> Option<&ClientInfo> {
        self.0.as_ref()?.rooms.get(room)?.info.as_ref()
    }

    /// Whether the server has put the client into a room, where something is said of it there.
    pub(super) fn is_put_in(&self, room: &str) -> bool {
        self.0.as_ref().and_then(|kept| kept.rooms.get(room)).is_some_and(|stay| stay.is_put_in)
    }

    /// When [`Stays::take_ended`] has something to say next.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let kept = self.0.as_ref()?;
        let room_ms = kept.ends.first().map(|(until_ms, _)| *until_ms);
        room_ms.into_iter().chain(kept.connection_ms).min()
    }

    /// Takes out what has come to its end by now: the connection, or else a room.
    pub(super) fn take_ended(&mut self, now_ms: u64) -> Option<Stay> {
        let kept = self.0.as_mut()?;
        if kept.connection_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            self.change(|kept| kept.connection_ms = None);
            return Some(Stay::Connection);
        }
        let (_, room) = kept.ends.first().filter(|(until_ms, _)| *until_ms <= now_ms)?.clone();
        // What is said of the client there holds until it is out.
        self.change(|kept| kept.lift_end(&room));
        Some(Stay::Room(room))
    }

    fn change(&mut self, change: impl FnOnce(&mut Kept)) {
        let kept = self.0.get_or_insert_default();
        change(kept);
        let Kept { connection_ms, rooms, granted, meta, headers, asked, .. } = &**kept;
        let is_idle = connection_ms.is_none() && meta.is_none() && headers.is_empty() && asked.is_empty();
        if is_idle && rooms.is_empty() && granted.is_empty() {
            self.0 = None;
        }
    }
}

impl Kept {
    /// The client may stay there, until something else is said.
    fn lift_end(&mut self, room: &str) {
        let Some(stay) = self.rooms.get_mut(room) else { return };
        if let Some(until_ms) = stay.until_ms.take() {
            self.ends.remove(&(until_ms, room.into()));
        }
    }

    fn forget_room(&mut self, room: &str) {
        if let Some((room, InRoom { until_ms: Some(until_ms), .. })) = self.rooms.remove_entry(room) {
            self.ends.remove(&(until_ms, room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(room: &str, until_ms: Option<u64>) -> RoomStay {
        RoomStay { room: room.into(), until_ms, info: None, is_put_in: false }
    }

    #[test]
    fn what_ends_first_is_waited_for_and_what_ends_is_gone() {
        let mut stays = Stays::default();
        assert_eq!(stays.deadline_ms(), None);
        stays.set_connection(Some(300));
        stays.set_room(stay("hall", Some(200)));
        stays.set_room(stay("yard", None));
        assert_eq!(stays.deadline_ms(), Some(200));
        assert_eq!(stays.take_ended(199), None);
        assert_eq!(stays.take_ended(200), Some(Stay::Room("hall".into())));
        assert_eq!(stays.deadline_ms(), Some(300));
        assert_eq!(stays.take_ended(500), Some(Stay::Connection));
        assert_eq!(stays.take_ended(500), None);
    }

    #[test]
    fn what_is_said_of_a_stay_is_newer_than_what_was_asked_of_it() {
        let mut stays = Stays::default();
        let (of_hall, of_yard, of_all) = (Ticket(1), Ticket(2), Ticket(3));
        stays.ask(of_hall, Stay::Room("hall".into()));
        stays.ask(of_yard, Stay::Room("yard".into()));
        stays.ask(of_all, Stay::Connection);
        stays.set_room(stay("hall", Some(200)));
        assert_eq!(stays.take_asked(of_hall), None);
        assert_eq!(stays.take_asked(of_yard), Some(Stay::Room("yard".into())));
        stays.set_connection(None);
        assert_eq!(stays.take_asked(of_all), None);
    }

    #[test]
    fn a_new_token_takes_the_place_of_the_one_before() {
        let mut stays = Stays::default();
        stays.set_room(stay("hall", Some(200)));
        stays.set_room(stay("hall", Some(400)));
        assert_eq!(stays.deadline_ms(), Some(400));
        stays.set_room(stay("hall", None));
        assert_eq!(stays.deadline_ms(), None);
        stays.forget_room("hall");
        assert!(stays.0.is_none(), "who has nothing to wait for keeps no memory");
        stays.set_connection(Some(1));
        stays.set_connection(None);
        assert!(stays.0.is_none());
    }
}
