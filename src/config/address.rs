//! Parses the addresses of targets, `HOST` or `HOST:PORT`.
//!
//! Nothing is resolved here. Names that can never resolve are refused, so that a typing error is
//! reported at once and not as an outage.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{self, NotAHost};

/// `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or a literal address.
    pub host: Host,
    /// The UDP port; never 0.
    pub port: u16,
}

/// The host of an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A literal unicast address, not unspecified. IPv4 addresses are never mapped into IPv6.
    Ip(IpAddr),
    /// A name to be resolved, or a link-local address with its zone (`fe80::1%eth0`), whose
    /// interface may not exist yet.
    Name(String),
}

impl Host {
    /// The name to look up in DNS; `None` for a literal address, also with a zone.
    pub(super) fn dns_name(&self) -> Option<&str> {
        match self {
            Self::Name(name) if !name.contains('%') => Some(name),
            Self::Name(_) | Self::Ip(_) => None,
        }
    }
}

/// Why a text is not a valid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text is empty, or begins with the port.
    #[error("no host in {0:?}")]
    NoHost(String),
    /// A port that is not from 1 to 65535.
    #[error("invalid port {0:?}: must be from 1 to 65535")]
    Port(String),
    /// Several colons, or brackets, without an IPv6 address.
    #[error("invalid IPv6 address {0:?}; with a port, write [2001:db8::1]:12000")]
    Ipv6(String),
    /// Ends in a number, as only IPv4 addresses do, but is not a valid IPv4 address.
    #[error("invalid IPv4 address {0:?}; host names do not end in a number")]
    Ipv4(String),
    /// A link-local address without a zone.
    #[error("{0} is a link-local address: name the interface, as in {0}%eth0")]
    NoZone(IpAddr),
    /// A zone on an address that needs none, or a zone that names no interface.
    #[error(
        "invalid zone in {0:?}: a zone names an interface, and only link-local addresses have one"
    )]
    Zone(String),
    /// Multicast or broadcast: replies come from other addresses.
    #[error("{0} is a multicast or broadcast address: use the address of one host")]
    Group(IpAddr),
    /// `0.0.0.0` or `::`, on which servers listen and from which no host replies.
    #[error("{0} is not the address of a host: for this machine, write 127.0.0.1 or ::1")]
    Unspecified(IpAddr),
    /// A character that is not allowed in host names.
    #[error("invalid character {character:?} in a host name{hint}")]
    Character {
        /// The first such character.
        character: char,
        /// How to write it instead, or nothing.
        hint: &'static str,
    },
    /// Longer than DNS allows (RFC 1035 section 2.3.4).
    #[error("host names have at most 253 characters, this one has {0}")]
    Long(usize),
    /// A part between dots that DNS does not allow (RFC 1123 section 2.1).
    #[error(
        "invalid part {0:?} of a host name: parts have 1 to 63 characters and neither begin nor end with a hyphen"
    )]
    Part(String),
}

/// Reads `HOST` or `HOST:PORT`. An IPv6 address with a port is in brackets.
pub(super) fn parse(text: &str) -> Result<(Host, Option<u16>), AddressError> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, behind)) = rest.split_once(']') else {
            return Err(AddressError::Ipv6(text.to_owned()));
        };
        let port = match behind.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if behind.is_empty() => None,
            None => return Err(AddressError::Ipv6(text.to_owned())),
        };
        return Ok((parse_ipv6(inside)?, port));
    }
    match text.split_once(':') {
        None => Ok((parse_host(text)?, None)),
        Some((_, rest)) if rest.contains(':') => Ok((parse_ipv6(text)?, None)),
        Some(("", _)) => Err(AddressError::NoHost(text.to_owned())),
        Some((host, port)) => Ok((parse_host(host)?, Some(parse_port(port)?))),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(AddressError::Port(text.to_owned())),
    }
}

fn parse_ipv6(text: &str) -> Result<Host, AddressError> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<Ipv6Addr>() else {
        return Err(AddressError::Ipv6(text.to_owned()));
    };
    match zone {
        None => one_host(address.into()),
        Some(zone) if address.is_unicast_link_local() && is_interface(zone) => {
            Ok(Host::Name(text.to_owned()))
        }
        Some(_) => Err(AddressError::Zone(text.to_owned())),
    }
}

/// Whether `zone` is a valid interface name on Linux (`dev_valid_name`: at most 15 octets).
fn is_interface(zone: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_graphic() && !b"/:%[]".contains(&octet);
    (1..=15).contains(&zone.len()) && zone.bytes().all(fits)
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return one_host(address.into());
    }
    check_name(text)?;
    Ok(Host::Name(text.to_owned()))
}

fn one_host(address: IpAddr) -> Result<Host, AddressError> {
    model::one_host(address, false).map(Host::Ip).map_err(|why| match why {
        NotAHost::Unspecified => AddressError::Unspecified(address.to_canonical()),
        NotAHost::Group => AddressError::Group(address.to_canonical()),
        NotAHost::NoZone => AddressError::NoZone(address),
    })
}

/// Host names follow RFC 1123, and may contain underscores, as names in container networks do.
fn check_name(text: &str) -> Result<(), AddressError> {
    const MAX_NAME: usize = 253;
    const MAX_PART: usize = 63;

    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(AddressError::NoHost(text.to_owned()));
    }
    let foreign = |c: &char| !c.is_ascii_alphanumeric() && !"-_.".contains(*c);
    if let Some(character) = name.chars().find(foreign) {
        let hint = match character {
            '/' | '?' | '#' => ": write HOST or HOST:PORT, without a path",
            '@' => ": write HOST or HOST:PORT, without a user",
            ',' => ": each target has one address",
            c if c.is_ascii() => "",
            _ => ": write the ASCII form, which begins with xn--",
        };
        return Err(AddressError::Character { character, hint });
    }
    if name.len() > MAX_NAME {
        return Err(AddressError::Long(name.len()));
    }
    let unfit = |part: &&str| {
        !(1..=MAX_PART).contains(&part.len()) || part.starts_with('-') || part.ends_with('-')
    };
    if let Some(part) = name.split('.').find(unfit) {
        return Err(AddressError::Part(part.to_owned()));
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(AddressError::Ipv4(text.to_owned()));
    }
    Ok(())
}

/// `HOST:PORT`, with an IPv6 address in brackets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        let host = host.to_string();
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host };
        f.pad(&format!("{bracketed}:{port}"))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

#[cfg(test)]
mod tests;
