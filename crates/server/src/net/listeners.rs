//! The sockets that are listened on: made as configured, or given, open, by whoever had them before.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::net::sockopt::{set_tcp_nodelay, socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use socket2::SockRef;

use crate::config::{FileMode, HttpServer};
use crate::net::address::Proxies;
use crate::net::arrival::{Role, Way};
use crate::net::autocert::Autocert;
use crate::net::certificates::{Certificates, EXTERNAL, INTERNAL};
use crate::net::unix_socket::{self, SocketFile};

/// Connections the system may hold that have not been accepted yet; a crowd that reconnects at once must not be turned away.
const BACKLOG: i32 = 4_096;

/// A socket that somebody may connect to.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    /// With the file that goes with it; none where the file is somebody else's.
    Unix(UnixListener, Option<SocketFile>),
}

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAt {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A file; empty where it has no name.
    Unix(PathBuf),
}

/// An open socket that comes from outside: from the process before this one, or from who has started it.
#[derive(Debug)]
pub struct Given {
    /// Whom it is for; `None` where its place says so.
    role: Option<Role>,
    socket: Socket,
}

impl Given {
    /// A descriptor that is a stream socket at which somebody listens, and whom it is for; `None` where its place says so.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn new(descriptor: OwnedFd, role: Option<Role>) -> io::Result<Self> {
        Ok(Self { role, socket: Socket::of(descriptor)? })
    }

    /// One that another process had offered.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) fn offered(descriptor: OwnedFd, offer: &Offer) -> io::Result<Self> {
        Self::new(descriptor, offer.is_for_role.then_some(offer.role))
    }
}

/// A socket with those that it is for.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    pub(crate) place: ListenAt,
    pub(crate) way: Arc<Way>,
    /// Whether it was given for these, wherever it is.
    is_for_role: bool,
}

impl Listener {
    /// What is said of it to another process that may have it.
    pub(crate) fn offer(&self) -> Offer {
        Offer { role: self.way.role, is_for_role: self.is_for_role, place: self.place.clone() }
    }
}

/// A socket that another process has and may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) role: Role,
    /// Whether it is for these wherever it is; otherwise it is for whom the configuration has at its place.
    pub(crate) is_for_role: bool,
    pub(crate) place: ListenAt,
}

/// What TLS is spoken with: at the port of clients, and at the internal one.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub(crate) external: Option<Arc<Certificates>>,
    pub(crate) internal: Option<Arc<Certificates>>,
    /// Who fetches the certificates.
    pub(crate) autocert: Option<Arc<Autocert>>,
}

impl Tls {
    /// As it is configured.
    ///
    /// # Errors
    /// Which option cannot be used, and why.
    pub(crate) fn new(options: &HttpServer, data_dir: &Path) -> Result<Self, String> {
        let autocert = options.tls_autocert.enabled.then(|| Arc::new(Autocert::new(&options.tls_autocert, data_dir)));
        let of = |port, is_internal| {
            options.tls_of(is_internal).map(|tls| Certificates::new(port, tls).map(Arc::new)).transpose()
        };
        let external = match &autocert {
            Some(autocert) => Some(Arc::new(Certificates::fetched(EXTERNAL, Arc::clone(autocert))?)),
            None => of(EXTERNAL, false)?,
        };
        let internal = match options.internal_tls.enabled {
            true => of(INTERNAL, true)?,
            false => external.clone().filter(|_| !options.tls_external),
        };
        Ok(Self { external, internal, autocert })
    }

    /// Each of them once.
    pub(crate) fn all(&self) -> Vec<Arc<Certificates>> {
        let mut all: Vec<_> = self.external.iter().chain(&self.internal).cloned().collect();
        all.dedup_by(|one, other| Arc::ptr_eq(one, other));
        all
    }
}

/// Why there is no socket at a place.
#[derive(Debug)]
pub(crate) struct NotBound {
    pub(crate) place: ListenAt,
    pub(crate) source: io::Error,
}

impl Socket {
    /// Binds an address, for itself alone: a second server on the same port is an error, not a competitor.
    fn at_port(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        rustix::net::listen(&listener, BACKLOG)?;
        Self::Tcp(listener).made_ready()
    }

