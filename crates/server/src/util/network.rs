//! Networks: ranges of addresses, as a configuration names them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Addresses that begin alike: `10.0.0.0/8`, `fc00::/7`, or one alone, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    /// How many of its bits the others have, too.
    prefix: u32,
}

impl Network {
    /// Whether the address is in it. One of IPv4 that is written as one of IPv6 is the one of IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let width = width(self.first);
        let differ = bits(self.first) ^ bits(address);
        width == self::width(address) && (self.prefix == 0 || differ >> (width - self.prefix) == 0)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

const fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected an address or a network such as \"10.0.0.0/8\" or \"fc00::/7\", found {text:?}");
        let (first, prefix) = text.split_once('/').map_or((text, None), |(first, prefix)| (first, Some(prefix)));
        let first: IpAddr = first.parse().map_err(|_| expected())?;
        let prefix = match prefix {
            None => width(first),
            Some(prefix) => prefix.parse().ok().filter(|bits| *bits <= width(first)).ok_or_else(expected)?,
        };
        let rest = if prefix == 0 { bits(first) } else { bits(first) << (128 - width(first)) << prefix.min(127) };
        // Of 10.1.2.3/8 nobody knows which was meant.
        let is_first = rest == 0 || prefix == width(first);
        if is_first { Ok(Self { first, prefix }) } else { Err(expected()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, prefix } = self;
        if *prefix == width(*first) { write!(f, "{first}") } else { write!(f, "{first}/{prefix}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn an_address_is_in_a_network_or_not() {
        for (of, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("172.16.0.0/12", "172.31.255.255", "172.32.0.0"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.8"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("fc00::/7", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("::/0", "2001:db8::1", "8.8.8.8"),
        ] {
            let found = [inside, outside].map(|address| network(of).contains(address.parse().unwrap()));
            assert_eq!(found, [true, false], "{of}");
            assert_eq!(network(of).to_string(), of);
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.1/8", "fc01::/7", "10.0.0.0/", "host", "10.0.0.0/-1"] {
            let error = wrong.parse::<Network>().unwrap_err();
            assert!(error.contains("10.0.0.0/8"), "{wrong}: {error}");
        }
    }
}
