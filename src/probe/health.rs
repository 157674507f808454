//! Whether the figures of a worker are reliable, and what has made them unreliable. Pure.

use std::time::Duration;

use crate::model::Mono;

/// How long the probe counts as impaired after an incident: longer than the usual scrape interval.
const IMPAIRED_FOR: Duration = Duration::from_secs(60);

/// The probe is impaired if a heartbeat leaves later than this after it was due.
const IMPAIRING_LAG: Duration = Duration::from_millis(100);

/// Whether the probe is impaired, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Whether the probe is impaired at present.
    pub is_impaired: bool,
    /// What has impaired it since it last became impaired.
    pub incidents: Incidents,
}

/// What has impaired the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Incidents {
    /// Heartbeats that left since then.
    pub sent: u64,
    /// Those of them that left more than 100 ms after they were due.
    pub late: u64,
    /// How late the latest of them left.
    pub worst: Duration,
    /// Heartbeats that were skipped.
    pub skipped: u64,
    /// Datagrams that the kernel dropped on the probe's sockets.
    pub dropped: u64,
}

/// Keeps the [`Health`] of a worker.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    until: Option<Mono>,
    incidents: Incidents,
}

impl Health {
    /// That of several workers together.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let (a, b) = (self.incidents, other.incidents);
        Self {
            is_impaired: self.is_impaired || other.is_impaired,
            incidents: Incidents {
                sent: a.sent + b.sent,
                late: a.late + b.late,
                worst: a.worst.max(b.worst),
                skipped: a.skipped + b.skipped,
                dropped: a.dropped + b.dropped,
            },
        }
    }
}

impl Monitor {
    /// A heartbeat left at `at`, `lag` after it was due.
    pub(super) fn sent(&mut self, lag: Duration, at: Mono) {
        if lag > IMPAIRING_LAG {
            self.impair(at);
            self.incidents.late += 1;
            self.incidents.worst = self.incidents.worst.max(lag);
        }
        self.incidents.sent += u64::from(self.until.is_some());
    }

    /// This many heartbeats were skipped at `now`.
    pub(super) fn skipped(&mut self, count: u64, now: Mono) {
        self.impair(now);
        self.incidents.skipped += count;
    }

    /// The kernel dropped this many datagrams, as is known at `now`.
    pub(super) fn dropped(&mut self, count: u64, now: Mono) {
        self.impair(now);
        self.incidents.dropped += count;
    }

    /// Until when the probe is impaired, as far as is known.
    pub(super) fn impaired_until(&self) -> Option<Mono> {
        self.until
    }

    /// Whether the probe is impaired at `now`.
    pub(super) fn is_impaired(&self, now: Mono) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The health at `now`.
    pub(super) fn health(&self, now: Mono) -> Health {
        Health { is_impaired: self.is_impaired(now), incidents: self.incidents }
    }

    fn impair(&mut self, now: Mono) {
        if !self.is_impaired(now) {
            self.incidents = Incidents::default();
        }
        self.until = Some(now + IMPAIRED_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Mono {
        Mono::default() + Duration::from_secs(1_000 + seconds)
    }

    #[test]
    fn incidents_are_counted_from_the_first_until_a_minute_after_the_last() {
        let mut monitor = Monitor::default();
        monitor.sent(100 * MILLISECOND, at(0));
        assert_eq!(monitor.health(at(0)), Health::default());
        monitor.sent(400 * MILLISECOND, at(1));
        monitor.sent(MILLISECOND, at(2));
        monitor.sent(101 * MILLISECOND, at(30));
        monitor.skipped(3, at(31));
        monitor.dropped(7, at(32));
        let incidents =
            Incidents { sent: 3, late: 2, worst: 400 * MILLISECOND, skipped: 3, dropped: 7 };
        assert_eq!(monitor.health(at(91)), Health { is_impaired: true, incidents });
        assert_eq!(monitor.health(at(92)), Health { is_impaired: false, incidents });
        // Later incidents are counted anew.
        monitor.dropped(1, at(100));
        let incidents = Incidents { dropped: 1, ..Incidents::default() };
        assert_eq!(monitor.health(at(100)), Health { is_impaired: true, incidents });
    }
}
