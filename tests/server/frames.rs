//! WebSocket frames from the client's side: what the tests send, right or wrong, and what a server may answer.

/// A masked frame with the shortest form of its length. It costs a debug build milliseconds per megabyte, not seconds.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: u64 = 0x01c8_6307_01c8_6307;
    let mut bytes = Vec::with_capacity(payload.len() + 14);
    bytes.push(first);
    match payload.len() {
        n @ 0..=125 => bytes.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&KEY.to_le_bytes()[..4]);
    let (eights, rest) = payload.as_chunks();
    for eight in eights {
        bytes.extend_from_slice(&(u64::from_le_bytes(*eight) ^ KEY).to_le_bytes());
    }
    bytes.extend(rest.iter().zip(KEY.to_le_bytes()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A frame from the server.
pub(crate) struct Received<'a> {
    pub(crate) first: u8,
    pub(crate) payload: &'a [u8],
    /// With the header.
    pub(crate) length: usize,
}

/// The frame `input` begins with, or nothing while it is not there whole.
///
/// # Errors
/// When the server may not send such a frame.
pub(crate) fn read_frame(input: &[u8]) -> Result<Option<Received<'_>>, String> {
    let [first, second, rest @ ..] = input else { return Ok(None) };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(format!("a frame that begins {first:#04x} {second:#04x}"));
    }
    let (skip, length) = match (second, rest) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize),
        (126 | 127, _) => return Ok(None),
        (length, _) => (2, usize::from(*length)),
    };
    let payload = input.get(skip..skip + length);
    Ok(payload.map(|payload| Received { first: *first, payload, length: skip + length }))
}

/// The payload of the chunk that `input` begins with, empty for the last one, and how long the chunk is; nothing while it is not there
/// whole.
pub(crate) fn read_chunk(input: &[u8]) -> Option<(&[u8], usize)> {
    let at = input.windows(2).position(|two| two == b"\r\n")?;
    let length = str::from_utf8(&input[..at]).expect("digits");
    let length = usize::from_str_radix(length, 16).expect("a length");
    let end = at + 2 + length;
    assert_eq!(input.get(end..end + 2)?, b"\r\n");
    Some((&input[at + 2..end], end + 2))
}
