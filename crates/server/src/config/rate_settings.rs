//! `[client.rate_limit]`: how its options are written, read and bounded.

use std::borrow::Cow;
use std::time::Duration;

use super::options::{Reload, Section, Setting, between, setting, within};
use super::rate_limit::{OperationLimit, RateBucket, RateOverride};
use super::setting::{Kind, quote, read};
use super::status_transforms::{in_json, member};
use super::tree::Value;
use crate::util::network::Network;

/// More hold together than anybody reckons with.
const BUCKETS_MAX: usize = 8;
/// As at Centrifugo: below, the clock of a bucket would be that of the machine's whims; above, nobody waits.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60));
/// In a second, more than a core carries out.
const RATE_MAX: usize = 1_000_000_000;
/// Each is compared with each new address.
const NETWORKS_MAX: usize = 256;
/// Less is not four connections that ask.
const REQUEST_MEMORY_MIN: usize = 64 * 1024;
/// More than the memory for requests of the largest machine.
const REQUEST_MEMORY_MAX: usize = 64 * 1024 * 1024 * 1024;

impl Kind for Vec<RateBucket> {
    fn expected() -> Cow<'static, str> {
        "a list of buckets such as [{ interval = \"1s\", rate = 60 }]".into()
    }

    fn read(value: &Value) -> Option<Self> {
        let parsed = in_json(value);
        let Value::List(items) = parsed.as_ref().map_or(value, |node| &node.value) else { return None };
        items.iter().map(|item| bucket(&item.value)).collect()
    }

    fn write(&self) -> Option<String> {
        let written = self.iter().map(|RateBucket { interval, rate }| {
            let interval = quote(&humantime::format_duration(*interval).to_string());
            format!("{{ interval = {interval}, rate = {rate} }}")
        });
        Some(format!("[{}]", written.collect::<Vec<_>>().join(", ")))
    }
}

fn bucket(value: &Value) -> Option<RateBucket> {
    let Value::Table(members) = value else { return None };
    let is_known = members.iter().all(|(key, _)| key == "interval" || key == "rate");
    let (interval, rate) = (Duration::read(member(value, "interval")?)?, usize::read(member(value, "rate")?)?);
    is_known.then_some(RateBucket { interval, rate })
}

impl Kind for OperationLimit {
    fn expected() -> Cow<'static, str> {
        "a table such as { enabled = true, buckets = [{ interval = \"1s\", rate = 60 }] }, with namespace_overrides or method_overrides \
         that begin with namespace_name or method"
            .into()
    }

    fn read(value: &Value) -> Option<Self> {
        let parsed = in_json(value);
        let Value::Table(members) = parsed.as_ref().map_or(value, |node| &node.value) else { return None };
        let mut limit = Self::default();
        for (key, node) in members {
            match key.as_str() {
                "enabled" => limit.enabled = bool::read(&node.value)?,
                "buckets" => limit.buckets = Kind::read(&node.value)?,
                "namespace_overrides" => limit.overrides = overrides(&node.value, "namespace_name")?,
                "method_overrides" => limit.overrides = overrides(&node.value, "method")?,
                _ => return None,
            }
        }
        Some(limit)
    }

    fn write(&self) -> Option<String> {
        // What nobody has said anything of.
        if *self == Self::default() {
            return None;
        }
        let Self { enabled, buckets, overrides } = self;
        let mut written = format!("{{ enabled = {enabled}, buckets = {}", buckets.write()?);
        if !overrides.is_empty() {
            let each: Option<Vec<_>> = overrides.iter().map(RateOverride::write).collect();
            // Of procedures the name is read as well.
            written += &format!(", namespace_overrides = [{}]", each?.join(", "));
        }
        Some(written + " }")
    }
}

impl RateOverride {
    fn write(&self) -> Option<String> {
        let Self { name, enabled, buckets } = self;
        Some(format!("{{ namespace_name = {}, enabled = {enabled}, buckets = {} }}", quote(name), buckets.write()?))
    }
}

fn overrides(value: &Value, name: &str) -> Option<Vec<RateOverride>> {
    let Value::List(items) = value else { return None };
    items
        .iter()
        .map(|item| {
            let Value::Table(members) = &item.value else { return None };
            let known = [name, "enabled", "buckets"];
            let is_known = members.iter().all(|(key, _)| known.contains(&key.as_str()));
            let enabled = member(&item.value, "enabled").map_or(Some(false), bool::read)?;
            let buckets = member(&item.value, "buckets").map_or(Some(Vec::new()), Kind::read)?;
            let name = member(&item.value, name)?.text()?.to_owned();
            is_known.then_some(RateOverride { name, enabled, buckets })
        })
        .collect()
}

/// Each is looked through for each command.
const OVERRIDES_MAX: usize = 256;

fn operation(limit: &OperationLimit) -> Result<(), String> {
    within(&limit.overrides.len(), &0, &OVERRIDES_MAX)?;
    let each = limit.overrides.iter().map(|other| &other.buckets);
    each.chain([&limit.buckets]).try_for_each(|of| buckets(of))
}

