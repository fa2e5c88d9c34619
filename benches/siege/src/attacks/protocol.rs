//! Attacks by the protocol of clients.

use std::io;
use std::net::TcpStream;

use super::Round;
use super::peer::{Held, Peer, hear_field, send, skim};

/// Clients that never say who they are.
pub(super) fn silent_sockets(peer: Peer) -> Round {
    let mut held = Held::new(300);
    Box::new(move || {
        held.sift();
        (0..5).try_for_each(|_| held.fill(|| peer.websocket()))
    })
}

/// Clients that ask a room for all it has, a hundred times, and take nothing.
pub(super) fn history_unread(peer: Peer) -> Round {
    let questions = history("plain:0", 100);
    let mut held = Held::new(30);
    Box::new(move || {
        held.sift();
        held.fill(|| {
            let mut stream = peer.member(peer.narrow_websocket()?, "plain:0")?;
            send(&mut stream, &questions)?;
            Ok(stream)
        })
    })
}

/// Clients that come back to 16 rooms at once, and take nothing.
pub(super) fn recovery_unread(peer: Peer) -> Round {
    let mut held = Held::new(30);
    let mut epochs: Vec<String> = Vec::new();
    Box::new(move || {
        while epochs.len() < 16 {
            let room = format!("plain:{}", epochs.len());
            let mut stream = peer.member(peer.websocket()?, &room)?;
            let epoch = (0..4).find_map(|_| hear_field(&mut stream, "epoch").ok().flatten());
            epochs.push(epoch.ok_or(io::ErrorKind::InvalidData)?);
        }
        held.sift();
        held.fill(|| {
            let rooms = epochs.iter().enumerate().map(|(nth, epoch)| {
                format!(
                    "\n{{\"id\":{},\"subscribe\":{{\"channel\":\"plain:{nth}\",\"recover\":true,\"epoch\":\"{epoch}\",\"offset\":0}}}}",
                    nth + 2
                )
            });
            let mut stream = peer.narrow_websocket()?;
            send(&mut stream, &(connect() + &rooms.collect::<String>()))?;
            Ok(stream)
        })
    })
}

/// Messages as large as they may be, into one room after another.
pub(super) fn large_messages(peer: Peer) -> Round {
    let data = "m".repeat(60_000);
    let mut number = 0_u64;
    Box::new(move || {
        number += 1;
        let room = format!("plain:large{}", number % 10_000);
        let mut stream = peer.member(peer.websocket()?, &room)?;
        for nth in 0..20 {
            let command = format!("{{\"id\":{},\"publish\":{{\"channel\":\"{room}\",\"data\":\"{data}\"}}}}", nth + 3);
            send(&mut stream, &command)?;
            skim(&mut stream, 128 * 1024)?;
        }
        Ok(())
    })
}

/// Rooms that nobody has seen before, as many as a connection may be in, again and again.
pub(super) fn room_makers(peer: Peer) -> Round {
    let mut number = 0_u64;
    Box::new(move || {
        let rooms: String = (0..128)
            .map(|nth| {
                number += 1;
                format!("\n{{\"id\":{},\"subscribe\":{{\"channel\":\"plain:made{number}\"}}}}", nth + 2)
            })
            .collect();
        let mut stream = peer.websocket()?;
        send(&mut stream, &(connect() + &rooms))?;
        skim(&mut stream, 64 * 1024)
    })
}

/// A thousand publishes in a frame, into rooms in memory.
pub(super) fn floods(peer: Peer) -> Round {
    flood_of(peer, "plain:flood")
}

/// The same into rooms of the database.
pub(super) fn stored_floods(peer: Peer) -> Round {
    flood_of(peer, "kept:flood")
}

