//! Simulated time: the probe's fleet, the network and the responders, and a queue of what happens
//! when. [`World::step`] jumps to the next event or to the next round of the probe.
//!
//! The probe is driven as its worker drives it: it is woken by what arrives and by what it asks
//! for, hands in transmit stamps, ICMP errors and datagrams, and sends what is due in batches.
//! After every round, what it did is held against the model.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use udp_heartbeat::config::{self, Target};
use udp_heartbeat::model::{
    Direction, IcmpKind, Mono, TargetId, UnmatchedReason, UnsentReason, Wall,
};
use udp_heartbeat::net::Outbox;
use udp_heartbeat::probe::{Detail, Fleet, Happening, Ticket, Timeline, Transmit};
use udp_heartbeat::wire::PROTOCOLS;

use crate::clock::START;
use crate::figures::Figures;
use crate::life::TTL;
use crate::machine::Machine;
use crate::model::Model;
use crate::network::{Host, Link, Parcel};
use crate::ping_text;
use crate::scenario::Scenario;
use crate::truth::{Deeds, Delivered, Returned, Round, Says};

/// How often, in the course of a scenario, all figures are held against the model's.
const CHECKPOINTS: u32 = 12;

/// Everything there is.
pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    targets: &'a [Arc<Target>],
    now: Mono,
    /// What happens when; what happens at one moment, in the order in which it was planned.
    queue: BTreeMap<(Mono, u64), Event>,
    planned: u64,
    fleet: Fleet,
    timeline: Timeline,
    machine: Machine,
    waiting: Waiting,
    /// Who sends with this session number to this address.
    senders: HashMap<(SocketAddr, &'static str, u32), usize>,
    links: Vec<(Link, Link)>,
    /// What each target sent last.
    last_sent: Vec<Vec<u8>>,
    pub(crate) hosts: BTreeMap<SocketAddr, Host>,
    pub(crate) model: Model,
    /// What the probe did in every round.
    pub(crate) deeds: Vec<Deeds>,
}

/// What waits on the probe's machine for the probe.
#[derive(Debug, Default)]
struct Waiting {
    /// Since when something waits that wakes the probe.
    since: Option<Mono>,
    last_round: Option<Mono>,
    lookups: Vec<(Mono, usize, Vec<SocketAddr>)>,
    icmp: Vec<Returned>,
    arrivals: Vec<Delivered>,
    transmit_stamps: VecDeque<(Mono, Ticket)>,
    stop: bool,
    is_stopped: bool,
}

#[derive(Debug)]
enum Event {
    /// A request arrives at a responder, and is looked at.
    Request(Parcel),
    Answer(Parcel, Mono),
    /// A responder lets go of what it holds.
    Release(SocketAddr),
    Arrival(Delivered),
    Lookup(usize, Vec<SocketAddr>),
    Icmp(SocketAddr, Option<usize>, IcmpKind),
    Checkpoint,
    Stop,
}

