//! Tests of the ledger.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn stamp(millis: u64) -> Moment {
    Moment::default().after(Duration::from_millis(millis))
}

#[test]
fn the_number_of_the_first_reply_is_kept() {
    let mut ledger = Ledger::new(SECOND, SECOND, 0);
    ledger.enter_sent(stamp(0));
    ledger.enter_sent(stamp(0));
    assert_eq!(ledger.number(0), None);
    assert_eq!(ledger.answer(1, stamp(1).mono), Answer::InTime);
    ledger.remember_number(1, u32::MAX);
    assert_eq!((ledger.number(0), ledger.number(1)), (None, Some(u32::MAX)));
    assert_eq!(ledger.answer(0, stamp(1).mono), Answer::InTime);
    for _ in 0..ledger.remembers() {
        ledger.enter_unsent(UnsentReason::Other, stamp(2));
    }
    assert_eq!(ledger.number(1), None);
}

#[test]
fn a_fate_is_final_one_timeout_after_it_was_settled_or_when_it_is_forgotten() {
    let mut ledger = Ledger::new(SECOND, SECOND, 0);
    ledger.enter_sent(stamp(0));
    assert!(!ledger.is_final(0, 100, stamp(5000).mono), "in flight");
    assert_eq!(ledger.expire(stamp(1000).mono), Some(0));
    settle(&mut ledger);
    let remembers = ledger.remembers() as u64;
    assert!(!ledger.is_final(0, remembers - 1, stamp(1999).mono));
    assert!(ledger.is_final(0, remembers, stamp(1999).mono));
    assert!(ledger.is_final(0, 0, stamp(2000).mono));
    assert!(!ledger.is_final(1, 16, stamp(9000).mono), "not sent");
}

fn settle(ledger: &mut Ledger) -> Vec<OutcomeKind> {
    let mut outcomes = Vec::new();
    ledger.pass_settled(|outcome| outcomes.push(outcome));
    outcomes
}

#[test]
fn an_answer_at_the_timeout_is_in_time_and_one_nanosecond_later_is_late() {
    let mut ledger = Ledger::new(SECOND, SECOND, 16);
    ledger.enter_sent(stamp(0));
    ledger.enter_sent(stamp(0));
    assert_eq!(ledger.answer(0, stamp(1000).mono), Answer::InTime);
    assert_eq!(ledger.answer(1, Mono::from_nanos(1_000_000_001)), Answer::LateAndLost);
    assert_eq!(ledger.in_flight(), 0);
}

#[test]
fn the_first_answer_to_a_lost_heartbeat_is_late_and_the_second_a_duplicate() {
    let mut ledger = Ledger::new(SECOND, SECOND, 16);
    ledger.enter_sent(stamp(0));
    assert_eq!(ledger.deadline(), Some(stamp(1000).mono));
    assert_eq!(ledger.expire(stamp(999).mono), None);
    assert_eq!(ledger.expire(stamp(1000).mono), Some(0));
    assert_eq!(ledger.answer(0, stamp(1500).mono), Answer::Late);
    assert_eq!(ledger.answer(0, stamp(1600).mono), Answer::Duplicate);
}

#[test]
fn settled_heartbeats_are_passed_in_order() {
    let mut ledger = Ledger::new(SECOND, SECOND, 16);
    ledger.enter_sent(stamp(0));
    ledger.enter_unsent(UnsentReason::NoRoute, stamp(50));
    ledger.enter_sent(stamp(100));
    ledger.enter_skipped(1);
    assert_eq!(ledger.answer(2, stamp(200).mono), Answer::InTime);
    assert_eq!(settle(&mut ledger), []);
    assert_eq!(ledger.expire(stamp(1000).mono), Some(0));
    assert_eq!(
        settle(&mut ledger),
        [OutcomeKind::Lost, OutcomeKind::Unsent, OutcomeKind::Received, OutcomeKind::Skipped]
    );
    assert_eq!(ledger.deadline(), None);
}

