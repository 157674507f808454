//! `heartbeat`: numbered timestamps as decimal text.
//!
//! A request is `SEQ TIMESTAMP`, Unix seconds with a fraction (`44 1726820518.3919091`); its reply
//! is `SEQ DIFFERENCE`, the responder's receive time − TIMESTAMP in seconds (`44 0.0`). Both ends
//! print floats as Python does, and read every decimal number that a program prints, so either end
//! can be a program in another language: with leading zeros, a plus sign, any number of digits or an
//! exponent, and with white space or NULs at the end. Unix seconds in a double are exact to about
//! 240 ns.
//!
//! TIMESTAMP may also be in milliseconds, microseconds or nanoseconds, which its size shows;
//! DIFFERENCE is then in the same unit.
//!
//! A request and a reply differ only in the size of their second number. A written difference is at
//! most [`TEN_YEARS`]; a timestamp is valid only from [`EARLIEST`] on, which is twice as far from
//! zero. So a reply is never a request, at whatever time it is read.

use std::fmt::Write as _;

use arrayvec::ArrayString;

use super::options::WithoutOptions;
use super::protocol::{Description, MAX_DATAGRAM};
use super::text::{is_text, join, split, without_nuls};
use super::{
    Arrived, NotRequest, ParsedRequest, Prober, Rank, Reflect, Reply, Request,
    Unreadable::{self, Malformed},
    number,
};
use crate::model::Wall;

/// The protocol `heartbeat`.
pub(super) static PROTOCOL: Description = Description {
    reflect: Some(&HeartbeatText),
    random_start: true,
    ..Description::new(
        "heartbeat",
        "text `SEQ TIMESTAMP`, answered with `SEQ DIFFERENCE`; reports the time difference",
    )
};

/// The largest distance of a timestamp from the responder's clock, and so the largest difference,
/// in seconds: ten years of 365.25 days.
const TEN_YEARS: f64 = 315_576_000.0;

/// The earliest timestamp, in Unix seconds: 1990-01-01.
const EARLIEST: f64 = 2.0 * TEN_YEARS;

/// Both halves of `heartbeat`, which has no options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeartbeatText;

impl WithoutOptions for HeartbeatText {}

impl Prober for HeartbeatText {
    fn shares_replies_with(&self, other: &dyn Prober) -> bool {
        other.as_a::<Self>().is_some()
    }

    fn max_session(&self) -> u32 {
        u32::MAX
    }

    fn encode(&self, request: &Request, out: &mut Vec<u8>) {
        let sequence = join(request.session, request.sequence);
        write(&head(sequence), &number::text(request.at.as_secs_f64()), out);
    }

    /// A reply is any two numbers, because servers print them in many ways. A second number as large
    /// as a timestamp is a request that an echo server sent back, not a reply.
    fn decode(&self, datagram: &[u8]) -> Result<Reply, Unreadable> {
        let (sequence, difference) = fields(datagram).ok_or(Malformed)?;
        if difference >= EARLIEST {
            return Err(Malformed);
        }
        let (session, sequence) = split(sequence);
        let time_difference = Some(nanos(difference));
        Ok(Reply { time_difference, ..Reply::to(Some(session), sequence) })
    }

    /// Always true: the reply does not repeat the timestamp.
    fn confirms(&self, _reply: &Reply, _sent: Wall) -> bool {
        true
    }

    fn quoted(&self, request: &[u8]) -> Option<Reply> {
        // A router may pad the quote with zeros (RFC 4884 section 5.1), and more may follow.
        let text = request.split(|&octet| octet == 0).next()?;
        let (sequence, _) = fields(text).filter(|&(_, seconds)| seconds >= EARLIEST)?;
        let (session, sequence) = split(sequence);
        Some(Reply::to(Some(session), sequence))
    }
}

impl Reflect for HeartbeatText {
    fn rank(&self) -> Rank {
        Rank::Distinct
    }

