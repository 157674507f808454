//! HTTP for both programs: the routes, the pages, and a server that any client may connect to.
//!
//! The way of a request: `server` accepts the connection, `connection` reads the request, over TLS if
//! `access` says so, and follows its phases, `gate` checks the password, `router` finds the handler (`probe`, `responder`, `impairments`) and adds
//! common headers to its answer, the handler gathers the contents, and `page` or an encoder writes
//! them.
//!
//! axum routes, hyper speaks HTTP, rustls speaks TLS, askama compiles the templates of the pages. Three things are
//! written here because no library has them: the time limits of each phase of a connection
//! (`phase`), the eviction of the longest idle connection (`queue`), and answers that are encoded
//! as the client reads them (`stream`), or once for all who wait (`shared`).
//!
//! No client is trusted. Connections are bounded in number, in all and for each client, and there is
//! a reserve for health checks; a header is bounded in size and time;
//! an answer is bounded in time, and in time without progress; a request body is read only if the
//! route needs one, and is bounded in size; long answers are bounded in number; one sample
//! of all targets is in memory at a time. A large probe or a slow client delays no other client.

mod access;
mod answer;
mod connection;
mod gate;
mod impairments;
mod limits;
mod negotiate;
mod overviews;
mod pace;
mod page;
mod passwords;
mod phase;
mod probe;
mod queue;
mod reload;
mod responder;
mod router;
mod seats;
mod server;
mod shared;
mod stream;
mod view;

#[cfg(test)]
mod tests;

use axum::Router;
use tokio::net::TcpListener;

use limits::Limits;

pub use access::Access;
pub use impairments::ImpairmentControl;
pub use probe::probe_router;
pub use reload::{ReloadControl, Reloading};
pub use responder::responder_router;

/// Answers requests to `listener` that `access` allows until `shutdown` resolves; then waits a few seconds at most for
/// the answers under way, and returns.
///
/// Neither a client nor an error of the kernel ends it earlier. Must be called on a tokio runtime
/// with timer and IO enabled.
pub async fn serve(
    listener: TcpListener,
    access: Access,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    server::run(listener, access, router, Limits::default(), shutdown).await;
}
