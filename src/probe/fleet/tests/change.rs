//! Targets that come, go and change while heartbeats are under way.

use super::*;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::LookupFailure;
use crate::session::Snapshot;
use crate::wire::{FiledKey, Key, ProtocolOptions, StampOptions};

impl Driven {
    fn add(&mut self, id: TargetId, text: &str, millis: u64) {
        self.fleet.add(id, Arc::new(target(text)), at(millis).mono);
    }

    fn retune(&mut self, id: TargetId, changed: Target, millis: u64) {
        self.fleet.retune(id, Arc::new(changed), None, at(millis));
    }

    fn resolve(&mut self, name: &str, found: &[&str]) {
        let found = found.iter().map(|text| ip(text)).collect();
        self.fleet.handle_resolved(name, Found::new(Ok(found), Err(LookupFailure::NxDomain)));
        while self.fleet.pass_on_addresses(2, at(0)) {}
    }

    fn unmatched(&self, reason: UnmatchedReason) -> u64 {
        self.fleet.unmatched()[reason.index()]
    }
}

#[test]
fn a_key_is_erased_once_the_session_number_of_its_last_user_is_free() {
    let key = Key::from_hex("ab".repeat(16).as_bytes()).unwrap();
    let filed = FiledKey::new("key", key);
    let erased = Arc::downgrade(&filed.key);
    let protocol =
        ProtocolOptions::Stamp(StampOptions { key: Some(filed), ..StampOptions::default() });
    let mut driven = Driven::new(&[]);
    let keyed = Target { protocol, ..target("stamp://192.0.2.1") };
    driven.fleet.add(id(0), Arc::new(keyed), at(0).mono);
    driven.run_to(999);
    driven.fleet.remove(id(0), at(1_000).mono);
    // The fleet itself reports when it has to be called next.
    driven.run_to(60_999);
    assert!(erased.upgrade().is_some(), "late answers are still recognised");
    driven.run_to(61_000);
    assert!(erased.upgrade().is_none());
    assert_eq!(driven.fleet.poll_timeout(), None);
}

/// The same target with another address.
fn moved(from: &str, to: &str) -> Target {
    Target { name: from.to_owned(), ..target(to) }
}

#[test]
fn datagrams_for_a_removed_target_never_touch_the_next_user_of_its_slot() {
    for protocol in ["heartbeat", "ping", "stamp"] {
        let text = format!("{protocol}://192.0.2.1:862");
        let mut driven = Driven::new(&[&text]);
        let (old, new) = (id(0), id(0).successor());
        driven.run_to(999);
        let (transmit, sent) = driven.sent[0];
        let quote = driven.requests[0].clone();
        driven.fleet.remove(old, at(1_000).mono);
        assert!(driven.fleet.is_empty() && driven.fleet.sample(old, at(1_000).mono).is_none());
        // The new target has the same name and address, and its own heartbeat 0 is in flight.
        driven.add(new, &text, 1_000);
        driven.run_to(1_999);
        assert_eq!((driven.sent.len(), driven.sent[1].0.ticket.sequence), (2, 0));
        driven.happenings();

        driven.answer(0, 2_000);
        driven.fleet.handle_transmitted(transmit.ticket, sent.wall + MILLISECOND * 1_500);
        driven.fleet.handle_sent(transmit.ticket, at(2_000));
        driven.fleet.handle_unsent(transmit.ticket, UnsentReason::Other, at(2_000));
        driven.fleet.handle_addresses(old, &[ip("192.0.2.9")].into(), at(0));
        driven.fleet.retune(old, Arc::new(target("ping://192.0.2.9")), None, at(2_000));
        let kind = IcmpKind::PortUnreachable;
        driven.fleet.handle_icmp(transmit.peer, &quote, kind, at(2_000));
        assert!(driven.fleet.look(old, at(2_000)).is_none());
        assert!(driven.fleet.glance(old, at(2_000).mono).is_none());
        driven.fleet.remove(old, at(2_000).mono);

        assert_eq!(driven.happenings(), [], "{protocol}");
        let sample = driven.fleet.sample(new, at(2_000).mono).unwrap();
        let Snapshot { record, in_flight, .. } = &sample.session;
        assert_eq!((record.sent, record.received, record.lost, *in_flight), (1, 0, 0, 1));
        assert_eq!(record.icmp_errors.iter().sum::<u64>(), 0);
        assert_eq!(record.invalid.iter().sum::<u64>(), 0);
        assert_eq!(record.unsent.iter().sum::<u64>(), 0);
        assert_eq!(sample.address, Some(peer("192.0.2.1:862")));
        assert_eq!(driven.unmatched(UnmatchedReason::UnknownSession), 1, "the reply");
        assert_eq!(driven.unmatched(UnmatchedReason::UnknownHeartbeat), 1, "the ICMP error");
        // The answer to its own heartbeat arrives, and its delay is that of this heartbeat.
        driven.answer(1, 2_010);
        let record = driven.fleet.sample(new, at(2_010).mono).unwrap().session.record;
        let rtt = at(2_010).mono.since(driven.sent[1].1.mono);
        assert_eq!((record.received, record.last_rtt), (1, Some(nanos(rtt))));
    }
}

