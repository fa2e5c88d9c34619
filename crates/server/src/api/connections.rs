//! Commands for a user's connections.

use super::Api;
use super::answer::Failed;
use super::messages::{DisconnectRequest, Goodbye, SubscribeRequest, UnsubscribeRequest};
use super::methods::done;
use super::publish::room;
use crate::rooms::users::Recipients;
use crate::wire::disconnect::Disconnect;
use roomcast_protocol::{CloseCode, ErrorCode, UnsubscribeCode};

pub(super) async fn subscribe(api: &Api, request: SubscribeRequest) -> Result<Vec<u8>, Failed> {
    let SubscribeRequest { channel, user, client, session } = request;
    let room = room(api, &channel)?;
    api.hub.commands.subscribe(&recipients(user, client, session), room).await?;
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
    let recipients = Recipients { except: whitelist, ..recipients(user, client, session) };
    api.hub.commands.disconnect_with(&recipients, goodbye).await?;
    Ok(done())
}

fn recipients(user: String, client: String, session: String) -> Recipients {
    let named = |name: String| (!name.is_empty()).then_some(name);
    Recipients { user, client: named(client), session: named(session), except: Vec::new() }
}
