//! `/api/v1/targets/NAME/heartbeats`: what a flight recorder holds enters, JSON leaves.
//!
//! Delays are in seconds, moments in RFC 3339 (UTC); what is not known is `null`. Keys are
//! promises: they are added, never renamed.

use std::io;
use std::time::Duration;

use serde::Serialize;

use super::targets::rfc3339_micros;
use crate::model::Label;
use crate::observe::TargetLook;
use crate::session::{Heartbeat, Outcome};

/// Writes the newest heartbeats of a target, and those before it last went down.
///
/// # Errors
/// Those of `out`.
pub fn encode_heartbeats(look: &TargetLook, out: impl io::Write) -> io::Result<()> {
    let TargetLook { sample, recording, .. } = look;
    let document = Document {
        target: &sample.target.name,
        state: sample.session.state.map_or("unknown", Label::label),
        recorder: sample.target.recorder,
        heartbeats: recording.newest.iter().map(HeartbeatDocument::from).collect(),
        frozen: recording.frozen.as_ref().map(|frozen| FrozenDocument {
            down: rfc3339_micros(frozen.down),
            heartbeats: frozen.heartbeats.iter().map(HeartbeatDocument::from).collect(),
        }),
    };
    serde_json::to_writer(out, &document).map_err(io::Error::from)
}

/// The word for what became of a heartbeat.
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

/// The whole answer.
#[derive(Serialize)]
struct Document<'a> {
    /// The value of the `target` label.
    target: &'a str,
    state: &'static str,
    /// How many heartbeats are kept.
    recorder: u32,
    /// The newest, from the oldest on.
    heartbeats: Vec<HeartbeatDocument>,
    /// As they stood at the last change to down.
    frozen: Option<FrozenDocument>,
}

#[derive(Serialize)]
struct FrozenDocument {
    /// When the target was called down.
    down: Option<String>,
    heartbeats: Vec<HeartbeatDocument>,
}

#[derive(Serialize)]
struct HeartbeatDocument {
    sequence: u64,
    /// When it left, or when that failed.
    at: Option<String>,
    /// `received`, `lost`, `late`, `in_flight`, `unsent` or `skipped`.
    outcome: &'static str,
    /// Of one received: the round-trip delay.
    rtt_seconds: Option<f64>,
    /// Of one late: from sending to receiving.
    late_seconds: Option<f64>,
    /// Of one unsent.
    reason: Option<&'static str>,
    /// The hop limit of the first answer.
    ttl: Option<u8>,
}

impl From<&Heartbeat> for HeartbeatDocument {
    fn from(heartbeat: &Heartbeat) -> Self {
        let seconds = |delay: Duration| Some(delay.as_secs_f64());
        let (rtt, late, reason) = match heartbeat.outcome {
            Outcome::Received(rtt) => (seconds(rtt), None, None),
            Outcome::Late(after) => (None, seconds(after), None),
            Outcome::Unsent(reason) => (None, None, Some(reason.label())),
            Outcome::Skipped | Outcome::InFlight | Outcome::Lost => (None, None, None),
        };
        Self {
            sequence: heartbeat.sequence,
            at: heartbeat.at.and_then(rfc3339_micros),
            outcome: outcome(heartbeat),
            rtt_seconds: rtt,
            late_seconds: late,
            reason,
            ttl: heartbeat.ttl,
        }
    }
}