#[test]
fn the_session_number_of_a_removed_target_is_free_again_later() {
    let mut driven = Driven::new(&["192.0.2.1", "192.0.2.7"]);
    driven.run_to(10);
    driven.fleet.remove(id(0), at(10).mono);
    driven.add(id(2), "192.0.2.1", 10);
    driven.run_to(60_000);
    driven.add(id(3), "192.0.2.1", 60_000);
    driven.run_to(62_000);
    driven.add(id(4), "192.0.2.1", 62_000);
    driven.run_to(63_999);
    let sessions: BTreeMap<TargetId, u32> = driven
        .sent
        .iter()
        .map(|(transmit, sent)| {
            (transmit.ticket.id, transmit.request(sent.wall, ClockAccuracy::default()).session)
        })
        .collect();
    assert_eq!([id(2), id(3), id(4)].map(|id| sessions[&id]), [1, 2, 0]);
}

#[test]
fn a_session_number_at_a_former_address_is_not_reused_at_once() {
    let mut driven = Driven::new(&["stamp://192.0.2.1"]);
    driven.run_to(999);
    for (address, millis) in [("stamp://192.0.2.2", 1_000), ("stamp://192.0.2.3", 1_001)] {
        driven.retune(id(0), moved("stamp://192.0.2.1", address), millis);
    }
    driven.add(id(1), "stamp://192.0.2.1", 1_002);
    driven.run_to(2_100);
    driven.answer(0, 2_100);
    let record = driven.fleet.sample(id(1), at(2_100).mono).unwrap().session.record;
    assert_eq!((record.received, record.invalid.iter().sum::<u64>()), (0, 0));
    assert_eq!(driven.unmatched(UnmatchedReason::UnknownSession), 1);
}

#[test]
fn a_target_waits_until_another_leaves_its_address() {
    let mut driven = Driven::new(&["dns://192.0.2.1", "dns://192.0.2.2"]);
    driven.retune(id(0), moved("dns://192.0.2.1", "dns://192.0.2.2"), 0);
    assert_eq!(driven.fleet.address(id(0)), None, "it is taken");
    // It is not routed to an address that it no longer has.
    driven.retune(id(0), moved("dns://192.0.2.1", "dns://192.0.2.3"), 0);
    assert!(!driven.fleet.retry_routes(9));
    assert_eq!(driven.fleet.address(id(0)), Some(peer("192.0.2.3:53")));
    driven.retune(id(0), moved("dns://192.0.2.1", "dns://192.0.2.2"), 0);
    driven.retune(id(1), moved("dns://192.0.2.2", "dns://192.0.2.3"), 0);
    assert_eq!(driven.fleet.address(id(1)), Some(peer("192.0.2.3:53")));
    assert!(!driven.fleet.retry_routes(9));
    assert_eq!(driven.fleet.address(id(0)), Some(peer("192.0.2.2:53")));
    let changes = [0, 1].map(|slot| driven.sample(slot, 0).address_changes);
    assert_eq!(changes, [2, 1]);
}

