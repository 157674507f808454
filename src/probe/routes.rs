//! Whom a datagram is for: from its source address, and what it says of itself, to the target.
//!
//! Sockets are shared, so the peer's address and port tell the target. Where several targets have
//! the same address, each has a session number of its own that travels with every heartbeat
//! ([`Request::session`](crate::wire::Request::session)); the first has number 0, so that a target
//! alone at its address looks like any plain sender.
//!
//! The number of a target that has left an address is retired for a while: an answer that is still
//! on its way belongs to nobody then, and is not taken for the answer to a newer target. The number
//! at the address before the last change is still the target's own, so that late answers count.
//! Where no other number is left, a newer target gets one of these nonetheless.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{InvalidReason, Mono, TargetId, UnmatchedReason};
use crate::wire::{Prober, Reply, Unreadable};

/// Where a target's heartbeats go, and the number that tells it from others there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) peer: SocketAddr,
    pub(super) session: u32,
}

/// For how long, at least, no other target gets the session number of one that has left: what is
/// answered by then is not taken for the answer to another target.
const RETIRED_FOR: Duration = Duration::from_secs(60);

/// All the addresses that are probed.
#[derive(Debug, Default)]
pub(super) struct Routes {
    peers: HashMap<SocketAddr, Vec<Sharers>>,
    /// Routes that are retired, by when their time is over; the number orders equal moments.
    retired: BTreeMap<(Mono, u64), (Route, Arc<dyn Prober>)>,
    /// The number of the next retirement.
    retirements: u64,
    /// Addresses where a target may wait for a session number that is spare.
    vacancies: BTreeSet<SocketAddr>,
    now: Mono,
}

/// The targets at an address whose probers read each other's replies, by session number.
#[derive(Debug)]
struct Sharers {
    /// The first one's, which reads for all.
    prober: Arc<dyn Prober>,
    places: Vec<Place>,
    /// How many of `places` are free.
    free: usize,
    /// How many of `places` are retired.
    retired: usize,
    /// How many of `places` are former ones.
    former: usize,
    /// Targets without a place, because none was spare.
    waiting: BTreeSet<TargetId>,
}

/// A session number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Taken(TargetId),
    /// The target sends elsewhere now, and answers to what it sent here still count.
    Former(TargetId),
    /// The target is gone, and its number is not given to another one yet.
    Retired,
}

/// What a datagram turned out to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Delivery {
    /// A reply for this target.
    Reply(TargetId, Reply),
    /// From this target's address alone, and no answer to anything.
    Invalid(TargetId, InvalidReason),
    /// For nobody.
    Unmatched(UnmatchedReason),
}

impl Routes {
    /// How many session numbers are kept back at most; more give the oldest one free.
    pub(super) const MAX_RETIRED: usize = 1 << 16;

    /// Gives target `id`, which sends by `prober`, a route to `peer`; `None` where as many targets
    /// send there and share their replies as can be distinguished.
    pub(super) fn add(
        &mut self,
        id: TargetId,
        peer: SocketAddr,
        prober: &Arc<dyn Prober>,
    ) -> Option<Route> {
        let groups = self.peers.entry(peer).or_insert_with(|| Vec::with_capacity(1));
        let known = groups.iter().position(|group| group.is_shared_with(prober));
        let index = known.unwrap_or(groups.len());
        if known.is_none() {
            groups.push(Sharers::new(prober.clone()));
        }
        let session = groups[index].take_place(id, prober)?;
        Some(Route { peer, session })
    }

    /// Target `id`, which sends by `prober`, waits for a session number at `peer`, where there is none
    /// for it.
    pub(super) fn wait(&mut self, id: TargetId, peer: SocketAddr, prober: &Arc<dyn Prober>) {
        if let Some(group) = self.group(peer, prober) {
            group.waiting.insert(id);
        }
    }

    /// Target `id` does not [wait](Self::wait) at `peer` any more.
    pub(super) fn stop_waiting(
        &mut self,
        id: TargetId,
        peer: SocketAddr,
        prober: &Arc<dyn Prober>,
    ) {
        if let Some(group) = self.group(peer, prober) {
            group.waiting.remove(&id);
            self.tidy(peer);
        }
    }

    /// The next waiting target that can have a session number by now, and the address. It does not
    /// wait any more.
    pub(super) fn next_waiting(&mut self) -> Option<(TargetId, SocketAddr)> {
        while let Some(&peer) = self.vacancies.first() {
            let groups = self.peers.get_mut(&peer).into_iter().flatten();
            let mut vacant = groups.filter(|group| group.has_spare());
            if let Some(id) = vacant.find_map(|group| group.waiting.pop_first()) {
                return Some((id, peer));
            }
            self.vacancies.remove(&peer);
            self.tidy(peer);
        }
        None
    }