fn flood_of(peer: Peer, room: &'static str) -> Round {
    let publishes: Vec<String> = (0..1_000)
        .map(|nth| format!("{{\"id\":{},\"publish\":{{\"channel\":\"{room}\",\"data\":{nth}}}}}", nth + 3))
        .collect();
    let publishes = publishes.join("\n");
    let mut current = None;
    Box::new(move || {
        let mut stream = kept(&mut current, || peer.member(peer.websocket()?, room))?;
        send(&mut stream, &publishes)?;
        skim(&mut stream, 256 * 1024)?;
        current = Some(stream);
        Ok(())
    })
}

/// Clients that have the database read.
pub(super) fn stored_readers(peer: Peer) -> Round {
    let questions = history("kept:0", 100);
    let mut current = None;
    Box::new(move || {
        let mut stream = kept(&mut current, || peer.member(peer.websocket()?, "kept:0"))?;
        send(&mut stream, &questions)?;
        skim(&mut stream, 64 * 1024)?;
        current = Some(stream);
        Ok(())
    })
}

/// A room of the honest, entered and left a hundred times in a frame.
pub(super) fn comings_and_goings(peer: Peer) -> Round {
    let pairs: Vec<String> = (0..100)
        .map(|nth| {
            let id = 2 * nth + 2;
            format!(
                "{{\"id\":{id},\"subscribe\":{{\"channel\":\"plain:1\"}}}}\n{{\"id\":{},\"unsubscribe\":{{\"channel\":\"plain:1\"}}}}",
                id + 1
            )
        })
        .collect();
    let pairs = pairs.join("\n");
    let mut current = None;
    Box::new(move || {
        let mut stream = kept(&mut current, || {
            let mut stream = peer.websocket()?;
            send(&mut stream, &connect())?;
            Ok(stream)
        })?;
        send(&mut stream, &pairs)?;
        skim(&mut stream, 256 * 1024)?;
        current = Some(stream);
        Ok(())
    })
}

/// Members of rooms of the honest that take nothing.
pub(super) fn deaf_members(peer: Peer) -> Round {
    let mut held = Held::new(50);
    let mut nth = 0;
    Box::new(move || {
        held.sift();
        nth = (nth + 1) % 20;
        held.fill(|| peer.member(peer.narrow_websocket()?, &format!("plain:{nth}")))
    })
}

/// Who is in a room of the honest, a thousand times in a frame.
pub(super) fn who_is_there(peer: Peer) -> Round {
    let questions: Vec<String> =
        (0..1_000).map(|nth| format!("{{\"id\":{},\"presence\":{{\"channel\":\"plain:2\"}}}}", nth + 3)).collect();
    let questions = questions.join("\n");
    let mut current = None;
    Box::new(move || {
        let mut stream = kept(&mut current, || peer.member(peer.websocket()?, "plain:2"))?;
        send(&mut stream, &questions)?;
        skim(&mut stream, 256 * 1024)?;
        current = Some(stream);
        Ok(())
    })
}

/// Tokens that nobody has signed.
pub(super) fn wrong_tokens(peer: Peer) -> Round {
    Box::new(move || {
        let mut stream = peer.websocket()?;
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        send(&mut stream, &format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}"))?;
        skim(&mut stream, 1_024)
    })
}

/// Commands that a parser could go down into.
pub(super) fn deep_nesting(peer: Peer) -> Round {
    let command = format!("{{\"id\":1,\"connect\":{{\"data\":{}", "[".repeat(60_000));
    Box::new(move || {
        let mut stream = peer.websocket()?;
        send(&mut stream, &command)?;
        skim(&mut stream, 1_024)
    })
}

fn connect() -> String {
    "{\"id\":1,\"connect\":{}}".to_owned()
}

fn history(room: &str, times: usize) -> String {
    let questions: Vec<String> = (0..times)
        .map(|nth| format!("{{\"id\":{},\"history\":{{\"channel\":\"{room}\",\"limit\":1000}}}}", nth + 3))
        .collect();
    questions.join("\n")
}

/// The client that is there, or another.
fn kept(current: &mut Option<TcpStream>, open: impl FnOnce() -> io::Result<TcpStream>) -> io::Result<TcpStream> {
    current.take().map_or_else(open, Ok)
}