#[test]
fn unsent_and_forgotten_heartbeats_are_distinguished() {
    let mut ledger = Ledger::new(SECOND, SECOND, 16);
    ledger.enter_sent(stamp(0));
    ledger.enter_unsent(UnsentReason::NoRoute, stamp(50));
    assert_eq!(ledger.sent(1), Err(Unknown::NeverSent));
    assert_eq!(ledger.sent(2), Err(Unknown::NeverSent));
    assert_eq!(ledger.expire(stamp(1000).mono), Some(0));
    settle(&mut ledger);
    ledger.enter_skipped(u64::from(u32::MAX));
    assert_eq!(ledger.sent(0), Err(Unknown::Forgotten));
    assert_eq!(ledger.next(), u64::from(u32::MAX) + 2);
}

#[test]
fn a_heartbeat_in_flight_is_lost_before_its_slot_is_taken() {
    let mut ledger = Ledger::new(SECOND, SECOND, 16);
    ledger.enter_sent(stamp(0));
    assert_eq!(ledger.make_room(15), None);
    assert_eq!(ledger.make_room(16), Some(0));
    assert_eq!(ledger.in_flight(), 0);
}

#[test]
fn numbers_are_widened_to_the_nearest() {
    let mut ledger = Ledger::new(SECOND, SECOND, 16);
    let widen = |ledger: &Ledger, low| ledger.widen(low, 32);
    assert_eq!(widen(&ledger, 7), 7);
    assert_eq!(widen(&ledger, u32::MAX), u64::from(u32::MAX));
    ledger.enter_skipped((1 << 32) + 5);
    assert_eq!(widen(&ledger, 4), (1 << 32) + 4);
    assert_eq!(widen(&ledger, u32::MAX), u64::from(u32::MAX));
    ledger.enter_skipped((1 << 32) - 8);
    assert_eq!(widen(&ledger, 2), (2 << 32) + 2);
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "the wire carries the low bits")]
fn numbers_of_few_bits_are_widened_to_any_remembered_heartbeat() {
    let widened = |ledger: &Ledger, sequence: u64| ledger.widen(sequence as u32 % 0x1_0000, 16);
    // If few heartbeats are remembered, half of the range lies ahead.
    let mut ledger = Ledger::new(SECOND, SECOND, 16);
    ledger.enter_skipped(100_000);
    for sequence in [100_000 - 32_768, 99_999, 100_000, 100_000 + 32_767] {
        assert_eq!(widened(&ledger, sequence), sequence);
    }
    // If 65,536 heartbeats can be in flight, the whole range lies behind.
    let mut ledger = Ledger::new(Duration::from_millis(1), Duration::from_millis(65_536), 16);
    assert_eq!(ledger.widen(7, 16), 7);
    ledger.enter_skipped(100_000);
    for behind in [1, 2, 32_768, 65_535, 65_536] {
        assert_eq!(widened(&ledger, 100_000 - behind), 100_000 - behind);
    }
}

#[test]
fn a_number_half_a_cycle_away_belongs_to_an_older_heartbeat() {
    const CYCLE: u64 = 1 << 32;
    const HALF: u32 = 1 << 31;
    let mut ledger = Ledger::new(SECOND, SECOND, 16);
    ledger.enter_skipped(CYCLE + 5);
    assert_eq!(ledger.widen(HALF + 4, 32), CYCLE + u64::from(HALF) + 4);
    assert_eq!(ledger.widen(HALF + 5, 32), u64::from(HALF) + 5);
    assert_eq!(ledger.widen(HALF + 6, 32), u64::from(HALF) + 6);

    ledger.enter_skipped(HALF.into());
    assert_eq!(ledger.next(), CYCLE + u64::from(HALF) + 5);
    assert_eq!(ledger.widen(6, 32), CYCLE + 6);
    assert_eq!(ledger.widen(5, 32), CYCLE + 5);
    assert_eq!(ledger.widen(4, 32), 2 * CYCLE + 4);
}

#[test]
fn transmit_stamps_are_kept_only_if_plausible() {
    let mut ledger = Ledger::new(SECOND, SECOND, 16);
    ledger.enter_sent(stamp(1000));
    ledger.stamp_transmit(0, stamp(999).wall);
    assert_eq!(ledger.sent(0).unwrap().kernel, None);
    ledger.stamp_transmit(0, stamp(1001).wall);
    assert_eq!(ledger.sent(0).unwrap().kernel, Some(stamp(1001).wall));
    ledger.stamp_transmit(9, stamp(1001).wall);
}
