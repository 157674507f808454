//! Common parts of the text protocols: the test whether a datagram is text, and the number that
//! combines session and sequence.

/// Whether `datagram` consists of printable ASCII, tabs and line ends before any NULs at its end. If
/// so, only a text protocol can recognise it.
pub(super) fn is_text(datagram: &[u8]) -> bool {
    let text = without_nuls(datagram);
    !text.is_empty()
        && text.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
}

/// `datagram` without the NULs at its end, which programs in C send with their strings.
pub(super) fn without_nuls(datagram: &[u8]) -> &[u8] {
    let end = datagram.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
    &datagram[..end]
}

/// The number of a heartbeat in the text protocols: `session · 2³² + sequence`, so that session 0
/// counts 0, 1, 2, … like a client without sessions.
pub(super) const fn join(session: u32, sequence: u32) -> u64 {
    (session as u64) << 32 | sequence as u64
}

/// The session and the sequence of a heartbeat's number; inverse of [`join`].
#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are meant")]
pub(super) const fn split(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_zero_counts_from_zero() {
        assert_eq!(join(0, 44), 44);
        assert_eq!(join(1, 0), 4_294_967_296);
        assert_eq!(split(u64::MAX), (u32::MAX, u32::MAX));
        assert_eq!(split(join(7, 9)), (7, 9));
    }
}
