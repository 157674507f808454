//! What really happened, as plain lists: the types that the world and the model share.
//!
//! Targets are numbered in the order in which they are added. A target that is removed and added
//! again gets another number; a changed target keeps its number.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use udp_heartbeat::config::Target;
use udp_heartbeat::model::{IcmpKind, Moment, Mono, UnsentReason, Wall};
use udp_heartbeat::probe::{Happening, SourcePort};

use crate::figures::Figures;
use crate::scenario::Foreign;

/// One round of the probe: its commands, what it read, and what it sent, each in order.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) began: Mono,
    /// The first reading of the clock.
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
    /// A batch of `count` changes, which could begin at `at` and began at `begun`.
    Apply {
        at: Mono,
        begun: Mono,
        count: usize,
    },
    Change(Change),
    /// The result of a lookup; the worker could know it at `at`.
    Lookup {
        at: Mono,
        name: String,
        found: Vec<IpAddr>,
    },
    /// A target whose address has failed tries another.
    Move(usize),
    /// A look: the number of the question, the targets, and when they are looked at.
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

/// What each look must show, by the number of the question: each target with its figures, `None` if
/// it has been removed.
pub(crate) type Looks = BTreeMap<u64, Vec<(usize, Option<Figures>)>>;

/// Something that waited at a socket and was read.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The transmit timestamp of a heartbeat.
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
    pub(crate) port: SourcePort,
    pub(crate) leaving: Moment,
    /// Why the kernel refused it; `None` if it did not.
    pub(crate) refused: Option<UnsentReason>,
}

/// An ICMP error about a heartbeat.
#[derive(Debug, Clone)]
pub(crate) struct Returned {
    pub(crate) about: SocketAddr,
    pub(crate) kind: IcmpKind,
    /// The target and the number of the heartbeat that it quotes, if it quotes one.
    pub(crate) quoted: Option<(usize, u64)>,
    pub(crate) quote: Vec<u8>,
}

/// A datagram that arrived at the probe.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    /// When it really arrived, whatever any clock says.
    pub(crate) at: Mono,
    pub(crate) from: SocketAddr,
    /// The port of the probe that it was sent to.
    pub(crate) to: u16,
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
    /// A reply from another address than the target's.
    Elsewhere { target: usize, sequence: u64 },
    /// A reply that was damaged and can still be read: it repeats this Unix second.
    Damaged { target: usize, sequence: u64, second: u64, travelled: Duration, received: Wall },
    /// A reply that was damaged beyond reading.
    Unreadable { target: usize },
    /// Not an answer; what it must be counted as.
    Foreign { target: Option<usize>, counts_as: Foreign },
}

/// Something that happened to a target, and when.
pub(crate) type Told = (Wall, Happening);

/// What happened to targets, by number, without targets to which nothing happened.
pub(crate) type Happenings = BTreeMap<usize, Vec<Told>>;

/// The results of a round: those of the probe, or those that the model expects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Deeds {
    /// Heartbeats that were handed to the kernel, by target and number, in that order.
    pub(crate) sent: Vec<(usize, u64)>,
    /// What happened to each target, in order.
    pub(crate) happenings: Happenings,
    /// The names that were to be looked up at once, in alphabetical order.
    pub(crate) lookups: Vec<String>,
}
