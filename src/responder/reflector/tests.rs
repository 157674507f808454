//! Datagrams in, replies out: without sockets, and at given times.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::impair::{Bandwidth, Burst, LinkSettings, LossyWay, Outage};
use crate::model::Label;
use crate::wire::{Prober, Reply, Request, by_name, reflecting};

mod who;

const LISTENER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 12_000));
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 40_001));

/// 2024-09-20T08:21:58.39Z, and an hour of monotonic time.
const NOW: Moment = Moment {
    mono: Mono::from_nanos(3_600_000_000_000),
    wall: Wall::from_nanos(1_726_820_518_390_000_000),
};

const MILLISECOND: Duration = Duration::from_millis(1);

struct Bench {
    reflector: Reflector,
    metrics: ResponderMetrics,
    sent: Vec<(ReplyRoute, Vec<u8>)>,
}

impl Bench {
    fn new(settings: LinkSettings) -> Self {
        Self::behind(Gate::default(), settings)
    }

    fn behind(gate: Gate, settings: LinkSettings) -> Self {
        let (metrics, gate) = (ResponderMetrics::new(), Arc::new(gate));
        let reflector = Reflector::new(vec![LISTENER], gate, settings, NOW.mono, metrics.clone());
        Self { reflector, metrics, sent: Vec::new() }
    }

    fn handle(&mut self, datagram: &Datagram<'_>, now: Moment) -> Vec<Vec<u8>> {
        let mut at_once = Vec::new();
        self.reflector.handle(datagram, 0, now, |transmit| {
            at_once.push(transmit.payload.to_vec());
            self.sent.push((transmit.route, transmit.payload.to_vec()));
        });
        at_once
    }

    fn release(&mut self, now: Mono) -> usize {
        let before = self.sent.len();
        self.reflector.release(now, |OutgoingReply { route, payload }| {
            self.sent.push((route, payload.to_vec()));
        });
        self.sent.len() - before
    }

    fn dropped(&self) -> Vec<(DropReason, u64)> {
        let count = |&reason: &DropReason| (reason, self.metrics.dropped_count(reason));
        DropReason::ALL.iter().map(count).filter(|&(_, count)| count > 0).collect()
    }

    fn impaired(&self) -> Vec<(ImpairmentKind, u64)> {
        let count = |&kind: &ImpairmentKind| (kind, self.metrics.impaired_count(kind));
        ImpairmentKind::ALL.iter().map(count).filter(|&(_, count)| count > 0).collect()
    }

    fn received(&self) -> u64 {
        reflecting().map(|(protocol, _)| self.metrics.received_count(protocol)).sum()
    }

    fn answered(&self) -> u64 {
        self.sent.iter().filter(|(route, _)| !route.duplicate).count() as u64
    }
}

fn datagram(payload: &[u8]) -> Datagram<'_> {
    Datagram {
        peer: PEER,
        local: Some(LISTENER.ip()),
        to_group: false,
        payload,
        truncated: false,
        received: None,
        ttl: Some(64),
        traffic_class: None,
        drops: None,
    }
}

fn prober(protocol: Protocol) -> Arc<dyn Prober> {
    protocol.default_options().prober(0)
}

fn request(protocol: Protocol, sequence: u32, at: Wall) -> Vec<u8> {
    request_of(&*prober(protocol), sequence, at)
}

fn request_of(prober: &dyn Prober, sequence: u32, at: Wall) -> Vec<u8> {
    let mut octets = Vec::new();
    prober.encode(&Request::new(0, sequence, at), &mut octets);
    octets
}

fn decoded(protocol: Protocol, reply: &[u8]) -> Reply {
    prober(protocol).decode(reply).unwrap()
}

fn reply_to(payload: &[u8]) -> Option<Vec<u8>> {
    Bench::new(LinkSettings::default()).handle(&datagram(payload), NOW).pop()
}

#[test]
fn the_ping_client_of_the_course_is_upper_cased() {
    assert_eq!(
        reply_to(b"Ping 5 Fri Sep 20 13:12:19 2024").as_deref(),
        Some(&b"PING 5 FRI SEP 20 13:12:19 2024"[..])
    );
}

#[test]
fn the_heartbeat_client_of_the_course_gets_the_difference() {
    assert_eq!(reply_to(b"44 1726820518.39").as_deref(), Some(&b"44 0.0"[..]));
    assert_eq!(reply_to(b"45 1726820516.14").as_deref(), Some(&b"45 2.25"[..]));
    assert_eq!(reply_to(b"46 1726820520.64").as_deref(), Some(&b"46 -2.25"[..]));
}

