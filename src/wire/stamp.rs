//! `stamp`: the Simple Two-way Active Measurement Protocol (RFC 8762), in unauthenticated and
//! authenticated mode, with the session identifiers and TLVs of RFC 8972.
//!
//! A request is a test packet of 44 octets, or longer if it is padded. The reply has the same
//! length (RFC 8762 section 4.3: symmetrical), with the reflector's timestamps and a copy of the
//! sender's fields. All numbers are big-endian (RFC 8762 sections 4.2.1 and 4.3.1, RFC 8972 section
//! 3):
//!
//! | octets | Session-Sender | Session-Reflector |
//! | --- | --- | --- |
//! | 0–3 | Sequence Number | Sequence Number |
//! | 4–11 | Timestamp (t1) | Timestamp (t3) |
//! | 12–13 | Error Estimate | Error Estimate |
//! | 14–15 | SSID | SSID, as received |
//! | 16–23 | zero | Receive Timestamp (t2) |
//! | 24–27 | zero | Session-Sender Sequence Number |
//! | 28–35 | zero | Session-Sender Timestamp |
//! | 36–37 | zero | Session-Sender Error Estimate |
//! | 38–39 | zero | zero |
//! | 40 | zero | Session-Sender TTL |
//! | 41–43 | zero | zero |
//! | 44– | TLVs | TLVs |
//!
//! With a key, packets have 112 octets: the same fields with more zeros between them, and at the
//! end the first 16 octets of their HMAC-SHA-256 (RFC 8762 sections 4.2.2, 4.3.2 and 4.4). The
//! packet itself shows its mode: an unauthenticated packet has its timestamp, which is never zero,
//! where an authenticated packet has zeros. If a sender does not write them, the tag shows the mode.
//!
//! A stateful reflector's Sequence Number counts the replies of a session from 0; a stateless
//! reflector repeats the sender's (RFC 8762 section 4.3.1). The SSID is the session + 1, because a
//! reflector without RFC 8972 answers with 0.

mod estimate;
mod layout;
mod timestamp;
mod tlv;

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::sync::Arc;

use super::key::Key;
use super::options::{FiledKey, OptionSource, OptionValue, TargetOptions};
use super::protocol::{Description, LARGEST_DATAGRAM};
use super::text::is_text;
use super::{
    Arrived, Authenticity, NotRequest, ParsedRequest, Prober, Rank, Reflect, Reply, Request,
    Unauthenticated,
    Unreadable::{self, Malformed},
};
use crate::model::Wall;

use layout::{
    AUTHENTICATED, Layout, OPEN, SEQUENCE, ZERO, is_padded, is_tagged, layout, put, tag, take,
};
use timestamp::{Ntp, Stamps};

/// The port on which routers that speak STAMP listen (RFC 8762 section 4.1).
pub const ROUTER_PORT: u16 = 862;

/// The protocol `stamp`.
pub(super) static PROTOCOL: Description = Description {
    // No port of its own: targets use our responder's port unless they set 862 (RFC 8762 section
    // 4.1).
    port: None,
    keys: &[KEY_FILE, SIZE, ZERO_SSID],
    reflect: Some(&StampReflector),
    ..Description::new(
        "stamp",
        "RFC 8762, supported by routers; reports the time difference and the turnaround",
    )
};

/// The option that names the file with the key of authenticated packets.
const KEY_FILE: &str = "key_file";

/// The option that pads requests, in octets of UDP payload.
const SIZE: &str = "size";

/// The option that says what a reply with a zeroed SSID is: an answer or invalid.
const ZERO_SSID: &str = "zero_ssid";

/// The largest session: the SSID has 16 bits and is not zero (RFC 8972 section 3).
const MAX_SESSION: u32 = u16::MAX as u32 - 1;

/// The options of a `stamp` target.
#[derive(Debug, Clone, Default)]
pub struct StampOptions {
    /// The key that authenticates requests and replies; without it, packets are unauthenticated.
    pub key: Option<FiledKey>,
    /// The size of requests, with padding, and thus of replies; `None` is the size without padding.
    pub size: Option<u16>,
    /// Whether replies with a zeroed SSID are answers.
    pub zero_ssid: ZeroSsid,
}

/// What a reply with a zeroed SSID is. Reflectors without RFC 8972 zero it; a sender must be able to
/// decide what to do then (RFC 8972 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZeroSsid {
    /// An answer, if it repeats the sequence number and the timestamp of a heartbeat.
    #[default]
    Accept,
    /// An invalid reply.
    Refuse,
}