    /// The timestamp is stored as the bits of a double, in its own unit.
    fn recognise<'d>(
        &self,
        datagram: &'d [u8],
        now: Wall,
    ) -> Result<ParsedRequest<'d>, NotRequest> {
        let (sequence, timestamp) = fields(datagram).ok_or_else(|| judge(datagram))?;
        if timestamp < EARLIEST {
            return Err(NotRequest::Reply);
        }
        if !is_timestamp(timestamp, now) {
            return Err(NotRequest::BadTimestamp);
        }
        let timestamp = timestamp.to_bits();
        Ok(ParsedRequest { sequence, timestamp, ..ParsedRequest::new(datagram) })
    }

    /// The difference is written in full if the reply is then no longer than the request, otherwise
    /// with fewer digits. A difference that would look like a timestamp is not written: more than ten
    /// years, 3.7 days in milliseconds, 5 minutes in microseconds, 0.3 s in nanoseconds.
    fn reflect(
        &self,
        request: &ParsedRequest<'_>,
        arrived: Arrived<'_>,
        _now: Wall,
        out: &mut Vec<u8>,
    ) {
        let timestamp = f64::from_bits(request.timestamp);
        let difference = arrived.at.as_secs_f64() * units_per_second(timestamp) - timestamp;
        if !(-TEN_YEARS..=TEN_YEARS).contains(&difference) {
            return;
        }
        let head = head(request.sequence);
        let room = request.payload.len().saturating_sub(head.len());
        if let Some(difference) = number::text_within(difference, room) {
            write(&head, &difference, out);
        }
    }
}

fn is_timestamp(timestamp: f64, now: Wall) -> bool {
    let seconds = timestamp / units_per_second(timestamp);
    seconds >= EARLIEST && (seconds - now.as_secs_f64()).abs() <= TEN_YEARS
}

/// The unit of a timestamp: seconds, milliseconds, microseconds or nanoseconds. Each limit is
/// a moment in the year 5138 in the larger unit, and in the year 1973 in the next smaller unit.
fn units_per_second(timestamp: f64) -> f64 {
    match timestamp {
        ..1e11 => 1.0,
        ..1e14 => 1e3,
        ..1e17 => 1e6,
        _ => 1e9,
    }
}

/// What is wrong with a datagram that is not two numbers.
fn judge(datagram: &[u8]) -> NotRequest {
    if !is_text(datagram) {
        NotRequest::Foreign
    } else if without_nuls(datagram).len() > MAX_DATAGRAM {
        NotRequest::TooLong
    } else if words(datagram).count() == 2 {
        NotRequest::BadNumber
    } else {
        NotRequest::Foreign
    }
}

