//! The figures of a session at one moment.

use std::time::Duration;

use super::history::Misses;
use super::record::Record;
use super::symptoms::Symptoms;
use crate::model::{State, Wall};

/// The figures of one target in a list of many; they allocate nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Glance {
    /// The verdict; `None` before the first.
    pub state: Option<State>,
    /// When the verdict last changed.
    pub changed: Option<Wall>,
    /// The misses of the last minutes.
    pub misses: Misses,
    /// The last round-trip delay, in nanoseconds.
    pub last_rtt: Option<u64>,
    /// The median delay since the start, in nanoseconds.
    pub p50: Option<u64>,
    /// The 99th percentile of delays since the start, in nanoseconds.
    pub p99: Option<u64>,
    /// The number of changes of the verdict.
    pub changes: u64,
}

/// The figures of one target at one moment. `sent = received + lost + in_flight` in every snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The counters.
    pub record: Record,
    /// Heartbeats sent and not settled yet.
    pub in_flight: u64,
    /// The verdict; `None` before the first.
    pub state: Option<State>,
    /// When the verdict last changed.
    pub state_changed: Option<Wall>,
    /// The longest run of misses newer than the newest answered heartbeat.
    pub consecutive_misses: u64,
    /// Time spent down, up to this moment.
    pub down: Duration,
    /// The evidence for a diagnosis.
    pub symptoms: Symptoms,
}