#[test]
fn a_literal_address_is_retried_when_a_named_target_leaves_it() {
    for is_removed in [false, true] {
        let mut driven = Driven::new(&["dns://ns.example", "dns://192.0.2.1"]);
        let taken = driven.fleet.address(id(1));
        assert_eq!(taken, Some(peer("192.0.2.1:53")), "it is alone there");
        // Another literal target, which comes too late.
        driven.add(id(2), "dns://192.0.2.1", 0);
        driven.fleet.handle_addresses(id(0), &[ip("192.0.2.1")].into(), at(0));
        while driven.fleet.retry_routes(1) {}
        assert_eq!([0, 2].map(|slot| driven.fleet.address(id(slot))), [None; 2]);
        if is_removed {
            driven.fleet.remove(id(1), at(10_000).mono);
        } else {
            driven.retune(id(1), moved("dns://192.0.2.1", "dns://192.0.2.2"), 10_000);
        }
        assert!(!driven.fleet.retry_routes(9));
        assert_eq!(driven.fleet.address(id(0)), taken, "the first target that waits is first");
        assert_eq!(driven.fleet.address(id(2)), None);
        driven.fleet.handle_addresses(id(0), &[ip("192.0.2.3")].into(), at(0));
        assert!(!driven.fleet.retry_routes(9));
        assert_eq!(driven.fleet.address(id(2)), taken, "the literal address is retried");
        driven.run_to(12_000);
        assert!(driven.sent.iter().any(|(transmit, _)| transmit.ticket.id == id(2)));
    }
}

#[test]
fn a_removed_target_takes_nothing_from_the_counters_of_the_probe() {
    let mut driven = Driven::new(&["192.0.2.1", "192.0.2.2"]);
    driven.run_to(999);
    driven.answer(0, 1_000);
    driven.answer(1, 1_000);
    let before = driven.fleet.timestamps();
    assert_eq!(before.iter().sum::<u64>(), 2);
    driven.fleet.remove(id(0), at(1_000).mono);
    assert_eq!(driven.fleet.timestamps(), before);
    driven.add(id(0).successor(), "192.0.2.1", 1_000);
    assert_eq!(driven.fleet.timestamps(), before);
}

#[test]
fn a_session_number_goes_to_a_target_that_still_waits() {
    let mut driven = Driven::new(&["dns://192.0.2.1"]);
    let there = driven.fleet.address(id(0));
    for slot in 1..=4 {
        driven.add(id(slot), "dns://192.0.2.1", 0);
    }
    assert!(!driven.fleet.retry_routes(9));
    driven.fleet.remove(id(1), at(1).mono);
    driven.fleet.remove(id(0), at(1).mono);
    // Two waiting targets are removed before the session number is given.
    driven.fleet.remove(id(2), at(1).mono);
    assert!(!driven.fleet.retry_routes(9));
    assert_eq!([3, 4].map(|slot| driven.fleet.address(id(slot))), [there, None]);
    // The session number becomes free while a target waits for it.
    driven.fleet.remove(id(3), at(2).mono);
    driven.fleet.handle_timeout(at(90_000));
    assert!(!driven.fleet.retry_routes(9));
    assert_eq!(driven.fleet.address(id(4)), there);
    driven.fleet.remove(id(4), at(90_000).mono);
    driven.fleet.handle_timeout(at(180_000));
    assert!(!driven.fleet.routes.is_used(), "no address is remembered");
}

#[test]
fn the_number_of_retired_session_numbers_is_bounded() {
    let mut driven = Driven::new(&[]);
    let mut own = id(0);
    for _ in 0..Routes::MAX_RETIRED + 10 {
        driven.add(own, "192.0.2.1", 0);
        driven.fleet.remove(own, at(0).mono);
        own = own.successor();
    }
    assert_eq!(driven.fleet.routes.retired(), Routes::MAX_RETIRED);
    assert!(driven.fleet.agenda.len() <= VOID_ENTRIES);
}

