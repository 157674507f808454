//! All targets of one worker and the life of their heartbeats, without clocks and sockets.
//!
//! A [`Fleet`] takes moments, addresses and datagrams, and gives heartbeats to send and [`Event`]s.
//! It keeps the agenda (when to look at which target), finds the target that a datagram is for, and
//! passes everything to the [`Session`](crate::session::Session)s. A
//! [`Worker`](super::worker::Worker) drives it on the real network or on a simulated one.
//!
//! Targets are identified by their [`TargetId`]s. Only this module and the slab know where a target
//! lies in memory. The identity of a removed target is recognised in every call, and changes
//! nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::ChaCha12Rng;
use rand::{Rng as _, SeedableRng};

use crate::config::{Host, Target};
use crate::model::{
    ClockAccuracy, Found, Moment, Mono, PacketOptions, StampSource, TargetId, UnmatchedReason,
    UnsentReason, Wall, nanos,
};
use crate::observe::{TargetGlance, TargetLook, TargetSample};
use crate::session::{Buckets, Histogram, Record};

use super::event::{Detail, Event, Happening};
use super::health::{Health, Monitor};
use super::named::Named;
use super::placement::{next_on_grid, phase};
use super::routes::{Route, Routes};
use super::slab::Slab;
use super::strays::Strays;
use super::transmit::{Ticket, Transmit};
use super::unrouted::Unrouted;
use super::watched::{NEVER, Resolution, Watched, settings};

mod addresses;
mod arrivals;

/// Maximum number of void entries in the agenda, in addition to one per target.
const VOID_ENTRIES: usize = 1024;

/// The targets of one worker.
#[derive(Debug)]
pub struct Fleet {
    targets: Slab<Watched>,
    routes: Routes,
    unrouted: Unrouted,
    strays: Strays,
    named: Named,
    /// When to look at which target next. At most one entry of each target is valid: the one at its
    /// `wake`.
    agenda: BinaryHeap<Reverse<(Mono, TargetId)>>,
    /// Targets that have a heartbeat due, and since when. They return to the agenda when the
    /// heartbeat has left.
    due: VecDeque<(Mono, TargetId)>,
    /// The maximum number of heartbeats of each target that fall due.
    limit: Option<u64>,
    buckets: FleetBuckets,
    lag: Histogram,
    /// Numbers of round-trip delays by the source of their timestamps; those of removed targets are
    /// included.
    timestamps: [u64; StampSource::COUNT],
    unmatched: [u64; UnmatchedReason::COUNT],
    monitor: Monitor,
    detail: Detail,
    events: VecDeque<Event>,
    /// Targets that may not have had a heartbeat settled yet; `None` once all have.
    unready: Option<Vec<TargetId>>,
    /// Draws the secrets of targets; `None` if all are 0.
    secrets: Option<ChaCha12Rng>,
}

#[derive(Debug, Clone)]
struct FleetBuckets {
    rtt: Arc<Buckets>,
    loss_bursts: Arc<Buckets>,
}

