//! Names of hosts and their addresses: what a lookup finds, why it fails, and which addresses a host
//! can have.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::labels::labels;

labels! {
    /// Why a lookup of a name gives a target no address (`heartbeat_lookup_failures_total`).
    pub enum LookupFailure {
        /// The name does not exist (RFC 1035 section 4.1.1, RCODE 3).
        NxDomain => "nxdomain",
        /// The name exists, and has no address of the wanted IP version.
        NoAddress => "no_address",
        /// The name has only addresses that no host can have, such as 0.0.0.0; see [`one_host`].
        InvalidAddress => "invalid_address",
        /// A name server answered with an error, such as SERVFAIL or REFUSED.
        ServFail => "servfail",
        /// No name server answered in time.
        Timeout => "timeout",
        /// No name server can be reached, or the interface of a link-local address does not exist.
        Unreachable => "unreachable",
        /// Any other error, such as an answer that is not a DNS message.
        Other => "other",
    }
}

impl LookupFailure {
    /// Whether a name server gave a definite answer, which does not change from one second to the
    /// next.
    #[must_use]
    pub fn is_definite(self) -> bool {
        match self {
            Self::NxDomain | Self::NoAddress | Self::InvalidAddress => true,
            Self::ServFail | Self::Timeout | Self::Unreachable | Self::Other => false,
        }
    }
}

/// The IP versions of the addresses that a target uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IpVersion {
    /// Both.
    #[default]
    Auto,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl IpVersion {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Auto, Self::V4, Self::V6];

    /// The value as it is configured.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::V4 => "4",
            Self::V6 => "6",
        }
    }

    /// Whether a target of this setting uses `ip`.
    #[must_use]
    pub fn includes(self, ip: IpAddr) -> bool {
        match self {
            Self::Auto => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

/// Which addresses of a name are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Addresses {
    /// One at a time.
    #[default]
    First,
    /// Each by a target of its own.
    All,
}

impl Addresses {
    /// All values.
    pub const ALL: [Self; 2] = [Self::First, Self::All];

    /// The value as it is configured.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::All => "all",
        }
    }
}

/// The IP version of an address, `4` or `6`.
#[must_use]
pub fn ip_version(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { IpVersion::V4.word() } else { IpVersion::V6.word() }
}

/// Why an address cannot be the address of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAHost {
    /// `0.0.0.0` or `::`.
    Unspecified,
    /// Multicast or broadcast.
    Group,
    /// A link-local IPv6 address without a zone (RFC 4007 section 6).
    NoZone,
}

/// The address of one host, in the form in which heartbeats are sent to it: an IPv4 address that is
/// mapped into IPv6 becomes the IPv4 address, because the IPv6 sockets are IPv6 only. `has_zone` says
/// whether a zone accompanies the address.
///
/// # Errors
/// If it cannot be the address of one host.
pub fn one_host(ip: IpAddr, has_zone: bool) -> Result<IpAddr, NotAHost> {
    let ip = ip.to_canonical();
    if ip.is_unspecified() {
        return Err(NotAHost::Unspecified);
    }
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(NotAHost::Group);
    }
    let is_link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if is_link_local && !has_zone { Err(NotAHost::NoZone) } else { Ok(ip) }
}

/// The result of a lookup: addresses in order of preference, and for each IP version without an
/// address the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    addresses: Arc<[SocketAddr]>,
    /// Why there is no IPv4 address, and why there is no IPv6 address.
    missing: [Option<LookupFailure>; 2],
    left_out: usize,
}

impl Found {
    /// The maximum number of addresses of a name and IP version. If there are more, the
    /// lowest are used, so that the order of the answer does not matter.
    pub const MAX: usize = 64;

    /// The result of two lookups. `v4` and `v6` have the addresses of each IP version, in order of
    /// preference, IPv6 first. Their ports have no meaning. Addresses that no host has are left out.
    #[must_use]
    pub fn new(
        v4: Result<Vec<SocketAddr>, LookupFailure>,
        v6: Result<Vec<SocketAddr>, LookupFailure>,
    ) -> Self {
        let [v4, v6] = [v4, v6].map(|addresses| addresses.and_then(|addresses| usable(&addresses)));
        let missing = [v4.as_ref().err().copied(), v6.as_ref().err().copied()];
        let mut all: Vec<SocketAddr> = Vec::new();
        let mut left_out = 0;
        // Each version has its own maximum, so that the addresses of one hide none of the other.
        for of_version in [v6, v4] {
            let mut of_version = of_version.unwrap_or_default();
            left_out += bound(&mut of_version);
            for address in of_version {
                // A mapped address may be there as an A record as well.
                if !all.contains(&address) {
                    all.push(address);
                }
            }
        }
        Self { addresses: all.into(), missing, left_out }
    }

