//! Whom a datagram is for: from its source address, and what it says of itself, to the target.
//!
//! Sockets are shared, so the peer's address and port tell the target. Where several targets have
//! the same address, each has a session number of its own that travels with every heartbeat
//! ([`Request::session`](crate::wire::Request::session)); the first has number 0, so that a target
//! alone at its address looks like any plain sender.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::model::{InvalidReason, UnmatchedReason};
use crate::wire::{self, Protocol, Reply, Unreadable};

/// A target's place in its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Member(pub(super) u32);

impl Member {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a target's heartbeats go, and the number that tells it from others there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) peer: SocketAddr,
    pub(super) session: u32,
}

/// All the addresses that are probed.
#[derive(Debug, Default)]
pub(super) struct Routes {
    peers: HashMap<SocketAddr, Vec<Sharers>>,
}

/// The targets that share an address and a protocol, by session number.
#[derive(Debug)]
struct Sharers {
    protocol: &'static dyn Protocol,
    members: Vec<Option<Member>>,
    /// How many of `members` are `None`.
    holes: usize,
}

/// What a datagram turned out to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Delivery {
    /// A reply for this target.
    Reply(Member, Reply),
    /// From this target's address alone, and no answer to anything.
    Invalid(Member, InvalidReason),
    /// For nobody.
    Unmatched(UnmatchedReason),
}

impl Routes {
    /// Gives `member` a route to `peer`; `None` where as many targets are there already as the
    /// protocol can tell apart.
    pub(super) fn add(
        &mut self,
        member: Member,
        peer: SocketAddr,
        protocol: &'static dyn Protocol,
    ) -> Option<Route> {
        let groups = self.peers.entry(peer).or_insert_with(|| Vec::with_capacity(1));
        let known = groups.iter().position(|group| wire::is_same(group.protocol, protocol));
        let index = known.unwrap_or(groups.len());
        if known.is_none() {
            groups.push(Sharers { protocol, members: Vec::with_capacity(1), holes: 0 });
        }
        let session = groups[index].take_place(member)?;
        Some(Route { peer, session })
    }

    /// Takes a route back.
    pub(super) fn remove(&mut self, route: Route, protocol: &'static dyn Protocol) {
        let Some(groups) = self.peers.get_mut(&route.peer) else { return };
        for group in groups.iter_mut().filter(|group| wire::is_same(group.protocol, protocol)) {
            if let Some(place) = group.members.get_mut(route.session as usize)
                && place.take().is_some()
            {
                group.holes += 1;
            }
        }
        groups.retain(|group| group.holes < group.members.len());
        if groups.is_empty() {
            self.peers.remove(&route.peer);
        }
    }

    /// Whom `datagram` from `peer` is for.
    pub(super) fn deliver(&self, peer: SocketAddr, datagram: &[u8]) -> Delivery {
        let Some(groups) = self.peers.get(&peer) else {
            return Delivery::Unmatched(UnmatchedReason::UnknownAddress);
        };
        let mut invalid = InvalidReason::Malformed;
        for group in groups {
            let reply = match group.protocol.decode(datagram) {
                Ok(reply) => reply,
                Err(unreadable) => {
                    if unreadable == Unreadable::Unauthenticated {
                        invalid = InvalidReason::Unauthenticated;
                    }
                    continue;
                }
            };
            let member = match reply.session {
                Some(session) => group.member(session),
                None => group.only(),
            };
            return match (member, sole(groups)) {
                (Some(member), _) => Delivery::Reply(member, reply),
                (None, Some(member)) => Delivery::Invalid(member, InvalidReason::UnknownSequence),
                (None, None) => Delivery::Unmatched(UnmatchedReason::UnknownSession),
            };
        }
        match sole(groups) {
            Some(member) => Delivery::Invalid(member, invalid),
            None => Delivery::Unmatched(UnmatchedReason::UnknownSession),
        }
    }

    /// Whose request to `peer` it was that an ICMP error quotes; where a target is alone there, it
    /// is its, whatever the error quotes.
    pub(super) fn return_to(
        &self,
        peer: SocketAddr,
        quote: &[u8],
    ) -> Result<Member, UnmatchedReason> {
        let groups = self.peers.get(&peer).ok_or(UnmatchedReason::UnknownAddress)?;
        let quoted = |group: &Sharers| group.member(group.protocol.quoted_session(quote)?);
        let found = sole(groups).or_else(|| groups.iter().find_map(quoted));
        found.ok_or(UnmatchedReason::UnknownSession)
    }
}

impl Sharers {
    /// The session number of a free place, which `member` takes.
    fn take_place(&mut self, member: Member) -> Option<u32> {
        if self.holes > 0 {
            let hole = self.members.iter().position(Option::is_none)?;
            self.members[hole] = Some(member);
            self.holes -= 1;
            return u32::try_from(hole).ok();
        }
        let session = u32::try_from(self.members.len()).ok()?;
        if session > self.protocol.max_session() {
            return None;
        }
        self.members.push(Some(member));
        Some(session)
    }

    fn member(&self, session: u32) -> Option<Member> {
        self.members.get(session as usize).copied().flatten()
    }

    fn only(&self) -> Option<Member> {
        if self.members.len() - self.holes != 1 {
            return None;
        }
        self.members.iter().copied().flatten().next()
    }
}

/// The target at an address that no other target shares.
fn sole(groups: &[Sharers]) -> Option<Member> {
    match groups {
        [group] => group.only(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