#[test]
fn every_protocol_is_answered_where_it_asked_and_counted_as_itself() {
    for (protocol, _) in reflecting() {
        let mut bench = Bench::new(LinkSettings::default());
        let request = request(protocol, 7, NOW.wall);
        bench.handle(&datagram(&request), NOW);
        let [(route, reply)] = &bench.sent[..] else {
            panic!("{}: {} replies", protocol.name(), bench.sent.len());
        };
        assert_eq!(
            *route,
            ReplyRoute {
                listener: 0,
                peer: PEER,
                source: Some(LISTENER.ip()),
                protocol,
                traffic_class: 0,
                duplicate: false,
            }
        );
        assert_eq!(decoded(protocol, reply).sequence, 7);
        assert_eq!(bench.metrics.received_count(protocol), 1);
        assert_eq!((bench.dropped(), bench.impaired()), (vec![], vec![]));
        assert_eq!(bench.reflector.next_due(), None);
    }
}

/// The numbers in the replies to these requests; a request is given by its source port and session.
fn numbers(reflector: Reflector, requests: &[(u16, u32)]) -> Vec<u32> {
    let stamp = by_name("stamp").unwrap();
    let mut bench = Bench { reflector, ..Bench::new(LinkSettings::default()) };
    let number = |&(port, session): &(u16, u32)| {
        let mut octets = Vec::new();
        prober(stamp).encode(&Request::new(session, 7, NOW.wall), &mut octets);
        let datagram = Datagram { peer: SocketAddr::new(PEER.ip(), port), ..datagram(&octets) };
        decoded(stamp, &bench.handle(&datagram, NOW)[0]).number.unwrap()
    };
    requests.iter().map(number).collect()
}

#[test]
fn replies_are_counted_by_session_unless_no_state_is_kept() {
    let requests = [(1, 0), (1, 0), (1, 1), (2, 0), (1, 0), (2, 0)];
    let reflector = || Bench::new(LinkSettings::default()).reflector;
    assert_eq!(numbers(reflector(), &requests), [0, 1, 0, 0, 2, 1]);
    assert_eq!(numbers(reflector().stateless(), &requests), [7; 6]);
}

#[test]
fn a_lost_request_takes_no_number_and_a_request_answered_twice_takes_one() {
    let stamp = by_name("stamp").unwrap();
    let settings = LinkSettings { loss: 0.5, duplicate: 0.5, seed: 5, ..LinkSettings::default() };
    let mut bench = Bench::new(settings);
    for sequence in 0..100 {
        bench.handle(&datagram(&request(stamp, sequence, NOW.wall)), NOW);
    }
    let mut next = 0;
    for (route, reply) in &bench.sent {
        next += u32::from(!route.duplicate);
        assert_eq!(decoded(stamp, reply).number, Some(next - 1));
    }
    assert!(next < 100 && bench.sent.len() as u64 > bench.answered());
}

#[test]
fn an_injected_delay_is_not_part_of_the_turnaround() {
    let stamp = by_name("stamp").unwrap();
    let delay = 20 * MILLISECOND;
    let mut bench = Bench::new(LinkSettings { delay, ..LinkSettings::default() });
    let request = request(stamp, 7, NOW.wall);
    let received = NOW.wall - 3 * MILLISECOND;
    let datagram = Datagram { received: Some(received), ..datagram(&request) };

    assert!(bench.handle(&datagram, NOW).is_empty());
    let due = NOW.mono + delay;
    assert_eq!(bench.reflector.next_due(), Some(due));
    assert_eq!(bench.release(Mono::from_nanos(due.as_nanos() - 1)), 0);
    assert_eq!(bench.release(due), 1);

    let reply = decoded(stamp, &bench.sent[0].1);
    // NTP timestamps count 2⁻³² s, so that each of the two is off by less than a nanosecond.
    let turnaround = reply.turnaround.unwrap();
    assert!(turnaround.abs_diff(3_000_000) <= 1, "{turnaround} ns");
    assert_eq!(bench.impaired(), [(ImpairmentKind::Delay, 1)]);
}

#[test]
fn without_a_kernel_stamp_a_request_is_received_when_it_is_looked_at() {
    let stamp = by_name("stamp").unwrap();
    let request = request(stamp, 7, NOW.wall - 5 * MILLISECOND);
    let reply = decoded(stamp, &reply_to(&request).unwrap());
    assert_eq!(reply.turnaround, Some(0));
    let difference = reply.time_difference.unwrap();
    assert!(difference.abs_diff(5_000_000) <= 1, "{difference} ns");
}

