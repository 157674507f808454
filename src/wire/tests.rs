//! Tests the three rules of [`crate::wire`] on every protocol of the registry, with any octets.

use std::sync::Arc;
use std::time::Duration;

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::text::is_text;
use super::*;

/// 1990-01-01 and 2100-01-01, in nanoseconds since the Unix epoch.
const YEARS: std::ops::Range<u64> = 631_152_000_000_000_000..4_102_444_800_000_000_000;

const DAY: u64 = 86_400_000_000_000;

fn key() -> Key {
    Key::from_hex(&[b'7'; 32]).unwrap()
}

/// A protocol that responders answer, as one target speaks it.
#[derive(Debug, Clone)]
struct Spoken {
    protocol: Protocol,
    prober: Arc<dyn Prober>,
}

/// Every protocol that responders answer, and STAMP with a key.
fn spoken() -> impl Strategy<Value = Spoken> {
    let keyed = ProtocolOptions::Stamp(StampOptions {
        key: Some(FiledKey::new("key", key())),
        ..StampOptions::default()
    });
    let defaults = PROTOCOLS.iter().map(|protocol| protocol.default_options());
    let spoken = defaults.chain([keyed]).filter_map(|options| {
        let protocol = options.protocol();
        protocol.reflect().map(|_| Spoken { protocol, prober: options.prober(7) })
    });
    proptest::sample::select(spoken.collect::<Vec<_>>())
}

fn wall() -> impl Strategy<Value = Wall> {
    // Half of the moments are within seconds of 2036-02-07T06:28:16Z, when NTP's seconds wrap.
    prop_oneof![YEARS, 2_085_978_490_000_000_000..2_085_978_500_000_000_000u64]
        .prop_map(Wall::from_nanos)
}

/// A protocol, and a request of any session that the protocol can carry.
fn request() -> impl Strategy<Value = (Spoken, Request)> {
    (spoken(), any::<u32>(), any::<u32>(), wall()).prop_flat_map(
        |(spoken, session, sequence, at)| {
            let most = spoken.prober.max_session();
            let session = if most == u32::MAX { session } else { session % (most + 1) };
            let sessions = prop_oneof![Just(session), Just(0), Just(most)];
            let sequences = prop_oneof![Just(sequence), Just(0), Just(u32::MAX)];
            (sessions, sequences).prop_map(move |(session, sequence)| {
                (spoken.clone(), Request::new(session, sequence, at))
            })
        },
    )
}

/// Octets that resemble requests, and arbitrary octets.
fn datagram() -> impl Strategy<Value = (Vec<u8>, Wall)> {
    let edits = vec((any::<Index>(), any::<u8>(), 0..4u8), 0..4);
    let tail = prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 0..200),
        "[ \t\r\n]{0,40}".prop_map(String::into_bytes),
        "(\\PC|[ -~]){0,40}".prop_map(String::into_bytes),
    ];
    let alike = (request(), edits, tail).prop_map(|((spoken, request), edits, tail)| {
        let mut octets = encoded(&*spoken.prober, &request);
        octets.extend(tail);
        for (place, octet, edit) in edits {
            let place = place.index(octets.len());
            match edit {
                0 => octets[place] = octet,
                1 => octets[place] ^= 1 << (octet % 8),
                2 => octets.insert(place, octet),
                _ => octets.truncate(place.max(1)),
            }
        }
        (octets, request.at)
    });
    let short_numbers = ("[0-9]{1,3} [0-9]{1,10}(\\.[0-9]{0,3})?(e[0-9]{1,2})?[ \n]{0,2}", wall())
        .prop_map(|(text, at)| (text.into_bytes(), at));
    let pings =
        ("Ping [0-9]{1,40} [ -~]{0,60}", wall()).prop_map(|(text, at)| (text.into_bytes(), at));
    let random = (vec(any::<u8>(), 0..1100), wall());
    prop_oneof![4 => alike, 2 => short_numbers, 1 => pings, 1 => random]
}

