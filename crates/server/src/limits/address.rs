//! Whom counts by address are for.

use std::net::IpAddr;
use std::num::NonZeroU64;

use crate::config::RateBucket;
use crate::util::network::Network;

/// How many times more than one address a network of 48 bits of IPv6 may do, which may be one client or those of a provider.
const NETWORK: usize = 4;

/// What a network may do, where one address may do that.
pub(crate) fn wider(buckets: &[RateBucket]) -> Vec<RateBucket> {
    buckets.iter().map(|bucket| RateBucket { rate: bucket.rate.saturating_mul(NETWORK), ..*bucket }).collect()
}

/// An address of IPv4, or the network of one of IPv6: whoever has one of these has its 2^64 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(NonZeroU64);

/// Where addresses of IPv4 stand among networks: nobody comes from a group of receivers.
const IPV4: u64 = 0xffff_0000_0000_0000;

impl AddressKey {
    pub(crate) fn of(address: IpAddr) -> Self {
        let key = match address.to_canonical() {
            IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        Self(NonZeroU64::new(key).unwrap_or(NonZeroU64::MIN))
    }

    /// The network of 48 bits that an address of IPv6 is in: whoever asks for one is given it, and has 65,536 of those that are counted.
    pub(crate) fn network(self) -> Option<u64> {
        (self.0.get() < IPV4).then_some(self.0.get() >> 16)
    }

    /// The number by which tables know it.
    pub(crate) fn number(self) -> u64 {
        self.0.get()
    }
}

/// The address that is counted for a client that came from `peer`; nothing where that tells nothing of who it is: it came by a
/// socket of this machine's, or from an address behind which there may be anybody, such as a proxy's.
pub(crate) fn counted(peer: Option<IpAddr>, exempt: &[Network]) -> Option<AddressKey> {
    peer.filter(|peer| !exempt.iter().any(|network| network.contains(*peer))).map(AddressKey::of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_ipv4_is_ipv4_however_it_is_written() {
        let of = |text: &str| AddressKey::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("203.0.113.7"), of("::ffff:203.0.113.7"));
        assert_ne!(of("203.0.113.7"), of("203.0.113.8"));
        assert_ne!(of("::2"), of("0.0.0.2"));
        assert_eq!(of("2001:db8:1:2::1").network(), of("2001:db8:1:ffff::1").network());
        assert_ne!(of("2001:db8:1:2::1").network(), of("2001:db8:2:2::1").network());
        assert_eq!(of("203.0.113.7").network(), None);
    }

    #[test]
    fn behind_private_addresses_there_may_be_anybody() {
        let exempt = &Config::default().client.rate_limit.ip_connect.exempt;
        for (address, is_counted) in [
            ("127.0.0.1", false),
            ("::1", false),
            ("10.0.0.1", false),
            ("172.17.0.1", false),
            ("192.168.1.1", false),
            ("fd00::1", false),
            ("::ffff:127.0.0.1", false),
            ("203.0.113.7", true),
            ("2001:db8::1", true),
        ] {
            assert_eq!(counted(address.parse().ok(), exempt).is_some(), is_counted, "{address}");
        }
        assert_eq!(counted(None, exempt), None);
    }
}