#[test]
fn replies_are_reflections_and_never_answered() {
    for (protocol, _) in reflecting() {
        let reply = reply_to(&request(protocol, 7, NOW.wall)).unwrap();
        let mut bench = Bench::new(LinkSettings::default());
        assert!(bench.handle(&datagram(&reply), NOW).is_empty());
        assert_eq!(bench.dropped(), [(DropReason::Reflection, 1)], "{}", protocol.name());
        assert_eq!(bench.received(), 0);
    }
}

#[test]
fn a_datagram_of_no_protocol_or_too_long_is_malformed() {
    let mut bench = Bench::new(LinkSettings::default());
    let garbage: [&[u8]; 4] = [b"", b"garbage", b"44", &[0xff; 43]];
    for (payload, count) in garbage.into_iter().zip(1..) {
        assert!(bench.handle(&datagram(payload), NOW).is_empty());
        assert_eq!(bench.dropped(), [(DropReason::Malformed, count)], "{payload:?}");
    }
    let request = request(by_name("stamp").unwrap(), 7, NOW.wall);
    let truncated = Datagram { truncated: true, ..datagram(&request) };
    assert!(bench.handle(&truncated, NOW).is_empty());
    assert_eq!(bench.dropped(), [(DropReason::Malformed, 5)]);
    assert_eq!(bench.received(), 0);
}

#[test]
fn requests_of_any_size_are_answered_alike_and_held_within_the_bound() {
    let stamp = by_name("stamp").unwrap();
    let mut request = request(stamp, 7, NOW.wall);
    for size in [1025, 1400, 9000, 65_507] {
        request.resize(size, 0);
        let reply = reply_to(&request).unwrap();
        assert_eq!((reply.len(), decoded(stamp, &reply).sequence), (size, 7));
    }
    let mut bench = Bench::new(LinkSettings { delay: MILLISECOND, ..LinkSettings::default() });
    for _ in 0..300 {
        bench.handle(&datagram(&request), NOW);
    }
    // 16 MiB.
    assert_eq!(bench.reflector.held(), 256);
    assert_eq!(bench.dropped(), [(DropReason::Overflow, 300 - 256)]);
}

#[test]
fn a_damaged_reply_differs_in_one_bit_and_each_copy_in_its_own() {
    let settings =
        LinkSettings { corrupt: 1.0, duplicate: 1.0, seed: 1, ..LinkSettings::default() };
    for (protocol, _) in reflecting() {
        let mut bench = Bench::new(settings);
        let request = request(protocol, 7, NOW.wall);
        let clean = reply_to(&request).unwrap();
        let copies = bench.handle(&datagram(&request), NOW);
        assert_eq!(copies.len(), 2);
        for copy in &copies {
            let bits: u32 = clean.iter().zip(copy).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!((bits, copy.len()), (1, clean.len()), "{}", protocol.name());
        }
        assert_ne!(copies[0], copies[1]);
        assert_eq!(
            bench.impaired(),
            [(ImpairmentKind::Duplicate, 1), (ImpairmentKind::Corrupt, 2)]
        );
        assert_eq!(bench.answered(), 1);
    }
}

#[test]
fn damage_never_turns_a_reply_into_a_request() {
    let mut requests = 0;
    for (protocol, _) in reflecting() {
        let clean = reply_to(&request(protocol, 7, NOW.wall)).unwrap();
        for bit in 0..clean.len() * 8 {
            let mut reply = clean.clone();
            impair::flip(&mut reply, bit);
            requests += usize::from(wire::recognise(&reply, NOW.wall).is_ok());
        }
        for draw in 0..clean.len() as u64 * 8 {
            // One draw for each bit of the reply.
            let flip = BitFlip::from_draw(u64::MAX / (clean.len() as u64 * 8) * draw + 1_000);
            let mut reply = clean.clone();
            assert!(damage(&mut reply, flip, NOW.wall).is_some());
            assert!(wire::recognise(&reply, NOW.wall).is_err(), "{reply:?}");
        }
    }
    // Otherwise, the test would show nothing.
    assert!(requests > 0);
}