impl<'a> World<'a> {
    /// A world in which nothing has happened yet.
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let targets = &scenario.config.targets;
        let buckets = &scenario.config.rtt_buckets;
        let machine = Machine::new(scenario);
        let mut fleet = Fleet::new(buckets, Detail::Heartbeats);
        let mut firsts = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            fleet.add(id(number), target.clone(), START);
            let mut alone = Fleet::new(buckets, Detail::Changes);
            alone.add(id(number), target.clone(), START);
            let first = alone.poll_timeout().expect("a new target has something due");
            assert!((START..START + target.interval).contains(&first));
            firsts.push(first);
        }
        let seeds = scenario.seed * 1_000..;
        let senders = senders(scenario);
        let hosts = senders.keys().map(|(address, ..)| *address);
        let host = |address| (address, Host::new(address, &scenario.responder, scenario.seed));
        let link = |(target, seed): (&Arc<Target>, u64)| {
            let path = scenario.path(&target.name);
            (Link::new(&path.forward, 2 * seed), Link::new(&path.backward, 2 * seed + 1))
        };
        let mut world = Self {
            scenario,
            targets,
            now: START,
            queue: BTreeMap::new(),
            planned: 0,
            fleet,
            timeline: Timeline::new(machine.clock.stamp(START)),
            machine,
            waiting: Waiting::default(),
            hosts: hosts.map(host).collect(),
            senders,
            links: targets.iter().zip(seeds).map(link).collect(),
            last_sent: vec![Vec::new(); targets.len()],
            model: Model::new(scenario, &firsts),
            deeds: Vec::new(),
        };
        world.plan_scenario();
        world
    }

    /// Goes on until nothing happens any more.
    pub(crate) fn run(&mut self) {
        while self.step() {}
        assert!(self.fleet.is_settled(), "all is settled in the end");
        assert!(self.fleet.poll_ready(), "and every target has shown itself");
        self.check_figures();
    }

    /// The figures that the probe shows now.
    pub(crate) fn figures(&self) -> Vec<Figures> {
        let sample = |number| self.fleet.sample(id(number), self.now);
        (0..).map_while(sample).map(|sample| Figures::shown(&sample)).collect()
    }

    /// Heartbeats lost on the one way and on the other, as the probe tells them.
    pub(crate) fn one_way_lost(&self, target: usize) -> [u64; Direction::COUNT] {
        self.fleet.sample(id(target), self.now).expect("a target").session.record.one_way_lost
    }

    /// Whether replies to this target's heartbeats carry numbers of their own.
    pub(crate) fn has_numbers(&self, target: usize) -> bool {
        self.targets[target].protocol.name() == "stamp"
    }

    /// Datagrams for nobody, as the probe counted them.
    pub(crate) fn unmatched(&self) -> Vec<(&'static str, u64)> {
        Figures::by_label::<UnmatchedReason>(&self.fleet.unmatched())
    }

    /// Jumps to whatever is next; false where nothing is.
    fn step(&mut self) -> bool {
        let round = self.next_round();
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        match (next, round) {
            (Some(at), round) if round.is_none_or(|round| at <= round) => {
                self.now = at;
                if let Some((_, event)) = self.queue.pop_first() {
                    self.happen(event);
                }
            }
            (_, Some(at)) => {
                self.now = at;
                self.round();
            }
            (_, None) => return false,
        }
        true
    }

    fn plan(&mut self, at: Mono, event: Event) {
        assert!(at >= self.now);
        self.queue.insert((at, self.planned), event);
        self.planned += 1;
    }

    fn plan_scenario(&mut self) {
        let Scenario { lasts, names, icmp, inject, .. } = self.scenario;
        let end = START + lasts.0;
        self.plan(end, Event::Stop);
        for checkpoint in 1..CHECKPOINTS {
            self.plan(START + lasts.0 * checkpoint / CHECKPOINTS, Event::Checkpoint);
        }
        for (number, target) in self.targets.iter().enumerate() {
            let config::Host::Name(name) = &target.address.host else { continue };
            for lookup in names.get(name).into_iter().flatten() {
                let port = target.address.port;
                let found = lookup.finds.iter().map(|&ip| SocketAddr::new(ip, port)).collect();
                self.plan(START + lookup.at.0, Event::Lookup(number, found));
            }
        }
        for error in icmp {
            let quoted = |target: &Arc<Target>| Some(&target.name) == error.quotes.as_ref();
            let target = self.targets.iter().position(quoted);
            assert_eq!(target.is_some(), error.quotes.is_some(), "{error:?} quotes no target");
            self.plan(START + error.at.0, Event::Icmp(error.about, target, error.kind));
        }
        for inject in inject {
            let name = inject.target.as_deref();
            let target = self.targets.iter().position(|target| Some(target.name.as_str()) == name);
            assert_eq!(target.is_some(), name.is_some(), "{name:?} is no target");
            let at = START + inject.at.0;
            let says = Says::Foreign { target, counts_as: inject.counts_as };
            let (from, payload) = (inject.from, inject.payload());
            self.plan(at, Event::Arrival(Delivered { at, from, payload, says }));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request(parcel) => {
                let dwell = self.scenario.responder.turnaround.0;
                self.plan(self.now + dwell, Event::Answer(parcel, self.now));
            }
            Event::Answer(parcel, received) => self.answer(&parcel, received),
            Event::Release(address) => {
                let host = self.hosts.get_mut(&address).expect("a responder");
                for reply in host.release(self.now) {
                    self.send_back(&reply);
                }
                self.plan_release(address);
            }
            Event::Arrival(delivered) => {
                self.waiting.arrivals.push(delivered);
                self.wake();
            }
            Event::Lookup(target, found) => {
                self.waiting.lookups.push((self.now, target, found));
                self.wake();
            }
            Event::Icmp(about, target, kind) => {
                let quote = target.map(|target| self.last_sent[target].clone());
                let quote = quote.unwrap_or_default();
                let at = self.now;
                self.waiting.icmp.push(Returned { at, about, kind, target, quote });
                self.wake();
            }
            Event::Checkpoint => self.check_figures(),
            Event::Stop => {
                self.waiting.stop = true;
                self.wake();
            }
        }
    }

    fn answer(&mut self, request: &Parcel, received: Mono) {
        let name = self.targets[request.target].protocol.name();
        let protocol = PROTOCOLS.iter().position(|known| known.name() == name);
        let host = self.hosts.get_mut(&request.peer).expect("a responder");
        let protocol = protocol.expect("a protocol of the registry");
        for reply in host.answer(request, protocol, received, self.now) {
            self.send_back(&reply);
        }
        self.plan_release(request.peer);
    }

    fn plan_release(&mut self, address: SocketAddr) {
        if let Some(due) = self.hosts.get(&address).and_then(Host::next_due) {
            self.plan(due, Event::Release(address));
        }
    }

    fn send_back(&mut self, reply: &Parcel) {
        let (_, backward) = &mut self.links[reply.target];
        for (at, copy) in backward.carry(self.now, reply) {
            let says = self.meaning(&copy);
            let delivered = Delivered { at, from: copy.peer, payload: copy.payload, says };
            self.plan(at, Event::Arrival(delivered));
        }
    }

    /// What a reply says once it has come through.
    fn meaning(&self, reply: &Parcel) -> Says {
        let Parcel { target, sequence, travelled, received, .. } = *reply;
        if !reply.damaged {
            return Says::Answer { target, sequence, travelled, received };
        }
        let protocol = self.targets[target].protocol.name();
        assert_eq!(protocol, "ping", "of the others, not every damaged bit can be told");
        match ping_text::read(&reply.payload) {
            None => Says::Unreadable { target },
            Some((sequence, second)) => {
                Says::Damaged { target, sequence, second, travelled, received }
            }
        }
    }

    fn wake(&mut self) {
        self.waiting.since.get_or_insert(self.now);
    }

    /// When the probe runs next.
    fn next_round(&self) -> Option<Mono> {
        let wanted = [self.fleet.poll_timeout(), self.waiting.since];
        let wanted = wanted.into_iter().flatten().min()?;
        if let Some(last) = self.waiting.last_round {
            assert!(wanted > last, "the probe asks again for {wanted:?}");
        }
        Some(self.machine.woken(wanted))
    }

    /// One round of the probe.
    fn round(&mut self) {
        let now = self.machine.clock.stamp(self.now);
        let (waiting, fleet) = (&mut self.waiting, &mut self.fleet);
        waiting.since = None;
        waiting.last_round = Some(self.now);
        let round = Round {
            at: now,
            stopped: waiting.stop,
            lookups: std::mem::take(&mut waiting.lookups),
            icmp: std::mem::take(&mut waiting.icmp),
            arrivals: std::mem::take(&mut waiting.arrivals),
            refusals: self
                .targets
                .iter()
                .map(|target| refusal(self.scenario, target, self.now))
                .collect(),
        };
        for (_, target, found) in &round.lookups {
            fleet.handle_addresses(id(*target), found);
        }
        if waiting.stop && !waiting.is_stopped {
            waiting.is_stopped = true;
            fleet.stop();
        }
        self.timeline.begin_round(now);
        let told = waiting.transmit_stamps.partition_point(|(at, _)| *at <= now.mono);
        for (at, ticket) in waiting.transmit_stamps.drain(..told) {
            fleet.handle_transmitted(ticket, self.machine.clock.wall(at));
        }
        for Returned { about, quote, kind, .. } in &round.icmp {
            fleet.handle_icmp(*about, quote, *kind, now);
        }
        for delivered in &round.arrivals {
            let has_stamps = self.machine.has_receive_stamps;
            let kernel = has_stamps.then(|| self.machine.clock.wall(delivered.at));
            let arrival = self.timeline.arrival(now, kernel, Some(TTL));
            fleet.handle_datagram(delivered.from, &delivered.payload, &arrival);
        }
        let sent = self.transmit(&round);
        let deeds = self.deeds(sent);
        let expected = self.model.round(&round);
        assert_eq!(deeds, expected, "what the probe did (left) and should have done in {round:?}");
        self.check_conservation();
        self.deeds.push(deeds);
    }

    /// Sends what is due, and gives by target and number what left.
    fn transmit(&mut self, round: &Round) -> Vec<(usize, u64)> {
        let mut sent = Vec::new();
        self.fleet.handle_timeout(round.at);
        loop {
            let next = std::iter::from_fn(|| self.fleet.poll_transmit(round.at));
            let batch: Vec<Transmit> = next.take(Outbox::CAPACITY).collect();
            for transmit in &batch {
                let (target, sequence) = self.sender(transmit, round.at.wall);
                if let Some(reason) = round.refusals[target] {
                    self.fleet.handle_unsent(transmit.ticket, reason, round.at);
                } else {
                    self.fleet.handle_sent(transmit.ticket, round.at);
                    self.send(transmit, target, sequence, round.at.wall);
                    sent.push((target, sequence));
                }
            }
            if batch.len() < Outbox::CAPACITY {
                sent.sort_unstable();
                return sent;
            }
        }
    }

    fn sender(&self, transmit: &Transmit, at: Wall) -> (usize, u64) {
        let request = transmit.request(at);
        let key = (transmit.peer, transmit.protocol.name(), request.session);
        let target = self.senders.get(&key).unwrap_or_else(|| panic!("nobody sends as {key:?}"));
        (*target, request.sequence.into())
    }

    fn send(&mut self, transmit: &Transmit, target: usize, sequence: u64, at: Wall) {
        let leaves = self.now + self.machine.send_latency;
        if self.scenario.probe.transmit_stamps {
            self.waiting.transmit_stamps.push_back((leaves, transmit.ticket));
        }
        let mut payload = Vec::new();
        transmit.protocol.encode(&transmit.request(at), &mut payload);
        self.last_sent[target].clone_from(&payload);
        let parcel = Parcel {
            target,
            sequence,
            peer: transmit.peer,
            payload,
            damaged: false,
            travelled: Duration::ZERO,
            received: Wall::default(),
        };
        let (forward, _) = &mut self.links[target];
        for (at, copy) in forward.carry(leaves, &parcel) {
            self.plan(at, Event::Request(copy));
        }
    }

    /// What the probe did in this round.
    fn deeds(&mut self, sent: Vec<(usize, u64)>) -> Deeds {
        let mut happenings: Vec<Vec<(Wall, Happening)>> = vec![Vec::new(); self.targets.len()];
        while let Some(event) = self.fleet.poll_event() {
            let number = self.targets.iter().position(|target| Arc::ptr_eq(target, &event.target));
            happenings[number.expect("a target")].push((event.at, event.what));
        }
        Deeds { sent, happenings, impaired: self.fleet.is_impaired(self.now) }
    }

    /// What holds of every target at every moment.
    fn check_conservation(&self) {
        for (number, target) in self.targets.iter().enumerate() {
            let sample = self.fleet.sample(id(number), self.now).expect("a target");
            let (record, in_flight) = (&sample.session.record, sample.session.in_flight);
            let settled = record.received + record.lost;
            assert_eq!(record.sent, settled + in_flight, "{} at {:?}", target.name, self.now);
        }
    }

    /// Holds all figures against the model's.
    fn check_figures(&self) {
        for (number, shown) in self.figures().into_iter().enumerate() {
            let target = &self.targets[number];
            let buckets = &self.scenario.config.rtt_buckets;
            let mut expected = self.model.figures(number, self.now, buckets);
            if let (Some(shown), Some(truth)) = (shown.time_difference, expected.time_difference)
                && target.protocol.name() == "heartbeat"
                && shown.abs_diff(truth) <= 250
            {
                // Doubles of Unix seconds are good to no more than this.
                expected.time_difference = Some(shown);
            }
            assert_eq!(shown, expected, "{} shows (left), and should show", target.name);
        }
        assert_eq!(self.fleet.unmatched(), self.model.unmatched);
        let lag = self.fleet.schedule_lag();
        let lags = &self.model.lags;
        assert_eq!((lag.count(), lag.sum()), (lags.len() as u64, lags.iter().sum()));
    }
}

