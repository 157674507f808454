//! The verdict on a target, up or down, from the outcomes of its heartbeats.
//!
//! A target is down when `misses` consecutive heartbeats newer than the newest answered one are
//! misses. It is up again after `recoveries` consecutive answers if that condition no longer holds;
//! the first verdict needs only one answer. A skipped heartbeat is the probe's fault: it neither
//! extends nor ends a run of misses. A late reply is not an answer.

use crate::model::State;

use super::ledger::{Ledger, OutcomeKind};

/// The verdict on one target and the counts behind it.
#[derive(Debug)]
pub(super) struct Liveness {
    misses: u64,
    recoveries: u32,
    state: Option<State>,
    /// Answers in a row.
    answers: u32,
    /// The first heartbeat newer than the newest answered one.
    unanswered: u64,
    /// Every heartbeat from `unanswered` up to this one, exclusive, is a miss or skipped.
    run_end: u64,
    /// The misses among them.
    run: u64,
    /// There are misses beyond `run_end`, after heartbeats that are still in flight: an unsent
    /// heartbeat is settled at once, and a late reply may arrive before older timeouts are settled.
    stray: bool,
}

impl Liveness {
    pub(super) fn new(misses: u32, recoveries: u32) -> Self {
        Self {
            misses: misses.max(1).into(),
            recoveries: recoveries.max(1),
            state: None,
            answers: 0,
            unanswered: 0,
            run_end: 0,
            run: 0,
            stray: false,
        }
    }

    /// Applies new settings from the next settled heartbeat on. The verdict stays until then.
    pub(super) fn retune(&mut self, misses: u32, recoveries: u32) {
        self.misses = misses.max(1).into();
        self.recoveries = recoveries.max(1);
    }

    /// The verdict; `None` before the first.
    pub(super) fn state(&self) -> Option<State> {
        self.state
    }

    /// Consecutive misses before the target is down.
    pub(super) fn needed_misses(&self) -> u64 {
        self.misses
    }

    /// Consecutive answers.
    pub(super) fn answers(&self) -> u32 {
        self.answers
    }

    /// The first heartbeat newer than the newest answered one.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// The longest run of consecutive misses newer than the newest answered heartbeat.
    pub(super) fn consecutive_misses(&self, ledger: &Ledger) -> u64 {
        if self.stray { self.run.max(self.longest_stray_run(ledger)) } else { self.run }
    }

    /// Handles an answer in time to heartbeat `sequence`. Returns the verdict if it changes.
    pub(super) fn answered(&mut self, sequence: u64, ledger: &Ledger) -> Option<State> {
        if sequence < self.unanswered {
            return None;
        }
        self.unanswered = sequence + 1;
        self.run_end = self.unanswered;
        self.run = 0;
        self.extend_run(ledger);
        self.answers = self.answers.saturating_add(1);
        match self.state {
            Some(State::Up) => None,
            Some(State::Down) if self.answers < self.recoveries => None,
            Some(State::Down) if self.consecutive_misses(ledger) >= self.misses => None,
            Some(State::Down) | None => self.change(State::Up),
        }
    }

    /// Handles heartbeat `sequence`, settled as a miss. Returns the verdict if it changes.
    pub(super) fn missed(&mut self, sequence: u64, ledger: &Ledger) -> Option<State> {
        if sequence < self.unanswered {
            return None;
        }
        self.answers = 0;
        self.extend_run(ledger);
        self.stray |= sequence >= self.run_end;
        if self.state == Some(State::Down) || self.consecutive_misses(ledger) < self.misses {
            return None;
        }
        self.change(State::Down)
    }

    #[expect(clippy::unnecessary_wraps, reason = "callers return the value as it is")]
    fn change(&mut self, to: State) -> Option<State> {
        self.state = Some(to);
        Some(to)
    }

    /// Extends the run by the settled heartbeats that follow it directly.
    fn extend_run(&mut self, ledger: &Ledger) {
        // Heartbeats that are forgotten before the run reaches them were skipped.
        self.run_end = self.run_end.max(ledger.first_remembered());
        while self.run_end < ledger.next() {
            let outcome = ledger.outcome(self.run_end);
            if !outcome.is_miss() && outcome != OutcomeKind::Skipped {
                break;
            }
            self.run += u64::from(outcome.is_miss());
            self.run_end += 1;
        }
        if self.run_end == ledger.next() {
            self.stray = false;
        }
    }

    /// The longest run of misses beyond `run_end`. Its cost is proportional to the heartbeats in
    /// flight.
    fn longest_stray_run(&self, ledger: &Ledger) -> u64 {
        let mut longest = 0;
        let mut run = 0;
        for sequence in self.run_end..ledger.next() {
            match ledger.outcome(sequence) {
                OutcomeKind::Skipped => {}
                OutcomeKind::InFlight | OutcomeKind::Received => run = 0,
                OutcomeKind::Unsent | OutcomeKind::Lost | OutcomeKind::Late => run += 1,
            }
            longest = longest.max(run);
        }
        longest
    }
}
