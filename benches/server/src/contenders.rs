//! Who is measured, and how each is started.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use roomcast_lab::load::free_address;

use crate::fault::Fault;
use crate::load::Load;
use crate::process::{Place, Process};
use crate::rivals::Rival;
use crate::wire::Wire;

/// Connections a server must take: what its descriptors allow, and a few less.
const CONNECTIONS_MAX: usize = 19_900;

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// As it is called in the report.
    pub name: &'static str,
    /// How one talks to it.
    pub wire: Wire,
    program: Program,
    /// Whether that is spoken over TLS.
    is_tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Roomcast(Storage),
    Ours(Rival),
    Bun,
    Node,
    Redis,
    Nats,
    NatsOverWebSocket,
}

/// What becomes of what is published into a room of ours, as its option `storage` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    Off,
    Async,
    Stored,
}

const fn contender(name: &'static str, wire: Wire, program: Program) -> Contender {
    Contender { name, wire, program, is_tls: false }
}

/// Ourselves, with the whole protocol, history, recovery and presence; nothing is written to a disk, as nobody else does.
pub const ROOMCAST: Contender = contender("roomcast", Wire::Centrifugo, Program::Roomcast(Storage::Off));
/// The same, and messages are written to a database after they were delivered.
pub const ROOMCAST_ASYNC: Contender = contender("roomcast async", Wire::Centrifugo, Program::Roomcast(Storage::Async));
/// The same, and messages are in the database before they are delivered.
pub const ROOMCAST_STORED: Contender =
    contender("roomcast stored", Wire::Centrifugo, Program::Roomcast(Storage::Stored));
/// One thread that does nothing but fan out.
pub const FLOOR: Contender = contender("floor", Wire::Plain, Program::Ours(Rival::Floor));
/// The same, with as many bytes around each message as the protocol has.
pub const FLOOR_ENVELOPE: Contender =
    contender("floor with envelope", Wire::Plain, Program::Ours(Rival::FloorWithEnvelope));
/// uWebSockets, through Bun.
pub const BUN: Contender = contender("bun", Wire::Plain, Program::Bun);
/// Ourselves, over TLS.
pub const ROOMCAST_TLS: Contender = Contender { name: "roomcast over tls", is_tls: true, ..ROOMCAST };
/// uWebSockets over BoringSSL, through Bun.
pub const BUN_TLS: Contender = Contender { name: "bun over tls", is_tls: true, ..BUN };
/// Redis, over its own protocol.
pub const REDIS: Contender = contender("redis", Wire::Redis, Program::Redis);
/// NATS, over its own protocol.
pub const NATS: Contender = contender("nats", Wire::Nats, Program::Nats);
/// NATS, over WebSocket.
pub const NATS_WS: Contender = contender("nats over ws", Wire::NatsOverWebSocket, Program::NatsOverWebSocket);
/// axum and `tokio::sync::broadcast`, with small buffers and one flush per burst.
pub const AXUM_TUNED: Contender = contender("axum tuned", Wire::Plain, Program::Ours(Rival::AxumTuned));
/// The same as one writes it at first.
pub const AXUM: Contender = contender("axum", Wire::Plain, Program::Ours(Rival::Axum));
/// The package `ws` on Node.
pub const NODE_WS: Contender = contender("ws", Wire::Plain, Program::Node);

/// Everybody, in the order of the report.
pub const ALL: &[Contender] = &[
    ROOMCAST,
    ROOMCAST_ASYNC,
    ROOMCAST_STORED,
    FLOOR,
    FLOOR_ENVELOPE,
    BUN,
    REDIS,
    NATS,
    NATS_WS,
    AXUM_TUNED,
    AXUM,
    NODE_WS,
];

/// Those who do different things where bytes do not matter.
pub const REPORTED: &[Contender] = &[ROOMCAST, FLOOR, BUN, REDIS, NATS, NATS_WS, AXUM_TUNED, AXUM, NODE_WS];

impl Contender {
    /// A load without connections to it.
    ///
    /// # Errors
    /// What the system says.
    pub fn load(self, server: &Process) -> Result<Load, Fault> {
        Ok(Load::new(server.address(), self.wire)?.with_tls(self.is_tls))
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`Fault::NotRun`] when that cannot be done here.
    pub fn start(self) -> Result<Process, Fault> {
        Process::start(|place| self.command(place))
    }

