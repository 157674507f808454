//! Datagrams in batches: an [`Outbox`] has those to be sent, an [`Inbox`] the received ones as
//! [`Datagram`]s. All memory is allocated when they are made.

mod inbox;
pub(super) mod mmsg;
mod outbox;

pub use inbox::{Datagram, Inbox};
pub use outbox::Outbox;
