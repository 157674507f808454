//! Converts a [`SocketAddr`] to and from the octets of a `sockaddr_in` or `sockaddr_in6`. No IO;
//! any octets can be decoded.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use nix::libc;

/// Octets of a `sockaddr_in` (ip(7)): family, port, address, eight octets of padding.
const V4_LEN: usize = 16;
/// Octets of a `sockaddr_in6` (ipv6(7)): family, port, flow label, address, scope.
const V6_LEN: usize = 28;

/// A socket address in the kernel's form.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(4))]
pub(super) struct KernelAddress {
    octets: [u8; V6_LEN],
    len: usize,
}

impl KernelAddress {
    /// The number of octets for an address of either family.
    pub(super) const ROOM: usize = V6_LEN;

    /// Room for an address from the kernel.
    pub(super) const EMPTY: Self = Self { octets: [0; V6_LEN], len: 0 };

    /// The kernel's form of `address`.
    pub(super) fn new(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::v4(address),
            SocketAddr::V6(address) => Self::v6(address),
        }
    }

    fn v4(address: SocketAddrV4) -> Self {
        let mut octets = [0; V6_LEN];
        octets[..2].copy_from_slice(&family(libc::AF_INET).to_ne_bytes());
        octets[2..4].copy_from_slice(&address.port().to_be_bytes());
        octets[4..8].copy_from_slice(&address.ip().octets());
        Self { octets, len: V4_LEN }
    }

    fn v6(address: SocketAddrV6) -> Self {
        let mut octets = [0; V6_LEN];
        octets[..2].copy_from_slice(&family(libc::AF_INET6).to_ne_bytes());
        octets[2..4].copy_from_slice(&address.port().to_be_bytes());
        octets[4..8].copy_from_slice(&address.flowinfo().to_ne_bytes());
        octets[8..24].copy_from_slice(&address.ip().octets());
        octets[24..].copy_from_slice(&address.scope_id().to_ne_bytes());
        Self { octets, len: V6_LEN }
    }

    /// The address; `None` if the kernel wrote none or one of another family.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let octets = self.octets();
        let family = libc::c_int::from(u16::from_ne_bytes(*octets.first_chunk()?));
        match family {
            libc::AF_INET if octets.len() >= V4_LEN => {
                let ip = Ipv4Addr::from(chunk(octets, 4)?);
                Some(SocketAddrV4::new(ip, u16::from_be_bytes(chunk(octets, 2)?)).into())
            }
            libc::AF_INET6 if octets.len() >= V6_LEN => Some(
                SocketAddrV6::new(
                    Ipv6Addr::from(chunk::<16>(octets, 8)?),
                    u16::from_be_bytes(chunk(octets, 2)?),
                    u32::from_ne_bytes(chunk(octets, 4)?),
                    u32::from_ne_bytes(chunk(octets, 24)?),
                )
                .into(),
            ),
            _ => None,
        }
    }

    /// The octets of the address.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// The buffer for the kernel, [`KernelAddress::ROOM`] octets.
    pub(super) fn room(&mut self) -> &mut [u8; Self::ROOM] {
        &mut self.octets
    }

    /// Sets the length that the kernel reports. It may exceed the buffer.
    pub(super) fn filled(&mut self, len: usize) {
        self.len = len.min(Self::ROOM);
    }
}

/// The `N` octets from offset `at`; `None` if there are fewer.
pub(super) fn chunk<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

/// An address family as `sa_family_t`; `AF_INET` and `AF_INET6` fit.
fn family(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ipv4_name_is_a_sockaddr_in() {
        let name = KernelAddress::new("192.0.2.7:12000".parse().unwrap());
        assert_eq!(name.octets().len(), size_of::<libc::sockaddr_in>());
        assert_eq!(name.octets()[..2], 2_u16.to_ne_bytes());
        assert_eq!(name.octets()[2..], [0x2e, 0xe0, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_ipv6_name_is_a_sockaddr_in6_and_keeps_its_scope() {
        let address = SocketAddrV6::new("fe80::1".parse().unwrap(), 862, 0, 3);
        let name = KernelAddress::new(address.into());
        assert_eq!(name.octets().len(), size_of::<libc::sockaddr_in6>());
        assert_eq!(name.octets()[..2], 10_u16.to_ne_bytes());
        assert_eq!(name.octets()[2..4], [0x03, 0x5e]);
        assert_eq!(name.octets()[8..10], [0xfe, 0x80]);
        assert_eq!(name.octets()[24..], 3_u32.to_ne_bytes());
        assert_eq!(name.address(), Some(address.into()));
    }

    #[test]
    fn an_address_of_an_unknown_family_or_too_short_is_none() {
        assert_eq!(KernelAddress::EMPTY.address(), None);
        let mut cut = KernelAddress::new("192.0.2.7:12000".parse().unwrap());
        cut.filled(V4_LEN - 1);
        assert_eq!(cut.address(), None);
        let mut unix = KernelAddress::new("192.0.2.7:12000".parse().unwrap());
        unix.room()[..2].copy_from_slice(&1_u16.to_ne_bytes());
        assert_eq!(unix.address(), None);
    }

    proptest! {
        #[test]
        fn every_address_is_decoded_as_it_was_encoded(address: SocketAddr) {
            prop_assert_eq!(KernelAddress::new(address).address(), Some(address));
        }

        #[test]
        fn decoding_any_octets_does_not_panic(octets: [u8; KernelAddress::ROOM], len in 0_usize..200) {
            let mut name = KernelAddress { octets, len: 0 };
            name.filled(len);
            let _ = name.address();
        }
    }
}
