//! Records: what one process gives to the next, as bytes.
//!
//! A record begins with the version of the format and its kind. Numbers are little-endian, texts and bytes come behind their length.
//! A process reads its own version alone: what it cannot read it goes without, as after a plain restart.

use roomcast::store::Codec as _;
use roomcast::{Epoch, Position, SEQUENCE_START_MAX};
use roomcast_protocol::{Publication, RoomName};

use super::{RECORD_BYTES_MAX, RecordError};
use crate::rooms::engine::{Accepted, EpochName};
use crate::rooms::stored::PublicationCodec;
use crate::rooms::terms::{KeptKey, KeptVersion};
use crate::rooms::visible::Erased;
use crate::util::byte_reader::ByteReader;

/// The format that is written, and the only one that is read.
const VERSION: u8 = 1;

/// Bytes from which on a record is given, and the next one begun: a few of them wait in a socket.
pub(super) const RECORD_BYTES: usize = 256 << 10;

/// The longest name of a room, whatever the configuration allows.
const NAME_BYTES_MAX: usize = 255;

/// What a record says.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    Ring(RingPart),
    Positions(Vec<PositionOf>),
    Keys(Vec<KeptKey>),
    Versions(Vec<KeptVersion>),
}

/// Messages of a ring, without a hole; a large ring comes in parts, one after the other.
#[derive(Debug, PartialEq)]
pub(super) struct RingPart {
    pub(super) head: RingHead,
    /// At least one.
    pub(super) messages: Vec<GivenMessage>,
}

/// Where a part of a ring belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RingHead {
    pub(super) room: RoomName,
    pub(super) epoch: Epoch,
    /// The sequence of the first message of this part.
    pub(super) first: u64,
    /// The sequence behind the last message of the ring.
    pub(super) end: u64,
    /// Whether it is the first part.
    pub(super) begins: bool,
}

/// A message of a ring.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GivenMessage {
    pub(super) time_ms: u64,
    /// Nothing is left of one that was erased.
    pub(super) publication: Publication,
    pub(super) is_erased: bool,
}

/// Where a room stands of whose messages none is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PositionOf {
    pub(super) room: RoomName,
    pub(super) position: Position,
    pub(super) until_ms: u64,
}

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ring = 1,
    Positions = 2,
    Keys = 3,
    Versions = 4,
}

/// What stands beside a message.
const IS_DELTA: u8 = 1;
const IS_ERASED: u8 = 2;

/// A record being written: a list, whose length is written last.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Where the length stands.
    count_at: usize,
    count: u32,
}

impl Writer {
    pub(super) fn new(kind: Kind) -> Self {
        let mut this = Self { bytes: vec![VERSION, kind as u8], count_at: 0, count: 0 };
        this.begin_list();
        this
    }

    /// A part of a ring.
    pub(super) fn ring(head: &RingHead) -> Self {
        let mut this = Self { bytes: vec![VERSION, Kind::Ring as u8], count_at: 0, count: 0 };
        this.text(head.room.as_str());
        this.number(head.epoch.into());
        this.number(head.first);
        this.number(head.end);
        this.bytes.push(head.begins.into());
        this.begin_list();
        this
    }

    fn begin_list(&mut self) {
        self.count_at = self.bytes.len();
        self.bytes.extend([0; 4]);
    }

    /// How large it is by now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the next record is to be begun.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= RECORD_BYTES
    }

    pub(super) fn message(&mut self, time_ms: u64, publication: &Publication, is_erased: bool) {
        self.count += 1;
        self.number(time_ms);
        let is_delta = if publication.is_delta() { IS_DELTA } else { 0 };
        self.bytes.push(if is_erased { IS_ERASED } else { is_delta });
        let length_at = self.bytes.len();
        self.bytes.extend([0; 4]);
        if !is_erased {
            PublicationCodec.encode(publication, &mut self.bytes);
        }
        let length = (self.bytes.len() - length_at - 4) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub(super) fn position(&mut self, room: &str, position: Position, until_ms: u64) {
        self.count += 1;
        self.text(room);
        self.number(position.epoch.into());
        self.number(position.sequence);
        self.number(until_ms);
    }

    pub(super) fn key(&mut self, KeptKey { name, accepted, since_ms }: &KeptKey) {
        let epoch = match &accepted.epoch {
            EpochName::Ring(epoch) => Some(u64::from(*epoch)),
            // Of nothing that has a place; and names of other nodes are not for this process to give.
            _ => None,
        };
        self.count += 1;
        self.text(name);
        self.bytes.push(epoch.is_some().into());
        self.number(epoch.unwrap_or(0));
        self.number(accepted.offset);
        self.number(*since_ms);
    }

    pub(super) fn version(&mut self, KeptVersion { room, number, epoch, since_ms }: &KeptVersion) {
        self.count += 1;
        self.text(room);
        self.number(*number);
        self.text(epoch);
        self.number(*since_ms);
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.bytes[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        self.bytes
    }

    fn number(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }
}

/// Reads a record; nothing is allocated that is not in it.
///
/// # Errors
/// [`RecordError`].
pub(super) fn read(record: &[u8]) -> Result<Record, RecordError> {
    match record {
        [VERSION, ..] => {}
        [_, ..] => return Err(RecordError::Version),
        [] => return Err(RecordError::Malformed),
    }
    if record.len() > RECORD_BYTES_MAX {
        return Err(RecordError::Malformed);
    }
    read_body(&record[1..]).ok_or(RecordError::Malformed)
}

fn read_body(body: &[u8]) -> Option<Record> {
    let mut reader = Reader(ByteReader::new(body));
    let read = match reader.0.byte()? {
        kind if kind == Kind::Ring as u8 => Record::Ring(reader.ring()?),
        kind if kind == Kind::Positions as u8 => Record::Positions(reader.list(Reader::position)?),
        kind if kind == Kind::Keys as u8 => Record::Keys(reader.list(Reader::key)?),
        kind if kind == Kind::Versions as u8 => Record::Versions(reader.list(Reader::version)?),
        _ => return None,
    };
    reader.0.is_empty().then_some(read)
}

/// What is left of a record.
struct Reader<'a>(ByteReader<'a>);

