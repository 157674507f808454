//! The description of a protocol, which is the same for all its targets, and the limits of all
//! protocols.

use super::Reflect;

/// The longest datagram that a responder answers and that a probe reads, in octets: the largest
/// payload of UDP over IPv6 (RFC 8200 section 4.5 without jumbograms). Over IPv4, it is 65,507. A
/// sender may pad STAMP requests to any size (RFC 8762 section 4.6, RFC 8972 section 4.1), and the
/// reply has the same size.
pub const LARGEST_DATAGRAM: usize = 65_527;

/// The longest datagram that any protocol sends without padding, and the longest request or reply of
/// a text protocol, in octets.
///
/// No datagram of this length is fragmented on a link that supports IPv6 (RFC 8200 section 5: 1,280
/// octets).
pub const MAX_DATAGRAM: usize = 1024;

/// How many [results](super::Protocol::results) a protocol can have.
pub const MAX_RESULTS: usize = 8;

/// The description of a protocol, which is the same for all its targets.
#[derive(Debug)]
pub(super) struct Description {
    /// The name in configuration, on the command line and in labels: lower case, unique.
    pub(super) name: &'static str,
    /// One line for help texts: who supports it, and what it reports.
    pub(super) summary: &'static str,
    /// The port on which servers of the protocol listen by convention, if there is one.
    pub(super) port: Option<u16>,
    /// The keys of its options, in addition to the keys that every protocol has.
    pub(super) keys: &'static [&'static str],
    /// How many low bits of a heartbeat's number a reply carries; see
    /// [`Prober::sequence_bits`](super::Prober::sequence_bits).
    pub(super) sequence_bits: u32,
    /// Whether the numbers of a target's heartbeats begin at random. This is for protocols in which
    /// the number is the only part of a reply that an attacker must guess.
    pub(super) random_start: bool,
    /// The results that a reply can report, as label values; at most [`MAX_RESULTS`].
    pub(super) results: &'static [&'static str],
    /// The reflecting half; `None` if responders do not answer the protocol.
    pub(super) reflect: Option<&'static dyn Reflect>,
    /// For a protocol that only other servers answer: whether a datagram is one of its replies, so
    /// that a responder does not take it for a request.
    pub(super) is_reply: Option<fn(&[u8]) -> bool>,
}

impl Description {
    /// A protocol with this name and summary, and nothing optional.
    pub(super) const fn new(name: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            summary,
            port: None,
            keys: &[],
            sequence_bits: u32::BITS,
            random_start: false,
            results: &[],
            reflect: None,
            is_reply: None,
        }
    }
}
