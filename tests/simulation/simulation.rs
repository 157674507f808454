//! Runs a worker in a world, and checks each of its rounds against the model.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use udp_heartbeat::model::{Direction, UnmatchedReason};
use udp_heartbeat::net::Outbox;
use udp_heartbeat::probe::{BUSY, Begin, Detail, Event, Fleet, Next, Worker, WorkerSample};

use crate::answers::Shot;
use crate::figures::Figures;
use crate::model::Model;
use crate::scenario::{Question, Scenario};
use crate::truth::{Deeds, Happenings, Round};
use crate::world::World;

/// A round that hands over this many heartbeats may have left some that are due: eight batches.
const MOST_IN_A_ROUND: usize = 8 * Outbox::CAPACITY;

/// In one of this many rounds, a sample is requested whose sums are checked.
const BALANCED: u64 = 7;

/// With no more slots than this, every sample is whole after one round.
pub(crate) const FEW: usize = 256;

/// A worker, the world around it, and the model.
pub(crate) struct Simulation<'a> {
    pub(crate) world: World<'a>,
    worker: Worker,
    events: UnboundedReceiver<Event>,
    lookups: UnboundedReceiver<Arc<str>>,
    ready: Arc<AtomicBool>,
    pub(crate) model: Model,
    /// The expected figures of the targets after each of the last rounds, from the first round in
    /// which a pending answer may have been begun.
    pub(crate) shots: VecDeque<Shot>,
    pub(crate) is_settled: bool,
    turns: u64,
    /// The last sample.
    pub(crate) last: Option<WorkerSample>,
    /// The counters of the whole probe in the last answer that had them.
    pub(crate) counters: Vec<u64>,
    /// How many answers have been checked against the model.
    pub(crate) answers: usize,
    /// What the probe did in every round.
    pub(crate) deeds: Vec<Deeds>,
}

