//! The configuration of the server, from file, environment and flags.
