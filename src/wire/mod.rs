//! The protocols: how a heartbeat looks on the wire.
//!
//! A [`Request`] enters and octets leave ([`Protocol::encode`]); octets enter and a [`Reply`]
//! leaves ([`Protocol::decode`]); a request's octets enter and a reply's leave
//! ([`Protocol::reflect`]). Nothing here keeps state, reads a clock or can panic: decoding is
//! total over any octets.
//!
//! One file is one protocol, and [`PROTOCOLS`] is the one place that lists them. Three rules hold
//! over all of them, and property tests over the registry hold them:
//!
//! 1. A reply is never longer than its request: the responder cannot amplify.
//! 2. No reply of any protocol is a request of any protocol: two responders, or a responder and an
//!    echo server, cannot be made to answer each other.
//! 3. Decoding what was encoded and reflected gives what was encoded.
//!
//! No datagram is of two protocols: `heartbeat` and `ping` are printable text, one beginning
//! with a digit and the other with a letter; `stamp` is binary. So the order of the registry
//! decides nothing.

mod heartbeat;
mod key;
mod number;
mod ping;
mod stamp;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::model::Wall;

pub use Unreadable::Malformed;
pub use key::{Key, KeyError};

/// The longest datagram that any protocol sends, answers or recognises, in octets.
///
/// It keeps every datagram clear of fragmentation on any link that carries IPv6 (RFC 8200
/// section 5: 1,280 octets).
pub const MAX_DATAGRAM: usize = 1024;

/// Every protocol. A new one is a file beside this and a line here.
pub static PROTOCOLS: [&dyn Protocol; 3] = [&heartbeat::Heartbeat, &ping::Ping, &stamp::Stamp];

/// The protocol called `name`, as it is written in configuration and in `PROTOCOL://HOST`.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Protocol> {
    PROTOCOLS.into_iter().find(|protocol| protocol.name() == name)
}

/// Whether both are the same protocol, with the same key or without one.
#[must_use]
pub fn is_same(a: &dyn Protocol, b: &dyn Protocol) -> bool {
    a.name() == b.name() && std::ptr::addr_eq(a, b)
}

/// The protocol `protocol` with a key for it; `None` where it cannot have one.
///
/// It lives as long as the program, and is the same for the same key.
#[must_use]
pub fn with_key(protocol: &dyn Protocol, key: Key) -> Option<&'static dyn Protocol> {
    static KNOWN: Mutex<Vec<&'static stamp::AuthenticatedStamp>> = Mutex::new(Vec::new());
    if protocol.name() != stamp::Stamp.name() {
        return None;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&found) = known.iter().find(|found| found.0.is_same(&key)) {
        return Some(found);
    }
    let new: &'static _ = Box::leak(Box::new(stamp::AuthenticatedStamp(key)));
    known.push(new);
    Some(new)
}

/// What the Session-Sender says in one heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Which of the targets at one address this is for: 0 for the first, so that a target alone at
    /// its address looks on the wire just as a client that knows of no sessions does. At most
    /// [`Protocol::max_session`].
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
    /// The number of the heartbeat that it answers.
    pub sequence: u32,
    /// What the reply repeats of the request's t1, for [`Protocol::confirms`]; 0 where the
    /// protocol repeats nothing.
    pub echo: u64,
    /// Responder's receive time − sender's send time (t2 − t1), in nanoseconds, as answered:
    /// forward delay plus clock offset, so it may be negative.
    pub time_difference: Option<i64>,
    /// The responder's dwell (t3 − t2), in nanoseconds; never negative.
    pub turnaround: Option<u64>,
    /// The reply's own number, where the protocol has one: a stateful reflector counts the replies
    /// of each session, a stateless one repeats `sequence`.
    pub number: Option<u32>,
}

/// A reply that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The octets are no reply of the protocol.
    #[error("not a reply of the protocol")]
    Malformed,
    /// It may be one, and the key does not vouch for it.
    #[error("not authenticated by the key")]
    Unauthenticated,
}

/// A request that no key vouches for, although it says that one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not authenticated by any of the keys")]
pub struct Unauthenticated;

/// Who vouches for a request.
#[derive(Debug, Clone, Copy)]
pub enum Authenticity<'k> {
    /// Nobody: it is of the open mode, or of a protocol that has no other.
    Open,
    /// Whoever has this key.
    By {
        /// The place of the key among those that were given.
        place: usize,
        /// The key.
        key: &'k Key,
    },
}

