//! TLS as its operator meets it: what is refused at the start, and who asks how the server is.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::{Refused as _, TempDir, TempFile, command, roomcast, text};

struct Pair {
    certificate: TempFile,
    key: TempFile,
}

impl Pair {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        Self { certificate: TempFile::new("cert.pem", &certificate), key: TempFile::new("key.pem", &key) }
    }
}

fn tls(certificate: &str, key: &str) -> String {
    format!("[http_server.tls]\nenabled = true\ncert_pem = {certificate:?}\nkey_pem = {key:?}\n")
}

#[test]
fn a_server_does_not_start_with_a_certificate_that_it_cannot_show() {
    let (one, other) = (Pair::new(), Pair::new());
    let no_certificate = TempFile::new("no.pem", "-----BEGIN NOTHING-----\n-----END NOTHING-----\n");
    let [certificate, key, foreign, none] =
        [&one.certificate, &one.key, &other.key, &no_certificate].map(|file| file.path());
    for (written, expected) in [
        (tls(certificate, foreign), "`key_pem` is not the key of the first certificate"),
        (tls(none, key), "`cert_pem`: expected certificates"),
        (tls(certificate, certificate), "`key_pem`: expected a private key"),
        (tls(certificate, "/nowhere/key.pem"), "as a path it cannot be read"),
        ("[http_server.tls]\nenabled = true\n".to_owned(), "needs `cert_pem`"),
        (format!("{}client_ca_pem = {none:?}\n", tls(certificate, key)), "`client_ca_pem`: expected certificates"),
        (
            format!(
                "[http_server]\ninternal_tls = {{ enabled = true, cert_pem = {certificate:?}, key_pem = {key:?} }}\n"
            ),
            "needs a port of its own",
        ),
    ] {
        let file = TempFile::new("c.toml", &written);
        let said = roomcast(&["serve", "--config", file.path()]).refused();
        assert!(said.contains(expected) && said.contains("c.toml:"), "{expected}: {said}");
        assert!(!said.contains("PRIVATE KEY-----\n"), "{said}");
    }
}

#[test]
fn health_is_asked_over_tls_and_over_unix_sockets() {
    let (pair, data) = (Pair::new(), TempDir::new());
    std::fs::create_dir_all(data.path()).unwrap();
    let socket = format!("{}/socket", data.path());
    let written = format!("[http_server]\nunix_socket = {socket:?}\n{}", tls(pair.certificate.path(), pair.key.path()));
    let file = TempFile::new("c.toml", &written);
    let arguments = ["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data.path(), "--config", file.path()];
    let mut server = command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let port = lines.by_ref().find_map(|line| {
        let (_, address) = line.split_once("listening on https://127.0.0.1:")?;
        Some(address.split(['"', ' ', '/']).next()?.to_owned())
    });
    lines.by_ref().find(|line| line.contains("listening on unix:"));
    let url = format!("https://localhost:{}/health", port.expect("it says where it listens"));
    let ask = |more: &[&str]| roomcast(&[&["health", "--url", &url], more].concat());
    for (more, expected) in
        [(&["--ca", pair.certificate.path()][..], 0), (&["--insecure"], 0), (&[], 1), (&["--ca", "/nowhere"], 2)]
    {
        let output = ask(more);
        assert_eq!(output.status.code(), Some(expected), "{more:?}: {}", text(&output.stderr));
    }
    let output = roomcast(&["health", "--unix-socket", &socket]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    server.kill().unwrap();
    server.wait().unwrap();
}