    /// No address, for this reason.
    #[must_use]
    pub fn failed(why: LookupFailure) -> Self {
        Self { addresses: Arc::default(), missing: [Some(why); 2], left_out: 0 }
    }

    /// All addresses, in order of preference; empty if the lookup failed.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many addresses of the name are not used because there are too many.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether a name server has given a definite answer for both IP versions.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.missing.iter().flatten().all(|why| why.is_definite())
    }

    /// The same result with the addresses for which `comes_first` is true before the others.
    #[must_use]
    pub fn sorted(&self, comes_first: impl Fn(SocketAddr) -> bool) -> Self {
        let mut addresses = self.addresses.to_vec();
        addresses.sort_by_cached_key(|&address| !comes_first(address));
        Self { addresses: addresses.into(), ..self.clone() }
    }

    /// The addresses for a target that uses this IP version.
    ///
    /// # Errors
    /// Why there is none. If both versions may be used and the reasons differ, the reason of a lookup
    /// without a definite answer is returned.
    pub fn of(&self, version: IpVersion) -> Result<Vec<SocketAddr>, LookupFailure> {
        let fits = |address: &SocketAddr| version.includes(address.ip());
        let addresses: Vec<_> = self.addresses.iter().copied().filter(fits).collect();
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        let [v4, v6] = self.missing.map(|why| why.unwrap_or(LookupFailure::NoAddress));
        Err(match version {
            IpVersion::V4 => v4,
            IpVersion::V6 => v6,
            IpVersion::Auto => worst(v4, v6),
        })
    }
}

