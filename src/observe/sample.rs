//! Figures of the probe and its targets at one moment, gathered from the workers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Target;
use crate::model::{
    ClockAccuracy, Label as _, LookupFailure, StampSource, State, UnmatchedReason, Wall,
};
use crate::session::{Glance, Histogram, Rare, Recent, Recording, Snapshot};

use super::diagnosis::{Diagnosis, Evidence, diagnose};

/// The probe and all its targets.
#[derive(Debug, Clone)]
pub struct ProbeSample {
    /// One for each configured target, in the order of the configuration.
    pub targets: Vec<TargetSample>,
    /// The names of all configured labels of all targets, without `target`.
    pub label_names: BTreeSet<String>,
    /// How late heartbeats left, in nanoseconds.
    pub schedule_lag: Histogram,
    /// Datagrams that the kernel dropped on the probe's own sockets.
    pub receive_drops: u64,
    /// Fresh source ports that were opened because targets stayed down.
    pub fresh_ports: u64,
    /// The number of round-trip delays, by the source of their timestamps.
    pub timestamps: [u64; StampSource::COUNT],
    /// Datagrams and ICMP errors that belong to no target.
    pub unmatched: [u64; UnmatchedReason::COUNT],
    /// Whether the probe is impaired: its figures are unreliable at present.
    pub impaired: bool,
    /// How far the wall clock may be off.
    pub clock: ClockAccuracy,
    /// When the figures were gathered.
    pub at: Wall,
    /// When the configuration in force was loaded.
    pub config_loaded_at: Wall,
    /// Whether it is the newest one: false if a later one could not be loaded.
    pub config_is_newest: bool,
}

/// One target.
#[derive(Debug, Clone)]
pub struct TargetSample {
    /// The configuration of the target.
    pub target: Arc<Target>,
    /// The address to which heartbeats go, once the name has been resolved.
    pub address: Option<SocketAddr>,
    /// Whether the last lookup of the name succeeded; always true for a literal address.
    pub resolved: bool,
    /// Why the last lookup of the name gave it no address; `None` if it did, or has not ended.
    pub lookup_failure: Option<LookupFailure>,
    /// Numbers of lookups that gave it no address, by [`LookupFailure`].
    pub lookup_failures: Rare<{ LookupFailure::COUNT }>,
    /// How often the address to which heartbeats go has changed.
    pub address_changes: u64,
    /// Whether the worker that probes it is impaired at present.
    pub impaired: bool,
    /// Its figures.
    pub session: Snapshot,
}

impl TargetSample {
    /// Heartbeats answered in time, by the result that the answer reports: one count for each
    /// result of the target's protocol.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let results = self.target.protocol.protocol().results();
        results.iter().copied().zip(self.session.record.results.iter().copied())
    }

    /// Lookups that gave it no address, by reason; nothing for a literal address.
    pub fn lookup_failures(&self) -> impl Iterator<Item = (LookupFailure, u64)> + '_ {
        let is_name = self.target.lookup_name().is_some();
        let counts = self.lookup_failures.iter().filter(move |_| is_name);
        LookupFailure::ALL.iter().copied().zip(counts.copied())
    }

    /// The evidence about the target's trouble at `at`.
    #[must_use]
    pub fn evidence(&self, at: Wall) -> Evidence {
        Evidence {
            at,
            symptoms: self.session.symptoms,
            endpoint: self.address,
            resolved: self.resolved,
            lookup_failure: self.lookup_failure,
            impaired: self.impaired,
        }
    }

    /// Why the target is in trouble at `at`; `None` if there is nothing to explain.
    #[must_use]
    pub fn diagnosis(&self, at: Wall) -> Option<Diagnosis> {
        diagnose(&self.target, &self.evidence(at))
    }
}

impl TargetLook {
    /// Why the target is in trouble; `None` if there is nothing to explain.
    #[must_use]
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        self.sample.diagnosis(self.at)
    }
}

/// The figures for a list of all targets.
#[derive(Debug, Clone)]
pub struct Overview {
    /// One for each configured target, in the order of the configuration.
    pub targets: Vec<TargetGlance>,
    /// Whether the probe is impaired: its figures are unreliable at present.
    pub impaired: bool,
}

/// The figures of one target in a list.
#[derive(Debug, Clone)]
pub struct TargetGlance {
    /// The configuration of the target.
    pub target: Arc<Target>,
    /// Its figures.
    pub glance: Glance,
}

/// Everything known about one target, for its page.
#[derive(Debug, Clone)]
pub struct TargetLook {
    /// When the figures were gathered.
    pub at: Wall,
    /// Its figures.
    pub sample: TargetSample,
    /// The figures for a list.
    pub glance: Glance,
    /// The history of its last minutes.
    pub recent: Recent,
    /// Its last changes of state, newest first: the new state and the time.
    pub changes: Vec<(State, Wall)>,
    /// The contents of its flight recorder.
    pub recording: Recording,
}
