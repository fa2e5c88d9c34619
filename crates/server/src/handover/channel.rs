//! The way between two processes: messages over a Unix socket, and descriptors beside them. Everything waits so long and no longer.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::message::{self, HEAD_BYTES, Message, SOCKETS_MAX};

/// Bytes that are read at once, so that nobody makes us hold what it has announced and not sent.
const READ_BYTES: usize = 256 * 1024;
/// The space that descriptors take beside a message.
const DESCRIPTORS_BYTES: usize = rustix::cmsg_space!(ScmRights(SOCKETS_MAX));

/// Who is at the other end, as the system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) process: i32,
    pub(crate) user: u32,
}

/// One end of the conversation.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    /// What came with messages and was not asked for yet.
    descriptors: Vec<OwnedFd>,
}

/// Why a message was not heard, or said.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The other end is gone.
    Gone,
    /// It says nothing, or takes nothing.
    Late,
    /// What it says is no message.
    Malformed,
    Io(io::Error),
}

impl Channel {
    /// Over a socket that is connected.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        Ok(Self { stream, descriptors: Vec::new() })
    }

    /// The same end once more, for another thread: one says something, and the other one hears.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn once_more(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, descriptors: Vec::new() })
    }

    /// Who is there.
    ///
    /// # Errors
    /// When the system does not say.
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        let peer = socket_peercred(&self.stream)?;
        Ok(Peer { process: peer.pid.as_raw_pid(), user: peer.uid.as_raw() })
    }

    /// Says something, within that time.
    ///
    /// # Errors
    /// The other end is gone, or takes nothing.
    pub(crate) fn say(&mut self, message: Message, within: Duration) -> Result<(), Failure> {
        self.write(&message.encode(), Instant::now() + within)
    }

    /// The same with descriptors.
    ///
    /// # Errors
    /// As [`Channel::say`].
    pub(crate) fn say_with(
        &mut self,
        message: Message,
        descriptors: &[BorrowedFd<'_>],
        within: Duration,
    ) -> Result<(), Failure> {
        let until = Instant::now() + within;
        let bytes = message.encode();
        let mut space = [MaybeUninit::uninit(); DESCRIPTORS_BYTES];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Failure::Io(io::Error::other("there are too many descriptors for one message")));
        }
        self.stream.set_write_timeout(Some(left(until)?)).map_err(Failure::Io)?;
        let sent = loop {
            match sendmsg(&self.stream, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                sent => break sent.map_err(|errno| Failure::from(io::Error::from(errno)))?,
            }
        };
        self.write(&bytes[sent..], until)
    }

    fn write(&mut self, mut bytes: &[u8], until: Instant) -> Result<(), Failure> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(left(until)?)).map_err(Failure::Io)?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(Failure::Gone),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next message that is known, within that time.
    ///
    /// # Errors
    /// The other end is gone, says nothing, or nothing that is a message.
    pub(crate) fn hear(&mut self, within: Duration) -> Result<Message, Failure> {
        let until = Instant::now() + within;
        loop {
            match self.hear_any(until)? {
                Message::Unknown => {}
                message => return Ok(message),
            }
        }
    }

    fn hear_any(&mut self, until: Instant) -> Result<Message, Failure> {
        let head = self.read(HEAD_BYTES, until)?;
        let head = head.try_into().map_err(|_| Failure::Malformed)?;
        let (kind, length) = message::head(head).map_err(|_| Failure::Malformed)?;
        let body = self.read(length, until)?;
        Message::decode(kind, body).map_err(|_| Failure::Malformed)
    }

    /// The descriptors that have come so far.
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    fn read(&mut self, length: usize, until: Instant) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let before = bytes.len();
            bytes.resize(length.min(before + READ_BYTES), 0);
            self.stream.set_read_timeout(Some(left(until)?)).map_err(Failure::Io)?;
            let mut space = [MaybeUninit::uninit(); DESCRIPTORS_BYTES];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(&mut bytes[before..])];
            let received = match recvmsg(self.stream.as_fd(), into, &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {
                    bytes.truncate(before);
                    continue;
                }
                received => received.map_err(|errno| Failure::from(io::Error::from(errno)))?,
            };
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.descriptors.extend(descriptors);
                }
            }
            if received.flags.contains(ReturnFlags::CTRUNC) || self.descriptors.len() > SOCKETS_MAX {
                return Err(Failure::Malformed);
            }
            if received.bytes == 0 {
                return Err(Failure::Gone);
            }
            bytes.truncate(before + received.bytes);
        }
        Ok(bytes)
    }
}

