//! Finds the target of a datagram, from its source address and its session number.
//!
//! All targets share the sockets, so the peer's address and port identify the target. If several
//! targets have the same address, each has its own session number, which every heartbeat carries
//! ([`Request::session`](crate::wire::Request::session)). The first one has number 0, so a single
//! target at an address looks like a sender that does not know sessions.
//!
//! When a target leaves an address for good, its number is retired for a while, so that an answer
//! still on its way is not attributed to a newer target. A target keeps the number at its previous
//! address, so that late answers count. If all other numbers are in use, a newer target gets one of
//! these numbers nevertheless.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{InvalidReason, Mono, TargetId, UnmatchedReason};
use crate::session::Claim;
use crate::wire::{Prober, Reply, Unreadable};

/// The address of a target's heartbeats, and the number that distinguishes it from other targets
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) peer: SocketAddr,
    pub(super) session: u32,
}

/// The minimum time for which a retired session number is not reused, so that late answers are not
/// attributed to another target.
const RETIRED_FOR: Duration = Duration::from_secs(60);

/// If the session number of a reply identifies no target: how many targets of the address are asked
/// whether they await the reply. Such replies may be forged: this limits their cost to some microseconds.
const MAX_CANDIDATES: usize = 64;

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

/// The targets at an address whose probers decode each other's replies, by session number.
#[derive(Debug)]
struct Sharers {
    /// The prober of the first target, which decodes for all of them.
    prober: Arc<dyn Prober>,
    places: Vec<Place>,
    /// How many of `places` a target has.
    owned: usize,
    /// The sum of the numbers of these places. If there is only one, this is its number.
    owned_sum: u64,
    /// Most groups never need it.
    spare: Option<Box<Spare>>,
}

/// The session numbers that a new target can have, and the targets that wait for one.
#[derive(Debug, Default)]
struct Spare {
    free: BTreeSet<u32>,
    retired: BTreeSet<u32>,
    former: BTreeSet<u32>,
    /// Targets without a place, because none was spare.
    waiting: BTreeSet<TargetId>,
}

/// The state of a session number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Taken(TargetId),
    /// The target now sends to another address; answers to its earlier heartbeats still count.
    Former(TargetId),
    /// The target has left, and its number is not reused yet.
    Retired,
}

/// The classification of a datagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Delivery {
    /// A reply for this target.
    Reply(TargetId, Reply),
    /// Not a valid reply, from an address that only this target has.
    Invalid(TargetId, InvalidReason),
    /// For no target.
    Unmatched(UnmatchedReason),
}

impl Routes {
    /// Maximum number of retired session numbers; beyond it, the oldest becomes free.
    pub(super) const MAX_RETIRED: usize = 1 << 16;

    /// Gives target `id`, which sends with `prober`, a route to `peer`. `None` if too many targets
    /// at `peer` share replies, so that it could not be distinguished.
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

    /// Lets target `id` wait for a session number at `peer`. All numbers that replies to `prober` can
    /// distinguish are in use there.
    pub(super) fn wait(&mut self, id: TargetId, peer: SocketAddr, prober: &Arc<dyn Prober>) {
        if let Some(group) = self.group(peer, prober) {
            group.spare_mut().waiting.insert(id);
        }
    }

    /// Ends the [wait](Self::wait) of target `id` at `peer`.
    pub(super) fn stop_waiting(
        &mut self,
        id: TargetId,
        peer: SocketAddr,
        prober: &Arc<dyn Prober>,
    ) {
        if let Some(group) = self.group(peer, prober) {
            group.spare_mut().waiting.remove(&id);
            self.tidy(peer);
        }
    }

    /// The next waiting target that can have a session number by now, and the address. It does not
    /// wait any more.
    pub(super) fn next_waiting(&mut self) -> Option<(TargetId, SocketAddr)> {
        while let Some(&peer) = self.vacancies.first() {
            let groups = self.peers.get_mut(&peer).into_iter().flatten();
            let mut vacant = groups.filter(|group| group.has_spare());
            if let Some(id) = vacant.find_map(Sharers::pop_waiting) {
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
            if groups.iter().any(|group| group.has_spare() && group.has_waiting()) {
                return true;
            }
            self.vacancies.pop_first();
        }
        false
    }

    /// Target `id` sends to another address from now on. Answers to heartbeats sent by `route`
    /// still belong to it, unless another target needs the number.
    pub(super) fn leave(&mut self, id: TargetId, route: Route, prober: &Arc<dyn Prober>) {
        self.change(route, prober, Place::Taken(id), Place::Former(id));
    }

    /// Target `id` sends again by a route that it had [left](Self::leave). False if another target
    /// has its number by now.
    pub(super) fn resume(&mut self, id: TargetId, route: Route, prober: &Arc<dyn Prober>) -> bool {
        self.change(route, prober, Place::Former(id), Place::Taken(id))
    }

    /// Retires the route of target `id`, which sends with `prober`. Its number is not reused for
    /// `timeout`, and for at least a minute. Does nothing if another target has the number by now.
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

    /// How many session numbers are retired.
    #[cfg(test)]
    pub(super) fn retired(&self) -> usize {
        self.retired.len()
    }

    /// When to call [`advance`](Self::advance) at the latest; `None` while no number is retired. The
    /// prober of a target that is gone, with its key, is kept until then.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.retired.first_key_value().map(|(&(until, _), _)| until)
    }

