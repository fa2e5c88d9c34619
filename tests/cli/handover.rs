//! A process takes over from the one that runs, as an operator has it.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::serve::Served;
use crate::{TempDir, TempFile, command, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a service manager hears.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn at(place: &Path) -> Self {
        let socket = UnixDatagram::bind(place).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, heard: Vec::new() }
    }

    fn hears(&mut self, what: &str) -> String {
        let mut bytes = [0; 512];
        loop {
            let length = self.socket.recv(&mut bytes).expect(what);
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            self.heard.push(said.clone());
            if said.contains(what) {
                return said;
            }
        }
    }

    /// All that has been said so far, and was not asked for.
    fn rest(&mut self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 512];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) => self.heard.push(String::from_utf8_lossy(&bytes[..length]).into_owned()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.socket.set_nonblocking(false).unwrap();
        std::mem::take(&mut self.heard)
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(process: &str, name: &str) -> bool {
    Command::new("kill").args([name, process]).status().unwrap().success()
}

/// Whether it is there, and not merely unburied.
fn runs(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[test]
fn a_server_that_is_told_to_starts_its_program_again_and_hands_over() {
    let (mut manager, mut first) = managed(&[]);
    eventually("a socket to ask at", || socket_of(&first).exists());
    let mut process = first.child.id().to_string();
    for _ in 0..2 {
        manager.rest();
        assert!(signal(&process, "-USR2"));
        let said = manager.hears("MAINPID=");
        let next = said.lines().find_map(|line| line.strip_prefix("MAINPID=")).unwrap().to_owned();
        assert_ne!(next, process);
        if process == first.child.id().to_string() {
            assert_eq!(first.child.wait().unwrap().code(), Some(0));
        } else {
            eventually("the end of the process before", || !runs(&process));
        }
        assert!(first.is_well(), "the same port, another process");
        // Of the new one, since it is the one that is looked after.
        manager.hears("WATCHDOG=1");
        assert!(manager.rest().iter().all(|said| !said.contains("STOPPING=1")), "it is not the service that ends");
        process = next;
    }
    assert!(signal(&process, "-TERM"));
    manager.hears("STOPPING=1");
    eventually("its end", || !runs(&process));
    let said = first.logged();
    assert_eq!(said.matches("handed over: another process serves").count(), 2, "{said}");
}

/// A server that serves, and who is told of it.
fn managed(more: &[&str]) -> (Manager, Served) {
    let data = TempDir::new();
    std::fs::create_dir_all(data.path()).unwrap();
    let place = Path::new(data.path()).join("notify");
    let mut manager = Manager::at(&place);
    let arguments = [&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data.path()], more].concat();
    let mut serve = command(&arguments);
    serve.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "2000000");
    let server = Served::started(serve, data);
    manager.hears("READY=1");
    (manager, server)
}

/// Where it may be asked to hand over.
fn socket_of(server: &Served) -> PathBuf {
    Path::new(server.data.path()).join("handover.sock")
}

#[test]
fn a_new_process_that_cannot_be_used_leaves_the_old_one_as_it_is() {
    let file = TempFile::new("handover.toml", "[handover]\ntimeout = \"1s\"\n");
    let (mut manager, mut server) = managed(&["--config", file.path()]);
    let socket = socket_of(&server);
    eventually("a socket to ask at", || socket.exists());

    std::fs::write(file.path(), "[handover]\ntimeout = \"0s\"\n").unwrap();
    server.signal("-USR2");
    eventually("the end of the new one", || server.logged().contains("the process that was to take over has ended"));
    // The package looks for these words: started anew it would not serve either.
    let status = manager.hears("not handed over");
    assert!(status.contains("STATUS=serving") && status.contains("has ended (exit status: 2)"), "{status}");
    assert!(server.is_well());

    std::fs::write(file.path(), "[handover]\ntimeout = \"1s\"\n").unwrap();
    let take_over = |server: &Served| {
        let arguments = ["serve", "--dev", "--take-over", "--data-dir", server.data.path(), "--config", file.path()];
        command(&arguments).output().unwrap()
    };
    server.signal("-STOP");
    let output = take_over(&server);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().last().unwrap_or_default().contains("did nothing in time"), "{said}");
    server.signal("-CONT");
    assert!(server.is_well());
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_server_that_may_not_be_taken_over_is_not() {
    let file = TempFile::new("handover.toml", "[handover]\nenabled = false\n");
    let (mut manager, mut server) = managed(&["--config", file.path()]);
    server.signal("-USR2");
    eventually("a word about it", || server.logged().contains("`handover.enabled` is false"));
    manager.hears("not handed over: `handover.enabled` is false");
    assert!(server.is_well());
    assert!(!socket_of(&server).exists());
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
}

/// The program as another user, where the tests run as root and others reach it.
fn as_user(user: u32, arguments: &[&str]) -> Command {
    let program = command(arguments);
    let mut other = Command::new("setpriv");
    other.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
    other.arg(program.get_program()).args(arguments).stdin(Stdio::null());
    for (name, _) in program.get_envs() {
        other.env_remove(name);
    }
    other
}

#[test]
fn a_process_of_another_user_takes_nothing_over_and_is_told_whose_the_server_is() {
    const OWNER: u32 = 65_534;
    const STRANGER: u32 = 12_345;
    let runs_as = |user| as_user(user, &["--version"]).output().is_ok_and(|output| output.status.success());
    if !runs_as(OWNER) || !runs_as(STRANGER) {
        let why = "only root starts programs as others, and they have to reach this one";
        return writeln!(std::io::stdout(), "not run: {why}").unwrap();
    }
    let (data, own) = (TempDir::new(), TempDir::new());
    for (folder, user) in [(&data, OWNER), (&own, STRANGER)] {
        std::fs::create_dir_all(folder.path()).unwrap();
        chown(folder.path(), Some(user), Some(user)).unwrap();
    }
    let serve = ["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir"];
    let server = Served::started(as_user(OWNER, &[&serve[..], &[data.path()]].concat()), data);
    let socket = socket_of(&server);
    eventually("a socket to ask at", || socket.exists());

    let refused = |mut command: Command| {
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        said.lines().last().unwrap_or_default().to_owned()
    };
    // Root may, but what it wrote would be nobody else's to write.
    let said = refused(command(&[&serve[..], &[server.data.path(), "--take-over"]].concat()));
    assert!(said.contains("of the user with id 65534") && said.contains("start this one as that user"), "{said}");
    let file = TempFile::new("handover.toml", &format!("[handover]\nsocket = {:?}\n", socket.to_str().unwrap()));
    let arguments = [&serve[..], &[own.path(), "--take-over", "--config", file.path()]].concat();
    let said = refused(as_user(STRANGER, &arguments));
    assert!(said.contains("the user with id 12345 may not ask") && said.contains("id 65534"), "{said}");
    let said = refused(as_user(STRANGER, &[&serve[..], &[server.data.path(), "--take-over"]].concat()));
    assert!(said.contains(server.data.path()) && said.contains("id 12345"), "{said}");
    assert!(server.is_well());
}
