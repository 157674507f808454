//! Whether the datagrams of a socket may be fragmented.
//!
//! IPv4 has no control message for this, so it is an option of the socket. The option is changed
//! before a datagram that needs the other setting. A second socket would have another port: firewalls and
//! address translators would treat the two kinds of heartbeats differently.

use std::os::fd::BorrowedFd;

use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};

/// The option of a socket (ip(7) `IP_MTU_DISCOVER`, ipv6(7) `IPV6_MTU_DISCOVER`).
#[derive(Debug)]
pub(super) struct Fragmentation {
    usual: Option<Usual>,
    is_forbidden: bool,
}

/// The setting of a socket that was just opened. A sysctl decides.
#[derive(Debug, Clone, Copy)]
enum Usual {
    V4(Ipv4PathMtuDiscovery),
    V6(Ipv6PathMtuDiscovery),
}

impl Fragmentation {
    /// That of a socket that was just opened.
    pub(super) fn of(socket: BorrowedFd<'_>, is_ipv4: bool) -> Self {
        let usual = if is_ipv4 {
            sockopt::ip_mtu_discover(socket).map(Usual::V4)
        } else {
            sockopt::ipv6_mtu_discover(socket).map(Usual::V6)
        };
        let usual = usual
            .inspect_err(|error| tracing::debug!(%error, "the kernel has no path MTU discovery"))
            .ok();
        Self { usual, is_forbidden: false }
    }

    /// Forbids or allows the fragmentation of the next datagrams.
    ///
    /// With `PROBE`, the kernel sets DF and uses only the MTU of the interface, not what it has
    /// learned about the path: otherwise it would not send larger datagrams for ten minutes after a
    /// router reported a smaller MTU.
    pub(super) fn forbid(&mut self, socket: BorrowedFd<'_>, is_forbidden: bool) {
        let Some(usual) = self.usual.filter(|_| self.is_forbidden != is_forbidden) else { return };
        let set = match usual {
            Usual::V4(_) if is_forbidden => {
                sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)
            }
            Usual::V6(_) if is_forbidden => {
                sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)
            }
            Usual::V4(usual) => sockopt::set_ip_mtu_discover(socket, usual),
            Usual::V6(usual) => sockopt::set_ipv6_mtu_discover(socket, usual),
        };
        match set {
            Ok(()) => self.is_forbidden = is_forbidden,
            Err(error) => tracing::debug!(%error, "the kernel refused a socket option"),
        }
    }
}