impl ZeroSsid {
    const fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Refuse => "refuse",
        }
    }

    /// `reply`, unless it has a zeroed SSID that is refused.
    fn check(self, reply: Reply) -> Result<Reply, Unreadable> {
        match (self, reply.session) {
            (Self::Refuse, None) => Err(Unreadable::Mismatch),
            (Self::Accept, _) | (Self::Refuse, Some(_)) => Ok(reply),
        }
    }
}

impl FromStr for ZeroSsid {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "accept" => Ok(Self::Accept),
            "refuse" => Ok(Self::Refuse),
            _ => Err("must be accept or refuse"),
        }
    }
}

impl TargetOptions for StampOptions {
    fn read(source: &mut dyn OptionSource) -> Self {
        let key = source.key(KEY_FILE);
        let layout = if key.is_some() { &AUTHENTICATED } else { &OPEN };
        let expected = layout.sizes();
        let size = source.whole(SIZE, &expected).and_then(|size| {
            let valid = u16::try_from(size).ok().filter(|&size| layout.has_size(size));
            if valid.is_none() {
                source.report(SIZE, format!("must be {expected}, not {size}"));
            }
            valid
        });
        let zero_ssid = source.parsed(ZERO_SSID).unwrap_or_default();
        Self { key, size, zero_ssid }
    }

    fn written(&self) -> Vec<(&'static str, OptionValue)> {
        let key = self.key.iter();
        let key = key.map(|filed| (KEY_FILE, OptionValue::Text(filed.file.clone())));
        let size = self.size.map(|size| (SIZE, OptionValue::Number(size.into())));
        let zero_ssid = (ZERO_SSID, OptionValue::Text(self.zero_ssid.word().to_owned()));
        key.chain(size).chain([zero_ssid]).collect()
    }

    fn padded_size(&self) -> u16 {
        self.size.unwrap_or(0)
    }

    fn prober(&self, _secret: u64) -> Arc<dyn Prober> {
        let size = self.padded_size().into();
        match &self.key {
            None => Arc::new(OpenStamp { size, zero_ssid: self.zero_ssid }),
            Some(filed) => Arc::new(AuthenticatedStamp {
                key: filed.key.clone(),
                size,
                zero_ssid: self.zero_ssid,
            }),
        }
    }
}

