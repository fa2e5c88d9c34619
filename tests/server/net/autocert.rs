//! Certificates that the server fetches for itself, from Pebble, the ACME server that Let's Encrypt tests clients with.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use roomcast_server::config::{Config, Pem};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::authority::{Authority, TlsSocket, dial_tls};
use crate::crash::Process;
use crate::harness::{Client, Folder, Running, dial, eventually, metric};

/// What is needed to start Pebble, and again.
struct Issuer {
    program: PathBuf,
    folder: Folder,
    /// Who vouches for Pebble's own server.
    authority: Authority,
    acme: u16,
    management: u16,
    /// Where it asks whether names lead here.
    http: u16,
}

/// Pebble, running.
struct Pebble(Child);

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Issuer {
    /// Nothing, said aloud, where there is no Pebble to be had.
    fn new() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/server/net/pebble.sh");
        let built = Command::new("sh").arg(script).stderr(Stdio::null()).output().expect("a shell");
        let said = String::from_utf8(built.stdout).expect("text");
        if !built.status.success() {
            writeln!(std::io::stdout(), "not run: {}", said.trim()).expect("an output");
            return None;
        }
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        let (acme, management, http) = (free(), free(), free());
        let (program, folder) = (PathBuf::from(said.trim()), Folder::new());
        std::fs::create_dir_all(&folder.0).expect("a folder");
        Some(Self { program, folder, authority: Authority::new(), acme, management, http })
    }

    /// A server that fetches its certificate there.
    fn server(&self, change: impl FnOnce(&mut Config)) -> Running {
        Running::with(|config| {
            config.http_server.internal_port = Some(0);
            config.http_server.tls_external = true;
            let options = &mut config.http_server.tls_autocert;
            options.enabled = true;
            options.host_whitelist = vec!["chat.example".to_owned()];
            options.cache_dir = Some(self.cache());
            options.email = Some("ann@chat.example".to_owned());
            options.http_addr = format!("127.0.0.1:{}", self.http);
            options.directory_url = format!("https://localhost:{}/dir", self.acme);
            options.directory_ca_pem = Some(Pem::read(&self.authority.certificate).expect("PEM"));
            options.retry_interval = Duration::from_secs(1);
            change(config);
        })
    }

    fn cache(&self) -> PathBuf {
        self.folder.0.join("cache")
    }

    /// Starts Pebble, which finds each name at this machine, and signs for so many seconds.
    fn start(&self, seconds: u32, tls: SocketAddr) -> Pebble {
        let own = self.authority.vouch_for("localhost");
        let file = |name: &str, text: &str| {
            let path = self.folder.0.join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let [certificate, key] = [file("own.pem", &own.certificate), file("own.key", &own.key)];
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.acme),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": certificate, "privateKey": key,
            "httpPort": self.http, "tlsPort": tls.port(),
            "retryAfter": {"authz": 1, "order": 1},
            "profiles": {"default": {"description": "one", "validityPeriod": seconds}},
        }});
        let config = file("pebble.json", &config.to_string());
        let pebble = Command::new(&self.program)
            .arg("-config")
            .arg(config)
            .args(["-dnsserver", &names().to_string(), "-strict"])
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "20")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let pebble = Pebble(pebble.expect("Pebble starts"));
        eventually("Pebble listens", || TcpStream::connect(("127.0.0.1", self.management)).is_ok());
        pebble
    }

    /// Clients that believe what Pebble signs.
    fn client(&self) -> ClientConfig {
        let inside = Arc::new(self.authority.client(&[&TLS13], None));
        let name = ServerName::try_from("localhost").expect("a name");
        let socket = dial(SocketAddr::from(([127, 0, 0, 1], self.management)));
        let mut stream = StreamOwned::new(ClientConnection::new(inside, name).expect("a client"), socket);
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("a request");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(answer.as_bytes()).expect("a certificate");
        roots.add(root).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
        builder.expect("versions").with_root_certificates(roots).with_no_client_auth()
    }
}

/// A name server that finds each name at this machine.
fn names() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || name(stream));
        }
    });
    address
}

