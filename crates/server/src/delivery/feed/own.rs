//! Members of a group that are not given what they, or their users, have published.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::config::Echo;
use roomcast_protocol::{ClientInfo, Publication};

/// Those members, and what of a batch is theirs: looked up by who has published it, however many they are.
#[derive(Debug, Default)]
pub(super) struct Own {
    members: HashMap<usize, (Echo, ClientInfo)>,
    by_client: ByName,
    by_user: ByName,
    /// How many messages of the batch are theirs; of those who have any.
    in_batch: HashMap<usize, u64>,
    /// Those who have fallen behind because some of the batch is theirs, and some is not.
    apart: Vec<usize>,
}

/// Nearly always there is one of a name.
type ByName = HashMap<Box<str>, SmallVec<[usize; 1]>>;

impl Own {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member who is `own` and is not to be given its own.
    pub(super) fn add(&mut self, member: usize, echo: Echo, own: ClientInfo) {
        let (names, name) = self.names(echo, &own);
        names.entry(name.into()).or_default().push(member);
        self.members.insert(member, (echo, own));
    }

    /// It is gone.
    pub(super) fn remove(&mut self, member: usize) {
        let Some((echo, own)) = self.members.remove(&member) else { return };
        self.in_batch.remove(&member);
        let (names, name) = self.names(echo, &own);
        if let Some(members) = names.get_mut(name) {
            members.retain(|other| *other != member);
            if members.is_empty() {
                names.remove(name);
            }
        }
    }

    /// Where it is known by name what is its own, and by which.
    fn names<'a>(&mut self, echo: Echo, own: &'a ClientInfo) -> (&mut ByName, &'a str) {
        if echo == Echo::NotUser && !own.user().is_empty() {
            (&mut self.by_user, own.user())
        } else {
            (&mut self.by_client, own.client())
        }
    }

    /// Who a member is that is not to be given its own.
    pub(super) fn of(&self, member: usize) -> Option<&(Echo, ClientInfo)> {
        self.members.get(&member)
    }

    /// Begins a batch.
    pub(super) fn begin(&mut self) {
        self.in_batch.clear();
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
        let Some(author) = publication.info.as_ref().filter(|_| !self.is_empty()) else { return };
        let by_client = self.by_client.get(author.client()).into_iter().flatten();
        let by_user = self.by_user.get(author.user()).into_iter().flatten();
        for member in by_client.chain(by_user) {
            *self.in_batch.entry(*member).or_default() += 1;
        }
    }

    /// How many messages of the batch are a member's own.
    pub(super) fn in_batch(&self, member: usize) -> u64 {
        if self.in_batch.is_empty() { 0 } else { self.in_batch.get(&member).copied().unwrap_or(0) }
    }
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
}
