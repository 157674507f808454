//! Identifies the sender of a request by its octets, with decoders of the three protocols that are
//! independent of the code under test.

/// What a request says about its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) protocol: &'static str,
    pub(crate) session: u32,
    /// The low 32 bits of the heartbeat's number.
    pub(crate) sequence: u32,
}

/// Reads a request that the probe sent.
pub(crate) fn read(octets: &[u8]) -> Option<Request> {
    if let Some(text) = octets.strip_prefix(b"Ping ") {
        return joined("ping", number(text)?.checked_sub(1)?);
    }
    if octets.first()?.is_ascii_digit() {
        return joined("heartbeat", number(octets)?);
    }
    let sequence = u32::from_be_bytes(*octets.first_chunk()?);
    let ssid = u16::from_be_bytes(*octets.get(14..)?.first_chunk()?);
    let session = u32::from(ssid.checked_sub(1)?);
    let is_padded = |tlv: &[u8]| match tlv {
        [] => true,
        // Extra Padding, with the flag U (RFC 8972 section 4.1).
        [0x80, 1, high, low, padding @ ..] => {
            usize::from(u16::from_be_bytes([*high, *low])) == padding.len()
        }
        _ => false,
    };
    is_padded(octets.get(44..)?).then_some(Request { protocol: "stamp", session, sequence })
}

/// The number that a text begins with.
fn number(octets: &[u8]) -> Option<u64> {
    let word = octets.split(|&octet| octet == b' ').next()?;
    str::from_utf8(word).ok()?.parse().ok()
}

/// The text protocols carry both in one number: `session · 2³² + sequence`.
#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are meant")]
fn joined(protocol: &'static str, number: u64) -> Option<Request> {
    let session = u32::try_from(number >> 32).ok()?;
    Some(Request { protocol, session, sequence: number as u32 })
}

#[test]
fn requests_say_who_sends_them() {
    let read_as = |octets, protocol, session, sequence| {
        assert_eq!(read(octets), Some(Request { protocol, session, sequence }));
    };
    read_as(b"Ping 5 Fri Sep 20 13:12:19 2024", "ping", 0, 4);
    read_as(b"Ping 4294967297 Fri Sep 20 13:12:19 2024", "ping", 1, 0);
    read_as(b"8589934635 1726820518.3919091", "heartbeat", 2, 43);
    let mut stamp = [0; 44];
    (stamp[3], stamp[15]) = (7, 3);
    read_as(&stamp, "stamp", 2, 7);
    let padded = [&stamp[..], &[0x80, 1, 0, 2, 0, 0]].concat();
    read_as(&padded, "stamp", 2, 7);
    assert_eq!(read(&padded[..49]), None);
}
