//! The interface to the kernel: sockets, clocks, timers, limits and name resolution.
//!
//! Datagrams are sent ([`Outbox`], sendmmsg(2)) and received ([`Inbox`], recvmmsg(2)) in batches. A
//! received datagram comes with its receive timestamp, source, local address and hop limit.
//! Transmit timestamps and ICMP errors arrive later, as [`Notice`]s from the error queue. Nothing
//! here reads the contents of datagrams.
//!
//! Code without system calls is in files of its own and is tested on octets: `cmsg` (control
//! messages), `name` (socket addresses), `notice` (messages of the error queue) and `numbering`
//! (which timestamp belongs to which datagram).

mod alarm;
mod batch;
mod clock;
mod cmsg;
mod discipline;
mod egress;
mod error;
mod fragmentation;
mod interfaces;
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
pub use discipline::{ClockAccuracyCache, clock_accuracy};
pub use egress::Egress;
pub use error::{BindError, SendError};
pub use interfaces::{Interfaces, interface_number};
pub use limits::raise_descriptor_limit;
pub use notice::Notice;
pub use readiness::Readiness;
pub use resolve::{Lookup, Resolver};
pub use socket::{Socket, SocketOptions};
pub use timer::Timer;

/// Waits for `awaited`, at most a minute.
#[cfg(test)]
pub(crate) async fn in_time<T>(awaited: impl Future<Output = T>) -> T {
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, awaited).await.expect("not done within 60 s")
}
