//! Publishing for a backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use smallvec::smallvec;

use super::answer::{Failed, json, wrap};
use super::messages::{BroadcastRequest, PublishRequest, PublishResult};
use super::shape::Json;
use super::{Api, COUNT_MAX};
use crate::config::NamespaceOptions;
use crate::rooms::engine::{Accepted, Answer, Publish, begun};
use crate::rooms::parts::Parts;
use crate::rooms::terms::Terms;
use crate::session::OptionsLookup as _;
use roomcast_protocol::{ErrorCode, Payload, Publication, RoomName, tags_bytes_held};

/// Bytes of a key, and of what versions count in: as much as names of rooms have.
const NAME_BYTES_MAX: usize = 255;

/// Rooms published into before others on the shard have their turn.
const ROOMS_PER_TURN: usize = 64;

pub(super) async fn publish(api: &Api, request: PublishRequest) -> Result<Vec<u8>, Failed> {
    let PublishRequest { channel, data, b64data, tags, skip_history, idempotency_key, delta, version, version_epoch } =
        request;
    let publication = publication(api, data, &b64data, tags, delta)?;
    let terms = terms(Terms { idempotency_key, version, version_epoch, skip_history })?;
    Ok(json(&told(api, begin(api, &channel, publication, terms.as_ref())?).await?))
}

pub(super) async fn broadcast(api: &Api, request: BroadcastRequest) -> Result<Vec<u8>, Failed> {
    let BroadcastRequest {
        channels,
        data,
        b64data,
        tags,
        skip_history,
        idempotency_key,
        delta,
        version,
        version_epoch,
    } = request;
    if channels.is_empty() {
        return Err(ErrorCode::BadRequest.into());
    }
    if channels.len() > COUNT_MAX {
        return Err(ErrorCode::LimitExceeded.into());
    }
    let publication = publication(api, data, &b64data, tags, delta)?;
    let terms = terms(Terms { idempotency_key, version, version_epoch, skip_history })?;
    // All of them first, so that those that wait for the disk wait together.
    let mut answers = Vec::with_capacity(channels.len());
    for rooms in channels.chunks(ROOMS_PER_TURN) {
        let publish = |room: &String| {
            let Begun { answer, has_history } = begin(api, room, publication.clone(), terms.as_ref())?;
            let answer = match answer {
                Answer::Now(published) => Answer::Now(published),
                later => begun(later.wait()),
            };
            Ok(Begun { answer, has_history })
        };
        answers.extend(rooms.iter().map(publish));
        tokio::task::yield_now().await;
    }
    let mut responses = Vec::new();
    for begun in answers {
        if !responses.is_empty() {
            responses.push(b',');
        }
        let told = match begun {
            Ok(begun) => told(api, begun).await,
            Err(code) => Err(code),
        };
        responses.extend(match told {
            Ok(told) => wrap("result", &json(&told)),
            Err(code) => wrap("error", &json(&super::answer::ApiError::from(code))),
        });
    }
    Ok(wrap("responses", &[b"[", &responses[..], b"]"].concat()))
}

/// What is to be published.
fn publication(
    api: &Api,
    data: Json,
    b64data: &str,
    tags: BTreeMap<String, String>,
    delta: bool,
) -> Result<Publication, ErrorCode> {
    let data: Bytes = match (data.0, b64data) {
        (_, text) if !text.is_empty() => STANDARD.decode(text).map_err(|_| ErrorCode::BadRequest)?.into(),
        (Some(data), _) => String::from(Box::<str>::from(data)).into(),
        // Some namespaces take it.
        (None, _) => Bytes::new(),
    };
    // What comes in here could have come from a client, but for the tags.
    if data.len() + tags_bytes_held(&tags) > api.hub.now().config.websocket.message_size_limit {
        return Err(ErrorCode::LimitExceeded);
    }
    let mut publication = Publication::new(Payload::opaque(data), None);
    publication.tags = (!tags.is_empty()).then(|| Arc::new(tags));
    publication.set_delta(delta);
    Ok(publication)
}

/// The room of that name, which is one that clients may enter.
pub(super) fn room(api: &Api, name: &str) -> Result<RoomName, ErrorCode> {
    place(&api.hub.now(), name).map(|(room, _)| room)
}

/// The same with its options.
fn place<'a>(now: &'a Parts, name: &str) -> Result<(RoomName, &'a NamespaceOptions), ErrorCode> {
    let channel = &now.config.channel;
    let room = RoomName::parse(name, channel.max_length).map_err(|_| ErrorCode::BadRequest)?;
    channel.options_of(name).map(|options| (room, options))
}

/// What is asked beyond, if anything is.
fn terms(terms: Terms) -> Result<Option<Terms>, ErrorCode> {
    if terms.idempotency_key.len().max(terms.version_epoch.len()) > NAME_BYTES_MAX {
        return Err(ErrorCode::BadRequest);
    }
    Ok((terms != Terms::default()).then_some(terms))
}

/// A message that is being published.
struct Begun {
    answer: Answer<Result<Accepted, ErrorCode>>,
    /// Whether its position means something.
    has_history: bool,
}

/// Begins to publish into a room.
fn begin(api: &Api, name: &str, mut publication: Publication, terms: Option<&Terms>) -> Result<Begun, ErrorCode> {
    let now = api.hub.now();
    let (room, options) = place(&now, name)?;
    if !options.publication_data_format.allows(&publication.data) {
        return Err(ErrorCode::BadRequest);
    }
    publication.set_delta(publication.is_delta() || options.delta_publish);
    let publish = Publish { room, publication, terms: terms.cloned().map(Box::new) };
    let answer = api.hub.engine_for(&now, options).publish(smallvec![publish]).pop().ok_or(ErrorCode::Internal)?;
    Ok(Begun { answer, has_history: options.history_size > 0 })
}

/// Waits until it is published; what is told of it.
async fn told(api: &Api, Begun { answer, has_history }: Begun) -> Result<PublishResult, ErrorCode> {
    let Accepted { offset, epoch } = answer.wait().await?;
    api.hub.metrics.api_messages.inc();
    Ok(match has_history {
        true => PublishResult { offset, epoch: epoch.to_string() },
        false => PublishResult::default(),
    })
}