/// Compares the keys, not their files: two files may contain the same key.
impl PartialEq for StampOptions {
    fn eq(&self, other: &Self) -> bool {
        if (self.size, self.zero_ssid) != (other.size, other.zero_ssid) {
            return false;
        }
        match (&self.key, &other.key) {
            (None, None) => true,
            (Some(a), Some(b)) => a.key.is_same(&b.key),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

/// The sender of unauthenticated packets.
#[derive(Debug, Clone, Copy)]
struct OpenStamp {
    /// The size to which packets are padded, in octets. A size below the length of a packet means no
    /// padding.
    size: usize,
    zero_ssid: ZeroSsid,
}

/// The sender of authenticated packets. The key is erased with its last user.
#[derive(Debug)]
struct AuthenticatedStamp {
    key: Arc<Key>,
    /// As in [`OpenStamp`].
    size: usize,
    zero_ssid: ZeroSsid,
}

impl Prober for OpenStamp {
    fn max_session(&self) -> u32 {
        MAX_SESSION
    }

    fn shares_replies_with(&self, other: &dyn Prober) -> bool {
        other.as_a::<Self>().is_some_and(|other| self.zero_ssid == other.zero_ssid)
    }

    fn encode(&self, request: &Request, out: &mut Vec<u8>) {
        encode(&OPEN, request, out);
        tlv::pad(out, self.size);
    }

    /// Reads every reply that reaches to the end of the Session-Sender Timestamp. Only the echoed
    /// Sequence Number and timestamp prove that a reply is ours, so nothing else is required: a
    /// reply may be shorter than its request (RFC 5357 section 4.2.1 has 41 octets, some
    /// reflectors answer 38), may lack the Session-Sender Error Estimate or change it, and may
    /// have any octets where zeros or TLVs belong (RFC 8762 section 4.3.1: ignored on receipt).
    ///
    /// Text and authenticated packets belong to other targets at the address. The latter have zeros
    /// where the seconds of the echoed timestamp would be.
    fn decode(&self, datagram: &[u8]) -> Result<Reply, Unreadable> {
        if is_text(datagram) {
            return Err(Malformed);
        }
        let reply = decode(&OPEN, datagram)?;
        let is_of_other_mode = layout(datagram).is_some_and(Layout::is_authenticated);
        if is_of_other_mode && reply.echo >> 32 == 0 {
            return Err(Malformed);
        }
        self.zero_ssid.check(reply)
    }

    fn confirms(&self, reply: &Reply, sent: Wall) -> bool {
        confirms(reply, sent)
    }

    fn is_identified_by_echo(&self) -> bool {
        true
    }

    fn quoted(&self, request: &[u8]) -> Option<Reply> {
        // Needs the octets up to the SSID; the packet must be neither text nor in the other mode.
        let head = request.get(..OPEN.receive_timestamp).filter(|head| !is_text(head))?;
        let is_open = head.get(ZERO)?.iter().any(|&octet| octet != 0);
        is_open.then(|| quoted(&OPEN, head))
    }
}

impl Prober for AuthenticatedStamp {
    fn max_session(&self) -> u32 {
        MAX_SESSION
    }

    fn shares_replies_with(&self, other: &dyn Prober) -> bool {
        other
            .as_a::<Self>()
            .is_some_and(|other| self.key.is_same(&other.key) && self.zero_ssid == other.zero_ssid)
    }

    fn encode(&self, request: &Request, out: &mut Vec<u8>) {
        let start = out.len();
        encode(&AUTHENTICATED, request, out);
        if let Some(packet) = out.get_mut(start..) {
            tag(packet, &self.key);
        }
        // A single Extra Padding needs no HMAC TLV (RFC 8972 section 4.8).
        tlv::pad(out, self.size);
    }

    /// Verifies the tag before it reads anything else of a reply.
    fn decode(&self, datagram: &[u8]) -> Result<Reply, Unreadable> {
        if datagram.len() < AUTHENTICATED.length {
            return Err(Malformed);
        }
        if !is_tagged(datagram, &self.key) {
            return Err(Unreadable::Unauthenticated);
        }
        self.zero_ssid.check(decode(&AUTHENTICATED, datagram)?)
    }

    fn confirms(&self, reply: &Reply, sent: Wall) -> bool {
        confirms(reply, sent)
    }

    fn is_identified_by_echo(&self) -> bool {
        true
    }

    fn quoted(&self, request: &[u8]) -> Option<Reply> {
        // The tag need not be in the quote: the timestamp decides whose heartbeat it is.
        let head = request.get(..AUTHENTICATED.receive_timestamp)?;
        let is_authenticated = head[ZERO].iter().all(|&octet| octet == 0);
        is_authenticated.then(|| quoted(&AUTHENTICATED, head))
    }
}

/// The reflector for both modes.
#[derive(Debug, Clone, Copy)]
struct StampReflector;

impl Reflect for StampReflector {
    fn rank(&self) -> Rank {
        Rank::Indistinct
    }

    /// A reply has a Receive Timestamp, which a request leaves zero. A datagram is a reply if that
    /// timestamp is within a day of now, or of the packet's own Timestamp. The second test covers a
    /// wrong reflector clock, PTP format, and a server that converts the packet to upper case.
    ///
    /// Sessions are distinguished by their SSIDs (RFC 8972 section 3). SSID 0 is a session as well:
    /// that of a sender without RFC 8972, whose padding may be random.
    fn recognise<'d>(
        &self,
        datagram: &'d [u8],
        now: Wall,
    ) -> Result<ParsedRequest<'d>, NotRequest> {
        let Some(layout) = layout(datagram) else { return Err(judge_short(datagram, now)) };
        if datagram.len() > LARGEST_DATAGRAM || is_text(datagram) {
            return Err(NotRequest::Foreign);
        }
        parse(layout, datagram, now)
    }

    /// The octets of an authenticated packet that must be zero are ignored on receipt (RFC 8762
    /// section 4.2.2): if they are not zero, the tag shows its mode.
    fn recognise_tagged<'d>(
        &self,
        datagram: &'d [u8],
        now: Wall,
        keys: &[Key],
    ) -> Option<Result<ParsedRequest<'d>, NotRequest>> {
        let is_like_open = (AUTHENTICATED.length..=LARGEST_DATAGRAM).contains(&datagram.len())
            && layout(datagram).is_some_and(|layout| !layout.is_authenticated());
        let is_tagged = is_like_open && keys.iter().any(|key| is_tagged(datagram, key));
        is_tagged.then(|| parse(&AUTHENTICATED, datagram, now))
    }

    fn recognise_short<'d>(&self, datagram: &'d [u8], now: Wall) -> Option<ParsedRequest<'d>> {
        (judge_short(datagram, now) == NotRequest::Short).then(|| ParsedRequest {
            sequence: u32::from_be_bytes(take(datagram, SEQUENCE)).into(),
            timestamp: u64::from_be_bytes(take(datagram, OPEN.timestamp)),
            // What follows the Error Estimate is padding: TWAMP has no SSID.
            counted_session: Some(0),
            is_short: true,
            ..ParsedRequest::new(datagram)
        })
    }

    fn authenticate<'k>(
        &self,
        request: &ParsedRequest<'_>,
        keys: &'k [Key],
    ) -> Result<Authenticity<'k>, Unauthenticated> {
        if !request.is_authenticated {
            return Ok(Authenticity::Open);
        }
        let is_senders = |key| is_tagged(request.payload, key);
        let place = keys.iter().position(is_senders).ok_or(Unauthenticated)?;
        Ok(Authenticity::By { place, key: &keys[place] })
    }

    /// The reply has the length and the mode of the request; to a short request, it is the base
    /// packet (RFC 8762 section 4.6). The Session-Sender TTL is 0 if the kernel reports none; no
    /// packet arrives with a TTL of 0. `out` stays empty if an authenticated request has no key to
    /// answer with.
    fn reflect(
        &self,
        request: &ParsedRequest<'_>,
        arrived: Arrived<'_>,
        now: Wall,
        out: &mut Vec<u8>,
    ) {
        let (layout, key) = match (request.is_authenticated, arrived.key) {
            (false, _) => (&OPEN, None),
            (true, Some(key)) => (&AUTHENTICATED, Some(key)),
            (true, None) => return,
        };
        let mut padded = [0; OPEN.length];
        let (packet, tlvs) = match request.payload.split_at_checked(layout.length) {
            Some(parts) => parts,
            None if request.is_short && key.is_none() => {
                // The padding of TWAMP after the Error Estimate does not come back.
                let length = request.payload.len().min(OPEN.ssid);
                padded[..length].copy_from_slice(&request.payload[..length]);
                (&padded[..], &[][..])
            }
            None => return,
        };
        // A clock that stepped back between the two stamps must not make the turnaround negative.
        let left = now.max(arrived.at);
        let [_, _, _, _, sequence @ ..] = request.sequence.to_be_bytes();
        let number = arrived.number.map_or(sequence, u32::to_be_bytes);
        let mut reply = [0; AUTHENTICATED.length];
        let reply = &mut reply[..layout.length];
        put(reply, SEQUENCE, number);
        put(reply, layout.timestamp, Ntp::from(left).to_octets());
        put(reply, layout.error_estimate, estimate::of(arrived.accuracy));
        put::<2>(reply, layout.ssid, take(packet, layout.ssid));
        put(reply, layout.receive_timestamp, Ntp::from(arrived.at).to_octets());
        put(reply, layout.sender_sequence, sequence);
        put(reply, layout.sender_timestamp, request.timestamp.to_be_bytes());
        put::<2>(reply, layout.sender_error_estimate, take(packet, layout.error_estimate));
        put(reply, layout.sender_ttl, [arrived.ttl.unwrap_or(0)]);
        if let Some(key) = key {
            tag(reply, key);
        }
        out.extend_from_slice(reply);
        out.extend_from_slice(tlvs);
        match (out.get_mut(layout.length..), key) {
            (None | Some([]), _) => {}
            _ if is_padded(packet, layout) => {}
            (Some(tlvs), None) => tlv::answer_open(tlvs, arrived.tlv_keys, sequence, number),
            (Some(tlvs), Some(key)) => tlv::answer_authenticated(tlvs, key, sequence, number),
        }
    }
}

