//! Who is in which room, over all shards.
//!
//! Touched when members come and go and when somebody asks, never by publishing or delivering. The map is striped by room, so
//! that shards whose members move in different rooms do not meet.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use roomcast::internal::Striped;
use roomcast_protocol::{ClientInfo, PresenceStats};

/// The live members of every room, by room and client id.
#[derive(Debug)]
pub(crate) struct Presence {
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

impl Presence {
    pub(crate) fn new() -> Self {
        Self { rooms: Striped::default() }
    }

    /// Adds a member; true unless the client was there already.
    pub(crate) fn enter(&self, room: &str, member: ClientInfo) -> bool {
        let mut stripe = self.rooms.of(room);
        match stripe.get_mut(room) {
            Some(members) => members.replace(Present(member)).is_none(),
            None => {
                stripe.insert(room.into(), HashSet::from([Present(member)]));
                true
            }
        }
    }

    /// Removes a member and gives back what was known of it; an empty room takes no memory.
    pub(crate) fn leave(&self, room: &str, client: &str) -> Option<ClientInfo> {
        let mut stripe = self.rooms.of(room);
        let members = stripe.get_mut(room)?;
        let member = members.take(client).map(|Present(member)| member);
        if members.is_empty() {
            stripe.remove(room);
        }
        member
    }

    /// The members of a room, in no particular order.
    pub(crate) fn members(&self, room: &str) -> Vec<ClientInfo> {
        let stripe = self.rooms.of(room);
        stripe.get(room).map_or_else(Vec::new, |members| members.iter().map(|Present(member)| member.clone()).collect())
    }

    /// How many clients, and how many different users, are in a room.
    pub(crate) fn stats(&self, room: &str) -> PresenceStats {
        let stripe = self.rooms.of(room);
        stripe.get(room).map_or_else(PresenceStats::default, |members| {
            let users: HashSet<&str> = members.iter().map(|Present(member)| member.user()).collect();
            PresenceStats { clients: count(members.len()), users: count(users.len()) }
        })
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

    #[test]
    fn a_client_is_there_from_entering_to_leaving_and_once() {
        let presence = Presence::new();
        assert!(presence.enter("hall", member("a", "")));
        assert!(!presence.enter("hall", member("a", "")));
        assert_eq!(presence.members("hall"), [member("a", "")]);
        assert!(presence.members("yard").is_empty());
        assert_eq!(presence.leave("hall", "a"), Some(member("a", "")));
        assert_eq!(presence.leave("hall", "a"), None);
        assert!(presence.rooms.of("hall").is_empty(), "an empty room is kept");
    }

    #[test]
    fn users_are_counted_once_however_many_clients_they_have() {
        let presence = Presence::new();
        for (client, user) in [("a", "42"), ("b", "42"), ("c", "7")] {
            presence.enter("hall", member(client, user));
        }
        let stats = presence.stats("hall");
        assert_eq!((stats.clients, stats.users), (3, 2));
        assert_eq!(presence.stats("yard"), PresenceStats::default());
    }
}