impl<'a> Simulation<'a> {
    /// A worker that has not begun.
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let buckets = &scenario.config.rtt_buckets;
        let fleet = Fleet::new(buckets, Detail::Heartbeats, None);
        let (commands, orders) = unbounded_channel();
        let (happenings, events) = unbounded_channel();
        let (wanted, lookups) = unbounded_channel();
        let ready = Arc::new(AtomicBool::new(false));
        let mut world = World::new(scenario, commands);
        let worker = Worker::new(
            fleet,
            Begin::Spread,
            &mut world,
            orders,
            (happenings, wanted),
            ready.clone(),
        );
        Self {
            world,
            worker,
            events,
            lookups,
            ready,
            model: Model::new(scenario),
            shots: VecDeque::new(),
            is_settled: false,
            turns: 0,
            last: None,
            counters: Vec::new(),
            answers: 0,
            deeds: Vec::new(),
        }
    }

    /// Runs until nothing happens any more.
    pub(crate) fn run(&mut self) {
        let mut next = Next::Again;
        while self.world.wait(next) {
            next = self.turn(next);
        }
        assert!(self.is_settled, "all is settled in the end");
        assert_eq!(self.is_ready(), self.model.is_ready, "ready in the end");
        self.world.coordinator.ask(Question::Sample, self.world.now);
        while !self.world.coordinator.asked.is_empty() {
            assert!(self.world.wait(next), "everybody is answered in the end");
            next = self.turn(next);
        }
        self.world.coordinator.leave();
        assert!(self.world.wait(Next::Again));
        assert_eq!(self.worker.round(&mut self.world), Next::End, "after {next:?}");
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// The figures that the probe shows in the end, by the names of the targets.
    pub(crate) fn figures(&self) -> BTreeMap<String, Figures> {
        let samples = self.sample().targets.iter();
        samples.map(|(_, shown)| (shown.target.name.clone(), Figures::shown(shown))).collect()
    }

    /// Lost heartbeats by direction, as reported by the probe.
    pub(crate) fn one_way_lost(&self, name: &str) -> [u64; Direction::COUNT] {
        let mut samples = self.sample().targets.iter();
        let sample = samples.find(|(_, shown)| shown.target.name == name);
        sample.expect("a target").1.session.record.one_way_lost
    }

    /// Whether replies to this target's heartbeats carry numbers of their own.
    pub(crate) fn has_numbers(&self, target: usize) -> bool {
        self.world.targets[target].protocol.name() == "stamp"
    }

    /// Datagrams that belong to no target, as counted by the probe.
    pub(crate) fn unmatched(&self) -> Vec<(&'static str, u64)> {
        Figures::by_label::<UnmatchedReason>(&self.sample().unmatched)
    }

    /// How many fresh ports the probe has opened.
    pub(crate) fn fresh_ports(&self) -> u64 {
        self.sample().fresh_ports
    }

    fn sample(&self) -> &WorkerSample {
        self.last.as_ref().expect("a sample was taken")
    }

    /// One round, and those that follow at the same moment to send what is left.
    fn turn(&mut self, after: Next) -> Next {
        // Requested just before a round, so that the request does not wake the worker.
        self.turns += 1;
        let coordinator = &mut self.world.coordinator;
        let has_time = coordinator.asked.is_empty() && coordinator.slots() <= FEW;
        if has_time && self.turns.is_multiple_of(BALANCED) {
            coordinator.ask_balance(self.world.now);
        }
        self.world.begin();
        if matches!(after, Next::Sleep(_))
            && let Ok(command) = self.worker.commands().try_recv()
        {
            self.worker.carry_out(command, &mut self.world);
        }
        let (mut next, mut sent) = (self.worker.round(&mut self.world), self.world.attempts());
        let mut is_blurred = false;
        while next == Next::Again && sent >= MOST_IN_A_ROUND {
            let is_idle = self.world.coordinator.commanded().is_none();
            assert!(is_idle, "no scenario may send so much while its targets change");
            let before = self.world.attempts();
            next = self.worker.round(&mut self.world);
            sent = self.world.attempts() - before;
            is_blurred = true;
        }
        let (round, watch_failed) = self.world.finish();
        let is_changing = self.world.coordinator.is_changing();
        assert!(!is_changing || next == Next::Again, "changes are left, and not gone on with");
        if let Next::Sleep(Some(until)) = next {
            assert!(until > round.at.mono, "the probe asks again for {until:?}");
        }
        let arrivals = round.inputs.iter().filter(|input| input.is_arrival()).count();
        let is_busy = arrivals + round.attempts.len() >= BUSY;
        assert!(next != Next::Pause || is_busy || watch_failed, "a pause for nothing");

        let deeds = self.deeds(&round);
        let (expected, looks) = self.model.round(&round);
        assert_eq!(deeds, expected, "what the probe did (left) and should have done in {round:?}");
        for name in &deeds.lookups {
            self.world.look_up(name);
        }
        self.world.moving.clone_from(&self.model.moving);
        for (number, life) in self.model.lives.iter().enumerate() {
            let whereabouts = &life.whereabouts;
            self.world.senders.learn(number, &whereabouts.trial, whereabouts.beats);
        }
        self.deeds.push(deeds);
        assert_eq!(self.is_ready(), self.model.is_ready, "ready at {:?}", round.at);
        self.check_answers(&round, &looks, is_blurred);
        next
    }

    /// What the probe did in this round.
    fn deeds(&mut self, round: &Round) -> Deeds {
        let coordinator = &self.world.coordinator;
        let mut happenings = Happenings::new();
        while let Ok(event) = self.events.try_recv() {
            let number = coordinator.number(&event.target);
            happenings.entry(number).or_default().push((event.at, event.what));
        }
        let sent = round.attempts.iter().map(|attempt| (attempt.target, attempt.sequence));
        let mut sent: Vec<_> = sent.collect();
        sent.sort_unstable();
        let lookups = std::iter::from_fn(|| self.lookups.try_recv().ok());
        let mut lookups: Vec<String> = lookups.map(|name| name.to_string()).collect();
        lookups.sort();
        Deeds { sent, happenings, lookups }
    }
}
