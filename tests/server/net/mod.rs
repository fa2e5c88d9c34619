//! Where the server is reached, and by whom.

mod authority;
mod listeners;
mod proxies;
mod tls;
