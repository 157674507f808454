//! Who is answered at all, and how often: datagrams enter, a yes or a no leaves.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use super::limiter::Limiter;
use crate::config::{Prefix, PrefixMap};
use crate::model::Mono;
use crate::net::Datagram;

/// The responder's door; shared by its threads.
#[derive(Debug, Default)]
pub struct Gate {
    /// Who may ask; anybody where it is empty.
    allow: PrefixMap<()>,
    limiter: Option<Limiter>,
}

impl Gate {
    /// A gate that lets in the sources in `allow`, or all where it is empty, each source prefix
    /// (/32 of IPv4, /64 of IPv6) so many times a second.
    #[must_use]
    pub fn new(allow: &[Prefix], rate_limit: Option<NonZeroU32>) -> Self {
        let allow = allow.iter().map(|&prefix| (prefix, ())).collect();
        Self { allow, limiter: rate_limit.map(Limiter::new) }
    }

    /// Whether an answer to the datagram would go to one host that may ask, and not to the
    /// responder itself.
    ///
    /// `own` are the addresses that the listeners are bound to; what comes from another address of
    /// this host and the port of one that is bound to all gets an answer, which gets none. Requests
    /// to a multicast or broadcast address are not answered either: one datagram would be answered
    /// by every responder around. That the peer is the broadcast address of a network of ours, the
    /// kernel alone knows: it sends nothing there (socket(7), `SO_BROADCAST`).
    pub(super) fn lets_in(&self, datagram: &Datagram<'_>, own: &[SocketAddr]) -> bool {
        let (peer, local) = (datagram.peer, datagram.local);
        peer.port() != 0
            && is_one_host(peer.ip())
            && !datagram.to_group
            && local.is_none_or(is_one_host)
            && !own.iter().any(|&own| is_own(peer, local, own))
            && self.allows(peer.ip())
    }

    /// Whether the source has not asked for more than its share; this is charged to it where it
    /// has not.
    pub(super) fn admits(&self, source: IpAddr, now: Mono) -> bool {
        self.limiter.as_ref().is_none_or(|limiter| limiter.admit(source, now))
    }

    fn allows(&self, source: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.longest_match(source).is_some()
    }
}

/// Whether `peer` is the socket that is bound to `own`; a socket of ours was asked at `local`.
fn is_own(peer: SocketAddr, local: Option<IpAddr>, own: SocketAddr) -> bool {
    let (ip, every) = (peer.ip(), own.ip().is_unspecified());
    peer.port() == own.port()
        && (ip == own.ip() || Some(ip) == local || every && ip.to_canonical().is_loopback())
}

fn is_one_host(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}
