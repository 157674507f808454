//! Where a target's heartbeats go, by the definitions alone: its addresses, as names are looked up
//! and settings change.

use std::net::{IpAddr, SocketAddr};

use udp_heartbeat::config::{Host, Target};
use udp_heartbeat::probe::Family;

use crate::conditions::Conditions;

/// Where a target is, and where it was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whereabouts {
    /// Where its heartbeats go; `None` while no address is known.
    pub(crate) present: Option<Place>,
    /// Where they went before the last change of address: answers may still come from there.
    pub(crate) former: Option<Place>,
    pub(crate) lookup: Lookup,
    /// How often the address has changed.
    pub(crate) moves: u64,
    stays: u64,
}

/// An address, and the number of the stay there. A target that returns after two other addresses
/// begins a new stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) stay: u64,
}

/// How the last lookup of the target's name ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lookup {
    #[default]
    Pending,
    Failed,
    Succeeded,
}

impl Whereabouts {
    /// The whereabouts of a new target. `found` are the known addresses of its host name, if it has
    /// one.
    pub(crate) fn new(target: &Target, found: Option<&[IpAddr]>, conditions: &Conditions) -> Self {
        let mut whereabouts = Self::default();
        match (&target.address.host, found) {
            (Host::Ip(ip), _) => whereabouts.look_up(target, &[*ip], conditions),
            (Host::Name(_), Some(found)) => whereabouts.look_up(target, found, conditions),
            (Host::Name(_), None) => {}
        }
        whereabouts
    }

    /// The name was looked up. The address in use stays in use while it is among those found, and
    /// while lookups fail; otherwise the first that a socket can reach is used. Only if none has
    /// the family of the source address, one of the other family is used.
    pub(crate) fn look_up(&mut self, target: &Target, found: &[IpAddr], conditions: &Conditions) {
        let port = target.address.port;
        let used = self.present.map(|place| place.address.ip());
        let is_reachable = |ip: &&IpAddr| conditions.has(Family::of(SocketAddr::new(**ip, port)));
        let is_admitted = |ip: &&IpAddr| target.packets.admit(**ip);
        let admitted: Vec<IpAddr> = found.iter().filter(is_admitted).copied().collect();
        let kept = admitted.iter().find(|&&ip| Some(ip) == used);
        let best = |of: &[IpAddr]| of.iter().find(is_reachable).or(of.first()).copied();
        let best = kept.copied().or_else(|| best(&admitted)).or_else(|| best(found));
        self.lookup = if best.is_some() { Lookup::Succeeded } else { Lookup::Failed };
        if let Some(ip) = best {
            self.go(SocketAddr::new(ip, port));
        }
    }

    /// Replaces the settings `before` by those of `target`. With another host, the target has no
    /// address until one of that host is known. With another port of the same host, it keeps the IP
    /// address in use. With a source address of another family, it may have another address.
    pub(crate) fn retune(
        &mut self,
        before: &Target,
        target: &Target,
        found: Option<&[IpAddr]>,
        conditions: &Conditions,
    ) {
        let (old, new) = (&before.address, &target.address);
        let family = |target: &Target| target.packets.source.map(|ip| ip.is_ipv4());
        if old == new && family(before) == family(target) {
            return;
        }
        match (&new.host, found) {
            (Host::Ip(ip), _) => self.look_up(target, &[*ip], conditions),
            (Host::Name(_), Some(found)) if !found.is_empty() => {
                self.look_up(target, found, conditions);
            }
            (Host::Name(_), nothing) => {
                self.lookup = if nothing.is_some() { Lookup::Failed } else { Lookup::Pending };
                match self.present {
                    Some(place) if old.host == new.host => {
                        self.go(SocketAddr::new(place.address.ip(), new.port));
                    }
                    _ => self.leave(),
                }
            }
        }
    }

    /// Whether an answer to a heartbeat that was sent in this stay is the target's.
    pub(crate) fn knows(&self, stay: u64) -> bool {
        self.places().any(|place| place.stay == stay)
    }

    /// Whether it is now, or was before the last change, at this address.
    pub(crate) fn is_at(&self, address: SocketAddr) -> bool {
        self.places().any(|place| place.address == address)
    }

    /// The place before the last change, and the present one.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        self.former.into_iter().chain(self.present)
    }

    fn go(&mut self, address: SocketAddr) {
        let last = self.present.or(self.former);
        if self.present.is_some_and(|place| place.address == address) {
            return;
        }
        self.moves += u64::from(last.is_some_and(|place| place.address != address));
        let back = self.former.take_if(|place| place.address == address);
        self.leave();
        self.present = back.or_else(|| {
            self.stays += 1;
            Some(Place { address, stay: self.stays })
        });
    }

    fn leave(&mut self) {
        self.former = self.present.take().or(self.former);
    }
}
