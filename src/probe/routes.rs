//! Whom a datagram is for: from its source address, and what it says of itself, to the target.
//!
//! Sockets are shared, so the peer's address and port tell the target. Where several targets have
//! the same address, each has a session number of its own that travels with every heartbeat
//! ([`Request::session`](crate::wire::Request::session)); the first has number 0, so that a target
//! alone at its address looks like any plain sender.
//!
//! The number of a target that has left an address is retired for a while: an answer that is still
//! on its way belongs to nobody then, and is not taken for the answer to a newer target.

use std::collections::{HashMap, VecDeque};
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
    /// Routes that are retired, and until when.
    retired: VecDeque<(Mono, Route, Arc<dyn Prober>)>,
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
}

/// A session number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Taken(TargetId),
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
    /// share their replies there already as can be distinguished.
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
        let group = &mut groups[index];
        if group.is_deserted() && group.is_full() {
            // No number is left but retired ones: better one of them than a target that sends
            // nothing.
            *group = Sharers::new(prober.clone());
        }
        let session = group.take_place(id)?;
        Some(Route { peer, session })
    }

    /// Takes a route back from a target that sends by `prober` and waits for answers for `timeout`.
    /// Its number is given to no other target for that time, and for a minute at least.
    pub(super) fn retire(&mut self, route: Route, prober: &Arc<dyn Prober>, timeout: Duration) {
        self.vacate(route, prober, |_| Place::Retired);
        self.retired.push_back((self.now + RETIRED_FOR.max(timeout), route, prober.clone()));
        while self.retired.len() > Self::MAX_RETIRED {
            self.free_oldest();
        }
    }

    /// How many session numbers are kept back.
    #[cfg(test)]
    pub(super) fn retired(&self) -> usize {
        self.retired.len()
    }

    /// It is `now`: numbers that were retired for long enough are free.
    pub(super) fn advance(&mut self, now: Mono) {
        self.now = now;
        while self.retired.front().is_some_and(|&(until, ..)| until <= now) {
            self.free_oldest();
        }
    }

    /// Lets the next target have the number that was retired first. One that a target has by now
    /// stays its.
    fn free_oldest(&mut self) {
        let Some((_, route, prober)) = self.retired.pop_front() else { return };
        self.vacate(route, &prober, |place| match place {
            Place::Free | Place::Retired => Place::Free,
            Place::Taken(id) => Place::Taken(id),
        });
    }

    fn vacate(&mut self, route: Route, prober: &Arc<dyn Prober>, to: fn(Place) -> Place) {
        let Some(groups) = self.peers.get_mut(&route.peer) else { return };
        for group in groups.iter_mut().filter(|group| group.is_shared_with(prober)) {
            group.vacate(route.session, to);
        }
        groups.retain(|group| group.free < group.places.len());
        if groups.is_empty() {
            self.peers.remove(&route.peer);
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
        Self { prober, places: Vec::with_capacity(1), free: 0, retired: 0 }
    }

    fn is_shared_with(&self, prober: &Arc<dyn Prober>) -> bool {
        self.prober.shares_replies_with(&**prober)
    }

    /// Whether no place is free, and there can be no more.
    fn is_full(&self) -> bool {
        self.free == 0 && self.places.len() > self.prober.max_session() as usize
    }

    /// The session number of a free place, which target `id` takes.
    fn take_place(&mut self, id: TargetId) -> Option<u32> {
        if self.free > 0 {
            let free = self.places.iter().position(|&place| place == Place::Free)?;
            self.places[free] = Place::Taken(id);
            self.free -= 1;
            return u32::try_from(free).ok();
        }
        let session = u32::try_from(self.places.len()).ok()?;
        if session > self.prober.max_session() {
            return None;
        }
        self.places.push(Place::Taken(id));
        Some(session)
    }

    /// Makes a place free or retired; one that is free already stays so.
    fn vacate(&mut self, session: u32, to: fn(Place) -> Place) {
        let Some(place) = self.places.get_mut(session as usize) else { return };
        let from = *place;
        if from == Place::Free {
            return;
        }
        let to = to(from);
        *place = to;
        self.retired -= usize::from(from == Place::Retired);
        self.retired += usize::from(to == Place::Retired);
        self.free += usize::from(to == Place::Free);
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
            Self::Taken(id) => Some(id),
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
