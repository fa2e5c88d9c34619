//! The command line as a person meets it: exit codes and messages of the binary, and what configurations come to.

mod config;
mod events;
mod handover;
mod moving;
mod proxies;
mod reload;
mod secrets;
mod serve;
mod service;
mod storage;
mod tls;
mod token;
mod variables;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn without_arguments_it_says_what_to_do() {
    let said = roomcast(&[]).refused();
    assert!(said.contains("roomcast serve --dev"), "{said}");
}

#[test]
fn the_version_is_the_packages() {
    let output = roomcast(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout).trim(), concat!("roomcast ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn dev_mode_stays_on_this_machine_unless_told() {
    let said = roomcast(&["serve", "--dev", "--listen", "0.0.0.0:0"]).refused();
    assert!(said.contains("--dev-anywhere"), "{said}");
}

#[test]
fn a_missing_file_is_named() {
    let said = roomcast(&["serve", "--dev", "--config", "nowhere/chat.toml"]).refused();
    assert!(said.contains("nowhere/chat.toml") && said.contains("--config"), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let output = roomcast(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", "/dev/null/data"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("/dev/null/data") && said.contains("--data-dir"), "{said}");
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = TempDir::new();
    let output = roomcast(&["serve", "--dev", "--listen", &address, "--data-dir", data.path()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("roomcast: ") && last.contains(&address) && last.contains("--listen"), "{said}");
}

#[test]
fn a_server_is_well_logs_to_both_places_and_ends_when_told() {
    let data = TempDir::new();
    let arguments = ["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data.path(), "--log-format", "json"];
    let mut server = command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = String::new();
    let url = lines.by_ref().inspect(|line| said.push_str(line)).find_map(|line| {
        let (_, address) = line.split_once("listening on http://")?;
        Some(format!("http://{}/health", address.split(['"', ' ', '/']).next()?))
    });
    let url = url.unwrap_or_else(|| panic!("it never said where it listens: {said}"));
    let well = roomcast(&["health", "--url", &url]);

    let told = Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(told.success());
    said.extend(lines);
    assert_eq!(server.wait().unwrap().code(), Some(0), "{said}");
    assert_eq!(well.status.code(), Some(0), "{}", text(&well.stderr));
    assert!(!said.contains("API"), "what nobody has asked for is not spoken of: {said}");

    let logs: Vec<_> = std::fs::read_dir(format!("{}/logs", data.path())).unwrap().flatten().collect();
    assert_eq!(logs.len(), 1, "one file a day");
    let logged = std::fs::read_to_string(logs[0].path()).unwrap();
    assert!(logged.contains("listening on") && logged.starts_with('{'), "{logged}");
}

#[test]
fn health_follows_the_servers_answer() {
    for (status, code) in [("200 OK", 0), ("503 Service Unavailable", 1)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Enough for all of it: who hangs up with something unread takes back what it has said.
            let mut request = [0; 1024];
            let count = stream.read(&mut request).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            text(&request[..count])
        });
        assert_eq!(roomcast(&["health", "--url", &url]).status.code(), Some(code), "{status}");
        assert!(server.join().unwrap().starts_with("GET /health HTTP/1.1\r\n"));
    }
}

#[test]
fn health_of_nobody_is_a_failure_and_of_nonsense_a_refusal() {
    // A port that was free a moment ago: nobody listens on it.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = roomcast(&["health", "--url", &format!("http://{free}/health")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is the server running"), "{}", text(&output.stderr));

    let said = roomcast(&["health", "--url", "ftp://127.0.0.1/"]).refused();
    assert!(said.contains("http://"), "{said}");
}

#[test]
fn the_default_configuration_passes_its_own_check() {
    let printed = roomcast(&["config", "default"]);
    let file = TempFile::new("default.toml", &text(&printed.stdout));
    let output = roomcast(&["config", "check", file.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let shown = roomcast(&["config", "show", file.path()]);
    assert_eq!(text(&shown.stdout), text(&printed.stdout), "showing what was read prints it again");
}

#[test]
fn the_documentation_prints_the_default_configuration() {
    let page = include_str!("../../docs/server.md");
    let (_, block) = page.split_once("\n## Every option, with its default\n```toml\n").expect("the section");
    let (block, _) = block.split_once("```\n").expect("its end");
    let printed = roomcast(&["config", "default"]);
    let advice = "put the output of `roomcast config default` into docs/server.md";
    assert_eq!(block, text(&printed.stdout), "{advice}");
}

#[test]
fn check_points_at_the_line_and_the_option_meant() {
    let file = TempFile::new("typo.toml", "[client]\n\nping_intervall = \"25s\"\n");
    let said = roomcast(&["config", "check", file.path()]).refused();
    assert!(said.contains("typo.toml:3") && said.contains("did you mean `client.ping_interval`"), "{said}");
}

#[test]
fn a_variable_that_means_nothing_is_a_warning() {
    let mut command = command(&["config", "check"]);
    let output = command.env("ROOMCAST_CLIENT_PING_INTERVALL", "25s").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("ROOMCAST_CLIENT_PING_INTERVAL?"), "{}", text(&output.stderr));
}

#[test]
fn check_says_all_that_is_wrong_and_takes_the_file_as_serve_does() {
    let file = TempFile::new("wrong.toml", "[client]\nchanel_limit = 1\nping_interval = 25\n");
    for arguments in [&["config", "check", file.path()][..], &["config", "check", "--config", file.path()]] {
        let output = roomcast(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("wrong.toml:2") && said.contains("wrong.toml:3"), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
    }
}

#[test]
fn a_file_of_no_name_is_refused_and_a_variable_without_one_says_nothing() {
    let said = roomcast(&["config", "check", "--config", ""]).refused();
    assert!(said.contains("--config names no file"), "{said}");
    for tool in [&["config", "check"][..], &["health", "--url", "ftp://a"], &["history", "a", "--data-dir", "nowhere"]]
    {
        let output = command(tool).env("ROOMCAST_CONFIG", "").env("ROOMCAST_HEALTH_URL", "").output().unwrap();
        let said = text(&output.stderr);
        assert!(!said.contains("Usage") && !said.contains("names no file"), "{tool:?}: {said}");
    }
    let output = command(&["health"]).env("ROOMCAST_HEALTH_URL", "").output().unwrap();
    assert!(!text(&output.stderr).contains("begin with http://"), "{}", text(&output.stderr));
}

#[test]
fn where_to_listen_is_said_as_people_say_it() {
    // A host that is not of this machine names the place that was looked at.
    for listen in ["localhost:0", "127.0.0.1", "localhost"] {
        let output = roomcast(&["serve", "--dev", "--listen", listen, "--data-dir", "/dev/null/data"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{listen}: {said}");
        assert!(said.contains("/dev/null/data"), "it was read, and the next thing is wrong: {said}");
    }
    for listen in ["example.com:80", "127.0.0.1:http", ""] {
        let said = roomcast(&["serve", "--dev", "--listen", listen]).refused();
        assert!(said.contains("--listen") && said.contains("localhost:8000"), "{said}");
    }
    let said = roomcast(&["serve", "--dev", "--listen", "0.0.0.0"]).refused();
    assert!(said.contains("0.0.0.0:8000") && said.contains("--dev-anywhere"), "{said}");
}

#[test]
fn output_that_nobody_takes_is_a_failure() {
    let file = TempFile::new("c.toml", "");
    for arguments in [
        &["config", "show", file.path()][..],
        &["config", "check", file.path()],
        &["config", "default"],
        &["--help"],
        &["--version"],
    ] {
        let full = std::fs::File::create("/dev/full").unwrap();
        let output = command(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains("the standard output takes nothing"), "{arguments:?}: {said}");
    }
}

#[test]
fn make_run_takes_a_port_and_more() {
    let make = |more: &[&str]| {
        let output = Command::new("make")
            .args(["-n", "run"])
            .args(more)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .output();
        text(&output.expect("make").stdout)
    };
    assert!(make(&["PORT=8001"]).contains("serve --dev --listen 127.0.0.1:8001"));
    assert!(make(&["ARGS=--log-level debug"]).contains("--log-level debug"));
    assert!(make(&[]).contains("PORT=8001"), "it says how");
}

/// The binary with these arguments, none of our variables, and nobody at the keyboard.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.args(arguments).stdin(Stdio::null()).current_dir(env!("CARGO_TARGET_TMPDIR"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ROOMCAST_")) {
        command.env_remove(name);
    }
    command
}

fn roomcast(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

trait Refused {
    /// The one line that a request which cannot work is answered with.
    fn refused(&self) -> String;
}

impl Refused for Output {
    fn refused(&self) -> String {
        let said = text(&self.stderr);
        assert_eq!(self.status.code(), Some(2), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "a refusal is one line: {said}");
        assert!(said.starts_with("roomcast: "), "{said}");
        said
    }
}

/// A file that goes away with the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let path = unique(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A directory that is not there yet, and goes away with the test.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        Self(unique("data"))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn unique(name: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{number}-{name}"))
}