    /// Whether [`next_waiting`](Self::next_waiting) has a target.
    pub(super) fn has_vacancy(&mut self) -> bool {
        while let Some(peer) = self.vacancies.first() {
            let groups = self.peers.get(peer).map_or(&[][..], Vec::as_slice);
            if groups.iter().any(|group| group.has_spare() && !group.waiting.is_empty()) {
                return true;
            }
            self.vacancies.pop_first();
        }
        false
    }

    /// Target `id` sends elsewhere from now on. What is answered of what it sent by `route` is still
    /// its own, unless another target needs the number.
    pub(super) fn leave(&mut self, id: TargetId, route: Route, prober: &Arc<dyn Prober>) {
        self.change(route, prober, Place::Taken(id), Place::Former(id));
    }

    /// Target `id` sends by a route again that it had [left](Self::leave). False where another
    /// target has its number by now.
    pub(super) fn resume(&mut self, id: TargetId, route: Route, prober: &Arc<dyn Prober>) -> bool {
        self.change(route, prober, Place::Former(id), Place::Taken(id))
    }

    /// Takes a route back from target `id`, which sends by `prober` and waits for answers for
    /// `timeout`. Its number is given to no other target for that time, and for a minute at least.
    /// Nothing is done where another target has the number by now.
    pub(super) fn retire(
        &mut self,
        id: TargetId,
        route: Route,
        prober: &Arc<dyn Prober>,
        timeout: Duration,
    ) {
        let held = [Place::Taken(id), Place::Former(id)];
        if !held.into_iter().any(|place| self.change(route, prober, place, Place::Retired)) {
            return;
        }
        let until = self.now + RETIRED_FOR.max(timeout);
        self.retired.insert((until, self.retirements), (route, prober.clone()));
        self.retirements += 1;
        while self.retired.len() > Self::MAX_RETIRED {
            self.free_oldest();
        }
    }

    /// Whether any address is remembered.
    #[cfg(test)]
    pub(super) fn is_used(&self) -> bool {
        !self.peers.is_empty()
    }

    /// How many session numbers are kept back.
    #[cfg(test)]
    pub(super) fn retired(&self) -> usize {
        self.retired.len()
    }

    /// It is `now`: numbers that were retired for long enough are free.
    pub(super) fn advance(&mut self, now: Mono) {
        self.now = now;
        while self.retired.first_key_value().is_some_and(|((until, _), _)| *until <= now) {
            self.free_oldest();
        }
    }

    /// Lets the next target have the number whose time is over first. One that a target has by now
    /// stays its.
    fn free_oldest(&mut self) {
        if let Some((_, (route, prober))) = self.retired.pop_first() {
            self.change(route, &prober, Place::Retired, Place::Free);
        }
    }

    /// Makes another place of the one of `route`; false where that is not `from`.
    fn change(&mut self, route: Route, prober: &Arc<dyn Prober>, from: Place, to: Place) -> bool {
        let Some(group) = self.group(route.peer, prober) else { return false };
        let place = route.session as usize;
        if group.places.get(place) != Some(&from) {
            return false;
        }
        group.set(place, to);
        if !group.waiting.is_empty() && group.has_spare() {
            self.vacancies.insert(route.peer);
        }
        self.tidy(route.peer);
        true
    }

    /// The targets at `peer` whose replies `prober` reads.
    fn group(&mut self, peer: SocketAddr, prober: &Arc<dyn Prober>) -> Option<&mut Sharers> {
        self.peers.get_mut(&peer)?.iter_mut().find(|group| group.is_shared_with(prober))
    }

    /// Forgets the groups at an address that no target needs any more.
    fn tidy(&mut self, peer: SocketAddr) {
        let Some(groups) = self.peers.get_mut(&peer) else { return };
        groups.retain(|group| group.free < group.places.len() || !group.waiting.is_empty());
        if groups.is_empty() {
            self.peers.remove(&peer);
        }
    }

    /// The groups at an address, if any target is there.
    fn probed(&self, peer: SocketAddr) -> Option<&[Sharers]> {
        let groups = self.peers.get(&peer)?;
        groups.iter().any(|group| !group.is_deserted()).then_some(groups)
    }

    /// Whom `datagram` from `peer` is for.
    pub(super) fn deliver(&self, peer: SocketAddr, datagram: &[u8]) -> Delivery {
        let Some(groups) = self.probed(peer) else {
            return Delivery::Unmatched(UnmatchedReason::UnknownAddress);
        };
        let mut invalid = InvalidReason::Malformed;
        for group in groups {
            let reply = match group.prober.decode(datagram) {
                Ok(reply) => reply,
                Err(unreadable) => {
                    invalid = match unreadable {
                        Unreadable::Malformed => invalid,
                        Unreadable::Unauthenticated => InvalidReason::Unauthenticated,
                        Unreadable::Mismatch => InvalidReason::Mismatch,
                    };
                    continue;
                }
            };
            let id = match reply.session {
                Some(session) if group.is_retired(session) => {
                    return Delivery::Unmatched(UnmatchedReason::UnknownSession);
                }
                Some(session) => group.target(session),
                None => group.only(),
            };
            return match (id, sole(groups)) {
                (Some(id), _) => Delivery::Reply(id, reply),
                (None, Some(id)) => Delivery::Invalid(id, InvalidReason::UnknownSequence),
                (None, None) => Delivery::Unmatched(UnmatchedReason::UnknownSession),
            };
        }
        match sole(groups) {
            Some(id) => Delivery::Invalid(id, invalid),
            None => Delivery::Unmatched(UnmatchedReason::UnknownSession),
        }
    }

