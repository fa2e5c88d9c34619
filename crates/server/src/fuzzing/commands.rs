//! Frames of commands: what decodes, decodes again, within its limits.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::rewrite::write;
use roomcast_protocol::{Command, DecodeError, Encoding, Limits, Payload, Publication, Request, StreamPosition};

pub(super) fn check(encoding: Encoding, frame: &[u8]) {
    let limits = Limits::default();
    let Ok((commands, error)) = read(encoding, frame, &limits) else { return };
    assert!(commands.len() <= limits.commands_per_frame_max, "{} commands", commands.len());
    assert!(error.is_some() || !commands.is_empty(), "a frame of nothing that is no error");
    let held: usize = commands.iter().map(|command| bytes_held(&command.request)).sum();
    assert!(held <= frame.len(), "{held} bytes held of a frame of {}", frame.len());
    let mut originals = originals(encoding, frame);
    for command in &commands {
        let mut alone = Vec::new();
        write(encoding, command, &mut alone);
        if let (Some(Ok(original)), Ok(read)) = (originals.next(), serde_json::from_slice(&alone)) {
            assert_said(&read, &original);
        }
        assert_eq!(read_again(encoding, &alone), std::slice::from_ref(command), "{}", alone.escape_ascii());
        if let Request::Publish(publish) = &command.request {
            publish.data.iter().for_each(assert_shown);
        }
    }
    let mut joined = Vec::new();
    commands.iter().for_each(|command| write(encoding, command, &mut joined));
    if !commands.is_empty() {
        assert_eq!(read_again(encoding, &joined), commands, "{}", joined.escape_ascii());
    }
    assert_bounded(encoding, frame, &commands, error);
}

pub(super) fn check_connect_alone(request: &[u8]) {
    let limits = Limits::default();
    let Ok(commands) = Encoding::JsonPushes.commands(request, &limits) else { return };
    let alone: Vec<Command> = commands.map(|command| command.expect("it was read as a whole")).collect();
    assert!(matches!(&alone[..], [Command { id: 1, request: Request::Connect(_) }]), "{alone:?}");
    let within = [b"{\"id\":1,\"connect\":", request, b"}"].concat();
    if within.len() <= limits.frame_bytes_max {
        assert_eq!(read_again(Encoding::Json, &within), alone, "{}", request.escape_ascii());
    }
}

/// The commands of a JSON frame as somebody else's reading has them.
fn originals(encoding: Encoding, frame: &[u8]) -> impl Iterator<Item = serde_json::Result<Value>> {
    let text = if encoding == Encoding::Json { frame } else { &[] };
    serde_json::Deserializer::from_slice(text).into_iter()
}

/// Whatever was read stands in the original, unless it is what stands for nothing.
#[track_caller]
fn assert_said(read: &Value, original: &Value) {
    let nothings = [Value::from(0), Value::from(""), Value::from(false), Value::Null];
    for (name, read) in read.as_object().into_iter().flatten() {
        match (name.as_str(), original.get(name).unwrap_or(&Value::Null)) {
            // Only some of them are read; and a map may name a room twice.
            ("subs", _) => {}
            // Read for being there, and written as the least that says so.
            ("tf" | "removed", _) => {}
            ("data", original) => assert_eq!(read, original),
            (_, Value::Null) if nothings.contains(read) => {}
            (_, original) if read.is_object() => assert_said(read, original),
            (_, original) => assert_eq!(read, original, "{name}"),
        }
    }
}

/// The commands of a frame up to its end or its first error.
fn read(encoding: Encoding, frame: &[u8], limits: &Limits) -> Result<(Vec<Command>, Option<DecodeError>), DecodeError> {
    let mut reader = encoding.commands(frame, limits)?;
    let mut commands = Vec::new();
    let mut error = None;
    for command in reader.by_ref() {
        assert_eq!(error, None, "something follows the error");
        match command {
            Ok(command) => commands.push(command),
            Err(DecodeError::Malformed { at }) if at > frame.len() => panic!("malformed at {at} of {}", frame.len()),
            Err(found) => error = Some(found),
        }
    }
    assert!(reader.next().is_none(), "something follows the end");
    Ok((commands, error))
}

