//! What no option can see alone.

use super::draft::{Draft, Notes, path, scope_of};
use super::{
    ChannelSyntax, Config, DEFAULT_PROXY, NamespaceOptions, ProxyOptions, RecoveryMode, Storage, TlsOptions, proxy,
};

impl Draft {
    /// Notes which options contradict each other.
    pub(super) fn check_together(&mut self) {
        let Self { config, notes, .. } = self;
        if !config.client.ping_interval.is_zero() && config.client.pong_timeout >= config.client.ping_interval {
            let [pong, ping] =
                [config.client.pong_timeout, config.client.ping_interval].map(humantime::format_duration);
            notes.conflict(
                &["client.pong_timeout", "client.ping_interval"],
                &format!("`client.pong_timeout` {pong} must be shorter than `client.ping_interval` {ping}"),
            );
        }
        let rooms = config.client.channel_limit;
        let commands = config.client.commands_per_message();
        if commands <= rooms {
            let enough = rooms + 1;
            notes.conflict(
                &["client.message_command_limit", "client.channel_limit"],
                &format!(
                    "`client.message_command_limit` {commands} must be {enough} or more: a client that comes back sends connect \
                     and a subscribe for each of its rooms (`client.channel_limit` {rooms}) in one message"
                ),
            );
        }
        for (section, options) in
            [("client.token", &config.client.token), ("client.subscription_token", &config.client.subscription_token)]
        {
            for (key, is_set) in [
                ("audience", options.audience.is_some() && options.audience_regex.is_some()),
                ("issuer", options.issuer.is_some() && options.issuer_regex.is_some()),
            ] {
                let [one, other] = [path(section, key), path(section, &format!("{key}_regex"))];
                if is_set {
                    notes.conflict(&[&other, &one], &format!("`{one}` and `{other}` cannot both be set"));
                }
            }
            if let Some(problem) = options.jwks_problem() {
                let keys = ["jwks_public_endpoint", "issuer_regex", "audience_regex"].map(|key| path(section, key));
                let [endpoint, ..] = &keys;
                notes.conflict(&keys.each_ref().map(String::as_str), &format!("`{endpoint}`: {problem}"));
            }
        }
        if config.events.endpoint.is_some() && config.events.secret.is_none() {
            notes.conflict(
                &["events.endpoint", "events.secret"],
                "`events.endpoint` needs `events.secret`, by which the backend knows that events are this server's",
            );
        }
        check_tls(&config.events.tls, "events", "tls", notes);
        config.http_server.check(notes);
        let on_connect = ["client.subscribe_on_connect"];
        for room in &config.client.subscribe_on_connect {
            match config.channel.options_for(room) {
                None => notes.conflict(
                    &on_connect,
                    &format!("`client.subscribe_on_connect`: {room:?} is of a namespace that nobody declared"),
                ),
                Some(options) if !config.channel.allows(room, options) => notes.conflict(
                    &on_connect,
                    &format!("`client.subscribe_on_connect`: {room:?} does not match its `channel_regex`"),
                ),
                Some(_) => {}
            }
        }
        if config.client.subscribe_on_connect.len() > config.client.channel_limit {
            notes.conflict(
                &["client.subscribe_on_connect", "client.channel_limit"],
                "`client.subscribe_on_connect` names more rooms than `client.channel_limit` allows",
            );
        }
        let (two_ways, one_way) = (&config.transports, &config.unidirectional);
        let paths = [
            ("http_stream", two_ways.http_stream.enabled, &two_ways.http_stream.handler_prefix),
            ("sse", two_ways.sse.enabled, &two_ways.sse.handler_prefix),
            ("uni_websocket", one_way.websocket.enabled, &one_way.websocket.handler_prefix),
            ("uni_http_stream", one_way.http_stream.enabled, &one_way.http_stream.handler_prefix),
            ("uni_sse", one_way.sse.enabled, &one_way.sse.handler_prefix),
            ("init", one_way.init.enabled, &one_way.init.handler_prefix),
            ("health", true, &config.health.handler_prefix),
            ("health", true, &config.health.ready_handler_prefix),
            ("http_api", !config.http_api.disabled, &config.http_api.handler_prefix),
        ];
        let served: Vec<_> = paths.iter().filter(|(_, is_enabled, _)| *is_enabled).collect();
        for (at, (section, _, prefix)) in served.iter().enumerate() {
            for (other, _, of_other) in &served[at + 1..] {
                let is_within = *other == "http_api"
                    && prefix.strip_prefix(of_other.as_str()).is_some_and(|rest| rest.starts_with('/'));
                if prefix == of_other || is_within {
                    let [one, other] = [section, other].map(|section| path(section, "handler_prefix"));
                    notes.conflict(&[&one, &other], &format!("`{one}` and `{other}` are the same place, {prefix:?}"));
                }
            }
        }
        let personal = &config.client.subscribe_to_user_personal_channel;
        let section = "client.subscribe_to_user_personal_channel";
        let [enabled, namespace] = ["enabled", "personal_channel_namespace"].map(|key| path(section, key));
        let syntax = &config.channel.syntax;
        match config.channel.options_for(&syntax.personal_prefix(&personal.personal_channel_namespace)) {
            _ if !personal.enabled => {}
            None => notes.conflict(
                &[&namespace, &enabled],
                &format!("`{namespace}`: nobody declared the namespace {:?}", personal.personal_channel_namespace),
            ),
            Some(options) if config.dev || config.client.insecure || !options.is_open_to_everybody() => {}
            Some(_) => {
                let scope = match &*personal.personal_channel_namespace {
                    "" => "channel.without_namespace".to_owned(),
                    namespace => scope_of(namespace),
                };
                let open = path(&scope, "allow_subscribe_for_client");
                notes.conflict(
                    &[&open, &enabled],
                    &format!(
                        "{scope}: `allow_subscribe_for_client` lets everybody into the personal rooms of others \
                         (`{enabled}`); add `allow_user_limited_channels = true`"
                    ),
                );
            }
        }
        let unnamed = std::iter::once(("channel.without_namespace".to_owned(), &config.channel.without_namespace));
        let named = config.channel.namespaces.iter().map(|(name, options)| (scope_of(name), options));
        for (scope, options) in unnamed.chain(named) {
            if !config.dev {
                notes.warnings.extend(kept_from_strangers(&scope, options, &config.channel.syntax));
            }
            let mut conflict = |keys: &[&str], message: &str| {
                let mut keys: Vec<String> = keys.iter().map(|key| path(&scope, key)).collect();
                // Where none of them is written, the place is that of the namespace.
                keys.push(scope.clone());
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                notes.conflict(&keys, &format!("{scope}: {message}"));
            };
            if options.history_size > 0 && options.history_ttl.is_zero() && options.storage == Storage::Off {
                let keys = ["history_size", "history_ttl", "storage"];
                conflict(&keys, "`history_size` needs `history_ttl`, for example \"24h\"");
            }
            if options.history_meta_ttl < options.history_ttl {
                let keys = ["history_meta_ttl", "history_ttl"];
                conflict(&keys, "`history_meta_ttl` must not be shorter than `history_ttl`");
            }
            // Development mode turns recovery on where nobody spoke of it, so a room without history is no contradiction.
            let recovers = options.allow_recovery || options.force_recovery;
            if recovers && options.history_size == 0 && !config.dev {
                let keys = ["force_recovery", "allow_recovery", "history_size"];
                conflict(&keys, "recovery needs `history_size` and `history_ttl`");
            }
            let recovers_newest = options.force_recovery && options.force_recovery_mode == RecoveryMode::Cache;
            if options.auto_cache_recover && !recovers_newest {
                let keys = ["auto_cache_recover", "force_recovery_mode", "force_recovery"];
                conflict(
                    &keys,
                    "`auto_cache_recover` needs `force_recovery`, and `force_recovery_mode` to be \"cache\"",
                );
            }
        }
        check_proxies(config, notes);
        let database = config.storage.kind;
        if database.url_example().is_some() && config.storage.url.is_none() && config.stores() {
            notes.conflict(
                &["storage.type", "storage.url"],
                &format!("`storage.type` is {}, which needs `storage.url`", database.name()),
            );
        }
    }
}

