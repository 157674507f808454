//! Where the fields of a packet are, in both modes, and the tag of an authenticated packet.

use super::super::key::{Key, TAG};
use super::tlv;

/// The largest size: the largest payload of UDP over IPv4 (RFC 791, RFC 768).
const LARGEST: u16 = 65_507;

/// The offsets of the fields of a packet in one of the two modes.
#[derive(Debug)]
pub(super) struct Layout {
    /// The length without TLVs, of requests and replies.
    pub(super) length: usize,
    pub(super) timestamp: usize,
    pub(super) error_estimate: usize,
    pub(super) ssid: usize,
    pub(super) receive_timestamp: usize,
    pub(super) sender_sequence: usize,
    pub(super) sender_timestamp: usize,
    pub(super) sender_error_estimate: usize,
    pub(super) sender_ttl: usize,
}

/// The offset of the Sequence Number in both modes.
pub(super) const SEQUENCE: usize = 0;

/// Authenticated mode only: the octets that the tag covers, and the octets before the timestamp.
pub(super) const COVERED: usize = 96;
pub(super) const ZERO: std::ops::Range<usize> = 4..16;

/// The unauthenticated mode.
pub(super) static OPEN: Layout = Layout {
    length: 44,
    timestamp: 4,
    error_estimate: 12,
    ssid: 14,
    receive_timestamp: 16,
    sender_sequence: 24,
    sender_timestamp: 28,
    sender_error_estimate: 36,
    sender_ttl: 40,
};

/// The authenticated mode.
pub(super) static AUTHENTICATED: Layout = Layout {
    length: COVERED + TAG,
    timestamp: 16,
    error_estimate: 24,
    ssid: 26,
    receive_timestamp: 32,
    sender_sequence: 48,
    sender_timestamp: 64,
    sender_error_estimate: 72,
    sender_ttl: 80,
};

impl Layout {
    pub(super) const fn is_authenticated(&self) -> bool {
        self.length == AUTHENTICATED.length
    }

    /// Whether a packet can have this size: that without TLVs, or one with room for a TLV.
    pub(super) fn has_size(&self, size: u16) -> bool {
        let with_tlv = self.length + tlv::HEADER..=usize::from(LARGEST);
        usize::from(size) == self.length || with_tlv.contains(&size.into())
    }

    /// The sizes that a packet can have, in words.
    pub(super) fn sizes(&self) -> String {
        let (length, padded) = (self.length, self.length + tlv::HEADER);
        let mode = if self.is_authenticated() { " (because of the key)" } else { "" };
        format!("{length}, or from {padded} to {LARGEST} octets{mode}")
    }
}

/// The layout of a packet by its mode; `None` if it is too short for either mode.
pub(super) fn layout(packet: &[u8]) -> Option<&'static Layout> {
    let is_zero = |octets: &[u8]| octets.iter().all(|&octet| octet == 0);
    if packet.len() >= AUTHENTICATED.length && packet.get(ZERO).is_some_and(is_zero) {
        return Some(&AUTHENTICATED);
    }
    (packet.len() >= OPEN.length).then_some(&OPEN)
}

/// Whether an open request has padding from the SSID on, as one of TWAMP does (RFC 5357 section
/// 4.1.2): it may be random, so it names no session and contains no TLVs. A request of STAMP has
/// zeros after the SSID (RFC 8972 section 3).
pub(super) fn is_padded(request: &[u8], layout: &Layout) -> bool {
    let zeros = request.get(layout.receive_timestamp..layout.length);
    !layout.is_authenticated() && zeros.is_some_and(|zeros| zeros.iter().any(|&octet| octet != 0))
}

/// Writes the tag of an authenticated packet after the octets that the tag covers.
pub(super) fn tag(packet: &mut [u8], key: &Key) {
    if let Some((covered, rest)) = packet.split_at_mut_checked(COVERED)
        && let Some(place) = rest.first_chunk_mut::<TAG>()
    {
        *place = key.tag(&[covered]);
    }
}

/// Whether the tag of an authenticated packet is valid.
pub(super) fn is_tagged(packet: &[u8], key: &Key) -> bool {
    packet.split_at_checked(COVERED).is_some_and(|(covered, rest)| {
        rest.first_chunk().is_some_and(|tag| key.verifies(&[covered], tag))
    })
}

/// Reads a field. `offset` is from the packet's layout, so the field is within the packet.
pub(super) fn take<const N: usize>(packet: &[u8], offset: usize) -> [u8; N] {
    std::array::from_fn(|octet| packet[offset + octet])
}

pub(super) fn put<const N: usize>(packet: &mut [u8], offset: usize, field: [u8; N]) {
    packet[offset..offset + N].copy_from_slice(&field);
}