#[test]
fn a_reordered_reply_is_overtaken_by_those_within_its_hold() {
    let settings = LinkSettings {
        reorder: 0.3,
        reorder_hold: 5 * MILLISECOND,
        seed: 7,
        ..LinkSettings::default()
    };
    let mut bench = Bench::new(settings);
    let ping = by_name("ping").unwrap();
    let mut now = NOW;
    for sequence in 0..40 {
        let request = request(ping, sequence, now.wall);
        bench.release(now.mono);
        bench.handle(&datagram(&request), now);
        now = now.after(2 * MILLISECOND);
    }
    now = now.after(5 * MILLISECOND);
    bench.release(now.mono);
    let order: Vec<u32> =
        bench.sent.iter().map(|(_, reply)| decoded(ping, reply).sequence).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..40).collect::<Vec<_>>());
    let held = bench.metrics.impaired_count(ImpairmentKind::Reorder);
    // Held for 5 ms in a stream of 2 ms: at most the next two replies overtake.
    for (place, &sequence) in (0_u32..).zip(&order) {
        assert!(place <= sequence + 2, "{order:?}");
    }
    assert!(held > 0 && order != sorted);
}

#[test]
fn a_reply_is_overtaken_by_exactly_the_configured_number() {
    for (extent, delay) in [(1, 0), (3, 0), (3, 5)] {
        let settings = LinkSettings {
            reorder: 0.2,
            reorder_hold: Duration::from_secs(60),
            reorder_extent: extent,
            delay: delay * MILLISECOND,
            seed: 5,
            ..LinkSettings::default()
        };
        let mut bench = Bench::new(settings);
        let ping = by_name("ping").unwrap();
        let mut now = NOW;
        let mut held = Vec::new();
        // By definition, a held reply leaves right after the last of the replies that overtake it.
        let mut expected = Vec::new();
        for sequence in 0..200 {
            let before = bench.metrics.impaired_count(ImpairmentKind::Reorder);
            bench.release(now.mono);
            bench.handle(&datagram(&request(ping, sequence, now.wall)), now);
            if bench.metrics.impaired_count(ImpairmentKind::Reorder) > before {
                held.push((sequence, extent));
            } else {
                expected.push(sequence);
                for (_, left) in &mut held {
                    *left -= 1;
                }
                expected.extend(held.extract_if(.., |(_, left)| *left == 0).map(|(n, _)| n));
            }
            now = now.after(2 * MILLISECOND);
        }
        bench.release(now.mono + Duration::from_secs(61));
        expected.extend(held.iter().map(|&(sequence, _)| sequence));
        let order: Vec<u32> =
            bench.sent.iter().map(|(_, reply)| decoded(ping, reply).sequence).collect();
        assert_eq!(order, expected, "{extent} at {delay} ms");
    }
}

#[test]
fn a_request_whose_reply_is_lost_is_received_but_not_answered() {
    let settings =
        LinkSettings { loss: 0.3, direction: LossyWay::Out, seed: 7, ..LinkSettings::default() };
    let mut bench = Bench::new(settings);
    for _ in 0..1000 {
        bench.handle(&datagram(b"Ping 1 x"), NOW);
    }
    let lost = bench.metrics.dropped_count(DropReason::Loss);
    assert!((200..400).contains(&lost), "{lost}");
    assert_eq!((bench.received(), bench.answered()), (1000, 1000 - lost));
    // A datagram that cannot be answered at all is malformed, not lost.
    bench.handle(&datagram(b"garbage"), NOW);
    assert_eq!(bench.metrics.dropped_count(DropReason::Loss), lost);
}

#[test]
fn a_narrow_link_delays_and_then_drops_and_headers_count() {
    // Each reply has 36 octets with its headers, which take 36 ms.
    let bandwidth = Bandwidth { rate: NonZeroU64::new(8000).unwrap(), queue: 100 * MILLISECOND };
    let settings = LinkSettings { bandwidth: Some(bandwidth), ..LinkSettings::default() };
    let mut bench = Bench::new(settings);
    for _ in 0..10 {
        assert!(bench.handle(&datagram(b"Ping 1 x"), NOW).is_empty());
    }
    // The third reply waits for 72 ms; the fourth would wait for 108 ms.
    assert_eq!(bench.dropped(), [(DropReason::Overflow, 7)]);
    assert_eq!(bench.impaired(), [(ImpairmentKind::Bandwidth, 3)]);
    for (at, left) in [(35, 0), (36, 1), (71, 0), (72, 1), (107, 0), (108, 1)] {
        assert_eq!(bench.release(NOW.mono + at * MILLISECOND), left, "{at} ms");
    }
    assert_eq!(bench.received(), 10);
}

