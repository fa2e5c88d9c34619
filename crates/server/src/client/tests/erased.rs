//! What was erased and waits to be written: from the acknowledgement on nothing of it is said.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;
use tokio::time::sleep;

use super::{session, step, step_by};
use crate::client::connection::{Connection, Takeover};
use crate::client::shard::{Shard, SocketGuard};
use crate::config::{Config, Storage};
use crate::rooms::engine::{Erase, Publish};
use crate::rooms::hub::Hub;
use crate::wire::framing::Framing;
use crate::wire::socket_double::SocketDouble;
use crate::wire::stream::Stream;
use roomcast_protocol::{ClientInfo, Encoding, Payload, Publication, RoomName};

/// Publishes so many messages of Ann's in the hall.
fn ann_publishes(shard: &Shard, count: u64) {
    publish(shard, "hall", "ann", "secret", count);
}

fn publish(shard: &Shard, room: &str, user: &str, text: &str, count: u64) {
    let name = RoomName::parse(room, 255).expect("a name");
    for _ in 0..count {
        let info = ClientInfo::new(user.to_owned(), "c".to_owned(), None, None);
        let publication = Publication::new(Payload::json(format!("\"{text}\"").into()), Some(info));
        drop(shard.hub.engine(&name).expect("an engine").publish(smallvec![Publish::new(name.clone(), publication)]));
    }
}

/// Ends the hall as where there is no memory, once all of it is stored.
fn hall_is_let_go(shard: &Shard) {
    let name = RoomName::parse("hall", 255).expect("a name");
    let room = shard.hub.rooms.running(&name).expect("a room that runs");
    while !shard.hub.rooms.ring_memory.end_now(&shard.hub.rooms, &room) {
        std::thread::yield_now();
    }
    assert!(!room.is_running());
}

/// Lets others have their turns until that is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
        sleep(Duration::from_millis(1)).await;
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

#[test]
fn what_waits_of_a_room_that_was_let_go_is_not_given_once_it_is_erased_and_the_next_one_goes_on() {
    for storage in [Storage::Off, Storage::Stored] {
        let folder = std::env::temp_dir().join(format!("roomcast-let-go-{storage:?}-{}", std::process::id()));
        let mut config = Config { data_dir: folder.clone(), ..Config::dev() };
        config.channel.without_namespace.storage = storage;
        let start = |hub: &mut Hub| hub.start_storing().expect("a database");
        step_by(11, config, start, async |shard| {
            let enters =
                "{\"id\":2,\"subscribe\":{\"channel\":\"other\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"hall\"}}";
            let client = says(&shard, 2_000, enters);
            until("it is in both", || shard.metrics.members.get() == 2).await;
            until("it is told", || taken(&client).contains("\"id\":3")).await;
            ann_publishes(&shard, 50);
            until("it is full", || client.untaken() == 2_000).await;
            // In this room it is behind, and looks no further.
            publish(&shard, "other", "bob", "hello", 1);
            until("it is behind", || shard.metrics.behind.get() == 1).await;
            hall_is_let_go(&shard);
            until("it is behind in both", || shard.metrics.behind.get() == 2).await;
            let next = says(&shard, 1 << 20, r#"{"id":2,"subscribe":{"channel":"hall"}}"#);
            until("another one comes", || shard.metrics.members.get() == 3).await;
            taken(&next);
            publish(&shard, "hall", "bob", "hello", 1);
            let heard = std::cell::RefCell::new(String::new());
            until("the next one goes on", || {
                heard.borrow_mut().push_str(&taken(&next));
                heard.borrow().contains("hello")
            })
            .await;
            // In memory nothing is left of the one that has ended.
            ann_is_erased(&shard, if storage == Storage::Stored { 50 } else { 0 }).await;
            taken(&client);
            until("it is ended, and comes again", || client.is_over()).await;
            assert_eq!(taken(&client), "", "{storage:?}");
            assert!(!next.is_over());
            publish(&shard, "hall", "bob", "and on", 1);
            until("others go on", || taken(&next).contains("and on")).await;
        });
        let _ = std::fs::remove_dir_all(folder);
    }
}