    fn at_file(path: &Path, mode: FileMode) -> io::Result<Self> {
        let (listener, file) = unix_socket::listen_at(path, mode, BACKLOG)?;
        Self::Unix(listener, Some(file)).made_ready()
    }

    /// A descriptor that is a stream socket at which somebody listens.
    ///
    /// # Errors
    /// When it is anything else.
    fn of(descriptor: OwnedFd) -> io::Result<Self> {
        let is_listening = socket_type(&descriptor)? == SocketType::STREAM && socket_acceptconn(&descriptor)?;
        match socket_domain(&descriptor)? {
            _ if !is_listening => Err(io::Error::new(io::ErrorKind::InvalidInput, "nobody listens at that socket")),
            AddressFamily::INET | AddressFamily::INET6 => Self::Tcp(descriptor.into()).made_ready(),
            AddressFamily::UNIX => Self::Unix(descriptor.into(), None).made_ready(),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a port nor a Unix socket")),
        }
    }

    fn made_ready(self) -> io::Result<Self> {
        match &self {
            Self::Tcp(listener) => {
                // Those who are accepted have it from here.
                set_tcp_nodelay(listener, true)?;
                listener.set_nonblocking(true)?;
            }
            Self::Unix(listener, _) => listener.set_nonblocking(true)?,
        }
        Ok(self)
    }

    /// Bounds what the system holds for each connection; 0 leaves it to the system. Who comes by a file is of this machine.
    fn limit_held(&self, HttpServer { tcp_unsent_limit, tcp_unread_limit, .. }: &HttpServer) {
        let Self::Tcp(listener) = self else { return };
        // Those who are accepted have it from here, too.
        let socket = SockRef::from(listener);
        let unsent = u32::try_from(*tcp_unsent_limit).unwrap_or(u32::MAX);
        if unsent > 0
            && let Err(error) = socket.set_tcp_notsent_lowat(unsent)
        {
            tracing::warn!(%error, "`http_server.tcp_unsent_limit` cannot be had of this system");
        }
        if *tcp_unread_limit > 0
            && let Err(error) = socket.set_recv_buffer_size(*tcp_unread_limit)
        {
            tracing::warn!(%error, "`http_server.tcp_unread_limit` cannot be had of this system");
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// When the system does not say.
    pub(crate) fn place(&self) -> io::Result<ListenAt> {
        Ok(match self {
            Self::Tcp(listener) => ListenAt::Tcp(listener.local_addr()?),
            Self::Unix(listener, _) => {
                ListenAt::Unix(listener.local_addr()?.as_pathname().unwrap_or_else(|| Path::new("")).to_owned())
            }
        })
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(listener) => listener.try_clone()?.into(),
            Self::Unix(listener, _) => listener.try_clone()?.into(),
        })
    }

    /// The file that goes with it, which somebody else answers for from now on.
    pub(crate) fn take_file(&mut self) -> Option<SocketFile> {
        if let Self::Unix(_, file) = self { file.take() } else { None }
    }