/// Answers who asks for names, until it goes.
fn name(mut stream: TcpStream) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut asked = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut asked).ok()?;
        // A name is labels, each behind its length, up to one of none; its type and class follow.
        let labels = asked.get(12..)?.iter().position(|byte| *byte == 0)?;
        let question = asked.get(12..12 + labels + 5)?;
        let is_of_ipv4 = question[labels + 2] == 1;
        let head = [0x81, 0x80, 0, 1, 0, u8::from(is_of_ipv4), 0, 0, 0, 0];
        let mut answer = [&asked[..2], &head, question].concat();
        if is_of_ipv4 {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        let length = u16::try_from(answer.len()).ok()?.to_be_bytes();
        stream.write_all(&[&length[..], &answer].concat()).ok()?;
    }
}

fn orders(server: &Running, outcome: &str) -> u64 {
    server.metric(&format!("roomcast_tls_certificate_orders_total{{outcome=\"{outcome}\"}}"))
}

/// The certificate that somebody is shown, who believes it.
fn shown(address: SocketAddr, client: &Arc<ClientConfig>) -> std::io::Result<Vec<u8>> {
    let mut stream = dial_tls(address, client);
    stream.write_all(b"x")?;
    Ok(stream.conn.peer_certificates().expect("a certificate")[0].to_vec())
}

fn ask(address: SocketAddr, path: &str, host: &str) -> String {
    let mut stream = dial(address);
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and an end");
    answer
}

fn join(server: &Running, client: &Arc<ClientConfig>) -> Client<TlsSocket> {
    let mut client = Client::over(dial_tls(server.address, client));
    client.send(r#"{"id":1,"connect":{"data":{"name":"Ann"}}}"#);
    client.reply(1);
    client.subscribe(2, "hall");
    client
}

#[test]
fn a_certificate_is_fetched_over_http_and_outlives_the_server() {
    let Some(issuer) = Issuer::new() else { return };
    let server = issuer.server(|config| config.http_server.tls_autocert.http = true);
    let nobody = Arc::new(Authority::new().client(&[&TLS13, &TLS12], None));
    let refused = shown(server.address, &nobody).expect_err("there is no certificate");
    assert!(refused.to_string().contains("alert"), "it is refused, not left waiting: {refused}");
    eventually("what failed is counted", || orders(&server, "failed") > 0);
    assert!(server.get("/health", "").0.starts_with("HTTP/1.1 200 "), "it serves");

    let pebble = issuer.start(90 * 24 * 60 * 60, server.address);
    let client = Arc::new(issuer.client());
    eventually("there is a certificate", || shown(server.address, &client).is_ok());
    let mut ann = join(&server, &client);
    ann.publish(3, "hall", "\"here\"");
    assert_eq!(ann.publication()["data"], "here");
    eventually("it is counted", || orders(&server, "done") == 1);
    assert!(server.metric("roomcast_tls_certificate_ends_at_seconds") > 0);

    // Where it was asked for, there is nothing else.
    let door = SocketAddr::from(([127, 0, 0, 1], issuer.http));
    let sent = ask(door, "/page/style.css?a=b", "chat.example");
    assert!(sent.contains("\r\nlocation: https://chat.example/page/style.css?a=b\r\n"), "{sent}");
    let nothing = [("/.well-known/acme-challenge/x", "chat.example"), ("/", "evil.example"), ("/health", "localhost")];
    for (path, host) in nothing {
        let answer = ask(door, path, host);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path} {answer}");
    }

    let folder = issuer.cache().join(format!("localhost-{}-dir", issuer.acme));
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    eventually("what failed is forgotten", || !folder.join("chat.example.failed").exists());
    let mut kept: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    kept.sort();
    assert_eq!(kept, [folder.join("account+key.json"), folder.join("chat.example.pem")]);
    assert_eq!((mode(&folder), mode(&kept[0]), mode(&kept[1])), (0o700, 0o600, 0o600));

    let before = shown(server.address, &client).expect("a certificate");
    server.stop().expect("a clean end");
    drop(pebble);
    let server = issuer.server(|config| config.http_server.tls_autocert.http = true);
    assert_eq!(shown(server.address, &client).expect("at once, whoever is not there"), before);
    assert_eq!(orders(&server, "failed") + orders(&server, "done"), 0, "nobody was asked");
}

