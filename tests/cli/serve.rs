//! A server as its operator runs it: signals, and logs that strangers write much into.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use crate::{TempDir, TempFile, command, text};

/// A server of its own, killed if it is still there at the end.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) data: TempDir,
    /// What it says after where it listens.
    said: BufReader<ChildStderr>,
}

impl Served {
    pub(crate) fn start(more: &[&str], through: Option<&str>) -> Self {
        let data = TempDir::new();
        Self::start_as(&[&["--dev"], more].concat(), through, data)
    }

    pub(crate) fn start_as(more: &[&str], through: Option<&str>, data: TempDir) -> Self {
        let arguments = [&["serve", "--listen", "127.0.0.1:0", "--data-dir", data.path()], more].concat();
        let mut command = command(&arguments);
        if let Some(through) = through {
            let binary = command.get_program().to_owned();
            let mut other = Command::new(through);
            other.arg(binary).args(&arguments).stdin(Stdio::null()).stdout(Stdio::null());
            command = other;
        }
        Self::started(command, data)
    }

    pub(crate) fn started(mut command: Command, data: TempDir) -> Self {
        Self::of(command.stderr(Stdio::piped()).spawn().unwrap(), data)
    }

    /// One whose standard error is piped.
    pub(crate) fn of(mut child: Child, data: TempDir) -> Self {
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it never said where it listens");
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.split(['"', ' ', '/', '\n']).next().unwrap().to_owned();
            }
        };
        Self { child, address, data, said }
    }

    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap()
    }

    pub(crate) fn is_well(&self) -> bool {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200 ")
    }

    /// Knocks that often as a page that may not connect, with an origin that is long.
    fn knock(&self, times: usize) {
        let origin = format!("https://{}.example", "x".repeat(7_000));
        let request = format!("GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n");
        let mut stream = BufReader::new(TcpStream::connect(&self.address).unwrap());
        for _ in 0..times {
            stream.get_mut().write_all(request.as_bytes()).unwrap();
            let mut length = 0;
            loop {
                let mut line = String::new();
                assert!(stream.read_line(&mut line).unwrap() > 0, "it hung up");
                if let Some(bytes) = line.strip_prefix("content-length: ") {
                    length = bytes.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
        }
    }

    pub(crate) fn logged(&self) -> String {
        logged(&self.data)
    }
}

/// What a server has logged there.
fn logged(data: &TempDir) -> String {
    let logs = Path::new(data.path()).join("logs");
    let files = std::fs::read_dir(logs).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    text(&files.collect::<Vec<_>>().concat())
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_terminal_that_goes_lets_the_server_drain() {
    let data = TempDir::new();
    let serve = command(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data.path()]);
    let words = std::iter::once(serve.get_program()).chain(serve.get_args()).map(|word| word.to_str().unwrap());
    let words = format!("exec {}", words.collect::<Vec<_>>().join(" "));
    // A terminal of its own, which goes with the program that has made it.
    let mut terminal = Command::new("script")
        .args(["--quiet", "--flush", "--command", &words, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(terminal.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("listening on")), "it never said where it listens");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    let began = std::time::Instant::now();
    while !logged(&data).contains("drained") {
        assert!(began.elapsed().as_secs() < 60, "it goes on without its terminal: {}", logged(&data));
        std::thread::yield_now();
    }
}

#[test]
fn a_server_that_is_to_outlive_its_terminal_does() {
    let mut server = Served::start(&[], Some("nohup"));
    server.signal("-HUP");
    // One signal is taken before the other, and what comes between is answered.
    assert!(server.is_well());
    assert!(!server.logged().contains("draining"));
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn strangers_fill_no_disk_through_the_log() {
    let mut server = Served::start(&[], None);
    server.knock(2_000);
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    let logged = server.logged();
    let knocks = logged.lines().filter(|line| line.contains("not let in") && !line.contains("left_out")).count();
    assert_eq!(knocks, 200, "{}", &logged[..logged.len().min(4_000)]);
    assert!(logged.contains("(7016 bytes)"), "what they send is cited in part");
    assert!(logged.contains("left_out=1800 like=\"not let in: "), "what is left out is counted");
    assert!(logged.len() < 200_000, "{} bytes", logged.len());
}

#[test]
fn the_files_of_a_log_are_so_many_and_hold_so_many_bytes() {
    let bounds = "[log]\nlevel = \"debug\"\nfiles_max = 3\nbytes_max = 1048576\nrepeats_max = 0\n";
    let file = TempFile::new("log.toml", bounds);
    let mut server = Served::start(&["--config", file.path()], None);
    server.knock(6_000);
    assert!(server.is_well());
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    let files = std::fs::read_dir(format!("{}/logs", server.data.path())).unwrap().flatten();
    let sizes: Vec<u64> = files.map(|file| file.metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    let most = 1_048_576 / 8 + 4_096;
    assert!(sizes.iter().all(|size| *size < most), "{sizes:?}");
    assert!(server.logged().contains("drained"), "the newest are kept");
}

#[test]
fn a_console_that_is_stuck_holds_up_nobody() {
    let mut server = Served::start(&["--log-level", "trace"], None);
    // Nobody reads what it says, which is far more than a pipe holds.
    server.knock(2_000);
    assert!(server.is_well());
    server.signal("-TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0), "it ends all the same");
    assert!(server.logged().contains("drained"), "the file has it to the end");
}

#[test]
fn a_server_that_lets_nobody_in_says_so() {
    let mut server = Served::start_as(&[], None, TempDir::new());
    assert!(server.is_well());
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    let logged = server.logged();
    assert!(logged.contains("no client can connect") && logged.contains("[client.token]"), "{logged}");
    let file = TempFile::new("keys.toml", "[client.token]\nhmac_secret_key = \"hush\"\n");
    let mut server = Served::start_as(&["--config", file.path()], None, TempDir::new());
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.logged().contains("no client can connect") && !server.logged().contains("hush"));
}

#[test]
fn a_log_file_that_is_named_is_written_and_no_other() {
    let folder = TempDir::new();
    let place = Path::new(folder.path()).join("of/site.log");
    let file = TempFile::new("log.toml", &format!("[log]\nfile = {:?}\n", place.to_str().unwrap()));
    let mut server = Served::start(&["--config", file.path()], None);
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    let logged = std::fs::read_to_string(&place).unwrap();
    assert!(logged.contains("listening on http://") && logged.contains("drained"), "{logged}");
    assert!(!Path::new(server.data.path()).join("logs").exists());
}

/// Every core, file and log has descriptors of its own: what is announced is what is left.
#[test]
fn as_many_connections_are_taken_as_are_announced() {
    let data = TempDir::new();
    let limited = "ulimit -n 160; exec \"$0\" \"$@\"";
    let mut other = Command::new("sh");
    let binary = command(&[]).get_program().to_owned();
    other.arg("-c").arg(limited).arg(binary);
    other.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--shards", "16", "--data-dir", data.path()]);
    let mut child = other.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut after = |before: &str| {
        let found = said.find_map(|line| line.split_once(before).map(|(_, rest)| rest.to_owned()));
        found.unwrap_or_else(|| panic!("{before} is not said"))
    };
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let announced: usize = digits(&after("connections_max=")).parse().unwrap();
    let address = after("listening on http://").split(['"', ' ', '/']).next().unwrap().to_owned();
    assert!((8..100).contains(&announced), "{announced}");
    let status = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut first = String::new();
        BufReader::new(&stream).read_line(&mut first).unwrap();
        (first.contains(" 200 "), first, stream)
    };
    let open: Vec<_> = (0..announced).map(|_| status()).collect();
    assert!(open.iter().all(|(is_good, ..)| *is_good), "{announced}: {open:?}");
    let (_, first, _) = status();
    assert!(first.starts_with("HTTP/1.1 503 "), "{first}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_server_that_could_take_no_connection_does_not_start() {
    let data = TempDir::new();
    let mut other = Command::new("sh");
    other.arg("-c").arg("ulimit -n 64; exec \"$0\" \"$@\"").arg(command(&[]).get_program());
    other.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--shards", "1", "--data-dir", data.path()]);
    let output = other.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("64 open files are allowed") && said.contains("ulimit -n"), "{said}");
}
