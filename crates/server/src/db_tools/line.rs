//! A message as a line of JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{PublicationCodec, body_of};
use roomcast::store::{Codec as _, Record};
use roomcast_protocol::{ClientInfo, Limits, Payload, Publication, RoomName};

/// The largest number that a client counts exactly, where numbers are floating: 2^53 - 1.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// What may stand beside a payload, in frames: who says it comes in the token of the connection and in that of the subscription.
const FRAMES_BESIDE_MAX: usize = 2;

/// The names are those of the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    channel: Cow<'a, str>,
    offset: u64,
    /// Milliseconds since 1970.
    time: u64,
    /// The payload, where it is JSON on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    /// The payload in base64, where it is anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    info: Option<Info>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    /// The message was erased; its place is taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    user: String,
    client: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conn_info: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chan_info: Option<Box<RawValue>>,
}

impl<'a> Line<'a> {
    pub(super) fn new(room: &'a str, record: &Record) -> Self {
        let mut line = Line {
            channel: room.into(),
            offset: record.sequence + 1,
            time: record.time,
            data: None,
            data_base64: None,
            info: None,
            tags: BTreeMap::new(),
            erased: false,
        };
        let Some(publication) = body_of(record) else {
            line.erased = true;
            return line;
        };
        let data = publication.data.as_bytes();
        line.data = on_one_line(data);
        line.data_base64 = line.data.is_none().then(|| STANDARD.encode(data));
        line.info = publication.info.map(|info| Info {
            user: info.user().to_owned(),
            client: info.client().to_owned(),
            conn_info: info.conn_info().and_then(|json| on_one_line(json)),
            chan_info: info.chan_info().and_then(|json| on_one_line(json)),
        });
        line.tags = publication.tags.as_deref().cloned().unwrap_or_default();
        line
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// The room and what the database keeps.
    ///
    /// # Errors
    /// What is wrong with it: nothing comes in that could not have come from a client.
    pub(super) fn read(text: &[u8], limits: &Limits) -> Result<(String, Record), String> {
        let line: Line<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let room = RoomName::parse(&line.channel, limits.room_name_bytes_max).map_err(|error| error.to_string())?;
        let sequence = line.offset.checked_sub(1).ok_or("offsets count from 1")?;
        if line.offset > NUMBER_MAX || line.time > NUMBER_MAX {
            return Err(format!("offsets and times are at most {NUMBER_MAX}, so that every client can count them"));
        }
        let data: Bytes = match (line.data, line.data_base64) {
            (Some(data), None) => data.get().to_owned().into(),
            (None, Some(text)) => STANDARD.decode(text).map_err(|error| error.to_string())?.into(),
            (None, None) if line.erased => "null".into(),
            _ => return Err("expected one of `data` and `data_base64`".to_owned()),
        };
        if data.len() > limits.frame_bytes_max {
            let (found, most) = (data.len(), limits.frame_bytes_max);
            return Err(format!(
                "a payload of {found} bytes; `websocket.message_size_limit` is {most}: name the server's --config"
            ));
        }
        let json = |raw: Box<RawValue>| Bytes::from(raw.get().to_owned());
        let info = line
            .info
            .map(|info| ClientInfo::new(info.user, info.client, info.conn_info.map(json), info.chan_info.map(json)));
        let mut publication = Publication::new(Payload::opaque(data), info);
        publication.tags = (!line.tags.is_empty()).then(|| Arc::new(line.tags));
        let mut body = Vec::new();
        PublicationCodec.encode(&publication, &mut body);
        let beside = body.len().saturating_sub(publication.data.as_bytes().len());
        if beside > FRAMES_BESIDE_MAX * limits.frame_bytes_max {
            return Err(format!(
                "`info` and `tags` of {beside} bytes: more than the tokens of a client can hold, as \
                 `websocket.message_size_limit` is {}: name the server's --config",
                limits.frame_bytes_max
            ));
        }
        let author = PublicationCodec.author(&publication).map(str::to_owned);
        Ok((room.as_str().to_owned(), Record { sequence, time: line.time, author, body: Some(body) }))
    }
}

/// The bytes as they are, where they are JSON without a line's end.
fn on_one_line(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = str::from_utf8(bytes).ok().filter(|text| !text.contains(['\n', '\r']))?;
    // What is parsed may have lost blanks at its ends: then it is not the same.
    serde_json::from_str::<Box<RawValue>>(text).ok().filter(|raw| raw.get().len() == text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_comes_back(data in prop_oneof![Just(b"{\"a\" : 1}".to_vec()), any::<Vec<u8>>()], user in "[a-z]{0,5}") {
            let info = ClientInfo::new(user, "c".to_owned(), Some("{\"name\":\"Ann\"}".into()), None);
            let publication = Publication::new(Payload::opaque(data.into()), Some(info));
            let mut body = Vec::new();
            PublicationCodec.encode(&publication, &mut body);
            let author = PublicationCodec.author(&publication).map(str::to_owned);
            let record = Record { sequence: 41, time: 7, author, body: Some(body) };
            let mut line = Vec::new();
            Line::new("hall", &record).write(&mut line).unwrap();
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(Line::read(&line, &Limits::default()), Ok(("hall".to_owned(), record)));
        }
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            r#"{"channel":"a","offset":0,"time":1,"data":1}"#,
            r#"{"channel":"a","offset":1,"time":1}"#,
            r#"{"channel":"","offset":1,"time":1,"data":1}"#,
            r#"{"channel":"a\u0007b","offset":1,"time":1,"data":1}"#,
            r#"{"channel":"a","offset":9007199254740992,"time":1,"data":1}"#,
            r#"{"channel":"a","offset":9223372036854775808,"time":1,"data":1}"#,
            r#"{"channel":"a","offset":1,"time":9007199254740992,"data":1}"#,
        ] {
            assert!(Line::read(text.as_bytes(), &Limits::default()).is_err(), "{text}");
        }
    }
}
