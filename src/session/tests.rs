//! The session, compared with a model that keeps every heartbeat and uses no ring, run or cursor.

mod retune;

use super::*;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::UnsentReason::{NoRoute, Unresolved};
use crate::wire;

const MILLISECOND: Duration = Duration::from_millis(1);

const RECORDER: u32 = 12;

fn settings(interval: u64, timeout: u64, misses: u32, recoveries: u32) -> SessionSettings {
    SessionSettings {
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
        misses,
        recoveries,
        recorder: RECORDER,
    }
}

fn record() -> Record {
    Record::new(
        Arc::new(Buckets::from_seconds(&[0.001, 0.1, 10.0])),
        Arc::new(Buckets::from_counts(&[1, 2, 3, 5, 10])),
    )
}

fn at(millis: u64) -> Moment {
    Moment::default().after(Duration::from_secs(1_700_000_000) + Duration::from_millis(millis))
}

fn reply(sequence: u64) -> Reply {
    Reply::to(Some(0), u32::try_from(sequence).unwrap())
}

/// A prober that confirms any reply.
fn prober() -> Arc<dyn Prober> {
    wire::by_name("heartbeat").unwrap().default_options().prober(0)
}

fn arrival(millis: u64) -> Arrival {
    Arrival { at: at(millis).mono, kernel: Some(at(millis).wall), read: at(millis), ttl: Some(64) }
}

/// A session started at 0 ms, with its clock.
struct Life {
    session: Session,
    millis: u64,
}

impl Life {
    fn new(settings: &SessionSettings) -> Self {
        Self { session: Session::new(settings, prober(), record(), at(0).mono), millis: 0 }
    }

    /// Advances the clock to `millis` and sends every due heartbeat.
    fn run_to(&mut self, millis: u64) {
        while self.millis <= millis {
            self.session.handle_timeout(at(self.millis), |_| {});
            if self.session.poll_transmit(at(self.millis)).is_some() {
                self.session.handle_sent(at(self.millis));
            }
            self.millis += 1;
        }
    }

    fn answer(&mut self, sequence: u64) {
        self.session.handle_reply(&reply(sequence), &arrival(self.millis));
    }
}

#[test]
fn down_follows_within_misses_times_interval_plus_timeout() {
    let mut life = Life::new(&settings(1000, 700, 3, 1));
    life.run_to(10);
    life.answer(0);
    assert_eq!(life.session.poll_change(), Some(State::Up));
    life.run_to(3699);
    assert_eq!(life.session.state(), Some(State::Up));
    life.run_to(3700);
    assert_eq!(life.session.poll_change(), Some(State::Down));
    life.run_to(4010);
    life.answer(4);
    assert_eq!(life.session.poll_change(), Some(State::Up));
    let snapshot = life.session.snapshot(at(5000).mono);
    assert_eq!(snapshot.down, MILLISECOND * 311);
    assert_eq!(snapshot.record.state_changes, [2, 1]);
    assert_eq!(snapshot.record.loss_bursts.cumulative().collect::<Vec<_>>()[2], (3, 1));
}

#[test]
fn a_late_reply_neither_brings_a_target_up_nor_answers_the_next_heartbeat() {
    let mut life = Life::new(&settings(1000, 500, 3, 1));
    life.run_to(1200);
    life.answer(0);
    let snapshot = life.session.snapshot(at(1200).mono);
    assert_eq!(snapshot.state, None);
    assert_eq!((snapshot.record.lost, snapshot.record.late, snapshot.in_flight), (1, 1, 1));
    assert_eq!((snapshot.record.received, snapshot.record.rtt.count()), (0, 0));
}

#[test]
fn a_turnaround_that_cannot_be_loses_no_heartbeat() {
    let mut life = Life::new(&settings(1000, 500, 1, 1));
    // The round trip takes 10 ms.
    for (sequence, turnaround) in [(0, -1_000), (1, 10_000_001), (2, 10_000_000), (3, 0)] {
        life.run_to(sequence * 1000 + 9);
        let reply = Reply { turnaround: Some(turnaround), ..reply(sequence) };
        let answered = life.session.handle_reply(&reply, &arrival(life.millis));
        assert!(matches!(answered, Answered::InTime { .. }), "{turnaround}");
    }
    let record = life.session.snapshot(at(4000).mono).record;
    assert_eq!((record.received, record.lost, record.rtt.count()), (4, 0, 4));
    assert_eq!((record.turnaround_invalid, record.turnaround.count), (2, 2));
    assert_eq!(record.rtt.sum(), 30_000_000);
    assert!(record.invalid.iter().all(|&count| count == 0));
}

