//! From bytes to messages, wherever reads and frames begin and end.

use std::mem;

use super::Error;
use super::frame::{BINARY, CLOSE, CONTINUATION, FRAME_BYTES_MAX, PING, PONG, TEXT, parse};
use super::handshake::answer;

/// Something a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The handshake is over.
    Open,
    /// A whole message.
    Message(&'a [u8]),
    /// A ping, with what its pong is to repeat.
    Ping(&'a [u8]),
    /// A close frame, perhaps with a code.
    Close(Option<u16>),
}

/// The reader of one connection: the answer to the handshake, then frames. It holds next to no memory between messages.
#[derive(Debug)]
pub struct Reader {
    is_open: bool,
    partial: Partial,
    /// Whether a message in fragments has begun and not ended.
    is_in_message: bool,
    /// Its beginning.
    message: Vec<u8>,
}

impl Reader {
    /// Of a new connection, whose handshake is still to be answered.
    #[must_use]
    pub const fn new() -> Self {
        Self { is_open: false, partial: Partial::new(), is_in_message: false, message: Vec::new() }
    }

    /// Makes events of the next bytes, in the order they came in.
    ///
    /// # Errors
    /// [`Error`] when a server may not send them, and whatever `each` says. After an error the rest is lost.
    #[inline]
    pub fn read<E: From<Error>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { is_open, partial, is_in_message, message } = self;
        partial.feed(bytes, |bytes| {
            let mut at = 0;
            if !*is_open {
                let Some(length) = answer(bytes)? else { return Ok(0) };
                (*is_open, at) = (true, length);
                each(Event::Open)?;
            }
            while let Some(frame) = parse(&bytes[at..])? {
                if frame.mask.is_some() {
                    return Err(Error::Unexpected("a masked frame, which servers do not send").into());
                }
                let payload = &bytes[at + frame.start..at + frame.end];
                at += frame.end;
                match frame.opcode {
                    TEXT | BINARY | CONTINUATION if (frame.opcode == CONTINUATION) != *is_in_message => {
                        return Err(Error::Unexpected("a message within another, or the rest of none").into());
                    }
                    TEXT | BINARY if frame.is_last => each(Event::Message(payload))?,
                    TEXT | BINARY | CONTINUATION => {
                        if message.len() + payload.len() > FRAME_BYTES_MAX {
                            return Err(Error::Unexpected("a huge message").into());
                        }
                        message.extend_from_slice(payload);
                        *is_in_message = !frame.is_last;
                        if frame.is_last {
                            each(Event::Message(&mem::take(message)))?;
                        }
                    }
                    PING => each(Event::Ping(payload))?,
                    PONG => {}
                    CLOSE => each(Event::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))))?,
                    _ => return Err(Error::Unexpected("a frame of an unknown kind").into()),
                }
            }
            Ok(at)
        })
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes that are no whole value yet, kept until the next ones come.
#[derive(Debug, Default)]
pub struct Partial(Vec<u8>);

/// Memory kept for the next partial value; larger ones are rare.
const KEPT: usize = 4_096;

impl Partial {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Hands what was left over and the next bytes to `parse`, which tells how much it made something of, and keeps the rest.
    ///
    /// # Errors
    /// What `parse` says; what was left over is lost then.
    #[inline]
    pub fn feed<E>(&mut self, bytes: &[u8], parse: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<(), E> {
        if self.0.is_empty() {
            let used = parse(bytes)?;
            self.0.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut partial = mem::take(&mut self.0);
        partial.extend_from_slice(bytes);
        let used = parse(&partial)?;
        partial.drain(..used);
        if !partial.is_empty() || partial.capacity() <= KEPT {
            self.0 = partial;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KEY, write, write_response};
    use super::*;

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<String>, Error> {
        let (mut reader, mut all) = (Reader::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.read(piece, |event| {
                all.push(match event {
                    Event::Message(message) => String::from_utf8_lossy(message).into_owned(),
                    other => format!("{other:?}"),
                });
                Ok::<(), Error>(())
            })?;
        }
        Ok(all)
    }

    #[test]
    fn messages_are_found_wherever_reads_and_fragments_begin() {
        let mut bytes = Vec::new();
        write_response(KEY, &mut bytes);
        write(TEXT, None, &mut bytes, |out| out.extend_from_slice(b"one"));
        bytes.extend_from_slice(b"\x01\x03tw-\x89\x00\x80\x01o");
        write(PONG, None, &mut bytes, |_| {});
        write(BINARY, None, &mut bytes, |out| out.extend(vec![b'x'; 5_000]));
        write(CLOSE, None, &mut bytes, |out| out.extend_from_slice(&3008_u16.to_be_bytes()));
        for piece in [1, 2, 3, 7, 4_000, 100_000] {
            let all = read(&bytes, piece).expect("sound");
            assert_eq!(all[..4], ["Open", "one", "Ping([])", "tw-o"], "pieces of {piece}");
            assert_eq!((all[4].len(), &*all[5], all.len()), (5_000, "Close(Some(3008))", 6));
        }
    }

    #[test]
    fn what_servers_do_not_send_is_refused() {
        let mut open = Vec::new();
        write_response(KEY, &mut open);
        for frame in [
            &[0x81, 0x80, 0, 0, 0, 0][..],
            &[0x83, 0],
            &[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0],
            // The rest of nothing, and a message within another, of which nothing has come yet.
            b"\x80\x01a",
            b"\x01\x00\x81\x01a",
            b"\x01\x01a\x00\x01b\x02\x01c",
        ] {
            assert!(read(&[&open, frame].concat(), 1).is_err(), "{frame:?}");
        }
        assert_eq!(read(&[&open, &b"\x01\x00\x00\x00\x80\x01a"[..]].concat(), 1), Ok(vec!["Open".into(), "a".into()]));
        assert_eq!(
            read(b"HTTP/1.1 404 Not Found\r\n\r\n", 10),
            Err(Error::Refused("HTTP/1.1 404 Not Found".to_owned()))
        );
    }

    #[test]
    fn fragments_without_end_are_refused_as_a_huge_frame_is() {
        let (mut reader, mut open) = (Reader::new(), Vec::new());
        write_response(KEY, &mut open);
        let mut frame = Vec::new();
        write(TEXT, None, &mut frame, |out| out.extend(vec![b'x'; 1 << 20]));
        let mut read = |bytes: &[u8]| reader.read(bytes, |_| Ok::<(), Error>(()));
        read(&open).expect("sound");
        let most = FRAME_BYTES_MAX >> 20;
        let refused = (0..most + 1).position(|count| {
            frame[0] = if count == 0 { TEXT } else { CONTINUATION };
            read(&frame).is_err()
        });
        assert_eq!(refused, Some(most));
    }
}
