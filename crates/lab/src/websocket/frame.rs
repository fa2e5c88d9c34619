//! Frames of both sides.

use super::Error;

/// Payload bytes beyond which a frame is a mistake. NATS puts all it holds for a slow member into one.
pub const FRAME_BYTES_MAX: usize = 128 * 1024 * 1024;

/// A continuation of the message before.
pub const CONTINUATION: u8 = 0x0;
/// A text message.
pub const TEXT: u8 = 0x1;
/// A binary message.
pub const BINARY: u8 = 0x2;
/// The last frame of a side.
pub const CLOSE: u8 = 0x8;
/// A ping.
pub const PING: u8 = 0x9;
/// Its answer.
pub const PONG: u8 = 0xa;

/// Where a whole frame lies in the bytes it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Whether its message ends with it.
    pub is_last: bool,
    /// What it is.
    pub opcode: u8,
    /// The mask of a client.
    pub mask: Option<[u8; 4]>,
    /// Where its payload begins.
    pub start: usize,
    /// Where its payload and the frame end.
    pub end: usize,
}

/// The frame that begins with the first byte; `None` while it is not complete.
///
/// # Errors
/// [`Error::Unexpected`] when it is larger than [`FRAME_BYTES_MAX`].
#[inline]
pub fn parse(bytes: &[u8]) -> Result<Option<Frame>, Error> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (length, header) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), 10),
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    if length > FRAME_BYTES_MAX {
        return Err(Error::Unexpected("a huge frame"));
    }
    let is_masked = second & 0x80 != 0;
    let start = header + if is_masked { 4 } else { 0 };
    let end = start + length;
    if bytes.len() < end {
        return Ok(None);
    }
    let mask = if is_masked { bytes[header..start].first_chunk().copied() } else { None };
    Ok(Some(Frame { is_last: first & 0x80 != 0, opcode: first & 0x0f, mask, start, end }))
}

/// Appends a frame of a server, or with a mask of a client; `payload` writes what is in it.
#[inline]
pub fn write(opcode: u8, mask: Option<[u8; 4]>, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let bit = if mask.is_some() { 0x80 } else { 0 };
    // Most frames need the header of middle size; a shorter one moves the payload, as does a longer one.
    out.extend_from_slice(&[0x80 | opcode, bit | 126, 0, 0]);
    out.extend(mask.iter().flatten());
    let from = out.len();
    payload(out);
    let length = out.len() - from;
    if let Some(mask) = mask {
        apply_mask(&mut out[from..], mask);
    }
    match length {
        0..126 => {
            out[start + 1] = bit | length as u8;
            out.copy_within(start + 4.., start + 2);
            out.truncate(out.len() - 2);
        }
        126..=0xffff => out[start + 2..start + 4].copy_from_slice(&(length as u16).to_be_bytes()),
        _ => {
            out[start + 1] = bit | 127;
            out.splice(start + 2..start + 4, (length as u64).to_be_bytes());
        }
    }
}

/// Masks a payload, or takes its mask off.
#[inline]
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(mask));
    let word = word << 32 | word;
    let (words, rest) = payload.as_chunks_mut::<8>();
    words.iter_mut().for_each(|bytes| *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes());
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

    fn written(length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = b"before".to_vec();
        write(TEXT, mask, &mut bytes, |out| out.extend((0..length).map(|at| at as u8)));
        bytes.split_off(6)
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for length in [0, 1, 125, 126, 4_000, 60_000, 65_535, 65_536, 70_000] {
            for mask in [None, MASK] {
                let mut bytes = written(length, mask);
                let found = parse(&bytes).expect("sound").expect("complete");
                assert_eq!((found.is_last, found.opcode, found.mask, found.end), (true, TEXT, mask, bytes.len()));
                let payload = &mut bytes[found.start..];
                apply_mask(payload, mask.unwrap_or_default());
                assert_eq!(payload.len(), length);
                assert!(payload.iter().enumerate().all(|(at, byte)| at as u8 == *byte), "{length}");
            }
        }
    }

    #[test]
    fn a_frame_that_is_not_complete_is_not_there_yet() {
        for (length, mask) in [(300, MASK), (300, None), (5, MASK), (70_000, None)] {
            let bytes = written(length, mask);
            for cut in (0..20).chain([bytes.len() - 1]).filter(|cut| *cut < bytes.len()) {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} of {length}");
            }
        }
        let bytes = written(300, MASK);
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Ok(None));
        }
        assert!(parse(&[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0]).is_err(), "nobody sends that much");
    }

    #[test]
    fn a_written_frame_has_its_length_and_its_mask() {
        for length in [0_usize, 5, 125, 126, 60_000] {
            let (mut out, mask) = (Vec::new(), [1, 2, 3, 4]);
            write(BINARY, Some(mask), &mut out, |out| out.extend(vec![7; length]));
            let header = if length < 126 { 6 } else { 8 };
            assert_eq!((out.len(), out[0]), (header + length, 0x82));
            assert!(out[header..].iter().zip(mask.iter().cycle()).all(|(byte, mask)| byte ^ mask == 7), "{length}");
        }
    }
}
