//! A server that is told to read its configuration again while it runs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::serve::Served;
use crate::{TempDir, TempFile};

/// A server by a file that can be changed.
struct Reloaded {
    server: Served,
    file: TempFile,
    /// How often it has read the file again.
    times: usize,
}

impl Reloaded {
    fn start(config: &str) -> Self {
        Self::start_with(&[], config)
    }

    fn start_with(more: &[&str], config: &str) -> Self {
        let file = TempFile::new("reload.toml", config);
        let arguments = [&["--config", file.path()], more].concat();
        let server = Served::start_as(&arguments, None, TempDir::new());
        Self { server, file, times: 0 }
    }

    /// Changes the file, has the server read it, and waits until it has.
    fn reload(&mut self, config: &str) {
        std::fs::write(self.file.path(), config).unwrap();
        self.server.signal("-HUP");
        self.times += 1;
        self.until(|this| this.reloads("taken") + this.reloads("refused") == this.times);
        // Its last word is written by a thread of its own.
        self.until(|this| {
            let logged = this.server.logged();
            let last_words = ["configuration taken over", "the configuration cannot be used"];
            last_words.iter().map(|words| logged.matches(words).count()).sum::<usize>() >= this.times
        });
    }

    fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(60), "it never came: {}", self.server.logged());
            std::thread::yield_now();
        }
    }

    fn reloads(&self, result: &str) -> usize {
        let (_, metrics) = self.ask("GET /metrics", "", "");
        let name = format!("roomcast_config_reloads_total{{result=\"{result}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    }

    /// Status and body of the answer.
    fn ask(&self, what: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.server.address).unwrap();
        let length = body.len();
        let head = format!("{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
        stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn api(&self, key: &str, method: &str, body: &str) -> (u16, String) {
        self.ask(&format!("POST /api/{method}"), &format!("X-API-Key: {key}\r\n"), body)
    }

    /// A client that connects, and says that.
    fn client(&self, commands: &str) -> Client {
        let mut stream = TcpStream::connect(&self.server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = format!("{{\"id\":1,\"connect\":{{}}}}\n{commands}");
        let head = "POST /connection/http_stream HTTP/1.1\r\nHost: localhost\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        Client(BufReader::new(stream))
    }
}

/// A client, which reads its answer for as long as it lasts.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Reads on until a line says that.
    fn hears(&mut self, what: &str) -> String {
        let mut heard = String::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "it ended before {what}: {heard}");
            heard.push_str(&line);
            if line.contains(what) {
                return line;
            }
        }
    }
}

const OPEN: &str = "[client]\nallow_anonymous_connect_without_token = true\n";

fn namespace(name: &str, more: &str) -> String {
    let open = "allow_subscribe_for_client = true\nallow_subscribe_for_anonymous = true\n";
    format!("[[channel.namespaces]]\nname = \"{name}\"\n{open}{more}\n")
}

fn api_key(key: &str) -> String {
    format!("[http_api]\nkey = \"{key}\"\n")
}

fn subscribe(room: &str) -> String {
    format!("{{\"id\":2,\"subscribe\":{{\"channel\":\"{room}\"}}}}")
}

#[test]
fn what_is_live_is_taken_over_and_what_is_not_is_named() {
    let (chat, news) = (namespace("chat", ""), namespace("news", ""));
    let mut it = Reloaded::start(&[OPEN, &api_key("first"), &chat].concat());
    let mut inside = it.client(&subscribe("chat:1"));
    inside.hears("\"id\":2,\"subscribe\"");
    assert!(it.client(&subscribe("news:1")).hears("\"id\":2").contains("\"code\":102"));
    assert_eq!((it.api("first", "info", "{}").0, it.api("second", "info", "{}").0), (200, 401));

    let changed = [OPEN, &api_key("second"), &news, "[log]\nlevel = \"debug\"\nformat = \"json\"\n"].concat();
    it.reload(&changed);
    assert_eq!((it.reloads("taken"), it.reloads("refused")), (1, 0));
    assert!(inside.hears("unsubscribe").contains("\"code\":2500"), "its namespace is gone");
    assert!(it.client(&subscribe("chat:1")).hears("\"id\":2").contains("\"code\":102"));
    it.client(&subscribe("news:1")).hears("\"id\":2,\"subscribe\"");
    assert_eq!((it.api("first", "info", "{}").0, it.api("second", "info", "{}").0), (401, 200));
    let logged = it.server.logged();
    assert!(logged.contains("option=\"log.format\"") && !logged.contains("option=\"log.level\""), "{logged}");
    assert!(logged.contains("DEBUG") && !logged.contains("second"), "the level is another, and no key is told");

    it.reload(&[OPEN, &api_key("second"), &news, &chat].concat());
    it.client(&subscribe("chat:1")).hears("\"id\":2,\"subscribe\"");
}

