//! Sessions counted, started again, forgotten and bounded.

use std::net::Ipv4Addr;

use super::*;

fn identity(port: u16, session: u16) -> Identity {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Identity { peer: SocketAddr::new(ip, port), listener: 0, local: Some(ip), session, key: None }
}

fn at(seconds: u64) -> Mono {
    Mono::default() + Duration::from_secs(100_000 + seconds)
}

/// A request of a sender that writes no timestamps.
fn sent(sequence: u32) -> Sent {
    Sent { sequence, stamp: 0 }
}

#[test]
fn every_session_counts_from_zero_on_its_own() {
    let mut sessions = Sessions::in_room(Room::default());
    let elsewhere =
        Identity { local: Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))), ..identity(1, 1) };
    for number in 0..3 {
        let other_listener = Identity { listener: 1, ..identity(1, 1) };
        let with_key = Identity { key: Some(0), ..identity(1, 1) };
        for key in
            [identity(1, 1), identity(1, 2), identity(2, 1), elsewhere, other_listener, with_key]
        {
            assert_eq!(sessions.count(key, sent(number), at(0)), number);
        }
    }
}

#[test]
fn the_count_wraps() {
    let mut sessions = Sessions::in_room(Room::default());
    sessions.known.began = at(0);
    let last = u32::try_from(at(0).as_nanos() / 1_000_000).unwrap();
    let session = Session { next: u32::MAX, highest: u32::MAX, stamp: 0, last };
    sessions.known.newer.insert(identity(1, 1), session);
    assert_eq!(sessions.count(identity(1, 1), sent(0), at(0)), u32::MAX);
    assert_eq!(sessions.count(identity(1, 1), sent(1), at(0)), 0);
}

/// The numbers of the replies to requests of one session: their sequence numbers and the
/// milliseconds at which they arrive.
fn numbers(requests: impl IntoIterator<Item = (u32, u64)>) -> Vec<u32> {
    let mut sessions = Sessions::in_room(Room::default());
    let count = |(sequence, millis)| {
        sessions.count(identity(1, 0), sent(sequence), at(0) + Duration::from_millis(millis))
    };
    requests.into_iter().map(count).collect()
}

