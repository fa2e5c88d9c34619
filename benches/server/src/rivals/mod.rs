//! Rivals of our own making.

mod axum;
mod floor;

use std::net::{Ipv4Addr, SocketAddr};

use crate::fault::Fault;

/// A rival that this program can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// One thread, epoll, and nothing but fanning out.
    Floor,
    /// The same, with an envelope around each message.
    FloorWithEnvelope,
    /// axum and `tokio::sync::broadcast`, as one writes it at first.
    Axum,
    /// The same, with small buffers and one flush per burst.
    AxumTuned,
}

impl Rival {
    const ALL: [Self; 4] = [Self::Floor, Self::FloorWithEnvelope, Self::Axum, Self::AxumTuned];

    /// How it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::FloorWithEnvelope => "floor-with-envelope",
            Self::Axum => "axum",
            Self::AxumTuned => "axum-tuned",
        }
    }

    /// The rival of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rival| rival.name() == name)
    }

    /// Serves on the loopback until the process is ended.
    ///
    /// # Errors
    /// What the system says.
    pub fn serve(self, port: u16) -> Result<(), Fault> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match self {
            Self::Floor => floor::serve(address, None),
            Self::FloorWithEnvelope => floor::serve(address, Some(floor::ENVELOPE)),
            Self::Axum => axum::serve(address, axum::Tuning::None),
            Self::AxumTuned => axum::serve(address, axum::Tuning::Burst),
        }
    }
}

/// Room and purpose in a path: `/join/ROOM` receives and may publish, `/publish/ROOM` publishes.
fn room_of(path: &str) -> Option<(&str, bool)> {
    let (verb, room) = path.strip_prefix('/')?.split_once('/')?;
    match verb {
        "join" => Some((room, true)),
        "publish" => Some((room, false)),
        _ => None,
    }
}
