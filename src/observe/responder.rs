//! What a responder shows about itself besides its counters.

use std::net::SocketAddr;

/// Where a responder listens, and its impairments.
#[derive(Debug, Clone, Default)]
pub struct ResponderStatus {
    /// Where it listens for heartbeats.
    pub listeners: Vec<SocketAddr>,
    /// Its impairments at the start as text; empty in production. If the impairments can change at run
    /// time, the page shows the current ones instead.
    pub impairments: Vec<String>,
}
