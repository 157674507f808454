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
pub(super) enum Command {
    /// Change the set of targets, some of them in each round, and say so when it is done. Whatever
    /// is asked later waits for that.
    Apply(Vec<Order>, oneshot::Sender<()>),
    /// The addresses of a name, for all targets that have it; none where the lookup failed.
    Resolved { name: Arc<str>, addresses: Arc<[SocketAddr]> },
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
pub(super) enum Order {
    /// A new target.
    Add(TargetId, Addressed),
    /// A target that goes.
    Remove(TargetId),
    /// A target that stays, with other settings.
    Retune(TargetId, Addressed),
}

/// A target, and the addresses of its name as far as they are known.
#[derive(Debug, Clone)]
pub(super) struct Addressed {
    pub(super) target: Arc<Target>,
    pub(super) found: Option<Arc<[SocketAddr]>>,
}

impl Addressed {
    /// A target of whose name nothing is known.
    pub(super) fn new(target: &Arc<Target>) -> Self {
        Self { target: target.clone(), found: None }
    }
}

/// The figures of one worker.
#[derive(Debug)]
pub(super) struct WorkerSample {
    pub(super) targets: Vec<(TargetId, TargetSample)>,
    pub(super) schedule_lag: Histogram,
    pub(super) receive_drops: u64,
    pub(super) unmatched: [u64; UnmatchedReason::COUNT],
    pub(super) impaired: bool,
}

/// The targets of one worker at a glance.
#[derive(Debug)]
pub(super) struct WorkerGlance {
    pub(super) targets: Vec<(TargetId, TargetGlance)>,
    pub(super) impaired: bool,
}
