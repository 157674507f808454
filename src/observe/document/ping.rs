//! `ping --json`: the figures of a whole run.

use serde::{Deserialize, Serialize};

use crate::model::Wall;
use crate::observe::{Diagnosis, TargetSample};

use super::{CountsDocument, Word};

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PingDocument {
    /// The target as it was given.
    pub target: String,
    /// Where heartbeats went.
    pub address: Option<String>,
    /// How they look on the wire.
    pub protocol: Word,
    /// What its heartbeats came to, as keys of this document.
    #[serde(flatten)]
    pub counts: CountsDocument,
    /// Lost over sent; null where nothing was sent.
    pub loss_ratio: Option<f64>,
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
        let counts = CountsDocument::from(sample);
        Self {
            target,
            address: sample.address.map(|address| address.to_string()),
            protocol: sample.target.protocol.name().into(),
            loss_ratio: (counts.sent > 0).then(|| counts.lost as f64 / counts.sent as f64),
            counts,
            rtt_seconds,
            down,
            diagnosis: sample.diagnosis(at),
        }
    }
}
