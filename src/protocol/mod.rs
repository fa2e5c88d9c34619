//! Commands, replies and pushes of the Centrifugo client protocol, with their encodings; no I/O.
