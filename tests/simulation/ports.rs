//! Which heartbeats of a target must leave from a fresh port, by the definitions.

use std::time::Duration;

use udp_heartbeat::model::Mono;
use udp_heartbeat::probe::PortChange;

const PATIENCE: Duration = Duration::from_secs(10);

/// How long the usual port is silent after it was tried for the first time, and at most.
const SILENCE: Duration = Duration::from_secs(10 * 60);
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The ports of a target at its present address.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// The stay at the address, and how many there were.
    stay: (u64, u64),
    heard: Option<Mono>,
    /// The first heartbeat of the present search.
    search: Option<u64>,
    /// When a fresh port was found, since when all heartbeats leave from there.
    found: Option<Mono>,
    /// The heartbeats that have tried the usual port since it was last used, and when.
    tries: Vec<(u64, Mono)>,
    is_told: bool,
}

impl Ports {
    /// Forgets everything at another address.
    pub(crate) fn at(&mut self, stay: (u64, u64)) {
        if self.stay != stay {
            *self = Self { stay, ..Self::default() };
        }
    }

    /// Whether heartbeat `n` leaves from a fresh port at `now`.
    pub(crate) fn is_fresh(&mut self, n: u64, down_since: Option<Mono>, now: Mono) -> bool {
        let silent_since = down_since.map(|since| self.heard.map_or(since, |at| at.max(since)));
        if self.search.is_none() && silent_since.is_some_and(|since| now.since(since) >= PATIENCE) {
            self.search = Some(n);
            self.found = None;
            self.is_told = false;
        }
        if self.search.is_some() {
            return is_even(n);
        }
        let Some(found) = self.found else { return false };
        let doubled = u32::try_from(self.tries.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let silence = SILENCE.saturating_mul(2_u32.saturating_pow(doubled)).min(LONGEST_SILENCE);
        let last = self.tries.last().map(|(_, at)| *at).filter(|at| *at >= found);
        let is_try = last.is_none_or(|last| now >= last + silence);
        if is_try {
            self.tries.push((n, now));
        }
        !is_try
    }

    /// Heartbeat `n` was answered in time at `now`.
    pub(crate) fn answered(&mut self, n: u64, now: Mono) -> Option<PortChange> {
        self.heard = self.heard.max(Some(now));
        if let Some(first) = self.search {
            if n >= first {
                self.search = None;
                if is_even(n) {
                    self.found = Some(now);
                } else {
                    self.tries.clear();
                }
            }
            return None;
        }
        let found = self.found.filter(|&found| self.has_tried(n, found))?;
        assert!(found <= now);
        self.found = None;
        self.tries.clear();
        std::mem::take(&mut self.is_told).then_some(PortChange::Returned)
    }

    /// Heartbeat `n` was not answered in time.
    pub(crate) fn missed(&mut self, n: u64) -> Option<PortChange> {
        let found = self.found.filter(|_| self.search.is_none() && !self.is_told)?;
        self.is_told = self.has_tried(n, found);
        self.is_told.then_some(PortChange::Detoured)
    }

    fn has_tried(&self, n: u64, found: Mono) -> bool {
        self.tries.last().is_some_and(|&(last, at)| last == n && at >= found)
    }
}

/// Whether the number of ones in the binary form of `n` is even.
fn is_even(n: u64) -> bool {
    format!("{n:b}").bytes().filter(|&digit| digit == b'1').count() % 2 == 0
}
