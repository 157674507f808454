//! The sending half of a protocol: what a target's session encodes with, and what it reads replies
//! with.

use std::any::Any;
use std::fmt;

use crate::model::Wall;

/// The sending half of a protocol, built for one target from its own
/// [options](super::ProtocolOptions). For STAMP, this is the Session-Sender (RFC 8762 section 4.2).
///
/// It owns what it needs beyond them: its key, and what is drawn for this target alone. Everything
/// here is total and deterministic: no method reads a clock, draws a random number or panics.
pub trait Prober: Any + Send + Sync + fmt::Debug {
    /// The largest [`Request::session`] that the format can carry: one less than the number of
    /// targets that [share replies](Self::shares_replies_with) at one address and can be
    /// distinguished there. For STAMP, the SSID has 16 bits (RFC 8972 section 3).
    fn max_session(&self) -> u32;

    /// How many low bits of a heartbeat's number a reply carries, at most 32. The session takes a
    /// reply for the heartbeat nearest to the newest one that has these bits. For DNS, the ID has 16
    /// bits (RFC 1035 section 4.1.1).
    fn sequence_bits(&self) -> u32 {
        u32::BITS
    }

    /// Whether the two read each other's replies, so that only the session number distinguishes
    /// their targets at one address. This is an equivalence relation.
    fn shares_replies_with(&self, other: &dyn Prober) -> bool;

    /// The same number for two probers that [share replies](Self::shares_replies_with), and usually
    /// another one for others, as a hash is to equality. Where the protocol has sessions, nothing
    /// needs it.
    fn replies_hash(&self) -> u64 {
        0
    }

    /// Writes a request to `out`, which is empty and has room for
    /// [`MAX_DATAGRAM`](super::MAX_DATAGRAM) octets (STAMP: RFC 8762 sections 4.2.1 and 4.2.2; DNS:
    /// RFC 1035 section 4.1).
    fn encode(&self, request: &Request, out: &mut Vec<u8>);

    /// Reads a reply (STAMP: RFC 8762 sections 4.3.1 and 4.3.2; DNS: RFC 5452 section 9.1).
    ///
    /// # Errors
    /// [`Unreadable`] where the octets are not a reply that this prober can expect.
    fn decode(&self, datagram: &[u8]) -> Result<Reply, Unreadable>;

    /// Whether `reply` repeats what was sent at `sent` (t1): false for a corrupted or invented
    /// reply. True where the format repeats nothing that could be compared. STAMP repeats t1 as the
    /// Session-Sender Timestamp (RFC 8762 section 4.3.1).
    fn confirms(&self, reply: &Reply, sent: Wall) -> bool;

    /// The session of a request of this prober's target, or of one that it shares replies with, of
    /// which an ICMP error quotes as much as its sender chose (RFC 1812 section 4.3.2.3, RFC 4443
    /// section 2.4). `None` where the quote is too short, or of another protocol.
    fn quoted_session(&self, request: &[u8]) -> Option<u32>;
}

impl dyn Prober {
    /// This prober as one of type `P`, where it is one.
    pub(super) fn as_a<P: Prober>(&self) -> Option<&P> {
        (self as &dyn Any).downcast_ref()
    }
}

/// What the Session-Sender says in one heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Which of the targets at one address this is for: 0 for the first, so that a target alone at
    /// its address looks on the wire just as a client that knows of no sessions does. At most
    /// [`Prober::max_session`].
    pub session: u32,
    /// The heartbeat's number, from 0; the low 32 bits of the schedule's count.
    pub sequence: u32,
    /// When it is sent (t1).
    pub at: Wall,
}

impl Request {
    /// A heartbeat of a session, with its number, that is sent at `at`.
    #[must_use]
    pub const fn new(session: u32, sequence: u32, at: Wall) -> Self {
        Self { session, sequence, at }
    }
}

/// What the Session-Sender learns from one reply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reply {
    /// Which of the targets at the address it is for; `None` where the reflector does not say
    /// (a STAMP reflector without RFC 8972).
    pub session: Option<u32>,
    /// The low bits of the number of the heartbeat that it answers, as many as
    /// [`Prober::sequence_bits`] says; the other bits are 0.
    pub sequence: u32,
    /// What the reply repeats of the request's t1, for [`Prober::confirms`]; 0 where the protocol
    /// repeats nothing.
    pub echo: u64,
    /// Responder's receive time − sender's send time (t2 − t1), in nanoseconds, as answered:
    /// forward delay plus clock offset, so it may be negative.
    pub time_difference: Option<i64>,
    /// The responder's turnaround (t3 − t2), in nanoseconds; never negative.
    pub turnaround: Option<u64>,
    /// The reply's own number, where the protocol has one: a stateful reflector counts the replies
    /// of each session, a stateless one repeats `sequence`.
    pub number: Option<u32>,
    /// The result that it reports, where the protocol has [results](super::Protocol::results): the
    /// place among them.
    pub result: Option<u8>,
}

// It is copied for every reply.
const _: () = assert!(size_of::<Reply>() <= 64);

impl Reply {
    /// The reply to heartbeat `sequence` of a session that says nothing more.
    #[must_use]
    pub const fn to(session: Option<u32>, sequence: u32) -> Self {
        Self {
            session,
            sequence,
            echo: 0,
            time_difference: None,
            turnaround: None,
            number: None,
            result: None,
        }
    }
}

/// Why a datagram is not a valid reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The octets are not a reply of the protocol.
    #[error("not a reply of the protocol")]
    Malformed,
    /// The octets may be a reply, but their tag is not by the target's key.
    #[error("not authenticated by the key")]
    Unauthenticated,
    /// A well-formed reply to something other than what the target asks.
    #[error("a reply to another request")]
    Mismatch,
}
