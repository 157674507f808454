//! The naive model: what must come of a scenario, told from what was really done and from the
//! definitions alone.
//!
//! Every heartbeat of every target is kept in a plain list, and everything is found by looking
//! through it: no ring, no running sums, no agenda. The model is shown the same rounds as the
//! probe, and knows of each datagram what the links did to it, rather than what its octets say.

use std::ops::Range;
use std::time::Duration;

use udp_heartbeat::model::{Label, Mono, Stamp, UnmatchedReason, UnsentReason};

use crate::clock::START;
use crate::figures::Figures;
use crate::life::{Life, Seen};
use crate::machine::Machine;
use crate::scenario::{Foreign, Scenario};
use crate::truth::{Deeds, Delivered, Returned, Round, Says, Told};

/// How long the probe calls itself impaired.
const IMPAIRED_FOR: Duration = Duration::from_secs(60);

/// A heartbeat that leaves later than this is a sign of that.
const IMPAIRING_LAG: Duration = Duration::from_millis(100);

/// All targets, and the machine.
#[derive(Debug)]
pub(crate) struct Model {
    machine: Machine,
    pub(crate) lives: Vec<Life>,
    last_round: Mono,
    pub(crate) unmatched: [u64; UnmatchedReason::COUNT],
    /// How late heartbeats left, in nanoseconds.
    pub(crate) lags: Vec<u64>,
    /// When the probe is impaired.
    pub(crate) impaired: Vec<Range<Mono>>,
}

impl Model {
    pub(crate) fn new(scenario: &Scenario, firsts: &[Mono]) -> Self {
        let targets = scenario.config.targets.iter().zip(firsts);
        Self {
            machine: Machine::new(scenario),
            lives: targets.map(|(target, &first)| Life::new(target.clone(), first)).collect(),
            last_round: START,
            unmatched: [0; UnmatchedReason::COUNT],
            lags: Vec::new(),
            impaired: Vec::new(),
        }
    }

    /// What must come of a round.
    pub(crate) fn round(&mut self, round: &Round) -> Deeds {
        let now = round.at.mono;
        let inputs = round.lookups.iter().map(|(at, ..)| *at);
        let inputs = inputs.chain(round.icmp.iter().map(|error| error.at));
        for at in inputs.chain(round.arrivals.iter().map(|arrival| arrival.at)) {
            self.machine.check_prompt(at, now);
        }
        let mut told = vec![Vec::new(); self.lives.len()];
        for (_, target, found) in &round.lookups {
            self.lives[*target].look_up(found);
        }
        for error in &round.icmp {
            self.explain(error, round.at, &mut told);
        }
        for arrival in &round.arrivals {
            self.arrive(arrival, round.at, &mut told);
        }
        let mut sent = Vec::new();
        for number in 0..self.lives.len() {
            let told = &mut told[number];
            self.lives[number].expire(round.at, &self.machine, told);
            if !round.stopped && self.fall_due(number, round.refusals[number], round.at, told) {
                sent.push((number, self.lives[number].newest()));
            }
        }
        self.last_round = now;
        let impaired = self.impaired.iter().any(|window| window.contains(&now));
        Deeds { sent, happenings: told, impaired }
    }

    /// The figures of a target at `now`.
    pub(crate) fn figures(&self, number: usize, now: Mono, rtt_buckets: &[f64]) -> Figures {
        self.lives[number].figures(now, &self.machine, rtt_buckets)
    }

    /// An ICMP error explains for the one target at its address, or for the one it quotes of several.
    fn explain(&mut self, error: &Returned, now: Stamp, told: &mut [Vec<Told>]) {
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

    fn arrive(&mut self, arrival: &Delivered, now: Stamp, told: &mut [Vec<Told>]) {
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
            let seen = Seen { arrival, now, last_round: self.last_round };
            life.hear(&seen, &self.machine, &mut told[target]);
        } else {
            self.unmatched[UnmatchedReason::UnknownAddress.index()] += 1;
        }
    }

    /// What is due at `now`, if anything is; whether it left.
    fn fall_due(
        &mut self,
        number: usize,
        refused: Option<UnsentReason>,
        now: Stamp,
        told: &mut Vec<Told>,
    ) -> bool {
        let Some(due) = self.lives[number].fall_due(refused, now, told) else { return false };
        self.machine.check_prompt(due.at, now.mono);
        let lag = now.mono.since(due.at);
        if due.left {
            self.lags.push(u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX));
        }
        if due.skipped > 0 || (due.left && lag > IMPAIRING_LAG) {
            self.impaired.push(now.mono..now.mono + IMPAIRED_FOR);
        }
        due.left
    }
}
