//! What a scrape sees of the probe: figures of one moment, gathered from the workers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Target;
use crate::model::{StampSource, UnmatchedReason, Wall};
use crate::session::{Histogram, Recording, Snapshot};

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
    /// Its figures.
    pub session: Snapshot,
}

/// One target, looked at closely.
#[derive(Debug, Clone)]
pub struct TargetLook {
    /// Its figures.
    pub sample: TargetSample,
    /// What its flight recorder holds.
    pub recording: Recording,
}
