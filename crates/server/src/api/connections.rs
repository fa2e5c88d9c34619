//! Commands for a user's connections.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::answer::Failed;
use super::messages::{
    DisconnectRequest, Goodbye, Override, RefreshRequest, SubscribeRequest, Truth, UnsubscribeRequest,
};
use super::methods::done;
use super::publish::room;
use super::shape::Json;
use super::{Api, COUNT_MAX};
use crate::auth::{Overrides, STAY_MAX_MS};
use crate::config::Echo;
use crate::rooms::users::Recipients;
use crate::session::SubscribeOptions;
use crate::wire::disconnect::Disconnect;
use roomcast_protocol::{CloseCode, ErrorCode, Payload, StreamPosition, UnsubscribeCode};

pub(super) async fn subscribe(api: &Api, request: SubscribeRequest) -> Result<Vec<u8>, Failed> {
    let SubscribeRequest {
        channel,
        user,
        client,
        session,
        info,
        b64info,
        data,
        b64data,
        expire_at,
        recover_since,
        r#override,
    } = request;
    let room = room(api, &channel)?;
    let options = SubscribeOptions {
        data: compact(api, data, &b64data)?,
        info: compact(api, info, &b64info)?,
        ttl_ms: ttl_ms(api, expire_at).map_err(|Past| ErrorCode::BadRequest)?,
        until_ms: None,
        recover: recover_since.map(|since| StreamPosition { offset: since.offset, epoch: since.epoch }),
        overrides: r#override.map_or_else(|| Ok(Overrides::default()), overrides)?,
    };
    let options = (options != SubscribeOptions::default()).then(|| Box::new(options));
    api.hub.commands.subscribe_with(&recipients(user, client, session), room, options).await?;
    Ok(done())
}

pub(super) async fn unsubscribe(api: &Api, request: UnsubscribeRequest) -> Result<Vec<u8>, Failed> {
    let UnsubscribeRequest { channel, user, client, session } = request;
    let room = room(api, &channel)?;
    api.hub.commands.unsubscribe(&recipients(user, client, session), room, UnsubscribeCode::Server).await?;
    Ok(done())
}

pub(super) async fn disconnect(api: &Api, request: DisconnectRequest) -> Result<Vec<u8>, Failed> {
    let DisconnectRequest { user, client, session, whitelist, disconnect } = request;
    let goodbye = match disconnect {
        None => CloseCode::ForceDisconnect.into(),
        Some(Goodbye { code, reason }) => Disconnect::custom(code, reason).ok_or(ErrorCode::BadRequest)?,
    };
    if whitelist.len() > COUNT_MAX {
        return Err(ErrorCode::LimitExceeded.into());
    }
    let recipients = Recipients { except: whitelist, ..recipients(user, client, session) };
    api.hub.commands.disconnect_with(&recipients, goodbye).await?;
    Ok(done())
}

pub(super) async fn refresh(api: &Api, request: RefreshRequest) -> Result<Vec<u8>, Failed> {
    let RefreshRequest { user, client, session, expired, expire_at, info } = request;
    let info = compact(api, info, "")?;
    let recipients = recipients(user, client, session);
    match ttl_ms(api, expire_at) {
        Ok(ttl_ms) if !expired => api.hub.commands.refresh_with(&recipients, ttl_ms, info).await?,
        _ => api.hub.commands.disconnect(&recipients, CloseCode::Expired).await?,
    }
    Ok(done())
}

/// It was over before.
struct Past;

/// For how long something is that ends at that second since 1970; nothing for what does not end.
fn ttl_ms(api: &Api, expire_at: i64) -> Result<Option<u64>, Past> {
    if expire_at == 0 {
        return Ok(None);
    }
    let at_ms = u64::try_from(expire_at).map_err(|_| Past)?.saturating_mul(1_000);
    let ttl_ms = at_ms.checked_sub((api.hub.rooms.clock)()).filter(|left| *left > 0).ok_or(Past)?;
    Ok(Some(ttl_ms.min(STAY_MAX_MS)))
}

/// JSON as sessions have it: without line breaks; in bytes as messages of clients.
fn compact(api: &Api, json: Json, base64: &str) -> Result<Option<Bytes>, ErrorCode> {
    let bytes: Bytes = match (json.0, base64) {
        (_, text) if !text.is_empty() => STANDARD.decode(text).map_err(|_| ErrorCode::BadRequest)?.into(),
        (Some(json), _) => String::from(Box::<str>::from(json)).into(),
        (None, _) => return Ok(None),
    };
    if bytes.len() > api.hub.now().config.websocket.message_size_limit {
        return Err(ErrorCode::LimitExceeded);
    }
    let mut compact = Vec::new();
    Payload::opaque(bytes).write_json(&mut compact);
    Ok(Some(compact.into()))
}

fn overrides(said: Override) -> Result<Overrides, ErrorCode> {
    let value = |truth: Option<Truth>| truth.map(|truth| truth.value);
    let Override { presence, join_leave, force_recovery, force_positioning, force_push_join_leave, echo } = said;
    let echo = echo.map(|echo| Echo::from_name(&echo.value).ok_or(ErrorCode::BadRequest)).transpose()?;
    Ok(Overrides {
        presence: value(presence),
        join_leave: value(join_leave),
        force_push_join_leave: value(force_push_join_leave),
        force_recovery: value(force_recovery),
        force_positioning: value(force_positioning),
        echo,
    })
}

fn recipients(user: String, client: String, session: String) -> Recipients {
    let named = |name: String| (!name.is_empty()).then_some(name);
    Recipients { user, client: named(client), session: named(session), except: Vec::new() }
}
