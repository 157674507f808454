//! TLVs that an HMAC TLV protects.

use super::*;

/// The TLVs of the reply to an authenticated request with `tlvs`.
fn answered_with(tlvs: &[u8]) -> Vec<u8> {
    let reply = reflected_with(&key(0), &[&AUTHENTICATED_REQUEST, tlvs].concat());
    assert_eq!(reply[..112], AUTHENTICATED_REPLY);
    reply[112..].to_vec()
}

/// The HMAC TLV that follows `tlvs` in a packet with this Sequence Number.
fn hmac_tlv(flags: u8, sequence: u8, tlvs: &[u8]) -> Vec<u8> {
    [&[flags, 8, 0, 16][..], &key(0).tag(&[&[0, 0, 0, sequence], tlvs])].concat()
}

#[test]
fn tlvs_of_an_authenticated_packet_are_vouched_for_there_and_back() {
    let (padding, unknown) = ([0x80, 1, 0, 1, 7], [0x80, 200, 0, 1, 9]);
    let (padded, known) = ([0, 1, 0, 1, 7], [0x80, 200, 0, 1, 9]);
    // A single Extra Padding TLV needs no HMAC TLV.
    assert_eq!(answered_with(&padding), padded);
    assert!(answered_with(&[]).is_empty());
    assert_eq!(answered_with(&[0; 9]), [0; 9]);
    // All other TLVs need one, and Extra Padding may follow the HMAC TLV.
    let sent = [&unknown[..], &hmac_tlv(0x80, 44, &unknown), &padding].concat();
    let back = [&known[..], &hmac_tlv(0, 5, &known), &padded].concat();
    assert_eq!(answered_with(&sent), back);
    // If the HMAC TLV is missing, wrong or in another position, all TLVs are flagged. The flag U
    // still says which of them are not known.
    let flagged = |tlvs: &[&[u8]]| {
        let answer = answered_with(&tlvs.concat());
        let mut expected = tlvs.iter().map(|tlv| tlv.to_vec()).collect::<Vec<_>>();
        for tlv in &mut expected {
            tlv[0] = if tlv[1] == 200 { 0xA0 } else { 0x20 };
        }
        assert_eq!(answer, expected.concat());
    };
    flagged(&[&unknown]);
    flagged(&[&padding, &padding]);
    flagged(&[&unknown, &hmac_tlv(0x80, 45, &unknown)]);
    flagged(&[&unknown, &hmac_tlv(0x80, 44, &unknown), &unknown]);
    flagged(&[&unknown, &hmac_tlv(0x80, 44, &unknown), &hmac_tlv(0x80, 44, &unknown)]);
}

#[test]
fn an_hmac_tlv_of_another_length_is_malformed_and_fails_the_check() {
    let padding = [0x80, 1, 0, 1, 7];
    // It extends beyond the packet.
    assert_eq!(answered_with(&[0x80, 8, 0, 16, 1]), [0x60, 8, 0, 16, 1]);
    for length in [0, 1, 15, 17, 32] {
        let tlv = [&[0x80, 8, 0, length][..], &vec![9; length.into()]].concat();
        let answer = answered_with(&[&tlv[..], &padding].concat());
        let (own, rest) = answer.split_at(tlv.len());
        assert_eq!((own[0], &own[1..]), (0x60, &tlv[1..]), "{length}");
        assert_eq!(rest, [0x20, 1, 0, 1, 7]);
    }
}

/// The TLVs of the reply to an open request with `tlvs`, of a reflector that checks them.
fn answered_open(keys: &[Key], tlvs: &[u8]) -> Vec<u8> {
    let request = [&REQUEST, tlvs].concat();
    let arrived = Arrived { tlv_keys: keys, number: Some(5), ..Arrived::new(AT, None) };
    reply_to(&request, arrived, AT)[OPEN.length..].to_vec()
}

#[test]
fn tlvs_of_an_open_packet_are_vouched_for_on_demand() {
    let keys = [key(1), key(0)];
    let (padding, unknown) = ([0x80, 1, 0, 1, 7], [0x80, 200, 0, 1, 9]);
    // Without an HMAC TLV, TLVs are not protected, which is allowed.
    let sent = [&padding[..], &unknown].concat();
    assert_eq!(answered_open(&keys, &sent), [0, 1, 0, 1, 7, 0x80, 200, 0, 1, 9]);
    // The key that verifies the HMAC TLV writes that of the reply.
    let sent = [&unknown[..], &hmac_tlv(0x80, 44, &unknown), &padding].concat();
    let back = [&unknown[..], &hmac_tlv(0, 5, &unknown), &[0, 1, 0, 1, 7]].concat();
    assert_eq!(answered_open(&keys, &sent), back);
    // If no key does, or it is in another position, all are flagged.
    for (keys, sent) in [
        (&keys[..1], sent),
        (&keys[..], [&unknown[..], &hmac_tlv(0x80, 45, &unknown), &padding].concat()),
        (&keys[..], [&hmac_tlv(0x80, 44, &[])[..], &unknown, &padding].concat()),
        (&keys[..], [&unknown[..], &[0x80, 8, 0, 1, 0], &padding].concat()),
    ] {
        let answer = answered_open(keys, &sent);
        let mut flags = Vec::new();
        let mut rest = &answer[..];
        while let [flag, kind, _, length, ..] = *rest {
            flags.push((kind, flag & 0x20));
            rest = &rest[4 + usize::from(length)..];
        }
        flags.sort_unstable();
        assert_eq!(flags, [(1, 0x20), (8, 0x20), (200, 0x20)], "{sent:?}");
    }
    // Without the option, an HMAC TLV is an unknown one.
    let sent = [&unknown[..], &hmac_tlv(0x80, 45, &unknown)].concat();
    assert_eq!(answered_open(&[], &sent), sent);
}
