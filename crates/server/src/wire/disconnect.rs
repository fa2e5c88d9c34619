//! Why a connection ends, and what its client is told.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::wire::framing::Framing;
use crate::wire::ws::{FrameError, write_close};
use roomcast_protocol::{CLOSE_REASON_BYTES_MAX, CloseCode};

/// The last thing said on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disconnect {
    /// A code of the protocol.
    Protocol(CloseCode),
    /// A code of the application.
    Custom { code: u16, reason: Arc<str> },
    /// A code of WebSocket: the client's own, or what is wrong with its frames.
    Frames { code: u16, reason: Cow<'static, str>, is_answer: bool },
}

const NORMAL_CLOSURE: u16 = 1000;

/// Codes that are not WebSocket's own, nor IANA's for protocols.
const CUSTOM_CODES: RangeInclusive<u32> = 3000..=4999;

impl Disconnect {
    /// The answer to a close frame: the same code.
    pub(crate) fn answer(code: Option<u16>) -> Self {
        Self::Frames { code: code.unwrap_or(NORMAL_CLOSURE), reason: "".into(), is_answer: true }
    }

    /// A code and a reason of the application's choice; `None` if no close frame can carry them.
    pub(crate) fn custom(code: u32, reason: String) -> Option<Self> {
        let fits = CUSTOM_CODES.contains(&code) && reason.len() <= CLOSE_REASON_BYTES_MAX;
        fits.then(|| Self::Custom { code: code as u16, reason: reason.into() })
    }

    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Protocol(code) => code.code(),
            Self::Custom { code, .. } | Self::Frames { code, .. } => *code,
        }
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Protocol(code) => code.reason(),
            Self::Custom { reason, .. } => reason,
            Self::Frames { reason, .. } => reason,
        }
    }

    /// Whether the client sent what cannot be understood.
    pub(crate) fn is_bad_input(&self) -> bool {
        match self {
            Self::Protocol(code) => matches!(code, CloseCode::BadRequest | CloseCode::TooManyRequests),
            Self::Custom { .. } => false,
            Self::Frames { is_answer, .. } => !is_answer,
        }
    }

    /// Whether it is of the protocol or the application, rather than of the connection's frames.
    pub(crate) fn is_said_in_words(&self) -> bool {
        !matches!(self, Self::Frames { .. })
    }

    /// Appends it in the framing of the connection.
    pub(crate) fn write(&self, framing: Framing, out: &mut Vec<u8>) {
        match self {
            _ if framing.is_websocket() => write_close(out, self.code(), self.reason()),
            // Only frames can be wrong as frames.
            Self::Frames { .. } => Self::from(CloseCode::ServerError).write(framing, out),
            Self::Protocol(_) | Self::Custom { .. } => framing.write_disconnect(self.code(), self.reason(), out),
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

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_protocol::Encoding;

    #[test]
    fn what_an_application_says_fits_a_close_frame() {
        let custom = |code, bytes: usize| Disconnect::custom(code, "x".repeat(bytes));
        assert!(custom(3000, 0).is_some() && custom(4999, 123).is_some());
        for (code, bytes) in [(2999, 0), (1000, 0), (5000, 0), (u32::MAX, 0), (4000, 124)] {
            assert_eq!(custom(code, bytes), None, "{code} {bytes}");
        }
        let kicked = Disconnect::custom(4500, "kicked".to_owned()).unwrap();
        assert_eq!((kicked.code(), kicked.reason(), kicked.is_bad_input()), (4500, "kicked", false));
        let mut out = Vec::new();
        kicked.write(Framing::Events(Encoding::Json), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("{\"disconnect\":{\"code\":4500,\"reason\":\"kicked\"}}"), "{text}");
    }
}
