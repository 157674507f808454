//! A second, plain implementation of the ping text of the course, so that the code under test does
//! not decide what a damaged datagram says.

const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// Whether a responder takes the octets for a ping.
pub(crate) fn is_request(octets: &[u8]) -> bool {
    let mut octets = octets;
    while let Some((0, rest)) = octets.split_last() {
        octets = rest;
    }
    let text = octets.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n'));
    text && octets.starts_with(b"Ping ")
}

/// The sequence number, from 0, and the Unix second of a reply that is right to the letter.
pub(crate) fn read(octets: &[u8]) -> Option<(u64, u64)> {
    let text = str::from_utf8(octets).ok()?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, count, _, month, day, time, year] = words.as_slice() else { return None };
    let time: Vec<u64> = time.split(':').map_while(|part| part.parse().ok()).collect();
    let [hour, minute, second] = time.as_slice() else { return None };
    let month = MONTHS.iter().position(|known| known == month)?;
    let days = days_before(year.parse().ok()?, month)? + day.parse::<u64>().ok()?.checked_sub(1)?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    let sequence = count.parse::<u64>().ok()?.checked_sub(1)?;
    (reply(sequence, seconds) == text).then_some((sequence, seconds))
}

/// The reply to heartbeat `sequence` of this Unix second.
pub(crate) fn reply(sequence: u64, seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    while days_before(year + 1, 0).is_some_and(|before| before <= days) {
        year += 1;
    }
    let started = |month: &usize| days_before(year, *month).is_some_and(|before| before <= days);
    let month = (0..12).rev().find(started).unwrap_or(0);
    let day = days - days_before(year, month).unwrap_or(0) + 1;
    let weekday = DAYS[((days + 4) % 7) as usize];
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let (count, month) = (sequence + 1, MONTHS[month]);
    format!("PING {count} {weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year:04}")
}

/// Days from 1970 to the first day of a month, which counts from 0; `None` before 1970.
fn days_before(year: u64, month: usize) -> Option<u64> {
    let divides = |by: u64| year.is_multiple_of(by);
    let is_leap = divides(4) && (!divides(100) || divides(400));
    let years = year.checked_sub(1970)?;
    let leap_days = |before: u64| before / 4 - before / 100 + before / 400;
    let leap_days = leap_days(year - 1) - leap_days(1969);
    let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30];
    Some(years * 365 + leap_days + lengths.iter().take(month).sum::<u64>())
}

#[test]
fn agrees_with_the_course() {
    let text = "PING 5 FRI SEP 20 13:12:19 2024";
    assert_eq!(reply(4, 1_726_837_939), text);
    assert_eq!(read(text.as_bytes()), Some((4, 1_726_837_939)));
    for damaged in [
        "PING 5 THU SEP 20 13:12:19 2024",
        "PING 5 FRI SEP 20 13:12:61 2024",
        "PING 05 FRI SEP 20 13:12:19 2024",
        "PiNG 5 FRI SEP 20 13:12:19 2024",
        "PING 5  FRI SEP 20 13:12:19 2024",
        "PING 5 FRI SEP 20 13:12:19 0024",
    ] {
        assert_eq!(read(damaged.as_bytes()), None, "{damaged}");
    }
    assert!(is_request(b"Ping 5 FRi Sep 20 13:12:19 2024"));
    assert!(!is_request(b"Pinf 5 Fri Sep 20 13:12:19 2024"));
}
