//! A primary server and its standby, behind one address.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use roomcast::store::{Durability, Options, PostgresStore, StoreErrorKind as Kind};

use super::publish_until;
use super::server::{PASSWORD, Server};
use crate::support::{Run, until};

/// An address that leads to a server, and later to another: what is connected stays where it is.
struct Address {
    listens: SocketAddr,
    leads_to: Arc<Mutex<Option<PathBuf>>>,
}

impl Address {
    fn of(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let listens = listener.local_addr().unwrap();
        let leads_to = Arc::new(Mutex::new(Some(server.socket())));
        let place = Arc::clone(&leads_to);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(socket) = place.lock().unwrap().clone() else { return };
                if let Ok(server) = UnixStream::connect(socket) {
                    forward(stream, server);
                }
            }
        });
        Self { listens, leads_to }
    }

    fn move_to(&self, server: &Server) {
        *self.leads_to.lock().unwrap() = Some(server.socket());
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://chat:{PASSWORD}@{}/{database}", self.listens)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        *self.leads_to.lock().unwrap() = None;
        let _ = TcpStream::connect(self.listens);
    }
}

/// Carries bytes both ways until either ends.
fn forward(client: TcpStream, server: UnixStream) {
    let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else { return };
    let (mut to_client, mut from_server) = (client, server);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

/// The primary is lost, comes back as what lets nobody write, and the address still leads there; then the standby is promoted and
/// the address leads to it. Nothing is restarted, and what was acknowledged is there.
#[test]
fn a_standby_that_is_promoted_is_found_by_itself() {
    let mut primary = Server::start();
    drop(primary.database("failover"));
    let standby = primary.standby();
    primary.wait_for_standby();
    let address = Address::of(&primary);
    let store = PostgresStore::connect(&address.url("failover")).expect("the server answers");
    let run = Run::start(Arc::new(store), Options::all(Durability::Stored));
    let ledger = run.open("ledger");
    let is_over = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| {
        let writer = scope.spawn(|| publish_until(&run, &ledger, &is_over));
        let goes_on = || {
            let before = run.archive.status().stored;
            until("it goes on", || run.archive.status().stored > before + 20);
        };
        goes_on();
        primary.demote();
        until("the trouble is said", || {
            let trouble = run.archive.status().trouble;
            trouble.is_some_and(|(kind, text)| kind == Kind::ReadOnly && text.contains("is it a standby?"))
        });
        let stale = run.archive.span("ledger").expect_err("what is there may be old");
        assert_eq!(stale.kind(), Kind::ReadOnly);
        standby.promote();
        address.move_to(&standby);
        goes_on();
        assert_eq!(run.archive.status().trouble, None);
        is_over.store(true, SeqCst);
        writer.join().unwrap()
    });
    assert_eq!(acknowledged, ledger.tail());
    let numbered = (0..acknowledged).map(|sequence| (sequence, format!("a: {sequence}")));
    assert!(run.texts("ledger").into_iter().eq(numbered));
    run.end();
}
