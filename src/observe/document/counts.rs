//! Counts of a target's heartbeats by outcome, which several documents contain.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Direction, IcmpKind, InvalidReason, UnsentReason};
use crate::observe::TargetSample;

use super::{ByLabel, by_label, rfc3339};

/// Counts of heartbeats, replies and ICMP errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountsDocument {
    /// Heartbeats that left.
    pub sent: u64,
    /// Heartbeats answered within the timeout.
    pub received: u64,
    /// Received heartbeats by the result that the answer reports; empty if the protocol has no
    /// results.
    #[serde(default)]
    pub results: ByLabel,
    /// Heartbeats not answered within the timeout.
    pub lost: u64,
    /// Heartbeats that could not leave, by reason.
    pub unsent: ByLabel,
    /// First answers after the timeout.
    pub late: u64,
    /// Further answers to a heartbeat.
    pub duplicates: u64,
    /// Answers to a heartbeat older than one answered already.
    pub reordered: u64,
    /// Lost heartbeats by direction, if the replies show it.
    pub one_way_lost: ByLabel,
    /// Invalid replies, by reason.
    pub invalid: ByLabel,
    /// Answers to its heartbeats that came from another address.
    #[serde(default)]
    pub other_source_replies: u64,
    /// The address that the last of them came from, and when; `null` if none has come.
    #[serde(default)]
    pub last_other_source: Option<OtherSourceDocument>,
    /// ICMP errors, by kind.
    pub icmp_errors: ByLabel,
}

/// The last answer that came from another address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherSourceDocument {
    /// The address that it came from.
    pub address: SocketAddr,
    /// When it came.
    pub at: Option<String>,
}

impl From<&TargetSample> for CountsDocument {
    fn from(sample: &TargetSample) -> Self {
        let record = &sample.session.record;
        Self {
            sent: record.sent,
            received: record.received,
            results: sample.results().map(|(result, count)| (result.into(), count)).collect(),
            lost: record.lost,
            unsent: by_label::<UnsentReason>(&record.unsent),
            late: record.late,
            duplicates: record.duplicates,
            reordered: record.reordered,
            one_way_lost: by_label::<Direction>(&record.one_way_lost),
            invalid: by_label::<InvalidReason>(&record.invalid),
            other_source_replies: record.other_source_replies,
            last_other_source: record
                .last_other_source
                .as_deref()
                .map(|&(address, at)| OtherSourceDocument { address, at: rfc3339(at) }),
            icmp_errors: by_label::<IcmpKind>(&record.icmp_errors),
        }
    }
}
