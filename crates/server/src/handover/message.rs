//! What two processes say to each other when one takes over from the other: small messages, each with its kind and its length.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::net::arrival::Role;
use crate::net::listeners::{ListenAt, Offer};
use crate::rooms::handing_over::RECORD_BYTES_MAX;
use crate::util::byte_reader::ByteReader;

/// The messages, and what is said when. A process that says another version is refused before anything happens.
pub(crate) const VERSION: u16 = 1;
/// How every conversation begins: whoever says something else wants something else.
const MAGIC: &[u8; 8] = b"roomcast";
/// A kind, and the bytes behind it.
pub(crate) const HEAD_BYTES: usize = 5;
/// Bytes of a message that is no record: some dozens of places, a sentence.
const WORDS_BYTES_MAX: usize = 64 * 1024;
/// Sockets that are handed over, which is how many the system takes with one message, less some.
pub(crate) const SOCKETS_MAX: usize = 128;
/// Letters of a reason.
const REASON_LETTERS_MAX: usize = 1_024;

/// What is said.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The new process is there. Whether it reads notes stands behind what the first processes read, which pass over it.
    Hello { version: u16, reads_notes: bool },
    /// It may take over: these are the sockets, and that is how long one step takes at most. Whether this one reads notes is said to
    /// nobody who does not.
    Welcome { sockets: Vec<Offer>, timeout: Duration, reads_notes: bool },
    /// It may not, or not any more.
    Refused(String),
    /// The new process has all that may fail behind it.
    Ready,
    /// The old one accepts nothing any more.
    Settled,
    /// The new process is still there: from here on there is no way back.
    Go,
    /// The old one has let go of everything. Its sockets come with this message, in the order in which they were told.
    Sockets,
    /// A record of rooms.
    Rooms(Vec<u8>),
    /// Those were all.
    AllGiven,
    /// The new process serves.
    Serves,
    /// Who has gone from the old one since: a record for the log of room events. The end of the conversation is that of all others.
    Gone(Vec<u8>),
    /// A note: whoever says it is still at what it does.
    Working,
    /// A note of the old process: so many bytes of memory it has at this moment.
    Holds(u64),
    /// A note of a later version.
    Unknown,
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSED: u8 = 3;
const READY: u8 = 4;
const SETTLED: u8 = 5;
const GO: u8 = 6;
const SOCKETS: u8 = 7;
const ROOMS: u8 = 8;
const ALL_GIVEN: u8 = 9;
const SERVES: u8 = 10;
const GONE: u8 = 11;
/// From here on they are notes, which are passed over by whoever does not know them, and said only to who reads them.
const NOTES: u8 = 128;
const WORKING: u8 = 128;
const HOLDS: u8 = 129;
/// Those that a later version may have.
const UNKNOWN: u8 = 130;
/// Stands in the place of a role, behind the last socket, before what is said beyond the first processes.
const BEYOND: u8 = u8::MAX;

