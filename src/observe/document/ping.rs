//! `ping --json`: the figures of a whole run.

use serde::{Deserialize, Serialize};

use crate::model::{Direction, IcmpKind, InvalidReason, UnsentReason, Wall};
use crate::observe::{Diagnosis, TargetSample};

use super::{ByLabel, Word, by_label};

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PingDocument {
    /// The target as it was given.
    pub target: String,
    /// Where heartbeats went.
    pub address: Option<String>,
    /// How they look on the wire.
    pub protocol: Word,
    /// Heartbeats that left.
    pub sent: u64,
    /// Answered within the timeout.
    pub received: u64,
    /// Those received, by the result that the answer reports, where the protocol has results.
    #[serde(default)]
    pub results: ByLabel,
    /// Not answered within the timeout.
    pub lost: u64,
    /// Lost over sent; null where nothing was sent.
    pub loss_ratio: Option<f64>,
    /// Due and never left, by reason.
    pub unsent: ByLabel,
    /// First answers after the timeout.
    pub late: u64,
    /// Further answers to a heartbeat.
    pub duplicates: u64,
    /// Answers to a heartbeat older than one answered already.
    pub reordered: u64,
    /// Lost heartbeats by direction, as far as the numbers of the replies show it.
    pub one_way_lost: ByLabel,
    /// Invalid replies, by reason.
    pub invalid: ByLabel,
    /// ICMP errors, by kind.
    pub icmp_errors: ByLabel,
    /// Null where nothing was received.
    pub rtt_seconds: Option<DelaysDocument>,
    /// Whether the run ended with the target down, or because it was.
    pub down: bool,
    /// Why the target is in trouble; null where there is nothing to explain.
    pub diagnosis: Option<Diagnosis>,
}

/// Round-trip delays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DelaysDocument {
    /// The least.
    pub min: f64,
    /// The mean.
    pub avg: f64,
    /// The median.
    pub p50: f64,
    /// What 99 % do not exceed.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
    /// The standard deviation, as ping(8) has it.
    pub mdev: f64,
}

impl PingDocument {
    /// The figures of `sample`, gathered at `at`, of a run to `target`.
    #[must_use]
    pub fn new(
        target: String,
        sample: &TargetSample,
        at: Wall,
        rtt_seconds: Option<DelaysDocument>,
        down: bool,
    ) -> Self {
        let record = &sample.session.record;
        Self {
            target,
            address: sample.address.map(|address| address.to_string()),
            protocol: sample.target.protocol.name().into(),
            sent: record.sent,
            received: record.received,
            results: sample.results().map(|(result, count)| (result.into(), count)).collect(),
            lost: record.lost,
            loss_ratio: (record.sent > 0).then(|| record.lost as f64 / record.sent as f64),
            unsent: by_label::<UnsentReason>(&record.unsent),
            late: record.late,
            duplicates: record.duplicates,
            reordered: record.reordered,
            one_way_lost: by_label::<Direction>(&record.one_way_lost),
            invalid: by_label::<InvalidReason>(&record.invalid),
            icmp_errors: by_label::<IcmpKind>(&record.icmp_errors),
            rtt_seconds,
            down,
            diagnosis: sample.diagnosis(at),
        }
    }
}
