// The picture of the README as data, since documentation elsewhere cannot reach the file: the first definition of a link counts.
#![doc = include_str!("../docs/chat-inline.md")]
#![doc = include_str!("../README.md")]
#[cfg(not(target_pointer_width = "64"))]
compile_error!("roomcast runs on 64-bit targets only: sequences, claim words and layouts are made for them");

mod broker;
mod builder;
mod config;
mod error;
#[doc(hidden)]
pub mod internal;
mod message;
mod ring;
mod room;
mod shard;
mod stats;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "store")]
mod striped;
mod sync;
mod wake;

/// Who waits for whom, what is promised, and how to choose.
#[doc = include_str!("../docs/guide.md")]
pub mod guide {
    /// The same things in both, side by side.
    #[doc = include_str!("../docs/from-tokio-broadcast.md")]
    pub mod from_tokio_broadcast {}

    /// Mistakes that are errors when a program is compiled.
    #[doc = include_str!("../docs/misuse.md")]
    pub mod misuse {}
}

pub use self::broker::{Broker, WeakBroker};
pub use self::builder::Builder;
pub use self::config::{CAPACITY_DEFAULT, NAME_BYTES_MAX, Policy, ROOMS_MAX_DEFAULT, RoomOptions, SEQUENCE_START_MAX};
pub use self::error::{
    CloseReason, PublishByNameError, PublishError, RecvError, RecvTimeoutError, RoomError, ShutdownError,
    SubscribeError, TryRecvError,
};
pub use self::message::{Batch, Epoch, Position, Ref, Resumption, Start};
#[cfg(not(roomcast_loom))]
pub use self::room::WeakRoom;
pub use self::room::{
    Accounting, Closed, Handler, HandlerSubscription, PassedOver, PatternSubscription, PublishWait, Publisher, Recv,
    RecvBatch, RecvRef, Rewritten, Room, RoomKey, RoomSet, RoomSink, RoomStats, Subscribe, SubscribeWith, Subscription,
    Unsubscribe, Vacated,
};
pub use self::stats::{BrokerStats, ShardStats};

#[cfg(all(test, roomcast_loom))]
#[path = "../loom-tests/main.rs"]
mod loom_tests;
#[cfg(all(test, roomcast_shuttle))]
#[path = "../shuttle-tests/main.rs"]
mod shuttle_tests;
#[cfg(all(test, not(any(roomcast_loom, roomcast_shuttle))))]
#[path = "../tests/stress/suspended.rs"]
mod suspended;
