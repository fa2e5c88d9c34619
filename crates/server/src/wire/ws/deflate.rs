//! permessage-deflate (RFC 7692): when it is agreed on, and messages that are made smaller and whole again.
//!
//! Nothing is kept from one message to the next, on either side: so what is made smaller is the same bytes for everybody, and a
//! connection has nothing of it to keep. What it takes to do it is there once for each thread, from the first message on.
//!
//! By miniz_oxide, which has no unsafe code: what strangers send is read by it.

use std::cell::RefCell;

use axum::http::{HeaderMap, HeaderValue, header};
use miniz_oxide::DataFormat;
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, TDEFLStatus, compress};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::decoder::FrameError;
use crate::config::Compression;

/// How messages to a client are made smaller that has agreed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Deflate {
    /// A shorter message goes as it is. In bytes: every connection keeps this, and so it lies in a gap.
    bytes_min: [u8; 2],
    level: u8,
}

/// What a client offers that is agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) deflate: Deflate,
    /// It has named a window for what it is sent: the largest there is.
    names_window: bool,
}

const NAME: &str = "permessage-deflate";
const PARAMETERS: [&str; 4] =
    ["server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits", "client_max_window_bits"];
/// What is sent has this window, of 32 KiB, for everybody.
const WINDOW_BITS: &str = "15";
const WINDOWS: [&str; 8] = ["8", "9", "10", "11", "12", "13", "14", WINDOW_BITS];

/// What ends a message that was made smaller, and does not travel.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// The same, and an empty last block: that it is read to its end tells a whole message from one that was cut.
const TAIL_AND_END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// What a message without any redundance may be longer by, and some more.
const SPARE_BYTES: usize = 64;
/// Last blocks within a message, behind each of which reading begins anew. Who marks the end of a message so has one.
const ENDS_MAX: usize = 64;
/// The least that is reserved for a message that is made whole.
const WHOLE_BYTES_LEAST: usize = 1_024;
/// Kept of what a large message needed.
const BYTES_KEPT: usize = 128 * 1024;

thread_local! {
    static PACKERS: RefCell<Vec<Packer>> = const { RefCell::new(Vec::new()) };
    static UNPACKER: RefCell<Option<Box<DecompressorOxide>>> = const { RefCell::new(None) };
}

impl Agreed {
    /// Agrees to the first of a request's offers that can be kept, if compression is on.
    pub(super) fn on(headers: &HeaderMap, options: &Compression) -> Option<Self> {
        if !options.enabled {
            return None;
        }
        let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().map(HeaderValue::to_str);
        let names_window = offers.filter_map(Result::ok).flat_map(|offers| offers.split(',')).find_map(acceptable)?;
        Some(Self { deflate: Deflate::new(options), names_window })
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer.
    pub(super) fn answer(self) -> &'static str {
        match self.names_window {
            false => "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            true => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
            }
        }
    }
}

/// Whether an offer that can be kept names a window; `None` for one that cannot.
fn acceptable(offer: &str) -> Option<bool> {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut named = [false; PARAMETERS.len()];
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
            None => (part, None),
        };
        let parameter = PARAMETERS.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        if std::mem::replace(&mut named[parameter], true) {
            return None;
        }
        let can_be_kept = match (PARAMETERS[parameter], value) {
            // A smaller window would be another form of every message.
            ("server_max_window_bits", value) => value == Some(WINDOW_BITS),
            // Whatever it says: what comes is read with the largest.
            ("client_max_window_bits", value) => value.is_none_or(|value| WINDOWS.contains(&value)),
            (_, value) => value.is_none(),
        };
        if !can_be_kept {
            return None;
        }
    }
    Some(named[2])
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

impl Deflate {
    pub(crate) fn new(options: &Compression) -> Self {
        // The configuration has no others.
        let (bytes_min, level) = (u16::try_from(options.min_size), u8::try_from(options.level));
        Self { bytes_min: bytes_min.unwrap_or(u16::MAX).to_ne_bytes(), level: level.unwrap_or(1) }
    }

