//! L5: several publishers in one room.

use harness::measure::{Cases, figure};

use super::each;
use super::threads::many_to_many;
use crate::contenders::async_broadcast::AsyncBroadcast;
use crate::contenders::disruptor::ManyProducers;
use crate::contenders::roomcast::{Shared, Slices};
use crate::contenders::tokio_broadcast::Tokio;

const TABLE: &str = "L5";

pub fn add(cases: &mut Cases) {
    for (publishers, readers) in [(4, 4), (2, 1)] {
        let name = format!("u64, publishers: {publishers}, subscribers: {readers}");
        each!(cases, TABLE, &name;
            "roomcast" => Shared, "roomcast slices" => Shared<Slices>, "tokio" => Tokio,
            "async-broadcast" => AsyncBroadcast, "disruptor MP" => ManyProducers;
            |effort, C| vec![figure("messages", "M/s", many_to_many::<u64, C>(publishers, readers, effort.time()))]);
    }
    cases.lack(TABLE, "bus, disruptor 1P, ringcast, roomcast exclusive", "one publisher only");
    cases.lack(
        TABLE,
        "a channel per subscriber",
        "publishers that send to several channels in turn need a lock around them to keep everybody's order the same",
    );
}
