//! What a message over the network costs the lab, when there is no server that could be the limit: a thread that has the
//! bytes ready and only writes them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::Site;
use super::client::{Client, Role, State, Times};
use super::stamp::{self, Stamp};
use crate::Fault;
use crate::load::DeliveryChecker;
use crate::protocol::Encoding;
use crate::recorder::Recorder;
use crate::scenario::Load;
use crate::websocket;

/// Nanoseconds of the lab's processor time for a message received.
pub(crate) fn own_cost(load: &Load) -> Result<f64, Fault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Fault::new)?;
    let address = listener.local_addr().map_err(Fault::new)?;
    let size = load.size;
    let server = thread::Builder::new().name("own-cost".to_owned()).spawn(move || write_on(&listener, size));
    let server = server.map_err(Fault::new)?;
    let site = Site {
        address,
        host: address.to_string(),
        path: "/".to_owned(),
        encoding: Encoding::Json,
        rooms: vec!["a".to_owned()],
        bytes: size,
    };
    let mut client = Client::open(&site, Role::Member, 0, DeliveryChecker::from_now(1), true).map_err(Fault::new)?;
    let mut times = Times { now: 0, all: Recorder::new(), window: Recorder::new() };
    let (mut buffer, mut count, begin, used) = (vec![0; 256 * 1024], 0, Instant::now(), own_time());
    while begin.elapsed() < WHILE {
        times.now = begin.elapsed().as_nanos() as u64;
        count += client.read(&mut buffer, &site, &mut times).map_err(Fault::new)?.received;
        if client.state == State::Gone {
            break;
        }
    }
    let used = own_time().saturating_sub(used);
    drop(client);
    // It ends when it cannot write any more.
    let _ = server.join();
    Ok((used.as_nanos() as f64 / f64::max(count as f64, 1.0) * 10.0).round() / 10.0)
}

/// Answers the handshake and the two commands, then writes the same frames again and again.
fn write_on(listener: &TcpListener, size: usize) {
    let Ok((mut stream, _)) = listener.accept() else { return };
    let (mut buffer, mut out) = ([0; 4_096], Vec::new());
    let _ = stream.read(&mut buffer);
    websocket::write_response(websocket::KEY, &mut out);
    let text = |payload: &[u8], out: &mut Vec<u8>| {
        websocket::write(websocket::TEXT, None, out, |out| out.extend_from_slice(payload));
    };
    text(br#"{"id":1,"connect":{}}"#, &mut out);
    text(br#"{"id":2,"subscribe":{}}"#, &mut out);
    let mut sequence = 0_u64;
    while stream.write_all(&out).is_ok() {
        out.clear();
        for _ in 0..8 {
            let mut payload = Vec::new();
            for nth in 0..16 {
                payload.extend_from_slice(if nth == 0 { b"" } else { b"\n" });
                payload.extend_from_slice(br#"{"push":{"channel":"a","pub":{"data":"#);
                stamp::write(Stamp { source: 0, sequence, due: 1 }, size, &mut payload);
                let _ = write!(payload, r#","offset":{}}}}}}}"#, sequence + 1);
                sequence += 1;
            }
            text(&payload, &mut out);
        }
    }
}

/// Processor time of this thread.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long it is measured.
const WHILE: Duration = Duration::from_millis(150);
