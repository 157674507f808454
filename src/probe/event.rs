//! What a fleet reports as it happens.

use std::sync::Arc;

use crate::config::Target;
use crate::model::{IcmpKind, State, UnsentReason, Wall};
use crate::observe::{Diagnosis, Evidence, diagnose};
use crate::session::Answered;

/// How much a fleet reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Changes of state alone.
    Changes,
    /// What becomes of every heartbeat.
    Heartbeats,
}

/// Something that happened to a target.
#[derive(Debug, Clone)]
pub struct Event {
    /// Whom it happened to.
    pub target: Arc<Target>,
    /// When.
    pub at: Wall,
    /// What happened.
    pub what: Happening,
    /// What explains a change of the verdict; `None` for anything else.
    pub evidence: Option<Evidence>,
}

impl Event {
    /// Why the target is in trouble at a change of its verdict; `None` where there is nothing to
    /// explain.
    #[must_use]
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        diagnose(&self.target, self.evidence.as_ref()?)
    }
}

/// What happened to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The verdict changed.
    Changed {
        /// The new verdict.
        state: State,
        /// Misses in a row that led to it.
        misses: u64,
    },
    /// A reply came; `ttl` is its hop limit, where the kernel tells it.
    Answered {
        /// What the reply was.
        what: Answered,
        /// The hop limit it arrived with.
        ttl: Option<u8>,
    },
    /// A heartbeat was not answered within the timeout.
    Lost {
        /// Its number.
        sequence: u64,
    },
    /// A heartbeat could not leave.
    Unsent {
        /// Its number.
        sequence: u64,
        /// Why.
        reason: UnsentReason,
    },
    /// An ICMP error came back.
    Icmp(IcmpKind),
}
