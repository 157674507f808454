//! The reflecting half of a protocol: how a responder recognises, authenticates and answers
//! requests.

use std::fmt;

use super::Key;
use crate::model::Wall;

/// The reflecting half of a protocol. It keeps no state and reads no clock; decoding is total over
/// any octets.
pub trait Reflect: Send + Sync + fmt::Debug {
    /// When this protocol is asked whether a datagram is its own.
    fn rank(&self) -> Rank;

    /// What a datagram is that came to a responder at `now`.
    fn recognise(&self, datagram: &[u8], now: Wall) -> Recognition;

    /// Who of `keys` vouches for a request.
    ///
    /// # Errors
    /// Where the request says that a key vouches for it, and none of them does.
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
    /// empty and has room for [`MAX_DATAGRAM`](super::MAX_DATAGRAM) octets; `now` is when the reply
    /// leaves (t3).
    ///
    /// `out` stays empty where every possible reply is longer than the request.
    fn reflect(&self, request: &[u8], arrived: Arrived<'_>, now: Wall, out: &mut Vec<u8>);
}

/// The order in which protocols are asked whether a datagram is their own, first to last.
///
/// Protocols of one rank never claim the same datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Requests have a form that other datagrams have only on purpose: a keyword, or text that
    /// parses.
    Distinct,
    /// Almost any datagram that is long enough can be a request.
    Indistinct,
}

impl Rank {
    /// All, in order.
    pub(super) const ALL: [Self; 2] = [Self::Distinct, Self::Indistinct];
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

/// A request that says that a key vouches for it, and none does.
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
    /// The hop limit it arrived with, where the kernel reports it.
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