    /// The command that starts it there.
    ///
    /// # Errors
    /// As [`Contender::start`].
    pub fn command(self, place: &Place) -> Result<Command, Fault> {
        let port = place.address.port().to_string();
        let mut command;
        match self.program {
            Program::Roomcast(storage) => {
                command = Command::new(beside_us("roomcast")?);
                command.args(["serve", "--dev", "--listen", &place.address.to_string(), "--log-level", "error"]);
                command.arg("--data-dir").arg(place.scratch.join("data"));
                command.arg("--config").arg(place.write("roomcast.toml", &roomcast_config(storage, self.is_tls))?);
            }
            Program::Ours(rival) => {
                command = Command::new(beside_us("server-bench")?);
                command.args(["serve", rival.name(), &port]);
            }
            Program::Bun => {
                command = Command::new(bun()?);
                command.arg(script("bun.js")).arg(&port);
                if self.is_tls {
                    command.args(CERTIFICATE);
                }
            }
            Program::Node => {
                command = Command::new("node");
                command.arg(script("ws.cjs")).arg(&port).env("NODE_PATH", packages()?);
            }
            Program::Redis => {
                command = Command::new("redis-server");
                command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
                command.args(["--maxclients", &CONNECTIONS_MAX.to_string()]).arg("--dir").arg(&place.scratch);
            }
            Program::Nats | Program::NatsOverWebSocket => {
                let other = free_address()?.port().to_string();
                let ports = if self.program == Program::Nats { [&port, &other] } else { [&other, &port] };
                command = Command::new("nats-server");
                command.arg("--config").arg(place.write("nats.conf", &nats_config(ports))?);
            }
        }
        Ok(command)
    }
}

fn roomcast_config(storage: Storage, is_tls: bool) -> String {
    let storage = match storage {
        Storage::Off => "off",
        Storage::Async => "async",
        Storage::Stored => "stored",
    };
    let [certificate, key] = CERTIFICATE;
    let tls = match is_tls {
        true => {
            format!("\n[http_server.tls]\nenabled = true\ncert_pem = \"{certificate}\"\nkey_pem = \"{key}\"\n")
        }
        false => String::new(),
    };
    format!("{ROOMCAST_CONFIG}storage = \"{storage}\"\n\n[storage]\noverload = \"wait\"\n{tls}")
}

/// A certificate with a key of P-256, and that key, of the server's tests.
pub const CERTIFICATE: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/server/src/backend/tests/tls/server.pem"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/server/src/backend/tests/tls/server.key"),
];

/// Everything on, except that everybody is told of everybody who comes or goes: nobody else does that.
const ROOMCAST_CONFIG: &str = "\
[log]
file = false

[channel.without_namespace]
history_size = 1000
history_ttl = \"24h\"
presence = true
force_recovery = true
force_positioning = true
join_leave = false
force_push_join_leave = false
";

fn nats_config([own, websocket]: [&String; 2]) -> String {
    format!(
        "listen: \"127.0.0.1:{own}\"\nmax_connections: {CONNECTIONS_MAX}\n\
         websocket {{ listen: \"127.0.0.1:{websocket}\", no_tls: true }}\n"
    )
}

/// A program that was built into the same folder as this one.
///
/// # Errors
/// When the system does not say where that is.
pub fn beside_us(name: &str) -> Result<PathBuf, Fault> {
    Ok(env::current_exe()?.with_file_name(name))
}

/// Where the packages of npm are.
fn packages() -> Result<PathBuf, Fault> {
    // target/release/server-bench → target/tools
    let target = env::current_exe()?.ancestors().nth(2).map(Path::to_owned).unwrap_or_default();
    Ok(target.join("tools/server-bench-js/node_modules"))
}

/// The one Bun that npm chose for this machine.
fn bun() -> Result<PathBuf, Fault> {
    let builds = std::fs::read_dir(packages()?.join("@oven")).into_iter().flatten().flatten();
    let found = builds.map(|build| build.path().join("bin/bun")).find(|program| program.is_file());
    found.ok_or_else(|| Fault::NotRun("bun is not installed".to_owned()))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("js").join(name)
}

/// Who is measured, in which version.
pub fn versions() -> String {
    let said = |program: PathBuf, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let word =
            text.split_whitespace().find(|word| word.contains('.') && word.contains(|c: char| c.is_ascii_digit()));
        word.unwrap_or("not installed").trim_start_matches("v=").trim_start_matches('v').to_owned()
    };
    let ws = packages().map(|packages| std::fs::read_to_string(packages.join("ws/package.json")));
    let ws = ws.ok().and_then(Result::ok).unwrap_or_default();
    let ws = ws.split("\"version\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("not installed");
    let crates = harness::locked_versions(include_str!("../../Cargo.lock"), &["axum", "tokio"]);
    format!(
        "bun {}, redis {}, nats {}, node {}, ws {ws}, {crates}",
        bun().map_or_else(|_| "not installed".to_owned(), |bun| said(bun, "--version")),
        said("redis-server".into(), "--version"),
        said("nats-server".into(), "--version"),
        said("node".into(), "--version"),
    )
}
