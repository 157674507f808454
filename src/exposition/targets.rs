//! `/api/v1/targets`: a [`ProbeSample`] enters, JSON leaves.
//!
//! Delays and times are in seconds, moments in RFC 3339 (UTC); what is not known yet is `null`.
//! Keys are promises: they are added, never renamed.

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use super::family::{seconds, signed_seconds};
use crate::model::{Direction, IcmpKind, InvalidReason, Label, UnsentReason, Wall};
use crate::observe::{ProbeSample, TargetSample};

/// Writes the state and figures of every target.
///
/// # Errors
/// Those of `out`.
pub fn encode_targets(sample: &ProbeSample, out: impl io::Write) -> io::Result<()> {
    serde_json::to_writer(out, &Document { targets: Targets(&sample.targets) })
        .map_err(io::Error::from)
}

/// `moment` in RFC 3339, to the millisecond; `None` past the year 9999.
pub(crate) fn rfc3339(moment: Wall) -> Option<String> {
    let milliseconds = i64::try_from(moment.as_nanos() / 1_000_000).ok()?;
    let moment = jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(format!("{moment:.3}"))
}

/// `moment` in RFC 3339, to the microsecond; `None` past the year 9999.
pub(crate) fn rfc3339_micros(moment: Wall) -> Option<String> {
    let microseconds = i64::try_from(moment.as_nanos() / 1000).ok()?;
    let moment = jiff::Timestamp::from_microsecond(microseconds).ok()?;
    Some(format!("{moment:.6}"))
}

/// The whole answer.
#[derive(Serialize)]
struct Document<'a> {
    targets: Targets<'a>,
}

/// The targets, each made when it is written: memory holds one.
struct Targets<'a>(&'a [TargetSample]);

impl Serialize for Targets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(TargetDocument::from))
    }
}

/// One target.
#[derive(Serialize)]
struct TargetDocument<'a> {
    /// The value of the `target` label.
    name: &'a str,
    /// `HOST:PORT` as configured.
    address: String,
    /// Where heartbeats go, once the name has been resolved.
    endpoint: Option<SocketAddr>,
    protocol: &'static str,
    labels: &'a BTreeMap<String, String>,
    interval_seconds: f64,
    timeout_seconds: f64,
    misses: u32,
    recoveries: u32,
    recorder: u32,
    /// `up`, `down`, or `unknown` before the first verdict.
    state: &'static str,
    /// When the verdict last changed.
    since: Option<String>,
    last_reply: Option<String>,
    last_rtt_seconds: Option<f64>,
    /// Over everything received.
    rtt_mean_seconds: Option<f64>,
    consecutive_misses: u64,
    down_seconds: f64,
    resolved: bool,
    address_changes: u64,
    sent: u64,
    received: u64,
    lost: u64,
    in_flight: u64,
    unsent: ByLabel<'a, UnsentReason>,
    late: u64,
    duplicates: u64,
    reordered: u64,
    one_way_lost: ByLabel<'a, Direction>,
    invalid: ByLabel<'a, InvalidReason>,
    icmp_errors: ByLabel<'a, IcmpKind>,
    time_difference_seconds: Option<f64>,
    reply_ttl: Option<u8>,
}

impl<'a> From<&'a TargetSample> for TargetDocument<'a> {
    fn from(sample: &'a TargetSample) -> Self {
        let TargetSample { target, session, .. } = sample;
        let record = &session.record;
        Self {
            name: &target.name,
            address: target.address.to_string(),
            endpoint: sample.address,
            protocol: target.protocol.name(),
            labels: &target.labels,
            interval_seconds: target.interval.as_secs_f64(),
            timeout_seconds: target.timeout.as_secs_f64(),
            misses: target.misses,
            recoveries: target.recoveries,
            recorder: target.recorder,
            state: session.state.map_or("unknown", Label::label),
            since: session.state_changed.and_then(rfc3339),
            last_reply: record.last_reply.and_then(rfc3339),
            last_rtt_seconds: record.last_rtt.map(seconds),
            rtt_mean_seconds: record.rtt.mean().map(|mean| mean.as_secs_f64()),
            consecutive_misses: session.consecutive_misses,
            down_seconds: session.down.as_secs_f64(),
            resolved: sample.resolved,
            address_changes: sample.address_changes,
            sent: record.sent,
            received: record.received,
            lost: record.lost,
            in_flight: session.in_flight,
            unsent: ByLabel::new(&record.unsent),
            late: record.late,
            duplicates: record.duplicates,
            reordered: record.reordered,
            one_way_lost: ByLabel::new(&record.one_way_lost),
            invalid: ByLabel::new(&record.invalid),
            icmp_errors: ByLabel::new(&record.icmp_errors),
            time_difference_seconds: record.time_difference.map(signed_seconds),
            reply_ttl: record.reply_ttl,
        }
    }
}

/// Counts by a label, as an object with every value of the label as a key.
struct ByLabel<'a, L> {
    counts: &'a [u64],
    labels: PhantomData<L>,
}

impl<'a, L: Label> ByLabel<'a, L> {
    fn new(counts: &'a [u64]) -> Self {
        Self { counts, labels: PhantomData }
    }
}

impl<L: Label> Serialize for ByLabel<'_, L> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(L::ALL.iter().map(|label| label.label()).zip(self.counts))
    }
}
