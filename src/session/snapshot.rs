//! What others see of a session at one moment.

use std::time::Duration;

use super::history::Misses;
use super::record::Record;
use super::symptoms::Symptoms;
use crate::model::{State, Wall};

/// What a list of many targets tells of one, without anything allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Glance {
    /// The verdict; `None` before the first.
    pub state: Option<State>,
    /// When the verdict last changed.
    pub changed: Option<Wall>,
    /// What was missed in the last minutes.
    pub misses: Misses,
    /// The last round-trip delay, in nanoseconds.
    pub last_rtt: Option<u64>,
    /// The median delay since the beginning, in nanoseconds.
    pub p50: Option<u64>,
    /// The delay that 99 % have not exceeded since the beginning, in nanoseconds.
    pub p99: Option<u64>,
    /// How often the verdict has changed.
    pub changes: u64,
}

/// One target's figures at one moment; `sent = received + lost + in_flight` in every one.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Everything that is counted.
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
    /// What the figures say about trouble.
    pub symptoms: Symptoms,
}
