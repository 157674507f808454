//! The naive model: what must come of a scenario, told from what was really done and from the
//! definitions alone.
//!
//! Every heartbeat of every target is kept in a plain list, and everything is found by looking
//! through it: no ring, no running sums, no agenda. The model is shown the same rounds as the
//! probe, and knows of each datagram what the links did to it, rather than what its octets say.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use udp_heartbeat::model::{Label, Moment, Mono, UnmatchedReason};
use udp_heartbeat::probe::Family;

use crate::clock::START;
use crate::conditions::Conditions;
use crate::figures::Figures;
use crate::life::{Life, Outcome, Seen};
use crate::scenario::{Foreign, Scenario};
use crate::truth::{Deeds, Delivered, Input, Looks, Order, Returned, Round, Says, Told};

/// How long the probe calls itself impaired.
const IMPAIRED_FOR: Duration = Duration::from_secs(60);

/// A heartbeat that leaves later than this is a sign of that.
const IMPAIRING_LAG: Duration = Duration::from_millis(100);

/// All targets, and the machine.
#[derive(Debug)]
pub(crate) struct Model {
    conditions: Conditions,
    pub(crate) lives: Vec<Life>,
    last_round: Mono,
    is_stopped: bool,
    pub(crate) unmatched: [u64; UnmatchedReason::COUNT],
    /// Dropped datagrams, as the kernel counted them on each socket, and in all.
    reported_drops: [u32; Family::ALL.len()],
    pub(crate) receive_drops: u64,
    /// How late heartbeats left, in nanoseconds.
    pub(crate) lags: Vec<u64>,
    /// When the probe is impaired.
    pub(crate) impaired: Vec<Range<Mono>>,
    /// Targets that have not shown yet whether they answer.
    unready: Vec<usize>,
    /// Whether all have.
    pub(crate) is_ready: bool,
    rtt_buckets: Vec<f64>,
}

impl Model {
    pub(crate) fn new(scenario: &Scenario, firsts: &[Mono]) -> Self {
        let targets = scenario.config.targets.iter().zip(firsts);
        Self {
            conditions: Conditions::new(scenario),
            lives: targets.map(|(target, &first)| Life::new(target.clone(), first)).collect(),
            last_round: START,
            is_stopped: false,
            unmatched: [0; UnmatchedReason::COUNT],
            reported_drops: [0; Family::ALL.len()],
            receive_drops: 0,
            lags: Vec::new(),
            impaired: Vec::new(),
            unready: (0..scenario.config.targets.len()).collect(),
            is_ready: false,
            rtt_buckets: scenario.config.rtt_buckets.clone(),
        }
    }

    /// What must come of a round, and what must have been seen of each target looked at in it.
    pub(crate) fn round(&mut self, round: &Round) -> (Deeds, Looks) {
        let mut looks = Looks::new();
        for order in &round.orders {
            match order {
                Order::Lookup(at, target, found) => {
                    self.check_prompt(*at, round);
                    // What no socket can reach comes last.
                    let reachable =
                        |address: &SocketAddr| self.conditions.has(Family::of(*address));
                    let (mut sorted, others): (Vec<_>, Vec<_>) =
                        found.iter().partition(|&address| reachable(address));
                    sorted.extend(others);
                    self.lives[*target].look_up(&sorted);
                }
                Order::Look(question, targets, at) => {
                    let look = |&n: &usize| (n, self.figures(n, at.mono, &self.rtt_buckets));
                    looks.insert(*question, targets.iter().map(look).collect());
                }
                Order::Stop => self.is_stopped = true,
            }
        }
        let mut told = vec![Vec::new(); self.lives.len()];
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
        for number in 0..self.lives.len() {
            let told = &mut told[number];
            if let Some(deadline) = self.lives[number].expire(round.at, told) {
                self.check_prompt(deadline, round);
            }
            if !self.is_stopped && self.fall_due(number, round, told) {
                sent.push((number, self.lives[number].newest()));
            }
        }
        // Where several rounds are looked at as one, it may be of a heartbeat that left in it.
        for input in &round.inputs {
            if let Input::Transmitted { target, sequence } = input {
                self.lives[*target].transmitted(*sequence);
            }
        }
        self.last_round = round.at.mono;
        while self.unready.pop_if(|number| self.lives[*number].has_shown_itself()).is_some() {}
        self.is_ready = self.unready.is_empty();
        (Deeds { sent, happenings: told }, looks)
    }

    /// Whether no answer is waited for any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_stopped && self.lives.iter().all(Life::is_settled)
    }

    /// What is to be done at `wanted` must not have been left to this round, but for a stall or for
    /// the pause after a busy round.
    fn check_prompt(&self, wanted: Mono, round: &Round) {
        let latest = self.conditions.woken(wanted).max(round.earliest);
        let now = round.began;
        assert!(now <= latest, "the probe was not there at {latest:?} but at {now:?}");
    }

    /// The figures of a target at `now`.
    pub(crate) fn figures(&self, number: usize, now: Mono, rtt_buckets: &[f64]) -> Figures {
        self.lives[number].figures(now, &self.conditions, rtt_buckets)
    }

    /// An ICMP error explains for the one target at its address, or for the one it quotes of several.
    fn explain(&mut self, error: &Returned, now: Moment, told: &mut [Vec<Told>]) {
        let here: Vec<usize> =
            (0..self.lives.len()).filter(|&n| self.lives[n].is_known_at(error.about)).collect();
        match (here.as_slice(), error.target) {
            ([], _) => self.unmatched[UnmatchedReason::UnknownAddress.index()] += 1,
            (&[target], _) => self.lives[target].explain(error.kind, now, &mut told[target]),
            (here, Some(target)) if here.contains(&target) => {
                self.lives[target].explain(error.kind, now, &mut told[target]);
            }
            _ => self.unmatched[UnmatchedReason::UnknownSession.index()] += 1,
        }
    }

    fn arrive(&mut self, arrival: &Delivered, read: Moment, round: &Round, told: &mut [Vec<Told>]) {
        if !matches!(arrival.says, Says::Foreign { .. }) {
            self.check_prompt(arrival.at, round);
        }
        let reported = &mut self.reported_drops[Family::of(arrival.from).index()];
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
            Says::Answer { target, .. }
            | Says::Damaged { target, .. }
            | Says::Unreadable { target } => target,
            Says::Foreign { target, .. } => target.expect("an invalid reply is somebody's"),
        };
        let life = &mut self.lives[target];
        if life.is_known_at(arrival.from) {
            let seen = Seen { arrival, read, last_round: self.last_round };
            life.hear(&seen, &self.conditions, &mut told[target]);
        } else {
            self.unmatched[UnmatchedReason::UnknownAddress.index()] += 1;
        }
    }

    /// What is due in a round, if anything is; whether it is handed to the kernel.
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
