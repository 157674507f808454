//! Batches of datagrams: an [`Outbox`] contains datagrams to send, an [`Inbox`] received
//! [`Datagram`]s. All memory is allocated when they are made.

mod inbox;
pub(super) mod mmsg;
mod outbox;

pub use inbox::{Datagram, Inbox};
pub use outbox::Outbox;