/// What is said of permissions that Centrifugo gives to more clients.
fn kept_from_strangers(scope: &str, options: &NamespaceOptions, syntax: &ChannelSyntax) -> Option<String> {
    let for_client = [
        ("allow_publish_for_client", options.allow_publish_for_client),
        ("allow_history_for_client", options.allow_history_for_client),
        ("allow_presence_for_client", options.allow_presence_for_client),
    ];
    let for_client: Vec<_> = for_client.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name).collect();
    (options.allow_user_limited_channels && !for_client.is_empty()).then(|| {
        format!(
            "{scope}: `{}` is for nobody else in rooms that are limited to users (`{}`), and in private ones (`{}`) for those inside; \
             Centrifugo lets everybody",
            for_client.join("`, `"),
            syntax.user_boundary,
            syntax.private_prefix
        )
    })
}

/// A section says how TLS is to be made in a way that it can be made.
fn check_tls(options: &TlsOptions, section: &str, table: &str, notes: &mut Notes) {
    if !options.enabled {
        return;
    }
    if let Err(error) = options.client().map(drop).and_then(|()| options.server_name().map(drop)) {
        let keys = ["cert_pem", "key_pem", "server_ca_pem", "server_name"];
        let keys = keys.map(|key| path(section, &format!("{table}.{key}")));
        let keys: Vec<&str> = keys.iter().map(String::as_str).chain([section]).collect();
        notes.conflict(&keys, &format!("{section}: `{table}`: {error}"));
    }
}

