//! A room at full speed in which one member stops reading: what it costs the others, and what becomes of it.

use std::time::{Duration, Instant};

use harness::measure::{Cases, Effort, Figure, figure};

use super::{CPU, CPU_UNIT, Spent, each, times};
use crate::contenders::{Contender, REPORTED};
use crate::fault::Fault;
use crate::load::Load;
use crate::wire::Wire;

const WORKLOAD: &str = "slow";
const NAME: &str = "members: 100 + 1, 1 KiB, 32 in flight";
const MEMBERS: usize = 100;
const BYTES: usize = 1_024;
const IN_FLIGHT: usize = 32;

/// The member that stops reading.
const SLOW: usize = 0;

/// Messages published while it does not read: more than sockets and rings hold.
const MISSED_MIN: u64 = 12_000;

/// How long publishing them may take, and how long the slow member may take to read what is left for it.
const LIMIT: Duration = Duration::from_secs(20);
const READING_LIMIT: Duration = Duration::from_secs(5);

pub(super) fn add(cases: &mut Cases) {
    each(cases, WORKLOAD, NAME, REPORTED, measure);
    cases.lack(
        WORKLOAD,
        "what becomes of it",
        "roomcast lets it go on from the ring, then closes with 3008; it comes back, asks to recover and is told where the \
         room is. The floor closes beyond 1 MiB, which tells that everything later is missed. axum tells how many are \
         gone. bun, redis, nats and ws keep 12 MiB in memory until they are read; beyond their limits bun says nothing, \
         redis and nats close, ws has none",
    );
}

fn measure(contender: Contender, effort: Effort) -> Result<Vec<Figure>, Fault> {
    let server = contender.start()?;
    let mut load = Load::new(server.address(), contender.wire)?;
    load.add_room("room", BYTES, IN_FLIGHT, MEMBERS + 1)?;
    load.open_all()?;
    let (warm, time) = times(effort);
    Spent::on(&server, &mut load, warm)?;
    let before = Spent::on(&server, &mut load, time)?;
    load.settle()?;

    let slow = &mut load.clients[SLOW];
    (slow.is_awaited, slow.may_be_closed) = (false, true);
    load.rooms[0].awaited -= 1;
    load.stop_reading(SLOW)?;
    let memory = server.private_bytes()?;
    let stopped_at = load.rooms[0].published();
    let beside = Spent::on(&server, &mut load, time)?;
    load.turns_until(Instant::now() + LIMIT, "publishing beside a slow member", |load| {
        load.rooms[0].published() - stopped_at >= MISSED_MIN
    })?;
    load.settle()?;
    load.check()?;
    let grown = server.private_bytes()?.saturating_sub(memory);

    load.go_on_reading(SLOW)?;
    let (received, missed) = account(contender, &mut load)?;
    let kept = 100.0 * (beside.rate() / MEMBERS as f64) / (before.rate() / (MEMBERS + 1) as f64);
    Ok(vec![
        figure(CPU, CPU_UNIT, beside.micros_a_delivery()),
        figure("rate kept", "%", kept),
        figure("memory grown", "KiB", grown as f64 / 1_024.0),
        figure("received late", "messages", received as f64),
        figure("told as missed", "messages", missed as f64),
    ])
}

/// Lets the slow member read what is left for it and learn what it missed; how much that was of either.
fn account(contender: Contender, load: &mut Load) -> Result<(u64, u64), Fault> {
    let published = load.rooms[0].published();
    let books = |load: &Load| load.clients[SLOW].books.as_ref().map_or((0, 0), |b| (b.received(), b.missed()));
    let (before, _) = books(load);
    let limit = Instant::now() + READING_LIMIT;
    let told = load.turns_until(limit, "learning what was missed", |load| {
        let (received, missed) = books(load);
        load.clients[SLOW].is_gone() || received + missed >= published
    });
    let (received, missed) = books(load);
    match told {
        Err(Fault::TooLong(_)) => return Err(Fault::Lost(published - received - missed)),
        told => told?,
    }
    if load.clients[SLOW].is_gone() {
        let lost = match contender.wire {
            Wire::Centrifugo => come_back(load, received)?,
            // Who is cut off knows that it has missed everything since.
            _ => published - received - missed,
        };
        if let Some(books) = &mut load.clients[SLOW].books {
            books.miss(lost);
        }
    }
    load.check_client(&load.clients[SLOW])?;
    let (received, missed) = books(load);
    Ok((received - before, missed))
}

/// Connects again and asks for what came after what was received; how much the server says is lost.
fn come_back(load: &mut Load, received: u64) -> Result<u64, Fault> {
    let (epoch, _) = load.clients[SLOW].position.clone().ok_or(Fault::Unexpected("no position"))?;
    load.reconnect(SLOW, Some((epoch.clone(), received)))?;
    load.open_all()?;
    let member = &load.clients[SLOW];
    match &member.position {
        _ if member.recovered => Ok(0),
        Some((same, offset)) if *same == epoch => Ok(offset.saturating_sub(received)),
        _ => Err(Fault::Books("the server does not tell what was missed".to_owned())),
    }
}
