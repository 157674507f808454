//! Figures of the probe and its targets at one moment, gathered from the workers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Target;
use crate::model::{StampSource, State, UnmatchedReason, Wall};
use crate::session::{Glance, Histogram, Recent, Recording, Snapshot};

use super::diagnosis::{Diagnosis, Evidence, diagnose};

/// The probe and all its targets.
#[derive(Debug, Clone)]
pub struct ProbeSample {
    /// One for each configured target, in the order of the configuration.
    pub targets: Vec<TargetSample>,
    /// The names of all labels that any target carries, beside `target`.
    pub label_names: BTreeSet<String>,
    /// How late heartbeats left, in nanoseconds.
    pub schedule_lag: Histogram,
    /// Datagrams the kernel dropped on the probe's own sockets.
    pub receive_drops: u64,
    /// Round-trip delays by the source of their stamps.
    pub timestamps: [u64; StampSource::COUNT],
    /// Datagrams from nobody who is probed.
    pub unmatched: [u64; UnmatchedReason::COUNT],
    /// Whether the probe itself cannot be believed at present.
    pub impaired: bool,
    /// Whether the last (re)load of the configuration succeeded.
    pub config_loaded: bool,
    /// When the figures were gathered.
    pub at: Wall,
    /// When the configuration in force was loaded.
    pub config_loaded_at: Wall,
}

/// One target.
#[derive(Debug, Clone)]
pub struct TargetSample {
    /// What was configured.
    pub target: Arc<Target>,
    /// Where heartbeats go, once the name has been resolved.
    pub address: Option<SocketAddr>,
    /// Whether the last lookup of the name succeeded; always, for a literal address.
    pub resolved: bool,
    /// How often the name has come to mean another address.
    pub address_changes: u64,
    /// Whether the worker that probes it cannot be believed at present.
    pub impaired: bool,
    /// Its figures.
    pub session: Snapshot,
}

impl TargetSample {
    /// The heartbeats answered in time, by the result that the answer reports: one count for each
    /// result that the target's protocol has.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let results = self.target.protocol.protocol().results();
        results.iter().copied().zip(self.session.record.results.iter().copied())
    }

    /// What is known at `at` of the target's trouble.
    #[must_use]
    pub fn evidence(&self, at: Wall) -> Evidence {
        Evidence {
            at,
            symptoms: self.session.symptoms,
            endpoint: self.address,
            resolved: self.resolved,
            impaired: self.impaired,
        }
    }

    /// Why the target is in trouble at `at`; `None` where there is nothing to explain.
    #[must_use]
    pub fn diagnosis(&self, at: Wall) -> Option<Diagnosis> {
        diagnose(&self.target, &self.evidence(at))
    }
}

impl TargetLook {
    /// Why the target is in trouble; `None` where there is nothing to explain.
    #[must_use]
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        self.sample.diagnosis(self.at)
    }
}

/// All targets at a glance.
#[derive(Debug, Clone)]
pub struct Overview {
    /// One for each configured target, in the order of the configuration.
    pub targets: Vec<TargetGlance>,
    /// Whether the probe itself cannot be believed at present.
    pub impaired: bool,
    /// Whether the last (re)load of the configuration succeeded.
    pub config_loaded: bool,
}

/// One target at a glance.
#[derive(Debug, Clone)]
pub struct TargetGlance {
    /// What was configured.
    pub target: Arc<Target>,
    /// Its figures.
    pub glance: Glance,
}

/// One target, looked at closely.
#[derive(Debug, Clone)]
pub struct TargetLook {
    /// When it was looked at.
    pub at: Wall,
    /// Its figures.
    pub sample: TargetSample,
    /// The same at a glance.
    pub glance: Glance,
    /// Its last minutes.
    pub recent: Recent,
    /// Its last changes of state, the newest first: what it became, and when.
    pub changes: Vec<(State, Wall)>,
    /// What its flight recorder holds.
    pub recording: Recording,
}
