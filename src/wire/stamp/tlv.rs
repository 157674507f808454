//! The TLVs after a packet (RFC 8972 section 4): turns those of a request into those of its reply.
//!
//! A TLV has one octet of flags, one octet of type, two octets of length, and a value of that
//! length.

use super::super::key::{Key, TAG};

/// The type of an Extra Padding TLV, the only type that is interpreted here (section 4.1).
const EXTRA_PADDING: u8 = 1;

/// The type of an HMAC TLV (section 4.8).
const HMAC: u8 = 8;

/// The flag U: an unrecognised TLV.
const UNRECOGNISED: u8 = 0x80;

/// The flag M: a malformed TLV, which extends beyond the packet.
const MALFORMED: u8 = 0x40;

/// The flag I: the integrity check of the TLVs failed.
const INTEGRITY: u8 = 0x20;

/// The octets before a TLV's value.
pub(super) const HEADER: usize = 4;

/// Pads a request to `size` octets with an Extra Padding TLV of zeros, if `size` leaves room for
/// one (section 4.1). A sender sets the flag U, which a reflector that knows the type clears
/// (section 4).
pub(super) fn pad(request: &mut Vec<u8>, size: usize) {
    let Some(length) = size.checked_sub(request.len() + HEADER) else { return };
    let [.., high, low] = length.to_be_bytes();
    request.reserve_exact(HEADER + length);
    request.extend_from_slice(&[UNRECOGNISED, EXTRA_PADDING, high, low]);
    request.resize(size, 0);
}

/// Turns the TLVs of a request into those of its reply: unchanged except for the flags.
///
/// Octets after a malformed TLV cannot be parsed and stay unchanged. Zeros up to the end also stay
/// unchanged: they are the padding of TWAMP Light (RFC 8762 section 4.6), not a TLV (type 0 is
/// reserved).
pub(super) fn answer(rest: &mut [u8]) {
    let mut rest = without_padding(rest);
    while let Some(tlv) = split(rest) {
        let (flags, kind) = (tlv.flags, tlv.kind);
        *flags = if kind == EXTRA_PADDING { 0 } else { UNRECOGNISED };
        let Some(next) = tlv.rest else {
            *flags |= MALFORMED;
            return;
        };
        rest = next;
    }
}

/// Like [`answer`], for an unauthenticated request, whose TLVs an HMAC TLV may protect (section 4.8).
/// With `keys`, an HMAC TLV is verified by them and written by the key that fits; if none does, all
/// TLVs are flagged. Without keys, an HMAC TLV is an unrecognised one.
pub(super) fn answer_open(tlvs: &mut [u8], keys: &[Key], request: [u8; 4], reply: [u8; 4]) {
    if keys.is_empty() || !has_hmac(tlvs) {
        return answer(tlvs);
    }
    let place = hmac(tlvs);
    let fits = |&(place, key): &(usize, &Key)| verifies(tlvs, place, key, request);
    match place.and_then(|place| keys.iter().map(|key| (place, key)).find(fits)) {
        Some((place, key)) => answer_by(tlvs, place, key, reply),
        None => flag(tlvs),
    }
}

/// Like [`answer`], for an authenticated request, whose TLVs an HMAC TLV authenticates. Writes the
/// HMAC TLV of the reply. `request` and `reply` are the Sequence Numbers, which the HMACs cover as
/// well.
///
/// If the HMAC TLV is wrong or missing, or if a TLV other than Extra Padding follows it, all TLVs
/// are flagged and otherwise unchanged. A single Extra Padding needs no HMAC TLV.
pub(super) fn answer_authenticated(tlvs: &mut [u8], key: &Key, request: [u8; 4], reply: [u8; 4]) {
    let Some(place) = hmac(tlvs) else {
        if is_padding_alone(tlvs) {
            answer(tlvs);
        } else {
            flag(tlvs);
        }
        return;
    };
    if verifies(tlvs, place, key, request) {
        answer_by(tlvs, place, key, reply);
    } else {
        flag(tlvs);
    }
}

