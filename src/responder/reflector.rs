//! The responder without its sockets: recognises requests, and writes and impairs the replies.
//!
//! The order is: let in → recognise → authenticate → rate-limit → impair → reflect → count → send
//! or hold. A request that fails authentication is not charged to the source that it claims to come
//! from, and does not advance the random sequence. A request that an impairment drops on the way in
//! is not reflected and does not count in its session. All other impairments change the reply, as a
//! network behind the responder would: an injected delay comes after t3 is stamped and shows as
//! round-trip delay, not as turnaround.
//!
//! These datagrams never get an answer:
//!
//! - replies ([`DropReason::Reflection`]);
//! - datagrams of no protocol, or longer than [`LARGEST_DATAGRAM`](wire::LARGEST_DATAGRAM) octets
//!   ([`DropReason::Malformed`]);
//! - text that is almost a request ([`DropReason::BadNumber`], [`DropReason::BadTimestamp`],
//!   [`DropReason::TooLong`]);
//! - STAMP requests of fewer than 44 octets, whose reply would be longer
//!   ([`DropReason::ShortRequest`]), unless the reflector
//!   [answers them](Reflector::answering_short_requests);
//! - datagrams whose answer would go to no host, to many hosts or back to the responder, and
//!   datagrams from a source that is not allowed ([`DropReason::Denied`]);
//! - requests from a source that exceeds its rate limit ([`DropReason::RateLimited`]);
//! - requests that must be authenticated, and that no key authenticates
//!   ([`DropReason::Unauthenticated`]).

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::trace;

use super::dscp::ReplyDscp;
use super::gate::Gate;
use super::impairments::{Dated, Links};
use super::queue::{DelayQueue, ReplyRoute};
use super::sessions::{Identity, Room, Sent, Sessions};
use crate::exposition::ResponderMetrics;
use crate::impair::{self, BitFlip, Fate, Passage};
use crate::model::{ClockAccuracy, DropReason, ImpairmentKind, Moment, Mono, Wall};
use crate::net::Datagram;
use crate::wire::{
    self, Arrived, Authenticity, Key, MAX_DATAGRAM, NotRequest, Protocol, Recognised,
    Unauthenticated,
};

/// Recognises requests, and makes and impairs the replies.
///
/// At all times, for all datagrams passed to `handle`, `received = replied + dropped + held`. Here,
/// `dropped` excludes datagrams that are not requests (dropped as malformed, as text that is almost a
/// request, as short requests, as reflections or as denied), and `held` excludes duplicates. The caller counts a reply as sent, by [`ReplyRoute::protocol`], unless
/// it is a [`ReplyRoute::duplicate`]. A reply that finds the delay queue or the queue of the bandwidth
/// limit full is dropped as `overflow`.
#[derive(Debug)]
pub struct Reflector {
    /// The addresses of the listeners.
    listeners: Vec<SocketAddr>,
    gate: Arc<Gate>,
    links: Links,
    held: DelayQueue,
    /// Requests refused since [`take_refused`](Self::take_refused).
    refused: u64,
    /// `None` if the reflector is stateless.
    sessions: Option<Sessions>,
    /// The keys that can authenticate requests.
    keys: Arc<[Key]>,
    require_auth: bool,
    answers_short: bool,
    checks_tlvs: bool,
    dscp: ReplyDscp,
    accuracy: ClockAccuracy,
    metrics: ResponderMetrics,
    /// The current reply; a buffer that is reused. It grows with the first long request, to at most
    /// 64 KiB.
    reply: Vec<u8>,
}

/// A reply that is to be sent now.
#[derive(Debug, Clone, Copy)]
pub struct OutgoingReply<'a> {
    /// Its destination.
    pub route: ReplyRoute,
    /// Its octets.
    pub payload: &'a [u8],
}

impl Reflector {
    /// Maximum number of held replies that one call of [`release`](Self::release) sends.
    pub const RELEASES: usize = 1024;

