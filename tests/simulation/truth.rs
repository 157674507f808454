//! What was really done, as plain lists: the words that the world and the model share.
//!
//! Targets are numbered in the order in which they come. One that goes and comes again has another
//! number then; one that is changed keeps its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use udp_heartbeat::config::Target;
use udp_heartbeat::model::{IcmpKind, Moment, Mono, UnsentReason, Wall};
use udp_heartbeat::probe::Happening;

use crate::figures::Figures;
use crate::scenario::Foreign;

/// One round of the probe: everything it was shown, in the order in which it was shown.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) began: Mono,
    /// What the clock said first.
    pub(crate) at: Moment,
    /// The earliest moment at which this round could begin, as the one before demanded a pause.
    pub(crate) earliest: Mono,
    pub(crate) orders: Vec<Order>,
    pub(crate) inputs: Vec<Input>,
    /// The heartbeats that were handed to the kernel.
    pub(crate) attempts: Vec<Attempt>,
    /// The last reading of the clock.
    pub(crate) leaving: Moment,
}

/// Something that was carried out before the sockets were read.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// So many changes could be begun at `at`, and were at `begun`.
    Apply {
        at: Mono,
        begun: Mono,
        count: usize,
    },
    Change(Change),
    /// What a name was found to mean, and when the worker could know it.
    Lookup {
        at: Mono,
        name: String,
        found: Vec<IpAddr>,
    },
    /// These targets are looked at closely, at this moment; by the number of the question.
    Look(u64, Vec<usize>, Moment),
    Stop,
}

/// A change of one target; `found` are the addresses of its name as far as they are known.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Add { number: usize, target: Arc<Target>, found: Option<Vec<IpAddr>> },
    Remove { number: usize },
    Retune { number: usize, target: Arc<Target>, found: Option<Vec<IpAddr>> },
}

/// What each target looked at must have shown, by the number of the question; nothing where it had
/// gone.
pub(crate) type Looks = BTreeMap<u64, Vec<(usize, Option<Figures>)>>;

/// Something that waited at a socket and was read.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The transmit timestamp of this target's heartbeat of this number.
    Transmitted {
        target: usize,
        sequence: u64,
    },
    Icmp(Returned),
    /// A datagram, and when it was read.
    Arrival(Delivered, Moment),
}

impl Input {
    pub(crate) fn is_arrival(&self) -> bool {
        matches!(self, Self::Arrival(..))
    }
}

/// A heartbeat that was handed to the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) target: usize,
    pub(crate) sequence: u64,
    pub(crate) leaving: Moment,
    /// Why the kernel did not take it, if it did not.
    pub(crate) refused: Option<UnsentReason>,
}

/// An ICMP error about a heartbeat.
#[derive(Debug, Clone)]
pub(crate) struct Returned {
    pub(crate) about: SocketAddr,
    pub(crate) kind: IcmpKind,
    /// The heartbeat that comes back with it, if one does: whose it is, and its number.
    pub(crate) quoted: Option<(usize, u64)>,
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
    /// How many datagrams the kernel had dropped on this socket, if it reports any.
    pub(crate) drops: Option<u32>,
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

/// What happened to targets, by their numbers; none is there to which nothing did.
pub(crate) type Happenings = BTreeMap<usize, Vec<Told>>;

/// What a round came to: as the probe did it, or as the model says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Deeds {
    /// Heartbeats that were handed to the kernel, by target and number, in that order.
    pub(crate) sent: Vec<(usize, u64)>,
    /// What happened to each target, in order.
    pub(crate) happenings: Happenings,
}