impl<'a> Reader<'a> {
    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.0.array()?)).ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.0.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        std::str::from_utf8(self.0.take(length)?).ok()
    }

    fn room(&mut self) -> Option<RoomName> {
        RoomName::parse(self.text()?, NAME_BYTES_MAX).ok()
    }

    fn sequence(&mut self) -> Option<u64> {
        self.number().filter(|sequence| *sequence <= SEQUENCE_START_MAX)
    }

    fn epoch(&mut self) -> Option<Epoch> {
        self.number().map(Epoch::from)
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.length()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(one(self)?);
        }
        Some(list)
    }

    fn ring(&mut self) -> Option<RingPart> {
        let head = RingHead {
            room: self.room()?,
            epoch: self.epoch()?,
            first: self.sequence()?,
            end: self.sequence()?,
            begins: self.0.flag()?,
        };
        let messages = self.list(Self::message)?;
        let behind = head.first + messages.len() as u64;
        (!messages.is_empty() && behind <= head.end).then_some(RingPart { head, messages })
    }

    fn message(&mut self) -> Option<GivenMessage> {
        let (time_ms, flags, length) = (self.number()?, self.0.byte()?, self.length()?);
        let body = self.0.take(length)?;
        if flags == IS_ERASED && body.is_empty() {
            return Some(GivenMessage { time_ms, publication: Erased::empty(), is_erased: true });
        }
        let mut publication = PublicationCodec.decode(body).ok()?;
        match flags {
            0 => {}
            IS_DELTA => publication.set_delta(true),
            _ => return None,
        }
        Some(GivenMessage { time_ms, publication, is_erased: false })
    }

    fn position(&mut self) -> Option<PositionOf> {
        let room = self.room()?;
        let position = Position { epoch: self.epoch()?, sequence: self.sequence()? };
        Some(PositionOf { room, position, until_ms: self.number()? })
    }

    fn key(&mut self) -> Option<KeptKey> {
        let name = self.text()?.into();
        let (has_epoch, epoch, offset) = (self.0.flag()?, self.epoch()?, self.number()?);
        let epoch = if has_epoch { EpochName::Ring(epoch) } else { EpochName::None };
        Some(KeptKey { name, accepted: Accepted { offset, epoch }, since_ms: self.number()? })
    }

    fn version(&mut self) -> Option<KeptVersion> {
        let room = self.room()?.as_str().into();
        let number = self.number().filter(|number| *number > 0)?;
        let epoch = self.text()?.to_owned();
        Some(KeptVersion { room, number, epoch, since_ms: self.number()? })
    }
}

/// What a record says, written down again.
#[cfg(any(test, roomcast_fuzz))]
pub(super) fn write(record: &Record) -> Vec<u8> {
    let mut writer;
    match record {
        Record::Ring(RingPart { head, messages }) => {
            writer = Writer::ring(head);
            messages.iter().for_each(|it| writer.message(it.time_ms, &it.publication, it.is_erased));
        }
        Record::Positions(positions) => {
            writer = Writer::new(Kind::Positions);
            positions.iter().for_each(|it| writer.position(it.room.as_str(), it.position, it.until_ms));
        }
        Record::Keys(keys) => {
            writer = Writer::new(Kind::Keys);
            keys.iter().for_each(|key| writer.key(key));
        }
        Record::Versions(versions) => {
            writer = Writer::new(Kind::Versions);
            versions.iter().for_each(|version| writer.version(version));
        }
    }
    writer.end()
}

/// Whatever the bytes are, they are a record that is read as what it was written from, or refused; whether they are one.
#[cfg(any(test, roomcast_fuzz))]
pub(crate) fn check(bytes: &[u8]) -> bool {
    match read(bytes) {
        Ok(record) => {
            let again = read(&write(&record));
            assert_eq!(again.as_ref(), Ok(&record));
            return true;
        }
        Err(RecordError::Version) => assert!(bytes.first() != Some(&VERSION)),
        Err(RecordError::Malformed) => {}
    }
    false
}