#[test]
fn recoveries_counts_consecutive_answers() {
    let mut life = Life::new(&settings(100, 100, 2, 3));
    life.run_to(350);
    assert_eq!(life.session.poll_change(), Some(State::Down));
    for sequence in [3, 4, 6, 7] {
        life.run_to(sequence * 100 + 10);
        life.answer(sequence);
        assert_eq!(life.session.poll_change(), None);
    }
    life.run_to(810);
    life.answer(8);
    assert_eq!(life.session.poll_change(), Some(State::Up));
}

#[test]
fn a_skipped_heartbeat_is_not_a_miss() {
    let mut life = Life::new(&settings(100, 100, 3, 1));
    life.run_to(10);
    life.answer(0);
    life.session.handle_timeout(at(100_050), |_| {});
    assert!(life.session.poll_transmit(at(100_050)).is_some_and(|due| due.sequence == 1000));
    life.session.handle_sent(at(100_050));
    let snapshot = life.session.snapshot(at(100_050).mono);
    assert_eq!(snapshot.record.unsent[UnsentReason::Skipped.index()], 999);
    assert_eq!((snapshot.state, snapshot.consecutive_misses), (Some(State::Up), 0));
}

#[test]
fn the_results_of_answers_in_time_add_up_to_the_received() {
    let mut life = Life::new(&settings(1000, 500, 3, 1));
    life.run_to(4_000);
    // Heartbeat 4 is answered in time and 2 late. The result of a duplicate is not counted.
    for (sequence, result) in [(2, 1), (4, 2), (4, 3)] {
        let reply = Reply { result: Some(result), ..reply(sequence) };
        life.session.handle_reply(&reply, &arrival(4_000));
    }
    let record = life.session.snapshot(at(4_000).mono).record;
    assert_eq!((record.received, record.late, record.duplicates), (1, 1, 1));
    assert_eq!(record.results[..4], [0, 0, 1, 0]);
    assert_eq!(record.results.iter().sum::<u64>(), record.received);
}

#[test]
fn unsent_heartbeats_are_misses_at_once() {
    let mut session = Session::new(&settings(100, 10_000, 3, 1), prober(), record(), at(0).mono);
    session.poll_transmit(at(0)).unwrap();
    session.handle_sent(at(0));
    for sequence in 1..=3 {
        assert_eq!(session.state(), None);
        session.poll_transmit(at(sequence * 100)).unwrap();
        session.handle_unsent(Unresolved, at(sequence * 100));
    }
    assert_eq!(session.poll_change(), Some(State::Down));
    assert!(!session.has_settled());
    session.handle_reply(&reply(0), &arrival(400));
    assert_eq!(session.poll_change(), None, "three newer heartbeats are still misses");
}

#[test]
fn duplicates_expired_answers_and_unknown_numbers_are_distinguished() {
    let mut life = Life::new(&settings(100, 1000, 3, 1));
    life.run_to(310);
    for sequence in [2, 0, 2, 0, 3, 9] {
        life.answer(sequence);
    }
    let record = life.session.snapshot(at(311).mono).record;
    assert_eq!((record.received, record.reordered, record.duplicates), (3, 1, 2));
    assert_eq!(record.invalid[InvalidReason::UnknownSequence.index()], 1);
    assert_eq!(record.ipdv.count, 1, "only heartbeats 2 and 3 are consecutive");
    life.run_to(10_000);
    life.answer(1);
    let record = life.session.snapshot(at(10_000).mono).record;
    assert_eq!(record.invalid[InvalidReason::Expired.index()], 1);
}

