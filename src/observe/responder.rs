//! What a responder shows about itself besides its counters.

use std::net::SocketAddr;

/// Where a responder listens, and its impairments.
#[derive(Debug, Clone, Default)]
pub struct ResponderStatus {
    /// Where it listens for heartbeats.
    pub listeners: Vec<SocketAddr>,
    /// Its impairments as text; empty in production. Not shown if the impairments can change at run
    /// time: the page then shows the current ones.
    pub impairments: Vec<String>,
}
