//! Timestamps of STAMP packets in both formats, and what a reflector's timestamps say.

use crate::model::Wall;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Seconds from the NTP epoch, 1900-01-01, to the Unix epoch (RFC 5905 section 6).
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// A timestamp in NTP's 64-bit format: 32 bits of seconds, 32 bits of fraction (RFC 5905 section
/// 6).
///
/// The seconds wrap every 136 years, next in 2036. Only signed differences modulo 2⁶⁴ are used.
/// They are correct across a wrap if the two moments are within 68 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ntp(pub(super) u64);

impl Ntp {
    /// Means unknown (RFC 5905 section 6). Never written, although it is also a moment on
    /// 2036-02-07.
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn from_octets(octets: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(octets))
    }

    pub(super) const fn to_octets(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// `self − earlier` in units of 2⁻³² s.
    const fn units_since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// Also correct, to the second, for PTP format, which has its seconds in the same place.
    pub(super) const fn is_within_a_day_of(self, other: Self) -> bool {
        self.is_within(86_400, other)
    }

    const fn is_within(self, seconds: u64, other: Self) -> bool {
        self.units_since(other).unsigned_abs() <= seconds << 32
    }

    /// The same moment in PTP's format, to the second, of a clock that counts UTC.
    pub(super) const fn in_ptp(self) -> Self {
        Self(self.0.wrapping_sub(NTP_TO_UNIX << 32))
    }

    /// `self − earlier` in nanoseconds, rounded.
    #[expect(clippy::cast_possible_truncation, reason = "2³¹ s are 2.1 × 10¹⁸ ns")]
    pub(super) fn nanos_since(self, earlier: Self) -> i64 {
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

/// The timestamps of a reply, as they are in the packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamps {
    /// The sender's timestamp (t1), which the reply repeats.
    pub(super) sent: Ntp,
    /// The reflector's timestamps (t2 and t3), in a format of its own.
    pub(super) received: [u8; 8],
    pub(super) left: [u8; 8],
    /// The reflector says that its timestamps are in PTP's format (the bit Z of RFC 8186 section
    /// 2.3).
    pub(super) says_ptp: bool,
}

impl Stamps {
    /// t2 − t1 and t3 − t2 in nanoseconds; `None` for what the timestamps do not show.
    ///
    /// A timestamp of 0 is unknown. PTP uses TAI or UTC, depending on its domain, so the difference
    /// to our clock is unknown.
    pub(super) fn differences(self) -> (Option<i64>, Option<i64>) {
        let (received, left) = (Ntp::from_octets(self.received), Ntp::from_octets(self.left));
        let both = received != Ntp::NONE && left != Ntp::NONE;
        if self.is_ptp(received) {
            return (None, both.then(|| ptp_nanos_between(self.received, self.left)));
        }
        let difference = (received != Ntp::NONE).then(|| received.nanos_since(self.sent));
        (difference, both.then(|| left.nanos_since(received)))
    }

    /// Whether the reflector's timestamps are in PTP's format.
    ///
    /// Some reflectors set the bit Z by mistake, or forget it (a reflector without RFC 8186 copies
    /// the sender's Error Estimate, for example). The numbers decide where they can: the same
    /// moment differs by 66 years between the two formats, so t2 is in the format in which it is
    /// within a year of t1. Only if it is not in either, because the reflector's clock is wrong,
    /// the bit decides. No PTP timestamp has a second of nanoseconds or more.
    fn is_ptp(self, received: Ntp) -> bool {
        const YEAR: u64 = 365 * 86_400;
        let can_be_ptp = [self.received, self.left].iter().all(|stamp| {
            let (_, nanos) = halves(*stamp);
            u64::from(nanos) < SECOND
        });
        let by_numbers = [self.sent, self.sent.in_ptp()].map(|at| received.is_within(YEAR, at));
        match by_numbers {
            [true, false] => false,
            [false, true] => can_be_ptp,
            [true, true] | [false, false] => self.says_ptp && can_be_ptp,
        }
    }
}

/// `later − earlier` in nanoseconds, both in PTP's truncated format: 32 bits of seconds, 32 bits of
/// nanoseconds (RFC 8186 section 2.1).
fn ptp_nanos_between(earlier: [u8; 8], later: [u8; 8]) -> i64 {
    let ((earlier, before), (later, after)) = (halves(earlier), halves(later));
    let seconds = i64::from(later.wrapping_sub(earlier).cast_signed());
    seconds * SECOND.cast_signed() + i64::from(after) - i64::from(before)
}

/// The first and the second 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is what halves are")]
const fn halves(octets: [u8; 8]) -> (u32, u32) {
    let both = u64::from_be_bytes(octets);
    ((both >> 32) as u32, both as u32)
}
