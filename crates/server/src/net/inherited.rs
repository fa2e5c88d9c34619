//! The sockets that whoever has started this process has opened for it, as systemd has it: `LISTEN_FDS`, and `LISTEN_FDNAMES`.

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use super::arrival::Role;
use super::listeners::Given;

/// What a socket is named that is for the operator and the backend; the others are for clients.
const INTERNAL: &str = "internal";

/// Takes them; none where the environment speaks of none, or to another process.
///
/// # Errors
/// One is nothing that can be listened at.
pub(crate) fn inherited() -> io::Result<Vec<Given>> {
    let mut sockets = ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut given = Vec::new();
    for at in 0..sockets.len() {
        let name = names.next().unwrap_or_default();
        let role = if name == INTERNAL { Role::Internal } else { Role::External };
        let socket = sockets.take_tcp_listener(at).map(|socket| socket.map(OwnedFd::from));
        let socket = socket.or_else(|_| sockets.take_unix_listener(at).map(|socket| socket.map(OwnedFd::from)));
        let taken = socket.and_then(|socket| socket.map(|socket| Given::new(socket, Some(role))).transpose());
        let said =
            |error| io::Error::other(format!("socket {at} of LISTEN_FDS ({name}) is none to listen at: {error}"));
        given.extend(taken.map_err(said)?);
    }
    Ok(given)
}
