//! STAMP packets octet by octet, as in the RFCs, and how the reflector changes their TLVs.

use std::time::Duration;

use super::*;

mod short;
mod size;
mod tlvs;

/// The sender of unauthenticated packets without padding.
const SENDER: OpenStamp = OpenStamp { size: 0, zero_ssid: ZeroSsid::Accept };

/// The sender of authenticated packets without padding.
fn authenticated(key: Key) -> AuthenticatedStamp {
    AuthenticatedStamp { key: Arc::new(key), size: 0, zero_ssid: ZeroSsid::Accept }
}

/// 2024-09-20T08:21:58.5Z: NTP seconds 0xEA97AF26.
const AT: Wall = Wall::from_nanos(1_726_820_518_500_000_000);

/// 2036-02-07T06:28:16Z: NTP's seconds begin again from 0.
const ERA_1: Wall = Wall::from_nanos(2_085_978_496_000_000_000);

#[rustfmt::skip]
const REQUEST: [u8; 44] = [
    0, 0, 0, 44,                                            // Sequence Number
    0xEA, 0x97, 0xAF, 0x26, 0x80, 0, 0, 0,                  // Timestamp
    0x1D, 0x80,                                             // Error Estimate
    0, 8,                                                   // SSID
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

#[rustfmt::skip]
const REPLY: [u8; 44] = [
    0, 0, 0, 44,                                            // Sequence Number
    0xEA, 0x97, 0xAF, 0x27, 0x40, 0, 0, 0,                  // Timestamp: t1 + 0.75 s
    0x1D, 0x80,                                             // Error Estimate
    0, 8,                                                   // SSID
    0xEA, 0x97, 0xAF, 0x27, 0, 0, 0, 0,                     // Receive Timestamp: t1 + 0.5 s
    0, 0, 0, 44,                                            // Session-Sender Sequence Number
    0xEA, 0x97, 0xAF, 0x26, 0x80, 0, 0, 0,                  // Session-Sender Timestamp
    0x1D, 0x80,                                             // Session-Sender Error Estimate
    0, 0,                                                   // zero
    61,                                                     // Session-Sender TTL
    0, 0, 0,                                                // zero
];

const READ: Reply = Reply {
    session: Some(7),
    sequence: 44,
    echo: 0xEA97_AF26_8000_0000,
    time_difference: Some(500_000_000),
    turnaround: Some(250_000_000),
    number: Some(44),
    result: None,
};

fn after(start: Wall, millis: u64) -> Wall {
    start + Duration::from_millis(millis)
}

fn encoded(at: Wall) -> Vec<u8> {
    let mut out = Vec::new();
    SENDER.encode(&Request::new(7, 44, at), &mut out);
    out
}

/// The reply to a request that arrives at `arrived.at` and is answered at `now`.
fn reply_to(request: &[u8], arrived: Arrived<'_>, now: Wall) -> Vec<u8> {
    let mut out = Vec::new();
    let request = StampReflector.recognise(request, arrived.at).unwrap();
    StampReflector.reflect(&request, arrived, now, &mut out);
    out
}

fn reflected(request: &[u8], at: Wall, ttl: Option<u8>) -> Vec<u8> {
    reply_to(request, Arrived::new(at, ttl), after(at, 250))
}

/// Why a datagram that arrives at `now` is not a request.
fn refused(datagram: &[u8], now: Wall) -> Option<NotRequest> {
    StampReflector.recognise(datagram, now).err()
}

fn with<const N: usize>(packet: [u8; N], offset: usize, field: &[u8]) -> [u8; N] {
    let mut packet = packet;
    packet[offset..offset + field.len()].copy_from_slice(field);
    packet
}

/// The TLVs of the reply to a request with `tlvs`.
fn answered(tlvs: &[u8]) -> Vec<u8> {
    let reply = reflected(&[&REQUEST, tlvs].concat(), after(AT, 500), Some(61));
    assert_eq!(reply[..OPEN.length], REPLY);
    reply[OPEN.length..].to_vec()
}

#[test]
fn packets_are_laid_out_as_the_rfcs_say() {
    assert_eq!(encoded(AT), REQUEST);
    assert_eq!(reflected(&REQUEST, after(AT, 500), Some(61)), REPLY);
    assert_eq!(SENDER.decode(&REPLY), Ok(READ));
    assert!(SENDER.confirms(&READ, AT));
    assert!(!SENDER.confirms(&READ, AT + Duration::from_nanos(1)));
}

#[test]
fn a_reflector_that_keeps_state_numbers_its_replies_itself() {
    let arrived = Arrived { number: Some(0x0102_0304), ..Arrived::new(after(AT, 500), Some(61)) };
    let out = reply_to(&REQUEST, arrived, after(AT, 750));
    assert_eq!(out, with(REPLY, 0, &[1, 2, 3, 4]));
    assert_eq!(SENDER.decode(&out), Ok(Reply { number: Some(0x0102_0304), ..READ }));
    let answered = Some(Reply { echo: READ.echo, ..Reply::to(READ.session, READ.sequence) });
    assert_eq!(SENDER.quoted(&REQUEST), answered);
    assert_eq!(SENDER.quoted(&REQUEST[..16]), answered, "the SSID is in it");
    assert_eq!(SENDER.quoted(&REQUEST[..15]), None);
    assert_eq!(SENDER.quoted(b"Ping 1 Thu Jan  1 00:00:00 1970"), None);
    assert_eq!(SENDER.quoted(&[0; 44]), None, "no timestamp, and no SSID");
}

#[test]
fn what_is_read_of_a_request_is_what_its_reply_needs() {
    let open = ParsedRequest {
        payload: &REQUEST,
        sequence: 44,
        timestamp: READ.echo,
        counted_session: Some(8),
        is_authenticated: false,
        is_short: false,
    };
    assert_eq!(StampReflector.recognise(&REQUEST, AT), Ok(open));
    let payload = &AUTHENTICATED_REQUEST[..];
    let authenticated = ParsedRequest { payload, is_authenticated: true, ..open };
    assert_eq!(StampReflector.recognise(payload, AT), Ok(authenticated));
    let without_ssid = with(REQUEST, 14, &[0, 0]);
    assert_eq!(StampReflector.recognise(&without_ssid, AT).unwrap().counted_session, Some(0));
}

#[test]
fn an_unknown_hop_limit_is_zero() {
    assert_eq!(reflected(&REQUEST, after(AT, 500), None)[40], 0);
}

#[test]
fn sessions_are_offset_by_one_and_zero_is_none() {
    assert_eq!(SENDER.max_session(), 65_534);
    let session = |ssid: [u8; 2]| SENDER.decode(&with(REPLY, 14, &ssid)).unwrap().session;
    assert_eq!(session([0, 0]), None);
    assert_eq!(session([0, 1]), Some(0));
    assert_eq!(session([0xFF, 0xFF]), Some(65_534));
}

#[test]
fn a_receiver_ahead_or_behind_is_told_apart() {
    let early = with(REPLY, 16, &[0xEA, 0x97, 0xAF, 0x25]);
    let reply = SENDER.decode(&early).unwrap();
    assert_eq!(reply.time_difference, Some(-1_500_000_000));
    assert_eq!(reply.turnaround, Some(2_250_000_000));
}

#[test]
fn what_no_reflector_writes_is_no_reply() {
    assert_eq!(SENDER.decode(&[]), Err(Malformed));
    assert_eq!(SENDER.decode(&REPLY[..35]), Err(Malformed));
    let ping = b"PING 17179869184 FRI SEP 20 13:12:19 2024";
    assert_eq!(SENDER.decode(ping), Err(Malformed));
    // What is not reflected is read, and confirms no heartbeat.
    assert!(!SENDER.confirms(&SENDER.decode(&REQUEST).unwrap(), AT));
    assert_eq!(SENDER.decode(&AUTHENTICATED_REQUEST), Err(Malformed));
    assert_eq!(SENDER.decode(&AUTHENTICATED_REPLY), Err(Malformed));
}

#[test]
fn a_short_reply_is_read_as_far_as_the_senders_timestamp() {
    // 41 octets are the base reply of RFC 5357; twampy's reflector answers 38.
    for length in [36, 38, 41, 44] {
        let read = SENDER.decode(&REPLY[..length]);
        assert_eq!(read, Ok(READ), "{length} octets");
        assert!(SENDER.confirms(&read.unwrap(), AT));
    }
    // A reply of TWAMP has zeros instead of an SSID.
    let twamp = with(REPLY, 14, &[0, 0]);
    assert_eq!(SENDER.decode(&twamp[..41]), Ok(Reply { session: None, ..READ }));
}

#[test]
fn the_senders_error_estimate_need_not_come_back() {
    for estimate in [[0, 0], [0x24, 0x02], [0xFF, 0xFF]] {
        assert_eq!(SENDER.decode(&with(REPLY, 36, &estimate)), Ok(READ), "{estimate:?}");
    }
}

#[test]
fn a_reply_that_left_before_its_request_arrived_is_still_a_reply() {
    // t3 is 0.75 s and then 1 µs before t2.
    let early = with(REPLY, 7, &[0x26]);
    assert_eq!(SENDER.decode(&early), Ok(Reply { turnaround: Some(-750_000_000), ..READ }));
    let left = Ntp::from(after(AT, 500) - Duration::from_micros(1)).to_octets();
    let early = with(REPLY, 4, &left);
    assert_eq!(SENDER.decode(&early), Ok(Reply { turnaround: Some(-1_000), ..READ }));
}

#[test]
fn what_a_reflector_is_free_to_write_is_not_looked_at() {
    let padded = [&REPLY[..], &[0x40, 1, 0xFF]].concat();
    assert_eq!(SENDER.decode(&padded), Ok(READ));
    let other = with(with(REPLY, 12, &[0x80 | 0x3F, 0]), 38, &[1, 1, 0, 1, 1, 1]);
    assert_eq!(SENDER.decode(&other), Ok(READ));
    let long = [&REPLY[..], &vec![0xFF; 65_507 - 44]].concat();
    assert_eq!(SENDER.decode(&long), Ok(READ));
    // A reflector without a clock, padded so that it looks like authenticated mode.
    let clockless = [&with(REPLY, 4, &[0; 20])[..], &[0; 100]].concat();
    let read = Reply { session: None, time_difference: None, turnaround: None, ..READ };
    assert_eq!(SENDER.decode(&clockless), Ok(read));
}

#[test]
fn a_reflector_may_count_in_ptp() {
    let reply = with(REPLY, 4, &[0x66, 0xED, 0x30, 0xA8, 0x00, 0x00, 0x00, 0x05, 0x64, 0x01]);
    let reply = with(reply, 16, &[0x66, 0xED, 0x30, 0xA7, 0x3B, 0x9A, 0xC9, 0xFF]);
    let read = Reply { time_difference: None, turnaround: Some(6), ..READ };
    assert_eq!(SENDER.decode(&reply), Ok(read));
    let late = SENDER.decode(&with(reply, 16, &[0x66, 0xED, 0x30, 0xA9])).unwrap();
    assert_eq!(late.turnaround, Some(-1_999_999_994));
    // The bit Z of the Error Estimate is missing.
    assert_eq!(SENDER.decode(&with(reply, 12, &[0x24])), Ok(read));
}

#[test]
fn the_numbers_decide_about_the_format_of_the_timestamps() {
    // The bit Z is set, and the timestamps are in NTP's format all the same.
    assert_eq!(SENDER.decode(&with(REPLY, 12, &[0x64])), Ok(READ));
    // A clock that is years wrong does not show its format, and the bit decides.
    let wrong = with(with(REPLY, 4, &[0x10]), 16, &[0x10]);
    let ntp = SENDER.decode(&wrong).unwrap();
    assert_eq!(ntp.turnaround, Some(250_000_000));
    assert!(ntp.time_difference.is_some());
    // Fractions of 0x40000000 and 0 as nanoseconds would be more than a second.
    let ptp = SENDER.decode(&with(wrong, 12, &[0x64])).unwrap();
    assert_eq!((ptp.time_difference, ptp.turnaround), (ntp.time_difference, ntp.turnaround));
    let nanos = with(wrong, 8, &[0x00, 0x00, 0x00, 0x05]);
    let ptp = SENDER.decode(&with(nanos, 12, &[0x64])).unwrap();
    assert_eq!((ptp.time_difference, ptp.turnaround), (None, Some(5)));
}

#[test]
fn nothing_happens_in_2036() {
    for millis in [0, 100, 500, 999, 1000, 1500] {
        let sent = ERA_1 - Duration::from_millis(1000 - millis.min(1000));
        let request = encoded(sent);
        let reply = reflected(&request, after(sent, 700), None);
        let read = SENDER.decode(&reply).unwrap();
        assert!(SENDER.confirms(&read, sent));
        assert_eq!(read.time_difference, Some(700_000_000));
        assert_eq!(read.turnaround, Some(250_000_000));
        for now in [sent, after(sent, 950), after(sent, 3_600_000)] {
            assert_eq!(refused(&request, now), None);
            assert_eq!(refused(&reply, now), Some(NotRequest::Reply));
        }
    }
    assert_eq!(Ntp::from(ERA_1), Ntp(1));
}

#[test]
fn a_packet_with_a_stamp_of_today_was_reflected() {
    let day = Duration::from_secs(86_400);
    let received = after(AT, 500);
    assert_eq!(refused(&REQUEST, AT), None);
    let stamped = with(with(REQUEST, 4, &[0; 8]), 16, &REPLY[16..24]);
    for now in [received - day, received, received + day] {
        assert_eq!(refused(&stamped, now), Some(NotRequest::Reply));
    }
    for now in [received - day - day, received + day + day] {
        assert_eq!(refused(&stamped, now), None);
    }
}

#[test]
fn a_reflected_packet_is_known_whatever_the_clock_that_stamped_it() {
    let year = Duration::from_secs(365 * 86_400);
    assert_eq!(refused(&REPLY, AT + year), Some(NotRequest::Reply));
    let slow = reflected(&REQUEST, AT - year, None);
    assert_eq!(refused(&slow, AT), Some(NotRequest::Reply));
    let ptp = with(REPLY, 4, &[0x66, 0xED, 0x30, 0xA7, 0, 0, 0, 5]);
    let ptp = with(ptp, 16, &[0x66, 0xED, 0x30, 0xA7, 0, 0, 0, 0]);
    assert_eq!(refused(&ptp, AT), Some(NotRequest::Reply));
    assert_eq!(refused(&ptp.to_ascii_uppercase(), AT), Some(NotRequest::Reply));
}

#[test]
fn text_and_short_and_long_datagrams_are_foreign() {
    assert_eq!(refused(&[], AT), Some(NotRequest::Foreign));
    assert_eq!(refused(&REQUEST[..13], AT), Some(NotRequest::Foreign));
    assert_eq!(refused(&[b'x'; 44], AT), Some(NotRequest::Foreign));
    let mut long = REQUEST.to_vec();
    long.resize(LARGEST_DATAGRAM, 0);
    assert_eq!(refused(&long, AT), None);
    long.push(0);
    assert_eq!(refused(&long, AT), Some(NotRequest::Foreign));
}

#[test]
fn extra_padding_comes_back_understood() {
    assert_eq!(answered(&[0xC0, 1, 0, 2, 7, 8]), [0, 1, 0, 2, 7, 8]);
    assert_eq!(answered(&[0x80, 1, 0, 0]), [0, 1, 0, 0]);
}

#[test]
fn unknown_tlvs_come_back_flagged() {
    assert_eq!(
        answered(&[0x00, 3, 0, 1, 9, 0x80, 1, 0, 1, 5, 0xFF, 200, 0, 0]),
        [0x80, 3, 0, 1, 9, 0x00, 1, 0, 1, 5, 0x80, 200, 0, 0]
    );
}

#[test]
fn a_malformed_tlv_is_the_last_one_read() {
    assert_eq!(answered(&[0x80, 1, 0, 0, 0x80, 1, 0, 2, 7]), [0x00, 1, 0, 0, 0x40, 1, 0, 2, 7]);
    assert_eq!(answered(&[0x80, 3, 0xFF, 0xFF, 0x80, 1]), [0xC0, 3, 0xFF, 0xFF, 0x80, 1]);
    for length in 1..4 {
        let mut tlv = [0x80, 1, 0];
        let answer = answered(&tlv[..length]);
        tlv[0] = 0xC0;
        assert_eq!(answer, tlv[..length]);
    }
}

#[test]
fn a_request_of_any_size_comes_back_in_the_same_size() {
    for size in [44, 1025, 1400, 9000, 65_507, LARGEST_DATAGRAM] {
        let mut request = REQUEST.to_vec();
        request.resize(size, 0);
        let reply = reflected(&request, after(AT, 500), Some(61));
        assert_eq!((reply.len(), &reply[..44]), (size, &REPLY[..]));
        assert_eq!(SENDER.decode(&reply), Ok(READ));
    }
}

#[test]
fn the_time_for_many_tlvs_grows_with_their_number_only() {
    // Empty TLVs of type 0 up to an octet at the end: looking for the padding at each of them would
    // take minutes in all.
    let mut tlvs = vec![0; 65_000];
    tlvs.push(7);
    for _ in 0..100 {
        let answer = answered(&tlvs);
        assert_eq!(answer[..8], [0x80, 0, 0, 0, 0x80, 0, 0, 0]);
        assert_eq!(answer[64_996..], [0x80, 0, 0, 0, 0xC0]);
    }
}

#[test]
fn random_padding_of_twamp_is_no_session_and_comes_back_unchanged() {
    for octet in [0x01, 0x40, 0xA5, 0xFF] {
        let request = [&REQUEST[..14], &[octet; 100]].concat();
        let read = StampReflector.recognise(&request, AT).unwrap();
        assert_eq!(read.counted_session, Some(0), "{octet}");
        let reply = reflected(&request, after(AT, 500), Some(61));
        assert_eq!((reply.len(), &reply[44..]), (114, &request[44..]));
        assert_eq!(reply[16..44], REPLY[16..44]);
    }
}

#[test]
fn zeros_to_the_end_are_padding() {
    assert_eq!(answered(&[0; 7]), [0; 7]);
    assert_eq!(answered(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0]), [0, 1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_clock_that_steps_back_makes_no_negative_turnaround() {
    let out = reply_to(&REQUEST, Arrived::new(AT, None), AT - Duration::from_secs(5));
    assert_eq!(SENDER.decode(&out).unwrap().turnaround, Some(0));
}

#[test]
fn differences_are_rounded_to_the_nanosecond() {
    for nanos in [0, 1, 2, 3, 999_999_999, 1_000_000_001, 86_400_000_000_123] {
        let later = AT + Duration::from_nanos(nanos);
        let nanos = i64::try_from(nanos).unwrap();
        assert_eq!(Ntp::from(later).nanos_since(Ntp::from(AT)), nanos);
        assert_eq!(Ntp::from(AT).nanos_since(Ntp::from(later)), -nanos);
    }
}

/// A sender's packet with the key `000102…0f`, its tag computed by another implementation of
/// HMAC-SHA-256 (Python's).
#[rustfmt::skip]
const AUTHENTICATED_REQUEST: [u8; 112] = [
    0, 0, 0, 44,                                            // Sequence Number
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                     // zero
    0xEA, 0x97, 0xAF, 0x26, 0x80, 0, 0, 0,                  // Timestamp
    0x1D, 0x80,                                             // Error Estimate
    0, 8,                                                   // SSID
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0x4E, 0xB3, 0x66, 0xAD, 0x86, 0x08, 0x41, 0xC1, 0xB7, 0xB3, 0xB9, 0x59, 0x7A, 0x63, 0xA9, 0x19, // HMAC
];

/// The reply of a stateful reflector to this request.
#[rustfmt::skip]
const AUTHENTICATED_REPLY: [u8; 112] = [
    0, 0, 0, 5,                                             // Sequence Number
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                     // zero
    0xEA, 0x97, 0xAF, 0x27, 0x40, 0, 0, 0,                  // Timestamp: t1 + 0.75 s
    0x1D, 0x80,                                             // Error Estimate
    0, 8,                                                   // SSID
    0, 0, 0, 0,                                             // zero
    0xEA, 0x97, 0xAF, 0x27, 0, 0, 0, 0,                     // Receive Timestamp: t1 + 0.5 s
    0, 0, 0, 0, 0, 0, 0, 0,                                 // zero
    0, 0, 0, 44,                                            // Session-Sender Sequence Number
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                     // zero
    0xEA, 0x97, 0xAF, 0x26, 0x80, 0, 0, 0,                  // Session-Sender Timestamp
    0x1D, 0x80,                                             // Session-Sender Error Estimate
    0, 0, 0, 0, 0, 0,                                       // zero
    61,                                                     // Session-Sender TTL
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,            // zero
    0x0F, 0xB5, 0xC8, 0x55, 0x00, 0x46, 0x1D, 0xC4, 0xE5, 0x11, 0xCF, 0x26, 0x9D, 0x38, 0x29, 0x6E, // HMAC
];

fn key(first: u8) -> Key {
    Key::from_hex(format!("{first:02x}0102030405060708090a0b0c0d0e0f").as_bytes()).unwrap()
}

/// The reply of a stateful reflector with this key.
fn reflected_with(key: &Key, request: &[u8]) -> Vec<u8> {
    let arrived = Arrived { number: Some(5), ..Arrived::new(after(AT, 500), Some(61)) };
    reply_to(request, Arrived { key: Some(key), ..arrived }, after(AT, 750))
}

#[test]
fn authenticated_packets_are_laid_out_as_the_rfcs_say() {
    let sender = authenticated(key(0));
    assert_eq!(sender.max_session(), SENDER.max_session());
    let mut request = Vec::new();
    sender.encode(&Request::new(7, 44, AT), &mut request);
    assert_eq!(request, AUTHENTICATED_REQUEST);
    let reply = reflected_with(&key(0), &request);
    assert_eq!(reply, AUTHENTICATED_REPLY);
    let read = Reply { number: Some(5), ..READ };
    assert_eq!(sender.decode(&reply), Ok(read));
    assert!(sender.confirms(&read, AT));
    let answered = Some(Reply { echo: READ.echo, ..Reply::to(READ.session, READ.sequence) });
    assert_eq!(sender.quoted(&request), answered);
    assert_eq!(sender.quoted(&request[..32]), answered, "routers cut off the tag");
    assert_eq!(sender.quoted(&request[..31]), None);
    assert_eq!(sender.quoted(&REQUEST), None, "it is open");
    assert_eq!(SENDER.quoted(&request), None, "it is not");
    assert_eq!(refused(&request, AT), None);
    assert_eq!(refused(&reply, AT), Some(NotRequest::Reply));
    assert_eq!(refused(&reply, AT + Duration::from_secs(365 * 86_400)), Some(NotRequest::Reply));
}

#[test]
fn a_request_is_vouched_for_by_its_own_key_alone() {
    let keys = [key(1), key(0)];
    let by = |request: &[u8], keys: &[Key]| {
        let request = StampReflector.recognise(request, AT).unwrap();
        match StampReflector.authenticate(&request, keys) {
            Ok(Authenticity::By { place, .. }) => Ok(Some(place)),
            Ok(Authenticity::Open) => Ok(None),
            Err(unauthenticated) => Err(unauthenticated),
        }
    };
    assert_eq!(by(&AUTHENTICATED_REQUEST, &keys), Ok(Some(1)));
    assert_eq!(by(&AUTHENTICATED_REQUEST, &keys[..1]), Err(Unauthenticated));
    assert_eq!(by(&AUTHENTICATED_REQUEST, &[]), Err(Unauthenticated));
    assert_eq!(by(&REQUEST, &keys), Ok(None));
    for octet in (0..112).filter(|octet| !ZERO.contains(octet)) {
        let mut wrong = AUTHENTICATED_REQUEST;
        wrong[octet] ^= 0x10;
        assert_eq!(by(&wrong, &keys), Err(Unauthenticated), "octet {octet}");
    }
    let out = reply_to(&AUTHENTICATED_REQUEST, Arrived::new(AT, None), AT);
    assert!(out.is_empty(), "without a key there is no answer");
}

#[test]
fn the_tag_shows_the_mode_of_a_packet_whose_zeros_are_not_written() {
    let keys = [key(1), key(0)];
    let mut request = AUTHENTICATED_REQUEST;
    request[ZERO].fill(0xA5);
    let read = |packet: &[u8]| {
        StampReflector.recognise_tagged(packet, AT, &keys).map(|read| {
            read.map(|request| {
                (request.is_authenticated, request.sequence, request.counted_session)
            })
        })
    };
    assert_eq!(read(&request), None, "the tag is that of the packet with zeros");
    tag(&mut request, &keys[1]);
    assert_eq!(read(&request), Some(Ok((true, 44, Some(8)))));
    assert_eq!(StampReflector.recognise_tagged(&request, AT, &keys[..1]), None);
    assert_eq!(read(&AUTHENTICATED_REQUEST), None, "`recognise` reads it");
    assert_eq!(read(&REQUEST), None);
    // The reply to such a request is that to one with zeros.
    let parsed = StampReflector.recognise_tagged(&request, AT, &keys).unwrap().unwrap();
    assert!(StampReflector.authenticate(&parsed, &keys).is_ok());
    let (number, mut reply) = (Some(5), Vec::new());
    let arrived = Arrived { number, key: Some(&keys[1]), ..Arrived::new(after(AT, 500), Some(61)) };
    StampReflector.reflect(&parsed, arrived, after(AT, 750), &mut reply);
    assert_eq!(reply, AUTHENTICATED_REPLY);
    // A reply is recognised as a reply, whatever is in the place of its zeros.
    let mut reply = AUTHENTICATED_REPLY;
    reply[ZERO].fill(0xA5);
    tag(&mut reply, &keys[1]);
    assert_eq!(read(&reply), Some(Err(NotRequest::Reply)));
}

#[test]
fn a_reply_without_the_right_tag_is_not_read() {
    let sender = authenticated(key(0));
    assert_eq!(
        authenticated(key(1)).decode(&AUTHENTICATED_REPLY),
        Err(Unreadable::Unauthenticated)
    );
    for octet in 0..112 {
        let mut wrong = AUTHENTICATED_REPLY;
        wrong[octet] ^= 1;
        assert_eq!(sender.decode(&wrong), Err(Unreadable::Unauthenticated), "octet {octet}");
    }
    assert_eq!(sender.decode(&AUTHENTICATED_REPLY[..111]), Err(Malformed));
    assert_eq!(sender.decode(&REPLY), Err(Malformed));
}

#[test]
fn a_zeroed_ssid_is_refused_only_on_demand() {
    let zeroed = with(REPLY, 14, &[0, 0]);
    let read = Reply { session: None, ..READ };
    assert_eq!(SENDER.decode(&zeroed), Ok(read));
    let strict = OpenStamp { zero_ssid: ZeroSsid::Refuse, ..SENDER };
    assert_eq!(strict.decode(&zeroed), Err(Unreadable::Mismatch));
    assert_eq!(strict.decode(&REPLY), Ok(READ));
    assert!(!strict.shares_replies_with(&SENDER) && strict.shares_replies_with(&strict));
    let mut zeroed = AUTHENTICATED_REPLY;
    zeroed[26..28].fill(0);
    tag(&mut zeroed, &key(0));
    let read = Reply { number: Some(5), ..read };
    assert_eq!(authenticated(key(0)).decode(&zeroed), Ok(read));
    let strict = AuthenticatedStamp { zero_ssid: ZeroSsid::Refuse, ..authenticated(key(0)) };
    assert_eq!(strict.decode(&zeroed), Err(Unreadable::Mismatch));
    assert!(strict.decode(&AUTHENTICATED_REPLY).is_ok());
    assert!(!strict.shares_replies_with(&authenticated(key(0))));
    assert_eq!("refuse".parse(), Ok(ZeroSsid::Refuse));
    assert_eq!("no".parse::<ZeroSsid>(), Err("must be accept or refuse"));
}

#[test]
fn probers_share_replies_where_they_have_the_same_key_or_none() {
    let keyed = |first| {
        let key = Some(FiledKey::new("key", key(first)));
        StampOptions { key, ..StampOptions::default() }
    };
    let options = [StampOptions::default(), keyed(0), keyed(1)];
    for (place, one) in options.iter().enumerate() {
        for (other_place, other) in options.iter().enumerate() {
            // Read from another file, it is still the same key.
            let other = if other_place == 1 { &keyed(0) } else { other };
            let shares = one.prober(1).shares_replies_with(&*other.prober(2));
            assert_eq!(shares, place == other_place, "{one:?} {other:?}");
            assert_eq!(one == other, place == other_place);
        }
        assert!(!one.prober(1).shares_replies_with(&crate::wire::PingText));
    }
    assert_eq!(
        format!("{:?}", keyed(0)),
        "StampOptions { key: Some(FiledKey { file: \"key\", key: Key(…) }), size: None, zero_ssid: Accept }"
    );
    assert_eq!(
        format!("{:?}", keyed(0).prober(0)),
        "AuthenticatedStamp { key: Key(…), size: 0, zero_ssid: Accept }"
    );
}