/// The beginnings of requests and of what resembles them.
fn short() -> impl Strategy<Value = (Vec<u8>, Wall)> {
    let begun =
        (request(), 0..48_usize, any::<u8>()).prop_map(|((spoken, request), length, pad)| {
            let mut octets = encoded(&*spoken.prober, &request);
            octets.truncate(length.min(14));
            octets.resize(length, pad);
            (octets, request.at)
        });
    let cut = (datagram(), 0..48_usize).prop_map(|((mut octets, at), length)| {
        octets.truncate(length);
        (octets, at)
    });
    prop_oneof![begun, cut]
}

fn encoded(prober: &dyn Prober, request: &Request) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_DATAGRAM);
    prober.encode(request, &mut out);
    out
}

/// The reply of a reflector that has the key; empty if it sends none.
fn reflected(request: &Recognised<'_>, arrived: Arrived<'_>, now: Wall) -> Vec<u8> {
    let keys = [key()];
    let key = match request.authenticate(&keys) {
        Ok(Authenticity::By { key, .. }) => Some(key),
        Ok(Authenticity::Open) => None,
        Err(Unauthenticated) => return Vec::new(),
    };
    let mut out = Vec::with_capacity(MAX_DATAGRAM);
    request.reflect(Arrived { key, ..arrived }, now, &mut out);
    out
}

/// Whether any responder answers it.
fn is_request(datagram: &[u8], now: Wall) -> bool {
    matches!(recognise(datagram, now), Ok(_) | Err(NotRequest::Short))
}

/// `at`, moved by a signed number of nanoseconds.
fn moved(at: Wall, nanos: i64) -> Wall {
    Wall::from_nanos(at.as_nanos().saturating_add_signed(nanos))
}

#[test]
fn names_are_unique_and_find_their_protocol() {
    let names: BTreeSet<_> = PROTOCOLS.iter().map(|protocol| protocol.name()).collect();
    assert_eq!(names.len(), PROTOCOLS.len());
    for protocol in PROTOCOLS {
        assert_eq!(by_name(protocol.name()), Some(*protocol));
        assert!(!protocol.summary().is_empty());
        assert!(protocol.results().len() <= MAX_RESULTS);
        assert_eq!(protocol.default_options().protocol(), *protocol);
    }
    assert!(PROTOCOLS.contains(&DEFAULT_PROTOCOL));
    assert_eq!(by_name("Heartbeat"), None);
    assert_eq!(by_name(""), None);
}

