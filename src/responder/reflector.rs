//! The responder without its sockets: a datagram and the time enter, replies leave.
//!
//! The order is: let in → recognise → authenticate → charge → impair → reflect → send or hold. What
//! no key vouches for, where one should, neither counts against the source it claims to come from
//! nor takes a step in the sequence of a seed. A request that the impairments lose on the way in is
//! never reflected, nor counted in its session; everything else they do, they do to the reply, as a
//! network behind the responder would: an injected delay comes after t3 is stamped and shows as
//! round-trip delay, not as turnaround.
//!
//! What never gets an answer: replies ([`DropReason::Reflection`]), datagrams of no protocol or
//! beyond [`MAX_DATAGRAM`] octets ([`DropReason::Malformed`]), datagrams whose answer could go to
//! nobody, to many, or back to the responder, or that come from somebody who may not ask
//! ([`DropReason::Denied`]), requests from whoever asks too often
//! ([`DropReason::RateLimited`]), and those that no key vouches for where one should
//! ([`DropReason::Unauthenticated`]).

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::trace;

use super::faults::{Dated, Links};
use super::gate::Gate;
use super::queue::{DelayQueue, Route};
use super::sessions::{Identity, Room, Sessions};
use crate::exposition::ResponderMetrics;
use crate::impair::{self, BitFlip, Fate, Passage};
use crate::model::{DropReason, ImpairmentKind, Mono, Stamp, Wall};
use crate::net::Datagram;
use crate::wire::{
    self, Arrived, Authenticity, Key, MAX_DATAGRAM, PROTOCOLS, Protocol, Recognition,
    Unauthenticated,
};

/// Recognises requests, and makes and impairs the replies.
///
/// At all times, and counting what every `handle` has been given:
/// `received = replied + dropped + held`, where of those dropped the malformed, reflections and the
/// denied do not count, and it is for the caller to count a reply as sent, by [`Route::protocol`],
/// unless it is a [`Route::duplicate`]. A reply that finds the delay queue full counts as `overflow`
/// as well.
#[derive(Debug)]
pub struct Reflector {
    /// Where requests come in.
    listeners: Vec<SocketAddr>,
    gate: Arc<Gate>,
    links: Links,
    held: DelayQueue,
    /// Requests refused since [`take_refused`](Self::take_refused).
    refused: u64,
    /// None where no state is kept.
    sessions: Option<Sessions>,
    /// Who may vouch for requests, and whether somebody must.
    keys: Arc<[Key]>,
    require_auth: bool,
    metrics: ResponderMetrics,
    /// The reply at hand; kept for its memory.
    reply: Vec<u8>,
}

/// A reply that is to be sent now.
#[derive(Debug, Clone, Copy)]
pub struct Transmit<'a> {
    /// Where to.
    pub route: Route,
    /// Its octets.
    pub payload: &'a [u8],
}

impl Reflector {
    /// How many held replies one call of [`release`](Self::release) lets go at most.
    pub const RELEASES: usize = 1024;

    /// A reflector for requests that come in at `listeners` and pass the `gate`, impaired from
    /// `start` on.
    #[must_use]
    pub fn new(
        listeners: Vec<SocketAddr>,
        gate: Arc<Gate>,
        settings: impair::Settings,
        start: Mono,
        metrics: ResponderMetrics,
    ) -> Self {
        Self {
            listeners,
            gate,
            links: Links::new(&Dated::new(&settings.into(), start)),
            held: DelayQueue::default(),
            refused: 0,
            sessions: Some(Sessions::in_room(Room::default())),
            keys: Arc::default(),
            require_auth: false,
            metrics,
            reply: Vec::with_capacity(MAX_DATAGRAM),
        }
    }

    /// The same, but as one of several that share this room.
    pub(super) fn in_room(self, room: &Room) -> Self {
        let sessions = self.sessions.map(|_| Sessions::in_room(room.clone()));
        Self { sessions, ..self }
    }

