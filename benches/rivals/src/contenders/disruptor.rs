//! `disruptor`: slots written in place, polled in batches; readers are fixed before it starts, and it waits for the
//! slowest.

use disruptor::{
    BusySpinWithSpinLoopHint, EventPoller, MultiConsumerBarrier, MultiProducer, MultiProducerBarrier, Producer,
    SingleProducer, SingleProducerBarrier, build_multi_producer, build_single_producer,
};

use super::{CAPACITY, Contender, Opened, Shares};
use crate::tally::{Payload, Tally};

/// With one producer.
pub struct OneProducer;

/// With any number of producers.
pub struct ManyProducers;

macro_rules! contender {
    ($name:ident, $build:ident, $producer:ident, $barrier:ident) => {
        impl<T: Payload> Contender<T> for $name {
            type Publisher = $producer<T, MultiConsumerBarrier>;
            type Reader = EventPoller<T, $barrier>;
            const IS_GATED: bool = true;

            fn open(readers: usize) -> Opened<T, Self> {
                let opened = Self::open_many(1, CAPACITY, readers).pop();
                opened.expect("one was asked for")
            }

            fn open_many(rooms: usize, capacity: usize, readers: usize) -> Vec<Opened<T, Self>> {
                let open = || {
                    let builder = $build(capacity, T::default, BusySpinWithSpinLoopHint);
                    let mut builder = builder.with_multi_consumer();
                    let mut pollers = Vec::with_capacity(readers);
                    for _ in 0..readers {
                        let (poller, further) = builder.new_event_poller();
                        pollers.push(poller);
                        builder = further;
                    }
                    (builder.build(), pollers)
                };
                (0..rooms).map(|_| open()).collect()
            }

            #[inline]
            fn publish(producer: &mut Self::Publisher, message: T) {
                producer.publish(|slot| *slot = message);
            }

            #[inline]
            fn publish_batch(producer: &mut Self::Publisher, first: u64, count: usize) {
                producer.batch_publish(count, |slots| {
                    for (slot, number) in slots.zip(first..) {
                        *slot = T::make(number);
                    }
                });
            }

            #[inline]
            fn read(poller: &mut Self::Reader, tally: &mut Tally) -> usize {
                let Ok(mut events) = poller.poll() else { return 0 };
                let mut count = 0;
                for message in &mut events {
                    tally.see_next(message);
                    count += 1;
                }
                count
            }
        }
    };
}

contender!(OneProducer, build_single_producer, SingleProducer, SingleProducerBarrier);
contender!(ManyProducers, build_multi_producer, MultiProducer, MultiProducerBarrier);

impl<T: Payload> Shares<T> for ManyProducers {
    fn another(producer: &Self::Publisher) -> Self::Publisher {
        producer.clone()
    }
}