#[test]
fn removing_many_targets_keeps_the_wake_ups_of_the_others() {
    let mut driven = Driven::new(&["192.0.2.1"]);
    let mut short_lived = id(1);
    for _ in 0..2 * VOID_ENTRIES {
        driven.add(short_lived, "192.0.2.2", 0);
        driven.fleet.remove(short_lived, at(0).mono);
        short_lived = short_lived.successor();
    }
    assert!(driven.fleet.agenda.len() <= 2 + VOID_ENTRIES);
    driven.run_to(9_999);
    assert_eq!(driven.sent.len(), 10);
}

#[test]
fn removing_targets_disturbs_no_other() {
    let names: Vec<String> = (0..40).map(|n| format!("192.0.2.{n}")).collect();
    let mut driven = Driven::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut quiet = Driven::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for second in 0..10 {
        driven.run_to(second * 1_000 + 500);
        for slot in (0..40_usize).filter(|slot| slot % 11 == usize::try_from(second).unwrap()) {
            driven.fleet.remove(id(slot), at(second * 1_000 + 500).mono);
        }
    }
    driven.run_to(9_999);
    quiet.run_to(9_999);
    // Only every eleventh slot is left.
    let left: Vec<usize> = (0..40).filter(|slot| slot % 11 == 10).collect();
    assert_eq!(driven.fleet.len(), left.len());
    for slot in left {
        let moments = |driven: &Driven| -> Vec<(u64, Mono)> {
            let own = driven.sent.iter().filter(|(transmit, _)| transmit.ticket.id == id(slot));
            own.map(|(transmit, sent)| (transmit.ticket.sequence, sent.mono)).collect()
        };
        assert_eq!(moments(&driven), moments(&quiet));
        assert_eq!(driven.sample(slot, 10_000).session.record.lost, {
            quiet.sample(slot, 10_000).session.record.lost
        });
    }
}

#[test]
fn a_new_interval_takes_effect_at_once_and_keeps_what_was_counted() {
    let slow = Target { interval: SECOND * 3_600, timeout: SECOND, ..target("192.0.2.1") };
    let mut driven = Driven::new(&["192.0.2.2"]);
    driven.fleet.add_from(id(1), Arc::new(slow.clone()), at(0).mono);
    driven.run_to(2_000);
    driven.retune(id(1), Target { interval: MILLISECOND * 100, ..slow.clone() }, 2_000);
    driven.run_to(2_999);
    let Snapshot { record, .. } = driven.sample(1, 2_999).session;
    assert_eq!((record.sent, record.lost), (11, 1));
    let own = driven.sent.iter().filter(|(transmit, _)| transmit.ticket.id == id(1));
    let own: Vec<_> = own.map(|(transmit, sent)| (transmit.ticket.sequence, sent.mono)).collect();
    assert!(own.iter().map(|(sequence, _)| *sequence).eq(0..11));
    assert!(own[1..].windows(2).all(|pair| pair[1].1.since(pair[0].1) == MILLISECOND * 100));
    assert_eq!(driven.fleet.schedule_lag().sum(), 0, "and nothing was late");
    // Back to the slow interval.
    driven.retune(id(1), slow, 3_000);
    driven.run_to(60_000);
    let Snapshot { record, in_flight, .. } = driven.sample(1, 60_000).session;
    assert_eq!((record.sent, record.lost, in_flight), (11, 11, 0));
}

#[test]
fn a_new_literal_address_is_counted_and_answers_from_the_old_one_still_count() {
    let mut driven = Driven::new(&["192.0.2.1"]);
    driven.run_to(999);
    driven.retune(id(0), moved("192.0.2.1", "192.0.2.2:862"), 1_000);
    driven.answer(0, 1_010);
    driven.run_to(1_999);
    assert_eq!(driven.sent[1].0.peer, peer("192.0.2.2:862"));
    driven.answer(1, 2_000);
    let sample = driven.sample(0, 2_000);
    assert_eq!((sample.session.record.received, sample.address_changes), (2, 1));
    driven.retune(id(0), Target { misses: 9, ..moved("192.0.2.1", "192.0.2.2:862") }, 2_000);
    assert_eq!(driven.sample(0, 2_000).address_changes, 1);
    assert_eq!(driven.sample(0, 2_000).target.misses, 9);
}

