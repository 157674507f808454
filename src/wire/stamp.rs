//! `stamp`: the Simple Two-way Active Measurement Protocol, unauthenticated (RFC 8762), with the
//! session identifiers and the TLVs of RFC 8972.
//!
//! A test packet of 44 octets leaves as a request; a packet of the same length, with the
//! reflector's three stamps and a copy of the sender's, comes back. Octets in both directions, all
//! numbers big-endian (RFC 8762 sections 4.2.1 and 4.3.1, RFC 8972 section 3):
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
//! The reflector's own Sequence Number counts the replies of a session from 0 where it keeps
//! state, and is the sender's where it keeps none (RFC 8762 section 4.3.1). The SSID is the
//! session + 1, because 0 is what a reflector without RFC 8972 answers.

#[cfg(test)]
mod tests;

use super::{Arrived, MAX_DATAGRAM, Malformed, Protocol, Recognition, Reply, Request, is_text};
use crate::model::Wall;

/// The length of a packet without TLVs, the same in both directions.
const BASE: usize = 44;

/// Where the fields begin.
mod offset {
    pub(super) const SEQUENCE: usize = 0;
    pub(super) const TIMESTAMP: usize = 4;
    pub(super) const ERROR_ESTIMATE: usize = 12;
    pub(super) const SSID: usize = 14;
    pub(super) const RECEIVE_TIMESTAMP: usize = 16;
    pub(super) const SENDER_SEQUENCE: usize = 24;
    pub(super) const SENDER_TIMESTAMP: usize = 28;
    pub(super) const SENDER_ERROR_ESTIMATE: usize = 36;
    pub(super) const SENDER_TTL: usize = 40;
}

/// What this end says of its clock (RFC 4656 section 4.1.2): not known to be synchronised to UTC
/// (S = 0), NTP format (Z = 0, RFC 8186), and 1 × 2³⁶ × 2⁻³² = 16 s off: that is the error at
/// which NTP itself calls a clock unsynchronised (MAXDISP, RFC 5905 section 7.2).
const ERROR_ESTIMATE: [u8; 2] = [36, 1];

/// The bit of the Error Estimate's first octet that says PTP format (RFC 8186 section 2.3).
const PTP: u8 = 0x40;

/// The protocol `stamp`.
#[derive(Debug)]
pub(super) struct Stamp;