/// The kind of the message that begins so, and the bytes behind its head.
///
/// # Errors
/// It is none, or longer than any may be.
pub(crate) fn head(head: [u8; HEAD_BYTES]) -> Result<(u8, usize), Malformed> {
    let [kind, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    let bytes_max = match kind {
        HELLO..=SETTLED | GONE => WORDS_BYTES_MAX,
        ROOMS => RECORD_BYTES_MAX,
        GO..=SERVES => 0,
        NOTES.. => WORDS_BYTES_MAX,
        _ => return Err(Malformed),
    };
    if length <= bytes_max { Ok((kind, length)) } else { Err(Malformed) }
}

impl Message {
    /// Its bytes, with the head.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = vec![0; HEAD_BYTES];
        let kind = match self {
            Self::Hello { version, reads_notes } => {
                out.extend_from_slice(MAGIC);
                out.extend_from_slice(&version.to_le_bytes());
                out.push(reads_notes.into());
                HELLO
            }
            Self::Welcome { sockets, timeout, reads_notes } => {
                out.extend_from_slice(&(timeout.as_millis() as u64).to_le_bytes());
                sockets.iter().take(SOCKETS_MAX).for_each(|socket| write_offer(socket, &mut out));
                if reads_notes {
                    out.push(BEYOND);
                }
                WELCOME
            }
            Self::Refused(reason) => {
                let reason: String = reason.chars().take(REASON_LETTERS_MAX).collect();
                out.extend_from_slice(reason.as_bytes());
                REFUSED
            }
            Self::Rooms(record) => {
                out.extend_from_slice(&record);
                ROOMS
            }
            Self::Gone(record) => {
                out.extend_from_slice(&record);
                GONE
            }
            Self::Ready => READY,
            Self::Settled => SETTLED,
            Self::Go => GO,
            Self::Sockets => SOCKETS,
            Self::AllGiven => ALL_GIVEN,
            Self::Serves => SERVES,
            Self::Working => WORKING,
            Self::Holds(bytes) => {
                out.extend_from_slice(&bytes.to_le_bytes());
                HOLDS
            }
            Self::Unknown => UNKNOWN,
        };
        let length = (out.len() - HEAD_BYTES) as u32;
        out[0] = kind;
        out[1..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        out
    }

    /// The message of that kind whose bytes behind the head are `body`.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn decode(kind: u8, body: Vec<u8>) -> Result<Self, Malformed> {
        Self::read(kind, body).ok_or(Malformed)
    }

    fn read(kind: u8, body: Vec<u8>) -> Option<Self> {
        let mut rest = ByteReader::new(&body);
        let message = match kind {
            HELLO => {
                if rest.take(MAGIC.len())? != MAGIC {
                    return None;
                }
                let version = u16::from_le_bytes(rest.array()?);
                // Another version may have more to say, and the first one has said nothing of notes.
                let reads_notes = rest.byte().is_some_and(|flag| flag == 1);
                return Some(Self::Hello { version, reads_notes });
            }
            WELCOME => {
                let timeout = Duration::from_millis(u64::from_le_bytes(rest.array()?));
                let (mut sockets, mut reads_notes) = (Vec::new(), false);
                while !rest.is_empty() && !reads_notes {
                    match rest.byte()? {
                        BEYOND => reads_notes = true,
                        _ if sockets.len() == SOCKETS_MAX => return None,
                        role => sockets.push(read_offer(role, &mut rest)?),
                    }
                }
                Self::Welcome { sockets, timeout, reads_notes }
            }
            REFUSED => return String::from_utf8(body).map(Self::Refused).ok(),
            ROOMS => return Some(Self::Rooms(body)),
            GONE => return Some(Self::Gone(body)),
            READY => Self::Ready,
            SETTLED => Self::Settled,
            GO => Self::Go,
            SOCKETS => Self::Sockets,
            ALL_GIVEN => Self::AllGiven,
            SERVES => Self::Serves,
            // Of notes, too, another version may say more.
            WORKING => return Some(Self::Working),
            HOLDS => return rest.array().map(u64::from_le_bytes).map(Self::Holds),
            UNKNOWN.. => return Some(Self::Unknown),
            _ => return None,
        };
        rest.is_empty().then_some(message)
    }
}

const PORT_4: u8 = 4;
const PORT_6: u8 = 6;
const FILE: u8 = 0;

fn write_offer(offer: &Offer, out: &mut Vec<u8>) {
    out.push(match offer.role {
        Role::Everything => 0,
        Role::External => 1,
        Role::Internal => 2,
    });
    out.push(u8::from(offer.is_for_role));
    match &offer.place {
        ListenAt::Tcp(address) => {
            match address.ip() {
                IpAddr::V4(ip) => {
                    out.push(PORT_4);
                    out.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    out.push(PORT_6);
                    out.extend_from_slice(&ip.octets());
                }
            }
            out.extend_from_slice(&address.port().to_le_bytes());
        }
        ListenAt::Unix(path) => {
            // The system knows none that is longer.
            let path = path.as_os_str().as_bytes();
            let path = &path[..path.len().min(usize::from(u8::MAX))];
            out.extend_from_slice(&[FILE, path.len() as u8]);
            out.extend_from_slice(path);
        }
    }
}

