//! Answers that come from another address than the target's.

use super::*;
use crate::model::UnmatchedReason;
use crate::model::{Found, LookupFailure};

const ELSEWHERE: &str = "198.51.100.9:12000";

impl Driven {
    /// Answers heartbeat `index` of `sent` at `millis`, from the address `from`.
    fn answer_from(&mut self, index: usize, from: &str, millis: u64) {
        let (_, sent) = self.sent[index];
        let request = wire::recognise(&self.requests[index], sent.wall).unwrap();
        let mut reply = Vec::new();
        request.reflect(Arrived::new(sent.wall, None), sent.wall, &mut reply);
        self.fleet.handle_datagram(peer(from), &reply, &arrival(millis));
    }

    fn unknown_addresses(&self) -> u64 {
        self.fleet.unmatched()[UnmatchedReason::UnknownAddress.index()]
    }

    fn other_sources(&self, slot: usize) -> u64 {
        self.sample(slot, 20_000).session.record.other_source_replies
    }
}

#[test]
fn an_answer_from_another_address_explains_misses_and_answers_nothing() {
    for protocol in ["stamp", "heartbeat", "ping"] {
        let mut driven = Driven::new(&[&format!("{protocol}://192.0.2.1")]);
        for n in 0..5 {
            driven.run_to(1_000 * (n + 1));
            driven.answer_from(driven.sent.len() - 1, ELSEWHERE, 1_000 * (n + 1));
        }
        let sample = driven.sample(0, 5_000);
        assert_eq!(sample.session.state, Some(State::Down), "{protocol}");
        let record = &sample.session.record;
        assert_eq!((record.sent, record.received, record.other_source_replies), (5, 0, 5));
        assert_eq!(record.invalid.iter().sum::<u64>() + driven.unknown_addresses(), 0);
        let diagnosis = sample.diagnosis(at(5_000).wall).unwrap();
        assert_eq!(diagnosis.cause, Cause::OtherSource);
        let expected = format!("answers come from {ELSEWHERE} instead of 192.0.2.1:12000");
        assert_eq!(diagnosis.summary, expected);
        assert!(driven.happenings().iter().any(|(_, what)| {
            *what == Happening::OtherSource { sequence: 4, from: peer(ELSEWHERE) }
        }));
    }
}

#[test]
fn what_does_not_repeat_a_heartbeat_is_for_no_target() {
    let mut driven = Driven::new(&["stamp://192.0.2.1", "192.0.2.2", "ping://192.0.2.3"]);
    driven.run_to(3_000);
    let mut forged = vec![0; 44];
    forged[3] = 1;
    forged[24 + 3] = 1;
    let texts: [&[u8]; 4] = [&forged, b"1 0.0", b"PING 2 THU JAN  1 00:16:42 2026", b""];
    for text in texts {
        driven.fleet.handle_datagram(peer(ELSEWHERE), text, &arrival(3_000));
    }
    assert_eq!(driven.unknown_addresses(), 4);
    assert_eq!([0, 1, 2].map(|slot| driven.other_sources(slot)), [0; 3]);
}

#[test]
fn a_target_that_is_answered_is_no_candidate() {
    let mut driven = Driven::new(&["stamp://192.0.2.1"]);
    driven.run_to(1_000);
    driven.answer(0, 1_000);
    driven.run_to(2_000);
    // Both a duplicate and the first answer to the next heartbeat.
    driven.answer_from(0, ELSEWHERE, 2_000);
    driven.answer_from(1, ELSEWHERE, 2_000);
    assert_eq!((driven.other_sources(0), driven.unknown_addresses()), (0, 2));
    // It misses the second heartbeat.
    driven.run_to(4_000);
    driven.answer_from(2, ELSEWHERE, 4_000);
    assert_eq!((driven.other_sources(0), driven.unknown_addresses()), (1, 2));
    // It is answered again.
    driven.answer(3, 4_000);
    driven.answer_from(2, ELSEWHERE, 4_000);
    assert_eq!((driven.other_sources(0), driven.unknown_addresses()), (1, 3));
}

#[test]
fn heartbeats_to_an_earlier_address_are_not_explained() {
    let mut driven = Driven::new(&["stamp://fra.example"]);
    for (millis, address) in [(1_000, "192.0.2.1"), (2_000, "192.0.2.2"), (3_000, "192.0.2.3")] {
        let found = Found::new(Ok(vec![ip(address)]), Err(LookupFailure::NxDomain));
        driven.fleet.handle_addresses(id(0), &found, at(millis));
        driven.run_to(millis + 999);
    }
    let sent = |text: &str| {
        driven.sent.iter().position(|(transmit, _)| transmit.peer == peer(text)).unwrap()
    };
    let (first, last) = (sent("192.0.2.1:12000"), sent("192.0.2.3:12000"));
    driven.answer_from(first, ELSEWHERE, 3_999);
    assert_eq!((driven.other_sources(0), driven.unknown_addresses()), (0, 1));
    driven.answer_from(last, ELSEWHERE, 3_999);
    assert_eq!((driven.other_sources(0), driven.unknown_addresses()), (1, 1));
}

#[test]
fn among_many_targets_every_one_has_its_turn_and_removed_ones_are_forgotten() {
    let addresses: Vec<_> = (0..300).map(|n| format!("stamp://192.0.2.{}:{n}", n % 8)).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).skip(1).collect();
    let mut driven = Driven::new(&addresses);
    driven.run_to(1_000);
    for slot in 0..100 {
        driven.fleet.remove(id(slot), at(1_000).mono);
    }
    for _ in 0..60 {
        for index in 0..driven.sent.len() {
            driven.answer_from(index, ELSEWHERE, 1_000);
        }
    }
    let found = (100..299).filter(|&slot| driven.other_sources(slot) > 0).count();
    assert_eq!(found, 199);
}
