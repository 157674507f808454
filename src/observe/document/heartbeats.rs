//! `/api/v1/targets/NAME/heartbeats`: the flight recorder of one target.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Label;
use crate::observe::TargetLook;
use crate::session::{Heartbeat, Outcome};

use super::{Word, rfc3339_micros, state};

/// The whole document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatsDocument<'a> {
    /// The value of the `target` label.
    pub target: Cow<'a, str>,
    /// `up`, `down`, or `unknown` before the first verdict.
    pub state: Word,
    /// How many heartbeats the flight recorder keeps.
    pub recorder: u32,
    /// The newest heartbeats, oldest first.
    pub heartbeats: Vec<HeartbeatDocument>,
    /// The heartbeats before the last change to down.
    pub frozen: Option<FrozenDocument>,
}

/// The heartbeats before a change to down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrozenDocument {
    /// When the verdict changed to down.
    pub down: Option<String>,
    /// The heartbeats, oldest first.
    pub heartbeats: Vec<HeartbeatDocument>,
}

/// One heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatDocument {
    /// Its number.
    pub sequence: u64,
    /// When it left, or when sending failed.
    pub at: Option<String>,
    /// `received`, `lost`, `late`, `in_flight`, `unsent` or `skipped`.
    pub outcome: Word,
    /// The round-trip delay, if it was received.
    pub rtt_seconds: Option<f64>,
    /// The time from sending to receipt, if it was late.
    pub late_seconds: Option<f64>,
    /// Why it is unsent.
    pub reason: Option<Word>,
    /// The hop limit of the first answer.
    pub ttl: Option<u8>,
}

impl<'a> From<&'a TargetLook> for HeartbeatsDocument<'a> {
    fn from(look: &'a TargetLook) -> Self {
        let TargetLook { sample, recording, .. } = look;
        Self {
            target: Cow::Borrowed(&sample.target.name),
            state: state(sample.session.state),
            recorder: sample.target.recorder,
            heartbeats: recording.newest.iter().map(HeartbeatDocument::from).collect(),
            frozen: recording.frozen.as_ref().map(|frozen| FrozenDocument {
                down: rfc3339_micros(frozen.down),
                heartbeats: frozen.heartbeats.iter().map(HeartbeatDocument::from).collect(),
            }),
        }
    }
}

impl From<&Heartbeat> for HeartbeatDocument {
    fn from(heartbeat: &Heartbeat) -> Self {
        let seconds = |delay: Duration| Some(delay.as_secs_f64());
        let (rtt, late, reason) = match heartbeat.outcome {
            Outcome::Received(rtt) => (seconds(rtt), None, None),
            Outcome::Late(after) => (None, seconds(after), None),
            Outcome::Unsent(reason) => (None, None, Some(reason.label().into())),
            Outcome::Skipped | Outcome::InFlight | Outcome::Lost => (None, None, None),
        };
        Self {
            sequence: heartbeat.sequence,
            at: heartbeat.at.and_then(rfc3339_micros),
            outcome: outcome(heartbeat).into(),
            rtt_seconds: rtt,
            late_seconds: late,
            reason,
            ttl: heartbeat.ttl,
        }
    }
}

/// The word for the outcome of a heartbeat.
pub(crate) fn outcome(heartbeat: &Heartbeat) -> &'static str {
    match heartbeat.outcome {
        Outcome::Skipped => "skipped",
        Outcome::Unsent(_) => "unsent",
        Outcome::InFlight => "in_flight",
        Outcome::Received(_) => "received",
        Outcome::Lost => "lost",
        Outcome::Late(_) => "late",
    }
}
