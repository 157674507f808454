//! The reflecting half of a protocol: how a responder recognises, authenticates and answers
//! requests.

use std::fmt;

use super::Key;
use crate::model::{ClockAccuracy, Wall};

/// The reflecting half of a protocol. For STAMP, this is the Session-Reflector (RFC 8762 section
/// 4.3). It keeps no state and reads no clock; decoding is total over any octets.
pub trait Reflect: Send + Sync + fmt::Debug {
    /// The position of this protocol in the order in which protocols are asked whether a datagram
    /// is their own.
    fn rank(&self) -> Rank;

    /// Parses a datagram that arrived at a responder at `now`. The result has everything that the
    /// other methods need, so that the octets are parsed once.
    ///
    /// # Errors
    /// [`NotRequest`] if the datagram is not a request of this protocol.
    fn recognise<'d>(&self, datagram: &'d [u8], now: Wall)
    -> Result<ParsedRequest<'d>, NotRequest>;

    /// Parses a datagram for which [`recognise`](Self::recognise) returned [`NotRequest::Short`].
    /// The reply to this request is longer than the request.
    fn recognise_short<'d>(&self, datagram: &'d [u8], now: Wall) -> Option<ParsedRequest<'d>> {
        let _ = (datagram, now);
        None
    }

    /// Parses a datagram that [`recognise`](Self::recognise) takes for another kind of datagram, but
    /// that one of `keys` shows to be in authenticated mode. `None` if no key does.
    ///
    /// # Errors
    /// [`NotRequest::Reply`] if it is a reply in authenticated mode.
    fn recognise_tagged<'d>(
        &self,
        datagram: &'d [u8],
        now: Wall,
        keys: &[Key],
    ) -> Option<Result<ParsedRequest<'d>, NotRequest>> {
        let _ = (datagram, now, keys);
        None
    }

    /// Which of `keys` authenticates a request that this protocol recognised (RFC 8762 section
    /// 4.4).
    ///
    /// # Errors
    /// If the request is in authenticated mode and none of the keys authenticates it.
    fn authenticate<'k>(
        &self,
        request: &ParsedRequest<'_>,
        keys: &'k [Key],
    ) -> Result<Authenticity<'k>, Unauthenticated> {
        let _ = (request, keys);
        Ok(Authenticity::Open)
    }

    /// Writes the reply to a request that this protocol recognised to `out`, which is empty; `now`
    /// is when the reply leaves (t3). STAMP replies are those of RFC 8762 sections 4.3.1 and 4.3.2.
    ///
    /// `out` stays empty if no valid reply fits into the length of the request, except for a request
    /// that [`is_short`](ParsedRequest::is_short).
    fn reflect(
        &self,
        request: &ParsedRequest<'_>,
        arrived: Arrived<'_>,
        now: Wall,
        out: &mut Vec<u8>,
    );
}

/// A parsed request. It borrows the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedRequest<'d> {
    /// The octets of the whole datagram.
    pub payload: &'d [u8],
    /// The heartbeat's number (STAMP: the Sequence Number); 0 if the reply does not need it.
    pub sequence: u64,
    /// The Timestamp (t1) in the protocol's own format; 0 if the reply does not need it.
    pub timestamp: u64,
    /// The sender's session, if the protocol numbers replies by session (RFC 8762 section 4.3.1;
    /// the session is the SSID of RFC 8972 section 3); otherwise `None`.
    pub counted_session: Option<u16>,
    /// Whether it is in authenticated mode, so that a key must
    /// [authenticate](Reflect::authenticate) it.
    pub is_authenticated: bool,
    /// Whether every reply is longer than it. A responder answers it only if its settings allow
    /// [short requests](super::recognise_short).
    pub is_short: bool,
}

// It is copied for every datagram.
const _: () = assert!(size_of::<ParsedRequest<'_>>() <= 40);

impl<'d> ParsedRequest<'d> {
    /// An unauthenticated request with these octets, whose reply needs nothing else.
    #[must_use]
    pub const fn new(payload: &'d [u8]) -> Self {
        Self {
            payload,
            sequence: 0,
            timestamp: 0,
            counted_session: None,
            is_authenticated: false,
            is_short: false,
        }
    }
}

/// The order in which protocols are asked whether a datagram is their own, first to last.
///
/// Protocols of one rank never claim the same datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Requests have a distinctive form: a keyword, or text that can be parsed.
    Distinct,
    /// Almost any datagram that is long enough can be a request.
    Indistinct,
}

impl Rank {
    /// All ranks, in order.
    pub(super) const ALL: [Self; 2] = [Self::Distinct, Self::Indistinct];
}

/// Why a datagram that arrived at a responder is not a request of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRequest {
    /// A reply of the protocol. Answering replies could cause an endless exchange.
    #[error("a reply of the protocol")]
    Reply,
    /// A request that is shorter than any reply to it.
    #[error("a request that is shorter than any reply")]
    Short,
    /// Two words of text that are not a request of the protocol: one of them is not a number.
    #[error("two words that are not two numbers")]
    BadNumber,
    /// A request with a timestamp that is more than ten years from now.
    #[error("a timestamp more than ten years from now")]
    BadTimestamp,
    /// Text that is longer than any request of the protocol.
    #[error("too long a text")]
    TooLong,
    /// Not of the protocol.
    #[error("not of the protocol")]
    Foreign,
}

/// A request in authenticated mode that none of the keys authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not authenticated by any of the keys")]
pub struct Unauthenticated;

/// What authenticates a request.
#[derive(Debug, Clone, Copy)]
pub enum Authenticity<'k> {
    /// Nothing: it is in unauthenticated mode, or its protocol has no other mode.
    Open,
    /// This key.
    By {
        /// The index of the key.
        place: usize,
        /// The key.
        key: &'k Key,
    },
}

/// What the reflector knows about a request besides its octets.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'k> {
    /// When the request was received (t2).
    pub at: Wall,
    /// The hop limit with which it arrived, if the kernel reports it.
    pub ttl: Option<u8>,
    /// The number for the reply of a stateful reflector; `None` for a stateless reflector (RFC 8762
    /// section 4.3.1).
    pub number: Option<u32>,
    /// The key that authenticates the request and the reply.
    pub key: Option<&'k Key>,
    /// The keys that may protect the TLVs of an unauthenticated request (RFC 8972 section 4.8); none if
    /// their integrity is not checked.
    pub tlv_keys: &'k [Key],
    /// How far t2 and t3 may be off.
    pub accuracy: ClockAccuracy,
}

// It is copied for every request.
const _: () = assert!(size_of::<Arrived<'_>>() <= 56);

impl Arrived<'_> {
    /// An unauthenticated request that arrived at `at` with this hop limit, at a stateless
    /// reflector about whose clock nothing is known.
    #[must_use]
    pub fn new(at: Wall, ttl: Option<u8>) -> Self {
        Self { at, ttl, number: None, key: None, tlv_keys: &[], accuracy: ClockAccuracy::default() }
    }
}
