//! Members of a group that are not given what they, or their users, have published.

use std::collections::HashMap;

use crate::config::Echo;
use crate::session::is_by_user;
use roomcast_protocol::{ClientInfo, Publication};

/// Those members, and what of a batch is theirs: looked up by who has published it, however many they are.
#[derive(Debug, Default)]
pub(super) struct Own {
    members: HashMap<usize, (Echo, ClientInfo)>,
    by_client: ByName,
    by_user: ByName,
    /// Which batch it is.
    batch: u64,
    /// Whether some of it is somebody's own.
    has_any: bool,
    /// Those who have fallen behind because some of the batch is theirs, and some is not.
    apart: Vec<usize>,
}

type ByName = HashMap<Box<str>, Named>;

/// Members of one name: nearly always one, and of one user as many as the user has connections.
#[derive(Debug, Default)]
struct Named {
    members: usize,
    /// In which batch there was something of theirs last, and how many messages.
    batch: u64,
    in_batch: u64,
}

impl Own {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member who is `own` and is not to be given its own.
    pub(super) fn add(&mut self, member: usize, echo: Echo, own: ClientInfo) {
        let name = name(echo, &own);
        let names = self.names(name);
        match names.get_mut(name.text()) {
            Some(named) => named.members += 1,
            None => drop(names.insert(name.text().into(), Named { members: 1, ..Named::default() })),
        }
        self.members.insert(member, (echo, own));
    }

    /// It is gone.
    pub(super) fn remove(&mut self, member: usize) {
        let Some((echo, own)) = self.members.remove(&member) else { return };
        let name = name(echo, &own);
        let names = self.names(name);
        if let Some(named) = names.get_mut(name.text()) {
            named.members -= 1;
            if named.members == 0 {
                names.remove(name.text());
            }
        }
    }

    fn names(&mut self, name: Name<'_>) -> &mut ByName {
        match name {
            Name::Client(_) => &mut self.by_client,
            Name::User(_) => &mut self.by_user,
        }
    }

    /// Who a member is that is not to be given its own.
    pub(super) fn of(&self, member: usize) -> Option<&(Echo, ClientInfo)> {
        self.members.get(&member)
    }

    /// Begins a batch.
    pub(super) fn begin(&mut self) {
        self.batch += 1;
        self.has_any = false;
        self.apart.clear();
    }

    /// Some of the batch is a member's own, and some is not.
    pub(super) fn set_apart(&mut self, member: usize) {
        self.apart.push(member);
    }

    /// Takes out those of whom that is so.
    pub(super) fn take_apart(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.apart)
    }

    /// Notes whose a message is that is put into the batch.
    pub(super) fn note(&mut self, publication: &Publication) {
        let Some(author) = publication.info.as_ref().filter(|_| !self.members.is_empty()) else { return };
        let by_client = self.by_client.get_mut(author.client());
        let by_user = self.by_user.get_mut(author.user());
        for named in by_client.into_iter().chain(by_user) {
            if std::mem::replace(&mut named.batch, self.batch) != self.batch {
                named.in_batch = 0;
            }
            named.in_batch += 1;
            self.has_any = true;
        }
    }

    /// How many messages of the batch are a member's own.
    pub(super) fn in_batch(&self, member: usize) -> u64 {
        if !self.has_any {
            return 0;
        }
        let Some((echo, own)) = self.members.get(&member) else { return 0 };
        let named = match name(*echo, own) {
            Name::Client(client) => self.by_client.get(client),
            Name::User(user) => self.by_user.get(user),
        };
        named.filter(|named| named.batch == self.batch).map_or(0, |named| named.in_batch)
    }
}

/// By what it is known what is a member's own.
#[derive(Clone, Copy)]
enum Name<'a> {
    Client(&'a str),
    User(&'a str),
}

impl<'a> Name<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Client(text) | Self::User(text) => text,
        }
    }
}

fn name(echo: Echo, own: &ClientInfo) -> Name<'_> {
    if is_by_user(echo, own) { Name::User(own.user()) } else { Name::Client(own.client()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_protocol::Payload;

    fn client(user: &str, client: &str) -> ClientInfo {
        ClientInfo::new(user.to_owned(), client.to_owned(), None, None)
    }

    fn by(info: Option<ClientInfo>) -> Publication {
        Publication::new(Payload::json("1".into()), info)
    }

    #[test]
    fn what_of_a_batch_is_whose_is_known_by_who_has_published_it() {
        let mut own = Own::default();
        own.add(1, Echo::NotClient, client("ann", "a1"));
        own.add(2, Echo::NotUser, client("ann", "a2"));
        own.add(3, Echo::NotUser, client("ann", "a3"));
        own.add(4, Echo::NotUser, client("", "n1"));
        own.begin();
        for author in
            [Some(client("ann", "a1")), Some(client("ann", "a9")), Some(client("", "n1")), Some(client("", "n2")), None]
        {
            own.note(&by(author));
        }
        assert_eq!([1, 2, 3, 4, 5].map(|member| own.in_batch(member)), [1, 2, 2, 1, 0]);
        own.remove(2);
        assert_eq!([2, 3].map(|member| own.in_batch(member)), [0, 2], "who comes into its place is another");
        own.begin();
        own.note(&by(Some(client("ann", "a1"))));
        assert_eq!([1, 2, 3, 4].map(|member| own.in_batch(member)), [1, 0, 1, 0]);
        [1, 3, 4, 4].into_iter().for_each(|member| own.remove(member));
        assert!(own.is_empty() && own.by_client.is_empty() && own.by_user.is_empty());
    }

    #[test]
    fn a_message_of_a_user_with_many_connections_is_counted_once() {
        const CONNECTIONS: usize = 1_000;
        let mut own = Own::default();
        for member in 0..CONNECTIONS {
            own.add(member, Echo::NotUser, client("ann", &format!("a{member}")));
        }
        for batch in 0..3 {
            own.begin();
            (0..=batch).for_each(|_| own.note(&by(Some(client("ann", "a9")))));
            assert!((0..CONNECTIONS).all(|member| own.in_batch(member) == batch + 1));
            assert_eq!((own.by_user.len(), own.by_client.len()), (1, 0), "there is one place for all of them");
        }
        (0..CONNECTIONS - 1).for_each(|member| own.remove(member));
        assert_eq!(own.in_batch(CONNECTIONS - 1), 3);
        own.remove(CONNECTIONS - 1);
        assert!(own.is_empty() && own.by_user.is_empty());
    }
}
