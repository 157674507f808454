//! A worker in a world: the worker's rounds, each held against the model.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot::{self, error::TryRecvError};
use udp_heartbeat::config::Target;
use udp_heartbeat::model::{Direction, Mono, TargetId, UnmatchedReason, Wall};
use udp_heartbeat::net::Outbox;
use udp_heartbeat::observe::{TargetLook, TargetSample};
use udp_heartbeat::probe::{
    BUSY, Begin, Command, Detail, Event, Fleet, Happening, Next, Worker, WorkerGlance, WorkerSample,
};

use crate::clock::START;
use crate::figures::Figures;
use crate::model::Model;
use crate::scenario::{Question, Scenario};
use crate::truth::{Deeds, Looks, Round};
use crate::world::{Asked, World, id};

/// A round that hands over this many heartbeats may have left some that are due: eight batches.
const MOST_IN_A_ROUND: usize = 8 * Outbox::CAPACITY;

/// Of the rounds, one in so many is looked at closely.
const BALANCED: u64 = 7;

/// With no more targets than this, every sample is whole after one round.
const FEW: usize = 256;

/// A worker, the world around it, and what must come of it all.
pub(crate) struct Simulation<'a> {
    scenario: &'a Scenario,
    targets: &'a [Arc<Target>],
    pub(crate) world: World<'a>,
    worker: Worker,
    events: UnboundedReceiver<Event>,
    ready: Arc<AtomicBool>,
    pub(crate) model: Model,
    /// What the targets' figures should have been after each of the last rounds, from the first in
    /// which an answer that is still waited for may have been begun.
    shots: VecDeque<Shot>,
    is_settled: bool,
    turns: u64,
    /// The last sample.
    last: Option<WorkerSample>,
    /// How many answers have been held against the model.
    pub(crate) answers: usize,
    /// What the probe did in every round.
    pub(crate) deeds: Vec<Deeds>,
}

/// All figures at one moment.
#[derive(Debug)]
struct Shot {
    figures: Vec<Figures>,
    /// Several rounds made this one, and an answer may show any state between.
    is_blurred: bool,
}