#[test]
fn a_full_queue_drops_as_overflow_and_the_figures_still_add_up() {
    let mut bench = Bench::new(LinkSettings { delay: MILLISECOND, ..LinkSettings::default() });
    for _ in 0..70_000 {
        bench.handle(&datagram(b"Ping 1 x"), NOW);
    }
    assert_eq!(bench.reflector.held(), 65_536);
    assert_eq!(bench.dropped(), [(DropReason::Overflow, 70_000 - 65_536)]);
    assert_eq!((bench.received(), bench.answered()), (70_000, 0));
    let due = NOW.mono + MILLISECOND;
    assert_eq!(bench.release(due), Reflector::RELEASES);
    while bench.release(due) > 0 {}
    assert_eq!(bench.answered(), 65_536);
    assert_eq!(bench.impaired(), [(ImpairmentKind::Delay, 65_536)]);
}

#[test]
fn received_is_replied_and_dropped_by_impairment() {
    let settings = LinkSettings {
        loss: 0.3,
        burst_loss: Some(Burst { p: 0.05, r: 0.3 }),
        delay: MILLISECOND,
        jitter: 3 * MILLISECOND,
        duplicate: 0.1,
        reorder: 0.1,
        reorder_hold: 10 * MILLISECOND,
        corrupt: 0.1,
        outage: Some(Outage { every: 100 * MILLISECOND, lasting: 20 * MILLISECOND }),
        seed: 3,
        ..LinkSettings::default()
    };
    let mut bench = Bench::new(settings);
    let mut now = NOW;
    let protocols: Vec<_> = reflecting().map(|(protocol, _)| protocol).collect();
    for sequence in 0..3000 {
        let protocol = protocols[sequence as usize % protocols.len()];
        let request = request(protocol, sequence, now.wall);
        bench.release(now.mono);
        bench.handle(&datagram(&request), now);
        now = now.after(MILLISECOND);
    }
    bench.release((now.mono) + 100 * MILLISECOND);
    let dropped: u64 = bench.dropped().iter().map(|&(_, count)| count).sum();
    assert_eq!(bench.received(), 3000);
    assert_eq!(bench.received(), bench.answered() + dropped);
    assert_eq!(bench.metrics.dropped_count(DropReason::Outage), 600);
    let reasons: Vec<_> = bench.dropped().iter().map(|&(reason, _)| reason).collect();
    assert_eq!(reasons, [DropReason::Loss, DropReason::BurstLoss, DropReason::Outage]);
    let duplicates = bench.sent.iter().filter(|(route, _)| route.duplicate).count() as u64;
    assert_eq!(bench.metrics.impaired_count(ImpairmentKind::Duplicate), duplicates);
    assert_eq!(bench.metrics.impaired_count(ImpairmentKind::Delay), bench.sent.len() as u64);
}

fn any_datagram() -> impl Strategy<Value = Vec<u8>> {
    let octets = proptest::collection::vec(any::<u8>(), 0..=MAX_DATAGRAM);
    let text = "[ -~\\t\\r\\n]{0,80}".prop_map(String::into_bytes);
    let protocols: Vec<_> = reflecting().map(|(protocol, _)| protocol).collect();
    let protocols = prop::sample::select(protocols);
    // Damaged or padded requests.
    let damaged = (protocols, any::<u32>(), any::<prop::sample::Index>(), any::<u8>(), 0..64_usize)
        .prop_map(|(protocol, sequence, at, octet, padding)| {
            let mut octets = request(protocol, sequence, NOW.wall);
            let at = at.index(octets.len());
            octets[at] = octet;
            octets.resize(octets.len() + padding, 0);
            octets
        });
    prop_oneof![octets, text, damaged]
}

proptest! {
    #[test]
    fn any_datagram_gets_at_most_two_replies_none_longer_and_none_a_request(
        payload in any_datagram(),
        certain in any::<[bool; 4]>(),
        seed in any::<u64>(),
    ) {
        let [duplicate, reorder, corrupt, delay] = certain;
        let settings = LinkSettings {
            duplicate: f64::from(u8::from(duplicate)),
            reorder: f64::from(u8::from(reorder)),
            corrupt: f64::from(u8::from(corrupt)),
            delay: MILLISECOND * u32::from(delay),
            seed,
            ..LinkSettings::default()
        };
        let mut bench = Bench::new(settings);
        bench.handle(&datagram(&payload), NOW);
        bench.release(NOW.mono + Duration::from_secs(10));
        let dropped: u64 = bench.dropped().iter().map(|&(_, count)| count).sum();
        prop_assert_eq!(bench.answered() + dropped, 1);
        prop_assert_eq!(bench.sent.len(), if dropped > 0 { 0 } else { 1 + usize::from(duplicate) });
        for (_, reply) in &bench.sent {
            prop_assert!(reply.len() <= payload.len());
            prop_assert!(wire::recognise(reply, NOW.wall).is_err());
        }
    }
}
