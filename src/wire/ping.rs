//! `ping`: a dated line, answered in capitals.
//!
//! A request is `Ping N DATE`, N from 1 and DATE as C's `ctime` prints it, in UTC
//! (`Ping 5 Fri Sep 20 13:12:19 2024`); its reply is the request with every ASCII letter in upper
//! case. This distinguishes the two: a request begins with `Ping`, a reply with `PING`.
//!
//! A responder reads neither the number nor the date: it answers any ASCII text there. Only the
//! sender, which wrote them, reads them.

use std::fmt::Write as _;

use arrayvec::ArrayString;
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::options::WithoutOptions;
use super::protocol::{Description, MAX_DATAGRAM};
use super::text::{is_text, join, split, without_nuls};
use super::{
    Arrived, NotRequest, ParsedRequest, Prober, Rank, Reflect, Reply, Request,
    Unreadable::{self, Malformed},
    number,
};
use crate::model::Wall;

/// The protocol `ping`.
pub(super) static PROTOCOL: Description = Description {
    reflect: Some(&PingText),
    random_start: true,
    ..Description::new(
        "ping",
        "text `Ping N DATE`, answered in upper case; reports only the round trip",
    )
};

/// `ctime` in terms of `strftime`: the day of the month is padded with a space.
const CTIME: &str = "%a %b %e %H:%M:%S %Y";

/// Both halves of `ping`, which has no options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PingText;

impl WithoutOptions for PingText {}

impl Prober for PingText {
    fn shares_replies_with(&self, other: &dyn Prober) -> bool {
        other.as_a::<Self>().is_some()
    }

    fn max_session(&self) -> u32 {
        u32::MAX
    }

    fn encode(&self, request: &Request, out: &mut Vec<u8>) {
        let number = join(request.session, request.sequence);
        out.extend_from_slice(text(number, seconds(request.at)).as_bytes());
    }

    /// White space and NULs at the end are those of a server that sends its whole buffer.
    fn decode(&self, datagram: &[u8]) -> Result<Reply, Unreadable> {
        let datagram = without_nuls(datagram).trim_ascii_end();
        let (number, seconds) = read(datagram).ok_or(Malformed)?;
        let mut canonical = text(number, seconds);
        canonical.make_ascii_uppercase();
        if canonical.as_bytes() != datagram {
            return Err(Malformed);
        }
        let (session, sequence) = split(number);
        Ok(Reply { echo: seconds, ..Reply::to(Some(session), sequence) })
    }

    /// Whether the reply repeats the second of `sent` as its date.
    fn confirms(&self, reply: &Reply, sent: Wall) -> bool {
        reply.echo == seconds(sent)
    }

    fn quoted(&self, request: &[u8]) -> Option<Reply> {
        let rest = request.strip_prefix(b"Ping ")?;
        let end = rest.iter().position(|&octet| octet == b' ')?;
        let number = number::parse_whole(&rest[..end])?.checked_sub(1)?;
        let (session, sequence) = split(u64::try_from(number).ok()?);
        Some(Reply::to(Some(session), sequence))
    }
}

impl Reflect for PingText {
    fn rank(&self) -> Rank {
        Rank::Distinct
    }

    fn recognise<'d>(
        &self,
        datagram: &'d [u8],
        _now: Wall,
    ) -> Result<ParsedRequest<'d>, NotRequest> {
        if !is_text(datagram) {
            return Err(NotRequest::Foreign);
        }
        if datagram.len() > MAX_DATAGRAM {
            return Err(NotRequest::TooLong);
        }
        if datagram.starts_with(b"Ping ") {
            Ok(ParsedRequest::new(datagram))
        } else if datagram.starts_with(b"PING ") {
            Err(NotRequest::Reply)
        } else {
            Err(NotRequest::Foreign)
        }
    }

    fn reflect(
        &self,
        request: &ParsedRequest<'_>,
        _arrived: Arrived<'_>,
        _now: Wall,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(request.payload);
        out.make_ascii_uppercase();
    }
}

/// The request with this number, of this Unix second; the year 9999 is the last.
///
/// `Ping `, at most 20 digits, and ` Fri Sep 20 13:12:19 2024`.
fn text(number: u64, seconds: u64) -> ArrayString<50> {
    let moment = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX);
    let date = TimeZone::UTC.to_datetime(moment);
    // The count starts at 1, so the largest needs 65 bits.
    let count = u128::from(number) + 1;
    let mut text = ArrayString::new();
    let fits = write!(text, "Ping {count} {}", date.strftime(CTIME));
    debug_assert!(fits.is_ok(), "{number} {seconds}");
    text
}

/// The number and the Unix second of a reply, parsed leniently: the caller compares the reply with
/// the strict form of `text`.
fn read(reply: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(reply).ok()?;
    let (count, date) = text.strip_prefix("PING ")?.split_once(' ')?;
    let number = number::parse_whole(count.as_bytes())?.checked_sub(1)?;
    let date = strtime::parse(CTIME, date).ok()?.to_datetime().ok()?;
    let moment = TimeZone::UTC.to_timestamp(date).ok()?;
    Some((u64::try_from(number).ok()?, u64::try_from(moment.as_second()).ok()?))
}

