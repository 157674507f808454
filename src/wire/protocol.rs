//! What is the same for every target that speaks a protocol, and the limits of all protocols.

use super::Reflect;

/// The longest datagram that any protocol sends, answers or recognises, in octets.
///
/// It keeps every datagram clear of fragmentation on any link that carries IPv6 (RFC 8200
/// section 5: 1,280 octets).
pub const MAX_DATAGRAM: usize = 1024;

/// How many [results](super::Protocol::results) a protocol can have.
pub const MAX_RESULTS: usize = 8;

/// What is the same for every target that speaks a protocol.
#[derive(Debug)]
pub(super) struct Description {
    /// The name in configuration, on the command line and in labels: lower case, unique.
    pub(super) name: &'static str,
    /// One line for help texts: what speaks it, what it reports.
    pub(super) summary: &'static str,
    /// The port that servers of the protocol listen on by convention, where there is one.
    pub(super) port: Option<u16>,
    /// The keys that a target may set, beside those of every protocol.
    pub(super) keys: &'static [&'static str],
    /// The results that a reply can report, as label values; at most [`MAX_RESULTS`].
    pub(super) results: &'static [&'static str],
    /// The half that responders answer with, where they do.
    pub(super) reflect: Option<&'static dyn Reflect>,
    /// Whether a datagram is a reply of the protocol, where responders do not answer the protocol
    /// and other servers do: no such reply may be taken for a request.
    pub(super) is_reply: Option<fn(&[u8]) -> bool>,
}

impl Description {
    /// A protocol without any of what it may have beside its name.
    pub(super) const fn new(name: &'static str, summary: &'static str) -> Self {
        Self { name, summary, port: None, keys: &[], results: &[], reflect: None, is_reply: None }
    }
}
