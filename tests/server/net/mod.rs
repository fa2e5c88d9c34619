//! Where the server is reached, and by whom.

mod authority;
mod autocert;
mod listeners;
mod proxies;
mod tls;
