//! `[client.rate_limit]`: how often clients may do something. The names are those of Centrifugo PRO.

use std::borrow::Cow;
use std::time::Duration;

use super::options::{Reload, Section, Setting, between, setting, within};
use super::setting::{Kind, quote, read};
use super::status_transforms::{in_json, member};
use super::tree::Value;
use crate::util::network::Network;

/// `[client.rate_limit]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// `[client.rate_limit.ip_connect]`: connections by address.
    pub ip_connect: IpConnect,
}

/// A token bucket: so many in each interval, and as many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateBucket {
    /// In which time they come.
    pub interval: Duration,
    /// How many.
    pub rate: usize,
}

/// `[client.rate_limit.ip_connect]`: how many connections one address may have and open. Of an address of IPv6 its network of 64 bits
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IpConnect {
    /// Whether addresses are counted. Default true.
    pub enabled: bool,
    /// Whether what is too much is counted and let in all the same.
    pub dry_run: bool,
    /// How many new connections of one are taken; one more is answered with 429. Default 500 in a second: a school behind one address
    /// comes back in some seconds after a restart, and one machine does not keep a server busy with handshakes.
    pub buckets: Vec<RateBucket>,
    /// How many connections one may have at once; one more is answered with 429. 0, the default, is a quarter of all.
    pub max_concurrent_per_ip: usize,
    /// Addresses that are not counted: behind them there may be anybody. Default: those of this machine and of private networks, where
    /// proxies are.
    pub exempt: Vec<Network>,
}

/// What is exempt where nothing is said.
const PRIVATE: [&str; 8] =
    ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1", "fc00::/7", "fe80::/10"];

impl Default for IpConnect {
    fn default() -> Self {
        Self {
            enabled: true,
            dry_run: false,
            buckets: vec![RateBucket { interval: Duration::from_secs(1), rate: 500 }],
            max_concurrent_per_ip: 0,
            exempt: PRIVATE.iter().filter_map(|network| network.parse().ok()).collect(),
        }
    }
}

/// More hold together than anybody reckons with.
const BUCKETS_MAX: usize = 8;
/// As at Centrifugo: below, the clock of a bucket would be that of the machine's whims; above, nobody waits.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60));
/// In a second, more than a core carries out.
const RATE_MAX: usize = 1_000_000_000;
/// Each is compared with each new address.
const NETWORKS_MAX: usize = 256;

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

fn buckets(buckets: &[RateBucket]) -> Result<(), String> {
    within(&buckets.len(), &0, &BUCKETS_MAX)?;
    buckets.iter().try_for_each(|RateBucket { interval, rate }| {
        between(*interval, INTERVAL.0, INTERVAL.1)?;
        within(rate, &1, &RATE_MAX)
    })
}

pub(super) const SECTIONS: &[Section] = &[
    Section { name: "client.rate_limit", settings: &[] },
    Section {
        name: "client.rate_limit.ip_connect",
        settings: &[
            setting!(
                "enabled",
                Restart,
                client.rate_limit.ip_connect.enabled,
                "count connections by address, those of IPv6 by /64"
            ),
            setting!("dry_run", Restart, client.rate_limit.ip_connect.dry_run, "count what is too much, and let it in"),
            setting!(
                "buckets",
                Restart,
                client.rate_limit.ip_connect.buckets,
                "new connections of one address, as many in each interval and as many at once; more: status 429",
                |v: &Vec<RateBucket>| buckets(v)
            ),
            setting!(
                "max_concurrent_per_ip",
                Restart,
                client.rate_limit.ip_connect.max_concurrent_per_ip,
                "connections of one address at once; 0: a quarter of all; more: status 429"
            ),
            Setting {
                key: "exempt",
                reload: Reload::Restart,
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
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(json: &str) -> Result<Vec<RateBucket>, String> {
        let read: Vec<RateBucket> = read(&Value::Plain(json.to_owned()))?;
        buckets(&read).map(|()| read)
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
