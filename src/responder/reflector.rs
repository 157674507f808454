//! The responder without its sockets: recognises requests, and makes and impairs the replies.
//!
//! The order is: let in → recognise → authenticate → charge → impair → reflect → count → send or
//! hold. A request that must be authenticated and is not neither counts against the source it
//! claims to come from nor takes a step in the sequence of a seed. A request that the impairments
//! lose on the way in is never reflected and not counted in its session. All other impairments
//! change the reply, as a network behind the responder would: an injected delay comes after t3 is
//! stamped and shows as round-trip delay, not as turnaround.
//!
//! These datagrams never get an answer:
//!
//! - replies ([`DropReason::Reflection`]);
//! - datagrams of no protocol, or longer than [`MAX_DATAGRAM`] octets ([`DropReason::Malformed`]);
//! - datagrams whose answer could go to nobody, to many hosts or back to the responder, and
//!   datagrams from a source that may not ask ([`DropReason::Denied`]);
//! - requests from a source that asks too often ([`DropReason::RateLimited`]);
//! - requests that no key authenticates although one must ([`DropReason::Unauthenticated`]).

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::trace;

use super::gate::Gate;
use super::impairments::{Dated, Links};
use super::queue::{DelayQueue, ReplyRoute};
use super::sessions::{Identity, Room, Sessions};
use crate::exposition::ResponderMetrics;
use crate::impair::{self, BitFlip, Fate, Passage};
use crate::model::{DropReason, ImpairmentKind, Moment, Mono, Wall};
use crate::net::Datagram;
use crate::wire::{
    self, Arrived, Authenticity, Key, MAX_DATAGRAM, NotRequest, Protocol, Recognised,
    Unauthenticated,
};

