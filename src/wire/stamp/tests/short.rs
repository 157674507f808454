//! Short requests of TWAMP Light, whose replies are longer.

use super::*;

/// The reply to a short request that arrives at `at`.
fn reply_to_short(request: &[u8], at: Wall) -> Vec<u8> {
    let mut out = Vec::new();
    let request = StampReflector.recognise_short(request, at).unwrap();
    assert!(request.is_short && !request.is_authenticated);
    StampReflector.reflect(&request, Arrived::new(at, Some(61)), after(at, 250), &mut out);
    out
}

#[test]
fn a_short_request_gets_the_base_packet() {
    // TWAMP Light has no SSID.
    let expected = with(REPLY, 14, &[0, 0]);
    for length in 14..44 {
        let request = &REQUEST[..length];
        assert_eq!(refused(request, AT), Some(NotRequest::Short), "{length} octets");
        assert_eq!(reply_to_short(request, after(AT, 500)), expected, "{length} octets");
        let padded = [&REQUEST[..14], &[0xA5; 30][..length - 14]].concat();
        assert_eq!(reply_to_short(&padded, after(AT, 500)), expected, "{length} octets");
    }
    let request = StampReflector.recognise_short(&REQUEST[..41], AT).unwrap();
    assert_eq!(request.counted_session, Some(0));
}

#[test]
fn a_short_datagram_without_a_plausible_timestamp_is_foreign() {
    let day = Duration::from_secs(86_400);
    let ptp = with(REQUEST, 4, &[0x66, 0xED, 0x30, 0xA6, 0, 0, 0, 5]);
    for (datagram, now, expected) in [
        (&REQUEST[..14], AT - day, NotRequest::Short),
        (&REQUEST[..14], AT + day + day, NotRequest::Foreign),
        (&ptp[..41], AT, NotRequest::Short),
        (&ptp[..41], AT + day + day, NotRequest::Foreign),
        (&[0; 41], AT, NotRequest::Foreign),
        (&[b'x'; 41], AT, NotRequest::Foreign),
        // A query of DNS for the records of the root.
        (&[7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1], AT, NotRequest::Foreign),
    ] {
        assert_eq!(refused(datagram, now), Some(expected), "{datagram:?}");
        let is_short = expected == NotRequest::Short;
        assert_eq!(StampReflector.recognise_short(datagram, now).is_some(), is_short);
    }
    assert!(StampReflector.recognise_short(&REQUEST, AT).is_none(), "it is long enough");
}

#[test]
fn a_short_reply_is_not_a_short_request() {
    let year = Duration::from_secs(365 * 86_400);
    for length in 24..44 {
        for (now, expected) in [(AT, NotRequest::Reply), (AT + year, NotRequest::Foreign)] {
            assert_eq!(refused(&REPLY[..length], now), Some(expected), "{length} octets");
            assert!(StampReflector.recognise_short(&REPLY[..length], now).is_none());
        }
    }
}