#[test]
fn another_name_means_no_address_until_it_is_resolved() {
    let mut driven = Driven::new(&["fra.example"]);
    driven.resolve("fra.example", &["192.0.2.1"]);
    driven.run_to(999);
    driven.retune(id(0), moved("fra.example", "ams.example"), 1_000);
    let sample = driven.sample(0, 1_000);
    assert_eq!((sample.address, sample.resolved), (None, false));
    driven.answer(0, 1_000);
    driven.resolve("fra.example", &["192.0.2.9"]);
    driven.run_to(1_999);
    assert_eq!((driven.sent.len(), driven.sample(0, 1_999).address), (1, None));
    driven.resolve("ams.example", &["192.0.2.2"]);
    driven.run_to(2_999);
    assert_eq!(driven.sent[1].0.peer, peer("192.0.2.2:12000"));
    let sample = driven.sample(0, 2_999);
    assert_eq!((sample.address_changes, sample.session.record.received), (1, 1));
    assert_eq!(sample.session.record.unsent[UnsentReason::Unresolved.index()], 1);
    // Back at its former address.
    driven.retune(id(0), moved("fra.example", "fra.example"), 3_000);
    driven.resolve("fra.example", &["192.0.2.2"]);
    assert_eq!(driven.sample(0, 3_000).address_changes, 1);
    driven.run_to(3_999);
    assert_eq!(driven.sent[2].0.peer, peer("192.0.2.2:12000"));
    driven.answer(2, 4_000);
    assert_eq!(driven.sample(0, 4_000).session.record.received, 2);
}

#[test]
fn a_new_port_or_a_known_name_needs_no_lookup() {
    let mut driven = Driven::new(&["fra.example:862", "ams.example"]);
    driven.resolve("fra.example", &["192.0.2.1"]);
    driven.retune(id(0), moved("fra.example:862", "fra.example:863"), 0);
    assert_eq!(driven.fleet.address(id(0)), Some(peer("192.0.2.1:863")));
    driven.resolve("fra.example", &["192.0.2.2"]);
    assert_eq!(driven.fleet.address(id(0)), Some(peer("192.0.2.2:863")));
    let found = [ip("192.0.2.5")].into();
    let target = Arc::new(moved("ams.example", "fra.example"));
    driven.fleet.retune(id(1), target, Some(&found), at(0));
    assert_eq!(driven.fleet.address(id(1)), Some(peer("192.0.2.5:12000")));
    let target = Arc::new(moved("ams.example", "192.0.2.6"));
    driven.fleet.retune(id(1), target, None, at(0));
    driven.resolve("fra.example", &["192.0.2.7"]);
    assert_eq!(driven.fleet.address(id(1)), Some(peer("192.0.2.6:12000")));
}

#[test]
fn a_name_without_address_does_not_keep_the_address_of_another_host() {
    for before in ["fra.example", "192.0.2.1"] {
        let mut driven = Driven::new(&[before]);
        driven.resolve("fra.example", &["192.0.2.1"]);
        driven.run_to(999);
        // The lookup of its new name has failed by then.
        let changed = Arc::new(moved(before, "ams.example"));
        driven.fleet.retune(
            id(0),
            changed,
            Some(&Found::failed(LookupFailure::NxDomain)),
            at(1_000),
        );
        let sample = driven.sample(0, 1_000);
        assert_eq!((sample.address, sample.resolved), (None, false), "{before}");
        driven.run_to(1_999);
        let record = driven.sample(0, 1_999).session.record;
        assert_eq!((record.sent, record.unsent[UnsentReason::Unresolved.index()]), (1, 1));
    }
}

