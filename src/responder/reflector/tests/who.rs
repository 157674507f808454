//! Which sources are answered: those that the gate lets in, within their rate limit, and
//! authenticated if a key is required. And with which DSCP.

use super::*;
use crate::model::Dscp;
use crate::wire::{FiledKey, ProtocolOptions, StampOptions};

#[test]
fn peers_that_are_no_host_many_hosts_or_the_responder_itself_are_denied() {
    let peers = [
        "198.51.100.7:0",
        "0.0.0.0:40001",
        "224.0.0.1:40001",
        "255.255.255.255:40001",
        "[::]:40001",
        "[ff02::1]:40001",
        "[::ffff:224.0.0.1]:40001",
        "192.0.2.1:12000",
    ];
    let mut bench = Bench::new(LinkSettings::default());
    for peer in peers {
        let peer = peer.parse().unwrap();
        let datagram = Datagram { peer, ..datagram(b"Ping 1 Fri Sep 20 13:12:19 2024") };
        assert!(bench.handle(&datagram, NOW).is_empty(), "{peer}");
    }
    let to_all = Datagram {
        local: Some(Ipv4Addr::new(224, 0, 0, 1).into()),
        ..datagram(b"Ping 1 Fri Sep 20 13:12:19 2024")
    };
    assert!(bench.handle(&to_all, NOW).is_empty());
    // Sent to 192.0.2.255, for example: `local` is the address that an answer could leave from.
    let to_network = Datagram { to_group: true, ..datagram(b"Ping 1 Fri Sep 20 13:12:19 2024") };
    assert!(bench.handle(&to_network, NOW).is_empty());
    assert_eq!(bench.dropped(), [(DropReason::Denied, 10)]);
}

#[test]
fn a_source_that_is_not_allowed_is_denied_whatever_it_sends() {
    let allow = ["198.51.100.0/29", "2001:db8::/32"].map(|prefix| prefix.parse().unwrap());
    let mut bench = Bench::behind(Gate::new(&allow, None), LinkSettings::default());
    for (peer, answers) in [
        ("198.51.100.7:1", 1),
        ("198.51.100.8:1", 0),
        ("[::ffff:198.51.100.1]:1", 1),
        ("[2001:db8::1]:1", 1),
        ("[2001:db9::1]:1", 0),
    ] {
        let datagram =
            Datagram { peer: peer.parse().unwrap(), local: None, ..datagram(b"Ping 1 x") };
        assert_eq!(bench.handle(&datagram, NOW).len(), answers, "{peer}");
    }
    let garbage = Datagram { peer: "203.0.113.1:1".parse().unwrap(), ..datagram(b"garbage") };
    bench.handle(&garbage, NOW);
    assert_eq!(bench.dropped(), [(DropReason::Denied, 3)]);
    assert_eq!(bench.received(), 3);
}

#[test]
fn a_source_over_its_limit_is_refused_and_only_requests_are_charged() {
    let limit = NonZeroU32::new(10);
    let mut bench =
        Bench::behind(Gate::new(&[], limit), LinkSettings { loss: 0.5, ..LinkSettings::default() });
    for _ in 0..100 {
        bench.handle(&datagram(b"garbage"), NOW);
        bench.handle(&datagram(b"PING 1 X"), NOW);
    }
    for _ in 0..25 {
        bench.handle(&datagram(b"Ping 1 x"), NOW);
    }
    assert_eq!(bench.reflector.take_refused(), 15);
    assert_eq!(bench.reflector.take_refused(), 0);
    let refused = bench.metrics.dropped_count(DropReason::RateLimited);
    let lost = bench.metrics.dropped_count(DropReason::Loss);
    assert_eq!((bench.received(), refused), (25, 15));
    assert_eq!(bench.answered() + lost, 10);

    let other = Datagram { peer: "198.51.100.8:1".parse().unwrap(), ..datagram(b"Ping 1 x") };
    let later = NOW.after(100 * MILLISECOND);
    for (source, at, left) in [(other, NOW, 10), (datagram(b"Ping 1 x"), later, 1)] {
        let before = bench.metrics.dropped_count(DropReason::RateLimited);
        for _ in 0..12 {
            bench.handle(&source, at);
        }
        let refused = bench.metrics.dropped_count(DropReason::RateLimited) - before;
        assert_eq!(refused, 12 - left);
    }
}

#[test]
fn an_unauthenticated_request_is_not_charged_and_draws_no_fate() {
    let hex = |octet: &str| Key::from_hex(octet.repeat(32).as_bytes()).unwrap();
    let keyed = |octet| StampOptions {
        key: Some(FiledKey::new("key", hex(octet))),
        ..StampOptions::default()
    };
    let [vouched, forged] =
        ["11", "22"].map(|octet| ProtocolOptions::Stamp(keyed(octet)).prober(0));
    let [stamp, ping] = ["stamp", "ping"].map(|name| prober(by_name(name).unwrap()));
    let settings = LinkSettings { loss: 0.5, seed: 7, ..LinkSettings::default() };
    let answered = |strangers: usize| -> Vec<bool> {
        let mut bench = Bench::behind(Gate::new(&[], NonZeroU32::new(50)), settings);
        bench.reflector = bench.reflector.authenticating([hex("11")].into(), true);
        let fates = (0..50).map(|sequence| {
            for stranger in [&stamp, &forged, &ping].into_iter().take(strangers) {
                bench.handle(&datagram(&request_of(&**stranger, sequence, NOW.wall)), NOW);
            }
            !bench.handle(&datagram(&request_of(&*vouched, sequence, NOW.wall)), NOW).is_empty()
        });
        let fates = fates.collect();
        assert_eq!(bench.metrics.dropped_count(DropReason::RateLimited), 0);
        let unauthenticated = bench.metrics.dropped_count(DropReason::Unauthenticated);
        assert_eq!(unauthenticated, 50 * strangers as u64);
        fates
    };
    let alone = answered(0);
    assert!(alone.contains(&true) && alone.contains(&false));
    assert_eq!(answered(3), alone);
}

