//! Clients that have much to do, and those that wait for them.

use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::{connect, heard, step};
use roomcast_protocol::RoomName;

/// Lets all others on the shard have a turn.
async fn one_turn_each() {
    let mut is_over = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_over, true) {
            return std::task::Poll::Ready(());
        }
        // Behind all who are awake.
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[test]
fn a_thousand_publishes_at_once_leave_others_their_turns() {
    step(11, async |shard| {
        let flood: String = (2..1_002)
            .map(|id| format!("{{\"id\":{id},\"publish\":{{\"channel\":\"hall\",\"data\":{id}}}}}\n"))
            .collect();
        let room = RoomName::parse("hall", 255).expect("a name");
        let looking = Rc::clone(&shard);
        let seen = tokio::task::spawn_local(async move {
            let tail = || looking.hub.rooms.running(&room).map_or(0, |room| room.tail());
            let mut seen = vec![0];
            while seen.last() != Some(&1_000) {
                one_turn_each().await;
                seen.push(tail());
            }
            seen
        });
        let flooding = connect(&shard, &flood);
        let other = connect(&shard, r#"{"id":2,"subscribe":{"channel":"hall"}}"#);
        let mut seen = seen.await.expect("it ends");
        seen.dedup();
        assert!(seen[1] <= 128, "what came with the handshake, and a turn: {seen:?}");
        assert!(seen[1..].windows(2).all(|two| two[1] - two[0] <= 64), "{seen:?}");
        let said = heard(&other);
        let subscribed = said.iter().position(|line| line.contains("\"subscribe\"")).expect("it is in the room");
        assert!(said.len() > subscribed + 700, "it came in when the flood had hardly begun: {}", said.len());
        sleep(Duration::from_millis(1)).await;
        assert_eq!(heard(&flooding).len(), 1_001, "each is answered");
    });
}

#[test]
fn thirty_floods_hold_others_up_no_longer_than_one() {
    const FLOODS: u64 = 30;
    step(12, async |shard| {
        let floods: Vec<TcpStream> = (0..FLOODS)
            .map(|flood| {
                let publish = |id| format!("{{\"id\":{id},\"publish\":{{\"channel\":\"hall{flood}\",\"data\":1}}}}\n");
                connect(&shard, &(2..502).map(publish).collect::<String>())
            })
            .collect();
        let rooms = (0..FLOODS).map(|flood| RoomName::parse(&format!("hall{flood}"), 255).expect("a name"));
        let rooms: Vec<RoomName> = rooms.collect();
        let published =
            || -> u64 { rooms.iter().filter_map(|name| shard.hub.rooms.running(name)).map(|room| room.tail()).sum() };
        let mut seen = vec![0];
        while seen.last() != Some(&(FLOODS * 500)) {
            one_turn_each().await;
            seen.push(published());
        }
        // What came with its handshake, and what it had not been known by then to have more than that: two turns of each.
        let mut turns = seen.windows(2).filter(|two| two[0] >= FLOODS * 128).map(|two| two[1] - two[0]);
        // Whoever looks is now before, now behind the one whose turn it is.
        assert!(turns.all(|published| published <= 2 * 64), "{seen:?}");
        sleep(Duration::from_millis(1)).await;
        assert!(floods.iter().all(|client| heard(client).len() == 501), "each is answered");
    });
}