#[test]
fn the_flight_recorder_shows_each_heartbeat_and_keeps_those_before_an_outage() {
    let mut life = Life::new(&settings(1000, 500, 2, 1));
    life.run_to(10);
    life.answer(0);
    assert_eq!(life.session.recording().frozen, None);
    life.run_to(1600);
    life.answer(1);
    life.run_to(2000);
    let due = life.session.poll_transmit(at(3000)).unwrap();
    life.session.handle_unsent(NoRoute, at(3000));
    assert_eq!((due.sequence, life.session.poll_change()), (3, Some(State::Up)));
    life.session.handle_timeout(at(6100), |_| {});
    assert_eq!(life.session.state(), Some(State::Down));
    assert!(life.session.poll_transmit(at(6100)).is_some());
    life.session.handle_sent(at(6100));

    let heartbeat = |sequence, at: Option<Moment>, outcome, ttl| Heartbeat {
        sequence,
        at: at.map(|at| at.wall),
        outcome,
        ttl,
    };
    let Recording { newest, frozen } = life.session.recording();
    let expected = [
        heartbeat(0, Some(at(0)), Outcome::Received(11 * MILLISECOND), Some(64)),
        heartbeat(1, Some(at(1000)), Outcome::Late(601 * MILLISECOND), Some(64)),
        heartbeat(2, Some(at(2000)), Outcome::Lost, None),
        heartbeat(3, Some(at(3000)), Outcome::Unsent(NoRoute), None),
        heartbeat(4, None, Outcome::Skipped, None),
        heartbeat(5, None, Outcome::Skipped, None),
        heartbeat(6, Some(at(6100)), Outcome::InFlight, None),
    ];
    assert_eq!(newest, expected);
    let frozen = frozen.unwrap();
    assert_eq!(frozen.down, at(6100).wall);
    assert_eq!(frozen.heartbeats, expected[..4]);
}

#[test]
fn the_flight_recorder_keeps_the_configured_number_of_heartbeats() {
    for depth in [1, 7, 40] {
        let mut life = Life::new(&SessionSettings { recorder: depth, ..settings(10, 10, 3, 1) });
        life.run_to(1000);
        let Recording { newest, frozen } = life.session.recording();
        let numbers: Vec<u64> = newest.iter().map(|heartbeat| heartbeat.sequence).collect();
        assert_eq!(numbers, (101 - u64::from(depth)..=100).collect::<Vec<_>>());
        // The third miss is settled when the fourth heartbeat is due.
        assert_eq!(frozen.unwrap().heartbeats.len(), usize::try_from(depth.min(3)).unwrap());
    }
}

#[test]
fn a_glance_shows_the_last_minutes_and_the_last_changes() {
    let mut life = Life::new(&settings(1000, 500, 1, 1));
    assert_eq!(life.session.glance(at(0).mono), Glance::default());
    assert_eq!(life.session.changes().count(), 0);
    let mut changes = Vec::new();
    for sequence in 0..20 {
        life.run_to(sequence * 1000 + 10);
        if sequence % 3 != 2 {
            life.answer(sequence);
        }
        if let Some(state) = life.session.poll_change() {
            changes.push((state, life.session.snapshot(at(0).mono).state_changed.unwrap()));
        }
        life.run_to(sequence * 1000 + 600);
        if let Some(state) = life.session.poll_change() {
            changes.push((state, life.session.snapshot(at(0).mono).state_changed.unwrap()));
        }
    }
    let glance = life.session.glance(at(19_600).mono);
    assert_eq!((glance.state, glance.changes), (Some(State::Up), 13));
    assert_eq!(glance.misses, Misses { missed: 6, settled: 20 });
    assert_eq!(glance.last_rtt, Some(11_000_000));
    assert!(glance.p50 < glance.p99 && glance.p99 < Some(100_000_000));
    changes.reverse();
    for (_, at) in &mut changes[1..] {
        *at = Wall::from_nanos(at.as_nanos() / 1_000_000_000 * 1_000_000_000);
    }
    assert_eq!(life.session.changes().collect::<Vec<_>>(), changes[..4]);
    assert_eq!(glance.changed, Some(changes[0].1));
    let recent = life.session.recent(at(19_600).mono);
    let kept = recent.columns[29].rtt.unwrap();
    assert!(kept <= 11 * MILLISECOND && kept > 10_900 * MILLISECOND / 1000, "{kept:?}");
}

#[test]
fn delays_of_up_to_39_hours_are_stored_whatever_the_port() {
    let day = Duration::from_secs(86_400);
    let ledger = &mut Ledger::new(day, day, 16);
    for (sequence, delay) in [day, day * 3 / 2, day * 2].into_iter().enumerate() {
        ledger.enter_sent(at(0));
        ledger.mark_detoured(sequence as u64);
        ledger.answer(sequence as u64, at(0).mono);
        ledger.remember_answer(sequence as u64, nanos(delay), None);
        assert!(ledger.is_detoured(sequence as u64));
    }
    let (first, slots) = ledger.newest(3);
    let outcomes: Vec<_> = slots.map(|slot| slot.heartbeat(first).outcome).collect();
    // Longer delays are stored as 39 hours.
    let longest = Duration::from_nanos((1 << 47) - 1);
    assert_eq!(outcomes, [day, day * 3 / 2, longest].map(Outcome::Received));
}

