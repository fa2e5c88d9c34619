//! The connections of each user, on whatever shards they are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use roomcast::internal::Striped;
use uuid::Uuid;

use crate::util::key::ConnectionAddress;

/// Which connections are meant: all of one user, or some of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// The user; empty for the connections without one.
    pub user: String,
    /// The id of a client, if only that one is meant.
    pub client: Option<String>,
    /// The name of a session, if only that one is meant.
    pub session: Option<String>,
    /// The ids of clients that are not meant, whatever is said above.
    pub except: Vec<String>,
}

/// Which of a user's connections are meant, once [`Recipients`] are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    client: Option<Box<str>>,
    session: Option<Uuid>,
    /// Shared by all shards that are asked, and looked up in: it may be long, and so is the list of a user's connections.
    except: Arc<HashSet<Box<str>>>,
}

impl Selection {
    /// `None` where no connection can be meant.
    pub(crate) fn of(recipients: &Recipients) -> Option<Self> {
        let session = recipients.session.as_deref().map(Uuid::parse_str).transpose().ok()?;
        let except = Arc::new(recipients.except.iter().map(|client| client.as_str().into()).collect());
        Some(Self { client: recipients.client.as_deref().map(Into::into), session, except })
    }

    /// Whether the connection of that client and session is meant.
    pub(crate) fn includes(&self, client: &str, session: Uuid) -> bool {
        self.client.as_deref().is_none_or(|it| it == client)
            && self.session.is_none_or(|it| it == session)
            && !self.except.contains(client)
    }

    /// What it holds beside itself.
    pub(crate) fn bytes(&self) -> usize {
        let texts = self.client.iter().chain(&*self.except);
        texts.map(|text| size_of::<Box<str>>() + text.len()).sum()
    }
}

/// The index of connections by user. Every connection of a user is in it once, from when it has said whose it is until it leaves:
/// so it holds no more than there are connections, and nothing of those without a user.
#[derive(Debug, Default)]
pub(crate) struct Users {
    /// How many have been registered so far.
    registered: AtomicU64,
    /// Flat, rather than a list for each user: it shrinks as connections go, and one of a hundred thousand goes as fast as one of
    /// two.
    connections: Striped<Part>,
}

/// The connections of some users.
#[derive(Debug, Default)]
struct Part {
    by_user: BTreeMap<(Box<str>, ConnectionAddress), Names>,
    /// How many those users have that have more than one: the rest need no memory for it.
    counts: HashMap<Box<str>, u64>,
}

impl Part {
    /// Counts one more of a user, and says how many it has now.
    fn one_more(&mut self, user: &str) -> u64 {
        if let Some(count) = self.counts.get_mut(user) {
            *count += 1;
            return *count;
        }
        let from = self.by_user.range((user.into(), ConnectionAddress::FIRST)..);
        // The new one is there already.
        let count = from.take(2).take_while(|((of, _), _)| **of == *user).count() as u64;
        if count > 1 {
            self.counts.insert(user.into(), count);
        }
        count
    }

    fn one_less(&mut self, user: &str) {
        if let Some(count) = self.counts.get_mut(user) {
            *count -= 1;
            if *count == 1 {
                self.counts.remove(user);
                if self.counts.is_empty() {
                    self.counts = HashMap::new();
                }
            }
        }
    }
}

/// How many users are connected, and with how many connections; those without a user are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserCount {
    pub(crate) users: u32,
    pub(crate) connections: u32,
}

/// What a connection is called, as far as commands name it.
#[derive(Debug)]
struct Names {
    client: Box<str>,
    session: Uuid,
    /// Of two connections of a user the one that was registered later has the higher one.
    number: u64,
    /// It has been told to go for a newer one.
    is_superseded: bool,
}

impl Users {
    /// From here on that connection of `user` is found; how many it has now.
    pub(crate) fn register(&self, user: &str, address: ConnectionAddress, client: &str, session: Uuid) -> u64 {
        let mut part = self.connections.of(user);
        // Relaxed: a number of its own is all that is asked of it; the lock puts those of one user in order.
        let number = self.registered.fetch_add(1, Relaxed);
        let names = Names { client: client.into(), session, number, is_superseded: false };
        part.by_user.insert((user.into(), address), names);
        part.one_more(user)
    }