#[test]
fn the_courses_programs_are_understood() {
    let now = Wall::from_nanos(1_726_820_518_391_909_122);
    let answer = |request: &[u8]| {
        let request = recognise(request, now).unwrap();
        let reply = reflected(&request, Arrived::new(now, Some(64)), now);
        String::from_utf8(reply).unwrap()
    };
    assert_eq!(answer(b"44 1726820518.3919091"), "44 0.0");
    assert_eq!(answer(b"Ping 5 Fri Sep 20 13:12:19 2024"), "PING 5 FRI SEP 20 13:12:19 2024");
    assert_eq!(recognise(b"garbage", now).unwrap_err(), NotRequest::Foreign);
    assert_eq!(recognise(b"", now).unwrap_err(), NotRequest::Foreign);
    assert_eq!(recognise(b"44 0.0", now).unwrap_err(), NotRequest::Reply);
    assert_eq!(recognise(b"PING 5 FRI", now).unwrap_err(), NotRequest::Reply);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// Rule 3. Also, every request is recognised as a request of its own protocol.
    #[test]
    fn a_reflected_request_says_what_was_sent(
        (spoken, request) in request(),
        delay in prop_oneof![Just(0i64), -5_000_000_000..5_000_000_000i64, -315_000_000_000_000_000..315_000_000_000_000_000i64],
        dwell in 0..10_000_000_000u64,
        ttl in any::<Option<u8>>(),
    ) {
        let at = moved(request.at, delay);
        let now = at + Duration::from_nanos(dwell);
        let Spoken { protocol, prober } = spoken;
        let octets = encoded(&*prober, &request);
        prop_assert!(octets.len() <= MAX_DATAGRAM);
        let recognised = recognise(&octets, at);
        prop_assert_eq!(recognised.map(|request| request.protocol.name()), Ok(protocol.name()));
        prop_assert_eq!(prober.quoted(&octets).map(|reply| (reply.session, u64::from(reply.sequence))), Some((Some(request.session), u64::from(request.sequence) & ((1 << prober.sequence_bits()) - 1))));

        let octets = reflected(&recognised.unwrap(), Arrived::new(at, ttl), now);
        let reply = prober.decode(&octets);
        prop_assert!(reply.is_ok(), "{}", octets.escape_ascii());
        let reply = reply.unwrap();
        prop_assert_eq!(reply.session, Some(request.session));
        prop_assert_eq!(reply.sequence, request.sequence);
        prop_assert!(prober.confirms(&reply, request.at));
        if let Some(turnaround) = reply.turnaround {
            prop_assert!(turnaround.abs_diff(dwell.cast_signed()) <= 1);
        }
        if let Some(difference) = reply.time_difference {
            let actual = at.nanos_since(request.at);
            // The error of STAMP is at most 1 ns. The error of text is that of a double, and of the
            // digits for which there is no room.
            let error = if protocol.name() == "stamp" { 1 } else { 1_000 + actual.unsigned_abs() / 100_000 };
            prop_assert!(difference.abs_diff(actual) <= error, "{difference} for {actual}");
        }
    }

    /// Rules 1 and 2.
    #[test]
    fn no_reply_is_longer_than_its_request_or_a_request(
        (octets, at) in datagram(),
        dwell in 0..10_000_000_000u64,
        ttl in any::<Option<u8>>(),
        later in -(DAY.cast_signed())..=DAY.cast_signed(),
    ) {
        let Ok(request) = recognise(&octets, at) else {
            return Ok(());
        };
        let reply = reflected(&request, Arrived::new(at, ttl), at + Duration::from_nanos(dwell));
        prop_assert!(reply.len() <= octets.len());
        for now in [at, moved(at, later), moved(at, DAY.cast_signed()), moved(at, -DAY.cast_signed())] {
            prop_assert!(!is_request(&reply, now), "{}", reply.escape_ascii());
        }
    }

    /// Rule 2, and the bound on amplification, for short requests.
    #[test]
    fn a_reply_to_a_short_request_is_no_request_and_at_most_four_times_as_long(
        (octets, at) in short(),
        later in -(DAY.cast_signed())..=DAY.cast_signed(),
    ) {
        let Some(request) = recognise_short(&octets, at) else {
            prop_assert_ne!(recognise(&octets, at).err(), Some(NotRequest::Short));
            return Ok(());
        };
        prop_assert_eq!(recognise(&octets, at).err(), Some(NotRequest::Short));
        let reply = reflected(&request, Arrived::new(at, None), at);
        prop_assert!(octets.len() < reply.len() && 10 * reply.len() <= 32 * octets.len());
        for now in [at, moved(at, later)] {
            prop_assert!(!is_request(&reply, now), "{}", reply.escape_ascii());
        }
    }

    /// Rule 2 also for a server that returns every datagram in upper case.
    #[test]
    fn no_reply_in_capitals_is_a_request((octets, at) in datagram()) {
        let Ok(request) = recognise(&octets, at) else {
            return Ok(());
        };
        let reply = reflected(&request, Arrived::new(at, None), at);
        prop_assert!(!is_request(&reply.to_ascii_uppercase(), at));
    }

    /// Text replies are never requests, whatever the clock says.
    #[test]
    fn no_text_reply_is_ever_a_request((octets, at) in datagram(), nanos in any::<u64>()) {
        let Ok(request) = recognise(&octets, at) else {
            return Ok(());
        };
        if is_text(&octets) {
            let reply = reflected(&request, Arrived::new(at, None), at);
            prop_assert!(!is_request(&reply, Wall::from_nanos(nanos)));
        }
    }

    #[test]
    fn everything_is_total(
        (octets, _) in datagram(),
        [at, now, sent] in any::<[u64; 3]>(),
        ttl in any::<Option<u8>>(),
    ) {
        let [at, now, sent] = [at, now, sent].map(Wall::from_nanos);
        for &protocol in PROTOCOLS {
            let prober = protocol.default_options().prober(at.as_nanos());
            if let Ok(reply) = prober.decode(&octets) {
                prober.confirms(&reply, sent);
                prop_assert!(reply.session.is_none_or(|session| session <= prober.max_session()));
                let bits = u64::from(reply.sequence) >> prober.sequence_bits();
                prop_assert_eq!(bits, 0);
                let results = protocol.results().len();
                prop_assert!(reply.result.is_none_or(|result| usize::from(result) < results));
            }
            prober.quoted(&octets);
            let Some(half) = protocol.reflect() else { continue };
            let Ok(request) = half.recognise(&octets, now) else { continue };
            let request = Recognised { protocol, request, half };
            let reply = reflected(&request, Arrived::new(at, ttl), now);
            prop_assert!(reply.len() <= octets.len());
        }
    }

    /// Rule 1 for parsed requests with arbitrary fields, including values that no protocol parses.
    /// Reflecting them does not panic.
    #[test]
    fn no_reply_is_longer_than_a_request_whatever_its_fields(
        (octets, at) in datagram(),
        sequence in any::<u64>(),
        timestamp in any::<u64>(),
        is_authenticated in any::<bool>(),
    ) {
        let request = ParsedRequest {
            sequence,
            timestamp,
            is_authenticated,
            ..ParsedRequest::new(&octets)
        };
        let key = key();
        let arrived = Arrived { key: Some(&key), ..Arrived::new(at, None) };
        for (_, half) in reflecting() {
            let mut out = Vec::with_capacity(MAX_DATAGRAM);
            half.reflect(&request, arrived, at, &mut out);
            prop_assert!(out.len() <= octets.len());
        }
    }

    #[test]
    fn no_datagram_is_of_two_protocols((octets, now) in datagram()) {
        let claims = reflecting()
            .filter(|(_, half)| {
                let read = half.recognise(&octets, now);
                matches!(read, Ok(_) | Err(NotRequest::Reply | NotRequest::Short))
            })
            .count();
        prop_assert!(claims <= 1);
        prop_assert!(claims == 0 || octets.len() <= LARGEST_DATAGRAM);
    }

    /// A changed digit of the number makes the reply a valid answer to another heartbeat. Every
    /// other change is noticed.
    #[test]
    fn a_changed_octet_of_a_ping_reply_is_noticed(
        session in prop_oneof![Just(0), any::<u32>()],
        sequence in any::<u32>(),
        at in wall(),
        place in any::<Index>(),
        change in 1..=255u8,
    ) {
        let ping = &PingText;
        let octets = encoded(ping, &Request::new(session, sequence, at));
        let request = recognise(&octets, at).unwrap();
        let mut octets = reflected(&request, Arrived::new(at, None), at);
        let place = place.index(octets.len());
        octets[place] ^= change;
        let Ok(reply) = ping.decode(&octets) else {
            return Ok(());
        };
        let is_of_the_number = (5..octets.len() - 25).contains(&place);
        prop_assert_eq!(ping.confirms(&reply, at), is_of_the_number);
        prop_assert_eq!((reply.session, reply.sequence) != (Some(session), sequence), is_of_the_number);
    }
}