/// What we have written, which may be longer than what it was read from.
fn read_again(encoding: Encoding, frame: &[u8]) -> Vec<Command> {
    let limits = Limits { frame_bytes_max: usize::MAX, ..Limits::default() };
    match read(encoding, frame, &limits) {
        Ok((commands, None)) => commands,
        bad => panic!("{bad:?}: {}", frame.escape_ascii()),
    }
}

/// Narrower limits refuse what is beyond them and change nothing else.
fn assert_bounded(encoding: Encoding, frame: &[u8], commands: &[Command], error: Option<DecodeError>) {
    let few = Limits { commands_per_frame_max: 2, ..Limits::default() };
    let (first, its_error) = read(encoding, frame, &few).expect("it was a frame before");
    assert_eq!(first, commands[..commands.len().min(2)]);
    let too_many = Some(DecodeError::TooManyCommands { commands_max: 2 });
    match commands.len() {
        // The third may be too many before it is found to be malformed.
        2 if error.is_some() => assert!(its_error == error || its_error == too_many, "{its_error:?}"),
        0..=2 => assert_eq!(its_error, error),
        _ => assert_eq!(its_error, too_many),
    }

    let one_room = Limits { rooms_per_client_max: 1, ..Limits::default() };
    let (fewer, _) = read(encoding, frame, &one_room).expect("it was a frame before");
    // What is beyond the limit is not looked at, and so cannot be bad.
    assert!(fewer.len() >= commands.len());
    for (fewer, command) in fewer.iter().zip(commands) {
        match (&fewer.request, &command.request) {
            (Request::Connect(fewer), Request::Connect(all)) => {
                assert!(fewer.subs.len() <= 1 && all.subs.starts_with(&fewer.subs));
            }
            (Request::Connect(fewer), Request::Unreadable { is_connect: true }) => assert!(fewer.subs.len() <= 1),
            _ => assert_eq!(fewer, command),
        }
    }

    let short = Limits { frame_bytes_max: frame.len() - 1, ..Limits::default() };
    let refused = encoding.commands(frame, &short).map(drop);
    assert_eq!(refused, Err(DecodeError::TooLarge { bytes_max: frame.len() - 1 }));
}

/// A payload can be sent on in every encoding, and does not end the frame it stands in.
fn assert_shown(payload: &Payload) {
    let publication = Publication::new(payload.clone(), None);
    let mut json = Vec::new();
    Encoding::Json.publications("room").encode(&publication, 1, 1, &mut json);
    assert_json(&json);
    let mut protobuf = Vec::new();
    Encoding::Protobuf.publications("room").encode(&publication, 1, 1, &mut protobuf);
    assert_protobuf(&protobuf);
}

/// One line of JSON.
pub(super) fn assert_json(message: &[u8]) {
    assert!(!message.contains(&b'\n'), "{}", message.escape_ascii());
    let text = str::from_utf8(message).expect("JSON is text");
    assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text}");
}

/// One message behind its length.
pub(super) fn assert_protobuf(message: &[u8]) {
    let mut body = message;
    let length = prost::decode_length_delimiter(&mut body).expect("a length");
    assert_eq!(length, body.len());
}

/// The bytes of names, tokens and payloads.
fn bytes_held(request: &Request) -> usize {
    let data = |data: &Option<bytes::Bytes>| data.as_ref().map_or(0, bytes::Bytes::len);
    match request {
        Request::Connect(it) => {
            let epoch =
                |position: &Option<StreamPosition>| position.as_ref().map_or(0, |position| position.epoch.len());
            let subs = it.subs.iter().map(|(room, position)| room.len() + epoch(position));
            it.token.len() + data(&it.data) + it.name.len() + it.version.len() + subs.sum::<usize>()
        }
        Request::Subscribe(it) => {
            it.room.len() + it.token.len() + it.position.epoch.len() + data(&it.data) + it.delta.len()
        }
        Request::Unsubscribe { room } | Request::Presence { room } | Request::PresenceStats { room } => room.len(),
        Request::Publish(it) => it.room.len() + it.data.as_ref().map_or(0, |data| data.as_bytes().len()),
        Request::History(it) => it.room.len() + it.since.as_ref().map_or(0, |since| since.epoch.len()),
        Request::Send { data } => data.len(),
        Request::Rpc(it) => it.method.len() + data(&it.data),
        Request::Refresh { token } => token.len(),
        Request::SubRefresh { room, token } => room.len() + token.len(),
        Request::Ping | Request::Pong | Request::Unknown | Request::Unreadable { .. } => 0,
    }
}
