//! What others may ask of a worker, and what it answers.

use std::net::SocketAddr;

use tokio::sync::oneshot;

use crate::model::UnmatchedReason;
use crate::observe::{TargetGlance, TargetLook, TargetSample};
use crate::session::Histogram;

/// What may be asked, from any thread; a worker looks at it between two rounds.
#[derive(Debug)]
pub(super) enum Command {
    /// The addresses of a target's name; none where the lookup failed.
    Resolved { number: u32, addresses: Vec<SocketAddr> },
    /// The figures of all targets.
    Sample(oneshot::Sender<WorkerSample>),
    /// All targets at a glance.
    Glance(oneshot::Sender<WorkerGlance>),
    /// Some targets, few, looked at closely.
    Look(Vec<usize>, oneshot::Sender<Vec<TargetLook>>),
    /// Send nothing more.
    Stop,
    /// Say when nothing more falls due and all is settled.
    Settle(oneshot::Sender<()>),
}

/// The figures of one worker.
#[derive(Debug)]
pub(super) struct WorkerSample {
    pub(super) targets: Vec<TargetSample>,
    pub(super) schedule_lag: Histogram,
    pub(super) receive_drops: u64,
    pub(super) unmatched: [u64; UnmatchedReason::COUNT],
    pub(super) impaired: bool,
}

/// The targets of one worker at a glance.
#[derive(Debug)]
pub(super) struct WorkerGlance {
    pub(super) targets: Vec<TargetGlance>,
    pub(super) impaired: bool,
}