/// Parses a request that has this layout.
fn parse<'d>(
    layout: &Layout,
    datagram: &'d [u8],
    now: Wall,
) -> Result<ParsedRequest<'d>, NotRequest> {
    let received = Ntp::from_octets(take(datagram, layout.receive_timestamp));
    let left = Ntp::from_octets(take(datagram, layout.timestamp));
    if received != Ntp::NONE
        && (received.is_within_a_day_of(now.into()) || received.is_within_a_day_of(left))
    {
        return Err(NotRequest::Reply);
    }
    Ok(ParsedRequest {
        payload: datagram,
        sequence: u32::from_be_bytes(take(datagram, SEQUENCE)).into(),
        timestamp: left.0,
        counted_session: Some(ssid(datagram, layout)),
        is_authenticated: layout.is_authenticated(),
        is_short: false,
    })
}

/// Judges a datagram that is too short for both modes.
///
/// It is a short request of TWAMP Light (RFC 5357 appendix I) if it reaches to the end of the Error
/// Estimate, is not text, and has a timestamp within a day of now, in NTP or PTP format. The timestamp
/// is required because STAMP has no magic number. If its Receive Timestamp is within a day
/// of now or of its own timestamp as well, it is a short reply, which is never answered.
fn judge_short(datagram: &[u8], now: Wall) -> NotRequest {
    if !(OPEN.ssid..OPEN.length).contains(&datagram.len()) || is_text(datagram) {
        return NotRequest::Foreign;
    }
    let is_near = |stamp: Ntp| {
        let now = Ntp::from(now);
        stamp.is_within_a_day_of(now) || stamp.is_within_a_day_of(now.in_ptp())
    };
    let left = Ntp::from_octets(take(datagram, OPEN.timestamp));
    if !is_near(left) {
        return NotRequest::Foreign;
    }
    if datagram.len() >= OPEN.sender_sequence {
        let received = Ntp::from_octets(take(datagram, OPEN.receive_timestamp));
        if received != Ntp::NONE && (is_near(received) || received.is_within_a_day_of(left)) {
            return NotRequest::Reply;
        }
    }
    NotRequest::Short
}