#[test]
fn a_key_authenticates_a_request_whose_zeros_are_not_written() {
    let hex = "11".repeat(32);
    let keys: Arc<[Key]> = [Key::from_hex(hex.as_bytes()).unwrap()].into();
    let key = Some(FiledKey::new("key", keys[0].clone()));
    let options = StampOptions { key, ..StampOptions::default() };
    let prober = ProtocolOptions::Stamp(options).prober(0);
    let zeroed = request_of(&*prober, 7, NOW.wall);
    let mut strange = zeroed.clone();
    strange[4..16].fill(0xA5);
    let tag = keys[0].tag(&[&strange[..96]]);
    strange[96..112].copy_from_slice(&tag);
    let mut bench = Bench::new(LinkSettings::default());
    bench.reflector = bench.reflector.authenticating(keys, true);
    let replies = [zeroed, strange].map(|request| bench.handle(&datagram(&request), NOW));
    assert_eq!(replies[0].len(), 1);
    assert_eq!(replies[0][0][4..96], replies[1][0][4..96], "they differ in number and tag");
}

#[test]
fn the_address_that_was_asked_is_the_responders_own_when_bound_to_all_addresses() {
    let metrics = ResponderMetrics::new();
    let listeners =
        [12_000, 12_007].map(|port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).into();
    let gate = Arc::default();
    let mut reflector =
        Reflector::new(listeners, gate, LinkSettings::default(), NOW.mono, metrics.clone());
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let elsewhere = IpAddr::from([127, 0, 0, 9]);
    for (ip, port, denied) in [
        (loopback, 12_000, 1),
        (loopback, 12_001, 1),
        (elsewhere, 12_000, 2),
        (loopback, 12_007, 3),
        (PEER.ip(), 12_000, 3),
    ] {
        let datagram = Datagram {
            peer: SocketAddr::new(ip, port),
            local: Some(loopback),
            ..datagram(b"Ping 1 Fri Sep 20 13:12:19 2024")
        };
        reflector.handle(&datagram, 0, NOW, |_| ());
        assert_eq!(metrics.dropped_count(DropReason::Denied), denied, "{ip}:{port}");
    }
}

#[test]
fn short_requests_are_counted_and_answered_only_on_demand() {
    let allow = ["198.51.100.0/24".parse().unwrap()];
    let stamp = request(by_name("stamp").unwrap(), 7, NOW.wall);
    for (is_on, answers) in [(false, 0), (true, 3)] {
        let gate = Gate::new(&allow, NonZeroU32::new(3));
        let mut bench = Bench::behind(gate, LinkSettings::default());
        if is_on {
            bench.reflector = bench.reflector.answering_short_requests();
        }
        let stranger =
            Datagram { peer: "203.0.113.1:1".parse().unwrap(), ..datagram(&stamp[..14]) };
        bench.handle(&stranger, NOW);
        // The limit is three requests a second.
        let mut replies = Vec::new();
        for length in [14, 38, 41, 43] {
            replies.extend(bench.handle(&datagram(&stamp[..length]), NOW));
        }
        assert!(replies.iter().all(|reply| reply.len() == 44));
        assert_eq!(replies.len(), answers);
        let (denied, limited) = (DropReason::Denied, DropReason::RateLimited);
        let expected = if is_on { (limited, 1) } else { (DropReason::ShortRequest, 4) };
        assert_eq!(bench.dropped().iter().map(|&(_, count)| count).sum::<u64>(), expected.1 + 1);
        assert!(bench.dropped().contains(&expected) && bench.dropped().contains(&(denied, 1)));
        assert_eq!(bench.received(), if is_on { 4 } else { 0 });
        // A short reply, such as another reflector's, is never answered.
        for reply in replies {
            assert!(bench.handle(&datagram(&reply[..41]), NOW).is_empty());
        }
        assert_eq!(bench.metrics.dropped_count(DropReason::Reflection), answers as u64);
    }
}

#[test]
fn stamp_replies_leave_with_the_dscp_of_their_request_or_the_one_that_is_set() {
    let stamp = request(by_name("stamp").unwrap(), 7, NOW.wall);
    for (dscp, arrived, leaves) in [
        // 46 (EF) without and with ECN.
        (ReplyDscp::Reflect, Some(0xB8), 0xB8),
        (ReplyDscp::Reflect, Some(0xBB), 0xB8),
        (ReplyDscp::Reflect, Some(0), 0),
        (ReplyDscp::Reflect, None, 0),
        (ReplyDscp::Fixed(Dscp::named("AF11").unwrap()), Some(0xB8), 40),
        (ReplyDscp::Fixed(Dscp::default()), Some(0xB8), 0),
    ] {
        let mut bench = Bench::new(LinkSettings::default());
        bench.reflector = bench.reflector.marking(dscp);
        for payload in [&stamp[..], b"Ping 1 x"] {
            bench.handle(&Datagram { traffic_class: arrived, ..datagram(payload) }, NOW);
        }
        let classes: Vec<_> = bench.sent.iter().map(|(route, _)| route.traffic_class).collect();
        assert_eq!(classes, [leaves, 0], "{dscp:?} {arrived:?}");
    }
}