/// Recognises requests, and makes and impairs the replies.
///
/// At all times, over everything that `handle` was given, `received = replied + dropped + held`.
/// Datagrams dropped as malformed, as reflections or as denied are not part of `dropped` here. The
/// caller counts a reply as sent, by [`ReplyRoute::protocol`], unless it is a [`ReplyRoute::duplicate`]. A
/// reply that finds the delay queue full is dropped as `overflow`.
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
pub struct OutgoingReply<'a> {
    /// Where to.
    pub route: ReplyRoute,
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
        settings: impair::LinkSettings,
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
        now: Moment,
        mut send: impl FnMut(OutgoingReply<'_>),
    ) {
        let verdict = self.judge(datagram, listener, now);
        if let Some(protocol) = verdict.protocol() {
            self.metrics.received(protocol);
        }
        let dropped = match verdict {
            Verdict::NoRequest(reason) | Verdict::Unanswered { reason, .. } => Some(reason),
            Verdict::Answered { protocol, first, second } => {
                let route = ReplyRoute {
                    listener,
                    peer: datagram.peer,
                    source: datagram.local,
                    protocol,
                    duplicate: false,
                };
                let is_answered = self.reply(route, first, second, now, &mut send);
                (!is_answered).then_some(DropReason::Overflow)
            }
        };
        if let Some(reason) = dropped {
            trace!(peer = %datagram.peer, octets = datagram.payload.len(), %reason, "not answered");
            self.metrics.dropped(reason);
        }
    }

    /// Has requests meet these impairments; what is held already leaves when it is due.
    pub(super) fn change_impairments(&mut self, impairments: &Dated) {
        self.links.change(impairments);
    }

    /// Gives to `send` the held replies that are due, at most [`RELEASES`](Self::RELEASES) of
    /// them; more are left where [`next_due`](Self::next_due) is not after `now`.
    pub fn release(&mut self, now: Mono, mut send: impl FnMut(OutgoingReply<'_>)) {
        for _ in 0..Self::RELEASES {
            let Some((route, payload)) = self.held.pop(now) else {
                return;
            };
            send(OutgoingReply { route, payload: &payload });
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

    /// Decides about a datagram. The reply to one that is answered is the reply at hand then;
    /// nothing has left and nothing is counted in the metrics.
    fn judge(&mut self, datagram: &Datagram<'_>, listener: usize, now: Moment) -> Verdict {
        let Datagram { peer, local, .. } = *datagram;
        if !self.gate.lets_in(datagram, &self.listeners) {
            return Verdict::NoRequest(DropReason::Denied);
        }
        let recognised = match recognise(datagram, now.wall) {
            Ok(recognised) => recognised,
            Err(reason) => return Verdict::NoRequest(reason),
        };
        let protocol = recognised.protocol;
        let unanswered = |reason| Verdict::Unanswered { protocol, reason };
        let (key_place, key) = match recognised.authenticate(&self.keys) {
            Ok(Authenticity::By { place, key }) => (Some(place), Some(key)),
            Ok(Authenticity::Open) if !self.require_auth => (None, None),
            Ok(Authenticity::Open) | Err(Unauthenticated) => {
                return unanswered(DropReason::Unauthenticated);
            }
        };
        if !self.gate.admits(peer.ip(), now.mono) {
            self.refused += 1;
            return unanswered(DropReason::RateLimited);
        }
        let fate = self.links.to(peer.ip()).judge(now.mono);
        if let Fate::Drop(reason) = fate {
            return unanswered(reason);
        }

        let number = self.sessions.as_mut().and_then(|sessions| {
            let session = recognised.request.counted_session?;
            let identity = Identity { peer, listener, local, session, key: key_place };
            Some(sessions.count(identity, now.mono))
        });
        let at = datagram.received.unwrap_or(now.wall);
        let arrived = Arrived { number, key, ..Arrived::new(at, datagram.ttl) };
        self.reply.clear();
        recognised.reflect(arrived, now.wall, &mut self.reply);
        debug_assert!(self.reply.len() <= datagram.payload.len());
        match fate {
            // A request that no reply fits is not a request of the protocol.
            _ if self.reply.is_empty() => Verdict::NoRequest(DropReason::Malformed),
            Fate::Deliver { first, duplicate } => {
                Verdict::Answered { protocol, first, second: duplicate }
            }
            Fate::Drop(reason) | Fate::DropReply(reason) => unanswered(reason),
        }
    }

    /// Sends the reply at hand, once or twice; whether the bad network had room for the first copy.
    fn reply(
        &mut self,
        route: ReplyRoute,
        first: Passage,
        second: Option<Passage>,
        now: Moment,
        send: &mut impl FnMut(OutgoingReply<'_>),
    ) -> bool {
        if !self.pass(route, first, now, send) {
            return false;
        }
        if let Some(second) = second
            && self.pass(ReplyRoute { duplicate: true, ..route }, second, now, send)
        {
            self.metrics.impaired(ImpairmentKind::Duplicate);
        }
        true
    }

    /// Sends one copy of the reply at hand through the bad network; whether it had room for it.
    fn pass(
        &mut self,
        route: ReplyRoute,
        passage: Passage,
        now: Moment,
        send: &mut impl FnMut(OutgoingReply<'_>),
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
            send(OutgoingReply { route, payload: &self.reply });
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

/// What is decided about a datagram before anything leaves.
#[derive(Debug)]
enum Verdict {
    /// The datagram is not a request that the responder can answer: no protocol has received one.
    NoRequest(DropReason),
    /// A request of this protocol gets no reply.
    Unanswered { protocol: Protocol, reason: DropReason },
    /// A request of this protocol gets one copy of its reply, or two, as far as the bad network has
    /// room for them.
    Answered { protocol: Protocol, first: Passage, second: Option<Passage> },
}

impl Verdict {
    /// The protocol that has received a request.
    const fn protocol(&self) -> Option<Protocol> {
        match *self {
            Self::NoRequest(_) => None,
            Self::Unanswered { protocol, .. } | Self::Answered { protocol, .. } => Some(protocol),
        }
    }
}

/// Reads a datagram; why it is not a request, where it is not.
fn recognise<'d>(datagram: &Datagram<'d>, now: Wall) -> Result<Recognised<'d>, DropReason> {
    if datagram.truncated {
        return Err(DropReason::Malformed);
    }
    wire::recognise(datagram.payload, now).map_err(|why_not| match why_not {
        NotRequest::Reply => DropReason::Reflection,
        NotRequest::Foreign => DropReason::Malformed,
    })
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
