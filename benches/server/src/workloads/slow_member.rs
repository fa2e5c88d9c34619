//! A room at full speed in which one member stops reading: what it costs the others, and what becomes of it.

use std::time::{Duration, Instant};

use harness::measure::{Cases, Effort, Figure, figure};

use super::{CPU, CPU_UNIT, Spent, each, times};
use crate::contenders::{AXUM_TUNED, BUN, Contender, FLOOR, NATS, NATS_WS, REDIS, REPORTED, ROOMCAST};
use crate::fault::Fault;
use crate::load::Load;
use crate::wire::Wire;

const WORKLOAD: &str = "slow";
const MEMBERS: usize = 100;
const BYTES: usize = 1_024;
const IN_FLIGHT: usize = 32;

/// The member that stops reading.
const SLOW: usize = 0;

/// A row, and how many messages are published while the member does not read: more than sockets and rings hold.
const SHORT: (&str, u64) = ("members: 100 + 1, 1 KiB, behind by 12,000", 12_000);
/// The same with more than anybody is willing to keep in memory.
const LONG: (&str, u64) = ("members: 100 + 1, 1 KiB, behind by 90,000", 90_000);

/// Those who can publish that many in the time there is.
const FAST: &[Contender] = &[ROOMCAST, FLOOR, BUN, REDIS, NATS, NATS_WS, AXUM_TUNED];

/// How long publishing them may take.
const LIMIT: Duration = Duration::from_secs(20);

/// How long the slow member waits for more to read, or to be told.
const SILENCE: Duration = Duration::from_secs(3);

pub(super) fn add(cases: &mut Cases) {
    let measuring = |missed| move |contender, effort| measure(contender, effort, missed);
    let (name, missed) = SHORT;
    each(cases, WORKLOAD, name, REPORTED, measuring(missed));
    let (name, missed) = LONG;
    cases.detail(|cases| each(cases, WORKLOAD, name, FAST, measuring(missed)));
    cases.lack(WORKLOAD, "axum, ws, 90,000 behind", "they would take half a minute; ws has no limit and keeps all");
    cases.lack(
        WORKLOAD,
        "what becomes of the slow member",
        "roomcast lets it go on from the ring, then closes with 3008; it comes back, asks to recover and is told where the \
         room is. axum tells how many are gone. The floor, redis and nats keep up to 1, 32 and 64 MiB for it and then \
         close, which tells that everything later is missed. bun keeps up to 16 MiB and then drops without a word",
    );
}

fn measure(contender: Contender, effort: Effort, missed_min: u64) -> Result<Vec<Figure>, Fault> {
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
        load.rooms[0].published() - stopped_at >= missed_min
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
    let counts = |load: &Load| {
        load.clients[SLOW].checker.as_ref().map_or((0, 0), |checker| (checker.received(), checker.missed()))
    };
    let (before, _) = counts(load);
    let accounted = |load: &Load| {
        let (received, missed) = counts(load);
        received + missed
    };
    let (mut news, mut seen) = (Instant::now(), 0);
    while !load.clients[SLOW].is_gone() && accounted(load) < published {
        load.turn(Duration::from_millis(50))?;
        if accounted(load) > seen {
            (news, seen) = (Instant::now(), accounted(load));
        } else if news.elapsed() > SILENCE {
            return Err(Fault::Lost(published - seen));
        }
    }
    let (received, missed) = counts(load);
    if load.clients[SLOW].is_gone() {
        let lost = match contender.wire {
            Wire::Centrifugo => come_back(load, received)?,
            // Who is cut off knows that it has missed everything since.
            _ => published - received - missed,
        };
        if let Some(checker) = &mut load.clients[SLOW].checker {
            checker.miss(lost);
        }
    }
    load.check_client(&load.clients[SLOW])?;
    let (received, missed) = counts(load);
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
        _ => Err(Fault::Delivery("the server does not tell what was missed".to_owned())),
    }
}
