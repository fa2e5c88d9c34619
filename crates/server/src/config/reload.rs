//! Reading a configuration again while a server runs by it: what is taken over, and what waits for a restart.

use super::draft::{Draft, path};
use super::error::ConfigError;
use super::load::{Flags, Loaded, check_from, variables};
use super::options::{ROOM, Reload, SECTIONS, Setting};
use super::proxy_settings::{PROXY, RPC};
use super::{Channel, Config};

/// A configuration that a running server may take over.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reloaded {
    /// The configuration: options that only count at a start have the values that the server runs with.
    pub config: Config,
    /// Things that look wrong and stop nobody, a line each.
    pub warnings: Vec<String>,
    /// The options that have changed and count only at a start, by name.
    pub kept: Vec<String>,
}

/// Reads the configuration `flags` ask for again, for a server that runs by `running`, with the environment of this process.
///
/// # Errors
/// As [`check`](super::check); and when what is new contradicts an option that keeps its value until a restart.
pub fn reload(flags: &Flags, running: &Config) -> Result<Reloaded, Vec<ConfigError>> {
    reload_from(flags, running, variables())
}

/// The same, with the environment given.
///
/// # Errors
/// As [`reload`].
///
/// ```
/// use roomcast_server::config::{Config, Flags, reload_from};
///
/// let environment = [("ROOMCAST_HTTP_SERVER_PORT", "9000"), ("ROOMCAST_CLIENT_CHANNEL_LIMIT", "10")];
/// let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
/// let reloaded = reload_from(&Flags::default(), &Config::default(), environment).unwrap();
/// assert_eq!(reloaded.config.client.channel_limit, 10);
/// assert_eq!((reloaded.config.http_server.port, &*reloaded.kept), (8000, &["http_server.port".to_owned()][..]));
/// ```
pub fn reload_from(
    flags: &Flags,
    running: &Config,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Reloaded, Vec<ConfigError>> {
    let Loaded { mut config, warnings, .. } = check_from(flags, environment)?;
    let kept = keep(&mut config, running);
    if !kept.is_empty() {
        // Values of two times need not go together.
        let mut mixed = Draft::new(config.clone(), &Flags::default());
        mixed.check_together();
        let until = format!("until a restart these have the values they had: {}", kept.join(", "));
        let problems =
            mixed.notes.problems.into_iter().map(|problem| ConfigError::Conflict(format!("{problem}; {until}")));
        let problems: Vec<_> = problems.collect();
        if !problems.is_empty() {
            return Err(problems);
        }
    }
    Ok(Reloaded { config, warnings, kept })
}

/// Gives options that only count at a start the values of `running`; says which of them had others.
fn keep(config: &mut Config, running: &Config) -> Vec<String> {
    let mut kept = Vec::new();
    for section in SECTIONS.iter() {
        keep_settings(config, running, section.settings, section.name, &mut kept);
    }
    let Channel { without_namespace, namespaces, .. } = &mut config.channel;
    let of_running = &running.channel;
    keep_settings(without_namespace, &of_running.without_namespace, ROOM, "channel.without_namespace", &mut kept);
    let both = namespaces.iter_mut().filter_map(|(name, to)| Some((name, to, of_running.namespaces.get(name)?)));
    for (name, to, from) in both {
        keep_settings(to, from, ROOM, &format!("channel.namespaces.{name}"), &mut kept);
    }
    let both = config.proxies.named.iter_mut();
    for (name, to, from) in both.filter_map(|(name, to)| Some((name, to, running.proxies.named.get(name)?))) {
        keep_settings(to, from, PROXY, &format!("proxies.{name}"), &mut kept);
    }
    let both = config.rpc.namespaces.iter_mut();
    for (name, to, from) in both.filter_map(|(name, to)| Some((name, to, running.rpc.namespaces.get(name)?))) {
        keep_settings(to, from, RPC, &format!("rpc.namespaces.{name}"), &mut kept);
    }
    kept
}

fn keep_settings<T>(to: &mut T, from: &T, settings: &[Setting<T>], section: &str, kept: &mut Vec<String>) {
    for setting in settings.iter().filter(|setting| setting.reload == Reload::Restart) {
        if (setting.write)(to) != (setting.write)(from) {
            kept.push(path(section, setting.key));
        }
        (setting.copy)(to, from);
    }
}

#[cfg(test)]
mod tests {
    use super::super::NamespaceOptions;
    use super::super::namespace::Storage;
    use super::*;

    #[test]
    fn each_option_copies_its_own_value_and_no_other() {
        let (plain, dev) = (NamespaceOptions::default(), NamespaceOptions::dev());
        for setting in ROOM {
            let mut to = plain.clone();
            (setting.copy)(&mut to, &dev);
            assert_eq!((setting.write)(&to), (setting.write)(&dev), "{}", setting.key);
            let others = ROOM.iter().filter(|other| other.key != setting.key);
            assert!(others.into_iter().all(|other| (other.write)(&to) == (other.write)(&plain)), "{}", setting.key);
        }
        let (plain, dev) = (Config::default(), Config::dev());
        for (section, setting) in SECTIONS.iter().flat_map(|it| it.settings.iter().map(|setting| (it.name, setting))) {
            let mut to = plain.clone();
            (setting.copy)(&mut to, &dev);
            assert_eq!((setting.write)(&to), (setting.write)(&dev), "{section}.{}", setting.key);
        }
    }

    #[test]
    fn what_counts_at_a_start_keeps_its_value_and_is_named() {
        let mut running = Config::default();
        let chat = || NamespaceOptions { presence: true, ..NamespaceOptions::default() };
        running.channel.namespaces.insert("chat".to_owned(), chat());
        running.channel.namespaces.insert("old".to_owned(), chat());
        let mut config = running.clone();
        config.http_server.port = 1;
        config.client.channel_limit = 7;
        config.channel.namespaces.remove("old");
        let stored = NamespaceOptions { storage: Storage::Stored, ..NamespaceOptions::default() };
        config.channel.namespaces.insert("chat".to_owned(), stored.clone());
        config.channel.namespaces.insert("new".to_owned(), stored);

        let kept = keep(&mut config, &running);
        assert_eq!(kept, ["http_server.port", "channel.namespaces.chat.storage"]);
        assert_eq!((config.http_server.port, config.client.channel_limit), (8000, 7));
        let namespaces = &config.channel.namespaces;
        assert_eq!((namespaces["chat"].storage, namespaces["chat"].presence), (Storage::Off, false));
        assert_eq!((namespaces["new"].storage, namespaces.len()), (Storage::Stored, 2), "a new one keeps nothing");
    }

    #[test]
    fn what_is_new_must_go_with_what_is_kept() {
        let said = |options: &[(&str, &str)]| {
            let name = |key: &str| format!("ROOMCAST_CHANNEL_WITHOUT_NAMESPACE_{key}");
            let variables = options.iter().map(|(key, value)| (name(key), (*value).to_owned()));
            reload_from(&Flags::default(), &Config::default(), variables)
        };
        let refused = said(&[("HISTORY_SIZE", "10"), ("STORAGE", "stored")]).unwrap_err();
        let refused = refused[0].to_string();
        assert!(refused.contains("history_ttl") && refused.contains("channel.without_namespace.storage"), "{refused}");
        let taken = said(&[("HISTORY_SIZE", "10"), ("HISTORY_TTL", "1h"), ("STORAGE", "stored")]).unwrap();
        assert_eq!(taken.kept, ["channel.without_namespace.storage"]);
    }
}