const fn seconds(at: Wall) -> u64 {
    at.as_nanos() / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-09-20T13:12:19.9Z.
    const AT: Wall = Wall::from_nanos(1_726_837_939_900_000_000);

    fn encoded(session: u32, sequence: u32, at: Wall) -> String {
        let mut out = Vec::new();
        PingText.encode(&Request::new(session, sequence, at), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_numbered_from_one_and_dated_as_ctime_does() {
        assert_eq!(encoded(0, 4, AT), "Ping 5 Fri Sep 20 13:12:19 2024");
        let sixth = Wall::from_nanos(1_725_606_005_000_000_000);
        assert_eq!(encoded(0, 0, sixth), "Ping 1 Fri Sep  6 07:00:05 2024");
        assert_eq!(encoded(0, 0, Wall::default()), "Ping 1 Thu Jan  1 00:00:00 1970");
        assert_eq!(encoded(1, 0, AT), "Ping 4294967297 Fri Sep 20 13:12:19 2024");
        assert_eq!(
            encoded(u32::MAX, u32::MAX, Wall::from_nanos(u64::MAX)),
            "Ping 18446744073709551616 Sun Jul 21 23:34:33 2554"
        );
    }

    #[test]
    fn a_request_that_comes_back_tells_its_session_however_short_it_is_cut() {
        let quoted = |text: &str| {
            PingText.quoted(text.as_bytes()).map(|reply| (reply.session.unwrap(), reply.sequence))
        };
        assert_eq!(quoted(&encoded(7, 4, AT)), Some((7, 4)));
        assert_eq!(quoted("Ping 5 Fri"), Some((0, 4)));
        let last = encoded(u32::MAX, u32::MAX, AT);
        assert_eq!(quoted(&last), Some((u32::MAX, u32::MAX)));
        assert_eq!(quoted(&last[..25]), None, "there may be more digits");
        for text in ["", "Ping ", "Ping 0 Fri", "PING 5 FRI", "Ping five", "5 1726820518.3919091"] {
            assert_eq!(quoted(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_reply_is_the_request_in_capitals() {
        let mut out = Vec::new();
        let request = PingText.recognise(b"Ping 5 ven sep 20\tz", AT).unwrap();
        PingText.reflect(&request, Arrived::new(AT, None), AT, &mut out);
        assert_eq!(out, b"PING 5 VEN SEP 20\tZ");
    }

    #[test]
    fn a_reply_is_read_to_the_letter() {
        let reply = Reply { echo: 1_726_837_939, ..Reply::to(Some(0), 4) };
        assert_eq!(PingText.decode(b"PING 5 FRI SEP 20 13:12:19 2024"), Ok(reply));
        assert!(PingText.confirms(&reply, AT));
        assert!(!PingText.confirms(&reply, Wall::from_nanos(1_726_837_940_000_000_000)));
        assert_eq!(PingText.decode(b"PING 5 FRI SEP 20 13:12:19 2024\r\n\0\0"), Ok(reply));
        let reply = Reply { session: Some(u32::MAX), sequence: u32::MAX, ..reply };
        assert_eq!(
            PingText.decode(b"PING 18446744073709551616 FRI SEP 20 13:12:19 2024"),
            Ok(reply)
        );
        for text in [
            "",
            "PING",
            "PING 5",
            "PING 5 ",
            "Ping 5 Fri Sep 20 13:12:19 2024",
            "PING 5 Fri Sep 20 13:12:19 2024",
            "PING 5 THU SEP 20 13:12:19 2024",
            "PING 5 FRI SEP 31 13:12:19 2024",
            "PING 5 FRI SEP 20 13:12:61 2024",
            "PING 5 FRI SEP  6 7:00:05 2024",
            "PING 5 FRI SEP 06 07:00:05 2024",
            "PING 5 FRI SEP 6 07:00:05 2024",
            "PING 5 FRI SEP 20 13:12:19 2024\n.",
            "PING 5  FRI SEP 20 13:12:19 2024",
            "PING 05 FRI SEP 20 13:12:19 2024",
            "PING 0 FRI SEP 20 13:12:19 2024",
            "PING -5 FRI SEP 20 13:12:19 2024",
            "PING 18446744073709551617 FRI SEP 20 13:12:19 2024",
            "PING 5 WED DEC 31 23:59:59 1969",
        ] {
            assert_eq!(PingText.decode(text.as_bytes()), Err(Malformed), "{text:?}");
        }
        assert_eq!(PingText.decode(b"PING 5 FRI SEP 20 13:12:19 202\xff"), Err(Malformed));
    }

    #[test]
    fn a_request_is_any_text_after_ping() {
        let refused = |text: &str| PingText.recognise(text.as_bytes(), AT).err();
        for (text, why_not) in [
            ("Ping 5 Fri Sep 20 13:12:19 2024", None),
            ("Ping 5 20.9.2024\r\n", None),
            ("Ping 0 ", None),
            ("PING 5 FRI SEP 20 13:12:19 2024", Some(NotRequest::Reply)),
            ("PING 5 Fri", Some(NotRequest::Reply)),
            ("Ping 5", None),
            ("Ping five Fri", None),
            ("Ping  5\tFri", None),
            ("Ping 5 Fri\n\0\0", None),
            ("Ping 5 Fri\x000", Some(NotRequest::Foreign)),
            ("Ping", Some(NotRequest::Foreign)),
            ("Pingu 5 Fri", Some(NotRequest::Foreign)),
            ("Ping 5 vendredi à", Some(NotRequest::Foreign)),
            ("ping 5 Fri", Some(NotRequest::Foreign)),
            (" Ping 5 Fri", Some(NotRequest::Foreign)),
            ("", Some(NotRequest::Foreign)),
        ] {
            assert_eq!(refused(text), why_not, "{text:?}");
        }
        let long = format!("Ping 5 {}", "x".repeat(MAX_DATAGRAM));
        assert_eq!(refused(&long[..MAX_DATAGRAM]), None);
        assert_eq!(refused(&long[..=MAX_DATAGRAM]), Some(NotRequest::TooLong));
    }
}
