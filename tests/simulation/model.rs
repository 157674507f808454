//! The naive model: computes what the probe must do in a scenario, from the truth and the
//! definitions alone.
//!
//! Every heartbeat of every target is kept in a plain list, and everything is found by looking
//! through it: no ring, no running sums, no agenda. The model gets the same rounds as the probe. It
//! knows what the links did to each datagram, and does not read its octets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use udp_heartbeat::model::{Label, Moment, Mono, UnmatchedReason};
use udp_heartbeat::probe::{Family, Happening, Move, SourcePort};

use crate::clock::START;
use crate::conditions::Conditions;
use crate::figures::Figures;
use crate::grid;
use crate::life::{Life, Outcome, Seen};
use crate::scenario::{Foreign, Scenario};
use crate::truth::{
    Change, Deeds, Delivered, Happenings, Input, Looks, Order, Returned, Round, Says, Told,
};

/// How long the probe counts as impaired after an incident.
const IMPAIRED_FOR: Duration = Duration::from_secs(60);

/// The probe is impaired if a heartbeat leaves later than this after it was due.
const IMPAIRING_LAG: Duration = Duration::from_millis(100);

/// How long it takes to carry out a change, by the worker's own estimate: the heartbeats of new
/// targets begin once all changes should have been carried out.
const CHANGING: Duration = Duration::from_micros(10);

/// All targets, and the machine.
#[derive(Debug)]
pub(crate) struct Model {
    conditions: Conditions,
    /// By target number, including removed targets.
    pub(crate) lives: Vec<Life>,
    /// The numbers of the present targets, in order.
    there: BTreeSet<usize>,
    /// When the heartbeats of new targets begin; the phase of each is added.
    start: Mono,
    /// How many changes are left to be carried out; `None` before the first batch.
    changes_left: Option<usize>,
    last_round: Mono,
    is_stopped: bool,
    pub(crate) unmatched: [u64; UnmatchedReason::COUNT],
    /// Dropped datagrams: the last count of each socket, and the total.
    reported_drops: BTreeMap<(Family, u16), u32>,
    pub(crate) receive_drops: u64,
    /// How late heartbeats left, in nanoseconds.
    pub(crate) lags: Vec<u64>,
    /// When the probe is impaired.
    pub(crate) impaired: Vec<Range<Mono>>,
    /// Targets that may still keep the probe from being ready; see [`Life::has_shown_itself`].
    unready: Vec<usize>,
    /// Whether the probe is ready.
    pub(crate) is_ready: bool,
    /// Names that are to be looked up at once, and have not been looked up since.
    wanted: BTreeSet<String>,
    /// Targets that try another address in the next round.
    pub(crate) moving: Vec<usize>,
    rtt_buckets: Vec<f64>,
}

