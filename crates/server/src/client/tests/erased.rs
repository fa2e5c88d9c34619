//! What was erased and waits to be written: from the acknowledgement on nothing of it is said.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;
use tokio::time::sleep;

use super::{session, step};
use crate::client::connection::{Connection, Takeover};
use crate::client::shard::{Shard, SocketGuard};
use crate::rooms::engine::{Erase, Publish};
use crate::wire::framing::Framing;
use crate::wire::socket_double::SocketDouble;
use crate::wire::stream::Stream;
use roomcast_protocol::{ClientInfo, Encoding, Payload, Publication, RoomName};

/// Publishes so many messages of Ann's in the hall.
fn ann_publishes(shard: &Shard, count: u64) {
    let name = RoomName::parse("hall", 255).expect("a name");
    for _ in 0..count {
        let info = ClientInfo::new("ann".to_owned(), "c".to_owned(), None, None);
        let publication = Publication::new(Payload::json("\"secret\"".into()), Some(info));
        drop(shard.hub.engine(&name).expect("an engine").publish(smallvec![Publish::new(name.clone(), publication)]));
    }
}

/// Erases them.
async fn ann_is_erased(shard: &Shard, count: u64) {
    let name = RoomName::parse("hall", 255).expect("a name");
    let erased = shard.hub.engine(&name).expect("an engine").erase(&name, "", Erase::User("ann".to_owned()));
    assert_eq!(erased.wait().await, Ok(count));
    shard.hub.commands.recall(name, Some("ann".to_owned())).await.expect("it is told");
}

/// A client that says something, and its socket, which holds so many bytes.
fn says(shard: &Rc<Shard>, buffer_max: usize, what: &str) -> SocketDouble {
    let socket = SocketDouble::new(buffer_max, Arc::default());
    let takeover = Takeover::of_commands(
        Framing::Stream(Encoding::Json),
        None,
        Bytes::from(format!("{{\"id\":1,\"connect\":{{}}}}\n{what}")),
    );
    let place = shard.hub.connections.admit(None, 0).expect("there is place");
    Connection::start(shard, Stream::Double(socket.server_end()), takeover, SocketGuard::new(shard, place));
    socket
}

fn taken(socket: &SocketDouble) -> String {
    let bytes: Vec<u8> = std::iter::from_fn(|| socket.take(usize::MAX)).flat_map(|(bytes, _)| bytes).collect();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn an_answer_that_waits_for_its_socket_is_not_given_once_what_it_tells_is_erased() {
    step(9, async |shard| {
        ann_publishes(&shard, 20);
        let asks = r#"{"id":2,"history":{"channel":"hall","limit":-1}}"#;
        let (full, other) = (says(&shard, 100, asks), says(&shard, 1 << 20, asks));
        sleep(Duration::from_millis(1)).await;
        assert!(taken(&other).contains("secret"), "who takes it has it");
        ann_is_erased(&shard, 20).await;
        let first = taken(&full);
        sleep(Duration::from_millis(1)).await;
        assert!(full.is_over(), "it is ended, and comes again");
        assert!(!taken(&full).contains("secret"), "behind {first}");
        assert!(!other.is_over(), "whoever has nothing waiting stays");
    });
}

#[test]
fn what_waits_of_a_room_that_was_left_is_not_given_once_it_is_erased() {
    step(10, async |shard| {
        let client = says(&shard, 2_000, r#"{"id":2,"subscribe":{"channel":"hall"}}"#);
        sleep(Duration::from_millis(1)).await;
        let session = session(taken(&client).lines().find(|line| line.starts_with('{')).expect("an answer"));
        ann_publishes(&shard, 50);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(client.untaken(), 2_000, "it is full");
        let leaves = r#"{"id":3,"unsubscribe":{"channel":"hall"}}"#.into();
        assert_eq!(shard.hub.commands.take_frame(session, leaves).await, Ok(()));
        sleep(Duration::from_millis(1)).await;
        ann_is_erased(&shard, 50).await;
        taken(&client);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(taken(&client), "", "nothing is said any more");
        assert!(client.is_over(), "it is ended, and comes again");
    });
}
