//! What was really done, as plain lists: the words that the world and the model share.

use std::net::SocketAddr;
use std::time::Duration;

use udp_heartbeat::model::{IcmpKind, Mono, Stamp, UnsentReason, Wall};
use udp_heartbeat::probe::Happening;

use crate::scenario::Foreign;

/// One round of the probe: everything it was shown, in the order in which it was shown.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) at: Stamp,
    /// The probe had been told to stop.
    pub(crate) stopped: bool,
    /// What the names of these targets were found to mean, and when.
    pub(crate) lookups: Vec<(Mono, usize, Vec<SocketAddr>)>,
    /// ICMP errors.
    pub(crate) icmp: Vec<Returned>,
    pub(crate) arrivals: Vec<Delivered>,
    /// Why the kernel takes no heartbeat of each target at present.
    pub(crate) refusals: Vec<Option<UnsentReason>>,
}

/// An ICMP error about a heartbeat.
#[derive(Debug, Clone)]
pub(crate) struct Returned {
    pub(crate) at: Mono,
    pub(crate) about: SocketAddr,
    pub(crate) kind: IcmpKind,
    /// Whose heartbeat comes back with it, if one does.
    pub(crate) target: Option<usize>,
    pub(crate) quote: Vec<u8>,
}

/// A datagram that arrived at the probe.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    /// When it really arrived, whatever any clock says.
    pub(crate) at: Mono,
    pub(crate) from: SocketAddr,
    pub(crate) payload: Vec<u8>,
    pub(crate) says: Says,
}

/// What a datagram really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// A reply, as the responder wrote it.
    Answer { target: usize, sequence: u64, travelled: Duration, received: Wall },
    /// A reply that was damaged and can still be read: it repeats this Unix second.
    Damaged { target: usize, sequence: u64, second: u64, travelled: Duration, received: Wall },
    /// A reply that was damaged beyond reading.
    Unreadable { target: usize },
    /// Nothing of the kind.
    Foreign { target: Option<usize>, counts_as: Foreign },
}

/// Something that happened to a target, and when.
pub(crate) type Told = (Wall, Happening);

/// What a round came to: as the probe did it, or as the model says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Deeds {
    /// Heartbeats that left, by target and number, in that order.
    pub(crate) sent: Vec<(usize, u64)>,
    /// What happened to each target, in order.
    pub(crate) happenings: Vec<Vec<Told>>,
    pub(crate) impaired: bool,
}
