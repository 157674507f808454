//! The options of `ping` that say how heartbeats leave. Their letters are those of other programs
//! named `ping`.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::str::FromStr;

use anyhow::bail;

use crate::config::{Host, PacketOptionError, SourceAddress, Target};
use crate::model::{Dscp, InterfaceName, IpVersion, PacketOptions};

/// How heartbeats leave, as arguments.
#[derive(Debug, clap::Args)]
pub(super) struct PacketArgs {
    /// Send over IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// Send over IPv6 only
    #[arg(short = '6')]
    ipv6: bool,
    /// Source address, or interface by which heartbeats leave; repeat the option to set both
    #[arg(short = 'I', value_name = "ADDRESS|INTERFACE")]
    via: Vec<Via>,
    /// Traffic class: a DSCP by name, such as EF, or the whole octet, such as 184 or 0xb8
    #[arg(short = 'Q', long = "tos", value_name = "TOS", value_parser = traffic_class)]
    dscp: Option<Dscp>,
    /// Hop limit of the heartbeats, from 1 to 255
    #[arg(short = 't', long, value_name = "HOPS", value_parser = super::whole(NonZeroU8::MIN..=NonZeroU8::MAX))]
    ttl: Option<NonZeroU8>,
    /// Whether heartbeats may be fragmented: do (never) or want (where necessary)
    #[arg(short = 'M', value_name = "do|want", default_value = "want",
        action = clap::ArgAction::Set, value_parser = dont_fragment)]
    dont_fragment: bool,
    /// Size of the heartbeats in octets of UDP payload; STAMP only
    #[arg(short = 's', long, value_name = "OCTETS", allow_negative_numbers = true)]
    pub(super) size: Option<String>,
}

/// A value of `-I`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Via {
    Source(IpAddr),
    Interface(InterfaceName),
}

impl FromStr for Via {
    type Err = PacketOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.parse::<IpAddr>().is_ok() {
            return text.parse().map(|SourceAddress(ip)| Self::Source(ip));
        }
        text.parse().map(Self::Interface)
    }
}

/// Reads the octet of the traffic class as other programs named `ping` do, or the name of a DSCP.
fn traffic_class(text: &str) -> Result<Dscp, String> {
    if let Some(dscp) = Dscp::named(text) {
        return Ok(dscp);
    }
    let lower = text.to_ascii_lowercase();
    let octet = match lower.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16).ok(),
        None => lower.parse().ok(),
    };
    let Some(octet) = octet.filter(|_| !text.contains('+')) else {
        return Err("must be the name of a DSCP, such as EF, or an octet from 0 to 252".to_owned());
    };
    match Dscp::new(octet >> 2) {
        Some(dscp) if dscp.traffic_class() == octet => Ok(dscp),
        _ => {
            // A UDP sender that does not react to congestion must not set ECN (RFC 8085 section 3.1.7).
            let meant = Dscp::new(octet).map_or_else(String::new, |dscp| {
                format!("; for DSCP {octet}, write {}", dscp.traffic_class())
            });
            Err(format!("the two low bits of the octet (ECN) must be 0{meant}"))
        }
    }
}

fn dont_fragment(text: &str) -> Result<bool, &'static str> {
    match text {
        "do" => Ok(true),
        "want" => Ok(false),
        _ => Err("must be do (never fragment) or want (fragment where necessary)"),
    }
}

impl PacketArgs {
    /// The packet options.
    ///
    /// # Errors
    /// If there are two sources or two interfaces.
    pub(super) fn options(&self) -> anyhow::Result<PacketOptions> {
        let (mut source, mut interface) = (None, None);
        for via in &self.via {
            let again = match *via {
                Via::Source(ip) => source.replace(ip).map(|ip| ip.to_string()),
                Via::Interface(name) => interface.replace(name).map(|name| name.to_string()),
            };
            if let Some(first) = again {
                bail!(
                    "-I {first}: more than one -I of the same kind: give at most one address and one interface"
                );
            }
        }
        Ok(PacketOptions {
            source,
            interface,
            dscp: self.dscp.unwrap_or_default(),
            ttl: self.ttl,
            dont_fragment: self.dont_fragment,
        })
    }

    /// Restricts `target` to the family of `-4` or `-6`.
    ///
    /// # Errors
    /// If its address is a literal of the other family.
    pub(super) fn restrict(&self, target: &mut Target) -> anyhow::Result<()> {
        target.ip_version = match (self.ipv4, self.ipv6) {
            (true, _) => IpVersion::V4,
            (false, true) => IpVersion::V6,
            (false, false) => return Ok(()),
        };
        match &target.address.host {
            Host::Ip(ip) if !target.ip_version.includes(*ip) => {
                bail!("{ip} is not an IPv{} address", target.ip_version.word())
            }
            Host::Ip(_) | Host::Name(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traffic_class_is_a_name_or_an_octet_without_ecn() {
        for (text, number) in [
            ("EF", 46),
            ("af41", 34),
            ("184", 46),
            ("0xb8", 46),
            ("0XB8", 46),
            ("0", 0),
            ("252", 63),
        ] {
            assert_eq!(traffic_class(text).map(Dscp::number), Ok(number), "{text}");
        }
        for (text, end) in [
            ("46", "must be 0; for DSCP 46, write 184"),
            ("255", "the two low bits of the octet (ECN) must be 0"),
            ("256", "or an octet from 0 to 252"),
            ("+4", "or an octet from 0 to 252"),
            ("-4", "or an octet from 0 to 252"),
            ("0x", "or an octet from 0 to 252"),
            ("", "or an octet from 0 to 252"),
            ("best", "or an octet from 0 to 252"),
        ] {
            let error = traffic_class(text).unwrap_err();
            assert!(error.ends_with(end), "{text}: {error}");
        }
    }

    #[test]
    fn a_way_out_is_an_address_or_an_interface() {
        assert_eq!("::1".parse(), Ok(Via::Source("::1".parse().unwrap())));
        assert_eq!("eth1".parse(), Ok(Via::Interface(InterfaceName::new("eth1").unwrap())));
        let error = "224.0.0.1".parse::<Via>().unwrap_err().to_string();
        assert!(error.starts_with("224.0.0.1 cannot be a source"), "{error}");
        let error = "192.0.2.0/24".parse::<Via>().unwrap_err().to_string();
        assert!(error.starts_with("must be the name of a network interface"), "{error}");
    }
}
