//! A server that delivers wrongly, over a real socket: the lab must find it, whatever the fault.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use roomcast_lab::measure::once;
use roomcast_lab::network::Server;
use roomcast_lab::result::Checks;
use roomcast_lab::scenario::parse;
use roomcast_lab::watch::Nobody;
use roomcast_lab::websocket;

/// What happens to a message in the middle of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Lost,
    Twice,
    Swapped,
    Changed,
}

/// The message that it happens to.
const NTH: usize = 40;

#[derive(Default)]
struct Room {
    members: Vec<TcpStream>,
    published: usize,
    held: Option<Vec<u8>>,
}

fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let room = Arc::new(Mutex::new(Room::default()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let room = room.clone();
            // A client that goes away ends its thread.
            thread::spawn(move || serve(stream, &room, fault));
        }
    });
    address
}

fn serve(stream: TcpStream, room: &Mutex<Room>, fault: Fault) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let (mut stream, mut answer) = (stream, Vec::new());
    websocket::write_response(websocket::field(&head, "sec-websocket-key").unwrap_or_default(), &mut answer);
    stream.write_all(&answer)?;
    loop {
        let command = read_frame(&mut reader)?;
        if command.contains("\"connect\"") {
            write_frame(&mut stream, b"{\"id\":1,\"connect\":{}}")?;
        } else if command.contains("\"subscribe\"") {
            write_frame(&mut stream, b"{\"id\":2,\"subscribe\":{}}")?;
            room.lock().expect("sound").members.push(stream.try_clone()?);
        } else if let Some(at) = command.find("\"data\":") {
            let data = command[at + 7..].trim_end_matches('}');
            publish(&mut room.lock().expect("sound"), data, fault)?;
        }
    }
}

fn publish(room: &mut Room, data: &str, fault: Fault) -> std::io::Result<()> {
    let push = |data: &str| format!("{{\"push\":{{\"channel\":\"a\",\"pub\":{{\"data\":{data}}}}}}}").into_bytes();
    room.published += 1;
    let mut frames = vec![push(data)];
    match fault {
        Fault::Lost if room.published == NTH => frames.clear(),
        Fault::Twice if room.published == NTH => frames.push(push(data)),
        Fault::Changed if room.published == NTH => frames = vec![push("\"something else\"")],
        Fault::Swapped if room.published == NTH => room.held = frames.pop(),
        Fault::Swapped => frames.extend(room.held.take()),
        _ => {}
    }
    for member in &mut room.members {
        for frame in &frames {
            write_frame(member, frame)?;
        }
    }
    Ok(())
}

fn read_frame(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let more = reader.fill_buf()?;
        if more.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let before = bytes.len();
        bytes.extend_from_slice(more);
        let Some(frame) = websocket::parse(&bytes).expect("a small frame") else {
            reader.consume(bytes.len() - before);
            continue;
        };
        reader.consume(frame.end - before);
        let payload = &mut bytes[frame.start..frame.end];
        websocket::apply_mask(payload, frame.mask.expect("a client masks"));
        return Ok(String::from_utf8_lossy(payload).into_owned());
    }
}

fn write_frame(stream: &mut TcpStream, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = Vec::new();
    websocket::write(websocket::TEXT, None, &mut frame, |out| out.extend_from_slice(payload));
    stream.write_all(&frame)
}

fn checks(fault: Fault) -> Checks {
    let text = "name = \"faulty\"\ntarget = \"network\"\ndrive = \"open\"\nseconds = 0.3\nwarmup = 0.0\n\
                [load]\nsubscribers = 2\nrate = 400\nsize = 100";
    let mut server = Server::default();
    server.url = Some(format!("ws://{}/", start(fault)));
    let run = once(&parse(text, &[]).expect("a scenario"), &server, &mut Nobody::default()).expect("it runs");
    assert!(run.published > NTH as u64, "the fault was not reached: {}", run.published);
    run.checks
}

#[test]
fn a_server_that_delivers_well_is_found_to() {
    let checks = checks(Fault::None);
    assert!(checks.is_clean() && checks.subscribers == 2, "{checks:?}");
}

#[test]
fn a_message_that_does_not_come_is_found() {
    let checks = checks(Fault::Lost);
    assert_eq!((checks.losses, checks.duplicates, checks.order_violations), (2, 0, 0), "{checks:?}");
    assert!(checks.first.is_some_and(|first| first.contains("nobody told")));
}

#[test]
fn a_message_that_comes_twice_is_found() {
    let checks = checks(Fault::Twice);
    assert_eq!((checks.losses, checks.duplicates), (0, 2), "{checks:?}");
}

#[test]
fn messages_out_of_order_are_found() {
    let checks = checks(Fault::Swapped);
    assert_eq!(checks.order_violations, 2, "{checks:?}");
}

#[test]
fn a_message_that_is_another_one_is_found() {
    let checks = checks(Fault::Changed);
    assert!(checks.losses >= 2 && !checks.is_clean(), "{checks:?}");
}