/// Who target `number` of the scenario is in the fleet.
fn id(number: usize) -> TargetId {
    TargetId::first(u32::try_from(number).expect("few targets"))
}

/// Whether the kernel refuses to send, at `now`.
fn refusal(scenario: &Scenario, target: &Target, now: Mono) -> Option<UnsentReason> {
    let mut failures = scenario.send_failures.iter();
    let failure = failures.find(|failure| {
        failure.target == target.name && failure.window().after(START).contains(&now)
    });
    failure.map(|failure| failure.reason)
}

/// Which session number of which address is whose: targets at one address are numbered from 0,
/// and a name's addresses are its own.
fn senders(scenario: &Scenario) -> HashMap<(SocketAddr, &'static str, u32), usize> {
    let mut senders = HashMap::new();
    let mut sessions = HashMap::new();
    for (number, target) in scenario.config.targets.iter().enumerate() {
        let (protocol, port) = (target.protocol.name(), target.address.port);
        let addresses = match &target.address.host {
            config::Host::Ip(ip) => vec![*ip],
            config::Host::Name(name) => {
                let lookups = scenario.names.get(name).into_iter().flatten();
                let mut found: Vec<_> = lookups.flat_map(|lookup| lookup.finds.clone()).collect();
                found.sort_unstable();
                found.dedup();
                found
            }
        };
        for ip in addresses {
            let address = SocketAddr::new(ip, port);
            let session = sessions.entry((address, protocol)).or_insert(0);
            senders.insert((address, protocol, *session), number);
            *session += 1;
        }
    }
    senders
}