    /// The connection has left.
    pub(crate) fn forget(&self, user: &str, address: ConnectionAddress) {
        let mut part = self.connections.of(user);
        if part.by_user.remove(&(user.into(), address)).is_some() {
            part.one_less(user);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> UserCount {
        let mut count = UserCount::default();
        for part in self.connections.parts() {
            let mut last: Option<&str> = None;
            for (user, _) in part.by_user.keys() {
                count.connections += 1;
                count.users += u32::from(last != Some(user));
                last = Some(user);
            }
        }
        count
    }

    /// The connections of `user` that were registered before the one at `address` and have not been returned here yet: of all that
    /// come at once the newest stays, whichever asks first.
    pub(crate) fn supersede(&self, user: &str, address: ConnectionAddress) -> Vec<ConnectionAddress> {
        let connections = &mut self.connections.of(user).by_user;
        let Some(number) = connections.get(&(user.into(), address)).map(|names| names.number) else {
            return Vec::new();
        };
        let from = connections.range_mut((user.into(), ConnectionAddress::FIRST)..);
        let own = from.take_while(|((of, _), _)| **of == *user);
        let earlier = own.filter(|(_, names)| names.number < number && !names.is_superseded);
        earlier
            .map(|((_, address), names)| {
                names.is_superseded = true;
                *address
            })
            .collect()
    }

    /// Where those connections of `user` are at this moment.
    pub(crate) fn find(&self, user: &str, selection: &Selection) -> Vec<ConnectionAddress> {
        let connections = &self.connections.of(user).by_user;
        let from = connections.range((user.into(), ConnectionAddress::FIRST)..);
        let own = from.take_while(|((of, _), _)| **of == *user);
        own.filter(|(_, names)| selection.includes(&names.client, names.session))
            .map(|((_, address), _)| *address)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::key::ConnectionKey;

    fn address(shard: usize, slot: usize) -> ConnectionAddress {
        ConnectionAddress { shard, key: ConnectionKey { slot, number: 0 } }
    }

    fn find(users: &Users, user: &str, client: Option<&str>, session: Option<Uuid>) -> Vec<ConnectionAddress> {
        let recipients = Recipients {
            user: user.to_owned(),
            client: client.map(str::to_owned),
            session: session.map(|session| session.to_string()),
            except: Vec::new(),
        };
        users.find(user, &Selection::of(&recipients).expect("they can be meant"))
    }

    #[test]
    fn the_connections_of_a_user_are_found_until_they_leave() {
        let users = Users::default();
        let session = Uuid::from_u128;
        users.register("ann", address(1, 7), "c1", session(1));
        users.register("ann", address(0, 3), "c2", session(2));
        users.register("anna", address(0, 4), "c3", session(3));
        assert_eq!(find(&users, "ann", None, None), [address(0, 3), address(1, 7)]);
        assert_eq!(find(&users, "ann", Some("c1"), None), [address(1, 7)]);
        assert_eq!(find(&users, "ann", None, Some(session(2))), [address(0, 3)]);
        assert_eq!(find(&users, "ann", Some("c1"), Some(session(2))), []);
        assert_eq!(find(&users, "an", None, None), []);
        assert_eq!(users.count(), UserCount { users: 2, connections: 3 });
        let but = Recipients { user: "ann".to_owned(), except: vec!["c2".to_owned()], ..Recipients::default() };
        assert_eq!(users.find("ann", &Selection::of(&but).expect("they can be meant")), [address(1, 7)]);
        users.forget("ann", address(0, 3));
        users.forget("ann", address(0, 3));
        assert_eq!(find(&users, "ann", None, None), [address(1, 7)]);
        users.forget("ann", address(1, 7));
        users.forget("anna", address(0, 4));
        let is_empty = |part: &Part| part.by_user.is_empty() && part.counts.is_empty();
        assert!(users.connections.parts().all(|part| is_empty(&part)), "it holds what is connected");
    }

    #[test]
    fn the_connections_of_each_user_are_counted() {
        let users = Users::default();
        let register = |user, slot| users.register(user, address(0, slot), "c", Uuid::nil());
        assert_eq!([register("ann", 1), register("anna", 2), register("ann", 3), register("ann", 4)], [1, 1, 2, 3]);
        users.forget("ann", address(0, 3));
        users.forget("ann", address(0, 3));
        assert_eq!(register("ann", 5), 3);
        for slot in [1, 4, 5] {
            users.forget("ann", address(0, slot));
        }
        assert_eq!(register("ann", 6), 1);
        assert_eq!(register("anna", 7), 2);
    }

    #[test]
    fn of_those_that_come_at_once_the_newest_stays() {
        let users = Users::default();
        for (shard, slot) in [(1, 7), (0, 3), (1, 2)] {
            users.register("ann", address(shard, slot), "c", Uuid::nil());
        }
        users.register("anna", address(0, 9), "c", Uuid::nil());
        assert_eq!(users.supersede("ann", address(1, 7)), [], "it was the first");
        assert_eq!(users.supersede("ann", address(1, 2)), [address(0, 3), address(1, 7)]);
        assert_eq!(users.supersede("ann", address(1, 2)), [], "each is told once");
        assert_eq!(users.supersede("ann", address(0, 3)), [], "the newest stays");
        assert_eq!(users.supersede("ann", address(5, 5)), [], "it has left");
    }

    #[test]
    fn a_session_that_can_have_no_such_name_is_nobodys() {
        let recipients = Recipients { session: Some("no name of ours".to_owned()), ..Recipients::default() };
        assert_eq!(Selection::of(&recipients), None);
    }
}
