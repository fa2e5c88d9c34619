//! The Centrifugo client protocol, version 2: commands, replies, pushes and their codes; no I/O, no clock.
//!
//! The types here know nothing of how they are written: an [`Encoding`] turns them into bytes and back, and a [`Payload`]
//! reaches every client in a form it can read. What the protocol calls a *channel* is a *room* in our code; the word
//! "channel" appears on the wire only.
//!
//! ```
//! use roomcast_protocol::{Encoding, Limits, Request};
//!
//! let frame = br#"{"id":1,"subscribe":{"channel":"chat:1"}}"#;
//! let mut commands = Encoding::Json.commands(frame, &Limits::default())?;
//! let command = commands.next().expect("one command")?;
//! assert_eq!(command.id, 1);
//! assert!(matches!(command.request, Request::Subscribe(subscribe) if subscribe.room == "chat:1"));
//! assert!(commands.next().is_none());
//! # Ok::<(), roomcast_protocol::DecodeError>(())
//! ```

// Who speaks the protocol has to know all of it: a further message or field is a new version of this package.
#![expect(clippy::exhaustive_enums, reason = "what is not handled is to be noticed")]

mod code;
mod command;
mod delta;
mod encoding;
mod filter;
mod fossil;
mod history;
mod json;
mod limits;
mod payload;
mod protobuf;
mod publication;
mod push;
mod recovery;
mod reply;
mod room_name;

pub use code::{CLOSE_REASON_BYTES_MAX, CloseCode, ErrorCode, UnsubscribeCode};
pub use command::{Command, ConnectRequest, HistoryRequest, PublishRequest, Request, RpcRequest, SubscribeRequest};
pub use delta::{DeltaChain, FOSSIL, Link};
pub use encoding::{Commands, DecodeError, Encoding, PublicationEncoder};
pub use filter::{FilterWish, TagsFilter};
pub use fossil::{DeltaError, apply_delta};
pub use history::HistoryQuery;
pub use json::compact as compact_json;
pub use limits::Limits;
pub use payload::Payload;
pub use publication::{ClientInfo, Placed, Publication, StreamPosition, Tags, tags_bytes_held};
pub use push::Push;
pub use recovery::recovered;
pub use reply::{
    ConnectResult, CustomError, HistoryResult, PresenceStats, RefreshResult, Reply, ReplyBody, SubscribeResult,
};
pub use room_name::{RoomName, RoomNameError};