fn read_offer(role: u8, rest: &mut ByteReader<'_>) -> Option<Offer> {
    let role = match role {
        0 => Role::Everything,
        1 => Role::External,
        2 => Role::Internal,
        _ => return None,
    };
    let is_for_role = rest.flag()?;
    let port_of = |ip: IpAddr, rest: &mut ByteReader<'_>| {
        rest.array().map(|port| ListenAt::Tcp(SocketAddr::new(ip, u16::from_le_bytes(port))))
    };
    let place = match rest.byte()? {
        PORT_4 => port_of(IpAddr::from(rest.array::<4>()?), rest)?,
        PORT_6 => port_of(IpAddr::from(rest.array::<16>()?), rest)?,
        FILE => {
            let length = rest.byte()?;
            ListenAt::Unix(PathBuf::from(OsString::from_vec(rest.take(usize::from(length))?.to_vec())))
        }
        _ => return None,
    };
    Some(Offer { role, is_for_role, place })
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { version, .. } => write!(f, "Hello({version})"),
            Self::Welcome { sockets, .. } => write!(f, "Welcome({} sockets)", sockets.len()),
            Self::Refused(reason) => write!(f, "Refused({reason:?})"),
            // There are messages of rooms in it.
            Self::Rooms(record) => write!(f, "Rooms({} bytes)", record.len()),
            Self::Ready => f.write_str("Ready"),
            Self::Settled => f.write_str("Settled"),
            Self::Go => f.write_str("Go"),
            Self::Sockets => f.write_str("Sockets"),
            Self::AllGiven => f.write_str("AllGiven"),
            Self::Serves => f.write_str("Serves"),
            Self::Gone(record) => write!(f, "Gone({} bytes)", record.len()),
            Self::Working => f.write_str("Working"),
            Self::Holds(bytes) => write!(f, "Holds({bytes})"),
            Self::Unknown => f.write_str("Unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Message, Malformed> {
        let (first, body) = bytes.split_at_checked(HEAD_BYTES).ok_or(Malformed)?;
        let (kind, length) = head(first.try_into().map_err(|_| Malformed)?)?;
        if length == body.len() { Message::decode(kind, body.to_vec()) } else { Err(Malformed) }
    }

    fn all() -> Vec<Message> {
        let offer = |role, is_for_role, place| Offer { role, is_for_role, place };
        let sockets = vec![
            offer(Role::External, false, ListenAt::Tcp("127.0.0.1:8000".parse().unwrap())),
            offer(Role::Internal, true, ListenAt::Tcp("[::1]:9".parse().unwrap())),
            offer(Role::Everything, false, ListenAt::Unix(PathBuf::from("/run/a"))),
            offer(Role::Everything, false, ListenAt::Unix(PathBuf::new())),
        ];
        vec![
            Message::Hello { version: 7, reads_notes: true },
            Message::Welcome { sockets: sockets.clone(), timeout: Duration::from_secs(3), reads_notes: false },
            Message::Welcome { sockets, timeout: Duration::from_secs(3), reads_notes: true },
            Message::Refused("somebody else is about to".to_owned()),
            Message::Ready,
            Message::Settled,
            Message::Go,
            Message::Sockets,
            Message::Rooms(vec![1, 2, 3]),
            Message::AllGiven,
            Message::Serves,
            Message::Gone(vec![4, 5]),
            Message::Working,
            Message::Holds(5 << 30),
            Message::Unknown,
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for message in all() {
            assert_eq!(read(&message.clone().encode()), Ok(message));
        }
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_no_message() {
        for message in all() {
            let whole = message.clone().encode();
            for end in 0..whole.len() {
                assert_eq!(read(&whole[..end]), Err(Malformed), "{message:?}");
            }
        }
        assert_eq!(read(&[b"\x01\x09\0\0\0roomcas".as_slice(), b"x\x01"].concat()), Err(Malformed));
        assert_eq!(head([GO, 1, 0, 0, 0]), Err(Malformed), "it has nothing to say");
        assert_eq!(head([WELCOME, 0, 0, 0, 1]), Err(Malformed), "it is too long");
        assert_eq!(head([99, 0, 0, 0, 0]), Err(Malformed));
        assert_eq!(head([WORKING, 0, 0, 0, 1]), Err(Malformed), "no note is as long");
    }

    #[test]
    fn a_process_of_another_version_may_say_more() {
        for message in [Message::Hello { version: 2, reads_notes: true }, Message::Working, Message::Holds(7)] {
            let mut bytes = message.clone().encode();
            bytes.push(b'!');
            bytes[1] += 1;
            assert_eq!(read(&bytes), Ok(message));
        }
        assert_eq!(read(&[200, 3, 0, 0, 0, 1, 2, 3]), Ok(Message::Unknown), "a note of later");
    }

    /// What the first processes wrote is read, and they are told nothing that they do not read.
    #[test]
    fn the_first_processes_are_understood_and_understand() {
        let hello = b"\x01\x0a\0\0\0roomcast\x01\0";
        assert_eq!(read(hello), Ok(Message::Hello { version: 1, reads_notes: false }));
        let timeout = Duration::from_millis(7);
        let welcome = Message::Welcome { sockets: Vec::new(), timeout, reads_notes: false };
        assert_eq!(welcome.encode(), b"\x02\x08\0\0\0\x07\0\0\0\0\0\0\0");
        // They read the version of a greeting, and pass over the rest.
        assert!(Message::Hello { version: 1, reads_notes: true }.encode()[HEAD_BYTES..].starts_with(b"roomcast\x01\0"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(kind in prop_oneof![0_u8..12, 126_u8..132], body in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(message) = Message::decode(kind, body.clone()) {
                let again = message.clone().encode();
                if kind != HELLO && kind < NOTES {
                    prop_assert_eq!(&again[HEAD_BYTES..], &body[..]);
                }
                prop_assert_eq!(read(&again), Ok(message));
            }
        }
    }
}
