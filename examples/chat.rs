//! An embedded chat in one file: two rooms, people as tasks, a history for whoever comes late, and one who falls behind.
//!
//! `cargo run --example chat`

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use roomcast::{Broker, Policy, RecvError, Resumption, Room, Start, Subscription};

#[derive(Clone, Debug)]
struct Line {
    from: &'static str,
    text: String,
}

/// Says `count` things in a room.
async fn talk(room: Room<Line>, from: &'static str, count: usize) {
    for number in 0..count {
        room.publish(Line { from, text: format!("{from} says {number}") }).expect("the room is open");
        tokio::task::yield_now().await;
    }
}

/// Listens until the room closes; returns what was heard and what was missed.
async fn listen(mut subscription: Subscription<Line>) -> (Vec<Line>, u64) {
    let (mut heard, mut missed) = (Vec::new(), 0);
    loop {
        match subscription.recv().await {
            Ok(line) => heard.push(line),
            Err(RecvError::Lagged(count)) => missed += count,
            Err(_) => return (heard, missed),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::<Line>::builder().capacity(64).build();
    let (kitchen, garden) = (broker.room("kitchen")?, broker.room("garden")?);

    let ben = tokio::spawn(listen(kitchen.subscribe().now()?));
    let mut slow = kitchen.subscribe().now()?;
    tokio::join!(talk(kitchen.clone(), "Ann", 20), talk(kitchen.clone(), "Cleo", 20), talk(garden.clone(), "Dan", 3));

    // Who comes late reads what the room retains, in the same order as everybody.
    let late = tokio::spawn(listen(kitchen.subscribe_from(Start::Oldest).now()?));

    // One reads a little, goes away, and comes back when the ring has moved on: it is told how much it missed.
    slow.recv().await?;
    let left_at = slow.position();
    drop(slow);
    talk(kitchen.clone(), "Ann", 200).await;
    let back = kitchen.subscribe_from(Start::Resume(left_at)).now()?;
    let Resumption::Gap(missed) = back.resumption() else { panic!("64 messages are not 240") };
    assert_eq!(back.position().sequence, left_at.sequence + missed);

    // Somebody who only wants the newest.
    let mut newest = kitchen.subscribe_from(Start::Oldest).policy(Policy::Latest).now()?;
    assert_eq!(newest.recv().await?.text, "Ann says 199");

    broker.close();
    let (heard, missed_by_ben) = ben.await?;
    let (late, _) = late.await?;
    assert_eq!(heard.len() as u64 + missed_by_ben, 240, "received + lagged == published");
    assert!(late.iter().all(|line| line.from != "Dan"), "rooms are apart");
    assert!(!broker.room("kitchen").is_ok_and(|room| room.is_running()), "the broker is closed");
    println!("Ben heard {} lines and missed {missed_by_ben}; who came back had missed {missed}", heard.len());
    Ok(())
}