/// The ledger's states of recorded heartbeats.
fn outcomes(heartbeats: &[Heartbeat]) -> Vec<(u64, OutcomeKind)> {
    let outcome = |heartbeat: &Heartbeat| match heartbeat.outcome {
        Outcome::Skipped => OutcomeKind::Skipped,
        Outcome::Unsent(_) => OutcomeKind::Unsent,
        Outcome::InFlight => OutcomeKind::InFlight,
        Outcome::Received(_) => OutcomeKind::Received,
        Outcome::Lost => OutcomeKind::Lost,
        Outcome::Late(_) => OutcomeKind::Late,
    };
    heartbeats.iter().map(|heartbeat| (heartbeat.sequence, outcome(heartbeat))).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Send,
    Fail,
    /// A reply to the heartbeat this many before the newest.
    Reply(u64),
    Invent,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(
        prop_oneof![
            4 => (0..40u64).prop_map(Step::Wait),
            1 => (0..2000u64).prop_map(Step::Wait),
            6 => Just(Step::Send),
            2 => Just(Step::Fail),
            6 => (0..12u64).prop_map(Step::Reply),
            1 => Just(Step::Invent),
        ],
        1..300,
    )
}

/// Every heartbeat with its state and time of sending, in the order of their numbers.
#[derive(Default)]
struct Model {
    heartbeats: Vec<(OutcomeKind, u64)>,
    state: Option<State>,
    answers: u32,
    changes: [u64; 2],
    /// The newest heartbeats at the last change to down.
    frozen: Option<Vec<(u64, OutcomeKind)>>,
    late: u64,
    duplicates: u64,
    invalid: u64,
}

impl Model {
    fn count(&self, wanted: &[OutcomeKind]) -> u64 {
        self.heartbeats.iter().filter(|(outcome, _)| wanted.contains(outcome)).count() as u64
    }

    /// The expected contents of the flight recorder.
    fn newest(&self) -> Vec<(u64, OutcomeKind)> {
        let numbered = (0..).zip(&self.heartbeats).map(|(n, heartbeat)| (n, heartbeat.0));
        numbered.skip(self.heartbeats.len().saturating_sub(RECORDER as usize)).collect()
    }

    /// The definition of the run of misses.
    fn misses_in_a_row(&self) -> u64 {
        let outcomes: Vec<OutcomeKind> = self
            .heartbeats
            .iter()
            .map(|h| h.0)
            .filter(|&outcome| outcome != OutcomeKind::Skipped)
            .collect();
        let newer = outcomes
            .iter()
            .rposition(|&outcome| outcome == OutcomeKind::Received)
            .map_or(0, |n| n + 1);
        outcomes[newer..].split(|outcome| !outcome.is_miss()).map(<[_]>::len).max().unwrap_or(0)
            as u64
    }

    fn answered_after(&self, sequence: usize) -> bool {
        self.heartbeats[sequence + 1..].iter().any(|h| h.0 == OutcomeKind::Received)
    }

    fn judge(&mut self, sequence: usize, answered: bool, settings: &SessionSettings) {
        if self.answered_after(sequence) {
            return;
        }
        self.answers = if answered { self.answers + 1 } else { 0 };
        let recovered = self.state.is_none() || self.answers >= settings.recoveries;
        let state = if self.misses_in_a_row() >= settings.misses.into() {
            (answered && self.state.is_none()).then_some(State::Up).or(Some(State::Down))
        } else if answered && recovered {
            Some(State::Up)
        } else {
            self.state
        };
        if state != self.state {
            self.changes[state.unwrap().index()] += 1;
            self.state = state;
            if state == Some(State::Down) {
                self.frozen = Some(self.newest());
            }
        }
    }