/// The SSID of a request; 0 if what is in its place is padding.
fn ssid(request: &[u8], layout: &Layout) -> u16 {
    if is_padded(request, layout) { 0 } else { u16::from_be_bytes(take(request, layout.ssid)) }
}

/// The session of an SSID.
fn session(ssid: [u8; 2]) -> Option<u32> {
    u32::from(u16::from_be_bytes(ssid)).checked_sub(1)
}

/// Writes a sender's packet, without a tag.
fn encode(layout: &Layout, request: &Request, out: &mut Vec<u8>) {
    debug_assert!(request.session <= MAX_SESSION);
    let ssid = u16::try_from(request.session.saturating_add(1)).unwrap_or(u16::MAX);
    let mut packet = [0; AUTHENTICATED.length];
    let packet = &mut packet[..layout.length];
    put(packet, SEQUENCE, request.sequence.to_be_bytes());
    put(packet, layout.timestamp, Ntp::from(request.at).to_octets());
    put(packet, layout.error_estimate, estimate::of(request.accuracy));
    put(packet, layout.ssid, ssid.to_be_bytes());
    out.extend_from_slice(packet);
}

/// Reads a reply that reaches to the end of the Session-Sender Timestamp.
fn decode(layout: &Layout, datagram: &[u8]) -> Result<Reply, Unreadable> {
    let packet = datagram.get(..layout.sender_timestamp + size_of::<u64>()).ok_or(Malformed)?;
    let sent = Ntp::from_octets(take(packet, layout.sender_timestamp));
    let stamps = Stamps {
        sent,
        received: take(packet, layout.receive_timestamp),
        left: take(packet, layout.timestamp),
        says_ptp: estimate::says_ptp(take(packet, layout.error_estimate)),
    };
    let (time_difference, turnaround) = stamps.differences();
    Ok(Reply {
        session: session(take(packet, layout.ssid)),
        sequence: u32::from_be_bytes(take(packet, layout.sender_sequence)),
        echo: sent.0,
        time_difference,
        turnaround,
        number: Some(u32::from_be_bytes(take(packet, SEQUENCE))),
        result: None,
    })
}

/// The reply that would answer a request, of which `head` reaches to the SSID.
fn quoted(layout: &Layout, head: &[u8]) -> Reply {
    let sequence = u32::from_be_bytes(take(head, SEQUENCE));
    let echo = u64::from_be_bytes(take(head, layout.timestamp));
    Reply { echo, ..Reply::to(session(take(head, layout.ssid)), sequence) }
}

/// Whether the reply repeats the timestamp to the last bit.
fn confirms(reply: &Reply, sent: Wall) -> bool {
    reply.echo == Ntp::from(sent).0
}
