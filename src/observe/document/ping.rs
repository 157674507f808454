//! `ping --json`: the figures of one run.

use serde::{Deserialize, Serialize};

use crate::model::Wall;
use crate::observe::TargetSample;

use super::{CountsDocument, DiagnosisDocument, Word};

/// The figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PingDocument {
    /// The target as it was given on the command line.
    pub target: String,
    /// The address to which heartbeats were sent.
    pub address: Option<String>,
    /// The protocol of the heartbeats.
    pub protocol: Word,
    /// The counts of its heartbeats, as keys of this document.
    #[serde(flatten)]
    pub counts: CountsDocument,
    /// Lost over sent; null if nothing was sent.
    pub loss_ratio: Option<f64>,
    /// Round-trip delays; null if nothing was received.
    pub rtt_seconds: Option<DelaysDocument>,
    /// Whether the target was down at the end of the run.
    pub down: bool,
    /// Whether UDP port 862 of the host, on which routers listen, answers; null if it was not tried.
    #[serde(default)]
    pub router_port_answers: Option<bool>,
    /// The target with that port, as it is given on the command line; null if it was not tried.
    #[serde(default)]
    pub router: Option<String>,
    /// Why the target is in trouble; null if there is nothing to explain.
    pub diagnosis: Option<DiagnosisDocument>,
}

/// Round-trip delays, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DelaysDocument {
    /// The minimum.
    pub min: f64,
    /// The mean.
    pub avg: f64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub max: f64,
    /// The standard deviation, as in ping(8).
    pub mdev: f64,
}

impl PingDocument {
    /// The document of a run to `target`, from `sample`, gathered at `at`.
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
            router_port_answers: None,
            router: None,
            diagnosis: sample.diagnosis(at).map(Into::into),
        }
    }
}