#[test]
fn a_new_port_takes_effect_while_lookups_fail() {
    let mut driven = Driven::new(&["fra.example:862"]);
    driven.resolve("fra.example", &["192.0.2.1"]);
    driven.resolve("fra.example", &[]);
    let changed = Arc::new(moved("fra.example:862", "fra.example:863"));
    driven.fleet.retune(id(0), changed, Some(&Found::failed(LookupFailure::NxDomain)), at(0));
    let sample = driven.sample(0, 0);
    assert_eq!((sample.address, sample.resolved), (Some(peer("192.0.2.1:863")), false));
    assert_eq!(sample.address_changes, 1);
}

#[test]
fn the_addresses_of_a_name_reach_all_its_targets_some_at_a_time() {
    let mut driven = Driven::new(&[]);
    for slot in 0..100 {
        let named = Target { name: slot.to_string(), ..target("fra.example") };
        driven.fleet.add(id(slot), Arc::new(named), at(0).mono);
    }
    let count = |driven: &Driven, address: &str| {
        let at_address = |id: &TargetId| driven.fleet.address(*id) == Some(peer(address));
        driven.fleet.ids().filter(at_address).count()
    };
    driven.fleet.handle_resolved("fra.example", [ip("192.0.2.1")].into());
    assert!(driven.fleet.pass_on_addresses(60, at(0)));
    assert_eq!(count(&driven, "192.0.2.1:12000"), 60);
    driven.fleet.handle_resolved("fra.example", [ip("192.0.2.2")].into());
    assert!(driven.fleet.pass_on_addresses(60, at(0)));
    assert!(!driven.fleet.pass_on_addresses(60, at(0)));
    assert_eq!(count(&driven, "192.0.2.2:12000"), 100);
}

#[test]
fn a_limit_and_a_stop_apply_to_targets_that_are_added_later() {
    let mut driven = Driven::new(&["192.0.2.1"]);
    driven.fleet.limit(3);
    driven.add(id(1), "192.0.2.2", 0);
    driven.run_to(60_000);
    assert_eq!(driven.sent.len(), 6);
    driven.fleet.stop();
    driven.add(id(2), "192.0.2.3", 60_000);
    driven.run_to(70_000);
    assert_eq!(driven.sent.len(), 6);
    assert!(driven.fleet.is_settled());
}

#[test]
fn a_removed_target_delays_neither_readiness_nor_settlement() {
    let mut driven = Driven::new(&["192.0.2.1", "192.0.2.2"]);
    driven.run_to(999);
    driven.answer(0, 1_000);
    let answered = driven.sent[0].0.ticket.id;
    assert!(!driven.fleet.poll_ready());
    driven.fleet.stop();
    let other = if answered == id(0) { id(1) } else { id(0) };
    assert!(!driven.fleet.is_settled());
    driven.fleet.remove(other, at(1_000).mono);
    assert!(driven.fleet.poll_ready() && driven.fleet.is_settled());
    driven.add(id(5), "192.0.2.5", 1_000);
    assert!(driven.fleet.poll_ready(), "once ready, new targets change nothing");
}

