//! Everything between the probe's socket and the responders. A parcel that enters may leave late,
//! twice, damaged or not at all, and records what was really done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use udp_heartbeat::exposition::ResponderMetrics;
use udp_heartbeat::impair::{BitFlip, Fate, Impairment, Passage};
use udp_heartbeat::model::{DropReason, ImpairmentKind, Label, Mono, Wall};
use udp_heartbeat::net::Datagram;
use udp_heartbeat::responder::{OutgoingReply, Reflector, ReplyRoute};
use udp_heartbeat::wire::{self, Protocol};

use crate::clock::{Clock, START};
use crate::ping_text;
use crate::scenario;

/// A datagram on its way there or back, and its history.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) target: usize,
    /// The heartbeat it was made for.
    pub(crate) sequence: u64,
    /// The responder's address.
    pub(crate) peer: SocketAddr,
    pub(crate) payload: Vec<u8>,
    /// The port that the heartbeat left from.
    pub(crate) port: u16,
    /// Whether a bit of it was flipped.
    pub(crate) damaged: bool,
    /// How long it was under way, without the time at the responder.
    pub(crate) travelled: Duration,
    /// The responder's clock when it was received there (t2).
    pub(crate) received: Wall,
}

/// One direction of a path.
#[derive(Debug)]
pub(crate) struct Link {
    impairment: Impairment,
    cuts: Vec<Range<Mono>>,
    surges: Vec<(Range<Mono>, Duration)>,
}

impl Link {
    pub(crate) fn new(link: &scenario::Link, seed: u64) -> Self {
        Self {
            impairment: Impairment::new(link.settings(seed), START),
            cuts: link.cuts.iter().map(|cut| cut.after(START)).collect(),
            surges: link
                .surges
                .iter()
                .map(|surge| (surge.window().after(START), surge.by.0))
                .collect(),
        }
    }

    /// The copies of a parcel sent at `at` that reach the other end, and when.
    pub(crate) fn carry(&mut self, at: Mono, parcel: &Parcel) -> Vec<(Mono, Parcel)> {
        let fate = self.impairment.judge(at);
        let Fate::Deliver { first, duplicate } = fate else { return Vec::new() };
        if self.cuts.iter().any(|cut| cut.contains(&at)) {
            return Vec::new();
        }
        let surges = self.surges.iter().filter(|(window, _)| window.contains(&at));
        let surge: Duration = surges.map(|(_, by)| *by).sum();
        let copies = [Some(first), duplicate].into_iter().flatten();
        copies.map(|passage| pass(at, passage.held() + surge, passage.corrupt, parcel)).collect()
    }
}

fn pass(at: Mono, takes: Duration, flip: Option<BitFlip>, parcel: &Parcel) -> (Mono, Parcel) {
    let mut copy = parcel.clone();
    copy.travelled += takes;
    if let Some(flip) = flip {
        flip.apply(&mut copy.payload);
        copy.damaged = true;
    }
    (at + takes, copy)
}

/// A responder: the real reflector, and the expected fate of each request.
#[derive(Debug)]
pub(crate) struct Host {
    address: SocketAddr,
    clock: Clock,
    /// How much too early its receive timestamps are.
    early: Duration,
    reflector: Reflector,
    metrics: ResponderMetrics,
    /// Draws the same as the reflector's own impairment.
    twin: Impairment,
    /// The replies that the reflector must hold, in the order in which they must leave.
    held: BTreeMap<(Mono, u64), Parcel>,
    ever_held: u64,
    truth: Counts,
    /// The target and number of each heartbeat that was reflected here, even if the reply was then
    /// lost.
    pub(crate) reflected: BTreeSet<(usize, u64)>,
}

/// What a responder must have counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// By protocol name, like `replied`.
    pub(crate) received: BTreeMap<&'static str, u64>,
    pub(crate) replied: BTreeMap<&'static str, u64>,
    pub(crate) dropped: [u64; DropReason::COUNT],
    pub(crate) impaired: [u64; ImpairmentKind::COUNT],
}

impl Host {
    pub(crate) fn new(address: SocketAddr, responder: &scenario::Responder, seed: u64) -> Self {
        let metrics = ResponderMetrics::new();
        let settings = responder.impairments.settings(seed);
        Self {
            address,
            clock: Clock::ahead(responder.clock_offset),
            early: responder.early_stamps.0,
            reflector: Reflector::new(
                vec![address],
                Arc::default(),
                settings,
                START,
                metrics.clone(),
            ),
            metrics,
            twin: Impairment::new(settings, START),
            held: BTreeMap::new(),
            ever_held: 0,
            truth: Counts::default(),
            reflected: BTreeSet::new(),
        }
    }

