//! The edge to the kernel: sockets, clocks, timers, limits and name resolution.
//!
//! Batches leave ([`Outbox`], sendmmsg(2)) and arrive ([`Inbox`], recvmmsg(2)) with what the
//! kernel knows of each datagram: when it was received, from where, for which of our addresses,
//! with which hop limit. What it learns afterwards (transmit timestamps, ICMP errors) comes from
//! the error queue as [`Notice`]s. Nothing here knows what a heartbeat is.
//!
//! What is pure lies apart from the system calls, and is tested on octets: `cmsg` (control
//! messages), `name` (socket addresses), `notice` (the error queue's messages) and
//! `numbering` (which stamp belongs to which datagram).

mod alarm;
mod batch;
mod clock;
mod cmsg;
mod error;
mod limits;
mod name;
mod notice;
mod numbering;
mod readiness;
mod resolve;
mod socket;
mod timer;

pub use alarm::Alarm;
pub use batch::{Datagram, Inbox, Outbox};
pub use clock::now;
pub use error::{BindError, SendError};
pub use limits::raise_descriptor_limit;
pub use notice::Notice;
pub use readiness::Readiness;
pub use resolve::resolve;
pub use socket::{Socket, SocketOptions};
pub use timer::Timer;

/// What a test waits for must come within a minute.
#[cfg(test)]
pub(crate) async fn in_time<T>(awaited: impl Future<Output = T>) -> T {
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, awaited).await.expect("it never came to pass")
}
