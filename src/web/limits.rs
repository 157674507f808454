//! The limits of the server for its clients.

use std::time::Duration;

/// How much a client may ask of the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time.
    pub(super) connections: usize,
    /// Connections of one client at a time.
    pub(super) share: usize,
    /// Further connections, for health checks.
    pub(super) reserve: usize,
    /// Octets of a request's header.
    pub(super) header_size: usize,
    /// From the first octet of a header to its last.
    pub(super) header: Duration,
    /// From an answer to the next request.
    pub(super) idle: Duration,
    /// For the client to accept the next octets of an answer.
    pub(super) stall: Duration,
    /// For an answer as a whole.
    pub(super) answer: Duration,
    /// For the answers under way at shutdown.
    pub(super) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            share: 64,
            reserve: 16,
            header_size: 16 << 10,
            header: Duration::from_secs(10),
            // More than the usual minute between scrapes, so that they share a connection.
            idle: Duration::from_secs(75),
            // The default scrape timeout of Prometheus.
            stall: Duration::from_secs(10),
            answer: Duration::from_secs(120),
            drain: Duration::from_secs(5),
        }
    }
}