#[test]
fn a_client_that_is_connected_is_judged_by_what_holds_now() {
    let may = "allow_publish_for_client = true\nallow_publish_for_anonymous = true\n";
    let mut it = Reloaded::start(&[OPEN, &namespace("chat", may)].concat());
    let mut client = it.client(&subscribe("chat:1"));
    let connected = client.hears("\"connect\"");
    let session = connected.split("\"session\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let publish = |it: &Reloaded, id: u32| {
        let command = format!("{{\\\"id\\\":{id},\\\"publish\\\":{{\\\"channel\\\":\\\"chat:1\\\",\\\"data\\\":1}}}}");
        let body = format!("{{\"session\":\"{session}\",\"node\":\"\",\"data\":\"{command}\"}}");
        assert_eq!(it.ask("POST /emulation", "", &body).0, 204);
    };
    publish(&it, 3);
    client.hears("\"id\":3,\"publish\"");
    it.reload(&[OPEN, &namespace("chat", "")].concat());
    publish(&it, 4);
    assert!(client.hears("\"id\":4").contains("\"code\":103"), "it may not any more");
    it.reload(&[OPEN, &namespace("chat", may)].concat());
    publish(&it, 5);
    client.hears("\"id\":5,\"publish\"");
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_says_why() {
    let good = [OPEN, &api_key("first"), &namespace("chat", "")].concat();
    let mut it = Reloaded::start(&good);
    for (bad, why) in [
        ("[client]\nchanel_limit = 1\n", "reload.toml:2: there is no option `client.chanel_limit`; did you mean"),
        ("[client\n", "reload.toml:1"),
        ("[[channel.namespaces]]\nname = \"chat\"\nhistory_size = 10\n", "`history_size` needs `history_ttl`"),
        // The storage that would make it good counts at a restart.
        ("[[channel.namespaces]]\nname = \"chat\"\nhistory_size = 10\nstorage = \"stored\"\n", "until a restart"),
    ] {
        it.reload(&[bad, &api_key("second")].concat());
        let logged = it.server.logged();
        assert!(logged.contains(why) && logged.contains("nothing has changed"), "{bad}: {logged}");
        assert_eq!(it.api("first", "info", "{}").0, 200, "{bad}");
    }
    std::fs::remove_file(it.file.path()).unwrap();
    it.server.signal("-HUP");
    it.until(|it| it.reloads("refused") == 5);
    assert_eq!(it.reloads("taken"), 0);
    assert!(it.server.is_well());
    it.times = 5;
    it.reload(&good);
    assert_eq!(it.reloads("taken"), 1);
}

#[test]
fn a_namespace_that_is_stored_can_be_new() {
    let stored = namespace("kept", "storage = \"stored\"\nhistory_size = 10\n");
    let mut it = Reloaded::start(&[OPEN, &api_key("key")].concat());
    let publish = |it: &Reloaded| it.api("key", "publish", "{\"channel\":\"kept:1\",\"data\":\"said\"}").1;
    assert!(publish(&it).contains("\"code\":102"));
    it.reload(&[OPEN, &api_key("key"), &stored].concat());
    assert!(publish(&it).contains("\"offset\":1"), "{}", it.server.logged());
    it.reload(&[OPEN, &api_key("key")].concat());
    assert!(publish(&it).contains("\"code\":102"), "what is kept stays, and nobody sees it");
    it.reload(&[OPEN, &api_key("key"), &stored].concat());
    let history = it.api("key", "history", "{\"channel\":\"kept:1\",\"limit\":10}").1;
    assert!(history.contains("\"said\""), "{history}");
}

#[test]
fn hangups_that_come_together_and_while_it_drains_end_nothing_early() {
    let mut it = Reloaded::start_with(&["--dev"], &namespace("chat", ""));
    let mut client = it.client(&subscribe("chat:1"));
    client.hears("\"id\":2,\"subscribe\"");
    for _ in 0..10 {
        it.server.signal("-HUP");
    }
    it.until(|it| it.reloads("taken") > 0);
    it.server.signal("-TERM");
    it.server.signal("-HUP");
    client.hears("\"code\":3001");
    assert_eq!(it.server.wait().code(), Some(0));
    let logged = it.server.logged();
    assert!(logged.contains("drained") && !logged.contains("cannot be used"), "{logged}");
}

/// Whoever has it reload need not know how far it has come.
#[test]
fn a_hangup_that_comes_before_it_has_read_anything_is_a_reload_later() {
    let data = TempDir::new();
    std::fs::create_dir_all(data.path()).unwrap();
    let pipe = std::path::Path::new(data.path()).join("config.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let config = pipe.to_str().unwrap();
    let serve = ["serve", "--config", config, "--listen", "127.0.0.1:0", "--data-dir", data.path()];
    let mut command = crate::command(&serve);
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It waits for its configuration.
    let mut written = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let told = std::process::Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    written.write_all(OPEN.as_bytes()).unwrap();
    drop(written);
    let server = Served::of(child, data);
    // It reads it once more.
    std::fs::write(&pipe, OPEN).unwrap();
    let it = Reloaded { server, file: TempFile::new("none.toml", ""), times: 1 };
    it.until(|it| it.reloads("taken") == 1);
    assert!(it.server.is_well());
}

#[test]
fn limits_on_rates_follow_and_know_what_was_done() {
    let may = "allow_publish_for_client = true\nallow_publish_for_anonymous = true\n";
    let config = |limit: &str| [OPEN, &namespace("chat", may), limit].concat();
    let mut it = Reloaded::start(&config(""));
    let publish = |from: u32, to: u32| {
        let commands =
            (from..to).map(|id| format!("{{\"id\":{id},\"publish\":{{\"channel\":\"chat:1\",\"data\":1}}}}\n"));
        subscribe("chat:1") + "\n" + &commands.collect::<String>()
    };
    it.client(&publish(3, 8)).hears("\"id\":7,\"publish\"");
    let few = "[client.rate_limit.client_command]\npublish = { enabled = true, buckets = [{ interval = \"1h\", rate = 2 }] }\n";
    it.reload(&config(few));
    let mut client = it.client(&publish(3, 6));
    client.hears("\"id\":4,\"publish\"");
    assert!(client.hears("\"id\":5").contains("\"code\":111"));
    // Rates that follow from how many rooms there may be.
    it.reload(&config("").replace("[client]\n", "[client]\nchannel_limit = 2\nmessage_command_limit = 6\n"));
    let mut client = it.client(&publish(3, 6));
    client.hears("\"id\":5,\"publish\"");
    let logged = it.server.logged();
    assert!(!logged.contains("option="), "nothing waits for a restart: {logged}");
}

#[test]
fn who_connects_is_told_how_often_it_is_pinged_from_then_on() {
    let mut it = Reloaded::start(OPEN);
    assert!(it.client("").hears("\"connect\"").contains("\"ping\":25,\"pong\":true"));
    it.reload(&format!("{OPEN}ping_interval = \"40s\"\npong_timeout = \"-1\"\n"));
    let told = it.client("").hears("\"connect\"");
    assert!(told.contains("\"ping\":40") && !told.contains("\"pong\""), "{told}");
}

#[test]
fn certificates_may_have_other_names() {
    let pairs = [(); 2].map(|()| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        (TempFile::new("cert.pem", &certificate), TempFile::new("key.pem", &key))
    });
    let [(first, first_key), (second, second_key)] = &pairs;
    let config = |certificate: &TempFile, key: &TempFile| {
        let (certificate, key) = (certificate.path(), key.path());
        let tls = format!("tls = {{ enabled = true, cert_pem = {certificate:?}, key_pem = {key:?} }}");
        format!("{OPEN}[http_server]\ninternal_port = 0\ntls_external = true\n{tls}\n")
    };
    let mut it = Reloaded::start(&config(first, first_key));
    it.until(|it| it.server.logged().contains("listening on https://"));
    let logged = it.server.logged();
    let port = logged.split("listening on https://127.0.0.1:").nth(1).unwrap().split(['"', ' ', '\n']).next().unwrap();
    let url = format!("https://localhost:{port}/health");
    // It is believed when it is asked; there is no such thing at that port.
    let shows = |certificate: &TempFile| {
        let output = crate::roomcast(&["health", "--url", &url, "--ca", certificate.path()]);
        crate::text(&output.stderr).contains("404")
    };
    assert_eq!((shows(first), shows(second)), (true, false));
    it.reload(&config(second, second_key));
    assert_eq!((shows(first), shows(second)), (false, true));
    it.reload(&config(first, second_key));
    assert_eq!((it.reloads("taken"), it.reloads("refused")), (1, 1), "it is not its key");
    assert_eq!((shows(first), shows(second)), (false, true));
}

#[test]
fn a_backend_that_is_new_is_told_what_the_log_has() {
    let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = backend.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in backend.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = bytes.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            if tell.send(String::from_utf8(body).unwrap()).is_err() {
                return;
            }
        }
    });
    let named = OPEN.replace("[client]\n", "[client]\ninsecure = true\n");
    let room = namespace("chat", "room_events = true\n");
    let mut it = Reloaded::start(&[&*named, &room].concat());
    it.client(&subscribe("chat:1")).hears("\"id\":2,\"subscribe\"");
    let events = format!("[events]\nendpoint = \"http://{address}/\"\nsecret = \"a secret of this test\"\n");
    it.reload(&[&*named, &room, &events].concat());
    assert_eq!(it.reloads("taken"), 1, "{}", it.server.logged());
    let patience = Duration::from_secs(60);
    let first = told.recv_timeout(patience).unwrap();
    assert!(first.contains("\"occupied\"") && first.contains("\"channel\":\"chat:1\""), "{first}");
    it.reload(&[&*named, &room].concat());
    it.client(&subscribe("chat:2")).hears("\"id\":2,\"subscribe\"");
    it.reload(&[&*named, &room, &events.replace("[events]\n", "[events]\nbatch_size = 1\n")].concat());
    while !told.recv_timeout(patience).unwrap().contains("chat:2") {}
}
