//! Why a connection ends, and what its client is told.

use std::borrow::Cow;

use crate::wire::framing::Framing;
use crate::wire::ws::{FrameError, write_close};
use roomcast_protocol::CloseCode;

/// The last thing said on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Disconnect {
    /// A code of the protocol.
    Protocol(CloseCode),
    /// A code of WebSocket: the client's own, or what is wrong with its frames.
    Frames { code: u16, reason: Cow<'static, str>, is_answer: bool },
}

const NORMAL_CLOSURE: u16 = 1000;

impl Disconnect {
    /// The answer to a close frame: the same code.
    pub(crate) fn answer(code: Option<u16>) -> Self {
        Self::Frames { code: code.unwrap_or(NORMAL_CLOSURE), reason: "".into(), is_answer: true }
    }

    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Protocol(code) => code.code(),
            Self::Frames { code, .. } => *code,
        }
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Protocol(code) => code.reason(),
            Self::Frames { reason, .. } => reason,
        }
    }

    /// Whether the client sent what cannot be understood.
    pub(crate) fn is_bad_input(&self) -> bool {
        match self {
            Self::Protocol(code) => matches!(code, CloseCode::BadRequest | CloseCode::TooManyRequests),
            Self::Frames { is_answer, .. } => !is_answer,
        }
    }

    /// Appends it in the framing of the connection.
    pub(crate) fn write(&self, framing: Framing, out: &mut Vec<u8>) {
        match (framing, self) {
            (Framing::Frames(_), _) => write_close(out, self.code(), self.reason()),
            (_, Self::Protocol(code)) => framing.write_disconnect(*code, out),
            // Only frames can be wrong as frames.
            (_, Self::Frames { .. }) => framing.write_disconnect(CloseCode::ServerError, out),
        }
    }
}

impl From<CloseCode> for Disconnect {
    fn from(code: CloseCode) -> Self {
        Self::Protocol(code)
    }
}

impl From<FrameError> for Disconnect {
    fn from(error: FrameError) -> Self {
        Self::Frames { code: error.close_code(), reason: error.to_string().into(), is_answer: false }
    }
}
