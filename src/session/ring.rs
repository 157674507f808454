//! The length of a ledger's ring, and the index of a heartbeat in it.

use std::time::Duration;

/// The length of a ring for one heartbeat every `interval`, each answered within `timeout`, that
/// remembers at least the newest `recorder` heartbeats.
pub(super) fn ring(interval: Duration, timeout: Duration, recorder: u32) -> usize {
    let recorder = usize::try_from(recorder).unwrap_or(usize::MAX >> 2);
    (most_in_flight(interval, timeout) * 2).max(recorder).next_power_of_two()
}

/// The maximum distance from the oldest heartbeat in flight to the newest: a heartbeat may leave up
/// to one interval late and is in flight for at most `timeout`.
pub(super) fn most_in_flight(interval: Duration, timeout: Duration) -> usize {
    let in_flight = timeout.as_nanos() / interval.as_nanos().max(1) + 3;
    usize::try_from(in_flight).unwrap_or(usize::MAX >> 3)
}

/// The index of heartbeat `sequence` in a ring of length `len`, a power of two.
#[expect(clippy::cast_possible_truncation, reason = "masked by the length of the ring")]
pub(super) fn index(sequence: u64, len: usize) -> usize {
    sequence as usize & (len - 1)
}