/// What is asked of the backend has an address to ask at.
fn check_proxies(config: &Config, notes: &mut Notes) {
    let proxies = &config.proxies;
    for (section, options) in proxies.all() {
        check_tls(&options.tls, &section, "http.tls", notes);
    }
    let mut asked = |keys: [String; 2], at: &str, name: &str, default: &ProxyOptions, own: &str| {
        let problem = match proxies.named(name, default) {
            None => format!("there is no proxy {name:?} among `proxies`"),
            Some(options) if options.endpoint.is_none() => {
                let section = if name == DEFAULT_PROXY { own.to_owned() } else { proxy::scope_of(name) };
                format!("{section} needs an `endpoint`")
            }
            Some(_) => return,
        };
        let [one, other] = &keys;
        notes.conflict(&[other, one, at], &format!("`{one}`: {problem}"));
    };
    for (section, is_enabled, options) in [
        ("client.proxy.connect", proxies.connect_enabled, &proxies.connect),
        ("client.proxy.refresh", proxies.refresh_enabled, &proxies.refresh),
    ] {
        if is_enabled {
            asked([path(section, "enabled"), path(section, "endpoint")], section, DEFAULT_PROXY, options, section);
        }
    }
    let unnamed = std::iter::once(("channel.without_namespace".to_owned(), &config.channel.without_namespace));
    let named = config.channel.namespaces.iter().map(|(name, options)| (scope_of(name), options));
    for (scope, options) in unnamed.chain(named) {
        for (event, is_enabled, name, default) in [
            ("subscribe", options.subscribe_proxy_enabled, &options.subscribe_proxy_name, &proxies.subscribe),
            ("publish", options.publish_proxy_enabled, &options.publish_proxy_name, &proxies.publish),
            ("sub_refresh", options.sub_refresh_proxy_enabled, &options.sub_refresh_proxy_name, &proxies.sub_refresh),
        ] {
            if is_enabled {
                let keys = ["enabled", "name"].map(|key| path(&scope, &format!("{event}_proxy_{key}")));
                asked(keys, &scope, name, default, &format!("channel.proxy.{event}"));
            }
        }
    }
    let unnamed = std::iter::once(("rpc.without_namespace".to_owned(), &config.rpc.without_namespace));
    let named = config.rpc.namespaces.iter().map(|(name, options)| (format!("rpc namespace `{name}`"), options));
    for (scope, options) in unnamed.chain(named) {
        if options.proxy_enabled {
            let keys = ["proxy_enabled", "proxy_name"].map(|key| path(&scope, key));
            asked(keys, &scope, &options.proxy_name, &proxies.rpc, "rpc.proxy");
        }
    }
}
