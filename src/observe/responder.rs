//! What a responder shows of itself beside its counters.

use std::net::SocketAddr;

/// Where a responder listens, and what it does wrong on purpose.
#[derive(Debug, Clone, Default)]
pub struct ResponderStatus {
    /// Where it listens for heartbeats.
    pub listeners: Vec<SocketAddr>,
    /// What it does wrong on purpose, one impairment each, as text; empty in production. A
    /// responder whose impairments can change at runtime shows the current ones instead.
    pub impairments: Vec<String>,
}
