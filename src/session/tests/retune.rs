//! New settings for a running session: counters and heartbeats in flight are kept.

use super::*;

use std::collections::BTreeMap;

/// The outcomes of the newest heartbeats.
fn recorded(session: &Session) -> BTreeMap<u64, Outcome> {
    let newest = session.recording().newest;
    newest.iter().map(|heartbeat| (heartbeat.sequence, heartbeat.outcome)).collect()
}

fn lost(session: &mut Session, millis: u64) -> Vec<u64> {
    let mut lost = Vec::new();
    session.handle_timeout(at(millis), |sequence| lost.push(sequence));
    lost
}

#[test]
fn numbers_and_counters_continue_at_a_new_interval() {
    let mut life = Life::new(&settings(1000, 500, 3, 1));
    life.run_to(10);
    life.answer(0);
    life.run_to(1_010);
    life.answer(1);
    life.session.retune(&settings(100, 500, 3, 1), at(1_040).mono);
    assert_eq!(life.session.poll_timeout(), Some(at(1_040).mono));
    life.run_to(1_240);
    let snapshot = life.session.snapshot(at(1_240).mono);
    assert_eq!((snapshot.record.sent, snapshot.record.received), (5, 2));
    assert_eq!(snapshot.record.unsent[UnsentReason::Skipped.index()], 0);
    life.answer(4);
    assert_eq!(life.session.snapshot(at(1_241).mono).record.received, 3);
    assert_eq!(recorded(&life.session).into_keys().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn the_same_interval_keeps_the_grid() {
    let mut life = Life::new(&settings(1000, 500, 3, 1));
    life.run_to(10);
    life.session.retune(&settings(1000, 700, 3, 1), at(123).mono);
    life.run_to(999);
    assert_eq!(life.session.snapshot(at(999).mono).record.sent, 1);
    life.run_to(1_000);
    assert_eq!(life.session.snapshot(at(1_000).mono).record.sent, 2);
}

#[test]
fn the_new_timeout_applies_to_heartbeats_in_flight() {
    let mut life = Life::new(&settings(1000, 1000, 3, 1));
    life.run_to(0);
    let session = &mut life.session;
    session.retune(&settings(1000, 200, 3, 1), at(0).mono);
    assert_eq!(session.poll_timeout(), Some(at(200).mono));
    assert_eq!(lost(session, 199), [0_u64; 0]);
    session.retune(&settings(1000, 3000, 3, 1), at(0).mono);
    assert_eq!(lost(session, 900), [0_u64; 0]);
    let answered = session.handle_reply(&reply(0), &arrival(2_900));
    assert!(matches!(answered, Answered::InTime { sequence: 0, .. }));
    session.poll_transmit(at(1_000)).unwrap();
    session.handle_sent(at(1_000));
    session.retune(&settings(1000, 100, 3, 1), at(0).mono);
    let answered = session.handle_reply(&reply(1), &arrival(1_101));
    assert!(matches!(answered, Answered::Late { sequence: 1, .. }));
}

#[test]
fn the_verdict_is_reevaluated_with_the_next_heartbeat() {
    let mut life = Life::new(&settings(100, 100, 10, 3));
    life.run_to(10);
    life.answer(0);
    assert_eq!(life.session.poll_change(), Some(State::Up));
    life.run_to(650);
    assert_eq!(life.session.consecutive_misses(), 5);
    life.session.retune(&settings(100, 100, 2, 1), at(0).mono);
    assert_eq!(life.session.state(), Some(State::Up));
    assert_eq!(life.session.poll_change(), None);
    life.run_to(700);
    assert_eq!(life.session.poll_change(), Some(State::Down));
}

#[test]
fn a_longer_ring_shows_no_heartbeats_that_were_forgotten() {
    let mut life = Life::new(&settings(10, 10, 3, 1));
    life.run_to(1_000);
    let known = recorded(&life.session);
    assert_eq!(known.len(), RECORDER as usize);
    life.session.retune(&SessionSettings { recorder: 64, ..settings(10, 10, 3, 1) }, at(0).mono);
    let kept = recorded(&life.session);
    assert!((RECORDER as usize..=16).contains(&kept.len()), "kept by the ring of 16: {kept:?}");
    assert!(known.iter().all(|(sequence, outcome)| kept.get(sequence) == Some(outcome)));
    assert_eq!(life.session.handle_reply(&reply(0), &arrival(1_000)), {
        Answered::Invalid(InvalidReason::Expired)
    });
    life.run_to(2_000);
    assert_eq!(recorded(&life.session).len(), 64);
}

#[test]
fn a_history_with_columns_of_another_width_is_cleared() {
    let mut life = Life::new(&settings(1000, 500, 3, 1));
    life.run_to(3_600);
    let glance = |life: &Life| life.session.glance(at(life.millis).mono).misses.missed;
    assert_eq!(glance(&life), 4);
    life.session.retune(&settings(5000, 500, 3, 1), at(4_000).mono);
    assert_eq!(glance(&life), 4);
    life.session.retune(&settings(6000, 500, 3, 1), at(4_000).mono);
    assert_eq!(glance(&life), 0);
    assert_eq!(life.session.snapshot(at(4_000).mono).record.lost, 4);
}

#[derive(Debug, Clone)]
enum Change {
    Wait(u64),
    Send,
    Reply(usize),
    Retune { interval: u64, timeout: u64, recorder: u32 },
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let retune = (1..50_u64, 1..400_u64, 1..80_u32)
        .prop_map(|(interval, timeout, recorder)| Change::Retune { interval, timeout, recorder });
    vec(
        prop_oneof![
            3 => (0..40_u64).prop_map(Change::Wait),
            6 => Just(Change::Send),
            4 => (0..30_usize).prop_map(Change::Reply),
            1 => retune,
        ],
        1..300,
    )
}

proptest! {
    #[test]
    fn every_heartbeat_is_settled_once_however_often_the_settings_change(changes in changes()) {
        let mut now = 0;
        let mut timeout = 100;
        let mut session = Session::new(&settings(10, timeout, 3, 1), prober(), record(), at(0).mono);
        // The time of sending of every heartbeat and of those in flight, and the number of answers
        // in time.
        let mut sent: BTreeMap<u64, u64> = BTreeMap::new();
        let mut in_flight: BTreeMap<u64, u64> = BTreeMap::new();
        let mut received = 0;
        for change in changes {
            match change {
                Change::Wait(millis) => now += millis,
                Change::Send => {
                    for sequence in lost(&mut session, now) {
                        let at = in_flight.remove(&sequence);
                        prop_assert!(at.is_some_and(|at| at + timeout <= now));
                    }
                    prop_assert!(in_flight.values().all(|at| at + timeout > now));
                    if let Some(due) = session.poll_transmit(at(now)) {
                        prop_assert!(sent.keys().all(|&sequence| sequence < due.sequence));
                        session.handle_sent(at(now));
                        sent.insert(due.sequence, now);
                        in_flight.insert(due.sequence, now);
                    }
                }
                Change::Reply(back) => {
                    let Some((&sequence, &since)) = sent.iter().rev().nth(back)
                    else { continue };
                    let answered = session.handle_reply(&reply(sequence), &arrival(now));
                    if in_flight.remove(&sequence).is_some() {
                        let in_time = matches!(answered, Answered::InTime { .. });
                        prop_assert_eq!(in_time, now - since <= timeout);
                        received += u64::from(in_time);
                    } else {
                        let is_further = matches!(
                            answered,
                            Answered::Late { .. } | Answered::Duplicate { .. } | Answered::Invalid(_)
                        );
                        prop_assert!(is_further, "{:?}", answered);
                    }
                }
                Change::Retune { interval, timeout: new, recorder } => {
                    let before = recorded(&session);
                    timeout = new;
                    let settings = SessionSettings { recorder, ..settings(interval, timeout, 3, 1) };
                    session.retune(&settings, at(now).mono);
                    for (sequence, outcome) in recorded(&session) {
                        let known = before.get(&sequence).is_none_or(|&before| before == outcome);
                        prop_assert!(known, "{} became {:?}", sequence, outcome);
                        if sent.contains_key(&sequence) {
                            prop_assert!(outcome != Outcome::Skipped);
                        }
                    }
                    let deadline = in_flight.values().map(|at| at + timeout).min();
                    let deadline = deadline.map(|millis| at(millis).mono);
                    prop_assert!(deadline.is_none() || session.poll_timeout() <= deadline);
                }
            }
            let Snapshot { record, in_flight: waiting, .. } = session.snapshot(at(now).mono);
            prop_assert_eq!(record.sent, record.received + record.lost + waiting);
            prop_assert_eq!((record.sent, record.received), (sent.len() as u64, received));
            prop_assert_eq!(waiting, in_flight.len() as u64);
        }
    }
}
