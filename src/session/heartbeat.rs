//! One heartbeat, as it is told of once it has been sent or settled.

use std::time::Duration;

use crate::model::{UnsentReason, Wall};

/// What became of one heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its number.
    pub sequence: u64,
    /// When it left (t1), or when that failed; `None` where it was skipped.
    pub at: Option<Wall>,
    /// What became of it.
    pub outcome: Outcome,
    /// The hop limit of its first answer, where one came and the kernel told.
    pub ttl: Option<u8>,
}

/// What became of a heartbeat so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Passed over because the probe was late.
    Skipped,
    /// It never left.
    Unsent(UnsentReason),
    /// It left, and may still be answered in time.
    InFlight,
    /// Answered within the timeout, after this round-trip delay.
    Received(Duration),
    /// Not answered so far, and the timeout is over.
    Lost,
    /// Answered so long after it was sent: too late.
    Late(Duration),
}