impl Protocol for Stamp {
    fn name(&self) -> &'static str {
        "stamp"
    }

    fn summary(&self) -> &'static str {
        "RFC 8762, spoken by routers; tells the time difference and the turnaround"
    }

    /// The SSID has 16 bits and is not zero (RFC 8972 section 3).
    fn max_session(&self) -> u32 {
        u32::from(u16::MAX) - 1
    }

    fn encode(&self, request: &Request, out: &mut Vec<u8>) {
        debug_assert!(request.session <= self.max_session());
        let ssid = u16::try_from(request.session.saturating_add(1)).unwrap_or(u16::MAX);
        let mut packet = [0; BASE];
        put(&mut packet, offset::SEQUENCE, request.sequence.to_be_bytes());
        put(&mut packet, offset::TIMESTAMP, Ntp::from(request.at).to_octets());
        put(&mut packet, offset::ERROR_ESTIMATE, ERROR_ESTIMATE);
        put(&mut packet, offset::SSID, ssid.to_be_bytes());
        out.extend_from_slice(&packet);
    }

    /// A reply must repeat our Error Estimate and have left after it was received; TLVs and zeros
    /// are not looked at.
    fn decode(&self, datagram: &[u8]) -> Result<Reply, Malformed> {
        let packet = datagram.first_chunk::<BASE>().ok_or(Malformed)?;
        if take(packet, offset::SENDER_ERROR_ESTIMATE) != ERROR_ESTIMATE {
            return Err(Malformed);
        }
        let sent = Ntp::from_octets(take(packet, offset::SENDER_TIMESTAMP));
        let received = take(packet, offset::RECEIVE_TIMESTAMP);
        let replied = take(packet, offset::TIMESTAMP);
        let [precision, _] = take(packet, offset::ERROR_ESTIMATE);
        let (time_difference, turnaround) = if precision & PTP == 0 {
            let (received, replied) = (Ntp::from_octets(received), Ntp::from_octets(replied));
            (Some(received.nanos_since(sent)), replied.nanos_since(received))
        } else {
            // PTP counts TAI or UTC, as its domain likes: no difference to our clock is sure.
            (None, ptp_nanos_between(received, replied).ok_or(Malformed)?)
        };
        Ok(Reply {
            session: u32::from(u16::from_be_bytes(take(packet, offset::SSID))).checked_sub(1),
            sequence: u32::from_be_bytes(take(packet, offset::SENDER_SEQUENCE)),
            echo: sent.0,
            time_difference,
            turnaround: Some(u64::try_from(turnaround).map_err(|_| Malformed)?),
            number: Some(u32::from_be_bytes(take(packet, offset::SEQUENCE))),
        })
    }

    /// Whether the reply repeats the timestamp to the last bit.
    fn confirms(&self, reply: &Reply, sent: Wall) -> bool {
        reply.echo == Ntp::from(sent).0
    }

    /// A reflected packet has a Receive Timestamp of now, by the reflector's clock; if that is
    /// wrong, or counts in PTP format, or the packet was mangled by a server that upper-cases it,
    /// then one close to the packet's own Timestamp. A sender leaves it zero.
    fn recognise(&self, datagram: &[u8], now: Wall) -> Recognition {
        let Some(packet) = datagram.first_chunk::<BASE>() else {
            return Recognition::Foreign;
        };
        if datagram.len() > MAX_DATAGRAM || is_text(datagram) {
            return Recognition::Foreign;
        }
        let received = Ntp::from_octets(take(packet, offset::RECEIVE_TIMESTAMP));
        let left = Ntp::from_octets(take(packet, offset::TIMESTAMP));
        if received != Ntp::NONE
            && (received.is_within_a_day_of(now.into()) || received.is_within_a_day_of(left))
        {
            return Recognition::Reply;
        }
        Recognition::Request
    }

    /// Sessions are told apart by their SSIDs; 0 is a session as well: the one of a sender without
    /// RFC 8972.
    fn counted_session(&self, request: &[u8]) -> Option<u32> {
        let packet = request.first_chunk::<BASE>()?;
        Some(u16::from_be_bytes(take(packet, offset::SSID)).into())
    }

    /// The reply is as long as the request. The Session-Sender TTL is 0 where the kernel told
    /// none: no packet arrives with that.
    fn reflect(&self, request: &[u8], arrived: Arrived, now: Wall, out: &mut Vec<u8>) {
        let Some((packet, tlvs)) = request.split_first_chunk::<BASE>() else {
            return;
        };
        // A clock that stepped back between the two stamps must not make the turnaround negative.
        let left = now.max(arrived.at);
        let sequence: [u8; 4] = take(packet, offset::SEQUENCE);
        let mut reply = [0; BASE];
        put(&mut reply, offset::SEQUENCE, arrived.number.map_or(sequence, u32::to_be_bytes));
        put(&mut reply, offset::TIMESTAMP, Ntp::from(left).to_octets());
        put(&mut reply, offset::ERROR_ESTIMATE, ERROR_ESTIMATE);
        put::<2>(&mut reply, offset::SSID, take(packet, offset::SSID));
        put(&mut reply, offset::RECEIVE_TIMESTAMP, Ntp::from(arrived.at).to_octets());
        put(&mut reply, offset::SENDER_SEQUENCE, sequence);
        put::<8>(&mut reply, offset::SENDER_TIMESTAMP, take(packet, offset::TIMESTAMP));
        put::<2>(&mut reply, offset::SENDER_ERROR_ESTIMATE, take(packet, offset::ERROR_ESTIMATE));
        put(&mut reply, offset::SENDER_TTL, [arrived.ttl.unwrap_or(0)]);
        out.extend_from_slice(&reply);
        out.extend_from_slice(tlvs);
        if let Some(tlvs) = out.get_mut(BASE..) {
            answer_tlvs(tlvs);
        }
    }
}

/// A field of a packet; `offset` is one of [`offset`], so that the field lies in the packet.
fn take<const N: usize>(packet: &[u8; BASE], offset: usize) -> [u8; N] {
    std::array::from_fn(|octet| packet[offset + octet])
}

