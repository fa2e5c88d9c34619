//! What the memory of a server has of what was erased, room and members at rest.
//!
//! The server is a process of its own whose allocator overwrites what it is given back: what is found there, somebody holds.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use roomcast_server::config::Storage;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};

use super::{KEY, post_at, with};
use crate::harness::{Client, PATIENCE};

/// What nobody is to find.
const SECRET: &str = "~an-address-that-nobody-is-to-find";

/// How the rooms of the server are stored, in the process that serves.
const SERVES: &str = "ROOMCAST_TEST_SERVES";

/// The server. No test by itself.
#[test]
fn a_server_whose_memory_is_looked_at() {
    let Ok(storage) = env::var(SERVES) else { return };
    let server = with(|config| {
        config.channel.without_namespace.storage = match &*storage {
            "off" => Storage::Off,
            "async" => Storage::Async,
            _ => Storage::Stored,
        };
    });
    writeln!(io::stdout(), "serves at {}", server.address).expect("somebody reads it");
    // Until the one who looks has seen enough.
    let _ = io::stdin().read_to_string(&mut String::new());
}

struct Process {
    child: Child,
    /// Open for as long as it may say something.
    said: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Process {
    fn start(storage: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("the path of the tests"))
            .args(["--exact", "--nocapture", "api::memory::a_server_whose_memory_is_looked_at"])
            .env(SERVES, storage)
            .env("GLIBC_TUNABLES", "glibc.malloc.perturb=85:glibc.malloc.tcache_count=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let mut said = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let address = said.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("serves at ")?;
            address.parse().ok()
        });
        Self { child, said, address: address.expect("it says where") }
    }

    fn connected(&self, name: &str) -> Client {
        let mut client = Client::open(self.address);
        client.send(&json!({ "id": 1, "connect": { "data": { "name": name } } }).to_string());
        client.reply(1);
        client
    }

    fn result(&self, method: &str, params: &Value) -> Value {
        let (status, body) = post_at(self.address, &format!("/api/{method}"), KEY, &params.to_string());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).expect("JSON")["result"].take()
    }

    /// What stands around the text, wherever it is found in memory that can be written.
    fn around(&self, text: &str) -> Vec<String> {
        let memory = File::open(format!("/proc/{}/mem", self.child.id())).expect("memory that may be read");
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).expect("maps");
        let mut found = Vec::new();
        for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|kind| kind.starts_with("rw"))) {
            let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
            let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).expect("an address"));
            let mut bytes = vec![0; (end - start) as usize];
            // A mapping may go meanwhile.
            let read = memory.read_at(&mut bytes, start).unwrap_or(0);
            let begins = (0..read).filter(|&at| bytes[at] == text.as_bytes()[0]);
            found.extend(begins.filter(|&at| bytes[at..read].starts_with(text.as_bytes())).map(|at| {
                let around = &bytes[at.saturating_sub(60)..(at + text.len() + 20).min(read)];
                format!("{:#x} {}", start + at as u64, String::from_utf8_lossy(around).escape_debug())
            }));
        }
        found
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.said.read_to_string(&mut String::new());
        let _ = self.child.wait();
    }
}

/// Nobody publishes any more, and who is in the room stays there.
#[test]
fn what_is_erased_goes_from_memory_though_the_room_is_quiet() {
    for storage in ["off", "stored", "async"] {
        let server = Process::start(storage);
        let mut members: Vec<Client> = ["ann", "ben"].map(|name| server.connected(name)).into();
        members.iter_mut().for_each(|member| _ = member.subscribe(2, "hall"));
        let mut slow = server.connected("sam");
        set_socket_recv_buffer_size(&slow.stream, 128 * 1024).expect("a socket option");
        slow.subscribe(2, "hall");
        let mut eve = server.connected("eve");
        let mut published = 0;
        let mut publish = |data: &str| {
            eve.publish(published + 2, "hall", data);
            members.iter_mut().for_each(|member| _ = member.publication());
            published += 1;
        };
        publish("\"before\"");
        publish(&format!("\"{SECRET}\""));
        // So that one is behind, and has it waiting.
        (0..400).for_each(|_| publish(&format!("\"{}\"", "x".repeat(10_000))));
        publish(&format!("\"and {SECRET}\""));
        assert!(!server.around(SECRET).is_empty(), "{storage}: it is somewhere");
        let what = json!({ "channel": "hall", "offsets": [2, published] });
        let erased = server.result("history_erase", &what)["erased"].as_u64();
        assert!(erased >= Some(2), "{storage}: {erased:?}");
        let begun = Instant::now();
        let mut left = server.around(SECRET);
        while !left.is_empty() && begun.elapsed() < PATIENCE {
            left = server.around(SECRET);
        }
        assert_eq!(left, Vec::<String>::new(), "{storage}");
    }
}