    /// Makes what stands in the buffer from `start` on smaller, if it is long enough and becomes smaller: whether it did, and how
    /// many bytes were read for it.
    pub(super) fn shrink(self, buffer: &mut Vec<u8>, start: usize) -> (bool, usize) {
        let length = buffer.len() - start;
        if length == 0 || length < usize::from(u16::from_ne_bytes(self.bytes_min)) {
            return (false, 0);
        }
        PACKERS.with_borrow_mut(|packers| {
            let known = packers.iter().position(|packer| packer.level == self.level);
            let at = known.unwrap_or_else(|| {
                packers.push(Packer::new(self.level));
                packers.len() - 1
            });
            let packed = packers[at].pack(&buffer[start..]).filter(|packed| packed.len() < length);
            let is_smaller = packed.is_some();
            if let Some(packed) = packed {
                buffer.truncate(start);
                buffer.extend_from_slice(packed);
            }
            packers[at].forget_large();
            (is_smaller, length)
        })
    }
}

/// What makes messages smaller; there are as many on a thread as levels are configured.
struct Packer {
    level: u8,
    compressor: CompressorOxide,
    packed: Vec<u8>,
}

impl Packer {
    fn new(level: u8) -> Self {
        let mut compressor = CompressorOxide::default();
        compressor.set_format_and_level(DataFormat::Raw, level);
        Self { level, compressor, packed: Vec::new() }
    }

    /// The message as it travels; `None` if it does not become smaller.
    fn pack(&mut self, message: &[u8]) -> Option<&[u8]> {
        let Self { compressor, packed, .. } = self;
        compressor.reset();
        packed.resize(packed.len().max(message.len() + SPARE_BYTES), 0);
        let (status, read, made) = compress(compressor, message, packed, TDEFLFlush::Sync);
        let is_whole = status == TDEFLStatus::Okay && read == message.len() && made < packed.len();
        packed[..made].strip_suffix(&TAIL).filter(|_| is_whole)
    }

    fn forget_large(&mut self) {
        if self.packed.len() > BYTES_KEPT {
            self.packed = Vec::new();
        }
    }
}

/// Bytes that a message may have on its way of which so many are allowed when it is whole: one without any redundance becomes a
/// little longer.
pub(super) fn packed_bytes_max(limit_bytes: usize) -> usize {
    limit_bytes.saturating_add(limit_bytes / 256).saturating_add(SPARE_BYTES)
}

/// Makes a message whole again. At no time there is more of it than the limit, and the byte that shows that it is longer.
pub(crate) fn inflate(packed: &[u8], limit_bytes: usize) -> Result<Vec<u8>, FrameError> {
    UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = unpacker.get_or_insert_default();
        unpacker.init();
        let mut reading = Reading { unpacker, whole: Vec::new(), made: 0, limit_bytes, ends: 0 };
        reading.make_room(packed.len().saturating_mul(2));
        reading.read(packed, false)?;
        reading.read(&TAIL_AND_END, true)?;
        let Reading { mut whole, made, .. } = reading;
        whole.truncate(made);
        Ok(whole)
    })
}

struct Reading<'a> {
    unpacker: &'a mut DecompressorOxide,
    /// The message, and zeros behind it.
    whole: Vec<u8>,
    /// How much of it there is.
    made: usize,
    limit_bytes: usize,
    /// Last blocks so far.
    ends: usize,
}

/// What refers to something before the message is wrong, which only a buffer that is not used in rounds can tell.
const FLAGS: u32 = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;

impl Reading<'_> {
    /// Reads all of it; the end of a message must be that of its last block.
    fn read(&mut self, mut rest: &[u8], is_tail: bool) -> Result<(), FrameError> {
        loop {
            let (status, read, made) = decompress(self.unpacker, rest, &mut self.whole, self.made, FLAGS);
            rest = rest.get(read..).unwrap_or_default();
            self.made += made;
            if self.made > self.limit_bytes {
                return Err(FrameError::TooLarge);
            }
            match status {
                TINFLStatus::Done if is_tail && rest.is_empty() => return Ok(()),
                TINFLStatus::Done if self.ends < ENDS_MAX => {
                    self.ends += 1;
                    self.unpacker.init();
                }
                TINFLStatus::NeedsMoreInput if !is_tail => return Ok(()),
                TINFLStatus::HasMoreOutput if self.whole.len() <= self.limit_bytes => self.make_room(self.made),
                _ => return Err(FrameError::NotDeflated),
            }
        }
    }

    /// Makes room for so many bytes more, as far as the limit allows.
    fn make_room(&mut self, bytes: usize) {
        let most = self.limit_bytes.saturating_add(1);
        let length = self.made.saturating_add(bytes.max(WHOLE_BYTES_LEAST)).min(most);
        self.whole.reserve_exact(length - self.whole.len());
        self.whole.resize(length, 0);
    }
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
mod tests;
