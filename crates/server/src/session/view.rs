//! How a client is given what is published in a room.

use std::sync::Arc;

use crate::config::Echo;
use roomcast_protocol::{ClientInfo, Publication, TagsFilter};

/// How a client is given what is published in a room: nearly always all of it, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// It is given what matches.
    pub(crate) filter: Option<Arc<TagsFilter>>,
    /// Whether it is given what it has published itself.
    pub(crate) echo: Echo,
    /// It is given a chain of deltas.
    pub(crate) is_delta: bool,
    /// The reply to its subscribe has brought the newest publication, so that the next one may be a delta.
    pub(crate) has_newest: bool,
}

impl View {
    /// Whether the client is given everything.
    pub(crate) fn shows_all(&self) -> bool {
        self.filter.is_none() && self.echo == Echo::All
    }

    /// Whether a client that is `own` is given a publication.
    pub(crate) fn shows(&self, publication: &Publication, own: &ClientInfo) -> bool {
        let matches = self.filter.as_ref().is_none_or(|filter| filter.matches(&publication.tags));
        matches && !is_own(self.echo, publication, own)
    }
}

/// Whether `own` has published that, and is not to be given it.
pub(crate) fn is_own(echo: Echo, publication: &Publication, own: &ClientInfo) -> bool {
    let Some(author) = &publication.info else { return false };
    match echo {
        Echo::All => false,
        _ if is_by_user(echo, own) => author.user() == own.user(),
        Echo::NotUser | Echo::NotClient => author.client() == own.client(),
    }
}

/// Whether what is `own` is told by the user, and not by the client alone: those who have said nothing of themselves are not the same user.
pub(crate) fn is_by_user(echo: Echo, own: &ClientInfo) -> bool {
    echo == Echo::NotUser && !own.user().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_protocol::Payload;

    #[test]
    fn what_is_ones_own_is_said_by_client_or_by_user() {
        let client = |user: &str, client: &str| ClientInfo::new(user.to_owned(), client.to_owned(), None, None);
        let by = |info| Publication::new(Payload::json("1".into()), info);
        let (ann, nobody) = (client("ann", "a1"), client("", "n1"));
        for (echo, own, shown) in [
            (Echo::All, &ann, [true, true, true, true, true, true]),
            (Echo::NotClient, &ann, [false, true, true, true, true, true]),
            (Echo::NotUser, &ann, [false, false, true, true, true, true]),
            (Echo::NotClient, &nobody, [true, true, true, false, true, true]),
            // Those who have said nothing of themselves are not the same user.
            (Echo::NotUser, &nobody, [true, true, true, false, true, true]),
        ] {
            let authors = [("ann", "a1"), ("ann", "a2"), ("bob", "b1"), ("", "n1"), ("", "n2")];
            let by_clients = authors.map(|(user, id)| by(Some(client(user, id))));
            let view = View { echo, ..View::default() };
            let seen: Vec<_> = by_clients.iter().chain([&by(None)]).map(|it| view.shows(it, own)).collect();
            assert_eq!(seen, shown, "{echo:?} {own:?}");
        }
    }
}