/// Whether the HMAC TLV at `place` is that of a request with this Sequence Number.
fn verifies(tlvs: &[u8], place: usize, key: &Key, request: [u8; 4]) -> bool {
    let Some((covered, tag)) = tlvs.split_at_checked(place) else { return false };
    let tag = tag.get(HEADER..).and_then(<[u8]>::first_chunk);
    tag.is_some_and(|tag| key.verifies(&[&request, covered], tag))
}

/// Answers TLVs that have been verified, and writes the HMAC TLV at `place`.
fn answer_by(tlvs: &mut [u8], place: usize, key: &Key, reply: [u8; 4]) {
    answer(tlvs);
    let (covered, own) = tlvs.split_at_mut(place);
    let tag = key.tag(&[&reply, covered]);
    if let Some((header, value)) = own.split_at_mut_checked(HEADER) {
        header[0] = 0;
        value[..TAG].copy_from_slice(&tag);
    }
}

/// All TLVs, with the length up to the last octet that is not zero. The zeros after it are not TLVs.
///
/// That octet is searched for once for all TLVs, so that the time for a packet grows with its length only: a
/// packet has room for 16,000 empty TLVs.
fn without_padding(tlvs: &mut [u8]) -> Tlvs<'_> {
    let written = tlvs.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
    Tlvs { octets: tlvs, written }
}

/// The octets from a TLV on. `written` is their length up to the last octet that is not zero.
struct Tlvs<'p> {
    octets: &'p mut [u8],
    written: usize,
}

/// One TLV. `rest` is the octets after it; `None` if it extends beyond the packet.
struct Tlv<'p> {
    flags: &'p mut u8,
    kind: u8,
    length: usize,
    rest: Option<Tlvs<'p>>,
}

/// The first TLV; `None` if there are only zeros.
fn split(Tlvs { octets, written }: Tlvs<'_>) -> Option<Tlv<'_>> {
    if written == 0 {
        return None;
    }
    let length = octets.len();
    match octets {
        [flags, kind, high, low, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let written = written.saturating_sub(HEADER + length);
            let rest = rest.get_mut(length..).map(|octets| Tlvs { octets, written });
            Some(Tlv { flags, kind: *kind, length, rest })
        }
        // Too short for a header, so its type is unknown.
        [flags, ..] => Some(Tlv { flags, kind: 0, length, rest: None }),
        [] => None,
    }
}

/// Flags every TLV as failing the integrity check. The other flags are as they would be without it:
/// the reflector knows types 1 and 8, and an HMAC TLV has one valid length.
fn flag(rest: &mut [u8]) {
    let mut rest = without_padding(rest);
    while let Some(tlv) = split(rest) {
        *tlv.flags = INTEGRITY;
        if ![EXTRA_PADDING, HMAC].contains(&tlv.kind) {
            *tlv.flags |= UNRECOGNISED;
        }
        if tlv.rest.is_none() || (tlv.kind == HMAC && tlv.length != TAG) {
            *tlv.flags |= MALFORMED;
        }
        let Some(next) = tlv.rest else { return };
        rest = next;
    }
}

/// Whether any TLV is an HMAC TLV.
fn has_hmac(tlvs: &mut [u8]) -> bool {
    let mut rest = Some(without_padding(tlvs));
    while let Some(tlv) = rest.and_then(split) {
        if tlv.kind == HMAC {
            return true;
        }
        rest = tlv.rest;
    }
    false
}

/// The offset of the HMAC TLV, if it is in the required position.
fn hmac(tlvs: &mut [u8]) -> Option<usize> {
    let (mut rest, mut place, mut found) = (without_padding(tlvs), 0, None);
    while let Some(Tlv { kind, length, rest: next, .. }) = split(rest) {
        let is_hmac = kind == HMAC && length == TAG && found.is_none();
        if is_hmac {
            found = Some(place);
        } else if kind == HMAC || (found.is_some() && kind != EXTRA_PADDING) {
            return None;
        }
        place += HEADER + length;
        rest = next?;
    }
    found
}

/// Whether there is no TLV, or only one Extra Padding.
fn is_padding_alone(tlvs: &mut [u8]) -> bool {
    split(without_padding(tlvs)).is_none_or(|Tlv { kind, rest, .. }| {
        kind == EXTRA_PADDING && rest.is_some_and(|rest| split(rest).is_none())
    })
}