    /// Frees the numbers that have been retired for long enough at `now`.
    pub(super) fn advance(&mut self, now: Mono) {
        self.now = self.now.max(now);
        while self.retired.first_key_value().is_some_and(|((until, _), _)| *until <= now) {
            self.free_oldest();
        }
    }

    /// Frees the retired number whose time is over first, unless a target has taken it meanwhile.
    fn free_oldest(&mut self) {
        if let Some((_, (route, prober))) = self.retired.pop_first() {
            self.change(route, &prober, Place::Retired, Place::Free);
        }
    }

    /// Changes the place of `route` from `from` to `to`; false if it is not `from`.
    fn change(&mut self, route: Route, prober: &Arc<dyn Prober>, from: Place, to: Place) -> bool {
        let Some(group) = self.group(route.peer, prober) else { return false };
        if group.places.get(route.session as usize) != Some(&from) {
            return false;
        }
        group.set(route.session, to);
        if group.has_waiting() && group.has_spare() {
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
        groups.retain(Sharers::is_needed);
        if groups.is_empty() {
            self.peers.remove(&peer);
        }
    }

    /// Whether a target has left an address not long ago: answers that come from it may be to its
    /// heartbeats.
    pub(super) fn is_left(&self, peer: SocketAddr) -> bool {
        let groups = self.peers.get(&peer).map_or(&[][..], Vec::as_slice);
        groups.iter().any(Sharers::has_retired)
    }

    /// The groups of targets at an address, if there are any.
    fn probed(&self, peer: SocketAddr) -> Option<&[Sharers]> {
        let groups = self.peers.get(&peer)?;
        groups.iter().any(|group| group.owned > 0).then_some(groups)
    }

    /// The target of `datagram` from `peer`. `claim` classifies a reply for a target.
    pub(super) fn deliver(
        &self,
        peer: SocketAddr,
        datagram: &[u8],
        claim: impl Fn(TargetId, &Reply) -> Claim,
    ) -> Delivery {
        let Some(groups) = self.probed(peer) else {
            return Delivery::Unmatched(UnmatchedReason::UnknownAddress);
        };
        let mut invalid = InvalidReason::Malformed;
        let asked_in =
            |last| groups.iter().filter(move |group| group.prober.is_identified_by_echo() == last);
        for group in asked_in(false).chain(asked_in(true)) {
            let mut reply = match group.prober.decode(datagram) {
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
            let named = reply.session.and_then(|session| group.target(session));
            let id = group.recipient(&reply, named, |id| claim(id, &reply));
            if id != named && group.owned > 1 {
                // A reflector that does not know the sessions counts the replies of all together.
                reply.number = None;
            }
            if id.is_none() && reply.session.is_some_and(|session| group.is_retired(session)) {
                return Delivery::Unmatched(UnmatchedReason::UnknownSession);
            }
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

    /// The target whose request to `peer` an ICMP error quotes. `is_awaiting` says whether a target
    /// awaits the reply that would answer the request; without a reply, whether it awaits any.
    ///
    /// If the error quotes nothing of the heartbeat, returns the only target of the address.
    pub(super) fn return_to(
        &self,
        peer: SocketAddr,
        quote: &[u8],
        is_awaiting: impl Fn(TargetId, Option<&Reply>) -> bool,
    ) -> Result<TargetId, UnmatchedReason> {
        let groups = self.probed(peer).ok_or(UnmatchedReason::UnknownAddress)?;
        let found = if quote.is_empty() {
            sole(groups).filter(|&id| is_awaiting(id, None))
        } else {
            groups.iter().find_map(|group| {
                let answer = group.prober.quoted(quote)?;
                let id = group.target(answer.session?)?;
                is_awaiting(id, Some(&answer)).then_some(id)
            })
        };
        found.ok_or(UnmatchedReason::UnknownHeartbeat)
    }
}

impl Sharers {
    fn new(prober: Arc<dyn Prober>) -> Self {
        Self { prober, places: Vec::with_capacity(1), owned: 0, owned_sum: 0, spare: None }
    }

    fn is_shared_with(&self, prober: &Arc<dyn Prober>) -> bool {
        self.prober.shares_replies_with(&**prober)
    }

    fn spare_mut(&mut self) -> &mut Spare {
        self.spare.get_or_insert_default()
    }

    /// Takes a session number for target `id`, which sends with `prober`: a free number, a new one,
    /// or, if there are no more, a retired number or the former number of another target. A
    /// misattributed late answer is better than a target that sends nothing.
    fn take_place(&mut self, id: TargetId, prober: &Arc<dyn Prober>) -> Option<u32> {
        let spare = self.spare.as_deref();
        let first = |numbers: fn(&Spare) -> &BTreeSet<u32>| numbers(spare?).first().copied();
        let session = first(|spare| &spare.free)
            .or_else(|| self.next_session())
            .or_else(|| first(|spare| &spare.retired))
            .or_else(|| first(|spare| &spare.former))?;
        if session as usize == self.places.len() {
            self.places.push(Place::Taken(id));
            self.own(session);
        } else {
            self.set(session, Place::Taken(id));
        }
        if self.places.len() == 1 {
            // This is the only target of the group, and its prober may have another secret.
            self.prober = prober.clone();
        }
        Some(session)
    }

    /// The session number after all present ones, if replies can carry it.
    fn next_session(&self) -> Option<u32> {
        let next = u32::try_from(self.places.len()).ok()?;
        (next <= self.prober.max_session()).then_some(next)
    }

    /// Whether a target that comes gets a session number.
    fn has_spare(&self) -> bool {
        self.spare.as_deref().is_some_and(Spare::has_session) || self.next_session().is_some()
    }

    fn has_waiting(&self) -> bool {
        self.spare.as_deref().is_some_and(|spare| !spare.waiting.is_empty())
    }

    fn pop_waiting(&mut self) -> Option<TargetId> {
        self.spare.as_deref_mut()?.waiting.pop_first()
    }

    fn has_retired(&self) -> bool {
        self.spare.as_deref().is_some_and(|spare| !spare.retired.is_empty())
    }

    /// Whether a target has a number or waits for one, or a number is retired.
    fn is_needed(&self) -> bool {
        self.owned > 0 || self.has_retired() || self.has_waiting()
    }

    fn set(&mut self, session: u32, to: Place) {
        let from = std::mem::replace(&mut self.places[session as usize], to);
        if from.target().is_some() {
            self.owned -= 1;
            self.owned_sum -= u64::from(session);
        }
        if let Some(sessions) = self.spares_of(from) {
            sessions.remove(&session);
        }
        if to.target().is_some() {
            self.own(session);
        }
        if let Some(sessions) = self.spares_of(to) {
            sessions.insert(session);
        }
    }

    fn own(&mut self, session: u32) {
        self.owned += 1;
        self.owned_sum += u64::from(session);
    }

    /// The spare session numbers in the same state as `place`; `None` if it is not spare.
    fn spares_of(&mut self, place: Place) -> Option<&mut BTreeSet<u32>> {
        match place {
            Place::Taken(_) => None,
            Place::Free => Some(&mut self.spare_mut().free),
            Place::Former(_) => Some(&mut self.spare_mut().former),
            Place::Retired => Some(&mut self.spare_mut().retired),
        }
    }

    fn is_retired(&self, session: u32) -> bool {
        self.places.get(session as usize) == Some(&Place::Retired)
    }

    fn target(&self, session: u32) -> Option<TargetId> {
        self.places.get(session as usize).and_then(Place::target)
    }

    /// The target of `reply`. `named` is the target whose session the reply carries, if there is one.
    ///
    /// If the echo identifies the target, a session that contradicts it is wrong: then the reply is
    /// for the target that awaits it, among at most [`MAX_CANDIDATES`].
    fn recipient(
        &self,
        reply: &Reply,
        named: Option<TargetId>,
        claim: impl Fn(TargetId) -> Claim,
    ) -> Option<TargetId> {
        if !self.prober.is_identified_by_echo() {
            return named.or_else(|| self.only().filter(|_| reply.session.is_none()));
        }
        let retired = reply.session.filter(|&session| self.is_retired(session));
        if retired.is_some_and(|session| session != 0) {
            // Only a reflector that knows the sessions returns such a number: the target is gone.
            return None;
        }
        let is_retired = retired.is_some();
        if let Some(only) = self.only().filter(|_| !is_retired) {
            return Some(only);
        }
        // A duplicate belongs to the target whose session it carries, even if another target sent the same
        // sequence number and timestamp.
        named.filter(|&id| claim(id) != Claim::Foreign).or_else(|| {
            let mut candidates = self.places.iter().filter_map(Place::target).take(MAX_CANDIDATES);
            candidates.find(|&id| claim(id) == Claim::Awaiting).or(named)
        })
    }

    /// The target of the group, if it has exactly one.
    fn only(&self) -> Option<TargetId> {
        if self.owned != 1 {
            return None;
        }
        self.target(u32::try_from(self.owned_sum).ok()?)
    }
}

impl Spare {
    fn has_session(&self) -> bool {
        let Self { free, retired, former, waiting: _ } = self;
        [free, retired, former].into_iter().any(|sessions| !sessions.is_empty())
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

/// The target at an address that only one target has.
fn sole(groups: &[Sharers]) -> Option<TargetId> {
    let mut shared = groups.iter().filter(|group| group.owned > 0);
    let group = shared.next()?;
    if shared.next().is_some() { None } else { group.only() }
}

#[cfg(test)]
mod tests;
