//! Decides which sources are answered, and how often.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use super::limiter::Limiter;
use crate::config::{Prefix, PrefixMap};
use crate::model::Mono;
use crate::net::Datagram;

/// The access rules of a responder, shared by its threads.
#[derive(Debug, Default)]
pub struct Gate {
    /// The sources that are answered; all if it is empty.
    allow: PrefixMap<()>,
    limiter: Option<Limiter>,
}

impl Gate {
    /// A gate that lets in the sources in `allow`, or all if it is empty, and admits `rate_limit`
    /// requests per second and source prefix (/32 of IPv4, /64 of IPv6).
    #[must_use]
    pub fn new(allow: &[Prefix], rate_limit: Option<NonZeroU32>) -> Self {
        let allow = allow.iter().map(|&prefix| (prefix, ())).collect();
        Self { allow, limiter: rate_limit.map(Limiter::new) }
    }

    /// Whether the datagram comes from a single host that is allowed to ask, and not from the
    /// responder itself.
    ///
    /// `own` are the addresses that the listeners are bound to. If a listener is bound to all
    /// addresses, a datagram from its own port and another address of this host is answered; the
    /// reply to it is not a request, so it is not answered again. Requests to a multicast or
    /// broadcast address are refused: every responder in the network would answer them. Only the
    /// kernel knows whether the peer is the broadcast address of a local network; it sends nothing
    /// there (socket(7), `SO_BROADCAST`).
    pub(super) fn lets_in(&self, datagram: &Datagram<'_>, own: &[SocketAddr]) -> bool {
        let (peer, local) = (datagram.peer, datagram.local);
        peer.port() != 0
            && is_one_host(peer.ip())
            && !datagram.to_group
            && local.is_none_or(is_one_host)
            && !own.iter().any(|&own| is_own(peer, local, own))
            && self.allows(peer.ip())
    }

    /// Whether the source is within its rate limit. If so, the request is charged to it.
    pub(super) fn admits(&self, source: IpAddr, now: Mono) -> bool {
        self.limiter.as_ref().is_none_or(|limiter| limiter.admit(source, now))
    }

    fn allows(&self, source: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.longest_match(source).is_some()
    }
}

/// Whether `peer` is the listener that is bound to `own`; `local` is the address that was asked.
fn is_own(peer: SocketAddr, local: Option<IpAddr>, own: SocketAddr) -> bool {
    let ip = peer.ip();
    let every = own.ip().is_unspecified() && own.is_ipv4() == peer.is_ipv4();
    let is_here = || Some(ip) == local || ip.to_canonical().is_loopback();
    peer.port() == own.port() && (ip == own.ip() || every && is_here())
}

fn is_one_host(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_listeners_are_the_responder_itself() {
        let local = Some("127.0.0.1".parse().unwrap());
        for (peer, own, expected) in [
            ("127.0.0.1:12000", "127.0.0.1:12000", true),
            ("127.0.0.1:12000", "0.0.0.0:12000", true),
            ("127.0.0.2:12000", "0.0.0.0:12000", true),
            ("127.0.0.1:12001", "0.0.0.0:12000", false),
            ("192.0.2.1:12000", "0.0.0.0:12000", false),
            // Another program has the port of a listener at another address.
            ("127.0.0.1:12000", "[::1]:12000", false),
            ("127.0.0.1:12000", "[::]:12000", false),
            ("127.0.0.1:12000", "127.0.0.2:12000", false),
            ("[::1]:12000", "[::]:12000", true),
            ("[::1]:12000", "0.0.0.0:12000", false),
        ] {
            let found = is_own(peer.parse().unwrap(), local, own.parse().unwrap());
            assert_eq!(found, expected, "{peer} to the listener at {own}");
        }
    }
}
