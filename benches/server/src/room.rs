//! A room of a load: who publishes into it, what is on its way, and when it arrived.

use std::time::Instant;

use roomcast_lab::load::DeliveryChecker;

use crate::fault::Fault;
use crate::payload;

/// Messages of one publisher that may be on their way at once.
pub const IN_FLIGHT_MAX: usize = 32;

/// A room, as a load knows it.
#[derive(Debug)]
pub struct Room {
    /// What the server calls it.
    pub name: String,
    /// How long payloads are.
    pub bytes: usize,
    /// Messages each publisher keeps on their way; 0 where they are paced instead.
    pub in_flight: usize,
    /// Who publishes, in the order of the letters in payloads.
    pub publishers: Vec<Publisher>,
    /// Members that must have received a message before another one is published.
    pub awaited: u32,
    /// Messages received by members, all together.
    pub deliveries: u64,
    /// It waits for its publishers' turn.
    pub is_due: bool,
    /// When messages arrived, where that is asked for.
    pub latency: Option<Latency>,
}

/// Somebody who publishes into a room.
#[derive(Debug)]
pub struct Publisher {
    /// The connection it publishes through.
    pub client: usize,
    /// Messages published.
    pub sent: u32,
    /// Messages of these that everybody awaited has received.
    pub done: u32,
    /// How many have received each message on its way.
    arrived: [u32; IN_FLIGHT_MAX],
}

impl Room {
    /// A room nobody is in.
    pub fn new(name: String, bytes: usize, in_flight: usize) -> Self {
        Self { name, bytes, in_flight, publishers: Vec::new(), awaited: 0, deliveries: 0, is_due: false, latency: None }
    }

    /// Lets a connection publish.
    pub fn add_publisher(&mut self, client: usize) {
        self.publishers.push(Publisher { client, sent: 0, done: 0, arrived: [0; IN_FLIGHT_MAX] });
    }

    /// Enters what a member received; true when somebody may publish again.
    ///
    /// # Errors
    /// As [`payload::read`], and [`Fault::Delivery`] when the message came before, or others should have come first and nobody
    /// said that they are gone.
    #[inline]
    pub fn receive(
        &mut self,
        checker: &mut DeliveryChecker,
        payload: &[u8],
        offset: u64,
        is_awaited: bool,
    ) -> Result<bool, Fault> {
        let stamp = payload::read(payload)?;
        if payload.len() != self.bytes {
            return Err(Fault::Unexpected("a payload of another length"));
        }
        checker.receive(stamp.publisher, u64::from(stamp.sequence), (offset != 0).then_some(offset));
        if let Some(complaint) = checker.complaint() {
            return Err(Fault::Delivery(complaint.to_owned()));
        }
        self.deliveries += 1;
        if let Some(latency) = &mut self.latency {
            latency.arrive(stamp.sequence);
        }
        let publisher = self.publishers.get_mut(stamp.publisher).ok_or(Fault::Unexpected("an unknown publisher"))?;
        if stamp.sequence >= publisher.sent {
            return Err(Fault::Unexpected("a message that nobody published"));
        }
        if !is_awaited {
            return Ok(false);
        }
        let arrived = &mut publisher.arrived[stamp.sequence as usize % IN_FLIGHT_MAX];
        *arrived += 1;
        if *arrived < self.awaited {
            return Ok(false);
        }
        *arrived = 0;
        publisher.done += 1;
        Ok(self.in_flight > 0)
    }

    /// Whether everything that was published has arrived at everybody awaited.
    pub fn is_settled(&self) -> bool {
        self.publishers.iter().all(|publisher| publisher.sent == publisher.done)
    }

    /// Messages published by all.
    pub fn published(&self) -> u64 {
        self.publishers.iter().map(|publisher| u64::from(publisher.sent)).sum()
    }
}

/// When messages were due and how long they took, for one publisher at a fixed rate.
#[derive(Debug)]
pub struct Latency {
    /// By sequence, modulo their number.
    due: Vec<Instant>,
    /// When what is being read was read.
    pub now: Instant,
    /// Nanoseconds from due to received.
    pub samples: Vec<u32>,
}

/// Messages whose due times are remembered; at fixed rates far fewer are on their way.
const DUE_KEPT: usize = 1_024;

impl Latency {
    /// Of a publisher that has published nothing yet.
    pub fn new(now: Instant) -> Self {
        Self { due: vec![now; DUE_KEPT], now, samples: Vec::new() }
    }

    /// A message was to be published at that time. The time it really was does not count: who is late makes others wait.
    pub fn expect(&mut self, sequence: u32, due: Instant) {
        self.due[sequence as usize % DUE_KEPT] = due;
    }

    fn arrive(&mut self, sequence: u32) {
        let took = self.now.saturating_duration_since(self.due[sequence as usize % DUE_KEPT]);
        self.samples.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Stamp;

    #[test]
    fn a_message_is_done_when_the_last_member_has_it() {
        let mut room = Room::new("a".to_owned(), 16, 1);
        room.add_publisher(0);
        (room.publishers[0].sent, room.awaited) = (1, 2);
        let mut members = [
            DeliveryChecker::from_the_start(1),
            DeliveryChecker::from_the_start(1),
            DeliveryChecker::from_the_start(1),
        ];
        let mut payload = Vec::new();
        payload::write(Stamp { publisher: 0, sequence: 0 }, 16, &mut payload);
        assert_eq!(room.receive(&mut members[0], &payload, 0, true), Ok(false));
        assert_eq!(room.receive(&mut members[1], &payload, 0, false), Ok(false), "a slow one is not awaited");
        assert!(!room.is_settled());
        assert_eq!(room.receive(&mut members[2], &payload, 0, true), Ok(true));
        assert!(room.is_settled());
        assert_eq!(room.deliveries, 3);
        assert!(room.receive(&mut members[2], &payload, 0, true).is_err(), "not twice");
    }

    #[test]
    fn what_was_not_published_is_not_received() {
        let mut room = Room::new("a".to_owned(), 16, 1);
        room.add_publisher(0);
        let mut payload = Vec::new();
        payload::write(Stamp { publisher: 0, sequence: 0 }, 16, &mut payload);
        assert!(room.receive(&mut DeliveryChecker::from_the_start(1), &payload, 0, true).is_err());
        room.bytes = 17;
        assert!(room.receive(&mut DeliveryChecker::from_the_start(1), &payload, 0, true).is_err());
    }
}
