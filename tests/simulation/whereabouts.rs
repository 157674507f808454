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
    /// Lookups that found nothing at all, and those that found no address of the IP version.
    pub(crate) failures: [u64; 2],
    /// The addresses that the name had when it last had any.
    known: Vec<IpAddr>,
    /// How many heartbeats have fallen due.
    pub(crate) beats: u64,
    pub(crate) trial: Trial,
}

/// What is known about the address in use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trial {
    /// Only heartbeats from this one on count.
    from: u64,
    misses: u32,
    failed: Option<Failure>,
    /// What was tried before since an address last answered.
    tried: Vec<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// A heartbeat could not leave: an address that was not tried is wanted.
    Unsent,
    /// A whole run was missed: any other address is wanted.
    Run,
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
    /// while lookups fail; otherwise the first that a socket can reach is used.
    pub(crate) fn look_up(&mut self, target: &Target, found: &[IpAddr], conditions: &Conditions) {
        if !found.is_empty() {
            self.known = found.to_vec();
        }
        let usable = usable(target, found, conditions);
        if usable.is_empty() {
            self.lookup = Lookup::Failed;
            self.failures[usize::from(!found.is_empty())] += 1;
        } else {
            self.lookup = Lookup::Succeeded;
            self.choose(target, &usable);
        }
    }

    /// Another address is tried if the one in use has failed.
    pub(crate) fn try_another(&mut self, target: &Target, conditions: &Conditions) {
        let usable = usable(target, &self.known, conditions);
        if self.present.is_some() && self.has_failed() && !usable.is_empty() {
            self.choose(target, &usable);
        }
    }

    /// Whether the address in use has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.trial.failed.is_some()
    }

    /// Chooses one of these addresses. One that has not failed is kept. Otherwise the first that was
    /// not tried is next; after a run of misses, if all were tried, the first of the others.
    fn choose(&mut self, target: &Target, usable: &[IpAddr]) {
        let used = self.present.map(|place| place.address.ip());
        let has_used = used.is_some_and(|used| usable.contains(&used));
        let trial = &mut self.trial;
        let mut next = used.filter(|_| has_used);
        if next.is_none() || trial.failed.is_some() {
            trial.tried.retain(|ip| usable.contains(ip));
            let others: Vec<IpAddr> =
                usable.iter().copied().filter(|ip| Some(*ip) != used).collect();
            let untried = others.iter().find(|ip| !trial.tried.contains(ip)).copied();
            if untried.is_some() {
                trial.tried.extend(next);
                next = untried;
            } else if next.is_none() || trial.failed == Some(Failure::Run) {
                trial.tried.clear();
                next = others.first().copied().or(next);
            }
        }
        self.go(SocketAddr::new(next.expect("an address"), target.address.port));
    }

    /// Heartbeat `sequence` was answered in time by `from`.
    pub(crate) fn answered(&mut self, sequence: u64, from: SocketAddr) {
        if self.present.is_some_and(|place| place.address == from) {
            let from = self.trial.from.max(sequence + 1);
            self.trial = Trial { from, ..Trial::default() };
        }
    }

    /// Heartbeat `sequence` was missed. Returns whether another address is wanted because of it.
    pub(crate) fn missed(&mut self, target: &Target, sequence: u64, is_unsent: bool) -> bool {
        let trial = &mut self.trial;
        if sequence < trial.from {
            return false;
        }
        trial.misses += 1;
        let before = trial.failed;
        if trial.misses >= target.misses {
            trial.misses = 0;
            trial.failed = Some(Failure::Run);
        } else if is_unsent && before.is_none() {
            trial.failed = Some(Failure::Unsent);
        } else {
            return false;
        }
        matches!(target.address.host, Host::Name(_)) && self.present.is_some()
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
        if old == new && before.admitted_version() == target.admitted_version() {
            return;
        }
        if old.host != new.host {
            self.known.clear();
            self.trial = Trial { from: self.trial.from, ..Trial::default() };
        }
        match (&new.host, found) {
            (Host::Ip(ip), _) => self.look_up(target, &[*ip], conditions),
            (Host::Name(_), Some(found)) if !usable(target, found, conditions).is_empty() => {
                self.look_up(target, found, conditions);
            }
            (Host::Name(_), nothing) => {
                let fits = |ip| old.host == new.host && target.admitted_version().includes(ip);
                match self.present {
                    Some(place) if fits(place.address.ip()) => {
                        self.lookup = Lookup::Succeeded;
                        self.go(SocketAddr::new(place.address.ip(), new.port));
                    }
                    _ => {
                        self.lookup = Lookup::Pending;
                        self.leave();
                    }
                }
                if let Some(nothing) = nothing {
                    self.look_up(target, nothing, conditions);
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
        self.trial =
            Trial { from: self.beats, tried: self.trial.tried.clone(), ..Trial::default() };
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

/// The addresses of the target's IP version: those that a socket can reach first, then IPv6 first.
fn usable(target: &Target, found: &[IpAddr], conditions: &Conditions) -> Vec<IpAddr> {
    let is_literal = matches!(target.address.host, Host::Ip(_));
    let fits = |ip: &IpAddr| is_literal || target.admitted_version().includes(*ip);
    let mut usable: Vec<IpAddr> = found.iter().copied().filter(fits).collect();
    let is_reachable = |ip: IpAddr| conditions.has(Family::of(SocketAddr::new(ip, 1)));
    usable.sort_by_key(|&ip| (!is_reachable(ip), ip.is_ipv4()));
    usable
}
