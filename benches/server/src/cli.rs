//! What can be asked for.

use std::process::ExitCode;
use std::time::Duration;

use harness::cli::{finish, usage};
use harness::{Limit, Suite};

use crate::contenders::{ROOMCAST, versions};
use crate::count;
use crate::rivals::Rival;
use crate::workloads::{self, LOAD_SHARE, TITLES};

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => finish(serve(&arguments[1..])),
        Some("count") => finish(count::main(&arguments[1..])),
        _ => harness::cli::main(&suite()),
    }
}

fn serve(arguments: &[String]) -> Result<(), String> {
    let [name, port] = arguments else { return Err(usage(&suite())) };
    let rival = Rival::named(name).ok_or_else(|| format!("there is no rival {name}"))?;
    let port = port.parse().map_err(|_| "PORT is a number".to_owned())?;
    rival.serve(port).map_err(|fault| fault.to_string())
}

fn suite() -> Suite {
    Suite {
        program: "server-bench",
        make_target: "bench-server",
        usage: USAGE,
        title: "The roomcast server and its rivals",
        measures: "src crates Cargo.lock benches/harness benches/server",
        limit_of: Some(LIMIT),
        method: METHOD,
        versions,
        base: ROOMCAST.name,
        titles: TITLES,
        cases: workloads::all(),
        targets: workloads::targets(),
        rounds: (3, 2),
        limit: Duration::from_secs(90),
    }
}

/// The load has one thread. When that has nothing left to give, a faster server would not be faster.
const LIMIT: Limit = Limit { figure: LOAD_SHARE, from: 90.0, who: "the load" };

const USAGE: &str = "\
server-bench serve RIVAL PORT             be one: floor, floor-with-envelope, axum, axum-tuned
server-bench count STORAGE|tls MEMBERS IN_FLIGHT WINDOWS
                                          instructions of the server, under callgrind, for so many windows
";

const METHOD: &str = "

## Method

The server has one core, the load, one thread, the other; both speak over the loopback. *Server CPU* is the processor time \
of all threads of the server, user and system, divided by what members received; it includes handling the publishes. Every \
message carries its publisher, its sequence and a checksum, all of which the load checks as it receives; when a run is over \
every member must have received, or been told that it missed, exactly what was published, or the row fails. *In flight*: \
the publisher sends the next message when the last member has received an earlier one. The load's core bounds deliveries \
a second too, so processor time is what to compare: *load CPU* is what the load itself needs for a delivery, *load's share* \
how much of its core it used. Where that is 90 % and more the load is the limit and the row says so: such a row tells what a \
delivery costs the server, not how many it could make, and a load that is slower makes a server look different, since it then \
finds more or less to send at once. Clients acknowledge segments when they read them, on the load's core. \
Latency is from when a message was \
due, not from when it was sent.

* **roomcast** speaks the Centrifugo protocol in JSON: sessions, offsets, history of 1,000 messages, recovery and presence \
are on; announcing members to each other is off. It keeps messages in memory only, as all others do. **roomcast async** and \
**roomcast stored** write them to a database too, after they were delivered and before; a publisher that is a whole ring ahead \
of the database waits (`overload = \"wait\"`; by default it is refused with 111), so with few members these rows go as fast as \
the database takes messages. Each publish is a frame of its own and is answered. After each run of one \
room a member recovers what it missed.
* **bun**, **ws**, **axum**, **axum tuned** and both floors take a frame and send it to the members of the room: no \
sessions, history, recovery or presence, and nothing is answered. The **floor** is one thread with epoll that sends each \
member what a turn has gathered in one write of one buffer; **floor with envelope** sends as many bytes around a message as \
the protocol has, and is the floor that targets speak of. **axum tuned** has small buffers and one flush per burst.
* **redis** (RESP 3) and **nats** speak their own protocols over TCP, nats over WebSocket too; neither has WebSocket \
rooms with history or presence for what is measured here.
* **roomcast over tls** and **bun over tls** have the same certificate, with a key of P-256, and speak TLS 1.3 with AES-128-GCM, the \
first that browsers ask for, whatever else they would; the load is a client that has never been there before, so each handshake is a whole one, and it believes every certificate. What a handshake costs is what \
connecting costs more than without TLS.
* *Memory* is private memory of the process (`smaps_rollup`), not what the system keeps for sockets, over the connections \
opened.";
