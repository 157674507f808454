//! How one datagram leaves.

use std::net::IpAddr;
use std::num::NonZeroU8;

/// How one datagram leaves. The default leaves everything to routing and to the socket.
///
/// All fields except `dont_fragment` are control messages of the datagram (ip(7), ipv6(7), RFC
/// 3542 section 6), so that datagrams that leave differently share a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Egress {
    /// The source address, of the destination's family.
    pub source: Option<IpAddr>,
    /// The number of the interface. The route is chosen among those of this interface.
    ///
    /// Unlike `SO_BINDTODEVICE` (socket(7)), this does not concern received datagrams.
    pub interface: Option<u32>,
    /// The traffic class (DSCP and ECN); 0 is the socket's own.
    pub traffic_class: u8,
    /// The hop limit; `None` is the socket's own.
    pub hop_limit: Option<NonZeroU8>,
    /// Never fragment the datagram, and ignore what is known about the MTU of the path: routers
    /// report each datagram that is too large. One that exceeds the MTU of the interface does not
    /// leave.
    pub dont_fragment: bool,
}
