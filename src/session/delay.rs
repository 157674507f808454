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
    /// The turnaround that was subtracted, in nanoseconds.
    pub(super) turnaround: Option<u64>,
}

/// The delay from `sent` to `arrival`, less `turnaround` nanoseconds at the responder.
///
/// Kernel timestamps are used if both exist and agree with the monotonic clock, which is read
/// before the first and after the second.
pub(super) fn round_trip(sent: &Sent, arrival: &Arrival, turnaround: Option<u64>) -> RoundTrip {
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
    // A turnaround longer than the whole trip was measured by a clock that stepped.
    let turnaround = turnaround.filter(|&turnaround| turnaround <= away);
    RoundTrip { nanos: away - turnaround.unwrap_or(0), source, turnaround }
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
            RoundTrip { nanos: 60_000, source: StampSource::Kernel, turnaround: None }
        );
    }

    #[test]
    fn without_a_transmit_stamp_the_monotonic_clock_is_used() {
        let sent = Sent { at: micros(0), kernel: None };
        let delay = round_trip(&sent, &arrival(100, 170), None);
        assert_eq!(
            delay,
            RoundTrip { nanos: 100_000, source: StampSource::User, turnaround: None }
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
                RoundTrip { nanos: 100_000, source: StampSource::User, turnaround: None }
            );
        }
    }

    #[test]
    fn a_credible_turnaround_is_subtracted() {
        let sent = Sent { at: micros(0), kernel: Some(micros(40).wall) };
        let arrival = arrival(100, 170);
        assert_eq!(round_trip(&sent, &arrival, Some(25_000)).nanos, 35_000);
        assert_eq!(round_trip(&sent, &arrival, Some(25_000)).turnaround, Some(25_000));
        let incredible = round_trip(&sent, &arrival, Some(60_001));
        assert_eq!((incredible.nanos, incredible.turnaround), (60_000, None));
    }
}
