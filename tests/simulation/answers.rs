//! Checks the worker's answers against the model: every sample, glance and look, and that changes
//! are reported as done in the very round in which they are done.

use tokio::sync::oneshot::error::TryRecvError;
use udp_heartbeat::model::{Mono, StampSource, TargetId};
use udp_heartbeat::observe::TargetLook;
use udp_heartbeat::probe::{WorkerGlance, WorkerSample};

use crate::coordinator::Asked;
use crate::figures::Figures;
use crate::simulation::{FEW, Simulation};
use crate::truth::{Looks, Round};

/// All figures at one moment.
#[derive(Debug)]
pub(crate) struct Shot {
    /// By target number; `None` for removed targets.
    figures: Vec<Option<Figures>>,
    /// Whether this covers several rounds, so that an answer may show any state between them.
    is_blurred: bool,
}

impl Shot {
    /// The figures of a target; `None` if it was not present.
    fn of(&self, number: usize) -> Option<&Figures> {
        self.figures.get(number)?.as_ref()
    }
}

impl Simulation<'_> {
    /// Checks the answers that have come against the model.
    pub(crate) fn check_answers(&mut self, round: &Round, looks: &Looks, is_blurred: bool) {
        let is_gathered = |(id, asked): (&u64, &Asked)| {
            let is_gathered = matches!(asked, Asked::Sample(_) | Asked::Glance(_));
            is_gathered && self.world.coordinator.has_reached(*id)
        };
        if self.world.coordinator.asked.iter().any(is_gathered) {
            let figures = |number| self.model.figures(number, round.at.mono);
            let figures = (0..self.model.lives.len()).map(figures).collect();
            self.shots.push_back(Shot { figures, is_blurred });
        } else {
            self.shots.clear();
        }
        for (id, mut asked) in std::mem::take(&mut self.world.coordinator.asked) {
            let is_answered =
                match &mut asked {
                    Asked::Apply(answer) => come(answer.try_recv()),
                    Asked::Balance(answer) => come(answer.try_recv())
                        .map(|sample| self.check_balance(&sample, round.at.mono)),
                    Asked::Sample(answer) => come(answer.try_recv()).map(|sample| {
                        self.check_sample(&sample, round.at.mono);
                        self.last = Some(sample);
                    }),
                    Asked::Glance(answer) => come(answer.try_recv())
                        .map(|glance| self.check_glance(&glance, round.at.mono)),
                    Asked::Look(answer) => {
                        come(answer.try_recv()).map(|shown| self.check_look(&shown, &looks[&id]))
                    }
                    Asked::Settle(answer) => come(answer.try_recv()).map(|()| {
                        assert!(self.model.is_settled(), "settled at {:?}", round.at);
                        self.is_settled = true;
                    }),
                };
            let has_reached = self.world.coordinator.has_reached(id);
            assert!(has_reached || is_answered.is_none(), "answered too early: {asked:?}");
            if matches!(asked, Asked::Apply(_) | Asked::Look(_)) {
                assert_eq!(is_answered.is_some(), has_reached, "answered at once: {asked:?}");
            }
            if is_answered.is_none() {
                self.world.coordinator.asked.insert(id, asked);
            } else {
                self.answers += 1;
            }
        }
    }

    /// Checks what is true of every sample.
    fn check_balance(&mut self, sample: &WorkerSample, now: Mono) {
        let model = &self.model;
        for (_, sample) in &sample.targets {
            let (record, in_flight) = (&sample.session.record, sample.session.in_flight);
            let settled = record.received + record.lost;
            assert_eq!(record.sent, settled + in_flight, "{} at {now:?}", sample.target.name);
        }
        assert_eq!(sample.unmatched, model.unmatched, "unmatched at {now:?}");
        assert_eq!(sample.receive_drops, model.receive_drops, "drops at {now:?}");
        let impaired = model.impaired.iter().any(|window| now < window.end);
        assert_eq!(sample.impaired, impaired, "impaired at {now:?}");
        self.check_counters(sample, now);
    }

    /// Checks that no counter of the whole probe decreases, whichever targets are added or removed.
    fn check_counters(&mut self, sample: &WorkerSample, now: Mono) {
        let mut stamps = [0; StampSource::COUNT];
        for (_, sample) in &sample.targets {
            add(&mut stamps, &sample.session.record.stamps);
        }
        let mut counters = vec![sample.receive_drops, sample.schedule_lag.count()];
        counters.extend(sample.unmatched);
        counters.extend(sample.timestamps);
        let is_less = |(counter, least): (&u64, &u64)| counter < least;
        let decreased = counters.iter().zip(&self.counters).any(is_less);
        assert!(!decreased, "{:?}, then {counters:?} at {now:?}", self.counters);
        let missing = sample.timestamps.iter().zip(&stamps).any(is_less);
        assert!(!missing, "{:?} and {stamps:?} of the targets", sample.timestamps);
        self.counters = counters;
    }

    /// Checks that a sample shows each target as it was after one of the rounds in which the sample
    /// was gathered, and no target as of an earlier round than the target before it.
    fn check_sample(&mut self, sample: &WorkerSample, now: Mono) {
        self.check_balance(sample, now);
        let model = &self.model;
        let (lag, lags) = (&sample.schedule_lag, &model.lags);
        assert_eq!((lag.count(), lag.sum()), (lags.len() as u64, lags.iter().sum()));
        let numbers = self.check_presence(sample.targets.iter().map(|(id, _)| *id));
        if self.shots.iter().any(|shot| shot.is_blurred) && self.world.coordinator.slots() > FEW {
            return;
        }
        let mut since = 0;
        for (number, (_, sampled)) in numbers.into_iter().zip(&sample.targets) {
            let shown = Figures::shown(sampled);
            let shots = self.shots.iter().map(|shot| {
                let mut expected = shot.of(number).cloned();
                if let Some(expected) = &mut expected {
                    self.forgive(number, &shown, expected);
                }
                expected
            });
            let expected: Vec<_> = shots.skip(since).collect();
            let is_shown = |expected: &Option<Figures>| expected.as_ref() == Some(&shown);
            if let Some(later) = expected.iter().position(is_shown) {
                since += later;
            } else {
                let name = &sampled.target.name;
                let last = expected.iter().rev().find_map(Option::as_ref);
                assert_eq!(Some(&shown), last, "{name} shows (left) at {now:?}");
            }
        }
    }

    fn check_glance(&self, glance: &WorkerGlance, now: Mono) {
        let numbers = self.check_presence(glance.targets.iter().map(|(id, _)| *id));
        for (number, (_, glanced)) in numbers.into_iter().zip(&glance.targets) {
            let shown = &glanced.glance;
            let is_so = |figures: &Figures| {
                let changes: u64 = figures.state_changes.iter().sum();
                (shown.state, shown.changed) == (figures.state, figures.state_changed)
                    && (shown.last_rtt, shown.changes) == (figures.last_rtt, changes)
                    && figures.target.as_ref() == Some(&glanced.target)
            };
            let ever =
                self.shots.iter().any(|shot| shot.is_blurred || shot.of(number).is_some_and(is_so));
            let name = &glanced.target.name;
            assert!(ever, "{name} is glanced at as {shown:?} at {now:?}, and is {:?}", self.shots);
        }
    }

    /// Checks that an answer has each target once that was present in all rounds in which the
    /// answer was gathered, and no target that was present in none of them. Returns the numbers of
    /// the targets in the answer.
    fn check_presence(&self, ids: impl Iterator<Item = TargetId>) -> Vec<usize> {
        let numbers: Vec<usize> = ids.map(|id| self.world.coordinator.number_of(id)).collect();
        let mut shown = vec![false; self.model.lives.len()];
        for &number in &numbers {
            let name = &self.world.targets[number].name;
            assert!(!std::mem::replace(&mut shown[number], true), "{name} is shown twice");
        }
        for (number, is_shown) in shown.into_iter().enumerate() {
            let mut rounds = self.shots.iter().map(|shot| shot.of(number).is_some());
            let name = &self.world.targets[number].name;
            if is_shown {
                assert!(rounds.any(|is_there| is_there), "{name} is shown and not there");
            } else {
                assert!(!rounds.all(|is_there| is_there), "{name} is there and not shown");
            }
        }
        numbers
    }

    /// Checks that a look shows the requested targets in this order, as they were before the round,
    /// and nothing for removed targets.
    fn check_look(&self, shown: &[Option<TargetLook>], expected: &[(usize, Option<Figures>)]) {
        let [nobody, shown @ ..] = shown else { panic!("nothing is looked at") };
        assert!(nobody.is_none(), "the first is not there");
        assert_eq!(shown.len(), expected.len(), "all others are looked at");
        for (look, (number, expected)) in shown.iter().zip(expected) {
            let name = &self.world.targets[*number].name;
            assert_eq!(look.is_some(), expected.is_some(), "whether {name} is there");
            let (Some(look), Some(expected)) = (look, expected) else { continue };
            assert_eq!(self.world.coordinator.number(&look.sample.target), *number);
            let shown = Figures::shown(&look.sample);
            let mut expected = expected.clone();
            self.forgive(*number, &shown, &mut expected);
            assert_eq!(shown, expected, "{name} looks (left)");
            assert_eq!(look.glance.last_rtt, expected.last_rtt);
        }
    }

    /// Accepts a time difference that is off by up to 250 ns: doubles of Unix seconds are no more
    /// precise.
    fn forgive(&self, number: usize, shown: &Figures, expected: &mut Figures) {
        if let (Some(difference), Some(truth)) = (shown.time_difference, expected.time_difference)
            && self.world.targets[number].protocol.name() == "heartbeat"
            && difference.abs_diff(truth) <= 250
        {
            expected.time_difference = shown.time_difference;
        }
    }
}

fn add(sums: &mut [u64], counts: &[u64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}

/// An answer that has come.
fn come<T>(answer: Result<T, TryRecvError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Closed) => panic!("the worker answers nobody"),
    }
}
