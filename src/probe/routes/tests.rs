//! Which target gets a datagram, at addresses of one target and of several.

use super::*;

mod places;

use std::any::Any;

use crate::model::Wall;
use crate::wire::{
    self, Arrived, FiledKey, Key, ProtocolOptions, Request, StampOptions, Unreadable,
};

const AT: Wall = Wall::from_nanos(1_767_225_600_000_000_000);

/// The prober of a target that sets no options of this protocol.
fn prober(name: &str) -> Arc<dyn Prober> {
    wire::by_name(name).unwrap().default_options().prober(0)
}

/// The prober of a target with a key; each call reads the key anew.
fn keyed(digit: &str) -> Arc<dyn Prober> {
    let key = Some(FiledKey::new("key", key(digit)));
    ProtocolOptions::Stamp(StampOptions { key, ..StampOptions::default() }).prober(0)
}

fn key(digit: &str) -> Key {
    Key::from_hex(digit.repeat(32).as_bytes()).unwrap()
}

/// The names of the protocols that responders answer.
fn reflecting() -> impl Iterator<Item = &'static str> {
    wire::reflecting().map(|(protocol, _)| protocol.name())
}

fn id(slot: u32) -> TargetId {
    TargetId::first(slot)
}

fn peer(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A responder's answer to heartbeat `sequence` of a session.
fn answer(name: &str, session: u32, sequence: u32) -> Vec<u8> {
    reflected(&*prober(name), session, sequence, None)
}

/// The answer of a reflector that has this key.
fn reflected(prober: &dyn Prober, session: u32, sequence: u32, key: Option<&Key>) -> Vec<u8> {
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    prober.encode(&Request::new(session, sequence, AT), &mut request);
    let request = wire::recognise(&request, AT).unwrap();
    request.reflect(Arrived { key, ..Arrived::new(AT, None) }, AT, &mut reply);
    reply
}

/// The answer of a STAMP reflector that knows nothing of RFC 8972.
fn answer_without_ssid(sequence: u32) -> Vec<u8> {
    let mut reply = answer("stamp", 0, sequence);
    reply[14..16].fill(0);
    reply
}

/// Routes at one address, for targets 0, 1, … that speak these protocols.
fn routes_at(peer: SocketAddr, protocols: &[&str]) -> (Routes, Vec<Route>) {
    let mut routes = Routes::default();
    let targets = (0..).map(id).zip(protocols);
    let added = targets.map(|(id, name)| routes.add(id, peer, &prober(name)).unwrap());
    let added = added.collect();
    (routes, added)
}

/// The target and the heartbeat that a reply was taken for.
fn replied(delivery: Delivery) -> Option<(u32, u32)> {
    match delivery {
        Delivery::Reply(id, reply) => Some((id.slot(), reply.sequence)),
        Delivery::Invalid(..) | Delivery::Unmatched(_) => None,
    }
}

impl Routes {
    /// The target of a reply, if no target says that it is awaiting it.
    fn deliver_unasked(&self, peer: SocketAddr, datagram: &[u8]) -> Delivery {
        self.deliver(peer, datagram, |_, _| Claim::Foreign)
    }

    /// Takes a route back from the target that has it.
    fn take_back(&mut self, route: Route, prober: &Arc<dyn Prober>) {
        let groups = self.peers.get(&route.peer).into_iter().flatten();
        let mut owners = groups.filter(|group| group.is_shared_with(prober));
        if let Some(id) = owners.find_map(|group| group.target(route.session)) {
            self.retire(id, route, prober, Duration::ZERO);
        }
    }

    /// Takes a route back for the next target to have.
    fn remove(&mut self, route: Route, prober: &Arc<dyn Prober>) {
        self.take_back(route, prober);
        self.advance(self.now + RETIRED_FOR);
    }
}

#[test]
fn a_target_alone_looks_like_a_plain_sender() {
    for known in reflecting() {
        let there = peer("192.0.2.1:12000");
        let (routes, added) = routes_at(there, &[known]);
        assert_eq!(added, [Route { peer: there, session: 0 }]);
        assert_eq!(replied(routes.deliver_unasked(there, &answer(known, 0, 7))), Some((0, 7)));
    }
}

#[test]
fn targets_of_one_address_and_protocol_are_distinguished_by_session() {
    for known in reflecting() {
        let there = peer("[2001:db8::1]:862");
        let (routes, added) = routes_at(there, &[known; 3]);
        assert_eq!(added.iter().map(|route| route.session).collect::<Vec<_>>(), [0, 1, 2]);
        for (member, session) in [(0, 0), (1, 1), (2, 2)] {
            let delivery = routes.deliver_unasked(there, &answer(known, session, 7));
            assert_eq!(replied(delivery), Some((member, 7)));
        }
    }
}

#[test]
fn targets_of_one_address_and_other_protocols_need_no_numbers() {
    let there = peer("192.0.2.1:12000");
    let (routes, added) = routes_at(there, &["stamp", "heartbeat", "ping"]);
    assert!(added.iter().all(|route| route.session == 0));
    for (member, name) in [(0, "stamp"), (1, "heartbeat"), (2, "ping")] {
        let delivery = routes.deliver_unasked(there, &answer(name, 0, 9));
        assert_eq!(replied(delivery), Some((member, 9)));
    }
}

#[test]
fn another_port_is_another_peer() {
    let (routes, _) = routes_at(peer("192.0.2.1:12000"), &["heartbeat"]);
    for other in ["192.0.2.1:12001", "192.0.2.2:12000", "[2001:db8::1]:12000"] {
        let delivery = routes.deliver_unasked(peer(other), &answer("heartbeat", 0, 1));
        assert_eq!(delivery, Delivery::Unmatched(UnmatchedReason::UnknownAddress));
    }
}

#[test]
fn a_reply_of_an_unknown_session_is_for_the_only_target_or_for_none() {
    let there = peer("192.0.2.1:12000");
    for name in ["heartbeat", "ping", "stamp"] {
        let stray = answer(name, 5, 1);
        let other = if name == "ping" { "heartbeat" } else { "ping" };
        for (protocols, is_alone) in [([name].as_slice(), true), (&[name, other], false)] {
            let (routes, _) = routes_at(there, protocols);
            let delivery = routes.deliver_unasked(there, &stray);
            if name == "stamp" {
                // The timestamp decides, not the SSID.
                assert_eq!(replied(delivery), Some((0, 1)));
            } else if is_alone {
                assert_eq!(delivery, Delivery::Invalid(id(0), InvalidReason::UnknownSequence));
            } else {
                assert_eq!(delivery, Delivery::Unmatched(UnmatchedReason::UnknownSession));
            }
        }
        let (routes, _) = routes_at(there, &[name; 2]);
        let unmatched = Delivery::Unmatched(UnmatchedReason::UnknownSession);
        assert_eq!(routes.deliver_unasked(there, &stray), unmatched);
    }
}

#[test]
fn a_reflector_that_names_no_session_can_serve_one_target() {
    let there = peer("192.0.2.1:862");
    let reply = answer_without_ssid(3);
    let (routes, _) = routes_at(there, &["stamp"]);
    assert_eq!(replied(routes.deliver_unasked(there, &reply)), Some((0, 3)));
    let (routes, _) = routes_at(there, &["ping", "stamp"]);
    assert_eq!(replied(routes.deliver_unasked(there, &reply)), Some((1, 3)));

    let (mut routes, added) = routes_at(there, &["stamp", "stamp"]);
    let unmatched = Delivery::Unmatched(UnmatchedReason::UnknownSession);
    assert_eq!(routes.deliver_unasked(there, &reply), unmatched);
    routes.remove(added[0], &prober("stamp"));
    assert_eq!(replied(routes.deliver_unasked(there, &reply)), Some((1, 3)));
}

#[test]
fn an_invalid_reply_is_for_the_only_target_or_for_none() {
    let there = peer("192.0.2.1:12000");
    for garbage in [&b"garbage"[..], b"", &[0; 44]] {
        let (routes, _) = routes_at(there, &["ping"]);
        let malformed = Delivery::Invalid(id(0), InvalidReason::Malformed);
        assert_eq!(routes.deliver_unasked(there, garbage), malformed);
        for shared in [["ping", "ping"], ["ping", "heartbeat"]] {
            let (routes, _) = routes_at(there, &shared);
            let unmatched = Delivery::Unmatched(UnmatchedReason::UnknownSession);
            assert_eq!(routes.deliver_unasked(there, garbage), unmatched);
        }
    }
    let (routes, _) = routes_at(there, &["ping"]);
    let other = routes.deliver_unasked(there, &answer("heartbeat", 0, 1));
    assert_eq!(other, Delivery::Invalid(id(0), InvalidReason::Malformed));
}

#[test]
fn numbers_that_became_free_are_given_again() {
    let there = peer("192.0.2.1:12000");
    let heartbeat = &prober("heartbeat");
    let (mut routes, added) = routes_at(there, &["heartbeat"; 4]);
    routes.remove(added[1], heartbeat);
    routes.remove(added[2], heartbeat);
    let freed = routes.deliver_unasked(there, &answer("heartbeat", 1, 0));
    assert_eq!(freed, Delivery::Unmatched(UnmatchedReason::UnknownSession));
    for (number, session) in [(7, 1), (8, 2), (9, 4)] {
        let route = routes.add(id(number), there, heartbeat);
        assert_eq!(route, Some(Route { peer: there, session }));
        assert_eq!(
            replied(routes.deliver_unasked(there, &answer("heartbeat", session, 0))),
            Some((number, 0))
        );
    }
}

#[test]
fn a_route_is_taken_back_once_and_an_address_goes_with_its_last() {
    let there = peer("192.0.2.1:12000");
    let names = ["ping", "ping", "stamp"];
    let (mut routes, added) = routes_at(there, &names);
    let at = |routes: &Routes| -> Vec<u32> {
        let answers = added.iter().zip(names);
        let answers = answers.map(|(route, name)| answer(name, route.session, 0));
        answers
            .filter_map(|answer| Some(replied(routes.deliver_unasked(there, &answer))?.0))
            .collect()
    };
    assert_eq!(at(&routes), [0, 1, 2]);
    routes.remove(added[0], &prober("ping"));
    routes.remove(added[0], &prober("ping"));
    assert_eq!(at(&routes), [1, 2]);
    routes.remove(added[2], &prober("stamp"));
    assert_eq!(at(&routes), [1]);
    let malformed = Delivery::Invalid(id(1), InvalidReason::Malformed);
    assert_eq!(routes.deliver_unasked(there, b"garbage"), malformed, "it is alone now");
    routes.remove(added[1], &prober("ping"));
    assert_eq!(at(&routes), [0_u32; 0]);
    let unknown = Delivery::Unmatched(UnmatchedReason::UnknownAddress);
    assert_eq!(routes.deliver_unasked(there, b"garbage"), unknown);
    routes.remove(added[1], &prober("ping"));
}

#[test]
fn a_retired_number_belongs_to_no_target_until_it_is_taken_back() {
    let there = peer("192.0.2.1:12000");
    let unmatched = Delivery::Unmatched(UnmatchedReason::UnknownSession);
    for name in ["heartbeat", "ping", "stamp"] {
        let spoken = &prober(name);
        let (mut routes, added) = routes_at(there, &[name]);
        let mut quote = Vec::new();
        spoken.encode(&Request::new(0, 7, AT), &mut quote);
        routes.take_back(added[0], spoken);
        routes.take_back(added[0], spoken);
        let deserted = UnmatchedReason::UnknownAddress;
        for datagram in [&answer(name, 0, 7)[..], b"garbage"] {
            assert_eq!(routes.deliver_unasked(there, datagram), Delivery::Unmatched(deserted));
        }
        assert_eq!(routes.return_to(there, &quote, |_, _| true), Err(deserted));

        let next = id(0).successor();
        let route = routes.add(next, there, spoken).unwrap();
        assert_eq!(route.session, 1);
        assert_eq!(routes.deliver_unasked(there, &answer(name, 0, 7)), unmatched, "{name}");
        let delivered = routes.deliver_unasked(there, &answer(name, 1, 7));
        assert!(matches!(delivered, Delivery::Reply(to, _) if to == next));
        let malformed = Delivery::Invalid(next, InvalidReason::Malformed);
        assert_eq!(routes.deliver_unasked(there, b"garbage"), malformed, "it is alone there");
        assert_eq!(routes.return_to(there, b"", |_, _| true), Ok(next));
        let unknown = Err(UnmatchedReason::UnknownHeartbeat);
        let found = routes.return_to(there, &quote, |_, _| true);
        assert_eq!(found, unknown, "another target's heartbeat");

        routes.remove(added[0], spoken);
        assert_eq!(routes.add(id(5), there, spoken).unwrap().session, 0);
        routes.take_back(route, spoken);
        routes.remove(route, spoken);
        routes.remove(Route { peer: there, session: 0 }, spoken);
        let unknown = Delivery::Unmatched(UnmatchedReason::UnknownAddress);
        assert_eq!(routes.deliver_unasked(there, b"garbage"), unknown);
    }
}

#[test]
fn a_retired_number_is_given_again_if_there_is_no_other() {
    let there = peer("192.0.2.53:53");
    let [gone, next, third] = [1, 2, 3].map(|secret| {
        let options = wire::by_name("dns").unwrap().default_options();
        options.prober(secret)
    });
    let answer = |prober: &Arc<dyn Prober>| {
        let mut octets = Vec::new();
        prober.encode(&Request::new(0, 7, AT), &mut octets);
        octets[2] |= 0x80;
        octets
    };
    let mut routes = Routes::default();
    let route = routes.add(id(0), there, &gone).unwrap();
    assert_eq!(routes.add(id(1), there, &next), None, "it is taken");
    routes.take_back(route, &gone);
    assert_eq!(routes.add(id(1), there, &next), Some(route));
    assert_eq!(
        replied(routes.deliver_unasked(there, &answer(&next))),
        Some((1, 7)),
        "by its own secret"
    );
    assert_ne!(replied(routes.deliver_unasked(there, &answer(&gone))), Some((1, 7)));
    // The retirement of the former session is over, and the number stays with the next target.
    routes.advance(routes.now + RETIRED_FOR);
    assert_eq!(routes.add(id(2), there, &third), None);
    assert_eq!(replied(routes.deliver_unasked(there, &answer(&next))), Some((1, 7)));
}

#[test]
fn a_reflector_that_names_no_session_serves_the_target_beside_a_retired_one() {
    let there = peer("192.0.2.1:862");
    let (mut routes, added) = routes_at(there, &["stamp", "stamp"]);
    routes.take_back(added[0], &prober("stamp"));
    assert_eq!(replied(routes.deliver_unasked(there, &answer_without_ssid(3))), Some((1, 3)));
}

#[test]
fn a_reply_without_its_session_is_for_the_target_that_awaits_it() {
    let there = peer("192.0.2.1:862");
    let (routes, _) = routes_at(there, &["stamp"; 5]);
    for garbled in [answer_without_ssid(3), answer("stamp", 77, 3), answer("stamp", 1, 3)] {
        for number in 0..5 {
            let claim = |asked, reply: &Reply| match reply.sequence {
                3 if asked == id(number) => Claim::Awaiting,
                _ => Claim::Foreign,
            };
            let delivery = routes.deliver(there, &garbled, claim);
            assert_eq!(replied(delivery), Some((number, 3)));
        }
    }
    // The reflector counts the replies of all five together.
    let third = |asked, _: &Reply| if asked == id(2) { Claim::Awaiting } else { Claim::Foreign };
    for (garbled, number) in [
        (answer_without_ssid(3), None),
        (answer("stamp", 1, 3), None),
        (answer("stamp", 2, 3), Some(3)),
    ] {
        let Delivery::Reply(_, reply) = routes.deliver(there, &garbled, third) else {
            panic!("not a reply")
        };
        assert_eq!(reply.number, number);
    }
    let unmatched = Delivery::Unmatched(UnmatchedReason::UnknownSession);
    assert_eq!(routes.deliver_unasked(there, &answer_without_ssid(3)), unmatched);
}

#[test]
fn an_answer_to_a_target_that_is_gone_is_not_for_another_that_sent_the_same() {
    let there = peer("192.0.2.1:862");
    let (mut routes, added) = routes_at(there, &["stamp"; 2]);
    routes.retire(id(1), added[1], &prober("stamp"), Duration::ZERO);
    // The other target sent heartbeat 3 at the same moment.
    let delivery = routes.deliver(there, &answer("stamp", 1, 3), |_, _| Claim::Awaiting);
    assert_eq!(delivery, Delivery::Unmatched(UnmatchedReason::UnknownSession));
}

#[test]
fn a_duplicate_stays_with_the_target_that_it_names() {
    let there = peer("192.0.2.1:862");
    let (routes, _) = routes_at(there, &["stamp"; 2]);
    // Both targets sent heartbeat 3 at the same moment, and only the first has its answer.
    let claim = |asked, _: &Reply| {
        if asked == id(0) { Claim::Answered } else { Claim::Awaiting }
    };
    assert_eq!(replied(routes.deliver(there, &answer("stamp", 0, 3), claim)), Some((0, 3)));
    assert_eq!(replied(routes.deliver(there, &answer_without_ssid(3), claim)), Some((1, 3)));
}

#[test]
fn few_targets_are_asked_whether_a_reply_is_theirs() {
    let there = peer("192.0.2.1:862");
    let (routes, _) = routes_at(there, &["stamp"; 3 * MAX_CANDIDATES]);
    let asked = std::cell::Cell::new(0);
    let claim = |_, _: &Reply| {
        asked.set(asked.get() + 1);
        Claim::Foreign
    };
    routes.deliver(there, &answer_without_ssid(3), claim);
    assert_eq!(asked.get(), MAX_CANDIDATES);
}

#[test]
fn an_error_is_for_the_target_whose_request_it_quotes() {
    let there = peer("192.0.2.1:862");
    let mut speaking = vec![keyed("1"), keyed("2")];
    speaking.extend(["stamp", "stamp", "heartbeat", "ping"].map(prober));
    let mut routes = Routes::default();
    let add = |(number, spoken)| routes.add(id(number), there, spoken).unwrap();
    let added: Vec<Route> = (0..).zip(&speaking).map(add).collect();
    for ((number, spoken), route) in (0..).zip(&speaking).zip(added) {
        let mut quote = Vec::new();
        spoken.encode(&Request::new(route.session, 7, AT), &mut quote);
        let is_its = |asked, answer: Option<&Reply>| {
            asked == id(number) && answer.is_some_and(|answer| answer.sequence == 7)
        };
        assert_eq!(routes.return_to(there, &quote, is_its), Ok(id(number)));
        // Padding, as a router adds it.
        quote.resize(128, 0);
        assert_eq!(routes.return_to(there, &quote, is_its), Ok(id(number)), "{spoken:?}");
        let unknown = Err(UnmatchedReason::UnknownHeartbeat);
        assert_eq!(routes.return_to(there, &quote, |_, _| false), unknown, "it is answered");
        let nowhere = routes.return_to(peer("192.0.2.1:863"), &quote, |_, _| true);
        assert_eq!(nowhere, Err(UnmatchedReason::UnknownAddress));
    }
    let mut strange = Vec::new();
    keyed("3").encode(&Request::new(0, 7, AT), &mut strange);
    for quote in [&b""[..], b"Ping", &strange[..16]] {
        let found = routes.return_to(there, quote, |_, _| true);
        assert_eq!(found, Err(UnmatchedReason::UnknownHeartbeat));
    }
}

#[test]
fn a_long_retirement_delays_no_shorter_one() {
    let there = peer("192.0.2.1:12000");
    let spoken = &prober("heartbeat");
    let (mut routes, added) = routes_at(there, &["heartbeat"; 2]);
    let long = RETIRED_FOR * 60;
    routes.retire(id(0), added[0], spoken, long);
    routes.retire(id(1), added[1], spoken, Duration::ZERO);
    routes.advance(routes.now + RETIRED_FOR);
    assert_eq!(routes.retired(), 1);
    assert_eq!(routes.add(id(2), there, spoken), Some(added[1]));
    routes.advance(routes.now + long);
    assert_eq!(routes.add(id(3), there, spoken), Some(added[0]));
}

/// A prober that can distinguish two sessions, 0 and 1.
#[derive(Debug)]
struct Narrow;

impl Prober for Narrow {
    fn max_session(&self) -> u32 {
        1
    }

    fn shares_replies_with(&self, other: &dyn Prober) -> bool {
        (other as &dyn Any).is::<Self>()
    }

    fn encode(&self, _request: &Request, _out: &mut Vec<u8>) {}

    fn decode(&self, _datagram: &[u8]) -> Result<Reply, Unreadable> {
        Err(Unreadable::Mismatch)
    }

    fn confirms(&self, _reply: &Reply, _sent: Wall) -> bool {
        true
    }

    fn quoted(&self, _request: &[u8]) -> Option<Reply> {
        None
    }
}

#[test]
fn no_more_targets_share_an_address_than_the_protocol_can_distinguish() {
    let there = peer("192.0.2.1:12000");
    let narrow: &Arc<dyn Prober> = &(Arc::new(Narrow) as _);
    let mut routes = Routes::default();
    let first = routes.add(id(0), there, narrow).unwrap();
    assert_eq!(routes.add(id(1), there, narrow).map(|route| route.session), Some(1));
    assert_eq!(routes.add(id(2), there, narrow), None);
    let elsewhere = peer("192.0.2.2:12000");
    assert!(routes.add(id(2), elsewhere, narrow).is_some());
    let mismatch = Delivery::Invalid(id(2), InvalidReason::Mismatch);
    assert_eq!(routes.deliver_unasked(elsewhere, b"another's"), mismatch);
    assert!(routes.add(id(3), there, &prober("ping")).is_some(), "of another protocol");
    routes.remove(first, narrow);
    assert_eq!(routes.add(id(4), there, narrow).map(|route| route.session), Some(0));
    assert_eq!(routes.add(id(5), there, narrow), None);
}

/// An authenticated answer to heartbeat 7, by a reflector with this key.
fn authenticated(digit: &str) -> Vec<u8> {
    reflected(&*keyed(digit), 0, 7, Some(&key(digit)))
}

#[test]
fn targets_at_one_address_have_keys_of_their_own() {
    let there = peer("192.0.2.1:12000");
    let mut routes = Routes::default();
    let first = routes.add(id(0), there, &keyed("a")).unwrap();
    assert_eq!(replied(routes.deliver_unasked(there, &authenticated("a"))), Some((0, 7)));
    for unauthenticated in [&authenticated("b"), &authenticated("c")] {
        assert_eq!(
            routes.deliver_unasked(there, unauthenticated),
            Delivery::Invalid(id(0), InvalidReason::Unauthenticated)
        );
    }
    assert_eq!(
        routes.deliver_unasked(there, &answer("stamp", 0, 7)),
        Delivery::Invalid(id(0), InvalidReason::Malformed)
    );

    routes.add(id(1), there, &keyed("b")).unwrap();
    routes.add(id(2), there, &prober("stamp")).unwrap();
    assert_eq!(replied(routes.deliver_unasked(there, &authenticated("a"))), Some((0, 7)));
    assert_eq!(replied(routes.deliver_unasked(there, &authenticated("b"))), Some((1, 7)));
    assert_eq!(replied(routes.deliver_unasked(there, &answer("stamp", 0, 7))), Some((2, 7)));
    assert_eq!(replied(routes.deliver_unasked(there, &authenticated("c"))), None);
    routes.remove(first, &keyed("a"));
    assert_eq!(replied(routes.deliver_unasked(there, &authenticated("a"))), None);
}

#[test]
fn replies_of_other_protocols_are_not_taken_for_stamp_replies() {
    let there = peer("192.0.2.1:862");
    let mut routes = Routes::default();
    let names = ["stamp", "ping", "heartbeat"];
    for (member, name) in (0..30).zip(names.into_iter().cycle()) {
        routes.add(id(member), there, &prober(name)).unwrap();
    }
    for session in 0..10 {
        for (place, name) in (0..).zip(names) {
            let delivery = routes.deliver_unasked(there, &answer(name, session, 9));
            assert_eq!(replied(delivery), Some((3 * session + place, 9)), "{name} {session}");
        }
    }
}

#[test]
fn equal_keys_of_several_files_are_one_group_and_are_dropped_with_its_last_route() {
    let there = peer("192.0.2.1:862");
    let key = Arc::new(key("a"));
    let alive = Arc::downgrade(&key);
    let options = ProtocolOptions::Stamp(StampOptions {
        key: Some(FiledKey { file: String::new(), key }),
        ..StampOptions::default()
    });
    let first = options.prober(0);
    let mut routes = Routes::default();
    let route = routes.add(id(0), there, &first).unwrap();
    let other = routes.add(id(1), there, &keyed("a")).unwrap();
    assert_eq!((route.session, other.session), (0, 1), "of another file, and the same");
    drop((options, first));
    routes.remove(other, &keyed("a"));
    assert!(alive.upgrade().is_some(), "a route still reads with it");
    routes.remove(route, &keyed("a"));
    assert!(alive.upgrade().is_none());
}

#[test]
fn a_target_that_has_left_keeps_its_number_until_there_is_no_other() {
    let there = peer("192.0.2.1:12000");
    let narrow: &Arc<dyn Prober> = &(Arc::new(Narrow) as _);
    let mut routes = Routes::default();
    let [first, second] = [0, 1].map(|slot| routes.add(id(slot), there, narrow).unwrap());
    routes.leave(id(0), first, narrow);
    assert!(!routes.resume(id(1), first, narrow), "it is another target's");
    assert!(routes.resume(id(0), first, narrow));
    assert_eq!(routes.add(id(2), there, narrow), None, "it is taken again");

    routes.leave(id(0), first, narrow);
    routes.take_back(second, narrow);
    assert_eq!(routes.add(id(2), there, narrow), Some(second), "a retired one goes first");
    assert_eq!(routes.add(id(3), there, narrow), Some(first));
    assert!(!routes.resume(id(0), first, narrow), "it has gone to another target");
    routes.retire(id(0), first, narrow, Duration::ZERO);
    routes.advance(routes.now + RETIRED_FOR);
    assert_eq!(routes.add(id(4), there, narrow), None, "both are taken");
}

#[test]
fn answers_to_a_target_that_has_left_are_still_its_own() {
    let there = peer("192.0.2.1:12000");
    for name in reflecting() {
        let (mut routes, added) = routes_at(there, &[name]);
        routes.leave(id(0), added[0], &prober(name));
        assert_eq!(replied(routes.deliver_unasked(there, &answer(name, 0, 7))), Some((0, 7)));
        let next = routes.add(id(1), there, &prober(name)).unwrap();
        assert_eq!(next.session, 1);
        assert_eq!(replied(routes.deliver_unasked(there, &answer(name, 0, 7))), Some((0, 7)));
        assert_eq!(replied(routes.deliver_unasked(there, &answer(name, 1, 7))), Some((1, 7)));
    }
}
