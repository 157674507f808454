//! The sending half of a protocol: encodes a target's requests and decodes its replies.

use std::any::Any;
use std::fmt;

use crate::model::{ClockAccuracy, Wall};

/// The sending half of a protocol, built for one target from its own
/// [options](super::ProtocolOptions). For STAMP, this is the Session-Sender (RFC 8762 section 4.2).
///
/// It also owns its key and the secret of this target. All methods are total and deterministic:
/// none reads a clock, draws a random number or panics.
pub trait Prober: Any + Send + Sync + fmt::Debug {
    /// The largest [`Request::session`] that the format can carry: one less than the number of
    /// targets that [share replies](Self::shares_replies_with) at one address and can be
    /// distinguished there. For STAMP, the SSID has 16 bits (RFC 8972 section 3).
    fn max_session(&self) -> u32;

    /// How many low bits of a heartbeat's number a reply carries, at most 32. Several heartbeats
    /// have the same low bits; the session assigns the reply to the one nearest to the newest
    /// heartbeat. For DNS, the ID has 16 bits (RFC 1035 section 4.1.1).
    fn sequence_bits(&self) -> u32 {
        u32::BITS
    }

    /// Whether this prober and `other` accept each other's replies, so that only the session number
    /// distinguishes their targets at one address. This is an equivalence relation.
    fn shares_replies_with(&self, other: &dyn Prober) -> bool;

    /// A hash that agrees with [`shares_replies_with`](Self::shares_replies_with): equal for two
    /// probers that share replies, and usually different for others. It is used only for protocols
    /// without session numbers (`max_session` is 0).
    fn replies_hash(&self) -> u64 {
        0
    }

    /// Writes a request to `out`, which is empty and has room for
    /// [`MAX_DATAGRAM`](super::MAX_DATAGRAM) octets; padding may exceed it (STAMP: RFC 8762 sections 4.2.1 and 4.2.2; DNS:
    /// RFC 1035 section 4.1).
    fn encode(&self, request: &Request, out: &mut Vec<u8>);

    /// Reads a reply (STAMP: RFC 8762 sections 4.3.1 and 4.3.2; DNS: RFC 5452 section 9.1).
    ///
    /// # Errors
    /// [`Unreadable`] if the octets are not a reply that this prober can expect.
    fn decode(&self, datagram: &[u8]) -> Result<Reply, Unreadable>;

    /// Whether `reply` repeats the time `sent` (t1) that its request carried: false for a corrupted
    /// or forged reply. True if the format repeats nothing that can be compared. STAMP repeats t1
    /// as the Session-Sender Timestamp (RFC 8762 section 4.3.1).
    fn confirms(&self, reply: &Reply, sent: Wall) -> bool;

    /// Whether [`confirms`](Self::confirms) alone identifies the target of a reply. If so, a reply
    /// whose session is missing or wrong belongs to the target whose heartbeat it confirms. STAMP
    /// repeats the whole timestamp; a reflector without RFC 8972 may have anything in the place of the
    /// SSID. Other protocols are asked first, because [`decode`](Self::decode) accepts almost any
    /// datagram.
    fn is_identified_by_echo(&self) -> bool {
        false
    }

    /// The reply that would answer a quoted request of this prober, or of one that shares replies
    /// with it: its session, sequence and echo. An ICMP error quotes as much of the
    /// request as the host that sent the error chose (RFC 1812 section 4.3.2.3, RFC 4443 section
    /// 2.4). `None` if the quote is too short or of another protocol.
    fn quoted(&self, request: &[u8]) -> Option<Reply>;
}

impl dyn Prober {
    /// This prober as type `P`, if it has this type.
    pub(super) fn as_a<P: Prober>(&self) -> Option<&P> {
        (self as &dyn Any).downcast_ref()
    }
}

/// The contents of one heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The session: which of the targets at one address the heartbeat belongs to. The first target
    /// has 0, so that a single target looks like a client without sessions. At most
    /// [`Prober::max_session`].
    pub session: u32,
    /// The heartbeat's number: the low 32 bits of the schedule's count, from 0 or from the
    /// [first number](super::Protocol::first_number) of the target.
    pub sequence: u32,
    /// When it is sent (t1).
    pub at: Wall,
    /// How far t1 may be off.
    pub accuracy: ClockAccuracy,
}

impl Request {
    /// A heartbeat of this session, with this number, sent at `at`, a time from a clock about which
    /// nothing is known.
    #[must_use]
    pub fn new(session: u32, sequence: u32, at: Wall) -> Self {
        Self { session, sequence, at, accuracy: ClockAccuracy::default() }
    }
}

/// The contents of one reply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reply {
    /// The session: which of the targets at the address it is for. `None` if the reflector does not
    /// report it (a STAMP reflector without RFC 8972).
    pub session: Option<u32>,
    /// The low [`Prober::sequence_bits`] bits of [`Request::sequence`] that it answers; the other
    /// bits are 0.
    pub sequence: u32,
    /// The request's t1 as the reply repeats it, for [`Prober::confirms`]; 0 if the protocol does
    /// not repeat it.
    pub echo: u64,
    /// Responder's receive time − sender's send time (t2 − t1), in nanoseconds: forward delay plus
    /// clock offset; may be negative.
    pub time_difference: Option<i64>,
    /// The responder's turnaround (t3 − t2), in nanoseconds, from its timestamps: negative if they are
    /// too imprecise, or if its clock stepped. The session decides whether it is credible.
    pub turnaround: Option<i64>,
    /// The reply's own number, if the protocol has one. A stateful reflector counts the replies of
    /// each session; a stateless reflector repeats `sequence`.
    pub number: Option<u32>,
    /// The reported result as an index into the protocol's [results](super::Protocol::results), if
    /// it has results.
    pub result: Option<u8>,
}

// It is copied for every reply.
const _: () = assert!(size_of::<Reply>() <= 64);

impl Reply {
    /// A reply to heartbeat `sequence` of a session, without further contents.
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
    /// The octets may be a reply, but the tag does not match the target's key.
    #[error("not authenticated by the key")]
    Unauthenticated,
    /// A well-formed reply to something other than what the target asks.
    #[error("a reply to another request")]
    Mismatch,
}
