//! The options of a probe.

use std::num::NonZeroUsize;

use super::event::Detail;

/// The options of a probe.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// How much is reported as [`Event`](super::Event)s.
    pub detail: Detail,
    /// When each target's first heartbeat is due.
    pub begin: Begin,
    /// Every target stops after this many heartbeats; `None` for no limit.
    pub limit: Option<u64>,
    /// The number of threads; each has its own sockets and its share of the targets.
    pub workers: NonZeroUsize,
}

/// When the first heartbeats are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Spread over each target's interval by its name, so that many targets do not send in a burst.
    Spread,
    /// All at once.
    AtOnce,
}
