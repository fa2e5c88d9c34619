//! Handing over: a process that serves gives its sockets and rooms to the next one, without a break.
//!
//! What either side does when is decided by a state machine without I/O: [`giver`] of the process that has the rooms, [`taker`] of the
//! one that wants them. They speak in messages ([`message`]) over a Unix socket ([`channel`]), and whoever does what takes its time says
//! meanwhile that it is at work ([`at_work`]). [`old_process`] and [`new_process`] carry out what they decide; [`opening`] waits for the
//! database, [`staging`] has the clients of the old process come to the new one little by little, and [`successor`] starts that.
//!
//! It uses `net`, `client` and everything below. It is used by the server itself, in `lib.rs`.

pub(crate) mod at_work;
pub(crate) mod channel;
pub(crate) mod giver;
pub(crate) mod message;
pub(crate) mod new_process;
pub(crate) mod old_process;
pub(crate) mod opening;
pub(crate) mod staging;
pub(crate) mod successor;
pub(crate) mod taker;
