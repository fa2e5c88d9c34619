//! A session: command in, actions out, time passed in; no I/O.
