//! A heartbeat on its way from the fleet to the network.

use std::net::SocketAddr;

use crate::model::{ClockAccuracy, Mono, TargetId, Wall};
use crate::wire::Request;

use super::detour::Wanted;

/// A heartbeat to send: encode it, send it, and report the outcome to the fleet.
#[derive(Debug, Clone, Copy)]
pub struct Transmit {
    /// To pass to [`Fleet::handle_sent`](super::Fleet::handle_sent) or
    /// [`Fleet::handle_unsent`](super::Fleet::handle_unsent).
    pub ticket: Ticket,
    /// The destination.
    pub peer: SocketAddr,
    pub(super) session: u32,
    /// Its number on the wire.
    pub(super) number: u32,
    /// Whether its target has packet options other than the default ones.
    pub(super) has_packet_options: bool,
    /// The source port that it is to leave from.
    pub(super) port: Wanted,
}

/// Identifies a heartbeat of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) id: TargetId,
    pub(super) sequence: u64,
    pub(super) due: Mono,
}

impl Transmit {
    /// The contents of the heartbeat if it leaves at `at`, a time from a clock of this accuracy, as
    /// [`Fleet::encode`](super::Fleet::encode) encodes them.
    #[must_use]
    pub fn request(&self, at: Wall, accuracy: ClockAccuracy) -> Request {
        Request { accuracy, ..Request::new(self.session, self.number, at) }
    }
}
