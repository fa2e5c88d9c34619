//! Where the server is reached, and by whom.

mod listeners;
