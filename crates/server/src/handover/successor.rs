//! Starting the next process: this one's program file again, with the same arguments, told to take over.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ops::systemd::Manager;

/// What tells a server to take over.
pub(crate) const TAKE_OVER: &str = "--take-over";
/// What the service manager has said to this process alone.
const OF_THIS_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Starts the next process, one at a time.
#[derive(Debug)]
pub(crate) struct Successors {
    program: io::Result<Program>,
    is_there: Arc<AtomicBool>,
    /// Who is told when nothing comes of it.
    manager: Arc<Manager>,
}

impl Successors {
    /// Of this process.
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self { program: Program::of_this_process(), is_there: Arc::default(), manager }
    }

    /// Starts one, unless the last one is still there; what comes of it is logged.
    pub(crate) fn start(&self) {
        let program = match &self.program {
            Ok(program) => program,
            Err(error) => {
                self.manager.not_handed_over("it is not known how this process was started");
                return tracing::error!(%error, "it is not known how this process was started");
            }
        };
        if self.is_there.swap(true, Ordering::AcqRel) {
            return tracing::warn!("a process that is to take over has been started already");
        }
        let (path, is_there, manager) =
            (program.path().display(), Arc::clone(&self.is_there), Arc::clone(&self.manager));
        let child = program.start_successor().inspect(|child| {
            tracing::info!(%path, process = child.id(), "started the process that is to take over");
        });
        // Somebody has to hear of its end, and that may take as long as this process is there.
        let waits = child.and_then(|mut child| {
            let process = child.id();
            std::thread::Builder::new().name("roomcast-successor".to_owned()).spawn(move || {
                match child.wait() {
                    Ok(status) => {
                        tracing::error!(%status, "the process that was to take over has ended");
                        // Of one that has taken over the manager knows more than this one.
                        manager.not_handed_over(&format!("process {process} has ended ({status})"));
                    }
                    Err(error) => tracing::error!(%error, "of the process that was to take over nothing is known"),
                }
                is_there.store(false, Ordering::Release);
            })
        });
        if let Err(error) = waits {
            tracing::error!(%path, %error, "the process that is to take over could not be started");
            self.manager.not_handed_over("the new process could not be started");
            self.is_there.store(false, Ordering::Release);
        }
    }
}

/// How this process was started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// As it was named: behind the name there may be another file by now.
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// As the system says.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().map(PathBuf::from).unwrap_or_default();
        let path = match name.components().count() {
            0 => std::env::current_exe()?,
            // It is looked for where programs are, as it was before.
            1 if !name.has_root() && !name.starts_with(".") => name,
            _ => std::path::absolute(&name)?,
        };
        Ok(Self { path, arguments: arguments.collect() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it once more, to take over.
    ///
    /// # Errors
    /// When the system does not.
    pub(crate) fn start_successor(&self) -> io::Result<Child> {
        self.command().spawn()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        if !self.arguments.iter().any(|argument| argument == TAKE_OVER) {
            command.arg(TAKE_OVER);
        }
        for variable in OF_THIS_PROCESS {
            command.env_remove(variable);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_to_take_over_once_and_nothing_that_was_said_to_this_one() {
        for arguments in [&["serve", "--dev"][..], &["serve", "--dev", "--take-over"]] {
            let program = Program { path: "/a/b".into(), arguments: arguments.iter().map(OsString::from).collect() };
            let command = program.command();
            assert_eq!(command.get_args().collect::<Vec<_>>(), ["serve", "--dev", "--take-over"]);
            let cleared: Vec<_> =
                command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
            assert_eq!(cleared, ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_PID"]);
        }
        assert!(Program::of_this_process().unwrap().path().is_absolute());
    }
}