/// What the Session-Reflector knows of a request beside its octets.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'k> {
    /// When the request was received (t2).
    pub at: Wall,
    /// The hop limit it arrived with, where the kernel told it.
    pub ttl: Option<u8>,
    /// The number that the reply is to carry, of a reflector that counts; `None` of one that keeps
    /// no state.
    pub number: Option<u32>,
    /// The key that vouches for it, and is to vouch for the reply.
    pub key: Option<&'k Key>,
}

impl Arrived<'_> {
    /// A request that arrived at `at` with this hop limit at a reflector that keeps no state, and
    /// that nobody vouches for.
    #[must_use]
    pub const fn new(at: Wall, ttl: Option<u8>) -> Self {
        Self { at, ttl, number: None, key: None }
    }
}

/// What a protocol makes of a datagram that came to a responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognition {
    /// A request of this protocol, to be reflected.
    Request,
    /// A reply of this protocol: answering it could go on for ever.
    Reply,
    /// Not of this protocol.
    Foreign,
}

/// One wire format, both ends of it.
pub trait Protocol: Send + Sync + fmt::Debug {
    /// The name in configuration, on the command line and in labels: lower case.
    fn name(&self) -> &'static str;

    /// One line for help texts: what speaks it, what it tells.
    fn summary(&self) -> &'static str;

    /// The largest [`Request::session`] that the format can carry.
    fn max_session(&self) -> u32;

    /// Writes a request to `out`, which is empty and has room for [`MAX_DATAGRAM`] octets.
    fn encode(&self, request: &Request, out: &mut Vec<u8>);

    /// Reads a reply.
    ///
    /// # Errors
    /// [`Unreadable`] where the octets are no reply of this protocol; never panics.
    fn decode(&self, datagram: &[u8]) -> Result<Reply, Unreadable>;

    /// Whether `reply` repeats what was sent at `sent` (t1): false for a corrupted or invented
    /// reply. True where the format repeats nothing that could be compared.
    fn confirms(&self, reply: &Reply, sent: Wall) -> bool;

    /// Which session a request of this end was of, of which an ICMP error brings back as much as its
    /// sender cared to quote (RFC 1812 section 4.3.2.3); `None` where that tells none, or is of
    /// another protocol.
    fn quoted_session(&self, request: &[u8]) -> Option<u32>;

    /// What a datagram is that came to a responder at `now`.
    fn recognise(&self, datagram: &[u8], now: Wall) -> Recognition;

    /// Who of `keys` vouches for a request.
    ///
    /// # Errors
    /// Where the request is one that somebody should vouch for, and none of them does.
    fn authenticate<'k>(
        &self,
        request: &[u8],
        keys: &'k [Key],
    ) -> Result<Authenticity<'k>, Unauthenticated> {
        let _ = (request, keys);
        Ok(Authenticity::Open)
    }

    /// Which session of its sender a request belongs to, in whatever form the protocol has it,
    /// where replies carry numbers that are counted by session; `None` where they do not.
    fn counted_session(&self, request: &[u8]) -> Option<u16> {
        let _ = request;
        None
    }

    /// Writes the reply to a request that was recognised as this protocol's to `out`, which is
    /// empty and has room for [`MAX_DATAGRAM`] octets; `now` is when the reply leaves (t3).
    ///
    /// `out` stays empty where no reply can be made that is no longer than the request.
    fn reflect(&self, request: &[u8], arrived: Arrived<'_>, now: Wall, out: &mut Vec<u8>);
}

/// The protocol that `datagram` is a request of, for a responder that serves all on one port.
///
/// # Errors
/// [`Recognition::Reply`] where it is a reply of some protocol, [`Recognition::Foreign`] where it
/// is of none.
pub fn recognise(datagram: &[u8], now: Wall) -> Result<&'static dyn Protocol, Recognition> {
    let mut verdict = Recognition::Foreign;
    for protocol in PROTOCOLS {
        match protocol.recognise(datagram, now) {
            Recognition::Request => return Ok(protocol),
            Recognition::Reply => verdict = Recognition::Reply,
            Recognition::Foreign => {}
        }
    }
    Err(verdict)
}

/// Whether `datagram` is printable ASCII with tabs and line ends: of a text protocol, if of any.
fn is_text(datagram: &[u8]) -> bool {
    datagram.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
}
