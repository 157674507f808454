//! Networks as people write them: `192.0.2.0/24`, `2001:db8::/32`, or one address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::ScalarError;

/// All addresses that begin with the same bits. What is written behind those bits is not kept:
/// `192.0.2.7/24` is `192.0.2.0/24`. An address alone is a network of one, and IPv4 that is written
/// as IPv6 is IPv4: `::ffff:192.0.2.0/120` is `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

impl Prefix {
    /// Whether the address is one of them; an IPv4 address that is written as an IPv6 one
    /// (`::ffff:192.0.2.1`) counts as the former.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// How many leading bits they share.
    #[must_use]
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }
}

impl FromStr for Prefix {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => Ok(Self(canonical(network.trunc()))),
            Err(_) => Err(ScalarError::NoPrefix(text.to_owned())),
        }
    }
}

/// A network of IPv4 addresses that are mapped into IPv6 (RFC 4291 section 2.5.5.2) as one of IPv4.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Result<String, String> {
        text.parse::<Prefix>().map(|prefix| prefix.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn networks_and_addresses_are_read_and_cut_to_their_length() {
        for (text, network) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(prefix(text), Ok(network.to_owned()));
        }
    }

    #[test]
    fn what_is_none_is_explained() {
        for text in ["", "192.0.2.0/33", "192.0.2", "fra.example", "192.0.2.0/-1", "::/129", "/8"] {
            let message =
                format!("must be a network, such as 192.0.2.0/24 or 2001:db8::/32, not {text:?}");
            assert_eq!(prefix(text), Err(message));
        }
    }

    #[test]
    fn an_address_is_in_its_network_however_it_is_written() {
        let network: Prefix = "192.0.2.0/24".parse().unwrap();
        let contains = |address: &str| network.contains(address.parse().unwrap());
        assert!(contains("192.0.2.255") && contains("::ffff:192.0.2.1"));
        assert!(!contains("192.0.3.0") && !contains("2001:db8::1"));
        let all: Prefix = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!(!all.contains("192.0.2.1".parse().unwrap()));
    }
}
