//! Who is in which room, over all shards.
//!
//! Touched when members come and go and when somebody asks, never by publishing or delivering. The map is striped by room, so
//! that shards whose members move in different rooms do not meet.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use crate::rooms::engine::{Answer, Presence};
use roomcast::internal::Striped;
use roomcast_protocol::{ClientInfo, ErrorCode, PresenceStats, RoomName};

/// The live members of every room on this node, by room and client id.
#[derive(Debug)]
pub(crate) struct LocalPresence {
    rooms: Striped<HashMap<Box<str>, HashSet<Present>>>,
}

/// A member, by its client id.
#[derive(Debug)]
struct Present(ClientInfo);

impl Borrow<str> for Present {
    fn borrow(&self) -> &str {
        self.0.client()
    }
}

impl Hash for Present {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.client().hash(state);
    }
}

impl PartialEq for Present {
    fn eq(&self, other: &Self) -> bool {
        self.0.client() == other.0.client()
    }
}

impl Eq for Present {}

impl LocalPresence {
    pub(crate) fn new() -> Self {
        Self { rooms: Striped::default() }
    }
}

impl Presence for LocalPresence {
    fn enter(&self, room: &RoomName, member: ClientInfo) {
        let room = room.as_str();
        let mut stripe = self.rooms.of(room);
        match stripe.get_mut(room) {
            Some(members) => drop(members.replace(Present(member))),
            None => drop(stripe.insert(room.into(), HashSet::from([Present(member)]))),
        }
    }

    /// An empty room takes no memory.
    fn leave(&self, room: &RoomName, client: &str) {
        let room = room.as_str();
        let mut stripe = self.rooms.of(room);
        let Some(members) = stripe.get_mut(room) else { return };
        members.remove(client);
        if members.is_empty() {
            stripe.remove(room);
        }
    }

    fn members(&self, room: &RoomName) -> Answer<Result<Vec<ClientInfo>, ErrorCode>> {
        let stripe = self.rooms.of(room.as_str());
        let members = stripe.get(room.as_str());
        Answer::Now(Ok(members.map_or_else(Vec::new, |members| members.iter().map(|Present(it)| it.clone()).collect())))
    }

    fn stats(&self, room: &RoomName) -> Answer<Result<PresenceStats, ErrorCode>> {
        let stripe = self.rooms.of(room.as_str());
        Answer::Now(Ok(stripe.get(room.as_str()).map_or_else(PresenceStats::default, |members| {
            let users: HashSet<&str> = members.iter().map(|Present(member)| member.user()).collect();
            PresenceStats { clients: count(members.len()), users: count(users.len()) }
        })))
    }
}

fn count(members: usize) -> u32 {
    u32::try_from(members).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(client: &str, user: &str) -> ClientInfo {
        ClientInfo::new(user.into(), client.into(), None, None)
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name, 255).unwrap()
    }

    fn members(presence: &LocalPresence, name: &str) -> Vec<ClientInfo> {
        let Answer::Now(Ok(members)) = presence.members(&room(name)) else { panic!("what is here is known at once") };
        members
    }

    fn stats(presence: &LocalPresence, name: &str) -> PresenceStats {
        let Answer::Now(Ok(stats)) = presence.stats(&room(name)) else { panic!("what is here is known at once") };
        stats
    }

    #[test]
    fn a_client_is_there_from_entering_to_leaving_and_once() {
        let presence = LocalPresence::new();
        presence.enter(&room("hall"), member("a", ""));
        presence.enter(&room("hall"), member("a", "42"));
        assert_eq!(members(&presence, "hall"), [member("a", "42")], "what is new of it is known");
        assert!(members(&presence, "yard").is_empty());
        presence.leave(&room("hall"), "b");
        assert_eq!(members(&presence, "hall").len(), 1);
        presence.leave(&room("hall"), "a");
        presence.leave(&room("hall"), "a");
        assert!(presence.rooms.of("hall").is_empty(), "an empty room is kept");
    }

    #[test]
    fn users_are_counted_once_however_many_clients_they_have() {
        let presence = LocalPresence::new();
        for (client, user) in [("a", "42"), ("b", "42"), ("c", "7")] {
            presence.enter(&room("hall"), member(client, user));
        }
        let counted = stats(&presence, "hall");
        assert_eq!((counted.clients, counted.users), (3, 2));
        assert_eq!(stats(&presence, "yard"), PresenceStats::default());
    }
}
