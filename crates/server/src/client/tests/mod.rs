//! A shard that is stepped: its clock is moved by the test, and its ids come from the test's seed.

mod erased;
mod turns;

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::client::connection::{Connection, Takeover};
use crate::client::shard::{Shard, SocketGuard};
use crate::config::Config;
use crate::delivery::sink::MemberSink as _;
use crate::ops::logging::written::Written;
use crate::rooms::cluster::{LocalNode, NotTaken};
use crate::rooms::engine::{Answer, Presence};
use crate::rooms::hub::Hub;
use crate::rooms::users::Recipients;
use crate::util::rng::Rng;
use crate::wire::framing::Framing;
use crate::wire::stream::{DetachedStream, Stream};
use crate::wire::ws::Decoder;
use roomcast_protocol::{ClientInfo, CloseCode, Encoding, ErrorCode, PresenceStats, RoomName, UnsubscribeCode};

/// The time on the wire: a minute after midnight of 1970, on and on.
fn wire_clock() -> u64 {
    60_000
}

/// Runs a shard whose clock stands still but for what `script` waits for.
fn step<Script: Future<Output = ()>>(seed: u8, script: impl FnOnce(Rc<Shard>) -> Script) {
    step_with(seed, |_| {}, script);
}

/// The same, of a hub that is not as others are.
fn step_with<Script: Future<Output = ()>>(
    seed: u8,
    change: impl FnOnce(&mut Hub),
    script: impl FnOnce(Rc<Shard>) -> Script,
) {
    let data = std::env::temp_dir();
    step_by(seed, Config { data_dir: data, ..Config::dev() }, change, script);
}

/// The same by that configuration.
fn step_by<Script: Future<Output = ()>>(
    seed: u8,
    config: Config,
    change: impl FnOnce(&mut Hub),
    script: impl FnOnce(Rc<Shard>) -> Script,
) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let local = Arc::new(LocalNode::new(1));
    let handle = runtime.handle();
    let mut hub = Hub::new(config, Uuid::nil(), wire_clock, local, vec![handle.clone()], handle.clone());
    change(&mut hub);
    let hub = Arc::new(hub);
    let (_sender, draining) = watch::channel(false);
    let coming = |shard| async {
        script(shard).await;
        Ok(())
    };
    Shard::run(&runtime, hub, 0, Rng::from_seed([seed; 32]), draining, coming).expect("it ends");
}

/// A client that hears what `shard` says in lines, and has sent its connect command and some more.
fn connect(shard: &Rc<Shard>, more: &str) -> TcpStream {
    connect_as(shard, Framing::Stream(Encoding::Json), more)
}

fn connect_as(shard: &Rc<Shard>, framing: Framing, more: &str) -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (server, _) = listener.accept().expect("a connection");
    server.set_nonblocking(true).expect("a socket option");
    client.set_nonblocking(true).expect("a socket option");
    let stream: Stream = DetachedStream::Tcp(server).attach().expect("a runtime");
    let frame = Bytes::from(format!("{{\"id\":1,\"connect\":{{}}}}\n{more}"));
    let takeover = Takeover::of_commands(framing, None, frame);
    Connection::start(
        shard,
        stream,
        takeover,
        SocketGuard::new(shard, shard.hub.connections.admit(None, 0).expect("there is place")),
    );
    client
}

/// What has been said since it was last asked, without the lengths of chunks.
fn heard(mut client: &TcpStream) -> Vec<String> {
    let mut said = Vec::new();
    // Whatever was written is there: the socket is of this machine.
    let _ = client.read_to_end(&mut said);
    let said = String::from_utf8(said).expect("text");
    said.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect()
}

/// All that a client hears that never answers, and after how many milliseconds.
fn life_of_a_silent_client(seed: u8) -> Vec<(u128, String)> {
    let mut life = Vec::new();
    step(seed, async |shard| {
        let begin = Instant::now();
        let client = connect(&shard, "");
        while begin.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(50)).await;
            let at = begin.elapsed().as_millis();
            life.extend(heard(&client).into_iter().map(|line| (at, line)));
        }
    });
    life
}