    /// A reflector for requests that arrive at `listeners` and pass the `gate`. Its impairments
    /// start at `start`.
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
            answers_short: false,
            checks_tlvs: false,
            dscp: ReplyDscp::default(),
            accuracy: ClockAccuracy::default(),
            metrics,
            reply: Vec::with_capacity(MAX_DATAGRAM),
        }
    }

    /// The same reflector, as one of several that share this room.
    pub(super) fn in_room(self, room: &Room) -> Self {
        let sessions = self.sessions.map(|_| Sessions::in_room(room.clone()));
        Self { sessions, ..self }
    }

    /// The same reflector, stateless: STAMP replies repeat the sequence number of their request
    /// (RFC 8762 section 4.3.1).
    #[must_use]
    pub fn stateless(self) -> Self {
        Self { sessions: None, ..self }
    }

    /// The same reflector, which also answers requests that one of `keys` authenticates; if
    /// `required`, it answers no others.
    #[must_use]
    pub fn authenticating(self, keys: Arc<[Key]>, required: bool) -> Self {
        Self { keys, require_auth: required, ..self }
    }

    /// The same reflector, which also answers STAMP requests of fewer than 44 octets with 44 octets
    /// (RFC 8762 section 4.6).
    #[must_use]
    pub fn answering_short_requests(self) -> Self {
        Self { answers_short: true, ..self }
    }

    /// The same reflector, which also verifies and writes the HMAC TLVs of unauthenticated STAMP packets
    /// with its keys (RFC 8972 section 4.8).
    #[must_use]
    pub fn checking_tlvs(self) -> Self {
        Self { checks_tlvs: true, ..self }
    }

    /// The same reflector, whose STAMP replies leave with this DSCP.
    #[must_use]
    pub fn marking(self, dscp: ReplyDscp) -> Self {
        Self { dscp, ..self }
    }

    /// STAMP replies report this accuracy of the wall clock from now on.
    pub fn set_clock_accuracy(&mut self, accuracy: ClockAccuracy) {
        self.accuracy = accuracy;
    }

    /// Handles a datagram that arrived at the listener with this index. Passes the copies of its
    /// reply that leave at once to `send`: none, one or two.
    ///
    /// t2 is the kernel's receive timestamp, or `now` without one. t3 is `now`, so read
    /// the clock for each datagram.
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
                    traffic_class: self.dscp.traffic_class(protocol, datagram),
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

    /// Applies these impairments to requests from now on; replies that are already held leave when
    /// they are due.
    pub(super) fn change_impairments(&mut self, impairments: &Dated) {
        self.links.change(impairments);
    }

    /// Passes the held replies that are due to `send`, at most [`RELEASES`](Self::RELEASES). More
    /// are due if [`next_due`](Self::next_due) is then not after `now`.
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

    /// How many requests the rate limit has refused since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// How many copies of replies are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Decides about a datagram. If it is answered, `self.reply` is its reply afterwards. Sends
    /// nothing and changes no metric.
    fn judge(&mut self, datagram: &Datagram<'_>, listener: usize, now: Moment) -> Verdict {
        let Datagram { peer, local, .. } = *datagram;
        if !self.gate.lets_in(datagram, &self.listeners) {
            return Verdict::NoRequest(DropReason::Denied);
        }
        let recognised = match recognise(datagram, now.wall, &self.keys, self.answers_short) {
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
            Some(sessions.count(identity, Sent::of(&recognised.request), now.mono))
        });
        let at = datagram.received.unwrap_or(now.wall);
        let arrived = Arrived {
            number,
            key,
            tlv_keys: if self.checks_tlvs { &self.keys } else { &[] },
            accuracy: self.accuracy,
            ..Arrived::new(at, datagram.ttl)
        };
        self.reply.clear();
        recognised.reflect(arrived, now.wall, &mut self.reply);
        debug_assert!(recognised.request.is_short || self.reply.len() <= datagram.payload.len());
        match fate {
            // No valid reply fits into its length: its timestamp is too far from now.
            _ if self.reply.is_empty() => Verdict::NoRequest(DropReason::BadTimestamp),
            Fate::Deliver { first, duplicate } => {
                Verdict::Answered { protocol, first, second: duplicate }
            }
            Fate::Drop(reason) | Fate::DropReply(reason) => unanswered(reason),
        }
    }

    /// Sends the current reply once or twice. Returns whether the impairments had room for the
    /// first copy.
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

    /// Sends one copy of the current reply through the impairments. Returns whether they had room
    /// for it.
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
                // Some held replies only waited for this one to overtake them. They leave before any other reply.
                self.release(now.mono, &mut *send);
            }
        }

        // Restores the reply: the other copy is damaged independently.
        if let Some(bit) = flipped {
            impair::flip(&mut self.reply, bit);
        }
        passed
    }
}

/// The decision about a datagram, before a reply is sent.
#[derive(Debug)]
enum Verdict {
    /// Not a request that the responder answers; counted for no protocol.
    NoRequest(DropReason),
    /// A request of this protocol gets no reply.
    Unanswered { protocol: Protocol, reason: DropReason },
    /// A request of this protocol gets one or two copies of its reply, if the impairments have room
    /// for them.
    Answered { protocol: Protocol, first: Passage, second: Option<Passage> },
}

impl Verdict {
    /// The protocol for which a request is counted as received.
    const fn protocol(&self) -> Option<Protocol> {
        match *self {
            Self::NoRequest(_) => None,
            Self::Unanswered { protocol, .. } | Self::Answered { protocol, .. } => Some(protocol),
        }
    }
}

/// Recognises a request. Returns the reason if the datagram is not one.
fn recognise<'d>(
    datagram: &Datagram<'d>,
    now: Wall,
    keys: &[Key],
    answers_short: bool,
) -> Result<Recognised<'d>, DropReason> {
    if datagram.truncated {
        return Err(DropReason::Malformed);
    }
    let recognised = wire::recognise_tagged(datagram.payload, now, keys)
        .unwrap_or_else(|| wire::recognise(datagram.payload, now));
    recognised.or_else(|why_not| match why_not {
        NotRequest::Reply => Err(DropReason::Reflection),
        NotRequest::BadNumber => Err(DropReason::BadNumber),
        NotRequest::BadTimestamp => Err(DropReason::BadTimestamp),
        NotRequest::TooLong => Err(DropReason::TooLong),
        NotRequest::Foreign => Err(DropReason::Malformed),
        NotRequest::Short => {
            let request = answers_short.then(|| wire::recognise_short(datagram.payload, now));
            request.flatten().ok_or(DropReason::ShortRequest)
        }
    })
}

/// Octets of the headers of IP and UDP (RFC 791, RFC 8200, RFC 768).
fn headers(peer: SocketAddr) -> usize {
    let ip = if peer.ip().to_canonical().is_ipv4() { 20 } else { 40 };
    ip + 8
}

/// Flips the drawn bit of a reply, or the next bit whose flip does not turn the reply into a
/// request, because two responders must not answer each other even if replies are damaged. Returns
/// the bit, or `None` if there is no such bit.
fn damage(reply: &mut [u8], drawn: BitFlip, now: Wall) -> Option<usize> {
    let bits = reply.len() * 8;
    let first = drawn.position(reply.len())?;
    (first..bits).chain(0..first).find(|&bit| {
        impair::flip(reply, bit);
        let is_request = matches!(wire::recognise(reply, now), Ok(_) | Err(NotRequest::Short));
        if is_request {
            impair::flip(reply, bit);
        }
        !is_request
    })
}

#[cfg(test)]
mod tests;