#[test]
fn a_number_is_retired_from_the_moment_when_its_target_leaves() {
    let mut driven = Driven::new(&["192.0.2.1"]);
    // Two changes of address before the first heartbeat: the target leaves 192.0.2.1 for good.
    for address in ["192.0.2.2", "192.0.2.3"] {
        driven.retune(id(0), moved("192.0.2.1", address), 0);
    }
    let wake = driven.fleet.poll_timeout().unwrap();
    assert!(wake >= at(0).mono, "nothing is overdue");
    driven.add(id(1), "192.0.2.1", 0);
    driven.run_to(999);
    let own = driven.sent.iter().find(|(transmit, _)| transmit.ticket.id == id(1)).unwrap();
    assert_eq!(own.0.session, 1, "number 0 is retired");
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Add(usize),
    Remove(usize),
    Retune { slot: usize, interval: u64, timeout: u64, host: u8 },
    Answer(usize),
    Resolve(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let retune = (0..8_usize, 1..40_u64, 1..100_u64, 0..6_u8)
        .prop_map(|(slot, interval, timeout, host)| Step::Retune { slot, interval, timeout, host });
    vec(
        prop_oneof![
            6 => (0..60_u64).prop_map(Step::Wait),
            2 => (0..8_usize).prop_map(Step::Add),
            1 => (0..8_usize).prop_map(Step::Remove),
            2 => retune,
            6 => (0..12_usize).prop_map(Step::Answer),
            1 => (0..4_u8).prop_map(Step::Resolve),
        ],
        1..150,
    )
}

proptest! {
    /// Whatever is done to targets, each heartbeat that left is settled once, for its own target,
    /// and the agenda stays bounded.
    #[test]
    fn ledgers_add_up_while_targets_come_go_and_change(steps in steps()) {
        let mut driven = Driven::new(&[]);
        let mut next: Vec<TargetId> = (0..8).map(id).collect();
        let mut present: BTreeMap<usize, TargetId> = BTreeMap::new();
        let mut millis = 0;
        let mut sent: BTreeMap<TargetId, u64> = BTreeMap::new();
        let mut counted = 0;
        for step in steps {
            match step {
                Step::Wait(time) => {
                    millis += time;
                    driven.run_to(millis);
                }
                Step::Add(slot) if !present.contains_key(&slot) => {
                    let fast = Target {
                        name: slot.to_string(),
                        interval: MILLISECOND * 10,
                        timeout: MILLISECOND * 25,
                        ..target("192.0.2.1")
                    };
                    driven.fleet.add(next[slot], Arc::new(fast), at(millis).mono);
                    present.insert(slot, next[slot]);
                    next[slot] = next[slot].successor();
                }
                Step::Remove(slot) => {
                    if let Some(id) = present.remove(&slot) {
                        driven.fleet.remove(id, at(millis).mono);
                    }
                }
                Step::Retune { slot, interval, timeout, host } => {
                    let Some(&id) = present.get(&slot) else { continue };
                    let host = ["192.0.2.1", "192.0.2.2:1", "192.0.2.1:2", "a.example", "b.example", "a.example:1"]
                        [usize::from(host)];
                    let changed = Target {
                        name: slot.to_string(),
                        interval: Duration::from_millis(interval),
                        timeout: Duration::from_millis(timeout),
                        ..target(host)
                    };
                    driven.retune(id, changed, millis);
                }
                Step::Answer(back) => {
                    let Some(index) = driven.sent.len().checked_sub(back + 1) else { continue };
                    let id = driven.sent[index].0.ticket.id;
                    let received = |driven: &Driven| -> BTreeMap<TargetId, u64> {
                        let all = driven.fleet.ids();
                        all.map(|id| (id, driven.fleet.sample(id, at(millis).mono).unwrap().session.record.received)).collect()
                    };
                    let before = received(&driven);
                    driven.answer(index, millis);
                    for (other, count) in received(&driven) {
                        prop_assert!(other == id || before[&other] == count, "answer of {id:?} for {other:?}");
                    }
                }
                Step::Resolve(n) => {
                    let name = if n % 2 == 0 { "a.example" } else { "b.example" };
                    driven.resolve(name, &[if n < 2 { "192.0.2.1" } else { "192.0.2.3" }]);
                }
                Step::Add(_) => {}
            }
            for (transmit, _) in &driven.sent[counted..] {
                *sent.entry(transmit.ticket.id).or_default() += 1;
            }
            counted = driven.sent.len();
            prop_assert_eq!(driven.fleet.len(), present.len());
            for &id in present.values() {
                let Snapshot { record, in_flight, .. } =
                    driven.fleet.sample(id, at(millis).mono).unwrap().session;
                prop_assert_eq!(record.sent, record.received + record.lost + in_flight);
                prop_assert_eq!(record.sent, sent.get(&id).copied().unwrap_or(0));
            }
            // While there are targets, the agenda has a wake-up, overdue by less than a second.
            let wake = driven.fleet.poll_timeout();
            prop_assert!(present.is_empty() || wake.is_some_and(|wake| wake > at(millis).mono - SECOND));
            prop_assert!(driven.fleet.agenda.len() <= 2 * present.len() + VOID_ENTRIES);
        }
    }
}