/// The addresses that a host can have, at least one.
fn usable(addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, LookupFailure> {
    if addresses.is_empty() {
        return Err(LookupFailure::NoAddress);
    }
    let one = |address: &SocketAddr| {
        let has_zone = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
        let ip = one_host(address.ip(), has_zone).ok()?;
        Some(if ip == address.ip() { *address } else { SocketAddr::new(ip, address.port()) })
    };
    let usable: Vec<_> = addresses.iter().filter_map(one).collect();
    if usable.is_empty() { Err(LookupFailure::InvalidAddress) } else { Ok(usable) }
}

/// Removes all but the [`Found::MAX`] lowest addresses and keeps the order of the remaining ones. Returns how
/// many it has removed; duplicates do not count.
fn bound(addresses: &mut Vec<SocketAddr>) -> usize {
    if addresses.len() <= Found::MAX {
        return 0;
    }
    let mut lowest = addresses.clone();
    lowest.sort_unstable();
    lowest.dedup();
    let left_out = lowest.len().saturating_sub(Found::MAX);
    lowest.truncate(Found::MAX);
    addresses.retain(|address| lowest.binary_search(address).is_ok());
    left_out
}

/// The reason to report when neither IP version has an address.
fn worst(v4: LookupFailure, v6: LookupFailure) -> LookupFailure {
    let rank = |why: LookupFailure| (why.is_definite(), why == LookupFailure::NoAddress);
    if rank(v6) < rank(v4) { v6 } else { v4 }
}

#[cfg(test)]
impl<const N: usize> From<[SocketAddr; N]> for Found {
    /// These addresses, in this order; without an address, the name does not exist.
    fn from(addresses: [SocketAddr; N]) -> Self {
        let missing = [(N == 0).then_some(LookupFailure::NxDomain); 2];
        Self { addresses: addresses.into(), missing, left_out: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn only_addresses_of_one_host_are_used() {
        for text in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert_eq!(one_host(text.parse().unwrap(), false), Err(NotAHost::Unspecified));
        }
        for text in ["224.0.0.1", "255.255.255.255", "ff02::1", "::ffff:239.1.2.3"] {
            assert_eq!(one_host(text.parse().unwrap(), false), Err(NotAHost::Group), "{text}");
        }
        let link_local = "fe80::1".parse().unwrap();
        assert_eq!(one_host(link_local, false), Err(NotAHost::NoZone));
        assert_eq!(one_host(link_local, true), Ok(link_local));
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(one_host(mapped, false), Ok("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn addresses_that_no_host_has_are_left_out_of_an_answer() {
        let found = Found::new(
            Ok(all(&["0.0.0.0", "192.0.2.1", "224.0.0.1", "192.0.2.2"])),
            Ok(all(&["::", "fe80::1", "::ffff:192.0.2.1", "2001:db8::1"])),
        );
        assert_eq!(found.addresses(), all(&["192.0.2.1", "2001:db8::1", "192.0.2.2"]));
        let found = Found::new(Ok(all(&["0.0.0.0"])), Ok(Vec::new()));
        assert_eq!(found.of(IpVersion::V4), Err(LookupFailure::InvalidAddress));
        assert_eq!(found.of(IpVersion::V6), Err(LookupFailure::NoAddress));
        assert_eq!(found.of(IpVersion::Auto), Err(LookupFailure::InvalidAddress));
        let many = (0..200).map(|n| SocketAddr::new([192, 0, 2, n].into(), 0)).collect();
        let found = Found::new(Ok(many), Err(LookupFailure::Timeout));
        assert_eq!(found.addresses().len(), Found::MAX);
    }

    #[test]
    fn of_too_many_addresses_the_same_ones_are_used_in_every_order() {
        let address = |n| SocketAddr::new([192, 0, 2, n].into(), 0);
        let mut all: Vec<_> = (0..=200).map(address).chain([address(3), address(199)]).collect();
        for _ in 0..2 {
            all.reverse();
            let found = Found::new(Ok(all.clone()), Ok(Vec::new()));
            let mut used = found.addresses().to_vec();
            let in_order = all.iter().filter(|address| used.contains(address)).copied();
            let mut expected: Vec<_> = Vec::new();
            for address in in_order {
                if !expected.contains(&address) {
                    expected.push(address);
                }
            }
            assert_eq!(used, expected, "in the order of preference");
            used.sort_unstable();
            assert!(used.into_iter().eq((0..64).map(address)));
            assert_eq!(found.left_out(), 201 - Found::MAX);
        }
        let found = Found::new(Ok(vec![address(1); 100]), Ok(Vec::new()));
        assert_eq!((found.addresses().len(), found.left_out()), (1, 0));
    }

    #[test]
    fn a_target_gets_the_addresses_of_its_ip_version_or_the_reason() {
        let found = Found::new(Ok(all(&["192.0.2.1"])), Err(LookupFailure::Timeout));
        assert_eq!(found.of(IpVersion::Auto), Ok(all(&["192.0.2.1"])));
        assert_eq!(found.of(IpVersion::V4), Ok(all(&["192.0.2.1"])));
        assert_eq!(found.of(IpVersion::V6), Err(LookupFailure::Timeout));
        let found = Found::new(Ok(Vec::new()), Ok(all(&["2001:db8::1"])));
        assert_eq!(found.of(IpVersion::V4), Err(LookupFailure::NoAddress));
        let found = Found::failed(LookupFailure::NxDomain);
        for version in IpVersion::ALL {
            assert_eq!(found.of(version), Err(LookupFailure::NxDomain));
        }
    }

    #[test]
    fn an_error_of_the_lookup_is_reported_before_a_definite_answer() {
        use LookupFailure::{NoAddress, NxDomain, ServFail, Timeout};
        for (v4, v6, reported) in [
            (NoAddress, ServFail, ServFail),
            (Timeout, NxDomain, Timeout),
            (NoAddress, NxDomain, NxDomain),
            (NxDomain, NoAddress, NxDomain),
            (NoAddress, NoAddress, NoAddress),
        ] {
            let found = Found::new(Err(v4), Err(v6));
            assert_eq!(found.of(IpVersion::Auto), Err(reported), "{v4} {v6}");
        }
    }

    #[test]
    fn sorting_keeps_the_order_of_equals() {
        let found = Found::new(Ok(all(&["192.0.2.1", "192.0.2.2"])), Ok(all(&["2001:db8::1"])));
        let sorted = found.sorted(|address| address.is_ipv4());
        assert_eq!(sorted.addresses(), all(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]));
    }

    #[test]
    fn many_addresses_of_one_version_hide_none_of_the_other() {
        let v6: Vec<_> =
            (0..100).map(|n| format!("[2001:db8::{n:x}]:0").parse().unwrap()).collect();
        let v4: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let found = Found::new(Ok(vec![v4]), Ok(v6));
        assert_eq!(found.of(IpVersion::V4), Ok(vec![v4]));
        assert_eq!(found.of(IpVersion::V6).map(|all| all.len()), Ok(Found::MAX));
    }
}