/// The time that is left until then, which is some.
fn left(until: Instant) -> Result<Duration, Failure> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Failure::Late) } else { Ok(left) }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Late,
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => Self::Gone,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it is gone"),
            Self::Late => f.write_str("it does nothing in time"),
            Self::Malformed => f.write_str("what it says is no message"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd as _;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one).unwrap(), Channel::new(other).unwrap())
    }

    #[test]
    fn messages_come_in_their_order_and_descriptors_with_theirs() {
        let (mut one, mut other) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let large = Message::Rooms(vec![7; 3 * READ_BYTES]);
        let sending = std::thread::spawn({
            let (address, large) = (listener.local_addr().unwrap(), large.clone());
            move || {
                one.say(Message::Ready, SOON).unwrap();
                one.say_with(Message::Sockets, &[listener.as_fd(), listener.as_fd()], SOON).unwrap();
                one.say(large, SOON).unwrap();
                address
            }
        });
        assert_eq!(other.hear(SOON).unwrap(), Message::Ready);
        assert!(other.take_descriptors().is_empty());
        assert_eq!(other.hear(SOON).unwrap(), Message::Sockets);
        let descriptors = other.take_descriptors();
        assert_eq!(other.hear(SOON).unwrap(), large);
        let address = sending.join().unwrap();
        assert!(matches!(other.hear(SOON), Err(Failure::Gone)));
        assert_eq!(descriptors.len(), 2);
        for descriptor in descriptors {
            assert_eq!(TcpListener::from(descriptor).local_addr().unwrap(), address);
        }
    }

    #[test]
    fn notes_that_nobody_knows_yet_are_passed_over() {
        let (mut one, mut other) = pair();
        one.write(&[200, 2, 0, 0, 0, 1, 2], Instant::now() + SOON).unwrap();
        one.say(Message::Unknown, SOON).unwrap();
        one.once_more().unwrap().say(Message::Working, SOON).unwrap();
        assert_eq!(other.hear(SOON).unwrap(), Message::Working);
    }

    #[test]
    fn who_says_nothing_or_half_of_something_is_not_waited_for() {
        let (mut one, mut other) = pair();
        let short = Duration::from_millis(50);
        assert!(matches!(other.hear(short), Err(Failure::Late)));
        one.write(&Message::Rooms(vec![1; 100]).encode()[..50], Instant::now() + SOON).unwrap();
        assert!(matches!(other.hear(short), Err(Failure::Late)));
        let full = Message::Rooms(vec![0; 8 << 20]);
        assert!(matches!(one.say(full, short), Err(Failure::Late)), "nobody takes it");
    }

    #[test]
    fn what_is_no_message_is_not_held() {
        let (mut one, mut other) = pair();
        one.write(&[8, 0xff, 0xff, 0xff, 0xff, 0], Instant::now() + SOON).unwrap();
        assert!(matches!(other.hear(SOON), Err(Failure::Malformed)));
        let (mut one, mut other) = pair();
        one.write(b"GET / HTTP/1.1\r\n\r\n", Instant::now() + SOON).unwrap();
        assert!(matches!(other.hear(SOON), Err(Failure::Malformed)));
    }

    #[test]
    fn the_other_end_is_a_process_of_this_user() {
        let (one, _other) = pair();
        let peer = one.peer().unwrap();
        assert_eq!(peer.process, std::process::id() as i32);
        assert_eq!(peer.user, rustix::process::geteuid().as_raw());
    }
}
