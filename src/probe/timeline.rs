//! Arrival times of datagrams: kernel timestamps on the monotonic clock.
//!
//! The kernel stamps datagrams in civil time, which may step; timeouts run on the monotonic clock,
//! which does not. The worker passes both clocks before each round of reading. Every datagram of a
//! round arrived after the round before, which shows whether it was stamped before or after a step.

use std::time::Duration;

use crate::model::{Arrival, Moment, Mono, Wall};

/// Both clocks at the last two rounds.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// The round before this one.
    last: Moment,
    /// The present round.
    round: Moment,
    /// Whether civil time was stepped between the two.
    stepped: bool,
}

impl Timeline {
    /// A timeline whose first round begins at `now`.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self { last: now, round: now, stepped: false }
    }

    /// A new round of reading begins at `now`.
    pub fn begin_round(&mut self, now: Moment) {
        self.last = self.round;
        self.round = now;
        self.stepped = now.stepped_since(self.last);
    }

    /// The arrival of a datagram that was read at `read` and stamped `kernel` by the kernel.
    #[must_use]
    pub fn arrival(&self, read: Moment, kernel: Option<Wall>, ttl: Option<u8>) -> Arrival {
        let trusted = kernel.and_then(|wall| {
            let after_step = on_monotonic(read, wall);
            // Civil time may also be stepped within the round, before the datagram is read.
            if !self.stepped && !read.stepped_since(self.round) {
                return Some((after_step?, Some(wall)));
            }
            // It was read just after a step, and stamped before or after it. The case that puts its
            // arrival between the rounds is the right one.
            let before_step = forward(self.last, wall).filter(|&at| at <= read.mono);
            let at = after_step.filter(|&at| at >= self.last.mono).or(before_step)?;
            Some((at, None))
        });
        let (at, kernel) = trusted.unwrap_or((read.mono, None));
        Arrival { at, kernel, read, ttl }
    }
}

/// The moment `wall` on the monotonic clock, at or before `reference`; `None` if it is after
/// `reference` in civil time.
fn on_monotonic(reference: Moment, wall: Wall) -> Option<Mono> {
    let ago = u64::try_from(reference.wall.nanos_since(wall)).ok()?;
    (ago <= reference.mono.as_nanos()).then(|| reference.mono - Duration::from_nanos(ago))
}

/// The moment `wall` on the monotonic clock, at or after `reference`; `None` if it is before
/// `reference` in civil time.
fn forward(reference: Moment, wall: Wall) -> Option<Mono> {
    let ahead = u64::try_from(wall.nanos_since(reference.wall)).ok()?;
    Some(reference.mono + Duration::from_nanos(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(millis: u64) -> Moment {
        let uptime = Duration::from_secs(1_000) + Duration::from_millis(millis);
        Moment {
            mono: Mono::default() + uptime,
            wall: Wall::from_nanos(1_700_000_000_000_000_000) + uptime,
        }
    }

    fn stepped(at: Moment, by: i64) -> Moment {
        let by_ms = Duration::from_millis(by.unsigned_abs());
        Moment { wall: if by < 0 { at.wall - by_ms } else { at.wall + by_ms }, ..at }
    }

    #[test]
    fn a_datagram_counts_from_when_the_kernel_received_it() {
        let mut timeline = Timeline::new(stamp(0));
        timeline.begin_round(stamp(5_000));
        let arrival = timeline.arrival(stamp(5_001), Some(stamp(40).wall), Some(64));
        assert_eq!(arrival.at, stamp(40).mono);
        assert_eq!(arrival.kernel, Some(stamp(40).wall));
    }

    #[test]
    fn without_a_stamp_it_counts_from_when_it_was_read() {
        let mut timeline = Timeline::new(stamp(0));
        timeline.begin_round(stamp(5_000));
        let arrival = timeline.arrival(stamp(5_001), None, None);
        assert_eq!((arrival.at, arrival.kernel), (stamp(5_001).mono, None));
    }

    #[test]
    fn a_stamp_of_the_future_is_not_trusted() {
        let timeline = Timeline::new(stamp(0));
        let arrival = timeline.arrival(stamp(1), Some(stamp(2).wall), None);
        assert_eq!((arrival.at, arrival.kernel), (stamp(1).mono, None));
    }

    #[test]
    fn a_stamp_from_either_side_of_a_step_is_placed_right_and_gives_no_delay() {
        for by in [-60_000, -500, 500, 60_000] {
            let mut timeline = Timeline::new(stamp(0));
            timeline.begin_round(stepped(stamp(100), by));
            let read = stepped(stamp(101), by);
            let after = timeline.arrival(read, Some(stepped(stamp(90), by).wall), None);
            assert_eq!((after.at, after.kernel), (stamp(90).mono, None), "after a step by {by}");
            let before = timeline.arrival(read, Some(stamp(40).wall), None);
            assert_eq!((before.at, before.kernel), (stamp(40).mono, None), "before one by {by}");
            timeline.begin_round(stepped(stamp(200), by));
            let next =
                timeline.arrival(stepped(stamp(201), by), Some(stepped(stamp(150), by).wall), None);
            assert_eq!(next.at, stamp(150).mono);
            assert!(next.kernel.is_some());
        }
    }

    #[test]
    fn a_step_within_a_round_moves_no_arrival() {
        for by in [-60_000, 60_000] {
            let mut timeline = Timeline::new(stamp(0));
            timeline.begin_round(stamp(100));
            let read = stepped(stamp(101), by);
            for kernel in [stamp(90).wall, stepped(stamp(90), by).wall] {
                let arrival = timeline.arrival(read, Some(kernel), None);
                assert_eq!((arrival.at, arrival.kernel), (stamp(90).mono, None), "by {by}");
            }
        }
    }

    #[test]
    fn slewing_is_not_a_step() {
        let mut timeline = Timeline::new(stamp(0));
        let mut slewed = stamp(10_000);
        slewed.wall = slewed.wall + Duration::from_millis(5);
        timeline.begin_round(slewed);
        assert!(!timeline.stepped);
    }
}