    /// Whose request to `peer` it was that an ICMP error quotes; where a target is alone there, it
    /// is its, whatever the error quotes of a target that is still there.
    pub(super) fn return_to(
        &self,
        peer: SocketAddr,
        quote: &[u8],
    ) -> Result<TargetId, UnmatchedReason> {
        let groups = self.probed(peer).ok_or(UnmatchedReason::UnknownAddress)?;
        let session = |group: &Sharers| group.prober.quoted_session(quote);
        let is_retired = |group: &Sharers| {
            group.retired > 0 && session(group).is_some_and(|session| group.is_retired(session))
        };
        if groups.iter().any(is_retired) {
            return Err(UnmatchedReason::UnknownSession);
        }
        let quoted = |group: &Sharers| group.target(session(group)?);
        let found = sole(groups).or_else(|| groups.iter().find_map(quoted));
        found.ok_or(UnmatchedReason::UnknownSession)
    }
}

impl Sharers {
    fn new(prober: Arc<dyn Prober>) -> Self {
        Self {
            prober,
            places: Vec::with_capacity(1),
            free: 0,
            retired: 0,
            former: 0,
            waiting: BTreeSet::new(),
        }
    }

    fn is_shared_with(&self, prober: &Arc<dyn Prober>) -> bool {
        self.prober.shares_replies_with(&**prober)
    }

    /// The session number that target `id` gets, which sends by `prober`: a free one, a new one, or
    /// where there can be no more, a retired one or the former one of another target. It is better
    /// that late answers go wrong than that a target sends nothing.
    fn take_place(&mut self, id: TargetId, prober: &Arc<dyn Prober>) -> Option<u32> {
        let is_spare = if self.free > 0 {
            |place: &Place| matches!(place, Place::Free)
        } else if self.places.len() <= self.prober.max_session() as usize {
            self.places.push(Place::Taken(id));
            return u32::try_from(self.places.len() - 1).ok();
        } else if self.retired > 0 {
            |place: &Place| matches!(place, Place::Retired)
        } else if self.former > 0 {
            |place: &Place| matches!(place, Place::Former(_))
        } else {
            return None;
        };
        let place = self.places.iter().position(is_spare)?;
        self.set(place, Place::Taken(id));
        if self.places.len() == 1 {
            // It reads alone, and what its prober keeps secret may be another secret.
            self.prober = prober.clone();
        }
        u32::try_from(place).ok()
    }

    /// Whether a target that comes gets a session number.
    fn has_spare(&self) -> bool {
        self.free + self.retired + self.former > 0
            || self.places.len() <= self.prober.max_session() as usize
    }

    fn set(&mut self, place: usize, to: Place) {
        let from = std::mem::replace(&mut self.places[place], to);
        if let Some(count) = self.count(from) {
            *count -= 1;
        }
        if let Some(count) = self.count(to) {
            *count += 1;
        }
    }

    /// How many places are like this one, where that is counted.
    fn count(&mut self, place: Place) -> Option<&mut usize> {
        match place {
            Place::Free => Some(&mut self.free),
            Place::Taken(_) => None,
            Place::Former(_) => Some(&mut self.former),
            Place::Retired => Some(&mut self.retired),
        }
    }

    fn is_retired(&self, session: u32) -> bool {
        self.places.get(session as usize) == Some(&Place::Retired)
    }

    fn target(&self, session: u32) -> Option<TargetId> {
        self.places.get(session as usize).and_then(Place::target)
    }

    fn only(&self) -> Option<TargetId> {
        if self.places.len() - self.free - self.retired != 1 {
            return None;
        }
        self.places.iter().find_map(Place::target)
    }

    fn is_deserted(&self) -> bool {
        self.places.len() == self.free + self.retired
    }
}

impl Place {
    fn target(&self) -> Option<TargetId> {
        match *self {
            Self::Taken(id) | Self::Former(id) => Some(id),
            Self::Free | Self::Retired => None,
        }
    }
}

/// The target at an address that no other target shares.
fn sole(groups: &[Sharers]) -> Option<TargetId> {
    let mut shared = groups.iter().filter(|group| !group.is_deserted());
    let group = shared.next()?;
    if shared.next().is_some() { None } else { group.only() }
}

#[cfg(test)]
mod tests;
