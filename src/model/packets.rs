//! How the datagrams of a target leave, apart from their contents.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;

/// How the datagrams of a target leave. The default leaves everything to routing and to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketOptions {
    /// The source address, a unicast address; `None` lets routing choose it.
    pub source: Option<IpAddr>,
    /// The interface by which they leave; `None` lets routing choose it.
    pub interface: Option<InterfaceName>,
    /// The DSCP (RFC 2474). 0, the default, is best effort.
    pub dscp: Dscp,
    /// The hop limit, from 1 to 255; `None` is the system's default.
    pub ttl: Option<NonZeroU8>,
    /// Never fragment them, neither here nor on the path.
    pub dont_fragment: bool,
}

impl PacketOptions {
    /// Whether they can leave for `address`: it has the family of the source address.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> bool {
        self.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    }
}

/// A Differentiated Services codepoint, from 0 to 63 (RFC 2474 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dscp(u8);

impl Dscp {
    /// The largest codepoint: six bits.
    pub const MAX: u8 = 63;

    /// The names of codepoints: RFC 2474 (CS), RFC 2597 (AF), RFC 3246 (EF), RFC 5865 (VA) and RFC
    /// 8622 (LE).
    pub const NAMES: [(&str, Self); 23] = [
        ("CS0", Self(0)),
        ("LE", Self(1)),
        ("CS1", Self(8)),
        ("AF11", Self(10)),
        ("AF12", Self(12)),
        ("AF13", Self(14)),
        ("CS2", Self(16)),
        ("AF21", Self(18)),
        ("AF22", Self(20)),
        ("AF23", Self(22)),
        ("CS3", Self(24)),
        ("AF31", Self(26)),
        ("AF32", Self(28)),
        ("AF33", Self(30)),
        ("CS4", Self(32)),
        ("AF41", Self(34)),
        ("AF42", Self(36)),
        ("AF43", Self(38)),
        ("CS5", Self(40)),
        ("VA", Self(44)),
        ("EF", Self(46)),
        ("CS6", Self(48)),
        ("CS7", Self(56)),
    ];

    /// The codepoint with this number; `None` if it is larger than 63.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The codepoint of a name, in upper or lower case; `None` for an unknown name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, dscp)| *dscp)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The octet of the IP header that has it: the codepoint, and 0 for ECN (RFC 3168 section 5).
    #[must_use]
    pub const fn traffic_class(self) -> u8 {
        self.0 << 2
    }
}

/// The name if it has one, otherwise the number.
impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(_, dscp)| dscp == self) {
            Some((name, _)) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

/// The name of a network interface: 1 to 15 visible ASCII characters without `/` and `:`, and
/// neither `.` nor `..` (`dev_valid_name` of Linux).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName {
    octets: [u8; Self::LONGEST],
    len: u8,
}

impl InterfaceName {
    /// The maximum number of octets: `IFNAMSIZ` of linux/if.h, without the final zero.
    const LONGEST: usize = 15;

    /// The name in `text`; `None` if no interface can have it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_valid =
            text.bytes().all(|octet| octet.is_ascii_graphic() && !b"/:".contains(&octet));
        if text.is_empty() || matches!(text, "." | "..") || !is_valid {
            return None;
        }
        let mut octets = [0; Self::LONGEST];
        octets.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { octets, len: u8::try_from(text.len()).ok()? })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // It was made from text.
        std::str::from_utf8(&self.octets[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codepoint_has_six_bits_and_precedes_ecn_in_its_octet() {
        assert_eq!(Dscp::new(64), None);
        let ef = Dscp::named("ef").unwrap();
        assert_eq!((ef.number(), ef.traffic_class(), ef.to_string().as_str()), (46, 0xB8, "EF"));
        assert_eq!(Dscp::new(63).unwrap().to_string(), "63");
        assert_eq!(Dscp::new(63).unwrap().traffic_class(), 0xFC);
        assert_eq!(Dscp::named("AF44"), None);
        assert_eq!(Dscp::default().to_string(), "CS0");
    }

    #[test]
    fn names_are_those_of_the_class_selectors_and_assured_forwarding() {
        for class in 0..8 {
            assert_eq!(Dscp::named(&format!("CS{class}")), Dscp::new(8 * class));
        }
        for (class, drop) in (1..5).flat_map(|class| [1, 2, 3].map(|drop| (class, drop))) {
            assert_eq!(Dscp::named(&format!("AF{class}{drop}")), Dscp::new(8 * class + 2 * drop));
        }
        let mut numbers = Dscp::NAMES.map(|(_, dscp)| dscp);
        assert!(numbers.is_sorted());
        numbers.reverse();
        assert_eq!(numbers.windows(2).find(|pair| pair[0] == pair[1]), None);
    }

    #[test]
    fn the_names_of_interfaces_are_those_that_linux_allows() {
        for name in ["lo", "eth1", "wlan0.7", "a", "fifteen-letters", "@%[]"] {
            assert_eq!(InterfaceName::new(name).unwrap().to_string(), name);
        }
        for name in ["", ".", "..", "a/b", "eth0:1", "two words", "sixteen-letters.", "é"] {
            assert_eq!(InterfaceName::new(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_source_decides_about_the_family() {
        let [v4, v6]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let from = |source| PacketOptions { source, ..PacketOptions::default() };
        assert!(from(None).admit(v4) && from(None).admit(v6));
        assert!(from(Some(v4)).admit(v4) && !from(Some(v4)).admit(v6));
        assert!(from(Some(v6)).admit(v6) && !from(Some(v6)).admit(v4));
    }
}