fn buckets(buckets: &[RateBucket]) -> Result<(), String> {
    within(&buckets.len(), &0, &BUCKETS_MAX)?;
    buckets.iter().try_for_each(|RateBucket { interval, rate }| {
        between(*interval, INTERVAL.0, INTERVAL.1)?;
        within(rate, &1, &RATE_MAX)
    })
}

/// Some buckets.
macro_rules! buckets {
    ($key:literal, $($path:ident).+, $about:expr) => {
        setting!($key, Live, $($path).+, $about, |v: &Vec<RateBucket>| buckets(v))
    };
}

/// The limit of a kind of commands.
macro_rules! kind {
    ($of:ident, $key:literal, $kind:ident, $about:expr) => {
        setting!($key, Live, client.rate_limit.$of.$kind, $about, operation)
    };
}

/// Limits on commands of somebody: first those on all kinds, and `$more` before those on each kind that everybody has.
macro_rules! commands {
    ($of:ident, [$($whole:expr),* $(,)?], [$($more:expr),*]) => {
        Section {
            name: concat!("client.rate_limit.", stringify!($of)),
            settings: &[
                $($whole,)*
                kind!($of, "default", default, "each kind that says nothing itself"),
                $($more,)*
                kind!($of, "subscribe", subscribe, "entering a room; namespace_overrides hold in its place"),
                kind!($of, "unsubscribe", unsubscribe, "leaving a room: counted, never refused"),
                kind!($of, "publish", publish, "publishing; namespace_overrides hold in its place"),
                kind!($of, "history", history, "reading a history"),
                kind!($of, "presence", presence, "asking who is in a room"),
                kind!($of, "presence_stats", presence_stats, "asking how many are in a room"),
                kind!($of, "refresh", refresh, "bringing a new connection token"),
                kind!($of, "sub_refresh", sub_refresh, "bringing a new subscription token"),
                kind!($of, "rpc", rpc, "calling a procedure; method_overrides hold in its place"),
            ],
        }
    };
}