#[test]
fn a_sender_that_starts_again_begins_a_new_session() {
    // Ten requests, and the tool runs again a little later.
    let run = |start: u64| (0..10).map(move |n: u32| (n, start + u64::from(n) * 100));
    assert_eq!(numbers(run(0).chain(run(3_000)))[10..], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    // A fast sender that starts again at once.
    let fast = |start: u64| (0..1_100).map(move |n| (n, start + u64::from(n) / 100));
    assert_eq!(numbers(fast(0).chain(fast(12)))[1_100..1_103], [0, 1, 2]);
    // It starts again below a number above 2³¹, and somewhere in the middle.
    assert_eq!(numbers([(3_000_000_000, 0), (3_000_000_001, 1), (0, 2), (1, 3)]), [0, 1, 0, 1]);
    assert_eq!(numbers([(5_000, 0), (5_001, 1), (700, 2), (701, 3)]), [0, 1, 0, 1]);
    // A run that continues after a pause, with a gap, is the same session.
    assert_eq!(numbers([(0, 0), (1, 10), (2, 60_000), (500, 61_000)]), [0, 1, 2, 3]);
}

#[test]
fn a_lower_number_with_a_later_timestamp_begins_a_session_at_once() {
    let mut sessions = Sessions::in_room(Room::default());
    let mut count =
        |sequence, stamp: u32| sessions.count(identity(1, 0), Sent { sequence, stamp }, at(0));
    for start in [0, 40, 1 << 30, 1 << 31, 3 << 30, u32::MAX - 1, 4] {
        // Each run begins right after the one before.
        let numbers = [0, 1, 2].map(|sequence| count(sequence, sequence.wrapping_add(start)));
        assert_eq!(numbers, [0, 1, 2], "{start}");
    }
    // Reordered and duplicated requests are not later than the highest one.
    let numbers = [(4, 8), (3, 7), (4, 8), (3, 7), (5, 9)].map(|(n, stamp)| count(n, stamp));
    assert_eq!(numbers, [3, 4, 5, 6, 7]);
    // A clock that is set back begins no session while the numbers go on.
    let numbers = [(6, 1), (7, 2), (8, 3)].map(|(n, stamp)| count(n, stamp));
    assert_eq!(numbers, [8, 9, 10]);
}

#[test]
fn a_timestamp_says_which_request_is_later_in_both_formats() {
    let stamp = |timestamp| Sent::of(&ParsedRequest { timestamp, ..ParsedRequest::new(b"") });
    let ntp = stamp(0xEA97_AF26_8000_0000);
    assert_eq!(ntp, Sent { sequence: 0, stamp: 0xAF26_8000 });
    assert!(stamp(0xEA97_AF26_8001_0000).is_later_than(ntp.stamp));
    // PTP: 999,999,999 ns, and the next second.
    let ptp = stamp(0x66ED_30A7_3B9A_C9FF);
    assert!(stamp(0x66ED_30A8_0000_0000).is_later_than(ptp.stamp));
    assert!(!ptp.is_later_than(ptp.stamp));
}

#[test]
fn reordered_duplicated_and_wrapped_numbers_do_not_begin_a_session() {
    assert_eq!(numbers([(0, 0), (2, 1), (1, 2), (3, 3)]), [0, 1, 2, 3]);
    assert_eq!(numbers([(5, 0), (5, 1), (5, 1_999), (6, 2_000)]), [0, 1, 2, 3]);
    // A request that a thousand others overtook.
    assert_eq!(numbers([(1_000, 0), (0, 10), (1_001, 20)]), [0, 1, 2]);
    let last = u32::MAX;
    let wrapped = [(last - 1, 0), (last, 1), (0, 2), (last, 3), (1, 4), (0, 5)];
    assert_eq!(numbers(wrapped), [0, 1, 2, 3, 4, 5]);
    // Even after a pause, if the numbers go on.
    assert_eq!(numbers([(last, 0), (0, 5_000), (1, 10_000)]), [0, 1, 2]);
}

#[test]
fn a_quiet_session_is_remembered_for_900_to_1800_seconds() {
    let mut sessions = Sessions::in_room(Room::default());
    let mut sequence = 0;
    let mut count = |sessions: &mut Sessions, port, seconds| {
        sequence += 1;
        sessions.count(identity(port, 1), sent(sequence), at(seconds))
    };
    assert_eq!(count(&mut sessions, 1, 0), 0);
    assert_eq!(count(&mut sessions, 1, 899), 1);
    assert_eq!(count(&mut sessions, 2, 900), 0);
    assert_eq!(count(&mut sessions, 1, 899 + 900), 2);
    // A session that is used every 899 s is never forgotten.
    for turn in 1..=10 {
        let now = 1799 + turn * 899;
        assert_eq!(u64::from(count(&mut sessions, 1, now)), turn + 2);
    }
    assert_eq!(count(&mut sessions, 2, 20_000), 0);
    assert_eq!(count(&mut sessions, 1, 22_000), 0);
}

#[test]
fn a_flood_of_new_sessions_displaces_no_session_that_was_seen_twice() {
    let mut sessions = Sessions::in_room(Room::default());
    let real = |port| identity(port, 1);
    for sequence in 0..2 {
        for port in 1..=100 {
            assert_eq!(sessions.count(real(port), sent(sequence), at(0)), sequence);
        }
    }
    // Fifteen thousand a second, for a minute.
    for number in 0..900_000_u32 {
        let [a, b, session @ ..] = number.to_be_bytes();
        let forged = identity(20_000 + u16::from_be_bytes([a, b]), u16::from_be_bytes(session));
        assert_eq!(sessions.count(forged, sent(number), at(u64::from(number) / 15_000)), 0);
    }
    for port in 1..=100 {
        assert_eq!(sessions.count(real(port), sent(2), at(60)), 2, "{port}");
    }
    assert!(sessions.len() <= 2 * MANY);
}

#[test]
fn the_number_of_sessions_is_bounded_and_a_busy_one_stays() {
    let mut sessions = Sessions::in_room(Room::default());
    let mut busy = 0;
    for number in 0..3 * u32::try_from(MANY).unwrap() {
        let [a, b, session @ ..] = number.to_be_bytes();
        let port = 2 + u16::from_be_bytes([a, b]);
        sessions.count(identity(port, u16::from_be_bytes(session)), sent(number), at(0));
        if number % 1000 == 0 {
            assert_eq!(sessions.count(identity(1, 1), sent(busy), at(0)), busy);
            busy += 1;
        }
        assert!(sessions.len() <= 2 * MANY);
    }
}

#[test]
fn without_room_few_sessions_are_remembered_and_a_busy_one_stays() {
    let room = Room::default();
    let mut all: Vec<_> =
        (0..=THREADS_WITH_MANY).map(|_| Sessions::in_room(room.clone())).collect();
    for sessions in &mut all {
        for port in 0..=u16::MAX {
            sessions.count(identity(port, 1), sent(0), at(0));
            if port % 1000 == 0 {
                let number = u32::from(port / 1000);
                assert_eq!(sessions.count(identity(1, 2), sent(number), at(0)), number);
            }
        }
    }
    let remembered: Vec<_> = all.iter().map(Sessions::len).collect();
    let (last, others) = remembered.split_last().unwrap();
    assert_eq!(others, [65_537; THREADS_WITH_MANY]);
    assert!(*last <= 2 * FEW);
}
