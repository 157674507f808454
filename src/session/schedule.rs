//! The schedule of heartbeats: a periodic stream (RFC 3432).
//!
//! Heartbeat `n` is due at `first + n × interval`, whatever happened to earlier ones. So the
//! schedule neither drifts nor waits, and after a stall it continues on the same grid. A new
//! interval starts a new grid; the numbers continue.

use std::time::Duration;

use crate::model::{Mono, nanos};

/// The schedule of one target.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    /// The number of the next heartbeat.
    next: u64,
    /// When it is due.
    due: Mono,
    /// Heartbeats from this number on are never due.
    end: u64,
}

/// A heartbeat that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its number, from 0.
    pub sequence: u64,
    /// When it should leave.
    pub at: Mono,
}

impl Schedule {
    /// Heartbeats every `interval` (more than zero) from `first` on.
    pub(super) fn new(interval: Duration, first: Mono) -> Self {
        debug_assert!(!interval.is_zero());
        Self { interval, next: 0, due: first, end: u64::MAX }
    }

    /// Changes the interval (more than zero); the next heartbeat is due at `next`.
    pub(super) fn retune(&mut self, interval: Duration, next: Mono) {
        debug_assert!(!interval.is_zero());
        self.interval = interval;
        self.due = next;
    }

    /// The time from one heartbeat to the next.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Ends the schedule after the first `heartbeats`.
    pub(super) fn limit(&mut self, heartbeats: u64) {
        self.end = heartbeats;
    }

    /// When the next heartbeat is due; `None` if the schedule has ended.
    pub(super) fn due(&self) -> Option<Mono> {
        (self.next < self.end).then_some(self.due)
    }

    /// Skips the heartbeats that are too late to send at `now`, and returns how many.
    ///
    /// A heartbeat is too late once the next one is due as well: sending both would be a burst. The
    /// first heartbeat is never too late, because the schedule starts with it.
    pub(super) fn skip_late(&mut self, now: Mono) -> u64 {
        if self.next == 0 {
            if now.since(self.due) >= self.interval {
                self.due = now;
            }
            return 0;
        }
        let late = now.since(self.due).as_nanos() / self.interval.as_nanos();
        let left = self.end.saturating_sub(self.next);
        let late = u64::try_from(late).unwrap_or(u64::MAX).min(left);
        self.advance(late);
        late
    }

    /// The heartbeat that is due at `now`, if any.
    pub(super) fn take_due(&mut self, now: Mono) -> Option<Due> {
        if now < self.due()? {
            return None;
        }
        let due = Due { sequence: self.next, at: self.due };
        self.advance(1);
        Some(due)
    }

    fn advance(&mut self, heartbeats: u64) {
        let interval = nanos(self.interval);
        self.next += heartbeats;
        self.due = self.due + Duration::from_nanos(interval.saturating_mul(heartbeats));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Mono {
        Mono::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn heartbeats_are_due_on_the_grid_even_if_earlier_ones_leave_late() {
        let mut schedule = Schedule::new(SECOND, at(500));
        assert_eq!(schedule.take_due(at(499)), None);
        assert_eq!(schedule.take_due(at(1499)), Some(Due { sequence: 0, at: at(500) }));
        assert_eq!(schedule.take_due(at(1499)), None);
        assert_eq!(schedule.take_due(at(1500)), Some(Due { sequence: 1, at: at(1500) }));
        assert_eq!(schedule.due(), Some(at(2500)));
    }

    #[test]
    fn a_late_first_heartbeat_starts_the_schedule() {
        let mut schedule = Schedule::new(SECOND, at(500));
        assert_eq!(schedule.skip_late(at(2_700)), 0);
        assert_eq!(schedule.take_due(at(2_700)), Some(Due { sequence: 0, at: at(2_700) }));
        assert_eq!(schedule.due(), Some(at(3_700)));
    }

    #[test]
    fn a_stall_skips_all_but_the_newest() {
        let mut schedule = Schedule::new(SECOND, at(0));
        assert!(schedule.take_due(at(0)).is_some());
        assert_eq!(schedule.skip_late(at(1_999)), 0);
        assert_eq!(schedule.skip_late(at(5_400)), 4);
        assert_eq!(schedule.take_due(at(5_400)), Some(Due { sequence: 5, at: at(5_000) }));
        assert_eq!(schedule.due(), Some(at(6_000)));
    }

    #[test]
    fn a_new_interval_starts_a_new_grid_and_numbers_continue() {
        let mut schedule = Schedule::new(SECOND, at(0));
        schedule.limit(4);
        assert!(schedule.take_due(at(0)).is_some());
        assert!(schedule.take_due(at(1_000)).is_some());
        schedule.retune(SECOND / 10, at(1_040));
        assert_eq!(schedule.take_due(at(1_039)), None);
        assert_eq!(schedule.take_due(at(1_040)), Some(Due { sequence: 2, at: at(1_040) }));
        assert_eq!(schedule.take_due(at(1_140)), Some(Due { sequence: 3, at: at(1_140) }));
        assert_eq!(schedule.due(), None, "the limit counts all numbers");
    }

    #[test]
    fn a_limited_schedule_ends() {
        let mut schedule = Schedule::new(SECOND, at(0));
        schedule.limit(3);
        assert!(schedule.take_due(at(500)).is_some());
        assert!(schedule.take_due(at(1_500)).is_some());
        assert_eq!(schedule.skip_late(at(60_000)), 1);
        assert_eq!((schedule.due(), schedule.take_due(at(60_000))), (None, None));
    }

    #[test]
    fn a_long_suspension_does_not_overflow() {
        let mut schedule = Schedule::new(Duration::from_nanos(1), at(0));
        assert!(schedule.take_due(at(0)).is_some());
        let late = schedule.skip_late(Mono::from_nanos(u64::MAX));
        assert_eq!(late, u64::MAX - 1);
    }
}