    /// Answers a request that was received at `received` and is handled at `at`. Returns the
    /// replies that leave at once.
    pub(crate) fn answer(
        &mut self,
        request: &Parcel,
        protocol: Protocol,
        received: Mono,
        at: Mono,
    ) -> Vec<Parcel> {
        let received = self.clock.wall(received) - self.early;
        let request = &Parcel { received, ..request.clone() };
        let datagram = Datagram {
            peer: sender(self.address, request.port),
            local: Some(self.address.ip()),
            to_group: false,
            payload: &request.payload,
            truncated: false,
            received: Some(request.received),
            ttl: Some(64),
            traffic_class: None,
            drops: None,
        };
        let mut left = Vec::new();
        let metrics = &self.metrics;
        self.reflector.handle(
            &datagram,
            0,
            self.clock.stamp(at),
            |OutgoingReply { route, payload }| {
                count_reply(metrics, &route);
                left.push((route.duplicate, payload.to_vec()));
            },
        );
        let mut left = left.into_iter();
        let passages = self.judge(request, protocol, at);
        let mut leaving = Vec::new();
        for (is_duplicate, passage) in [(false, passages[0]), (true, passages[1])] {
            let Some(passage) = passage else { continue };
            let mut reply = request.clone();
            reply.damaged |= passage.corrupt.is_some();
            reply.travelled += passage.held();
            if passage.held().is_zero() {
                let (marked, payload) = left.next().expect("a reply leaves at once");
                assert_eq!(marked, is_duplicate);
                leaving.push(Parcel { payload, ..reply });
            } else {
                self.held.insert((at + passage.held(), self.ever_held), reply);
                self.ever_held += 1;
            }
            if !is_duplicate {
                *self.truth.replied.entry(protocol.name()).or_default() += 1;
            }
        }
        assert_eq!(left.next(), None, "nothing else leaves");
        leaving
    }

    /// The expected passage of both copies of the reply to a request; `None` for a copy that is not
    /// sent.
    fn judge(&mut self, request: &Parcel, protocol: Protocol, at: Mono) -> [Option<Passage>; 2] {
        if request.damaged && !ping_text::is_request(&request.payload) {
            self.truth.dropped[DropReason::Malformed.index()] += 1;
            return [None, None];
        }
        *self.truth.received.entry(protocol.name()).or_default() += 1;
        let fate = self.twin.judge(at);
        if !matches!(fate, Fate::Drop(_)) {
            self.reflected.insert((request.target, request.sequence));
        }
        match fate {
            Fate::Drop(reason) | Fate::DropReply(reason) => {
                self.truth.dropped[reason.index()] += 1;
                [None, None]
            }
            Fate::Deliver { first, duplicate } => {
                // The bandwidth limit includes the headers of IP and UDP.
                let headers = if self.address.is_ipv4() { 28 } else { 48 };
                let octets = request.payload.len() + headers;
                let Some(first) = self.twin.queue(first, octets, at) else {
                    self.truth.dropped[DropReason::Overflow.index()] += 1;
                    return [None, None];
                };
                let duplicate = duplicate.and_then(|second| self.twin.queue(second, octets, at));
                for kind in first.kinds().chain(duplicate.iter().flat_map(Passage::kinds)) {
                    self.truth.impaired[kind.index()] += 1;
                }
                let copies = u64::from(duplicate.is_some());
                self.truth.impaired[ImpairmentKind::Duplicate.index()] += copies;
                [Some(first), duplicate]
            }
        }
    }

    /// Releases the held replies that are due at `at`.
    pub(crate) fn release(&mut self, at: Mono) -> Vec<Parcel> {
        let mut left = Vec::new();
        let metrics = &self.metrics;
        self.reflector.release(at, |OutgoingReply { route, payload }| {
            count_reply(metrics, &route);
            left.push(payload.to_vec());
        });
        let leaving = left.into_iter().map(|payload| {
            let ((due, _), reply) = self.held.pop_first().expect("it was held");
            assert!(due <= at, "a held reply leaves when it is due");
            Parcel { payload, ..reply }
        });
        let leaving = leaving.collect();
        assert_eq!(self.next_due(), self.held.keys().next().map(|(due, _)| *due));
        leaving
    }

    /// When the next held reply is due.
    pub(crate) fn next_due(&self) -> Option<Mono> {
        self.reflector.next_due()
    }

    /// Checks the responder's counts against the expected ones, and returns them.
    pub(crate) fn counts(&self) -> &Counts {
        let metrics = &self.metrics;
        let counted = Counts {
            received: by_protocol(metrics, ResponderMetrics::received_count),
            replied: by_protocol(metrics, ResponderMetrics::replied_count),
            dropped: std::array::from_fn(|n| metrics.dropped_count(DropReason::ALL[n])),
            impaired: std::array::from_fn(|n| metrics.impaired_count(ImpairmentKind::ALL[n])),
        };
        assert_eq!(counted, self.truth, "counted by the responder at {}", self.address);
        &self.truth
    }
}

/// A counter by protocol name, without protocols for which it is 0.
fn by_protocol(
    metrics: &ResponderMetrics,
    count: fn(&ResponderMetrics, Protocol) -> u64,
) -> BTreeMap<&'static str, u64> {
    let counts =
        wire::reflecting().map(|(protocol, _)| (protocol.name(), count(metrics, protocol)));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Counts a reply that leaves, as the caller of a reflector must.
fn count_reply(metrics: &ResponderMetrics, route: &ReplyRoute) {
    if !route.duplicate {
        metrics.replied(route.protocol);
    }
}

/// A socket of the probe, as a responder of this address sees it.
fn sender(responder: SocketAddr, port: u16) -> SocketAddr {
    let ip = match responder {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
    };
    SocketAddr::new(ip, port)
}
