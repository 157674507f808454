//! Reads packet options as text, and compares those of a target with its address.

use std::net::IpAddr;
use std::str::FromStr;

use super::address::{Address, Host};
use crate::model::{Dscp, InterfaceName, IpVersion, PacketOptions};

/// Why a text is not the value of a packet option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketOptionError {
    /// Not an IP address.
    #[error("must be an IP address of this machine, such as 192.0.2.10, not {0:?}")]
    NoSource(String),
    /// A multicast, broadcast or unspecified address.
    #[error("{0} cannot be a source: must be a unicast address of this machine")]
    GroupSource(IpAddr),
    /// Not a name that an interface can have.
    #[error("must be the name of a network interface, such as eth1, not {0:?}")]
    NoInterface(String),
    /// Not a DSCP.
    #[error(
        "must be a DSCP: a number from 0 to 63, CS0 to CS7, AF11 to AF43, EF, VA or LE, not {0:?}"
    )]
    NoDscp(String),
}

/// A unicast address of this machine, from which heartbeats can leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceAddress(pub IpAddr);

impl FromStr for SourceAddress {
    type Err = PacketOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Ok(address) = text.parse::<IpAddr>() else {
            return Err(PacketOptionError::NoSource(text.to_owned()));
        };
        // The IPv6 sockets are IPv6 only.
        let address = address.to_canonical();
        let is_broadcast = address == IpAddr::from([u8::MAX; 4]);
        if address.is_multicast() || address.is_unspecified() || is_broadcast {
            return Err(PacketOptionError::GroupSource(address));
        }
        Ok(Self(address))
    }
}

impl FromStr for InterfaceName {
    type Err = PacketOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text).ok_or_else(|| PacketOptionError::NoInterface(text.to_owned()))
    }
}

/// A number or a name, in upper or lower case.
impl FromStr for Dscp {
    type Err = PacketOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        let dscp =
            if is_number { text.parse().ok().and_then(Self::new) } else { Self::named(text) };
        dscp.ok_or_else(|| PacketOptionError::NoDscp(text.to_owned()))
    }
}

/// A packet option that contradicts the address of its target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketConflict {
    /// The source is of the other family.
    #[error(
        "{0} and the target's address {1} have different IP versions: both must be IPv4, or both IPv6"
    )]
    Family(IpAddr, IpAddr),
    /// The source is of another IP version than the target may use.
    #[error("{0} is not an IPv{ver} address, and ip_version is {ver}", ver = .1.word())]
    Version(IpAddr, IpVersion),
    /// A link-local source without an interface.
    #[error("{0} is a link-local address: set interface as well")]
    LinkLocal(IpAddr),
    /// The zone of the address is another interface.
    #[error("is {0}, but the zone in the address is {1}")]
    Zone(InterfaceName, String),
}

impl PacketConflict {
    /// The key of the option.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Family(..) | Self::Version(..) | Self::LinkLocal(_) => "source",
            Self::Zone(..) => "interface",
        }
    }
}

/// Checks that heartbeats to `address`, with this `ip_version`, can leave as `packets` say, as far as that is known without
/// looking up a name or an interface.
///
/// # Errors
/// The first contradiction.
pub fn check_packets(
    address: &Address,
    ip_version: IpVersion,
    packets: &PacketOptions,
) -> Result<(), PacketConflict> {
    let zone = match &address.host {
        Host::Name(name) => name.split_once('%').map(|(_, zone)| zone),
        Host::Ip(_) => None,
    };
    if let Some((zone, interface)) = zone.zip(packets.interface)
        && zone != interface.as_str()
    {
        return Err(PacketConflict::Zone(interface, zone.to_owned()));
    }
    let Some(source) = packets.source else { return Ok(()) };
    let literal = match &address.host {
        Host::Ip(ip) => Some(*ip),
        Host::Name(name) => {
            let (literal, _) = name.split_once('%').unwrap_or((name, ""));
            literal.parse().ok()
        }
    };
    if let Some(literal) = literal
        && !packets.admit(literal)
    {
        return Err(PacketConflict::Family(source, literal));
    }
    if literal.is_none() && !ip_version.includes(source) {
        return Err(PacketConflict::Version(source, ip_version));
    }
    let is_link_local = matches!(source, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if is_link_local && zone.is_none() && packets.interface.is_none() {
        return Err(PacketConflict::LinkLocal(source));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Defaults, parse_target};
    use super::*;

    #[test]
    fn a_dscp_is_a_number_or_a_name() {
        for (text, number) in [("EF", 46), ("ef", 46), ("46", 46), ("0", 0), ("63", 63), ("LE", 1)]
        {
            assert_eq!(text.parse::<Dscp>().map(Dscp::number), Ok(number), "{text}");
        }
        for text in
            ["", "64", "-1", "+1", "184", "0x2e", "AF14", "best effort", "4611686018427387904"]
        {
            let error = text.parse::<Dscp>().unwrap_err();
            assert_eq!(error, PacketOptionError::NoDscp(text.to_owned()));
        }
    }

    #[test]
    fn a_source_is_a_unicast_address() {
        let source = |text: &str| text.parse::<SourceAddress>().map(|SourceAddress(ip)| ip);
        for (text, ip) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::1", "::1"),
            ("fe80::1", "fe80::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(source(text), Ok(ip.parse().unwrap()));
        }
        for text in ["", "eth1", "192.0.2.0/24", "192.0.2.1:0", "[::1]", "fe80::1%eth0"] {
            assert_eq!(source(text), Err(PacketOptionError::NoSource(text.to_owned())));
        }
        for text in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            let ip = text.parse().unwrap();
            assert_eq!(source(text), Err(PacketOptionError::GroupSource(ip)));
        }
    }

    #[test]
    fn options_that_contradict_the_address_are_found() {
        let check = |address: &str, source: &str, interface: &str| {
            let packets = PacketOptions {
                source: source.parse::<SourceAddress>().ok().map(|SourceAddress(ip)| ip),
                interface: InterfaceName::new(interface),
                ..PacketOptions::default()
            };
            let target = parse_target(address, &Defaults::default()).unwrap();
            check_packets(&target.address, target.ip_version, &packets)
                .map_err(|it| (it.key(), it.to_string()))
        };
        for (address, source, interface) in [
            ("192.0.2.1", "", ""),
            ("192.0.2.1", "192.0.2.2", "eth1"),
            ("fra.example", "192.0.2.2", ""),
            ("fra.example", "2001:db8::2", ""),
            ("fe80::1%eth0", "fe80::2", ""),
            ("fe80::1%eth0", "", "eth0"),
            ("2001:db8::1", "fe80::2", "eth0"),
        ] {
            assert_eq!(check(address, source, interface), Ok(()), "{address} {source}");
        }
        for (address, source, interface, key, message) in [
            (
                "192.0.2.1",
                "::1",
                "",
                "source",
                "::1 and the target's address 192.0.2.1 have different IP versions: both must be \
                 IPv4, or both IPv6",
            ),
            (
                "fe80::1%eth0",
                "192.0.2.1",
                "",
                "source",
                "192.0.2.1 and the target's address fe80::1 have different IP versions: both must \
                 be IPv4, or both IPv6",
            ),
            (
                "2001:db8::1",
                "fe80::2",
                "",
                "source",
                "fe80::2 is a link-local address: set interface as well",
            ),
            (
                "fe80::1%eth0",
                "",
                "eth1",
                "interface",
                "is eth1, but the zone in the address is eth0",
            ),
        ] {
            assert_eq!(check(address, source, interface), Err((key, message.to_owned())));
        }
    }
}
