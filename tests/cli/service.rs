//! A server as a service manager runs it: sockets that are open already, and what it is told.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::serve::Served;
use crate::{TempDir, TempFile, command};

fn status(address: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn open_sockets_are_taken_by_their_names() {
    let [outside, inside] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [out, within] = [&outside, &inside].map(|socket| socket.local_addr().unwrap());
    let data = TempDir::new();
    let serve = command(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data.path()]);
    // They come as its input and output, and become its descriptors 3 and 4.
    let script = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=site:internal exec \"$@\" 3<&0 4<&1 </dev/null >/dev/null";
    let mut through = Command::new("sh");
    through.args(["-c", script, "sh"]).arg(serve.get_program()).args(serve.get_args());
    through.stdin(OwnedFd::from(outside)).stdout(OwnedFd::from(inside));
    let mut server = Served::started(through, data);
    assert_eq!((status(out, "/"), status(out, "/health")), (200, 404));
    assert_eq!((status(within, "/"), status(within, "/health"), status(within, "/ready")), (404, 200, 200));
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
}

/// Where the system has the program of systemd's that does so.
#[test]
fn systemd_opens_the_socket_and_starts_it() {
    if Command::new("systemd-socket-activate").arg("--version").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let data = TempDir::new();
    let serve = command(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data.path()]);
    let mut activate = Command::new("systemd-socket-activate");
    activate.args(["--listen", &free.to_string()]).arg(serve.get_program()).args(serve.get_args());
    activate.stdin(Stdio::null()).stdout(Stdio::null());
    // It is started by the first who connects, once somebody listens there.
    let first = std::thread::spawn(move || {
        let began = std::time::Instant::now();
        loop {
            match TcpStream::connect(free) {
                Ok(stream) => break stream,
                Err(_) => assert!(began.elapsed() < Duration::from_secs(60), "nobody listens"),
            }
            std::thread::yield_now();
        }
    });
    let mut server = Served::started(activate, data);
    first.join().unwrap();
    assert_eq!((server.address.clone(), status(free, "/ready")), (free.to_string(), 200));
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_platform_asks_where_it_is_told_to() {
    let file =
        TempFile::new("health.toml", "[health]\nhandler_prefix = \"/alive\"\nready_handler_prefix = \"/open\"\n");
    let server = Served::start(&["--config", file.path()], None);
    let address = server.address.parse().unwrap();
    let asked = ["/alive", "/open", "/health", "/ready"].map(|path| status(address, path));
    assert_eq!(asked, [200, 200, 404, 404]);
}

#[test]
fn the_service_manager_is_told_what_the_server_does() {
    let data = TempDir::new();
    let place = Path::new(data.path()).join("notify");
    std::fs::create_dir_all(data.path()).unwrap();
    let manager = UnixDatagram::bind(&place).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let hears = |what: &str| {
        let mut bytes = [0; 512];
        loop {
            let length = manager.recv(&mut bytes).expect(what);
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if said.contains(what) {
                return said;
            }
        }
    };
    let mut serve = command(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data.path()]);
    serve.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "2000000");
    let mut server = Served::started(serve, data);
    hears("READY=1");
    hears("WATCHDOG=1");
    server.signal("-HUP");
    let reloading = hears("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    hears("READY=1\nSTATUS=configuration taken over");
    server.signal("-TERM");
    hears("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}