fn put<const N: usize>(packet: &mut [u8; BASE], offset: usize, field: [u8; N]) {
    packet[offset..offset + N].copy_from_slice(&field);
}

/// The type of an Extra Padding TLV, the one that is understood here (RFC 8972 section 4.1).
const EXTRA_PADDING: u8 = 1;

/// The flag of a TLV that was not understood.
const UNRECOGNISED: u8 = 0x80;

/// The flag of a TLV that reaches beyond the packet.
const MALFORMED: u8 = 0x40;

/// Turns a request's TLVs into its reply's: all as they came, but for the flags (RFC 8972
/// section 4).
///
/// A TLV is an octet of flags, one of type and two of the length of what follows. Nothing can be
/// told apart behind a malformed one, so that what follows it stays untouched. So do zeros to the
/// end: they are no TLV (type 0 is reserved) but the padding of TWAMP Light (RFC 8762 section
/// 4.6).
fn answer_tlvs(mut rest: &mut [u8]) {
    while rest.iter().any(|&octet| octet != 0) {
        if let [flags] | [flags, _] | [flags, _, _] = rest {
            *flags = UNRECOGNISED | MALFORMED;
            return;
        }
        let Some(([flags, kind, length @ ..], after)) = rest.split_first_chunk_mut::<4>() else {
            return;
        };
        *flags = if *kind == EXTRA_PADDING { 0 } else { UNRECOGNISED };
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((_, next)) = after.split_at_mut_checked(length) else {
            *flags |= MALFORMED;
            return;
        };
        rest = next;
    }
}

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// From the Unix epoch back to the first of NTP, 1900-01-01, in seconds (RFC 5905 section 6).
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// A timestamp in NTP's 64-bit format: 32 bits of seconds, 32 bits of fraction (RFC 5905 section
/// 6).
///
/// The seconds wrap every 136 years, next in 2036. Only differences are ever taken, modulo 2⁶⁴ and
/// signed: they are right across a wrap where the two moments are within 68 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ntp(u64);

impl Ntp {
    /// No time (RFC 5905 section 6): never written, although it is a moment of 2036-02-07.
    const NONE: Self = Self(0);

    const fn from_octets(octets: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(octets))
    }

    const fn to_octets(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// `self − earlier` in units of 2⁻³² s.
    const fn units_since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// To the second, this holds for PTP's format as well: it has its seconds in the same place.
    const fn is_within_a_day_of(self, other: Self) -> bool {
        self.units_since(other).unsigned_abs() <= 86_400 << 32
    }

    /// `self − earlier` in nanoseconds, rounded.
    #[expect(clippy::cast_possible_truncation, reason = "2³¹ s are 2.1 × 10¹⁸ ns")]
    fn nanos_since(self, earlier: Self) -> i64 {
        let units = i128::from(self.units_since(earlier));
        ((units * i128::from(SECOND) + (1 << 31)) >> 32) as i64
    }
}

/// The nearest timestamp that is not [`Ntp::NONE`].
impl From<Wall> for Ntp {
    fn from(at: Wall) -> Self {
        let (seconds, nanos) = (at.as_nanos() / SECOND, at.as_nanos() % SECOND);
        let fraction = ((nanos << 32) + SECOND / 2) / SECOND;
        Self(((seconds + NTP_TO_UNIX) << 32 | fraction).max(1))
    }
}

/// `later − earlier` in nanoseconds, both in PTP's truncated format: 32 bits of seconds, 32 bits
/// of nanoseconds (RFC 8186 section 2.1). `None` where the nanoseconds are a second or more.
fn ptp_nanos_between(earlier: [u8; 8], later: [u8; 8]) -> Option<i64> {
    let ((earlier, before), (later, after)) = (halves(earlier), halves(later));
    if u64::from(before.max(after)) >= SECOND {
        return None;
    }
    let seconds = i64::from(later.wrapping_sub(earlier).cast_signed());
    Some(seconds * SECOND.cast_signed() + i64::from(after) - i64::from(before))
}

/// The first and the second 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is what halves are")]
const fn halves(octets: [u8; 8]) -> (u32, u32) {
    let both = u64::from_be_bytes(octets);
    ((both >> 32) as u32, both as u32)
}
