//! The round-trip delay of one heartbeat (RFC 2681), from the best timestamps available.

use crate::model::{Arrival, StampSource, Wall, nanos};

use super::ledger::Sent;

/// A round-trip delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoundTrip {
    /// In nanoseconds, without the responder's turnaround if that is known and credible.
    pub(super) nanos: u64,
    /// The source of the timestamps.
    pub(super) source: StampSource,
    /// The responder's turnaround.
    pub(super) turnaround: Turnaround,
}

/// What is known of the time that the responder took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turnaround {
    /// The reply does not report it.
    Unreported,
    /// This many nanoseconds, which were subtracted from the delay.
    Credible(u64),
    /// It is negative, or longer than the whole round trip: the responder's timestamps are too
    /// imprecise, or its clock stepped. It is ignored.
    Invalid,
}

impl Turnaround {
    /// Compares the turnaround that a reply reports with the whole round trip, `away`; both are in
    /// nanoseconds.
    fn judge(reported: Option<i64>, away: u64) -> Self {
        match reported.map(u64::try_from) {
            None => Self::Unreported,
            Some(Ok(turnaround)) if turnaround <= away => Self::Credible(turnaround),
            Some(Ok(_) | Err(_)) => Self::Invalid,
        }
    }
}

/// The delay from `sent` to `arrival`, less `turnaround` nanoseconds at the responder if that is
/// credible.
///
/// Kernel timestamps are used if both exist and agree with the monotonic clock, which is read
/// before the first and after the second.
pub(super) fn round_trip(sent: &Sent, arrival: &Arrival, turnaround: Option<i64>) -> RoundTrip {
    let bound = nanos(arrival.read.mono.since(sent.at.mono));
    let by_kernel = match (sent.kernel, arrival.kernel) {
        (Some(out), Some(back)) if !arrival.read.stepped_since(sent.at) => {
            between(out, back, bound)
        }
        _ => None,
    };
    let (away, source) = match by_kernel {
        Some(away) => (away, StampSource::Kernel),
        None => (nanos(arrival.at.since(sent.at.mono)), StampSource::User),
    };
    let turnaround = Turnaround::judge(turnaround, away);
    let subtracted = match turnaround {
        Turnaround::Credible(nanos) => nanos,
        Turnaround::Unreported | Turnaround::Invalid => 0,
    };
    RoundTrip { nanos: away - subtracted, source, turnaround }
}

fn between(out: Wall, back: Wall, bound: u64) -> Option<u64> {
    u64::try_from(back.nanos_since(out)).ok().filter(|&nanos| nanos <= bound)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Moment;

    fn micros(micros: u64) -> Moment {
        Moment::default().after(Duration::from_secs(1_000) + Duration::from_micros(micros))
    }

    fn arrival(kernel: u64, read: u64) -> Arrival {
        Arrival {
            at: micros(kernel).mono,
            kernel: Some(micros(kernel).wall),
            read: micros(read),
            ttl: None,
        }
    }

    #[test]
    fn kernel_stamps_exclude_the_probes_own_queues() {
        let sent = Sent { at: micros(0), kernel: Some(micros(40).wall) };
        let delay = round_trip(&sent, &arrival(100, 170), None);
        assert_eq!(
            delay,
            RoundTrip {
                nanos: 60_000,
                source: StampSource::Kernel,
                turnaround: Turnaround::Unreported
            }
        );
    }

    #[test]
    fn without_a_transmit_stamp_the_monotonic_clock_is_used() {
        let sent = Sent { at: micros(0), kernel: None };
        let delay = round_trip(&sent, &arrival(100, 170), None);
        assert_eq!(
            delay,
            RoundTrip {
                nanos: 100_000,
                source: StampSource::User,
                turnaround: Turnaround::Unreported
            }
        );
    }

    #[test]
    fn after_a_clock_step_in_either_direction_the_monotonic_clock_is_used() {
        let sent = Sent { at: micros(0), kernel: Some(micros(40).wall) };
        let mut forward = arrival(100, 170);
        forward.kernel = Some(micros(100).wall + Duration::from_secs(5));
        forward.read.wall = forward.read.wall + Duration::from_secs(5);
        let mut back = arrival(100, 170);
        back.kernel = Some(micros(100).wall - Duration::from_secs(5));
        back.read.wall = back.read.wall - Duration::from_secs(5);
        for stepped in [forward, back] {
            let delay = round_trip(&sent, &stepped, None);
            assert_eq!(
                delay,
                RoundTrip {
                    nanos: 100_000,
                    source: StampSource::User,
                    turnaround: Turnaround::Unreported
                }
            );
        }
    }

    #[test]
    fn a_credible_turnaround_is_subtracted() {
        let sent = Sent { at: micros(0), kernel: Some(micros(40).wall) };
        let arrival = arrival(100, 170);
        let credible = round_trip(&sent, &arrival, Some(25_000));
        assert_eq!((credible.nanos, credible.turnaround), (35_000, Turnaround::Credible(25_000)));
        let whole = round_trip(&sent, &arrival, Some(60_000));
        assert_eq!((whole.nanos, whole.turnaround), (0, Turnaround::Credible(60_000)));
    }

    #[test]
    fn a_turnaround_that_cannot_be_is_not_subtracted() {
        let sent = Sent { at: micros(0), kernel: Some(micros(40).wall) };
        for reported in [60_001, i64::MAX, -1, -1_000, i64::MIN] {
            let delay = round_trip(&sent, &arrival(100, 170), Some(reported));
            let expected = (60_000, StampSource::Kernel, Turnaround::Invalid);
            assert_eq!((delay.nanos, delay.source, delay.turnaround), expected, "{reported}");
        }
    }
}
