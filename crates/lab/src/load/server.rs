//! Starting a server to be measured: on a port that was free, so that it ends when whoever measures does.

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// The program that ends another one when its parent does.
const SETPRIV: &str = "/usr/bin/setpriv";
/// How often it is looked whether a server listens.
const LOOK: Duration = Duration::from_millis(5);

/// An address of the loopback that nobody listens on.
///
/// # Errors
/// What the system says.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// A command for that program which the system kills when this process is killed, where `setpriv` is installed.
pub fn command_ending_with_us(program: impl AsRef<OsStr>) -> Command {
    if !Path::new(SETPRIV).is_file() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Waits until somebody listens at that address. `log` is the file that the server writes to.
///
/// # Errors
/// The last line of the log when the server has ended or does not listen within the limit.
pub fn wait_until_it_listens(
    child: &mut Child,
    address: SocketAddr,
    limit: Duration,
    log: &Path,
) -> Result<(), String> {
    let end = Instant::now() + limit;
    while TcpStream::connect_timeout(&address, limit).is_err() {
        if !matches!(child.try_wait(), Ok(None)) || Instant::now() > end {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not listen");
            return Err(last.to_owned());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_program_that_ends_without_listening_is_told_with_its_last_line() {
        let log = std::env::temp_dir().join(format!("roomcast-lab-log-{}", std::process::id()));
        std::fs::write(&log, "first\nlast\n\n").expect("a file");
        let mut child = command_ending_with_us("true").stdin(Stdio::null()).spawn().expect("it is everywhere");
        // Nobody listens on a port that only the system may give away.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let told = wait_until_it_listens(&mut child, address, Duration::from_secs(10), &log);
        std::fs::remove_file(&log).expect("it is ours");
        assert_eq!(told, Err("last".to_owned()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        assert_eq!(wait_until_it_listens(&mut child, address, Duration::from_secs(10), &log), Ok(()));
    }
}
