//! `/api/v1/targets`: the state and figures of every target.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Label as _, Wall};
use crate::observe::TargetSample;

use super::{ByLabel, CountsDocument, DiagnosisDocument, Word, rfc3339, state};

/// The whole document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetsDocument<'a> {
    /// One for each target, in the order of the configuration.
    pub targets: Vec<TargetDocument<'a>>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetDocument<'a> {
    /// The value of the `target` label.
    pub name: Cow<'a, str>,
    /// `HOST:PORT` as configured.
    pub address: String,
    /// The address to which heartbeats go, once the name has been resolved.
    pub endpoint: Option<SocketAddr>,
    /// The protocol of the heartbeats.
    pub protocol: Word,
    /// The configured labels.
    pub labels: Cow<'a, BTreeMap<String, String>>,
    /// Time from one heartbeat to the next.
    pub interval_seconds: f64,
    /// How long an answer may take.
    pub timeout_seconds: f64,
    /// Consecutive misses before the target is down.
    pub misses: u32,
    /// Consecutive answers before it is up again.
    pub recoveries: u32,
    /// How many heartbeats the flight recorder keeps.
    pub recorder: u32,
    /// `up`, `down`, or `unknown` before the first verdict.
    pub state: Word,
    /// When the verdict last changed.
    pub since: Option<String>,
    /// Why the target is in trouble; `null` if there is nothing to explain.
    pub diagnosis: Option<DiagnosisDocument>,
    /// When the last answer in time arrived.
    pub last_reply: Option<String>,
    /// The last round-trip delay.
    pub last_rtt_seconds: Option<f64>,
    /// The mean delay of all answers in time.
    pub rtt_mean_seconds: Option<f64>,
    /// The longest run of misses newer than the newest answered heartbeat.
    pub consecutive_misses: u64,
    /// Time spent down.
    pub down_seconds: f64,
    /// Whether the last lookup of the name succeeded.
    pub resolved: bool,
    /// Why the last lookup of the name gave no address; `null` if it did, or has not ended.
    pub lookup_failure: Option<Word>,
    /// Numbers of lookups that gave no address, by reason; empty for a literal address.
    pub lookup_failures: ByLabel,
    /// How often the address to which heartbeats go has changed.
    pub address_changes: u64,
    /// The counts of its heartbeats, as keys of this document.
    #[serde(flatten)]
    pub counts: CountsDocument,
    /// Heartbeats in flight: sent and not settled.
    pub in_flight: u64,
    /// The responder's receive time − the probe's send time, from the last answer that reports it.
    pub time_difference_seconds: Option<f64>,
    /// The hop limit of the last answer.
    pub reply_ttl: Option<u8>,
}

fn lookup_failures(sample: &TargetSample) -> ByLabel {
    let counts = sample.lookup_failures().map(|(why, count)| (why.label().into(), count));
    counts.collect()
}

impl<'a> TargetDocument<'a> {
    /// The document of a target whose figures were gathered at `at`.
    #[must_use]
    pub fn new(sample: &'a TargetSample, at: Wall) -> Self {
        let TargetSample { target, session, .. } = sample;
        let record = &session.record;
        Self {
            name: Cow::Borrowed(&target.name),
            address: target.address.to_string(),
            endpoint: sample.address,
            protocol: target.protocol.name().into(),
            labels: Cow::Borrowed(&target.labels),
            interval_seconds: target.interval.as_secs_f64(),
            timeout_seconds: target.timeout.as_secs_f64(),
            misses: target.misses,
            recoveries: target.recoveries,
            recorder: target.recorder,
            state: state(session.state),
            since: session.state_changed.and_then(rfc3339),
            diagnosis: sample.diagnosis(at).map(Into::into),
            last_reply: record.last_reply.and_then(rfc3339),
            last_rtt_seconds: record.last_rtt.map(|nanos| nanos as f64 / 1e9),
            rtt_mean_seconds: record.rtt.mean().map(|mean| mean.as_secs_f64()),
            consecutive_misses: session.consecutive_misses,
            down_seconds: session.down.as_secs_f64(),
            resolved: sample.resolved,
            lookup_failure: sample.lookup_failure.map(|why| why.label().into()),
            lookup_failures: lookup_failures(sample),
            address_changes: sample.address_changes,
            counts: sample.into(),
            in_flight: session.in_flight,
            time_difference_seconds: record.time_difference.map(|nanos| nanos as f64 / 1e9),
            reply_ttl: record.reply_ttl,
        }
    }
}
