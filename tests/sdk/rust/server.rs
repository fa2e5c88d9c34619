//! The server under test: the real binary, in development mode, on a loopback port, with a configuration of its own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// What stands before the port in the line that says where it listens.
const LISTENING: &str = "listening on http://127.0.0.1:";
/// How long a server may take to drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the server waits for a client unless its configuration says otherwise: on a busy machine, one that is slow for
/// a moment must not be taken for gone. Pings do not come while a test lasts.
const PATIENCE: [(&str, &str); 3] = [("ping_interval", "1h"), ("pong_timeout", "59m"), ("stale_close_delay", "60s")];

/// A running server, which ends with this value.
pub(crate) struct Server {
    process: Child,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    /// Starts a server with this configuration; port 0 takes a free one.
    pub(crate) fn start(config: &str, port: u16) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("roomcast-sdk-rust-{}-{number}", process::id()));
        fs::create_dir_all(&folder).expect("a folder for the server");
        let file = folder.join("roomcast.toml");
        fs::write(&file, config).expect("its configuration");
        let binary = env::var_os("ROOMCAST_BIN").expect("ROOMCAST_BIN names the binary");
        let unsaid = PATIENCE.into_iter().filter(|(option, _)| !config.contains(option));
        let mut process = Command::new(binary)
            .envs(unsaid.map(|(option, delay)| (format!("ROOMCAST_CLIENT_{}", option.to_uppercase()), delay)))
            .args(["serve", "--dev", "--listen", &format!("127.0.0.1:{port}"), "--config"])
            .arg(file)
            .arg("--data-dir")
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(process.stderr.take().expect("it was piped")).lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| line.split_once(LISTENING)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
            .expect("the server says where it listens");
        // Whatever else it says must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        Self { process, folder, port }
    }

    pub(crate) fn url(&self, query: &str) -> String {
        format!("ws://127.0.0.1:{}/connection/websocket{query}", self.port)
    }

    /// A connection token of this user, as the binary signs it by the key of the configuration.
    pub(crate) fn token(&self, user: &str) -> String {
        let binary = env::var_os("ROOMCAST_BIN").expect("ROOMCAST_BIN names the binary");
        let output = Command::new(binary)
            .args(["gentoken", "--quiet", "--user", user, "--config"])
            .arg(self.folder.join("roomcast.toml"))
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("a token is a text").trim().to_owned()
    }

    /// Lets the server drain, and holds that it ended well.
    pub(crate) async fn stop(self) {
        // On a thread of its own: clients have to take part in the end of their connections.
        tokio::task::spawn_blocking(|| self.drain()).await.expect("the server drains");
    }

    fn drain(mut self) {
        let status = Command::new("kill").arg(self.process.id().to_string()).status().expect("kill runs");
        assert!(status.success());
        let deadline = Instant::now() + STOP_TIMEOUT;
        let status = loop {
            match self.process.try_wait().expect("it is ours to wait for") {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("the server did not drain in {STOP_TIMEOUT:?}"),
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        assert!(status.success(), "the server ended with {status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is neither here nor there.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
