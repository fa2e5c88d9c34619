//! A process takes over from the one that serves, both in this one, or each by itself where what they share is somebody else's.

mod broken;
mod memory;
mod places;
#[cfg(feature = "postgres")]
mod postgres;
mod stages;
mod traffic;

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use roomcast_server::config::{ApiKey, Config};
use roomcast_server::{ServeError, Server, Shutdown};

use crate::api::KEY;
use crate::harness::{Client, Folder, of_each_storage};

/// A server as a process of its own would be.
struct Process {
    shutdown: Shutdown,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Process {
    fn of(server: Server) -> Self {
        let shutdown = server.shutdown();
        Self { shutdown, thread: Some(std::thread::spawn(|| server.run())) }
    }

    /// The first one, and where it listens: for clients, and inside.
    fn first(config: &Config) -> (Self, SocketAddr, SocketAddr) {
        let server = Server::bind(config.clone()).expect("free ports");
        let outside = server.local_addr();
        let inside = server.internal_addr().unwrap_or(outside);
        (Self::of(server), outside, inside)
    }

    /// The next one; the one before listens for it.
    fn next(config: &Config) -> Self {
        wait_for(&config.data_dir);
        Self::of(Server::take_over(config.clone()).expect("it is let"))
    }

    /// How it ends, once it does by itself.
    fn ended(&mut self) -> Result<(), ServeError> {
        self.thread.take().expect("once").join().expect("no panic")
    }

    fn stop(mut self) {
        self.shutdown.begin();
        self.ended().expect("a clean end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.shutdown.begin();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("no panic").expect("a clean end");
            }
        }
    }
}

/// Waits until somebody can be asked to hand over. A socket has its file before it listens, and one that asks in between is refused.
fn wait_for(data_dir: &Path) {
    let path = data_dir.join("handover.sock");
    let path = path.to_str().expect("a name");
    let listens = |line: &str| line.ends_with(path) && line.split_whitespace().nth(3) == Some("00010000");
    crate::harness::eventually("a socket to ask at", || {
        std::fs::read_to_string("/proc/net/unix").expect("the sockets of the system").lines().any(listens)
    });
}

/// Rooms of each kind, for everybody, with what is inside at a port of its own.
fn config(folder: &Folder) -> Config {
    let mut config = Config::dev();
    (config.http_server.port, config.http_server.internal_port) = (0, Some(0));
    config.shards = std::num::NonZeroUsize::new(2);
    config.client.pong_timeout = Duration::from_secs(24);
    config.http_server.allowed_hosts = vec!["*".to_owned()];
    config.http_api.key = ApiKey::new("secret");
    config.data_dir.clone_from(&folder.0);
    of_each_storage(&mut config);
    // Everybody at once, unless it is about that.
    config.handover.close_rate = 10_000;
    config
}

fn connected(address: SocketAddr) -> Client {
    let mut client = Client::open(address);
    client.send(r#"{"id":1,"connect":{}}"#);
    client.reply(1);
    client
}