#[test]
fn a_certificate_is_fetched_in_tls_and_renewed_and_the_old_one_goes_on() {
    let Some(issuer) = Issuer::new() else { return };
    let server = issuer.server(|config| {
        config.http_server.tls_autocert.host_whitelist.push("other.example".to_owned());
        config.http_server.tls_autocert.server_name = Some("chat.example".to_owned());
    });
    let pebble = issuer.start(24, server.address);
    let mut client = issuer.client();
    client.resumption = rustls::client::Resumption::disabled();
    client.enable_sni = false;
    let client = Arc::new(client);
    eventually("there is a certificate, for who names nobody, too", || shown(server.address, &client).is_ok());
    let mut ann = join(&server, &client);
    let first = shown(server.address, &client).expect("a certificate");
    eventually("each name has one", || orders(&server, "done") >= 2);
    let mut asked = issuer.client();
    asked.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    assert!(shown(server.address, &Arc::new(asked)).is_err(), "nothing is asked now, and nothing answered");

    eventually("it is renewed before it is over", || shown(server.address, &client).is_ok_and(|now| now != first));
    ann.publish(3, "hall", "\"on\"");
    assert_eq!(ann.publication()["data"], "on", "who is connected stays");
    drop(pebble);
    let failed = orders(&server, "failed");
    let before = shown(server.address, &client).expect("a certificate");
    eventually("what failed is counted", || orders(&server, "failed") > failed);
    assert_eq!(shown(server.address, &client).expect("the old one goes on"), before);
}

/// Each in a process of its own, as they share the place where the authority asks.
#[test]
fn a_process_that_takes_over_shows_what_the_old_one_fetched_and_fetches_beside_it() {
    let Some(issuer) = Issuer::new() else { return };
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let (outside, inside) = (SocketAddr::from(([127, 0, 0, 1], free())), SocketAddr::from(([127, 0, 0, 1], free())));
    let config = |names: &str| {
        format!(
            r#"
[http_server]
port = {}
internal_port = {}
tls_external = true
tls_autocert.enabled = true
tls_autocert.host_whitelist = {names}
tls_autocert.http = true
tls_autocert.http_addr = "127.0.0.1:{}"
tls_autocert.directory_url = "https://localhost:{}/dir"
tls_autocert.directory_ca_pem = """{}"""
tls_autocert.retry_interval = "1s"
[handover]
close_rate = 1
"#,
            outside.port(),
            inside.port(),
            issuer.http,
            issuer.acme,
            issuer.authority.certificate
        )
    };
    let folder = Folder::new();
    let _pebble = issuer.start(90 * 24 * 60 * 60, outside);
    let mut first = Process::spawn(&folder, &config(r#"["chat.example"]"#), &[], &[]);
    let client = Arc::new(issuer.client());
    eventually("there is a certificate", || shown(outside, &client).is_ok());
    let before = shown(outside, &client).expect("a certificate");
    let connected = |_| {
        let mut ann = Client::over(dial_tls(outside, &client));
        ann.send(r#"{"id":1,"connect":{}}"#);
        ann.reply(1);
        ann
    };
    let clients: Vec<_> = (0..40).map(connected).collect();

    let socket = folder.0.join("handover.sock");
    eventually("a socket to ask at", || socket.exists());
    let both = config(r#"["chat.example", "other.example"]"#);
    let _second = Process::spawn(&folder, &both, &["--take-over"], &[]);
    assert_eq!(shown(outside, &client).expect("at once"), before);
    // The authority asks where the old process was asked, which is still there for its clients.
    let done = || metric(inside, r#"roomcast_tls_certificate_orders_total{outcome="done"}"#);
    eventually("there is one for the other name", || done() == 1);
    assert!(first.runs(), "it has clients");
    drop(clients);
}
