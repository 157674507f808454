//! The events that a fleet reports.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Target;
use crate::model::{IcmpKind, State, UnsentReason, Wall};
use crate::observe::{Diagnosis, Evidence, diagnose};
use crate::session::Answered;

/// How much a fleet reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Changes of state only.
    Changes,
    /// The outcome of every heartbeat as well.
    Heartbeats,
}

/// Something that happened to a target.
#[derive(Debug, Clone)]
pub struct Event {
    /// The target that it happened to.
    pub target: Arc<Target>,
    /// When.
    pub at: Wall,
    /// What happened.
    pub what: Happening,
    /// The evidence for a change of the verdict; `None` for other events.
    pub evidence: Option<Evidence>,
}

impl Event {
    /// The diagnosis at a change of the verdict; `None` if there is nothing to explain.
    #[must_use]
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        diagnose(&self.target, self.evidence.as_ref()?)
    }
}

/// Why heartbeats go to another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// The target was configured with another address, or its name no longer has the former one.
    Changed,
    /// The former address did not answer, or heartbeats to it could not leave.
    Failed,
}

impl Move {
    /// The reason, as a clause.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Changed => "the configuration or the addresses of the name have changed",
            Self::Failed => "the former address does not answer, or heartbeats to it do not leave",
        }
    }
}

/// Why heartbeats leave from another source port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortChange {
    /// Only heartbeats from a fresh port are answered.
    Detoured,
    /// A heartbeat from the usual port was answered again.
    Returned,
}

impl PortChange {
    /// The reason, as a clause.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Detoured => {
                "only heartbeats from a fresh port are answered: a NAT or load balancer on the path \
                 has an outdated entry for the usual one"
            }
            Self::Returned => "a heartbeat from the usual port was answered",
        }
    }
}

/// What happened to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The verdict changed.
    Changed {
        /// The new verdict.
        state: State,
        /// The longest run of misses newer than the newest answered heartbeat.
        misses: u64,
        /// Whether there was no verdict before.
        is_first: bool,
    },
    /// A reply came.
    Answered {
        /// What the reply was.
        what: Answered,
        /// Its hop limit, if the kernel reports it.
        ttl: Option<u8>,
    },
    /// An answer to a heartbeat came from another address. It does not settle the heartbeat.
    OtherSource {
        /// The number of the heartbeat.
        sequence: u64,
        /// The address that the answer came from.
        from: SocketAddr,
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
    /// Heartbeats leave from another source port from now on, except those that try the usual one.
    PortChanged(PortChange),
    /// Heartbeats go to another address from now on.
    Moved {
        /// The address until now.
        from: SocketAddr,
        /// The new address.
        to: SocketAddr,
        /// Why.
        why: Move,
    },
}
