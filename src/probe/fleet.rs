//! All the targets of one worker, and the way of a heartbeat through them: pure.
//!
//! Moments, addresses and datagrams enter; heartbeats to be sent, and [`Event`]s, leave. A
//! [`Fleet`] keeps the agenda (which target has to be looked at when), finds the target that a
//! datagram is for, and hands everything to the [`Session`]s. It reads no clock and owns no
//! socket: [`Worker`](super::worker::Worker) drives it on the real network, and a simulation may
//! drive it on any other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Host, Target};
use crate::model::{
    Arrival, IcmpKind, Label, Mono, Stamp, State, UnmatchedReason, UnsentReason, Wall, nanos,
};
use crate::observe::{Diagnosis, Evidence, TargetGlance, TargetLook, TargetSample, diagnose};
use crate::session::{Answered, Buckets, Histogram, Record, Session, Settings};
use crate::wire::{Protocol, Request};

use super::phase;
use super::routes::{Delivery, Member, Route, Routes};

/// How long the probe calls itself impaired after it was: longer than scrapes are usually apart.
const IMPAIRED_FOR: Duration = Duration::from_secs(60);

/// A heartbeat that leaves later than this after it was due is a sign that the probe is impaired.
const IMPAIRING_LAG: Duration = Duration::from_millis(100);

/// The targets of one worker.
#[derive(Debug)]
pub struct Fleet {
    watched: Vec<Watched>,
    routes: Routes,
    /// When to look at which target next: exactly one entry for each, unless it has ended.
    agenda: BinaryHeap<Reverse<(Mono, Member)>>,
    buckets: FleetBuckets,
    lag: Histogram,
    unmatched: [u64; UnmatchedReason::COUNT],
    impaired_until: Option<Mono>,
    detail: Detail,
    events: VecDeque<Event>,
    /// Targets that have not shown yet whether they answer.
    unready: Vec<Member>,
}

/// One target, where it is, and its life.
#[derive(Debug)]
struct Watched {
    target: Arc<Target>,
    session: Session,
    route: Option<Route>,
    /// The route before the last change of address: answers may still come that way.
    former: Option<Box<Route>>,
    resolution: Resolution,
    address_changes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolution {
    Pending,
    Failed,
    Succeeded,
}

#[derive(Debug, Clone)]
struct FleetBuckets {
    rtt: Arc<Buckets>,
    loss_bursts: Arc<Buckets>,
}

/// How much a fleet tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Changes of state alone.
    Changes,
    /// What becomes of every heartbeat.
    Heartbeats,
}

/// Something that happened to a target.
#[derive(Debug, Clone)]
pub struct Event {
    /// Whom it happened to.
    pub target: Arc<Target>,
    /// When.
    pub at: Wall,
    /// What happened.
    pub what: Happening,
    /// What explains a change of the verdict; `None` for anything else.
    pub evidence: Option<Evidence>,
}

impl Event {
    /// Why the target is in trouble at a change of its verdict; `None` where there is nothing to
    /// explain.
    #[must_use]
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        diagnose(&self.target, self.evidence.as_ref()?)
    }
}

/// What happened to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The verdict changed.
    Changed {
        /// The new verdict.
        state: State,
        /// Misses in a row that led to it.
        misses: u64,
    },
    /// A reply came; `ttl` is its hop limit, where the kernel tells it.
    Answered {
        /// What the reply was.
        what: Answered,
        /// The hop limit it arrived with.
        ttl: Option<u8>,
    },
    /// A heartbeat was not answered within the timeout.
    Lost {
        /// Its number.
        sequence: u64,
    },
    /// A heartbeat could not leave.
    Unsent {
        /// Its number.
        sequence: u64,
        /// Why.
        reason: UnsentReason,
    },
    /// An ICMP error came back.
    Icmp(IcmpKind),
}

/// A heartbeat to be sent: encode it, send it, and tell the fleet what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Transmit {
    /// To be given back to [`Fleet::handle_sent`] or [`Fleet::handle_unsent`].
    pub ticket: Ticket,
    /// Where to.
    pub peer: SocketAddr,
    /// How it is encoded.
    pub protocol: &'static dyn Protocol,
    session: u32,
}

/// Which heartbeat of which target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    member: Member,
    sequence: u64,
    due: Mono,
}

impl Ticket {
    /// A ticket as the fleet gives it out.
    #[cfg(test)]
    pub(super) fn new(member: u32, sequence: u64, due: Mono) -> Self {
        Self { member: Member(member), sequence, due }
    }
}