    /// The same socket for another process, which answers for its file from now on.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn pass_on(&mut self) -> io::Result<OwnedFd> {
        let passed = self.try_clone()?;
        if let Some(file) = self.take_file() {
            file.leave();
        }
        Ok(passed)
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// All sockets that the configuration asks for. One that is given is taken in place of those of its role, or, where it has none,
/// of the one at its place; one that nobody asks for is closed.
///
/// # Errors
/// Which place could not be had.
pub(crate) fn open(options: &HttpServer, given: Vec<Given>, tls: &Tls) -> Result<Vec<Listener>, NotBound> {
    // Unix sockets lead to this machine, where nobody listens between.
    let proxies = Arc::new(Proxies::new(options));
    let way = |role: Role, place: &ListenAt| {
        let certificates = if role == Role::Internal { &tls.internal } else { &tls.external };
        Arc::new(Way {
            role,
            tls: certificates.clone().filter(|_| matches!(place, ListenAt::Tcp(_))),
            autocert: tls.autocert.clone().filter(|_| role.serves_clients()),
            proxies: Arc::clone(&proxies),
            expects_header: options.proxy_protocol && role.serves_clients(),
        })
    };
    let mut given: Vec<(Option<Role>, Option<ListenAt>, Socket)> =
        given.into_iter().map(|it| (it.role, it.socket.place().ok(), it.socket)).collect();
    let mut listeners = Vec::new();
    let has_inside = options.has_inside() || given.iter().any(|(role, ..)| *role == Some(Role::Internal));
    let outside = if has_inside { Role::External } else { Role::Everything };
    for (at, (role, place, socket)) in std::mem::take(&mut given).into_iter().enumerate() {
        match (role, place) {
            (Some(role), Some(place)) => {
                let role = if role == Role::Internal { role } else { outside };
                listeners.push(Listener { socket, way: way(role, &place), place, is_for_role: true });
            }
            (role, place) => {
                if place.is_none() {
                    tracing::warn!(at, "a socket that was given has no place");
                }
                given.push((role, place, socket));
            }
        }
    }
    let is_given = |listeners: &[Listener], role| listeners.iter().any(|it| it.way.role == role);
    let roles = [outside, Role::Internal].map(|role| (role, is_given(&listeners, role)));
    for (role, place) in wanted(options, outside) {
        if roles.contains(&(role, true)) {
            continue;
        }
        let same = given.iter().position(|(_, there, _)| there.as_ref().is_some_and(|there| is_at(there, &place)));
        let socket = match (same, &place) {
            (Some(at), _) => Ok(adopted(given.remove(at).2, &place)),
            (None, ListenAt::Tcp(address)) => Socket::at_port(*address),
            (None, ListenAt::Unix(path)) => Socket::at_file(path, options.unix_socket_mode),
        };
        let placed = socket.and_then(|socket| socket.place().map(|place| (socket, place)));
        let (socket, place) = placed.map_err(|source| NotBound { place, source })?;
        listeners.push(Listener { socket, way: way(role, &place), place, is_for_role: false });
    }
    listeners.iter().for_each(|it| it.socket.limit_held(options));
    for (_, place, socket) in given {
        if let Some(place) = &place {
            // Its file goes with it: nobody else answers for that.
            drop(adopted(socket, place));
        }
        let place = place.map(|place| place.to_string());
        tracing::warn!(place, "a socket that was given is not asked for in `http_server`; it is closed");
    }
    Ok(listeners)
}

/// Takes the places that the configuration asks for and that are not among those `offered`.
///
/// # Errors
/// Which place could not be had.
pub(crate) fn open_others(options: &HttpServer, offered: &[Offer]) -> Result<Vec<Given>, NotBound> {
    let mut offered: Vec<&Offer> = offered.iter().collect();
    let is_given = |offered: &[&Offer], is_inside: bool| {
        offered.iter().any(|it| it.is_for_role && (it.role == Role::Internal) == is_inside)
    };
    let given = [is_given(&offered, false), is_given(&offered, true)];
    let mut others = Vec::new();
    for (role, place) in wanted(options, Role::Everything) {
        if given[usize::from(role == Role::Internal)] {
            continue;
        }
        if let Some(at) = offered.iter().position(|it| !it.is_for_role && is_at(&it.place, &place)) {
            offered.remove(at);
            continue;
        }
        let socket = match &place {
            ListenAt::Tcp(address) => Socket::at_port(*address),
            ListenAt::Unix(path) => Socket::at_file(path, options.unix_socket_mode),
        };
        others.push(Given { role: None, socket: socket.map_err(|source| NotBound { place, source })? });
    }
    Ok(others)
}

/// Whether a socket is where one is wanted; any port will do where any is asked for.
fn is_at(there: &ListenAt, wanted: &ListenAt) -> bool {
    match (there, wanted) {
        (ListenAt::Tcp(there), ListenAt::Tcp(wanted)) if wanted.port() == 0 => there.ip() == wanted.ip(),
        (there, wanted) => there == wanted,
    }
}

/// Who takes a socket over at a place of its own answers for its file, too.
fn adopted(socket: Socket, place: &ListenAt) -> Socket {
    match (socket, place) {
        (Socket::Unix(listener, None), ListenAt::Unix(path)) => Socket::Unix(listener, SocketFile::of(path).ok()),
        (socket, _) => socket,
    }
}

/// The places that the configuration names, those of clients first.
fn wanted(options: &HttpServer, outside: Role) -> Vec<(Role, ListenAt)> {
    let ports = !options.unix_only;
    let unix = |path: &Option<PathBuf>| path.clone().map(ListenAt::Unix);
    let places = [
        (outside, ports.then(|| ListenAt::Tcp(options.socket_addr()))),
        (outside, unix(&options.unix_socket)),
        (Role::Internal, options.internal_socket_addr().filter(|_| ports).map(ListenAt::Tcp)),
        (Role::Internal, unix(&options.internal_unix_socket)),
    ];
    places.into_iter().filter_map(|(role, place)| Some((role, place?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> HttpServer {
        HttpServer { port: 0, ..HttpServer::default() }
    }

    fn roles(listeners: &[Listener]) -> Vec<Role> {
        listeners.iter().map(|it| it.way.role).collect()
    }

    #[test]
    fn one_port_is_for_everybody_and_two_are_not() {
        assert_eq!(roles(&open(&free(), Vec::new(), &Tls::default()).unwrap()), [Role::Everything]);
        let two = HttpServer { internal_port: Some(0), ..free() };
        assert_eq!(roles(&open(&two, Vec::new(), &Tls::default()).unwrap()), [Role::External, Role::Internal]);
    }

    #[test]
    fn an_open_socket_is_taken_for_its_place_or_its_role() {
        let [mut first] = <[Listener; 1]>::try_from(open(&free(), Vec::new(), &Tls::default()).unwrap()).unwrap();
        let ListenAt::Tcp(address) = first.place else { panic!("a port") };
        let again = HttpServer { port: address.port(), ..free() };
        let taken = open(&again, Vec::new(), &Tls::default()).unwrap_err();
        assert_eq!((taken.source.kind(), taken.place), (io::ErrorKind::AddrInUse, ListenAt::Tcp(address)));

        let given = Given::new(first.socket.pass_on().unwrap(), None).unwrap();
        assert_eq!(open(&again, vec![given], &Tls::default()).unwrap()[0].place, ListenAt::Tcp(address));

        let given = Given::new(first.socket.pass_on().unwrap(), Some(Role::Internal)).unwrap();
        let listeners = open(&free(), vec![given], &Tls::default()).unwrap();
        assert_eq!(roles(&listeners), [Role::Internal, Role::External]);
        assert_eq!(listeners[0].place, ListenAt::Tcp(address));
    }

    #[test]
    fn a_process_that_takes_over_binds_what_the_other_one_does_not_have() {
        let listeners = open(&free(), Vec::new(), &Tls::default()).unwrap();
        let offers: Vec<_> = listeners.iter().map(Listener::offer).collect();
        assert!(open_others(&free(), &offers).unwrap().is_empty(), "it has one");
        let two = HttpServer { internal_port: Some(0), ..free() };
        let mut given = open_others(&two, &offers).unwrap();
        assert_eq!(given.len(), 1, "any other port");
        given.insert(0, Given::offered(listeners[0].socket.try_clone().unwrap(), &offers[0]).unwrap());
        let taken = open(&two, given, &Tls::default()).unwrap();
        assert_eq!(roles(&taken), [Role::External, Role::Internal]);
        assert_eq!(taken[0].place, listeners[0].place);

        let elsewhere = HttpServer { port: 0, address: "127.0.0.2".parse().unwrap(), ..HttpServer::default() };
        assert_eq!(open_others(&elsewhere, &offers).unwrap().len(), 1);
        let of_role: Vec<_> = offers.iter().map(|it| Offer { is_for_role: true, ..it.clone() }).collect();
        assert!(open_others(&elsewhere, &of_role).unwrap().is_empty(), "it was given for clients, wherever it is");
        let port = |address| HttpServer { port: 1, address, ..HttpServer::default() };
        assert!(open_others(&port("192.0.2.1".parse().unwrap()), &offers).is_err(), "no address of this machine");
    }

    #[test]
    fn a_socket_that_nobody_asks_for_takes_its_file_along() {
        let path = std::env::temp_dir().join(format!("roomcast-unasked-{}", std::process::id()));
        let options = HttpServer { unix_socket: Some(path.clone()), ..free() };
        let mut listeners = open(&options, Vec::new(), &Tls::default()).unwrap();
        let passed = listeners[1].socket.pass_on().unwrap();
        drop(listeners);
        assert!(path.exists());
        open(&free(), vec![Given::new(passed, None).unwrap()], &Tls::default()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_listening_socket_is_not_taken() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Socket::of(file.into()).is_err());
        let unconnected = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Socket::of(unconnected.into()).is_err());
    }
}
