//! Logs to the console and to a rolling file.