#[test]
fn a_shard_that_is_stepped_does_the_same_again() {
    let begin = std::time::Instant::now();
    let life = life_of_a_silent_client(7);
    assert_eq!(life, life_of_a_silent_client(7), "ids and times come from what it was given");
    assert!(begin.elapsed() < Duration::from_secs(30), "no real time passes");
    let ids: Vec<_> = [7, 8].map(|seed| life_of_a_silent_client(seed)[0].1.clone()).into();
    assert_ne!(ids[0], ids[1]);
    let [(_, connected), (pinged, ping), (closed, disconnect)] = &life[..] else { panic!("{life:?}") };
    assert!(connected.starts_with(r#"{"id":1,"connect":{"client":""#), "{connected}");
    assert_eq!(ping, "{}");
    assert!(disconnect.contains(r#"{"code":3012,"reason":"no pong""#), "{disconnect}");
    let (interval, timeout, tick) = (25_000, 8_000, 250);
    assert!((..=interval + 2 * tick).contains(pinged), "{life:?}");
    assert!((timeout..=timeout + 2 * tick).contains(&(closed - pinged)), "{life:?}");
}

#[test]
fn a_command_reaches_the_connection_that_is_meant() {
    step(1, async |shard| {
        let clients = [connect(&shard, ""), connect(&shard, "")];
        sleep(Duration::from_millis(1)).await;
        let ids = clients.each_ref().map(|client| {
            let reply: serde_json::Value = serde_json::from_str(&heard(client)[0]).expect("a reply");
            ["client", "session"].map(|name| reply["connect"][name].as_str().expect("a name").to_owned())
        });
        let [client, session] = &ids[1];
        let of = |client: &str, session: &str| Recipients {
            except: Vec::new(),
            user: String::new(),
            client: Some(client.to_owned()),
            session: Some(session.to_owned()),
        };
        let commands = &shard.hub.commands;
        commands.disconnect(&of(client, &ids[0][1]), CloseCode::ForceDisconnect).await.expect("it is told");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(clients.each_ref().map(heard), [Vec::<String>::new(), Vec::new()], "nobody is both");
        commands.disconnect(&of(client, session), CloseCode::ForceDisconnect).await.expect("it is told");
        sleep(Duration::from_millis(1)).await;
        let [others, told] = clients.each_ref().map(heard);
        assert_eq!(others, Vec::<String>::new());
        let disconnect = r#"{"push":{"disconnect":{"code":3503,"reason":"force disconnect"}}}"#;
        assert_eq!(told, [disconnect]);
    });
}

#[test]
fn messages_have_the_time_of_the_clock_that_is_given() {
    step(1, async |shard| {
        let publish = r#"{"id":2,"publish":{"channel":"hall","data":1}}"#;
        let history = r#"{"id":3,"history":{"channel":"hall","limit":1}}"#;
        let client = connect(&shard, &format!("{publish}\n{history}"));
        sleep(Duration::from_millis(1)).await;
        let replies = heard(&client);
        let replies: Vec<serde_json::Value> =
            replies.iter().map(|reply| serde_json::from_str(reply).expect("a reply")).collect();
        assert_eq!(replies[2]["history"]["publications"][0]["time"], wire_clock());
    });
}

/// Who asks is answered when the test says so. It keeps nobody, and panics when somebody leaves the room `broken`.
#[derive(Clone, Debug, Default)]
struct LatePresence(Arc<Mutex<VecDeque<oneshot::Sender<Vec<ClientInfo>>>>>);

impl LatePresence {
    /// The question that waits longest.
    fn next(&self) -> oneshot::Sender<Vec<ClientInfo>> {
        self.0.lock().unwrap().pop_front().expect("somebody asks")
    }
}

impl Presence for LatePresence {
    fn enter(&self, _: &RoomName, _: ClientInfo) {}

    fn leave(&self, room: &RoomName, _: &str) {
        assert_ne!(room.as_str(), "broken");
    }

    /// Panics later if nobody answers.
    fn members(&self, _: &RoomName) -> Answer<Result<Vec<ClientInfo>, ErrorCode>> {
        let (answer, answered) = oneshot::channel();
        self.0.lock().unwrap().push_back(answer);
        Answer::later(async { Ok(answered.await.expect("an answer")) })
    }

    fn stats(&self, _: &RoomName) -> Answer<Result<PresenceStats, ErrorCode>> {
        Answer::Now(Err(ErrorCode::Internal))
    }
}

/// Runs a shard whose presence answers later.
fn step_late<Script: Future<Output = ()>>(script: impl FnOnce(Rc<Shard>, LatePresence) -> Script) {
    let presence = LatePresence::default();
    let of_hub = presence.clone();
    step_with(1, |hub| hub.presence = Box::new(of_hub), |shard| script(shard, presence));
}

/// The name of a session, by the reply to its connect command.
fn session(reply: &str) -> String {
    let reply: serde_json::Value = serde_json::from_str(reply).expect("a reply");
    reply["connect"]["session"].as_str().expect("a name").to_owned()
}

fn presence(id: u32) -> String {
    format!(r#"{{"id":{id},"presence":{{"channel":"hall"}}}}"#)
}

#[test]
fn an_answer_that_never_comes_because_its_work_panicked_ends_the_connection() {
    step_late(async |shard, late| {
        let (client, other) = (connect(&shard, &presence(2)), connect(&shard, &presence(2)));
        sleep(Duration::from_millis(1)).await;
        assert_eq!([&client, &other].map(|client| heard(client).len()), [1, 1], "both wait");
        drop(late.next());
        sleep(Duration::from_millis(1)).await;
        assert_eq!(
            heard(&client),
            [r#"{"push":{"disconnect":{"code":3004,"reason":"internal server error","reconnect":true}}}"#]
        );
        late.next().send(Vec::new()).expect("somebody waits");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(heard(&other).len(), 1, "nobody else notices");
    });
}

#[test]
fn an_answer_for_a_connection_that_has_gone_is_nobodys() {
    step_late(async |shard, late| {
        let (gone, closed) = (connect(&shard, &presence(2)), connect(&shard, &presence(2)));
        sleep(Duration::from_millis(1)).await;
        heard(&closed);
        drop(gone);
        shard.hub.commands.disconnect(&Recipients::default(), CloseCode::ForceDisconnect).await.expect("it is told");
        sleep(Duration::from_millis(1)).await;
        let _ = late.next().send(Vec::new());
        drop(late.next());
        sleep(Duration::from_millis(1)).await;
        assert_eq!(heard(&closed).len(), 1, "what it is told is that it is closed");
        assert_eq!(shard.connections.all().len(), 1, "it has its time to end");
        let next = connect(&shard, "");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(heard(&next).len(), 1);
    });
}

#[test]
fn frames_of_one_session_are_heard_in_the_order_in_which_they_came() {
    step_late(async |shard, late| {
        let client = connect(&shard, "");
        sleep(Duration::from_millis(1)).await;
        let session = session(&heard(&client)[0]);
        let send = async |frame: String| {
            let taken = shard.hub.commands.take_frame(session.clone(), frame.into()).await;
            assert_eq!(taken, Ok(()));
        };
        // One is asked, one waits in the session, one before it.
        for frame in [presence(2), presence(3), r#"{"id":4,"ping":{}}"#.to_owned()] {
            send(frame).await;
        }
        sleep(Duration::from_millis(1)).await;
        // The first is answered, and at the same moment one more comes.
        late.next().send(Vec::new()).expect("somebody waits");
        send(r#"{"id":5,"ping":{}}"#.to_owned()).await;
        sleep(Duration::from_millis(1)).await;
        late.next().send(Vec::new()).expect("somebody waits");
        sleep(Duration::from_millis(1)).await;
        let ids: Vec<u64> = heard(&client)
            .iter()
            .map(|reply| {
                let reply: serde_json::Value = serde_json::from_str(reply).expect("a reply");
                reply["id"].as_u64().expect("an id")
            })
            .collect();
        assert_eq!(ids, [2, 3, 4, 5]);
    });
}

#[test]
fn a_command_of_the_server_waits_behind_frames_that_wait() {
    step_late(async |shard, late| {
        let client = connect(&shard, "");
        sleep(Duration::from_millis(1)).await;
        let session = session(&heard(&client)[0]);
        // One is asked, one waits in the session, one before it.
        for frame in [presence(2), presence(3), r#"{"id":4,"subscribe":{"channel":"hall"}}"#.to_owned()] {
            assert_eq!(shard.hub.commands.take_frame(session.clone(), frame.into()).await, Ok(()));
        }
        let (all, hall) = (Recipients::default(), RoomName::parse("hall", 255).expect("a name"));
        shard.hub.commands.unsubscribe(&all, hall, UnsubscribeCode::Server).await.expect("it is told");
        sleep(Duration::from_millis(1)).await;
        for _ in 0..2 {
            late.next().send(Vec::new()).expect("somebody waits");
            sleep(Duration::from_millis(1)).await;
        }
        let told = heard(&client);
        let begins = [r#"{"id":2,"presence""#, r#"{"id":3,"presence""#, r#"{"id":4,"subscribe""#];
        assert!(told.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{told:?}");
        let out = r#"{"push":{"channel":"hall","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#;
        assert_eq!(told[3..], [out]);
    });
}

#[test]
fn commands_of_the_server_that_wait_behind_frames_are_bounded() {
    step_late(async |shard, late| {
        let client = connect(&shard, "");
        sleep(Duration::from_millis(1)).await;
        let session = session(&heard(&client)[0]);
        for id in 2..5 {
            let taken = shard.hub.commands.take_frame(session.clone(), presence(id).into()).await;
            assert_eq!(taken, Ok(()));
        }
        let (all, hall) = (Recipients::default(), RoomName::parse("hall", 255).expect("a name"));
        for nth in 0..=64 {
            assert_eq!(heard(&client), Vec::<String>::new(), "{nth} wait");
            shard.hub.commands.subscribe(&all, hall.clone()).await.expect("it is told");
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(
            heard(&client),
            [r#"{"push":{"disconnect":{"code":3004,"reason":"internal server error","reconnect":true}}}"#]
        );
        drop(late);
    });
}

#[test]
fn a_command_for_all_without_a_user_keeps_none_of_them_while_others_have_their_turn() {
    step(1, async |shard| {
        let clients: Vec<_> = (0..4 * 64).map(|_| connect(&shard, "")).collect();
        sleep(Duration::from_millis(1)).await;
        let last = shard.connections.all().pop().expect("somebody is connected");
        let holders = Rc::strong_count(&last);
        let disconnect = r#"{"push":{"disconnect":{"code":3503,"reason":"force disconnect"}}}"#;
        shard.hub.commands.disconnect(&Recipients::default(), CloseCode::ForceDisconnect).await.expect("it is told");
        let (mut turns, mut late) = (0, None);
        while last.is_open() {
            assert_eq!(Rc::strong_count(&last), holders, "who has gone meanwhile is kept");
            tokio::task::yield_now().await;
            late.get_or_insert_with(|| connect(&shard, ""));
            turns += 1;
        }
        assert!(turns > 2, "it takes several turns");
        sleep(Duration::from_millis(1)).await;
        assert!(clients.iter().all(|client| heard(client).last().is_some_and(|line| line == disconnect)));
        assert_eq!(late.as_ref().map(|late| heard(late).len()), Some(1), "it came after the command");
    });
}

#[test]
fn a_client_that_the_server_could_not_put_into_a_room_is_in_the_log() {
    let logged = Written::default();
    let out = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || out.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        step(1, async |shard| {
            let client = connect(&shard, "");
            sleep(Duration::from_millis(1)).await;
            // No room can be opened any more.
            shard.hub.close();
            let hall = RoomName::parse("hall", 255).expect("a name");
            shard.hub.commands.subscribe(&Recipients::default(), hall).await.expect("it is told");
            sleep(Duration::from_millis(1)).await;
            assert_eq!(heard(&client).len(), 1, "it is in no room");
        });
    });
    let text = logged.text();
    let line = text.lines().find(|line| line.contains("server-side subscribe failed")).expect(&text);
    assert!(line.contains("WARN") && line.contains("room=\"hall\"") && line.contains("client="), "{line}");
    assert!(line.contains("code=111") && line.contains("too many requests"), "{line}");
}

#[test]
fn frames_that_wait_for_a_session_are_bounded_in_bytes() {
    step_late(async |shard, late| {
        let client = connect(&shard, "");
        sleep(Duration::from_millis(1)).await;
        let session = session(&heard(&client)[0]);
        let send = |frame: String| shard.hub.commands.take_frame(session.clone(), frame.into());
        for frame in [presence(2), presence(3)] {
            assert_eq!(send(frame).await, Ok(()));
        }
        let large = format!(r#"{{"id":4,"ping":{{"more":"{}"}}}}"#, "a".repeat(60_000));
        for _ in 0..30 {
            let _ = send(large.clone()).await;
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(
            heard(&client),
            [r#"{"push":{"disconnect":{"code":3013,"reason":"too many requests","reconnect":true}}}"#]
        );
        drop(late);
    });
}

#[test]
fn who_takes_no_replies_cannot_have_more_and_more_of_them_held_by_asking_in_requests() {
    step_late(async |shard, _| {
        let client = connect(&shard, "");
        sleep(Duration::from_millis(1)).await;
        let session = session(&heard(&client)[0]);
        let send = |frame: String| shard.hub.commands.take_frame(session.clone(), frame.into());
        let publish = format!(r#"{{"id":2,"publish":{{"channel":"hall","data":"{}"}}}}"#, "a".repeat(60_000));
        let history = r#"{"id":3,"history":{"channel":"hall","limit":100}}"#;
        for _ in 0..40 {
            assert_eq!(send(publish.clone()).await, Ok(()));
        }
        // As much as its socket holds, and some more.
        let connection = Rc::clone(&shard.connections.all()[0]);
        for _ in 0..32 {
            if !connection.is_saturated() {
                assert_eq!(send(history.to_owned()).await, Ok(()));
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(connection.is_saturated());
        let pings = [r#"{"id":4,"ping":{}}"#; 10].join("\n");
        let mut told = Ok(());
        for _ in 0..200 {
            told = send(pings.clone()).await;
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(told, Err(NotTaken::NoSession), "it is closed");
    });
}

#[test]
fn a_connection_whose_leaving_panics_leaves_nothing_behind_and_others_are_commanded() {
    step_late(async |shard, _| {
        let subscribe = r#"{"id":2,"subscribe":{"channel":"broken"}}"#;
        let (broken, whole) = (connect(&shard, subscribe), connect(&shard, ""));
        sleep(Duration::from_millis(1)).await;
        let [broken_session, whole_session] = [&broken, &whole].map(|client| session(&heard(client)[0]));
        let commands = &shard.hub.commands;
        commands.disconnect(&Recipients::default(), CloseCode::ForceDisconnect).await.expect("it is told");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(heard(&whole).len(), 1, "it is told");
        for session in [broken_session, whole_session] {
            assert_eq!(commands.take_frame(session, "{}".into()).await, Err(NotTaken::NoSession));
        }
        let next = connect(&shard, "");
        sleep(Duration::from_millis(1)).await;
        let session = session(&heard(&next)[0]);
        let taken = commands.take_frame(session, r#"{"id":2,"ping":{}}"#.into()).await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!((taken, heard(&next).len()), (Ok(()), 1));
    });
}

#[test]
fn what_is_written_at_the_end_of_a_turn_is_not_counted_from_then_on() {
    step(21, async |shard| {
        let replies = || shard.hub.rooms.memory.replies.used();
        let clients: Vec<TcpStream> = (0..3).map(|_| connect_as(&shard, Framing::Frames(Encoding::Json), "")).collect();
        sleep(Duration::from_millis(50)).await;
        // A command in a frame whose mask is of zeros.
        let command = br#"{"id":2,"ping":{}}"#;
        let frame = [&[0x81, 0x80 | command.len() as u8, 0, 0, 0, 0], &command[..]].concat();
        for mut client in &clients {
            let mut said = Vec::new();
            let _ = client.read_to_end(&mut said);
            client.write_all(&frame).expect("the socket takes it");
        }
        sleep(Duration::from_millis(50)).await;
        for mut client in &clients {
            let mut said = Vec::new();
            let _ = client.read_to_end(&mut said);
            assert!(said.ends_with(br#"{"id":2,"ping":{}}"#), "it is answered: {}", said.escape_ascii());
        }
        assert_eq!(replies(), 0, "all of it was written");
        assert_eq!(shard.connections.largest_holder(), None, "nobody holds any of it");
    });
}

#[test]
fn a_client_that_is_sent_away_holds_nothing_once_it_has_taken_all() {
    step(22, async |shard| {
        let client = connect(&shard, "");
        sleep(Duration::from_millis(50)).await;
        for connection in shard.connections.all() {
            connection.close_soon(CloseCode::ForceDisconnect);
        }
        sleep(Duration::from_millis(50)).await;
        assert_eq!(shard.connections.all().len(), 1, "its end is waited for");
        assert_eq!(shard.hub.rooms.memory.replies.used(), 0);
        drop(client);
    });
}

#[test]
fn a_connection_has_not_grown_for_what_it_does_not_use() {
    // What a socket takes differs with what the runtime is built to watch.
    let socket = size_of::<tokio::net::TcpStream>();
    let sizes = [size_of::<Framing>(), size_of::<Decoder>(), size_of::<Stream>(), size_of::<Connection>()];
    let most = [4, 40, socket + 16, 552 + size_of::<Stream>()];
    assert!(sizes.iter().zip(most).all(|(size, most)| *size <= most), "{sizes:?}, of a socket {socket}");
}

#[test]
fn who_enters_a_room_and_is_closed_for_what_it_says_behind_that_is_told_why() {
    step(11, async |shard| {
        let says_twice = "{\"id\":2,\"subscribe\":{\"channel\":\"hall\"}}\n{\"id\":3,\"connect\":{}}";
        let client = connect(&shard, says_twice);
        sleep(Duration::from_millis(1)).await;
        let told = heard(&client);
        let code = format!("\"code\":{},", CloseCode::BadRequest.code());
        assert!(told.last().is_some_and(|last| last.contains(&code)), "{told:?}");
    });
}