impl<'a> Simulation<'a> {
    /// A worker that has not begun.
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let targets = &scenario.config.targets;
        let buckets = &scenario.config.rtt_buckets;
        let mut fleet = Fleet::new(buckets, Detail::Heartbeats, scenario.seed);
        let mut firsts = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            fleet.add(id(number), target.clone(), START);
            let mut alone = Fleet::new(buckets, Detail::Changes, scenario.seed);
            alone.add(id(number), target.clone(), START);
            let first = alone.poll_timeout().expect("a new target has something due");
            assert!((START..START + target.interval).contains(&first));
            firsts.push(first);
        }
        let (commands, orders) = unbounded_channel();
        let (happenings, events) = unbounded_channel();
        let ready = Arc::new(AtomicBool::new(false));
        // The targets are there already: there is nothing to change.
        let (done, _) = oneshot::channel();
        commands.send(Command::Apply(Vec::new(), done)).expect("the worker's end of the channel");
        let mut world = World::new(scenario, commands);
        let worker =
            Worker::new(fleet, Begin::Spread, &mut world, orders, happenings, ready.clone());
        Self {
            scenario,
            targets,
            world,
            worker,
            events,
            ready,
            model: Model::new(scenario, &firsts),
            shots: VecDeque::new(),
            is_settled: false,
            turns: 0,
            last: None,
            answers: 0,
            deeds: Vec::new(),
        }
    }

    /// Goes on until nothing happens any more.
    pub(crate) fn run(&mut self) {
        let mut next = Next::Again;
        while self.world.wait(next) {
            next = self.turn(next);
        }
        assert!(self.is_settled, "all is settled in the end");
        assert_eq!(self.is_ready(), self.model.is_ready, "ready in the end");
        self.world.ask(Question::Sample);
        while !self.world.asked.is_empty() {
            assert!(self.world.wait(next), "everybody is answered in the end");
            next = self.turn(next);
        }
        self.world.leave();
        assert!(self.world.wait(Next::Again));
        assert_eq!(self.worker.round(&mut self.world), Next::End, "after {next:?}");
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// The figures that the probe shows now.
    pub(crate) fn figures(&self) -> Vec<Figures> {
        let samples = self.in_order(&self.sample().targets);
        samples.into_iter().map(Figures::shown).collect()
    }

    /// Heartbeats lost on the one way and on the other, as the probe tells them.
    pub(crate) fn one_way_lost(&self, target: usize) -> [u64; Direction::COUNT] {
        self.in_order(&self.sample().targets)[target].session.record.one_way_lost
    }

    /// Whether replies to this target's heartbeats carry numbers of their own.
    pub(crate) fn has_numbers(&self, target: usize) -> bool {
        self.targets[target].protocol.name() == "stamp"
    }

    /// Datagrams for nobody, as the probe counted them.
    pub(crate) fn unmatched(&self) -> Vec<(&'static str, u64)> {
        Figures::by_label::<UnmatchedReason>(&self.sample().unmatched)
    }

    fn sample(&self) -> &WorkerSample {
        self.last.as_ref().expect("a sample was taken")
    }

    /// One round, and those that follow at the same moment to send what is left.
    fn turn(&mut self, after: Next) -> Next {
        if matches!(after, Next::Sleep(_))
            && let Ok(command) = self.worker.commands().try_recv()
        {
            self.worker.carry_out(command, &mut self.world);
        }
        // A look at everything, which wakes nobody.
        self.turns += 1;
        let has_time = self.world.asked.is_empty() && self.targets.len() <= FEW;
        if has_time && self.turns.is_multiple_of(BALANCED) {
            self.world.ask_balance();
        }
        let (mut next, mut sent) = (self.worker.round(&mut self.world), self.world.attempts());
        let mut is_blurred = false;
        while next == Next::Again && sent >= MOST_IN_A_ROUND {
            let before = self.world.attempts();
            next = self.worker.round(&mut self.world);
            sent = self.world.attempts() - before;
            is_blurred = true;
        }
        let (round, watch_failed) = self.world.finish();
        if let Next::Sleep(Some(until)) = next {
            assert!(until > round.at.mono, "the probe asks again for {until:?}");
        }
        let arrivals = round.inputs.iter().filter(|input| input.is_arrival()).count();
        let is_busy = arrivals + round.attempts.len() >= BUSY;
        assert!(next != Next::Pause || is_busy || watch_failed, "a pause for nothing");

        let deeds = self.deeds(&round);
        let (expected, looks) = self.model.round(&round);
        assert_eq!(deeds, expected, "what the probe did (left) and should have done in {round:?}");
        self.deeds.push(deeds);
        assert_eq!(self.is_ready(), self.model.is_ready, "ready at {:?}", round.at);
        self.check_answers(&round, &looks, is_blurred);
        next
    }

    /// What the probe did in this round.
    fn deeds(&mut self, round: &Round) -> Deeds {
        let mut happenings: Vec<Vec<(Wall, Happening)>> = vec![Vec::new(); self.targets.len()];
        while let Ok(event) = self.events.try_recv() {
            let number = self.targets.iter().position(|target| Arc::ptr_eq(target, &event.target));
            happenings[number.expect("a target")].push((event.at, event.what));
        }
        let sent = round.attempts.iter().map(|attempt| (attempt.target, attempt.sequence));
        let mut sent: Vec<_> = sent.collect();
        sent.sort_unstable();
        Deeds { sent, happenings }
    }

    /// Holds the answers that have come against the model.
    fn check_answers(&mut self, round: &Round, looks: &Looks, is_blurred: bool) {
        let is_shown = |asked: &Asked| matches!(asked, Asked::Sample(_) | Asked::Glance(_));
        if self.world.asked.values().any(is_shown) {
            let buckets = &self.scenario.config.rtt_buckets;
            let figures = |number| self.model.figures(number, round.at.mono, buckets);
            let figures = (0..self.targets.len()).map(figures).collect();
            self.shots.push_back(Shot { figures, is_blurred });
        } else {
            self.shots.clear();
        }
        for (id, mut asked) in std::mem::take(&mut self.world.asked) {
            let is_answered =
                match &mut asked {
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
            if is_answered.is_none() {
                self.world.asked.insert(id, asked);
            } else {
                self.answers += 1;
            }
        }
    }

    /// What holds of every sample.
    fn check_balance(&self, sample: &WorkerSample, now: Mono) {
        let model = &self.model;
        for sample in self.in_order(&sample.targets) {
            let (record, in_flight) = (&sample.session.record, sample.session.in_flight);
            let settled = record.received + record.lost;
            assert_eq!(record.sent, settled + in_flight, "{} at {now:?}", sample.target.name);
        }
        assert_eq!(sample.unmatched, model.unmatched, "unmatched at {now:?}");
        assert_eq!(sample.receive_drops, model.receive_drops, "drops at {now:?}");
        let impaired = model.impaired.iter().any(|window| now < window.end);
        assert_eq!(sample.impaired, impaired, "impaired at {now:?}");
    }

    /// A sample shows every target as it was after one of the rounds in which the sample was
    /// gathered, and those in their order.
    fn check_sample(&self, sample: &WorkerSample, now: Mono) {
        self.check_balance(sample, now);
        let model = &self.model;
        let (lag, lags) = (&sample.schedule_lag, &model.lags);
        assert_eq!((lag.count(), lag.sum()), (lags.len() as u64, lags.iter().sum()));
        if self.shots.iter().any(|shot| shot.is_blurred) && self.targets.len() > FEW {
            return;
        }
        let mut since = 0;
        for (_, sampled) in &sample.targets {
            let number = self.number(&sampled.target);
            let shown = Figures::shown(sampled);
            let shots = self.shots.iter().map(|shot| {
                let mut expected = shot.figures[number].clone();
                self.forgive(number, &shown, &mut expected);
                expected
            });
            let expected: Vec<_> = shots.skip(since).collect();
            if let Some(later) = expected.iter().position(|expected| *expected == shown) {
                since += later;
            } else {
                let name = &self.targets[number].name;
                assert_eq!(Some(&shown), expected.last(), "{name} shows (left) at {now:?}");
            }
        }
    }

    fn check_glance(&self, glance: &WorkerGlance, now: Mono) {
        let mut names: Vec<_> =
            glance.targets.iter().map(|(_, glance)| &glance.target.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), self.targets.len(), "every target is glanced at");
        assert_eq!(glance.targets.len(), self.targets.len(), "and once");
        for (_, glanced) in &glance.targets {
            let number = self.number(&glanced.target);
            let shown = &glanced.glance;
            let is_so = |figures: &Figures| {
                let changes: u64 = figures.state_changes.iter().sum();
                (shown.state, shown.changed) == (figures.state, figures.state_changed)
                    && (shown.last_rtt, shown.changes) == (figures.last_rtt, changes)
            };
            let ever =
                self.shots.iter().any(|shot| shot.is_blurred || is_so(&shot.figures[number]));
            let name = &glanced.target.name;
            assert!(ever, "{name} is glanced at as {shown:?} at {now:?}, and is {:?}", self.shots);
        }
    }

    /// A look shows the targets asked for, in this order, as they were before the round.
    fn check_look(&self, shown: &[Option<TargetLook>], expected: &[(usize, Figures)]) {
        let [nobody, shown @ ..] = shown else { panic!("nothing is looked at") };
        assert!(nobody.is_none(), "the first is not there");
        assert_eq!(shown.len(), expected.len(), "all others are looked at");
        for (look, (number, expected)) in shown.iter().zip(expected) {
            let look = look.as_ref().expect("it is there");
            assert_eq!(self.number(&look.sample.target), *number);
            let shown = Figures::shown(&look.sample);
            let mut expected = expected.clone();
            self.forgive(*number, &shown, &mut expected);
            assert_eq!(shown, expected, "{} looks (left)", look.sample.target.name);
            assert_eq!(look.glance.last_rtt, expected.last_rtt);
        }
    }

    /// Doubles of Unix seconds are good to no more than this.
    fn forgive(&self, number: usize, shown: &Figures, expected: &mut Figures) {
        if let (Some(difference), Some(truth)) = (shown.time_difference, expected.time_difference)
            && self.targets[number].protocol.name() == "heartbeat"
            && difference.abs_diff(truth) <= 250
        {
            expected.time_difference = shown.time_difference;
        }
    }

    /// The targets of a sample in the order of the configuration, each of which must be there once.
    fn in_order<'s>(&self, samples: &'s [(TargetId, TargetSample)]) -> Vec<&'s TargetSample> {
        let mut ordered = vec![None; self.targets.len()];
        for (_, sample) in samples {
            let place = &mut ordered[self.number(&sample.target)];
            assert!(place.is_none(), "{} is sampled twice", sample.target.name);
            *place = Some(sample);
        }
        let missing = || panic!("a target is missing");
        ordered.into_iter().map(|sample| sample.unwrap_or_else(missing)).collect()
    }

    fn number(&self, target: &Arc<Target>) -> usize {
        let number = self.targets.iter().position(|known| Arc::ptr_eq(known, target));
        number.expect("a target of the scenario")
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
