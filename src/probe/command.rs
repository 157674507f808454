//! What others may ask of a worker, and what it answers.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::Target;
use crate::model::{TargetId, UnmatchedReason};
use crate::observe::{TargetGlance, TargetLook, TargetSample};
use crate::session::Histogram;

/// What may be asked, from any thread; a worker carries it out between two rounds, in the order in
/// which it was asked.
#[derive(Debug)]
pub enum Command {
    /// Change the set of targets, some of them in each round, and say so when it is done. Whatever
    /// is asked later waits for that.
    Apply(Vec<Order>, oneshot::Sender<()>),
    /// The addresses of a name, for all targets that have it; none where the lookup failed.
    Resolved {
        /// The name as it is configured.
        name: Arc<str>,
        /// The addresses in order of preference, whatever their ports.
        addresses: Arc<[SocketAddr]>,
    },
    /// The figures of all targets.
    Sample(oneshot::Sender<WorkerSample>),
    /// All targets at a glance.
    Glance(oneshot::Sender<WorkerGlance>),
    /// Some targets, few, looked at closely; `None` for each that is not there any more.
    Look(Vec<TargetId>, oneshot::Sender<Vec<Option<TargetLook>>>),
    /// Send nothing more.
    Stop,
    /// Say when nothing more falls due and all is settled.
    Settle(oneshot::Sender<()>),
}

/// A change of one target.
#[derive(Debug, Clone)]
pub enum Order {
    /// A new target.
    Add(TargetId, Addressed),
    /// A target that goes.
    Remove(TargetId),
    /// A target that stays, with other settings.
    Retune(TargetId, Addressed),
}

/// A target, and the addresses of its name as far as they are known.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// The target.
    pub target: Arc<Target>,
    /// The addresses in order of preference; `None` while no lookup has ended.
    pub found: Option<Arc<[SocketAddr]>>,
}

impl Addressed {
    /// A target of whose name nothing is known.
    #[must_use]
    pub fn new(target: &Arc<Target>) -> Self {
        Self { target: target.clone(), found: None }
    }
}

/// The figures of one worker.
#[derive(Debug)]
pub struct WorkerSample {
    /// One for each target that was there from the first to the last.
    pub targets: Vec<(TargetId, TargetSample)>,
    /// How late heartbeats left, in nanoseconds.
    pub schedule_lag: Histogram,
    /// Datagrams that the kernel dropped on the worker's sockets.
    pub receive_drops: u64,
    /// Datagrams that belong to no target.
    pub unmatched: [u64; UnmatchedReason::COUNT],
    /// Whether the probe itself cannot be believed at present.
    pub impaired: bool,
}

/// The targets of one worker at a glance.
#[derive(Debug)]
pub struct WorkerGlance {
    /// One for each target that was there from the first to the last.
    pub targets: Vec<(TargetId, TargetGlance)>,
    /// Whether the probe itself cannot be believed at present.
    pub impaired: bool,
}
