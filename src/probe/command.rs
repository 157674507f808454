//! The commands to a worker, and its answers.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::Target;
use crate::model::{Found, StampSource, TargetId, UnmatchedReason};
use crate::observe::{TargetGlance, TargetLook, TargetSample};
use crate::session::Histogram;

use super::health::Health;

/// A command from any thread. The worker carries commands out between two rounds, in order.
#[derive(Debug)]
pub enum Command {
    /// Change the set of targets, some of them in each round, and report when that is done. Later
    /// commands wait for it.
    Apply(Vec<Order>, oneshot::Sender<()>),
    /// The result of a lookup, for all targets that have the name.
    Resolved {
        /// The name as it is configured.
        name: Arc<str>,
        /// The addresses of the name, or why there is none.
        found: Found,
    },
    /// The figures of all targets.
    Sample(oneshot::Sender<WorkerSample>),
    /// All targets at a glance.
    Glance(oneshot::Sender<WorkerGlance>),
    /// The details of a few targets; `None` for each that has been removed.
    Look(Vec<TargetId>, oneshot::Sender<Vec<Option<TargetLook>>>),
    /// Whether the worker is impaired, and by what.
    Health(oneshot::Sender<Health>),
    /// Send nothing more.
    Stop,
    /// Report when nothing more falls due and everything is settled.
    Settle(oneshot::Sender<()>),
}

/// A change of one target.
#[derive(Debug, Clone)]
pub enum Order {
    /// A new target.
    Add(TargetId, Addressed),
    /// A target to remove.
    Remove(TargetId),
    /// A target that stays, with new settings.
    Retune(TargetId, Addressed),
}

/// A target, and the result of the last lookup of its name.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// The target.
    pub target: Arc<Target>,
    /// `None` before the first lookup has ended.
    pub found: Option<Found>,
}

impl Addressed {
    /// A target without known addresses.
    #[must_use]
    pub fn new(target: &Arc<Target>) -> Self {
        Self { target: target.clone(), found: None }
    }
}

/// The figures of one worker.
#[derive(Debug)]
pub struct WorkerSample {
    /// One for each target that was present throughout the gathering.
    pub targets: Vec<(TargetId, TargetSample)>,
    /// How late heartbeats left, in nanoseconds.
    pub schedule_lag: Histogram,
    /// Numbers of round-trip delays by the source of their timestamps; those of removed targets are
    /// included.
    pub timestamps: [u64; StampSource::COUNT],
    /// Datagrams that the kernel dropped on the worker's sockets.
    pub receive_drops: u64,
    /// How many fresh source ports the worker has opened.
    pub fresh_ports: u64,
    /// Numbers of datagrams that belong to no target, by reason.
    pub unmatched: [u64; UnmatchedReason::COUNT],
    /// Whether the probe itself is impaired at present.
    pub impaired: bool,
}

/// The targets of one worker at a glance.
#[derive(Debug)]
pub struct WorkerGlance {
    /// One for each target that was present throughout the gathering.
    pub targets: Vec<(TargetId, TargetGlance)>,
    /// Whether the probe itself is impaired at present.
    pub impaired: bool,
}
