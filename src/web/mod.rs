//! HTTP for both programs: connections enter; metrics, pages and JSON leave.
//!
//! [`serve`] accepts connections on one listener and answers them from [`Routes`], on tokio's
//! current-thread runtime. What is long is written on a blocking thread and streamed in chunks,
//! so that neither a large probe nor a slow reader holds up anyone else.
//!
//! Nobody who connects is trusted. Connections are bounded in number, the longest idle giving way
//! to the newest; a header is bounded in size and time, an answer in time and in time without
//! progress; request bodies are not read but for one path of the responder, and bounded there; and
//! what is being written is bounded in number, each holding a few chunks.

mod body;
mod connection;
mod faults;
mod negotiate;
mod overviews;
mod page;
mod queue;
mod routes;
mod server;
mod view;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::net::TcpListener;

pub use faults::FaultControl;
pub use routes::Routes;

/// Answers what comes to `listener` until `shutdown` resolves; then lets answers under way finish,
/// for a few seconds at most, and returns.
///
/// Nothing that a client or the kernel does ends it earlier. Must be called on a tokio runtime
/// with its timer and IO enabled.
pub async fn serve(listener: TcpListener, routes: Routes, shutdown: impl Future<Output = ()>) {
    server::run(listener, routes, Limits::default(), shutdown).await;
}

/// How much a client may ask of the server.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at a time.
    connections: usize,
    /// Octets of a request's header.
    header_size: usize,
    /// From the first octet of a header to its last.
    header: Duration,
    /// From an answer to the next request.
    idle: Duration,
    /// Without an octet of an answer accepted by the client's end.
    stall: Duration,
    /// For an answer as a whole.
    answer: Duration,
    /// For the answers under way at shutdown.
    drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            header_size: 16 << 10,
            header: Duration::from_secs(10),
            // Longer than the usual minute between scrapes, so that they share a connection.
            idle: Duration::from_secs(75),
            // As long as a scrape may take in all by Prometheus's default.
            stall: Duration::from_secs(10),
            answer: Duration::from_secs(120),
            drain: Duration::from_secs(5),
        }
    }
}
