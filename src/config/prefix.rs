//! Networks, such as `192.0.2.0/24`, `2001:db8::/32` or one address, and a map of values by network
//! with longest-prefix lookup.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use super::ScalarError;

/// A network: all addresses that begin with the same bits.
///
/// Bits after the prefix must be zero: `192.0.2.7/24` is an error. An address without a length is a
/// network of one. IPv4-mapped IPv6 networks are IPv4: `::ffff:192.0.2.0/120` is
/// `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

impl FromStr for Prefix {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) if network == network.trunc() => Ok(Self(canonical(network))),
            Ok(network) => Err(ScalarError::HostBits {
                network: canonical(network.trunc()).to_string(),
                address: network.addr().to_canonical().to_string(),
            }),
            Err(_) => Err(ScalarError::NoPrefix(text.to_owned())),
        }
    }
}

/// Converts a network of IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2) to IPv4.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let length = network.prefix_len().checked_sub(MAPPED);
    let unmapped = length.and_then(|length| {
        let address = network.addr().to_canonical();
        address.is_ipv4().then(|| IpNet::new(address, length).ok()).flatten()
    });
    unmapped.unwrap_or(network)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

/// Values by network. The cost of a lookup does not grow with the number of networks.
///
/// An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is looked up as IPv4.
#[derive(Debug, Clone)]
pub struct PrefixMap<T>(JointPrefixMap<IpNet, T>);

impl<T> PrefixMap<T> {
    /// Whether the map has no networks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of exactly this network.
    #[must_use]
    pub fn get(&self, prefix: Prefix) -> Option<&T> {
        self.0.get(&prefix.0)
    }

    /// The value of exactly this network, mutable.
    #[must_use]
    pub fn get_mut(&mut self, prefix: Prefix) -> Option<&mut T> {
        self.0.get_mut(&prefix.0)
    }

    /// The value of the longest network that contains the address.
    #[must_use]
    pub fn longest_match(&self, address: IpAddr) -> Option<&T> {
        self.0.get_lpm(&host(address)).map(|(_, value)| value)
    }

    /// The value of the longest network that contains the address, mutable.
    #[must_use]
    pub fn longest_match_mut(&mut self, address: IpAddr) -> Option<&mut T> {
        self.0.get_lpm_mut(&host(address)).map(|(_, value)| value)
    }

    /// Every network with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &T)> {
        self.0.iter().map(|(network, value)| (Prefix(network), value))
    }

    /// Every network with its value, mutable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Prefix, &mut T)> {
        self.0.iter_mut().map(|(network, value)| (Prefix(network), value))
    }
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self(JointPrefixMap::default())
    }
}

/// If a network is given twice, the later value stays.
impl<T> FromIterator<(Prefix, T)> for PrefixMap<T> {
    fn from_iter<I: IntoIterator<Item = (Prefix, T)>>(values: I) -> Self {
        Self(values.into_iter().map(|(prefix, value)| (prefix.0, value)).collect())
    }
}

/// The network of one address.
fn host(address: IpAddr) -> IpNet {
    address.to_canonical().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Result<String, String> {
        text.parse::<Prefix>().map(|prefix| prefix.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn networks_and_addresses_are_read_in_canonical_form() {
        for (text, network) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(prefix(text), Ok(network.to_owned()));
        }
    }

    #[test]
    fn invalid_networks_are_explained() {
        for text in ["", "192.0.2.0/33", "192.0.2", "fra.example", "192.0.2.0/-1", "::/129", "/8"] {
            let message =
                format!("must be a network, such as 192.0.2.0/24 or 2001:db8::/32, not {text:?}");
            assert_eq!(prefix(text), Err(message));
        }
        for (text, network, address) in [
            ("10.0.0.1/8", "10.0.0.0/8", "10.0.0.1"),
            ("2001:db8::1/32", "2001:db8::/32", "2001:db8::1"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24", "192.0.2.7"),
            ("::ffff:0:0/95", "::fffe:0:0/95", "0.0.0.0"),
        ] {
            let message =
                format!("has host bits set: did you mean {network}, or the one address {address}?");
            assert_eq!(prefix(text), Err(message));
        }
    }

    fn map(networks: &[&'static str]) -> PrefixMap<&'static str> {
        networks.iter().map(|&network| (network.parse().unwrap(), network)).collect()
    }

    #[test]
    fn mapped_addresses_are_looked_up_as_ipv4() {
        let network = map(&["192.0.2.0/24"]);
        let contains = |address: &str| network.longest_match(address.parse().unwrap()).is_some();
        assert!(contains("192.0.2.255") && contains("::ffff:192.0.2.1"));
        assert!(!contains("192.0.3.0") && !contains("2001:db8::1"));
        let all = map(&["::/0"]);
        assert!(all.longest_match("2001:db8::1".parse().unwrap()).is_some());
        assert!(all.longest_match("192.0.2.1".parse().unwrap()).is_none());
    }

    #[test]
    fn the_longest_network_that_contains_an_address_is_found() {
        let networks = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.3/32",
            "0.0.0.0/0",
            "2001:db8::/32",
            "2001:db8::1/128",
        ];
        let mut forwards = map(&networks);
        let backwards: PrefixMap<_> =
            networks.iter().rev().map(|&network| (network.parse().unwrap(), network)).collect();
        for (address, expected) in [
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("10.1.2.4", Some("10.1.0.0/16")),
            ("10.2.0.0", Some("10.0.0.0/8")),
            ("11.0.0.0", Some("0.0.0.0/0")),
            ("2001:db8::1", Some("2001:db8::1/128")),
            ("2001:db8::2", Some("2001:db8::/32")),
            ("2001:db9::", None),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(forwards.longest_match(address).copied(), expected, "{address}");
            assert_eq!(forwards.longest_match_mut(address).copied(), expected, "{address}");
            assert_eq!(backwards.longest_match(address).copied(), expected, "{address}");
        }
        assert_eq!(forwards.get("10.1.0.0/16".parse().unwrap()), Some(&"10.1.0.0/16"));
        assert_eq!(forwards.get("10.1.0.0/17".parse().unwrap()), None);
        let read: Vec<_> =
            forwards.iter().map(|(prefix, &value)| (prefix.to_string(), value)).collect();
        assert_eq!(read.len(), networks.len());
        assert!(read.contains(&("10.1.2.3".parse::<Prefix>().unwrap().to_string(), "10.1.2.3/32")));
    }
}