    fn expire(&mut self, millis: u64, timeout: u64, settings: &SessionSettings) {
        for sequence in 0..self.heartbeats.len() {
            if let (OutcomeKind::InFlight, sent) = self.heartbeats[sequence]
                && millis >= sent + timeout
            {
                self.heartbeats[sequence].0 = OutcomeKind::Lost;
                self.judge(sequence, false, settings);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_session_agrees_with_the_model(
        steps in steps(),
        interval in 1..20u64,
        timeout in 1..200u64,
        misses in 1..5u32,
        recoveries in 1..4u32,
    ) {
        let settings = settings(interval, timeout, misses, recoveries);
        let mut session = Session::new(&settings, prober(), record(), at(0).mono);
        let ring = session.ledger.remembers() as u64;
        let mut model = Model::default();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Wait(millis) => now += millis,
                Step::Send | Step::Fail => {
                    session.handle_timeout(at(now), |_| {});
                    model.expire(now, timeout, &settings);
                    if let Some(due) = session.poll_transmit(at(now)) {
                        let due = usize::try_from(due.sequence).unwrap();
                        model.heartbeats.resize(due, (OutcomeKind::Skipped, 0));
                        if matches!(step, Step::Send) {
                            session.handle_sent(at(now));
                            model.heartbeats.push((OutcomeKind::InFlight, now));
                        } else {
                            session.handle_unsent(NoRoute, at(now));
                            model.heartbeats.push((OutcomeKind::Unsent, now));
                            model.judge(due, false, &settings);
                        }
                    }
                }
                Step::Reply(back) => {
                    let Some(sequence) = (model.heartbeats.len() as u64).checked_sub(back + 1)
                    else { continue };
                    session.handle_reply(&reply(sequence), &arrival(now));
                    if back + 1 > ring {
                        model.invalid += 1;
                        continue;
                    }
                    let sequence = usize::try_from(sequence).unwrap();
                    let (outcome, sent) = model.heartbeats[sequence];
                    match outcome {
                        OutcomeKind::InFlight if now - sent <= timeout => {
                            model.heartbeats[sequence].0 = OutcomeKind::Received;
                            model.judge(sequence, true, &settings);
                        }
                        OutcomeKind::InFlight => {
                            model.heartbeats[sequence].0 = OutcomeKind::Late;
                            model.late += 1;
                            model.judge(sequence, false, &settings);
                        }
                        OutcomeKind::Lost => {
                            model.heartbeats[sequence].0 = OutcomeKind::Late;
                            model.late += 1;
                        }
                        OutcomeKind::Received | OutcomeKind::Late => model.duplicates += 1,
                        OutcomeKind::Skipped | OutcomeKind::Unsent => model.invalid += 1,
                    }
                }
                Step::Invent => {
                    session.handle_reply(&reply(model.heartbeats.len() as u64 + 1), &arrival(now));
                    model.invalid += 1;
                }
            }
            let snapshot = session.snapshot(at(now).mono);
            let record = &snapshot.record;
            prop_assert_eq!(record.sent, record.received + record.lost + snapshot.in_flight);
            prop_assert_eq!(record.received, model.count(&[OutcomeKind::Received]));
            prop_assert_eq!(record.lost, model.count(&[OutcomeKind::Lost, OutcomeKind::Late]));
            prop_assert_eq!(snapshot.in_flight, model.count(&[OutcomeKind::InFlight]));
            prop_assert_eq!(record.unsent_misses(), model.count(&[OutcomeKind::Unsent]));
            prop_assert_eq!(
                record.unsent[UnsentReason::Skipped.index()], model.count(&[OutcomeKind::Skipped])
            );
            prop_assert_eq!((record.late, record.duplicates), (model.late, model.duplicates));
            prop_assert_eq!(record.invalid.iter().sum::<u64>(), model.invalid);
            prop_assert_eq!(snapshot.consecutive_misses, model.misses_in_a_row());
            prop_assert_eq!(snapshot.state, model.state);
            prop_assert_eq!(record.state_changes, model.changes);
            let recent = session.glance(at(now).mono).misses;
            prop_assert!(u64::from(recent.missed) <= record.lost + record.unsent_misses());
            let recording = session.recording();
            prop_assert_eq!(outcomes(&recording.newest), model.newest());
            let frozen = recording.frozen.map(|frozen| outcomes(&frozen.heartbeats));
            prop_assert_eq!(&frozen, &model.frozen);
        }
    }

    #[test]
    fn the_ledger_adds_up_even_if_heartbeats_leave_long_after_they_are_due(
        lags in vec((0..5000u64, 0..5000u64), 1..100),
    ) {
        let mut session = Session::new(&settings(10, 100, 3, 1), prober(), record(), at(0).mono);
        let mut now = 0;
        for (wait, lag) in lags {
            now += wait;
            session.handle_timeout(at(now), |_| {});
            let due = session.poll_transmit(at(now)).is_some();
            now += lag;
            if due {
                session.handle_sent(at(now));
            }
            let Snapshot { record, in_flight, .. } = session.snapshot(at(now).mono);
            prop_assert_eq!(record.sent, record.received + record.lost + in_flight);
        }
    }
}
