//! Reading the configuration again while the server runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{Flags, Reloaded, reload};
use crate::net::certificates::Certificates;
use crate::ops::logging::LogControl;
use crate::ops::shutdown::Hangups;
use crate::ops::systemd::Manager;
use crate::rooms::hub::Hub;
use crate::util::rng::{self, Rng};

/// How a server comes to its configuration when it is told to read it again.
#[derive(Debug)]
pub struct Reloading {
    flags: Flags,
    log: LogControl,
}

impl Reloading {
    /// By the same flags with which it was started; `log` follows what is said of it.
    #[must_use]
    pub fn new(flags: Flags, log: LogControl) -> Self {
        Self { flags, log }
    }

    /// Reads the configuration at each hangup, one after the other, until the server drains.
    /// The files of `certificates` are looked at as well, whatever comes of that.
    pub(crate) async fn obey(
        self,
        (hub, manager): (Arc<Hub>, Arc<Manager>),
        certificates: Vec<Arc<Certificates>>,
        mut hangups: Hangups,
        draining: watch::Receiver<bool>,
    ) {
        let this = Arc::new(self);
        while hangups.next().await {
            if *draining.borrow() {
                tracing::info!("draining: the configuration is not read any more");
                return;
            }
            if hub.is_settled() {
                tracing::warn!("another process takes over: the configuration is not read here");
                continue;
            }
            let (this, hub, certificates) = (Arc::clone(&this), Arc::clone(&hub), certificates.clone());
            manager.reloading();
            // Reads files, and may open a database.
            let reading = tokio::task::spawn_blocking(move || {
                let is_taken = this.once(&hub, &certificates);
                let now = Duration::from_millis((hub.rooms.clock)());
                certificates.iter().for_each(|it| it.reload_loudly(&hub.metrics.tls, true, now));
                is_taken
            });
            let is_taken = reading.await.unwrap_or(false);
            manager.ready(if is_taken { "configuration taken over" } else { "the last configuration was refused" });
        }
    }

    /// Takes over what the configuration says now, or nothing of it; whether it has.
    fn once(&self, hub: &Hub, certificates: &[Arc<Certificates>]) -> bool {
        tracing::info!("reading the configuration again");
        let is_taken = match self.read(hub, certificates) {
            Ok(kept) => {
                for option in &kept {
                    tracing::warn!(option, "an option has changed that counts at a restart only; it keeps its value");
                }
                tracing::info!(kept = kept.len(), "configuration taken over");
                true
            }
            Err(problems) => {
                problems.iter().for_each(|problem| tracing::error!("{problem}"));
                tracing::error!("the configuration cannot be used; nothing has changed");
                false
            }
        };
        hub.metrics.reloads.count(is_taken, (hub.rooms.clock)());
        is_taken
    }

    fn read(&self, hub: &Hub, certificates: &[Arc<Certificates>]) -> Result<Vec<String>, Vec<String>> {
        let running = Arc::clone(&hub.now().config);
        let in_words = |problems: Vec<_>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        let Reloaded { config, warnings, kept } = reload(&self.flags, &running).map_err(in_words)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let failed = |error: &dyn fmt::Display| vec![error.to_string()];
        let rng = rng::system_seed().map(Rng::from_seed).map_err(|error| failed(&error))?;
        let log = config.log.clone();
        let mut prepared = Vec::new();
        for one in certificates {
            let (key, is_internal) = match one.are_internal() {
                true => ("internal_tls", true),
                false => ("tls", false),
            };
            let Some(options) = config.http_server.tls_of(is_internal) else { continue };
            let made = one.prepare(options).map_err(|error| vec![format!("`http_server.{key}`: {error}")])?;
            prepared.extend(made.map(|made| (one, made)));
        }
        hub.take_over(config, rng).map_err(|error| failed(&error))?;
        prepared.into_iter().for_each(|(certificates, made)| certificates.put_in_use(made));
        self.log.follow(&log);
        Ok(kept)
    }
}