pub(super) const SECTIONS: &[Section] = &[
    Section { name: "client.rate_limit", settings: &[] },
    commands!(
        client_command,
        [
            setting!(
                "enabled",
                Live,
                client.rate_limit.client_command.enabled,
                "limit the commands of one connection; more: error 111"
            ),
            setting!("dry_run", Live, client.rate_limit.client_command.dry_run, "count what is too much, and do it"),
            setting!(
                "total",
                Live,
                client.rate_limit.client_command.total,
                "commands of any kind; without buckets: in a second as many as message_command_limit",
                operation
            ),
        ],
        []
    ),
    commands!(
        user_command,
        [
            setting!(
                "enabled",
                Live,
                client.rate_limit.user_command.enabled,
                "limit the commands of all connections of a user; more: error 111"
            ),
            setting!("dry_run", Live, client.rate_limit.user_command.dry_run, "count what is too much, and do it"),
            setting!("total", Live, client.rate_limit.user_command.total, "commands of any kind", operation),
        ],
        [setting!("connect", Live, client.rate_limit.user_command.connect, "connecting", operation)]
    ),
    Section {
        name: "client.rate_limit.room_creation",
        settings: &[
            setting!(
                "enabled",
                Live,
                client.rate_limit.room_creation.enabled,
                "limit the rooms that clients make; more: error 111"
            ),
            setting!("dry_run", Live, client.rate_limit.room_creation.dry_run, "count what is too much, and do it"),
            buckets!(
                "client",
                client.rate_limit.room_creation.client,
                "rooms made by one connection; without buckets: in a minute as many as message_command_limit"
            ),
            buckets!("user", client.rate_limit.room_creation.user, "rooms made by all connections of a user"),
            buckets!(
                "ip",
                client.rate_limit.room_creation.ip,
                "rooms made by all connections of an address, where ip_connect counts them"
            ),
        ],
    },
    Section {
        name: "client.rate_limit.client_error",
        settings: &[
            setting!(
                "enabled",
                Live,
                client.rate_limit.client_error.enabled,
                "limit the errors of one connection; more: code 3509"
            ),
            setting!(
                "dry_run",
                Live,
                client.rate_limit.client_error.dry_run,
                "count what is too much, and close nobody"
            ),
            setting!(
                "total",
                Live,
                client.rate_limit.client_error.total,
                "errors; without buckets: in ten seconds as many as message_command_limit",
                operation
            ),
        ],
    },
    Section {
        name: "client.rate_limit.client_bytes",
        settings: &[
            setting!(
                "enabled",
                Live,
                client.rate_limit.client_bytes.enabled,
                "limit the bytes that one connection sends; commands beyond: error 111"
            ),
            setting!("dry_run", Live, client.rate_limit.client_bytes.dry_run, "count what is too much, and do it"),
            buckets!(
                "buckets",
                client.rate_limit.client_bytes.buckets,
                "how many bytes; without any: 1 MiB in a second, or four of the largest messages"
            ),
        ],
    },
    Section {
        name: "client.rate_limit.user_bytes",
        settings: &[
            setting!(
                "enabled",
                Live,
                client.rate_limit.user_bytes.enabled,
                "limit the bytes that a user sends; commands beyond: error 111"
            ),
            setting!("dry_run", Live, client.rate_limit.user_bytes.dry_run, "count what is too much, and do it"),
            buckets!("buckets", client.rate_limit.user_bytes.buckets, "how many bytes"),
        ],
    },
    Section {
        name: "client.rate_limit.ip_connect",
        settings: &[
            setting!(
                "enabled",
                Live,
                client.rate_limit.ip_connect.enabled,
                "count connections by address, those of IPv6 by /64"
            ),
            setting!("dry_run", Live, client.rate_limit.ip_connect.dry_run, "count what is too much, and let it in"),
            buckets!(
                "buckets",
                client.rate_limit.ip_connect.buckets,
                "new connections of one address, as many in each interval and as many at once; more: status 429"
            ),
            setting!(
                "max_concurrent_per_ip",
                Live,
                client.rate_limit.ip_connect.max_concurrent_per_ip,
                "connections of one address at once; 0: a quarter of all; more: status 429"
            ),
            Setting {
                key: "exempt",
                reload: Reload::Live,
                about: || {
                    Cow::from("addresses and networks that are not counted: behind them, as behind proxies, is anybody")
                },
                read: |target, value| {
                    let written: Vec<String> = read(value)?;
                    within(&written.len(), &0, &NETWORKS_MAX)?;
                    let networks = written.iter().map(|network| network.parse()).collect::<Result<_, String>>()?;
                    target.client.rate_limit.ip_connect.exempt = networks;
                    Ok(())
                },
                write: |target| {
                    target
                        .client
                        .rate_limit
                        .ip_connect
                        .exempt
                        .iter()
                        .map(Network::to_string)
                        .collect::<Vec<_>>()
                        .write()
                },
                copy: |target, source| {
                    target.client.rate_limit.ip_connect.exempt.clone_from(&source.client.rate_limit.ip_connect.exempt);
                },
            },
        ],
    },
    Section {
        name: "client.rate_limit.ip_request",
        settings: &[
            setting!(
                "enabled",
                Live,
                client.rate_limit.ip_request.enabled,
                "count requests over HTTP by address, as ip_connect counts connections"
            ),
            setting!("dry_run", Live, client.rate_limit.ip_request.dry_run, "count what is too much, and answer it"),
            buckets!(
                "buckets",
                client.rate_limit.ip_request.buckets,
                "requests of one address; not those with the key of the server API, nor for health; more: status 429"
            ),
            setting!(
                "max_memory_per_ip",
                Live,
                client.rate_limit.ip_request.max_memory_per_ip,
                "bytes of memory for requests of one address at once; 0: a quarter of all; more: status 503",
                |v: &usize| if *v == 0 { Ok(()) } else { within(v, &REQUEST_MEMORY_MIN, &REQUEST_MEMORY_MAX) }
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(json: &str) -> Result<Vec<RateBucket>, String> {
        let read: Vec<RateBucket> = read(&Value::Plain(json.to_owned()))?;
        buckets(&read).map(|()| read)
    }

    #[test]
    fn limits_of_commands_are_checked_and_written_as_they_are_read() {
        let read = |json: &str| {
            let read: OperationLimit = read(&Value::Plain(json.to_owned()))?;
            operation(&read).map(|()| read)
        };
        let good = read(
            r#"{"enabled":true,"buckets":[{"interval":"1s","rate":1}],
            "namespace_overrides":[{"namespace_name":"chat","enabled":true,"buckets":[{"interval":"10s","rate":20}]}]}"#,
        )
        .unwrap();
        let table: toml::Table = format!("a = {}", good.write().unwrap()).parse().unwrap();
        assert_eq!(read(&serde_json::to_string(&table["a"]).unwrap()), Ok(good));
        let of_methods = r#"{"method_overrides":[{"method":"vote","enabled":true}]}"#;
        assert_eq!(read(of_methods).unwrap().overrides[0].name, "vote");
        for (bad, why) in [
            (r#"{"enable":true}"#, "a table such as"),
            (r#"{"namespace_overrides":[{"enabled":true}]}"#, "a table such as"),
            (r#"{"buckets":[{"interval":"1s","rate":0}]}"#, "1 to"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn buckets_are_checked_and_written_as_they_are_read() {
        let good = read_json(r#"[{"interval":"1s","rate":20},{"interval":"1m","rate":50}]"#).unwrap();
        assert_eq!(good.len(), 2);
        let table: toml::Table = format!("a = {}", good.write().unwrap()).parse().unwrap();
        assert_eq!(read_json(&serde_json::to_string(&table["a"]).unwrap()), Ok(good));
        for (bad, why) in [
            (r#"[{"interval":"1s"}]"#, "a list of buckets"),
            (r#"[{"interval":"1s","rate":1,"burst":2}]"#, "a list of buckets"),
            (r#"{"interval":"1s","rate":1}"#, "a list of buckets"),
            (r#"[{"interval":"999ms","rate":1}]"#, "1s to 1h"),
            (r#"[{"interval":"2h","rate":1}]"#, "1s to 1h"),
            (r#"[{"interval":"1s","rate":0}]"#, "1 to"),
        ] {
            let error = read_json(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