    /// The same, but without any state of sessions: STAMP replies repeat the number of their
    /// request (RFC 8762 section 4.3.1).
    #[must_use]
    pub fn stateless(self) -> Self {
        Self { sessions: None, ..self }
    }

    /// The same, but one that answers authenticated requests, too, where one of `keys` vouches for
    /// them; and no others where that is `required`.
    #[must_use]
    pub fn authenticating(self, keys: Arc<[Key]>, required: bool) -> Self {
        Self { keys, require_auth: required, ..self }
    }

    /// Takes a datagram that came in at the listener with this index and is looked at `now`, and
    /// gives to `send` what is to be sent at once: none, one or two copies of its reply.
    ///
    /// t2 is the kernel's receive timestamp, or `now` where there is none; t3 is `now`, which
    /// should thus be read for each datagram.
    pub fn handle(
        &mut self,
        datagram: &Datagram<'_>,
        listener: usize,
        now: Stamp,
        mut send: impl FnMut(Transmit<'_>),
    ) {
        if let Err(reason) = self.answer(datagram, listener, now, &mut send) {
            trace!(peer = %datagram.peer, octets = datagram.payload.len(), %reason, "not answered");
            self.metrics.dropped(reason);
        }
    }

    /// Has requests meet these faults; what is held already leaves when it is due.
    pub(super) fn change_faults(&mut self, faults: &Dated) {
        self.links.change(faults);
    }

    /// Gives to `send` the held replies that are due, at most [`RELEASES`](Self::RELEASES) of
    /// them; more are left where [`next_due`](Self::next_due) is not after `now`.
    pub fn release(&mut self, now: Mono, mut send: impl FnMut(Transmit<'_>)) {
        for _ in 0..Self::RELEASES {
            let Some((route, payload)) = self.held.pop(now) else {
                return;
            };
            send(Transmit { route, payload: &payload });
        }
    }

    /// When [`release`](Self::release) is to be called next; `None` while nothing is held.
    #[must_use]
    pub fn next_due(&self) -> Option<Mono> {
        self.held.next_due()
    }

    /// How many requests the rate limit has refused since this was last asked.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// How many copies of replies are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn answer(
        &mut self,
        datagram: &Datagram<'_>,
        listener: usize,
        now: Stamp,
        send: &mut impl FnMut(Transmit<'_>),
    ) -> Result<(), DropReason> {
        if !self.gate.lets_in(datagram, &self.listeners) {
            return Err(DropReason::Denied);
        }
        let (protocol, index) = recognise(datagram, now.wall)?;
        let (key, voucher) = match protocol.authenticate(datagram.payload, &self.keys) {
            Ok(Authenticity::By { place, key }) => (Some(place), Some(key)),
            Ok(Authenticity::Open) if !self.require_auth => (None, None),
            Ok(Authenticity::Open) | Err(Unauthenticated) => {
                self.metrics.received(index);
                return Err(DropReason::Unauthenticated);
            }
        };
        if !self.gate.admits(datagram.peer.ip(), now.mono) {
            self.metrics.received(index);
            self.refused += 1;
            return Err(DropReason::RateLimited);
        }

        let fate = self.links.to(datagram.peer.ip()).judge(now.mono);
        if let Fate::Drop(reason) = fate {
            self.metrics.received(index);
            return Err(reason);
        }

        let number = self.sessions.as_mut().and_then(|sessions| {
            let session = protocol.counted_session(datagram.payload)?;
            let Datagram { peer, local, .. } = *datagram;
            Some(sessions.count(Identity { peer, listener, local, session, key }, now.mono))
        });
        let at = datagram.received.unwrap_or(now.wall);
        let arrived = Arrived { number, key: voucher, ..Arrived::new(at, datagram.ttl) };
        self.reply.clear();
        protocol.reflect(datagram.payload, arrived, now.wall, &mut self.reply);
        debug_assert!(self.reply.len() <= datagram.payload.len());
        if self.reply.is_empty() {
            return Err(DropReason::Malformed);
        }
        self.metrics.received(index);
        let (first, duplicate) = match fate {
            Fate::Deliver { first, duplicate } => (first, duplicate),
            Fate::Drop(reason) | Fate::DropReply(reason) => return Err(reason),
        };

        let route = Route {
            listener,
            peer: datagram.peer,
            source: datagram.local,
            protocol: index,
            duplicate: false,
        };
        if !self.pass(route, first, now, send) {
            return Err(DropReason::Overflow);
        }
        if let Some(second) = duplicate
            && self.pass(Route { duplicate: true, ..route }, second, now, send)
        {
            self.metrics.impaired(ImpairmentKind::Duplicate);
        }
        Ok(())
    }

    /// Sends one copy of the reply at hand through the bad network; whether it had room for it.
    fn pass(
        &mut self,
        route: Route,
        passage: Passage,
        now: Stamp,
        send: &mut impl FnMut(Transmit<'_>),
    ) -> bool {
        let octets = self.reply.len() + headers(route.peer);
        let link = self.links.to(route.peer.ip());
        let Some(mut passage) = link.queue(passage, octets, now.mono) else {
            return false;
        };
        let flipped = passage.corrupt.and_then(|flip| damage(&mut self.reply, flip, now.wall));
        if flipped.is_none() {
            passage.corrupt = None;
        }

        let held = passage.held();
        let passed = if held.is_zero() {
            send(Transmit { route, payload: &self.reply });
            true
        } else {
            self.held.push(now.mono + held, passage.overtaken_by, route, &self.reply)
        };
        if passed {
            passage.kinds().for_each(|kind| self.metrics.impaired(kind));
        }
        if passed && passage.hold.is_zero() && !route.duplicate {
            let overtakes = self.held.overtake(route.peer, now.mono + held);
            if overtakes && held.is_zero() {
                // What it was the last to overtake follows it before any other reply does.
                self.release(now.mono, &mut *send);
            }
        }

        // The other copy is damaged on its own.
        if let Some(bit) = flipped {
            impair::flip(&mut self.reply, bit);
        }
        passed
    }
}

/// The protocol that the datagram is a request of, and its place in [`PROTOCOLS`].
fn recognise(
    datagram: &Datagram<'_>,
    now: Wall,
) -> Result<(&'static dyn Protocol, usize), DropReason> {
    if datagram.truncated {
        return Err(DropReason::Malformed);
    }
    let protocol = wire::recognise(datagram.payload, now).map_err(|verdict| match verdict {
        Recognition::Reply => DropReason::Reflection,
        Recognition::Foreign | Recognition::Request => DropReason::Malformed,
    })?;
    let index = PROTOCOLS.iter().position(|known| known.name() == protocol.name());
    index.map(|index| (protocol, index)).ok_or(DropReason::Malformed)
}

/// Octets of the headers of IP and UDP (RFC 791, RFC 8200, RFC 768).
fn headers(peer: SocketAddr) -> usize {
    let ip = if peer.ip().to_canonical().is_ipv4() { 20 } else { 40 };
    ip + 8
}

/// Flips the drawn bit of a reply, or the next one whose flip makes no request of it: even a
/// damaged reply must not set two responders to answering each other. The bit, unless there is
/// none.
fn damage(reply: &mut [u8], drawn: BitFlip, now: Wall) -> Option<usize> {
    let bits = reply.len() * 8;
    let first = drawn.position(reply.len())?;
    (first..bits).chain(0..first).find(|&bit| {
        impair::flip(reply, bit);
        let is_request = wire::recognise(reply, now).is_ok();
        if is_request {
            impair::flip(reply, bit);
        }
        !is_request
    })
}

#[cfg(test)]
mod tests;
