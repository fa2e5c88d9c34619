//! Where the server is reached, and by whom.

pub(crate) mod authority;
mod autocert;
mod listeners;
mod proxies;
mod tls;
