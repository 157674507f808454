//! How long a ledger's ring is, and where each heartbeat stands in it.

use std::time::Duration;

/// The length of a ring for heartbeats every `interval` that may take `timeout` to be answered; it
/// remembers at least the newest `recorder`.
pub(super) fn ring(interval: Duration, timeout: Duration, recorder: u32) -> usize {
    let recorder = usize::try_from(recorder).unwrap_or(usize::MAX >> 2);
    (most_in_flight(interval, timeout) * 2).max(recorder).next_power_of_two()
}

/// At most this many numbers lie between the oldest in flight and the newest: a heartbeat may leave
/// late by up to an interval, and its answer is waited for a timeout long.
pub(super) fn most_in_flight(interval: Duration, timeout: Duration) -> usize {
    let in_flight = timeout.as_nanos() / interval.as_nanos().max(1) + 3;
    usize::try_from(in_flight).unwrap_or(usize::MAX >> 3)
}

/// Where heartbeat `sequence` stands in a ring of this length, a power of two.
#[expect(clippy::cast_possible_truncation, reason = "masked by the length of the ring")]
pub(super) fn index(sequence: u64, len: usize) -> usize {
    sequence as usize & (len - 1)
}
