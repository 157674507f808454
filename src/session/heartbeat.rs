//! One heartbeat and its outcome, and the classification of its replies, for readers outside the
//! session.

use std::time::Duration;

use crate::model::{InvalidReason, UnsentReason, Wall};

/// One heartbeat and its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its number.
    pub sequence: u64,
    /// When it left (t1), or when sending failed; `None` if it was skipped.
    pub at: Option<Wall>,
    /// Its outcome so far.
    pub outcome: Outcome,
    /// The hop limit of its first answer, if there is one and the kernel reported it.
    pub ttl: Option<u8>,
}

/// The outcome of a heartbeat so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not sent because the probe was late.
    Skipped,
    /// It could not leave.
    Unsent(UnsentReason),
    /// It left, and may still be answered in time.
    InFlight,
    /// Answered within the timeout, after this round-trip delay.
    Received(Duration),
    /// Not answered, and the timeout is over.
    Lost,
    /// Answered after the timeout, with this delay since sending.
    Late(Duration),
}

/// The classification of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// The first answer to a heartbeat, within the timeout.
    InTime {
        /// The heartbeat's number.
        sequence: u64,
        /// The round-trip delay, without the responder's turnaround if it is known.
        rtt: Duration,
    },
    /// The first answer to a heartbeat, after the timeout.
    Late {
        /// The heartbeat's number.
        sequence: u64,
        /// The time from sending to receipt.
        after: Duration,
    },
    /// A further answer to a heartbeat.
    Duplicate {
        /// The heartbeat's number.
        sequence: u64,
    },
    /// Not an answer to any heartbeat.
    Invalid(InvalidReason),
}
