//! What arrives for a fleet: datagrams and ICMP errors.

use std::net::SocketAddr;

use crate::model::{Arrival, IcmpKind, InvalidReason, Label, Moment, TargetId, Wall};
use crate::probe::event::{Detail, Happening};
use crate::probe::routes::Delivery;
use crate::probe::watched::Watched;
use crate::session::{Answered, Claim};
use crate::wire::Reply;

use super::Fleet;

impl Fleet {
    /// A datagram came from `peer`.
    ///
    /// If it is not an answer from the address of a target, it may answer a heartbeat to another
    /// address. It is then counted for the target that sent that heartbeat, and for nothing else.
    pub fn handle_datagram(&mut self, peer: SocketAddr, datagram: &[u8], arrival: &Arrival) {
        let targets = &self.targets;
        let claim = |id, reply: &Reply| {
            targets.get(id).map_or(Claim::Foreign, |watched| watched.session.claim(reply))
        };
        let refused = match self.routes.deliver(peer, datagram, claim) {
            Delivery::Reply(id, reply) => {
                self.accept(id, peer, &reply, arrival).map_err(|it| (id, it))
            }
            Delivery::Invalid(id, reason) => Err((id, reason)),
            Delivery::Unmatched(reason) => {
                if !self.is_stray(peer, datagram, arrival.read.wall) {
                    self.unmatched[reason.index()] += 1;
                }
                Ok(())
            }
        };
        let Err((id, reason)) = refused else { return };
        if self.is_stray(peer, datagram, arrival.read.wall) {
            return;
        }
        if let Some(watched) = self.targets.get_mut(id) {
            let what = watched.session.handle_invalid(reason, arrival.read.wall);
            self.answered(id, what, arrival);
        }
    }

    /// A reply came from `peer`, an address of target `id`. The error is the reason why it answers no
    /// heartbeat.
    fn accept(
        &mut self,
        id: TargetId,
        peer: SocketAddr,
        reply: &Reply,
        arrival: &Arrival,
    ) -> Result<(), InvalidReason> {
        let Some(watched) = self.targets.get_mut(id) else { return Ok(()) };
        let lost = watched.session.lost();
        let before = watched.session.stamps();
        let what = watched.session.accept(reply, arrival)?;
        let counts = watched.session.stamps().into_iter().zip(before);
        for (sum, (after, before)) in self.timestamps.iter_mut().zip(counts) {
            *sum += after - before;
        }
        watched.heard(id, what, peer, lost, &mut self.named);
        let port_change = match what {
            Answered::InTime { sequence, .. } => watched.answered(sequence, arrival.at),
            Answered::Late { sequence, .. } => {
                watched.detour.as_mut().and_then(|detour| detour.missed(sequence))
            }
            Answered::Duplicate { .. } | Answered::Invalid(_) => None,
        };
        self.answered(id, what, arrival);
        if let Some(why) = port_change
            && let Some(watched) = self.targets.get(id)
        {
            self.events.push_back(watched.event(arrival.read.wall, Happening::PortChanged(why)));
        }
        if matches!(what, Answered::Late { .. }) {
            // Its timeout may not have been handled yet.
            self.strays.add(id, &mut self.targets);
        }
        Ok(())
    }

    /// Reports what a datagram was to its target.
    fn answered(&mut self, id: TargetId, what: Answered, arrival: &Arrival) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        if self.detail == Detail::Heartbeats {
            let what = Happening::Answered { what, ttl: arrival.ttl };
            self.events.push_back(watched.event(arrival.read.wall, what));
        }
        self.events.extend(watched.change(arrival.read, self.monitor.impaired_until()));
    }

    /// Whether a datagram that came from `peer` at `at` answers a heartbeat that was sent to
    /// another address. If so, it is counted for the target.
    fn is_stray(&mut self, peer: SocketAddr, datagram: &[u8], at: Wall) -> bool {
        if self.routes.is_left(peer) {
            return false;
        }
        let Some((id, sequence)) = self.strays.find(peer, datagram, &mut self.targets) else {
            return false;
        };
        let Some(watched) = self.targets.get_mut(id) else { return false };
        watched.session.handle_other_source(peer, at);
        if self.detail == Detail::Heartbeats {
            let what = Happening::OtherSource { sequence, from: peer };
            self.events.push_back(watched.event(at, what));
        }
        true
    }

    /// A datagram came from `peer` that is longer than any reply.
    pub fn handle_oversized(&mut self, peer: SocketAddr, arrival: &Arrival) {
        // No protocol decodes an empty datagram: it counts as malformed for its target.
        self.handle_datagram(peer, &[], arrival);
    }

    /// An ICMP error about a heartbeat to `peer` came back. `quote` is the part of the heartbeat
    /// that the error quotes. The error counts for the target that has sent this heartbeat and has
    /// no answer to it, so that a forged error needs a heartbeat to quote.
    ///
    /// Some routers quote nothing of the heartbeat (RFC 792 demands only the UDP header). Such an
    /// error counts if only one target has the address, and it has a heartbeat in flight or misses
    /// since the newest answered one.
    pub fn handle_icmp(&mut self, peer: SocketAddr, quote: &[u8], kind: IcmpKind, now: Moment) {
        let targets = &self.targets;
        let is_awaiting = |id, reply: Option<&Reply>| {
            targets.get(id).is_some_and(|Watched { session, .. }| match reply {
                Some(reply) => session.claim(reply) == Claim::Awaiting,
                None => session.is_awaiting_any(),
            })
        };
        match self.routes.return_to(peer, quote, is_awaiting) {
            Ok(id) => {
                let Some(watched) = self.targets.get_mut(id) else { return };
                watched.session.handle_icmp(kind, now.wall);
                if self.detail == Detail::Heartbeats {
                    self.events.push_back(watched.event(now.wall, Happening::Icmp(kind)));
                }
            }
            Err(reason) => self.unmatched[reason.index()] += 1,
        }
    }
}
