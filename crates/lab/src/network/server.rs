//! The server under load: one of our own, started for the run, or one that is there already.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::Fault;
use crate::load::{command_ending_with_us, free_address, wait_until_it_listens};
use crate::scenario::Scenario;

/// Where the server of a run comes from.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Server {
    /// A server that is there: `ws://host:port/path`. Without one, one is started.
    pub url: Option<String>,
    /// Its process, where that is on this machine: then its processor time and memory are told as well.
    pub process: Option<u32>,
    /// The program to start; without one, this one.
    pub program: Option<PathBuf>,
}

/// Where clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    pub(super) host: String,
    pub(super) path: String,
}

/// A server that ends with the run.
#[derive(Debug)]
pub(super) struct Running {
    child: Option<Child>,
    folder: Option<PathBuf>,
    pub(super) place: Place,
    pub(super) process: Option<u32>,
}

impl Running {
    /// Starts one for that scenario, or finds the one that is there.
    pub(super) fn start(server: &Server, scenario: &Scenario) -> Result<Self, Fault> {
        if let Some(url) = &server.url {
            return Ok(Self { child: None, folder: None, place: Place::parse(url)?, process: server.process });
        }
        let program = match &server.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(Fault::new)?,
        };
        let address = free_address().map_err(Fault::new)?;
        let folder = scratch().map_err(|error| Fault::new(format!("a folder for the server: {error}")))?;
        let config = folder.join("lab.toml");
        fs::write(&config, configuration(scenario)).map_err(Fault::new)?;
        let log = fs::File::create(folder.join("log")).map_err(Fault::new)?;
        let mut command = command_ending_with_us(&program);
        command.args(["serve", "--dev", "--log-level", "error", "--listen", &address.to_string()]);
        command.arg("--config").arg(&config).arg("--data-dir").arg(folder.join("data"));
        if scenario.load.shards > 0 {
            command.args(["--shards", &scenario.load.shards.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(Fault::new)?).stderr(log);
        let child = command.spawn().map_err(|error| Fault::new(format!("{}: {error}", program.display())))?;
        let place = Place { address, host: address.to_string(), path: PATH.to_owned() };
        let process = Some(child.id());
        let mut running = Self { child: Some(child), folder: Some(folder), place, process };
        if let (Some(child), Some(folder)) = (&mut running.child, &running.folder) {
            wait_until_it_listens(child, address, START_LIMIT, &folder.join("log"))
                .map_err(|last| Fault::new(format!("the server did not start: {last}")))?;
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl Place {
    fn parse(url: &str) -> Result<Self, Fault> {
        let wrong = |why: &str| Fault::new(format!("--server {url:?}: {why}; an example is ws://127.0.0.1:8000{PATH}"));
        let rest = url.strip_prefix("ws://").ok_or_else(|| wrong("it should begin with ws://"))?;
        let (host, path) =
            rest.split_once('/').map_or_else(|| (rest, PATH.to_owned()), |(host, path)| (host, format!("/{path}")));
        let path = if path == "/" { PATH.to_owned() } else { path };
        if host.is_empty() || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(wrong("it names no host"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let named = if has_port { host.to_owned() } else { format!("{host}:80") };
        let mut addresses = named.to_socket_addrs().map_err(|error| wrong(&format!("{named}: {error}")))?;
        let address = addresses.next().ok_or_else(|| wrong("the name has no address"))?;
        Ok(Self { address, host: host.to_owned(), path })
    }
}

/// What the scenario asks of a server.
fn configuration(scenario: &Scenario) -> String {
    let load = &scenario.load;
    format!(
        "[log]\nfile = false\n[client]\nrecovery_max_publication_limit = 10000\nping_interval = \"25s\"\n\
         pong_timeout = \"20s\"\n[channel.without_namespace]\nhistory_size = {}\nhistory_ttl = \"1h\"\n\
         force_recovery = true\njoin_leave = false\nforce_push_join_leave = false\nstorage = \"{}\"\n\
         [storage]\noverload = \"wait\"\n",
        load.capacity,
        format!("{:?}", load.storage).to_lowercase()
    )
}

/// A folder of its own.
fn scratch() -> std::io::Result<PathBuf> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = std::env::temp_dir();
    remove_left_behind(&temporary);
    let folder = temporary.join(format!("{SCRATCH}{}-{number}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Removes the folders of labs that were killed, and so could not do it themselves.
fn remove_left_behind(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if owner(&name.to_string_lossy()).is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists())
        {
            // Somebody else's folder stays where it is.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made a folder of that name.
fn owner(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix(SCRATCH)?.split_once('-')?;
    number.parse::<usize>().ok()?;
    process.parse().ok()
}

/// What names of folders begin with; then the process and a number.
const SCRATCH: &str = "roomcast-lab-";
/// Where the protocol is served.
const PATH: &str = "/connection/websocket";
/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_labs_that_are_gone_are_removed_and_no_others() {
        let place = std::env::temp_dir().join(format!("left-behind-{}", std::process::id()));
        let own = format!("{SCRATCH}{}-0", std::process::id());
        // No process has so large a number.
        let gone = format!("{SCRATCH}4294967295-3");
        let others = [&*own, "roomcast-lab-test-4294967295-x", "roomcast-lab-4294967295", "elsewhere"];
        for name in others.into_iter().chain([&*gone]) {
            fs::create_dir_all(place.join(name).join("data")).expect("a folder");
        }
        remove_left_behind(&place);
        let left: Vec<_> = others.iter().filter(|name| place.join(name).exists()).collect();
        let is_gone = !place.join(&gone).exists();
        fs::remove_dir_all(&place).expect("it is ours");
        assert_eq!(left.len(), others.len(), "{left:?}");
        assert!(is_gone, "what a killed lab left behind is still there");
    }

    #[test]
    fn addresses_of_servers_are_read() {
        let place = Place::parse("ws://127.0.0.1:8000").expect("a place");
        assert_eq!((place.address.port(), &*place.path), (8000, PATH));
        assert_eq!(Place::parse("ws://127.0.0.1:9/x/y").expect("a place").path, "/x/y");
        for url in ["http://127.0.0.1:8000", "ws://", "ws:///path", "ws://a b", "8000"] {
            assert!(Place::parse(url).is_err(), "{url}");
        }
    }
}
