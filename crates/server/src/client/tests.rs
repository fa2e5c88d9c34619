//! A shard that is stepped: its clock is moved by the test, and its ids come from the test's seed.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::client::connection::{Connection, Takeover};
use crate::client::shard::{Shard, SocketGuard};
use crate::config::Config;
use crate::rooms::cluster::LocalNode;
use crate::rooms::hub::Hub;
use crate::rooms::users::Recipients;
use crate::util::rng::Rng;
use crate::wire::framing::Framing;
use crate::wire::stream::{DetachedStream, Stream};
use roomcast_protocol::{CloseCode, Encoding};

/// The time on the wire: a minute after midnight of 1970, on and on.
fn wire_clock() -> u64 {
    60_000
}

/// Runs a shard whose clock stands still but for what `script` waits for.
fn step<Script: Future<Output = ()>>(seed: u8, script: impl FnOnce(Rc<Shard>) -> Script) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let data = std::env::temp_dir();
    let config = Config { data_dir: data, ..Config::dev() };
    let local = Arc::new(LocalNode::new(1));
    let hub = Arc::new(Hub::new(config, Uuid::nil(), wire_clock, local, vec![runtime.handle().clone()]));
    let (_sender, draining) = watch::channel(false);
    let coming = |shard| async {
        script(shard).await;
        Ok(())
    };
    Shard::run(&runtime, hub, 0, Rng::from_seed([seed; 32]), draining, coming).expect("it ends");
}

/// A client that hears what `shard` says in lines, and has sent its connect command and some more.
fn connect(shard: &Rc<Shard>, more: &str) -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (server, _) = listener.accept().expect("a connection");
    server.set_nonblocking(true).expect("a socket option");
    client.set_nonblocking(true).expect("a socket option");
    let stream: Stream = DetachedStream::Tcp(server).attach().expect("a runtime");
    let frame = format!("{{\"id\":1,\"connect\":{{}}}}\n{more}").into();
    let takeover = Takeover { framing: Framing::Stream(Encoding::Json), head: Vec::new(), frame };
    Connection::start(shard, stream, takeover, SocketGuard::new(shard));
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
            user: String::new(),
            client: Some(client.to_owned()),
            session: Some(session.to_owned()),
        };
        let commands = &shard.hub.commands;
        commands.disconnect(&of(client, &ids[0][1]), CloseCode::ForceDisconnect).await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(clients.each_ref().map(heard), [Vec::<String>::new(), Vec::new()], "nobody is both");
        commands.disconnect(&of(client, session), CloseCode::ForceDisconnect).await;
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