impl Transmit {
    /// What the heartbeat says if it leaves at `at`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the wire carries the low 32 bits")]
    pub fn request(&self, at: Wall) -> Request {
        Request::new(self.session, self.ticket.sequence as u32, at)
    }
}

impl Fleet {
    /// A fleet without targets, whose delays are counted in the buckets with these bounds, in
    /// seconds.
    #[must_use]
    pub fn new(rtt_buckets: &[f64], detail: Detail) -> Self {
        let lag = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0, 10.0];
        Self {
            watched: Vec::new(),
            routes: Routes::default(),
            agenda: BinaryHeap::new(),
            buckets: FleetBuckets {
                rtt: Arc::new(Buckets::from_seconds(rtt_buckets)),
                loss_bursts: Arc::new(Buckets::from_counts(&[1, 2, 3, 5, 10, 20, 50, 100, 1000])),
            },
            lag: Histogram::new(Arc::new(Buckets::from_seconds(&lag))),
            unmatched: [0; UnmatchedReason::COUNT],
            impaired_until: None,
            detail,
            events: VecDeque::new(),
            unready: Vec::new(),
        }
    }

    /// Adds a target, and gives its number: the first has 0. Its heartbeats begin at `start`, plus
    /// a part of its interval that depends on its name, so that many targets are no burst.
    pub fn add(&mut self, target: Arc<Target>, start: Mono) -> u32 {
        let first = start + phase(&target.name, target.interval);
        self.add_from(target, first)
    }

    /// Adds a target whose heartbeats begin at `first`, and gives its number.
    pub fn add_from(&mut self, target: Arc<Target>, first: Mono) -> u32 {
        let number = u32::try_from(self.watched.len()).unwrap_or(u32::MAX);
        let member = Member(number);
        let settings = Settings {
            protocol: target.protocol,
            interval: target.interval,
            timeout: target.timeout,
            misses: target.misses,
            recoveries: target.recoveries,
            recorder: target.recorder,
        };
        let record = Record::new(self.buckets.rtt.clone(), self.buckets.loss_bursts.clone());
        self.watched.push(Watched {
            session: Session::new(&settings, record, first),
            target,
            route: None,
            former: None,
            resolution: Resolution::Pending,
            address_changes: 0,
        });
        self.agenda.push(Reverse((first, member)));
        self.unready.push(member);
        if let Host::Ip(ip) = self.watched[member.index()].target.address.host {
            self.handle_resolved(number, &[SocketAddr::new(ip, 0)]);
        }
        number
    }

    /// Every target stops once this many of its heartbeats have fallen due.
    pub fn limit(&mut self, heartbeats: u64) {
        for watched in &mut self.watched {
            watched.session.limit(heartbeats);
        }
    }

    /// Nothing more falls due; what is in flight is still waited for.
    pub fn stop(&mut self) {
        for watched in &mut self.watched {
            watched.session.stop();
        }
        let wakes = (0..).map(Member).zip(&self.watched).filter_map(|(member, watched)| {
            watched.session.poll_timeout().map(|at| Reverse((at, member)))
        });
        self.agenda = wakes.collect();
    }

    /// Whether nothing more falls due and all is settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.watched.iter().all(|watched| watched.session.poll_timeout().is_none())
    }

    /// When to come back at the latest; `None` if never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.agenda.peek().map(|Reverse((at, _))| *at)
    }

    /// Settles what has waited for its whole timeout at `now`, and gives the next heartbeat that is
    /// due, until there is none.
    ///
    /// To be called once everything has been handed in that arrived until `now`.
    pub fn poll_transmit(&mut self, now: Stamp) -> Option<Transmit> {
        loop {
            let &Reverse((at, member)) = self.agenda.peek()?;
            if at > now.mono {
                return None;
            }
            self.agenda.pop();
            self.expire(member, now);
            let watched = &mut self.watched[member.index()];
            let skipped = watched.session.skipped();
            let due = watched.session.poll_transmit(now);
            if watched.session.skipped() > skipped {
                self.impaired_until = Some(now.mono + IMPAIRED_FOR);
            }
            self.note_change(member, now);
            let Some(due) = due else {
                self.reschedule(member);
                continue;
            };
            let watched = &self.watched[member.index()];
            let ticket = Ticket { member, sequence: due.sequence, due: due.at };
            match watched.route {
                Some(Route { peer, session }) => {
                    // Not the target's, which lies elsewhere in memory and is not needed else.
                    let protocol = watched.session.protocol();
                    return Some(Transmit { ticket, peer, protocol, session });
                }
                None => self.handle_unsent(ticket, watched.unsent_without_route(), now),
            }
        }
    }

    /// The heartbeat left at `at`, which is also what it carries as t1.
    pub fn handle_sent(&mut self, ticket: Ticket, at: Stamp) {
        let lag = at.mono.since(ticket.due);
        self.lag.observe(nanos(lag));
        if lag > IMPAIRING_LAG {
            self.impaired_until = Some(at.mono + IMPAIRED_FOR);
        }
        self.watched[ticket.member.index()].session.handle_sent(at);
        self.reschedule(ticket.member);
    }

    /// The heartbeat could not leave.
    pub fn handle_unsent(&mut self, ticket: Ticket, reason: UnsentReason, now: Stamp) {
        let Ticket { member, sequence, .. } = ticket;
        self.watched[member.index()].session.handle_unsent(reason, now);
        self.note(member, now.wall, || Happening::Unsent { sequence, reason });
        self.note_change(member, now);
        self.reschedule(member);
    }

    /// The kernel says when a heartbeat that was sent was handed to the device.
    pub fn handle_transmitted(&mut self, ticket: Ticket, at: Wall) {
        self.watched[ticket.member.index()].session.handle_transmitted(ticket.sequence, at);
    }

    /// A datagram came from `peer`.
    pub fn handle_datagram(&mut self, peer: SocketAddr, datagram: &[u8], arrival: &Arrival) {
        let (member, what) = match self.routes.deliver(peer, datagram) {
            Delivery::Reply(member, reply) => {
                (member, self.watched[member.index()].session.handle_reply(&reply, arrival))
            }
            Delivery::Invalid(member, reason) => (
                member,
                self.watched[member.index()].session.handle_invalid(reason, arrival.read.wall),
            ),
            Delivery::Unmatched(reason) => {
                self.unmatched[reason.index()] += 1;
                return;
            }
        };
        let ttl = arrival.ttl;
        self.note(member, arrival.read.wall, || Happening::Answered { what, ttl });
        self.note_change(member, arrival.read);
    }

    /// A datagram came from `peer` that is longer than any reply.
    pub fn handle_oversized(&mut self, peer: SocketAddr, arrival: &Arrival) {
        // No protocol decodes what is empty, so this finds the target and calls it malformed.
        self.handle_datagram(peer, &[], arrival);
    }

    /// An ICMP error came back about a heartbeat that was sent to `peer`, and quotes as much of it
    /// as its sender cared to: it explains for the target whose heartbeat that was.
    pub fn handle_icmp(&mut self, peer: SocketAddr, quote: &[u8], kind: IcmpKind, now: Stamp) {
        match self.routes.return_to(peer, quote) {
            Ok(member) => {
                self.watched[member.index()].session.handle_icmp(kind, now.wall);
                self.note(member, now.wall, || Happening::Icmp(kind));
            }
            Err(reason) => self.unmatched[reason.index()] += 1,
        }
    }

    /// The kernel dropped datagrams on the probe's own sockets.
    pub fn handle_drops(&mut self, now: Mono) {
        self.impaired_until = Some(now + IMPAIRED_FOR);
    }

    /// The name of target `number` was looked up: its addresses in order of preference, whatever
    /// their ports; none where that failed.
    ///
    /// The address in use stays in use while it is among them, and while lookups fail.
    pub fn handle_resolved(&mut self, number: u32, found: &[SocketAddr]) {
        let member = Member(number);
        let Some(watched) = self.watched.get_mut(member.index()) else { return };
        let current = watched.route.map(|route| route.peer.ip());
        let kept = found.iter().find(|address| Some(address.ip()) == current);
        let Some(&(mut peer)) = kept.or(found.first()) else {
            watched.resolution = Resolution::Failed;
            return;
        };
        watched.resolution = Resolution::Succeeded;
        peer.set_port(watched.target.address.port);
        let protocol = watched.target.protocol;
        if watched.route.is_some_and(|route| route.peer == peer) {
            return;
        }
        if let Some(former) = watched.former.take() {
            self.routes.remove(*former, protocol);
        }
        watched.address_changes += u64::from(watched.route.is_some());
        watched.former = watched.route.take().map(Box::new);
        watched.route = self.routes.add(member, peer, protocol);
        if watched.route.is_none() {
            tracing::error!(
                target_name = watched.target.name,
                %peer,
                "too many targets share this address; the protocol cannot tell them apart"
            );
        }
    }

    /// The address in use for target `number`.
    #[must_use]
    pub fn address(&self, number: u32) -> Option<SocketAddr> {
        self.watched.get(number as usize)?.route.map(|route| route.peer)
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether every target whose name can be resolved has had its first heartbeat settled.
    ///
    /// Costs nothing once it is so, and little before.
    pub fn poll_ready(&mut self) -> bool {
        while let Some(member) = self.unready.last() {
            let watched = &self.watched[member.index()];
            if watched.resolution != Resolution::Failed && !watched.session.has_settled() {
                return false;
            }
            self.unready.pop();
        }
        true
    }

    /// How many targets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether there is no target.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// The figures of target `number` at `now`; `None` past the last.
    #[must_use]
    pub fn sample(&self, number: usize, now: Mono) -> Option<TargetSample> {
        let watched = self.watched.get(number)?;
        Some(TargetSample {
            target: watched.target.clone(),
            address: watched.route.map(|route| route.peer),
            resolved: watched.resolution == Resolution::Succeeded,
            address_changes: watched.address_changes,
            impaired: self.is_impaired(now),
            session: watched.session.snapshot(now),
        })
    }

    /// Target `number` at a glance at `now`; `None` past the last.
    #[must_use]
    pub fn glance(&self, number: usize, now: Mono) -> Option<TargetGlance> {
        let Watched { target, session, .. } = self.watched.get(number)?;
        Some(TargetGlance { target: target.clone(), glance: session.glance(now) })
    }

    /// Target `number`, looked at closely at `now`; `None` past the last.
    #[must_use]
    pub fn look(&self, number: usize, now: Stamp) -> Option<TargetLook> {
        let session = &self.watched.get(number)?.session;
        Some(TargetLook {
            at: now.wall,
            sample: self.sample(number, now.mono)?,
            glance: session.glance(now.mono),
            recent: session.recent(now.mono),
            changes: session.changes().collect(),
            recording: session.recording(),
        })
    }

    /// How late heartbeats left, in nanoseconds.
    #[must_use]
    pub fn schedule_lag(&self) -> &Histogram {
        &self.lag
    }

    /// Datagrams that belong to no target.
    #[must_use]
    pub fn unmatched(&self) -> [u64; UnmatchedReason::COUNT] {
        self.unmatched
    }

    /// Whether the probe itself could not be believed lately: it was late, or the kernel dropped
    /// datagrams on its sockets.
    #[must_use]
    pub fn is_impaired(&self, now: Mono) -> bool {
        self.impaired_until.is_some_and(|until| now < until)
    }

    fn expire(&mut self, member: Member, now: Stamp) {
        let watched = &mut self.watched[member.index()];
        let (target, events) = (&watched.target, &mut self.events);
        let detail = self.detail;
        watched.session.handle_timeout(now, |sequence| {
            if detail == Detail::Heartbeats {
                let what = Happening::Lost { sequence };
                let (target, at) = (target.clone(), now.wall);
                events.push_back(Event { target, at, what, evidence: None });
            }
        });
    }

    fn reschedule(&mut self, member: Member) {
        if let Some(at) = self.watched[member.index()].session.poll_timeout() {
            self.agenda.push(Reverse((at, member)));
        }
    }

    fn note(&mut self, member: Member, at: Wall, what: impl FnOnce() -> Happening) {
        if self.detail == Detail::Heartbeats {
            let target = self.watched[member.index()].target.clone();
            self.events.push_back(Event { target, at, what: what(), evidence: None });
        }
    }

    fn note_change(&mut self, member: Member, now: Stamp) {
        let impaired = self.is_impaired(now.mono);
        let watched = &mut self.watched[member.index()];
        if let Some(state) = watched.session.poll_change() {
            let what = Happening::Changed { state, misses: watched.session.consecutive_misses() };
            let target = watched.target.clone();
            let evidence = Some(watched.evidence(now, impaired));
            self.events.push_back(Event { target, at: now.wall, what, evidence });
        }
    }
}

impl Watched {
    fn evidence(&self, now: Stamp, impaired: bool) -> Evidence {
        Evidence {
            at: now.wall,
            symptoms: self.session.symptoms(now.mono),
            endpoint: self.route.map(|route| route.peer),
            resolved: self.resolution == Resolution::Succeeded,
            impaired,
        }
    }

    fn unsent_without_route(&self) -> UnsentReason {
        match self.resolution {
            Resolution::Succeeded => UnsentReason::Other,
            Resolution::Pending | Resolution::Failed => UnsentReason::Unresolved,
        }
    }
}

#[cfg(test)]
mod tests;