/// The words of a text, separated and possibly surrounded by white space as Python's `split` defines
/// it, before any NULs at the end.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    without_nuls(text).split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The two numbers of a request or a reply.
fn fields(datagram: &[u8]) -> Option<(u64, f64)> {
    if without_nuls(datagram).len() > MAX_DATAGRAM || !is_text(datagram) {
        return None;
    }
    let mut words = words(datagram);
    let (sequence, seconds) = (words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    Some((whole(sequence)?, number::parse(seconds)?))
}

/// A whole number, which a program may have printed as a float, such as `44.000000`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in the range of u64")]
fn whole(word: &[u8]) -> Option<u64> {
    /// Every whole number up to this one is a double.
    const EXACT: f64 = (1_u64 << 53) as f64;

    if let Some(number) = number::parse_whole(word.strip_prefix(b"+").unwrap_or(word)) {
        return u64::try_from(number).ok();
    }
    let number = number::parse(word)?;
    ((0.0..=EXACT).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// `SEQ ` with at most 20 digits.
fn head(sequence: u64) -> ArrayString<21> {
    let mut head = ArrayString::new();
    let fits = write!(head, "{sequence} ");
    debug_assert!(fits.is_ok(), "{sequence}");
    head
}

fn write(head: &str, number: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(number.as_bytes());
}

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, as it should")]
fn nanos(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-09-20T08:21:58.391909122Z, whose double prints as `1726820518.3919091`.
    const AT: Wall = Wall::from_nanos(1_726_820_518_391_909_122);

    fn encoded(session: u32, sequence: u32, at: Wall) -> String {
        let mut out = Vec::new();
        HeartbeatText.encode(&Request::new(session, sequence, at), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn reflected(request: &str, at: Wall) -> String {
        let mut out = Vec::new();
        let request = HeartbeatText.recognise(request.as_bytes(), at).unwrap();
        HeartbeatText.reflect(&request, Arrived::new(at, None), at, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Why a text is not a request.
    fn refused(datagram: &str) -> Option<NotRequest> {
        HeartbeatText.recognise(datagram.as_bytes(), AT).err()
    }

    #[test]
    fn a_request_is_a_number_and_a_python_timestamp() {
        assert_eq!(encoded(0, 44, AT), "44 1726820518.3919091");
        assert_eq!(encoded(0, 0, Wall::from_nanos(1_726_820_518_000_000_000)), "0 1726820518.0");
        assert_eq!(encoded(1, 2, AT), "4294967298 1726820518.3919091");
        assert_eq!(encoded(u32::MAX, u32::MAX, AT), "18446744073709551615 1726820518.3919091");
    }

    #[test]
    fn a_request_that_comes_back_tells_its_session() {
        let quoted = |text: &str| {
            HeartbeatText
                .quoted(text.as_bytes())
                .map(|reply| (reply.session.unwrap(), reply.sequence))
        };
        assert_eq!(quoted("44 1726820518.3919091"), Some((0, 44)));
        assert_eq!(quoted(&encoded(u32::MAX, 2, AT)), Some((u32::MAX, 2)));
        assert_eq!(quoted("4294967298 1726820518.3919091\0\0\0\0\x20\0"), Some((1, 2)), "padded");
        for text in ["", "44", "44 ", "44 0.0", "Ping 5 Fri Sep 20 13:12:19 2024"] {
            assert_eq!(quoted(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_reply_is_the_number_and_the_difference() {
        assert_eq!(reflected("44 1726820518.3919091", AT), "44 0.0");
        assert_eq!(reflected("7 1726820520.9599340\n", AT), "7 -2.5680248737335205");
        let late = Wall::from_nanos(AT.as_nanos() + 12_159);
        assert_eq!(reflected("44 1726820518.3919091    ", late), "44 1.2159347534179688e-05");
        assert_eq!(reflected("44 1726820518.3919091", late), "44 1.215934753418e-05");
        assert_eq!(reflected("44 1726820518", late), "44 0.39192128");
    }

    #[test]
    fn a_request_that_is_echoed_is_no_reply() {
        assert_eq!(HeartbeatText.decode(b"44 1726820518.3919091"), Err(Malformed));
        // The reply of a server whose clock is at the epoch: wrong by decades, but valid.
        assert!(HeartbeatText.decode(b"44 -1726820518.3919091").is_ok());
    }

    #[test]
    fn no_reply_is_longer_than_its_request() {
        let at = Wall::from_nanos(1_700_000_000_000_000_000);
        assert_eq!(reflected("5 2e9", at), "");
        assert_eq!(reflected("5 14e8", at), "5 3e8");
        assert_eq!(reflected("5 2.0e9", at), "5 -3e8");
    }

    #[test]
    fn replies_are_read() {
        let reply = Reply { time_difference: Some(0), ..Reply::to(Some(0), 44) };
        assert_eq!(HeartbeatText.decode(b"44 0.0"), Ok(reply));
        let reply = Reply { time_difference: Some(-2_568_024_874), ..reply };
        assert_eq!(HeartbeatText.decode(b"44 -2.5680248737335205"), Ok(reply));
        let reply = Reply { time_difference: Some(12_159), ..reply };
        assert_eq!(HeartbeatText.decode(b"44 1.2159347534179688e-05"), Ok(reply));
        let reply = Reply {
            session: Some(u32::MAX),
            sequence: u32::MAX,
            time_difference: Some(i64::MIN),
            ..reply
        };
        assert_eq!(HeartbeatText.decode(b"18446744073709551615 -1e+300"), Ok(reply));
        assert!(HeartbeatText.confirms(&reply, AT));
    }

    #[test]
    fn a_reply_is_two_numbers_as_any_program_prints_them() {
        for (text, difference) in [
            ("44 0.000000", 0),
            ("44 -2.568025", -2_568_025_000),
            ("44 0.000012159", 12_159),
            ("44 1.2159347534179688e-05", 12_159),
            ("44 1.21593E-05", 12_159),
            ("44 0.50000000000000000", 500_000_000),
            ("044 +0.5", 500_000_000),
            ("+44 .5", 500_000_000),
            ("44 5.", 5_000_000_000),
            ("44 5", 5_000_000_000),
            (" 44\t0.5 \r\n", 500_000_000),
            ("44 0.5\0", 500_000_000),
            ("44 0.5\n\0\0\0", 500_000_000),
        ] {
            let reply = Reply { time_difference: Some(difference), ..Reply::to(Some(0), 44) };
            assert_eq!(HeartbeatText.decode(text.as_bytes()), Ok(reply), "{text:?}");
        }
    }

    #[test]
    fn anything_but_two_numbers_is_no_reply() {
        for text in [
            "",
            "\0",
            "44",
            "44 ",
            " 0.0",
            "44 0.0 1",
            "-1 0.0",
            "++1 0.0",
            "44 nan",
            "44 inf",
            "44 1e999",
            "44 0,5",
            "44 0.0\x000",
            "garbage",
            "18446744073709551616 0.0",
        ] {
            assert_eq!(HeartbeatText.decode(text.as_bytes()), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn a_timestamp_may_be_in_smaller_units() {
        let later = Wall::from_nanos(AT.as_nanos() + 2_000_000);
        for (request, difference, accuracy) in [
            ("7 1726820518391", 2.9, 0.01),
            ("7 1726820518391909", 2_000.0, 1.0),
            ("7 1726820518391909122", 2_000_000.0, 1_000.0),
        ] {
            let mut out = Vec::new();
            let request = HeartbeatText.recognise(request.as_bytes(), AT).unwrap();
            HeartbeatText.reflect(&request, Arrived::new(later, None), later, &mut out);
            let (sequence, written) = fields(&out).unwrap();
            assert_eq!(sequence, 7);
            assert!((written - difference).abs() < accuracy, "{written}");
        }
        // A difference that would be taken for a timestamp.
        let mut out = Vec::new();
        let request = HeartbeatText.recognise(b"7 1726820518391909122", AT).unwrap();
        let much_later = Wall::from_nanos(AT.as_nanos() + 1_000_000_000);
        HeartbeatText.reflect(&request, Arrived::new(much_later, None), much_later, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn requests_are_what_python_would_read_with_a_timestamp_near_now() {
        for request in [
            "44 1726820518.3919091",
            "44 1726820518",
            "44 1.7e9",
            "44 1726820518.3919091\n",
            " 44\t1726820518.3919091 \r\n",
            "044 1726820518.3919091",
            "44 2042396518.0",
            "44 1411244519.0",
            "+44 1726820518.0\0",
            "44 1726820518391",
            "44 1726820518391909",
            "44 1726820518391909122",
        ] {
            assert_eq!(refused(request), None, "{request:?}");
        }
        for reply in ["44 0.0", "44 -2.5680248737335205", "1 -1726820518.0"] {
            assert_eq!(refused(reply), Some(NotRequest::Reply), "{reply:?}");
        }
        for request in ["44 2042396519.0", "44 1411244518.0", "44 20423965190000", "44 1e30"] {
            assert_eq!(refused(request), Some(NotRequest::BadTimestamp), "{request:?}");
        }
        for foreign in ["", "44", "1726820518.3919091", "44 1726820518.39 1", "44 1\x000"] {
            assert_eq!(refused(foreign), Some(NotRequest::Foreign), "{foreign:?}");
        }
        for words in [
            "-1 1726820518.0",
            "a 1726820518.0",
            "44 nan",
            "44 1726820518,0",
            "18446744073709551616 1726820518.0",
        ] {
            assert_eq!(refused(words), Some(NotRequest::BadNumber), "{words:?}");
        }
        let long = format!("44 1726820518.0{}", " ".repeat(MAX_DATAGRAM));
        assert_eq!(refused(&long[..MAX_DATAGRAM]), None);
        assert_eq!(refused(&long[..=MAX_DATAGRAM]), Some(NotRequest::TooLong));
        // A program in C may send its whole buffer.
        let buffer = |size| format!("44 1726820518.0{}", "\0".repeat(size));
        assert_eq!(refused(&buffer(2_048)), None);
        assert_eq!(refused(&buffer(65_000)), None);
        for number in ["44.000000", "4.4e1", "+44"] {
            assert_eq!(fields(format!("{number} 0.5").as_bytes()), Some((44, 0.5)), "{number}");
        }
        for number in ["44.5", "-44", "1e300", "-0.5"] {
            assert_eq!(fields(format!("{number} 0.5").as_bytes()), None, "{number}");
        }
    }

    #[test]
    fn what_is_read_of_a_request_is_its_number_and_its_timestamp() {
        let request = b" 44\t1726820518.3919091\n";
        let expected = ParsedRequest {
            sequence: 44,
            timestamp: 1_726_820_518.391_909_1_f64.to_bits(),
            ..ParsedRequest::new(request)
        };
        assert_eq!(HeartbeatText.recognise(request, AT), Ok(expected));
    }

    #[test]
    fn a_clock_near_the_epoch_makes_no_difference_a_timestamp() {
        for now in [Wall::default(), Wall::from_nanos(100_000_000_000_000_000)] {
            for text in ["1 0.0", "1 100000000.0", "1 315576000.0", "1 -315576000.0"] {
                let verdict = HeartbeatText.recognise(text.as_bytes(), now);
                assert_eq!(verdict, Err(NotRequest::Reply));
            }
        }
        // The kernel's timestamp may be from before the clock was set.
        let mut out = Vec::new();
        let request = HeartbeatText.recognise(b"1 1726820518.0", AT).unwrap();
        HeartbeatText.reflect(&request, Arrived::new(Wall::default(), None), AT, &mut out);
        assert!(out.is_empty());
    }
}