impl Model {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            conditions: Conditions::new(scenario),
            lives: Vec::new(),
            there: BTreeSet::new(),
            start: START,
            changes_left: None,
            last_round: START,
            is_stopped: false,
            unmatched: [0; UnmatchedReason::COUNT],
            reported_drops: BTreeMap::new(),
            receive_drops: 0,
            lags: Vec::new(),
            impaired: Vec::new(),
            unready: Vec::new(),
            is_ready: false,
            wanted: BTreeSet::new(),
            moving: Vec::new(),
            rtt_buckets: scenario.config.rtt_buckets.clone(),
        }
    }

    /// What the probe must do in a round, and what each look in the round must show.
    pub(crate) fn round(&mut self, round: &Round) -> (Deeds, Looks) {
        let mut looks = Looks::new();
        let mut told = Happenings::new();
        for order in &round.orders {
            match order {
                Order::Apply { at, begun, count } => {
                    self.check_prompt(*at, round);
                    let count = u32::try_from(*count).unwrap_or(u32::MAX);
                    self.start = *begun + CHANGING * count;
                    self.changes_left = usize::try_from(count).ok();
                }
                Order::Change(change) => {
                    self.change(change, round, &mut told);
                    let lives = &self.lives;
                    self.wanted.retain(|name| {
                        lives.iter().any(|life| !life.has_gone && life.is_called(name))
                    });
                }
                Order::Lookup { at, name, found } => {
                    self.check_prompt(*at, round);
                    self.wanted.remove(name);
                    for number in self.there.clone() {
                        if self.lives[number].is_called(name) {
                            self.relocate(number, round, &mut told, |life, conditions| {
                                life.look_up(found, conditions);
                            });
                        }
                    }
                }
                Order::Move(number) => {
                    if self.there.contains(number) {
                        self.relocate(*number, round, &mut told, Life::try_another);
                    }
                }
                Order::Look(question, targets, at) => {
                    let look = |&n: &usize| (n, self.figures(n, at.mono));
                    looks.insert(*question, targets.iter().map(look).collect());
                }
                Order::Stop => self.is_stopped = true,
            }
        }
        for input in &round.inputs {
            match input {
                Input::Transmitted { target, sequence } => {
                    self.lives[*target].transmitted(*sequence);
                }
                Input::Icmp(error) => self.explain(error, round.at, &mut told),
                Input::Arrival(arrival, read) => self.arrive(arrival, *read, round, &mut told),
            }
        }
        let mut sent = Vec::new();
        for number in self.there.clone() {
            let mut more = Vec::new();
            if let Some(deadline) = self.lives[number].expire(round.at, &mut more) {
                self.check_prompt(deadline, round);
            }
            if !self.is_stopped && self.fall_due(number, round, &mut more) {
                sent.push((number, self.lives[number].newest()));
            }
            if !more.is_empty() {
                told.entry(number).or_default().extend(more);
            }
        }
        // If several rounds are checked as one, a timestamp may be of a heartbeat that left in
        // them.
        for input in &round.inputs {
            if let Input::Transmitted { target, sequence } = input {
                self.lives[*target].transmitted(*sequence);
            }
        }
        self.last_round = round.at.mono;
        // A probe that stops does not become ready.
        if !self.is_ready && !self.is_stopped && self.changes_left == Some(0) {
            while self.unready.pop_if(|number| self.lives[*number].has_shown_itself()).is_some() {}
            self.is_ready = self.unready.is_empty();
        }
        (Deeds { sent, happenings: told, lookups: self.look_up() }, looks)
    }

    /// The names that are to be looked up at once, because an address has failed in this round, and
    /// that were not to be looked up already. Notes the targets that will try another address.
    fn look_up(&mut self) -> Vec<String> {
        self.moving = Vec::new();
        let mut lookups = Vec::new();
        for &number in &self.there {
            let life = &mut self.lives[number];
            if std::mem::take(&mut life.wants_another) {
                self.moving.push(number);
                if self.wanted.insert(life.host()) {
                    lookups.push(life.host());
                }
            }
        }
        lookups.sort();
        lookups
    }

    /// Changes where the heartbeats of a target go, and notes it if they go from one address to
    /// another.
    fn relocate(
        &mut self,
        number: usize,
        round: &Round,
        told: &mut Happenings,
        change: impl FnOnce(&mut Life, &Conditions),
    ) {
        let life = &mut self.lives[number];
        let host = life.host();
        let before = life.whereabouts.present;
        let has_failed = life.whereabouts.has_failed();
        change(life, &self.conditions);
        let has_failed = has_failed && life.host() == host;
        if let (Some(before), Some(after)) = (before, life.whereabouts.present)
            && before.address != after.address
        {
            let why = if has_failed { Move::Failed } else { Move::Changed };
            let (from, to) = (before.address, after.address);
            let moved = Happening::Moved { from, to, why };
            told.entry(number).or_default().push((round.at.wall, moved));
        }
    }

    /// Whether sending has stopped and no heartbeat is in flight.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_stopped && self.lives.iter().all(Life::is_settled)
    }

    /// Checks that what was to be done at `wanted` was not done late, except for a stall or the
    /// pause after a busy round.
    fn check_prompt(&self, wanted: Mono, round: &Round) {
        let latest = self.conditions.woken(wanted).max(round.earliest);
        let now = round.began;
        assert!(now <= latest, "the probe was not there at {latest:?} but at {now:?}");
    }

    /// The figures of a target at `now`; `None` if it has been removed.
    pub(crate) fn figures(&self, number: usize, now: Mono) -> Option<Figures> {
        let life = &self.lives[number];
        (!life.has_gone).then(|| life.figures(now, &self.rtt_buckets))
    }

    /// Adds, removes or retunes a target.
    fn change(&mut self, change: &Change, round: &Round, told: &mut Happenings) {
        self.changes_left = self.changes_left.map(|left| left - 1);
        let now = round.at.mono;
        match change {
            Change::Add { number, target, found } => {
                assert_eq!(*number, self.lives.len());
                let first = self.start + grid::phase(target);
                let found = found.as_deref();
                self.lives.push(Life::new(target.clone(), found, first, &self.conditions));
                self.there.insert(*number);
                self.unready.push(*number);
            }
            Change::Remove { number } => {
                self.lives[*number].has_gone = true;
                self.there.remove(number);
            }
            Change::Retune { number, target, found } => {
                let (target, found) = (target.clone(), found.as_deref());
                self.relocate(*number, round, told, |life, conditions| {
                    life.retune(target, found, now, conditions);
                });
            }
        }
    }

    /// The present targets to which an answer from `address` may belong.
    fn at(&self, address: SocketAddr) -> Vec<usize> {
        self.there.iter().copied().filter(|&n| self.is_at(n, address)).collect()
    }

    /// Counts a datagram or ICMP error from this address that belongs to no target: for this reason
    /// if there are targets.
    fn count_unmatched(&mut self, from: SocketAddr, reason: UnmatchedReason) {
        let is_empty = self.at(from).is_empty();
        let reason = if is_empty { UnmatchedReason::UnknownAddress } else { reason };
        self.unmatched[reason.index()] += 1;
    }

    /// An ICMP error counts for the target whose heartbeat it quotes, as long as an answer to that
    /// heartbeat would count as well and has not come. An error that quotes nothing counts for the
    /// only target at its address, if an answer to its newest heartbeat has not come.
    fn explain(&mut self, error: &Returned, now: Moment, told: &mut Happenings) {
        let here = self.at(error.about);
        let target = match (here.as_slice(), error.quoted) {
            (_, Some((target, sequence))) => {
                let life = &self.lives[target];
                (life.expects(sequence) && life.is_unanswered(sequence)).then_some(target)
            }
            (&[target], None) => self.lives[target].is_newest_unanswered().then_some(target),
            _ => None,
        };
        match target {
            Some(target) => {
                self.lives[target].explain(error.kind, now, told.entry(target).or_default());
            }
            None => self.count_unmatched(error.about, UnmatchedReason::UnknownHeartbeat),
        }
    }

    fn arrive(&mut self, arrival: &Delivered, read: Moment, round: &Round, told: &mut Happenings) {
        if !matches!(arrival.says, Says::Foreign { .. }) {
            self.check_prompt(arrival.at, round);
        }
        let socket = (Family::of(arrival.from), arrival.to);
        let reported = self.reported_drops.entry(socket).or_default();
        if let Some(drops) = arrival.drops
            && drops > *reported
        {
            self.receive_drops += u64::from(drops - *reported);
            *reported = drops;
            self.impaired.push(round.at.mono..round.at.mono + IMPAIRED_FOR);
        }
        let target = match arrival.says {
            Says::Foreign { counts_as: Foreign::Unmatched(reason), .. } => {
                self.unmatched[reason.index()] += 1;
                return;
            }
            Says::Elsewhere { target, sequence } => {
                let life = &mut self.lives[target];
                let mut more = Vec::new();
                if life.explain_by_other_source(sequence, arrival.from, read, &mut more) {
                    told.entry(target).or_default().extend(more);
                } else {
                    assert!(self.at(arrival.from).is_empty(), "no scenario may confuse targets");
                    self.unmatched[UnmatchedReason::UnknownAddress.index()] += 1;
                }
                return;
            }
            Says::Answer { target, sequence, .. } => {
                self.lives[target].expects(sequence).then_some(target)
            }
            Says::Damaged { target, .. } | Says::Unreadable { target } => {
                self.is_at(target, arrival.from).then_some(target)
            }
            Says::Foreign { target, .. } => {
                // If the intended target has left the address, the datagram counts for the only
                // target there.
                let here = self.at(arrival.from);
                let only = if let [only] = here.as_slice() { Some(*only) } else { None };
                target.filter(|&target| self.is_at(target, arrival.from)).or(only)
            }
        };
        let Some(target) = target else {
            self.count_unmatched(arrival.from, UnmatchedReason::UnknownSession);
            return;
        };
        let seen = Seen { arrival, read, last_round: self.last_round };
        self.lives[target].hear(&seen, &self.conditions, told.entry(target).or_default());
    }

    /// Whether a target is present and has or had this address; false before it is added.
    fn is_at(&self, target: usize, address: SocketAddr) -> bool {
        let life = self.lives.get(target);
        life.is_some_and(|life| !life.has_gone && life.whereabouts.is_at(address))
    }

    /// Handles a target's heartbeat that is due in a round, if there is one. Returns whether the
    /// heartbeat is handed to the kernel.
    fn fall_due(&mut self, number: usize, round: &Round, told: &mut Vec<Told>) -> bool {
        let mut attempts = round.attempts.iter().filter(|attempt| attempt.target == number);
        let attempt = attempts.next();
        let outcome = Outcome {
            refused: attempt.and_then(|attempt| attempt.refused),
            leaving: attempt.map_or(round.leaving, |attempt| attempt.leaving),
        };
        let life = &mut self.lives[number];
        let Some(due) = life.fall_due(&outcome, round.at, &self.conditions, told) else {
            return false;
        };
        if let Some(attempt) = attempt {
            let is_fresh = attempt.port != SourcePort::Usual;
            assert_eq!(is_fresh, due.is_fresh, "the port of heartbeat {}", attempt.sequence);
        }
        self.check_prompt(due.at, round);
        let lag = outcome.leaving.mono.since(due.at);
        if due.left {
            self.lags.push(u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX));
        }
        if due.skipped > 0 {
            self.impaired.push(round.at.mono..round.at.mono + IMPAIRED_FOR);
        }
        if due.left && lag > IMPAIRING_LAG {
            self.impaired.push(outcome.leaving.mono..outcome.leaving.mono + IMPAIRED_FOR);
        }
        due.handed_over
    }
}
