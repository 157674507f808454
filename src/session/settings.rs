//! The settings of a session.

use std::time::Duration;

/// How a target is probed and judged.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// Time from one heartbeat to the next; more than zero.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Consecutive misses before the target is down; at least 1.
    pub misses: u32,
    /// Consecutive answers before it is up again; at least 1.
    pub recoveries: u32,
    /// How many of the newest heartbeats the flight recorder keeps; at least 1.
    pub recorder: u32,
}
