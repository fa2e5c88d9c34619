//! Who is attacked, and where.

use std::net::SocketAddr;
use std::process::Command;

use roomcast_lab::load::free_address;
use server_bench::contenders::{CERTIFICATE, FLOOR, beside_us};
use server_bench::fault::Fault;
use server_bench::process::Place;

/// What the server may hold.
pub(crate) const BUDGET_BYTES: u64 = 1_000_000_000;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours, with rooms in memory and rooms in a database.
    Roomcast,
    /// The one that does nothing but fan out.
    Floor,
}

/// Where attackers find it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where they do over TLS; a server that has no such place is attacked at the other.
    pub(crate) tls_address: SocketAddr,
}

impl Target {
    /// The command that starts a server there, and where it is to be attacked.
    pub(crate) fn command(kind: Kind, place: &Place) -> Result<(Command, Self), Fault> {
        let mut target = Self { address: place.address, tls_address: place.address };
        if kind == Kind::Floor {
            return Ok((FLOOR.command(place)?, target));
        }
        target.tls_address = free_address()?;
        let mut command = Command::new(beside_us("roomcast")?);
        command.args(["serve", "--listen", &place.address.to_string(), "--log-level", "info"]);
        command.arg("--data-dir").arg(place.scratch.join("data"));
        let port = target.tls_address.port();
        let [certificate, key] = CERTIFICATE;
        let config = format!(
            "[memory]\nlimit = {BUDGET_BYTES}\n\n[http_server]\ninternal_port = {port}\nh2c_external = true\ninternal_tls.enabled = true\n\
             internal_tls.cert_pem = \"{certificate}\"\ninternal_tls.key_pem = \"{key}\"\n{CONFIG}"
        );
        command.arg("--config").arg(place.write("roomcast.toml", &config)?);
        Ok((command, target))
    }
}

/// What a site sets that lets strangers into its rooms, and has compression: the limits are the defaults. The attackers count as
/// addresses of the outside.
const CONFIG: &str = r#"
[websocket]
compression = true

[client]
allow_anonymous_connect_without_token = true

[client.rate_limit.ip_connect]
exempt = ["127.0.0.1/32"]

[[channel.namespaces]]
name = "plain"
history_size = 1000
history_ttl = "1h"
presence = true
join_leave = true
force_recovery = true
allow_subscribe_for_anonymous = true
allow_publish_for_client = true
allow_publish_for_anonymous = true
allow_history_for_subscriber = true
allow_history_for_anonymous = true
allow_presence_for_subscriber = true
allow_presence_for_anonymous = true
allow_subscribe_for_client = true

[[channel.namespaces]]
name = "kept"
history_size = 1000
history_ttl = "1h"
storage = "stored"
presence = true
force_recovery = true
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_client = true
allow_publish_for_anonymous = true
allow_history_for_subscriber = true
allow_history_for_anonymous = true
"#;