impl Fleet {
    /// A fleet without targets. `rtt_buckets` are the bounds of the buckets for delays, in seconds.
    /// The secrets of targets, from which their first numbers and their IDs come, are drawn from
    /// `seed`, which others must not be able to guess. Without a seed, all secrets are 0: for tests
    /// that know the numbers.
    #[must_use]
    pub fn new(rtt_buckets: &[f64], detail: Detail, seed: Option<u64>) -> Self {
        let lag = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0, 10.0];
        Self {
            targets: Slab::default(),
            routes: Routes::default(),
            unrouted: Unrouted::default(),
            strays: Strays::new(seed.is_some()),
            named: Named::default(),
            agenda: BinaryHeap::new(),
            due: VecDeque::new(),
            limit: None,
            buckets: FleetBuckets {
                rtt: Arc::new(Buckets::from_seconds(rtt_buckets)),
                loss_bursts: Arc::new(Buckets::from_counts(&[1, 2, 3, 5, 10, 20, 50, 100, 1000])),
            },
            lag: Histogram::new(Arc::new(Buckets::from_seconds(&lag))),
            timestamps: [0; StampSource::COUNT],
            unmatched: [0; UnmatchedReason::COUNT],
            monitor: Monitor::default(),
            detail,
            events: VecDeque::new(),
            unready: Some(Vec::new()),
            secrets: seed.map(ChaCha12Rng::seed_from_u64),
        }
    }

    /// Makes room for `additional` targets more.
    pub fn reserve(&mut self, additional: usize) {
        self.targets.reserve(additional);
    }

    /// Adds a target. Its heartbeats begin at `start`, plus a part of its interval that depends on
    /// its name, so that many targets do not send in a burst.
    pub fn add(&mut self, id: TargetId, target: Arc<Target>, start: Mono) {
        let first = start + phase(&target.name, target.interval);
        self.add_from(id, target, first);
    }

    /// Adds a target whose heartbeats begin at `first`. Nothing is added if another target has the
    /// slot.
    pub fn add_from(&mut self, id: TargetId, target: Arc<Target>, first: Mono) {
        let record = Record::new(self.buckets.rtt.clone(), self.buckets.loss_bursts.clone());
        let secret = self.secrets.as_mut().map_or(0, ChaCha12Rng::next_u64);
        let prober = target.protocol.prober(secret);
        let first_number = target.protocol.protocol().first_number(secret);
        let mut watched = Watched::new(target, prober, first_number, record, first);
        if let Some(heartbeats) = self.limit {
            watched.session.limit(heartbeats);
        }
        if let Err(Watched { target, .. }) = self.targets.insert(id, watched) {
            tracing::error!(
                target = target.name.as_str(),
                "cannot add a target: its slot is taken"
            );
            return;
        }
        if let Some(unready) = &mut self.unready {
            unready.push(id);
        }
        let Some(watched) = self.targets.get_mut(id) else { return };
        schedule(&mut self.agenda, id, watched);
        self.strays.add(id, &mut self.targets);
        let Some(watched) = self.targets.get(id) else { return };
        if let Some(name) = watched.target.lookup_name() {
            self.named.add(name, id);
        }
        if let Host::Ip(ip) = watched.target.address.host {
            self.place(id, ip, None);
        }
    }

    /// Removes a target and its counters. Datagrams that still come for it belong to no target.
    pub fn remove(&mut self, id: TargetId, now: Mono) {
        let Some(watched) = self.targets.remove(id) else { return };
        if let Some(name) = watched.target.lookup_name() {
            self.named.remove(name, id);
        }
        self.routes.advance(now);
        self.unrouted.remove(id, watched.session.prober(), &mut self.routes);
        for route in watched.route.into_iter().chain(watched.former.as_deref().copied()) {
            self.routes.retire(id, route, watched.session.prober(), watched.target.timeout);
        }
        self.tidy_agenda();
    }

    /// Gives a target new settings from `now` on. `target` must have the same name and the same
    /// options of its protocol as before. Counters and heartbeats in flight stay.
    ///
    /// `found` is the result of the last lookup of the new host name, `None` if no lookup has ended
    /// yet. If `found` gives no address, a target with a new host name has no
    /// address until [`handle_resolved`](Self::handle_resolved) gives one.
    ///
    /// Must not be called between [`poll_transmit`](Self::poll_transmit) and
    /// [`handle_sent`](Self::handle_sent).
    pub fn retune(
        &mut self,
        id: TargetId,
        target: Arc<Target>,
        found: Option<&Found>,
        now: Moment,
    ) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        debug_assert_eq!(watched.target.name, target.name);
        debug_assert_eq!(watched.target.protocol, target.protocol);
        let next = next_on_grid(now.mono, &target.name, target.interval);
        watched.session.retune(&settings(&target), next);
        let is_moved = watched.target.address != target.address
            || watched.target.resolved_from != target.resolved_from
            || watched.target.admitted_version() != target.admitted_version();
        let is_repaced = watched.target.interval != target.interval;
        watched.has_packet_options = target.packets != PacketOptions::default();
        let before = std::mem::replace(&mut watched.target, target);
        if is_repaced {
            self.targets.disturb();
        }
        if is_moved {
            self.routes.advance(now.mono);
            self.readdress(id, &before, found, now.wall);
        }
        self.schedule(id);
        self.tidy_agenda();
    }

    /// Stops every target when this many of its heartbeats have fallen due. This applies to targets
    /// that are added later as well.
    pub fn limit(&mut self, heartbeats: u64) {
        self.limit = Some(heartbeats);
        for (_, watched) in self.targets.iter_mut() {
            watched.session.limit(heartbeats);
        }
    }

    /// Lets nothing more fall due. Answers to heartbeats in flight are still awaited.
    pub fn stop(&mut self) {
        self.limit(0);
        self.due.clear();
        let wakes = self.targets.iter_mut().filter_map(|(id, watched)| {
            watched.wake = watched.session.poll_timeout().unwrap_or(NEVER);
            (watched.wake != NEVER).then_some(Reverse((watched.wake, id)))
        });
        self.agenda = wakes.collect();
    }

    /// Whether no more heartbeats fall due and all are settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.targets.iter().all(|(_, watched)| watched.session.poll_timeout().is_none())
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) and
    /// [`poll_transmit`](Self::poll_transmit) at the latest; `None` if never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let due = self.due.front().map(|&(at, _)| at);
        let due = due.or_else(|| self.agenda.peek().map(|Reverse((at, _))| *at));
        due.into_iter().chain(self.routes.poll_timeout()).min()
    }

    /// Settles heartbeats whose timeout has expired at `now`, and finds the targets that have a
    /// heartbeat due, for [`poll_transmit`](Self::poll_transmit).
    ///
    /// Call it after handing in everything that arrived until `now`.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.routes.advance(now.mono);
        while let Some(&Reverse((at, id))) = self.agenda.peek() {
            if at > now.mono {
                return;
            }
            self.agenda.pop();
            let Some(watched) = self.targets.get_due(id).filter(|watched| watched.wake == at)
            else {
                continue;
            };
            watched.wake = NEVER;
            let Watched { target, session, trial, detour, .. } = watched;
            let (events, detail) = (&mut self.events, self.detail);
            let (mut is_missing, mut has_failed) = (false, false);
            session.handle_timeout(now, |sequence| {
                is_missing = true;
                has_failed |= trial.missed(sequence, false, target.misses);
                if detail == Detail::Heartbeats {
                    let what = Happening::Lost { sequence };
                    let (target, at) = (target.clone(), now.wall);
                    events.push_back(Event { target, at, what, evidence: None });
                }
                if let Some(why) = detour.as_mut().and_then(|detour| detour.missed(sequence)) {
                    let (target, at) = (target.clone(), now.wall);
                    let what = Happening::PortChanged(why);
                    events.push_back(Event { target, at, what, evidence: None });
                }
            });
            events.extend(watched.change(now, self.monitor.impaired_until()));
            if has_failed {
                watched.want_another(id, &mut self.named);
            }
            match watched.session.poll_timeout() {
                // All expired timeouts are settled, so a new heartbeat is due.
                Some(due) if due <= now.mono => self.due.push_back((due, id)),
                Some(wake) => {
                    watched.wake = wake;
                    self.agenda.push(Reverse((wake, id)));
                }
                None => {}
            }
            if is_missing {
                self.strays.add(id, &mut self.targets);
            }
        }
    }

    /// The next heartbeat that [`handle_timeout`](Self::handle_timeout) found to be due; `None` if
    /// there are no more.
    pub fn poll_transmit(&mut self, now: Moment) -> Option<Transmit> {
        loop {
            let (_, id) = self.due.pop_front()?;
            let Some(watched) = self.targets.get_mut(id) else { continue };
            let skipped = watched.session.skipped();
            let due = watched.session.poll_transmit(now);
            let skipped = watched.session.skipped() - skipped;
            let has_skipped = skipped > 0;
            if has_skipped {
                self.monitor.skipped(skipped, now.mono);
            }
            self.events.extend(watched.change(now, self.monitor.impaired_until()));
            if has_skipped {
                // Heartbeats in flight may have been settled as lost.
                self.strays.add(id, &mut self.targets);
            }
            let Some(watched) = self.targets.get_mut(id) else { continue };
            let Some(due) = due else {
                self.schedule(id);
                continue;
            };
            let ticket = Ticket { id, sequence: due.sequence, due: due.at };
            if let Some(Route { peer, session }) = watched.route {
                let number = watched.session.number(due.sequence);
                let has_packet_options = watched.has_packet_options;
                let port = watched.port(due.sequence, now.mono);
                return Some(Transmit { ticket, peer, session, number, has_packet_options, port });
            }
            let reason = watched.unsent_without_route();
            self.handle_unsent(ticket, reason, now);
        }
    }

    /// Writes the heartbeat that leaves at `at` to `out`. `at` is read from a clock of this accuracy.
    /// `out` is empty and has room for
    /// [`MAX_DATAGRAM`](crate::wire::MAX_DATAGRAM) octets. Nothing is written for a target that has
    /// been removed.
    pub fn encode(
        &self,
        transmit: &Transmit,
        at: Wall,
        accuracy: ClockAccuracy,
        out: &mut Vec<u8>,
    ) {
        if let Some(watched) = self.targets.get(transmit.ticket.id) {
            watched.session.prober().encode(&transmit.request(at, accuracy), out);
        }
    }

    /// How a heartbeat leaves; the default for a target that has been removed.
    #[must_use]
    pub fn packet_options(&self, transmit: &Transmit) -> PacketOptions {
        if !transmit.has_packet_options {
            return PacketOptions::default();
        }
        let watched = self.targets.get(transmit.ticket.id);
        watched.map_or_else(PacketOptions::default, |watched| watched.target.packets)
    }

    /// The timeout of a heartbeat's target; zero for a target that has been removed.
    #[must_use]
    pub fn timeout(&self, transmit: &Transmit) -> Duration {
        let watched = self.targets.get(transmit.ticket.id);
        watched.map_or(Duration::ZERO, |watched| watched.target.timeout)
    }

    /// The heartbeat left at `at`, and carries that moment as t1.
    pub fn handle_sent(&mut self, ticket: Ticket, at: Moment) {
        let Some(watched) = self.targets.get_mut(ticket.id) else { return };
        watched.session.handle_sent(at);
        schedule(&mut self.agenda, ticket.id, watched);
        let lag = at.mono.since(ticket.due);
        self.lag.observe(nanos(lag));
        self.monitor.sent(lag, at.mono);
    }

    /// The heartbeat, which was [sent](Self::handle_sent), left from a fresh port.
    pub fn handle_detoured(&mut self, ticket: Ticket) {
        if let Some(watched) = self.targets.get_mut(ticket.id) {
            watched.session.handle_detoured(ticket.sequence);
        }
    }

    /// The heartbeat could not leave.
    pub fn handle_unsent(&mut self, ticket: Ticket, reason: UnsentReason, now: Moment) {
        let Ticket { id, sequence, .. } = ticket;
        let Some(watched) = self.targets.get_mut(id) else { return };
        watched.session.handle_unsent(reason, now);
        if self.detail == Detail::Heartbeats {
            self.events.push_back(watched.event(now.wall, Happening::Unsent { sequence, reason }));
        }
        self.events.extend(watched.change(now, self.monitor.impaired_until()));
        let misses = watched.target.misses;
        if reason.is_of_address() && watched.trial.missed(sequence, true, misses) {
            watched.want_another(id, &mut self.named);
        }
        schedule(&mut self.agenda, id, watched);
        self.strays.add(id, &mut self.targets);
    }

    /// The kernel reports that it handed a heartbeat to the device at `at`.
    pub fn handle_transmitted(&mut self, ticket: Ticket, at: Wall) {
        if let Some(watched) = self.targets.get_mut(ticket.id) {
            watched.session.handle_transmitted(ticket.sequence, at);
        }
    }

    /// The kernel dropped this many datagrams on the probe's own sockets.
    pub fn handle_drops(&mut self, count: u64, now: Mono) {
        self.monitor.dropped(count, now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether every target that can be resolved has had its first heartbeat settled. Once true, it
    /// stays true when targets are added.
    ///
    /// Cheap enough to be called in every round.
    pub fn poll_ready(&mut self) -> bool {
        while let Some(&id) = self.unready.as_ref().and_then(|unready| unready.last()) {
            if let Some(watched) = self.targets.get(id)
                && !matches!(watched.resolution, Resolution::Failed(_))
                && !watched.session.has_settled()
            {
                return false;
            }
            self.unready.as_mut().and_then(Vec::pop);
        }
        self.unready = None;
        true
    }

    /// How many targets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no target.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.len() == 0
    }

    /// All targets, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = TargetId> {
        self.targets.iter().map(|(id, _)| id)
    }

    /// The slots of all targets are less than this.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.targets.slots()
    }

    /// The target that has this slot. A target keeps its slot until it is removed.
    #[must_use]
    pub fn at_slot(&self, slot: usize) -> Option<TargetId> {
        self.targets.user(slot)
    }

    /// The address in use for a target; `None` if it has no route or has been removed.
    #[must_use]
    pub fn address(&self, id: TargetId) -> Option<SocketAddr> {
        self.targets.get(id)?.route.map(|route| route.peer)
    }

    /// The figures of a target at `now`; `None` if it has been removed.
    #[must_use]
    pub fn sample(&self, id: TargetId, now: Mono) -> Option<TargetSample> {
        let watched = self.targets.get(id)?;
        Some(TargetSample {
            target: watched.target.clone(),
            address: watched.route.map(|route| route.peer),
            resolved: watched.resolution == Resolution::Succeeded,
            lookup_failure: watched.resolution.failure(),
            lookup_failures: watched.lookup_failures.clone(),
            address_changes: watched.address_changes,
            impaired: self.is_impaired(now),
            session: watched.session.snapshot(now),
        })
    }

    /// A target at a glance at `now`; `None` if it has been removed.
    #[must_use]
    pub fn glance(&self, id: TargetId, now: Mono) -> Option<TargetGlance> {
        let Watched { target, session, .. } = self.targets.get(id)?;
        Some(TargetGlance { target: target.clone(), glance: session.glance(now) })
    }

    /// The details of a target at `now`; `None` if it has been removed.
    #[must_use]
    pub fn look(&self, id: TargetId, now: Moment) -> Option<TargetLook> {
        let session = &self.targets.get(id)?.session;
        Some(TargetLook {
            at: now.wall,
            sample: self.sample(id, now.mono)?,
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

    /// Numbers of round-trip delays by the source of their timestamps; those of removed targets are
    /// included.
    #[must_use]
    pub fn timestamps(&self) -> [u64; StampSource::COUNT] {
        self.timestamps
    }

    /// Numbers of datagrams that belong to no target, by reason.
    #[must_use]
    pub fn unmatched(&self) -> [u64; UnmatchedReason::COUNT] {
        self.unmatched
    }

    /// Whether the probe itself is impaired at `now`: within the last minute, it was late, or the
    /// kernel dropped datagrams on its sockets.
    #[must_use]
    pub fn is_impaired(&self, now: Mono) -> bool {
        self.monitor.is_impaired(now)
    }

    /// Whether the probe itself is impaired at `now`, and by what.
    #[must_use]
    pub fn health(&self, now: Mono) -> Health {
        self.monitor.health(now)
    }

    fn schedule(&mut self, id: TargetId) {
        if let Some(watched) = self.targets.get_mut(id) {
            schedule(&mut self.agenda, id, watched);
        }
    }

    /// Limits the number of void entries in the agenda.
    fn tidy_agenda(&mut self) {
        let most = 2 * self.targets.len() + VOID_ENTRIES;
        if self.agenda.len() > most {
            let targets = &self.targets;
            let is_valid = |at, id| targets.get(id).is_some_and(|watched| watched.wake == at);
            self.agenda.retain(|&Reverse((at, id))| is_valid(at, id));
        }
    }
}

/// Puts a target on the agenda, unless its entry has the right moment already.
fn schedule(
    agenda: &mut BinaryHeap<Reverse<(Mono, TargetId)>>,
    id: TargetId,
    watched: &mut Watched,
) {
    let wake = watched.session.poll_timeout().unwrap_or(NEVER);
    if watched.wake != wake {
        watched.wake = wake;
        if wake != NEVER {
            agenda.push(Reverse((wake, id)));
        }
    }
}

#[cfg(test)]
mod tests;
