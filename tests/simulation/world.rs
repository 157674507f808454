//! Simulated time: the network, the responders, the worker's coordinator, and a queue of events.
//!
//! To the worker, the world is a `machine`. [`World::wait`] takes the place of the driver: it
//! handles all events up to the next round. What a round reads and does is recorded, and returned
//! by [`World::finish`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::sync::mpsc::UnboundedSender;
use udp_heartbeat::config::{self, Target};
use udp_heartbeat::model::{Moment, Mono, Wall};
use udp_heartbeat::probe::{Command, Family, Next, PAUSE, SocketId, SourcePort};

use crate::clock::START;
use crate::conditions::Conditions;
use crate::coordinator::Coordinator;
use crate::kernel::{Pending, Port};
use crate::nat::Nat;
use crate::network::{Host, Link, Parcel};
use crate::ping_text;
use crate::scenario::{Question, Scenario, Window};
use crate::senders::Senders;
use crate::truth::{Attempt, Change, Delivered, Input, Order, Returned, Round, Says};

/// How often in a scenario all figures are compared with the model's.
const CHECKPOINTS: u32 = 12;

/// The number before that of the first port.
const FIRST_PORT: u16 = 40_000;

/// Everything but the probe.
pub(crate) struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) now: Mono,
    /// Events by time; events of the same moment in the order in which they were planned.
    queue: BTreeMap<(Mono, u64), Event>,
    planned: u64,
    pub(crate) conditions: Conditions,
    pub(crate) ports: BTreeMap<SocketId, Port>,
    /// The number of the port that was opened last.
    newest_port: u16,
    pub(crate) failing_watch: Vec<Window>,
    /// Whether a watch has ever ended.
    pub(crate) has_ended_watch: bool,
    /// The datagrams that the last `receive` read.
    pub(crate) received: Vec<Delivered>,
    pub(crate) senders: Senders,
    /// All targets by number, and the links to each and back.
    pub(crate) targets: Vec<Arc<Target>>,
    links: Vec<(Link, Link)>,
    nats: Vec<Option<Nat>>,
    /// The last heartbeat of each target to each address, with its number and its source port.
    last_sent: BTreeMap<(usize, SocketAddr), (u64, u16, Vec<u8>)>,
    stamps: ChaCha8Rng,
    pub(crate) hosts: BTreeMap<SocketAddr, Host>,
    pub(crate) coordinator: Coordinator,
    /// Targets that try another address in the next round.
    pub(crate) moving: Vec<usize>,
    pub(crate) notes: Notes,
}

/// The record of the present round.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    began: Mono,
    earliest: Mono,
    pub(crate) orders: Vec<Order>,
    pub(crate) clock: Vec<Moment>,
    /// Datagrams that were received after the last reading of the clock.
    pub(crate) unread: Vec<Delivered>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) watch_failed: bool,
}

#[derive(Debug)]
enum Event {
    /// A request arrives at a responder, which answers it after the turnaround; `Answer` has the
    /// moment of arrival.
    Request(Parcel),
    Answer(Parcel, Mono),
    /// A held reply of the responder at this address is due.
    Release(SocketAddr),
    Arrival(Delivered),
    Lookup(String, Vec<IpAddr>),
    /// A lookup that the worker has asked for.
    Asked(String),
    /// The ICMP error, the datagram or the change of this index in the scenario.
    Icmp(usize),
    Inject(usize),
    Change(usize),
    Ask(Question, Option<Duration>),
    /// The client of this question has gone.
    Leave(u64),
    Stop,
}

impl<'a> World<'a> {
    /// A world in which nothing has happened yet.
    pub(crate) fn new(scenario: &'a Scenario, commands: UnboundedSender<Command>) -> Self {
        let conditions = Conditions::new(scenario);
        let host = |address| (address, Host::new(address, &scenario.responder, scenario.seed));
        let mut world = Self {
            scenario,
            now: START,
            queue: BTreeMap::new(),
            planned: 0,
            ports: BTreeMap::new(),
            newest_port: FIRST_PORT,
            has_ended_watch: false,
            failing_watch: scenario.probe.watch_fails.clone(),
            received: Vec::new(),
            senders: Senders::default(),
            targets: Vec::new(),
            links: Vec::new(),
            nats: Vec::new(),
            last_sent: BTreeMap::new(),
            stamps: ChaCha8Rng::seed_from_u64(scenario.seed),
            hosts: addresses(scenario).into_iter().map(host).collect(),
            conditions,
            coordinator: Coordinator::new(commands),
            moving: Vec::new(),
            notes: Notes::default(),
        };
        for family in Family::ALL {
            if world.conditions.has(family) {
                let port = world.open_port();
                world.ports.insert(SocketId::usual(family), port);
            }
        }
        world.coordinator.apply(&scenario.config.targets, START);
        world.plan_scenario();
        world
    }

    /// Jumps to the next round; `next` is what the last round returned. False if nothing more
    /// happens.
    pub(crate) fn wait(&mut self, next: Next) -> bool {
        let (begin, earliest) = match next {
            Next::End => return false,
            Next::Again => {
                let begin = self.conditions.resumed(self.now + self.scenario.probe.again_takes.0);
                (begin, begin)
            }
            Next::Pause => {
                let begin = self.conditions.woken(self.now + PAUSE);
                (begin, begin)
            }
            Next::Sleep(until) => {
                let earliest = self.conditions.woken(self.now);
                let Some(wanted) = self.sleep(until) else { return false };
                (self.conditions.woken(wanted.max(self.now)), earliest)
            }
        };
        self.advance(begin);
        if matches!(next, Next::Sleep(_)) {
            self.ports.values_mut().for_each(Port::woken);
        }
        self.notes = Notes { began: self.now, earliest, ..Notes::default() };
        true
    }

    /// Begins a round, which carries out the commands given until now.
    pub(crate) fn begin(&mut self) {
        let mut orders = self.coordinator.carry_out(self.now);
        orders.extend(std::mem::take(&mut self.moving).into_iter().map(Order::Move));
        for order in &orders {
            if let Order::Change(Change::Add { number, target, .. }) = order {
                assert_eq!(*number, self.targets.len());
                // The seeds of the first targets do not depend on the order in which they are
                // added.
                let first = &self.scenario.config.targets;
                let place = first.iter().position(|first| Arc::ptr_eq(first, target));
                let seed = self.scenario.seed * 1_000 + place.unwrap_or(*number) as u64;
                let path = self.scenario.path(&target.name);
                let forward = Link::new(&path.forward, 2 * seed);
                self.links.push((forward, Link::new(&path.backward, 2 * seed + 1)));
                self.nats.push(path.nat.as_ref().map(Nat::new));
                self.targets.push(target.clone());
            }
            let slot = |number| self.coordinator.slot(number);
            self.senders.carry_out(order, self.now, &self.conditions, slot);
        }
        self.notes.orders = orders;
    }

    /// The record of the round since [`wait`](Self::wait), and whether a watch failed in it.
    pub(crate) fn finish(&mut self) -> (Round, bool) {
        let notes = std::mem::take(&mut self.notes);
        let Notes { began, earliest, mut orders, clock, unread, inputs, attempts, watch_failed } =
            notes;
        assert!(unread.is_empty(), "the clock is read after every batch");
        let mut clock = clock.into_iter();
        for order in &mut orders {
            match order {
                Order::Look(.., at) => *at = clock.next().expect("every look reads the clock"),
                Order::Apply { begun, .. } => {
                    *begun = clock.next().expect("changes read the clock to begin").mono;
                }
                Order::Change(_) | Order::Lookup { .. } | Order::Move(_) | Order::Stop => {}
            }
        }
        let at = clock.next().expect("every round reads the clock");
        let leaving = clock.last().expect("and again before it sends");
        (Round { began, at, earliest, orders, inputs, attempts, leaving }, watch_failed)
    }

    /// The worker asks for a lookup of this name.
    pub(crate) fn look_up(&mut self, name: &str) {
        if let Some(takes) = self.scenario.lookup_takes {
            self.plan(self.now + takes.0, Event::Asked(name.to_owned()));
        }
    }

    /// How many heartbeats have been handed over in this round so far.
    pub(crate) fn attempts(&self) -> usize {
        self.notes.attempts.len()
    }

    /// When a sleep until `until` ends; `None` if it never does.
    fn sleep(&mut self, until: Option<Mono>) -> Option<Mono> {
        loop {
            let edges = self.ports.values().filter_map(Port::edge);
            if let Some(since) = edges.chain(self.coordinator.commanded()).min() {
                return Some(since);
            }
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            match (next, until) {
                (Some(at), until) if until.is_none_or(|until| at <= until) => self.advance(at),
                (_, until) => return until,
            }
        }
    }

    /// Handles all events up to `until`.
    pub(crate) fn advance(&mut self, until: Mono) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(until);
    }

    fn plan(&mut self, at: Mono, event: Event) {
        assert!(at >= self.now);
        self.queue.insert((at, self.planned), event);
        self.planned += 1;
    }

    fn plan_scenario(&mut self) {
        let Scenario { lasts, names, icmp, inject, scrapes, changes, .. } = self.scenario;
        self.plan(START + lasts.0, Event::Stop);
        for checkpoint in 1..CHECKPOINTS {
            let at = START + lasts.0 * checkpoint / CHECKPOINTS;
            for question in [Question::Sample, Question::Glance, Question::Look] {
                self.plan(at, Event::Ask(question, None));
            }
        }
        for (place, change) in changes.iter().enumerate() {
            assert!(change.at < *lasts, "nothing is changed after the end");
            self.plan(START + change.at.0, Event::Change(place));
        }
        for scrape in scrapes {
            let patience = scrape.patience.map(|patience| patience.0);
            self.plan(START + scrape.at.0, Event::Ask(scrape.asks, patience));
        }
        for (name, lookups) in names {
            for lookup in lookups.iter().filter(|lookup| !lookup.is_unnoticed) {
                let event = Event::Lookup(name.clone(), lookup.finds.clone());
                self.plan(START + lookup.at.0, event);
            }
        }
        for (place, error) in icmp.iter().enumerate() {
            self.plan(START + error.at.0, Event::Icmp(place));
        }
        for (place, inject) in inject.iter().enumerate() {
            self.plan(START + inject.at.0, Event::Inject(place));
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
            Event::Arrival(delivered) => self.arrive(delivered),
            Event::Lookup(name, found) => self.coordinator.look_up(&name, &found, self.now),
            Event::Asked(name) => {
                let lookups = self.scenario.names.get(&name).into_iter().flatten();
                let before = lookups.filter(|lookup| START + lookup.at.0 <= self.now);
                if let Some(last) = before.max_by_key(|lookup| lookup.at) {
                    self.coordinator.look_up(&name, &last.finds, self.now);
                }
            }
            Event::Icmp(place) => self.send_error(place),
            Event::Inject(place) => self.inject(place),
            Event::Change(place) => {
                let wanted = &self.scenario.changes[place].targets;
                self.coordinator.apply(wanted, self.now);
            }
            Event::Ask(question, patience) => {
                let question = self.coordinator.ask(question, self.now);
                if let Some(patience) = patience {
                    self.plan(self.now + patience, Event::Leave(question));
                }
            }
            Event::Leave(question) => {
                self.coordinator.asked.remove(&question);
            }
            Event::Stop => self.coordinator.stop(self.now),
        }
    }

    /// Delivers an ICMP error about an address. It quotes the last heartbeat of a target to that
    /// address, or nothing.
    fn send_error(&mut self, place: usize) {
        let error = &self.scenario.icmp[place];
        let about = error.about;
        let last = error.quotes.as_ref().and_then(|name| {
            assert!(self.coordinator.newest(name).is_some(), "{name} is no target");
            let mut all = self.last_sent.iter().rev();
            all.find(|((number, to), _)| self.targets[*number].name == *name && *to == about)
        });
        let quoted = last.map(|((number, _), (sequence, ..))| (*number, *sequence));
        let quote = last.map(|(_, (.., payload))| payload.clone()).unwrap_or_default();
        let from = last.map(|(_, (_, port, _))| *port);
        let returned = Returned { about, kind: error.kind, quoted, quote };
        let now = self.now;
        if let Some(port) = self.port(Family::of(about), from) {
            port.notice(now, Pending::Icmp(returned));
        }
    }

    /// Delivers a datagram that answers nothing.
    fn inject(&mut self, place: usize) {
        let inject = &self.scenario.inject[place];
        let target = inject.target.as_ref().map(|name| {
            let newest = self.coordinator.newest(name);
            newest.unwrap_or_else(|| panic!("{name} is no target"))
        });
        let says = Says::Foreign { target, counts_as: inject.counts_as };
        let (at, from, payload) = (self.now, inject.from, inject.payload());
        let usual = self.port(Family::of(from), None);
        let to = usual.map(|port| port.number).unwrap_or_default();
        self.arrive(Delivered { at, from, to, payload, says, drops: None });
    }

    fn arrive(&mut self, delivered: Delivered) {
        if let Some(port) = self.port(Family::of(delivered.from), Some(delivered.to)) {
            port.arrive(delivered);
        }
    }

    /// The socket at the port of this number, if it is open; without a number, the usual one.
    fn port(&mut self, family: Family, number: Option<u16>) -> Option<&mut Port> {
        let mut ports = self.ports.iter_mut().filter(|(socket, _)| socket.family == family);
        let found = ports.find(|(socket, port)| match number {
            Some(number) => port.number == number,
            None => socket.port == SourcePort::Usual,
        });
        found.map(|(_, port)| port)
    }

    /// A new socket.
    pub(crate) fn open_port(&mut self) -> Port {
        self.newest_port += 1;
        Port::new(self.newest_port, self.scenario.probe.receive_queue.unwrap_or(usize::MAX))
    }

    fn answer(&mut self, request: &Parcel, received: Mono) {
        let protocol = self.targets[request.target].protocol.protocol();
        let host = self.hosts.get_mut(&request.peer).expect("a responder");
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
        let elsewhere = self.scenario.path(&self.targets[reply.target].name).elsewhere;
        let elsewhere = elsewhere.iter().find(|it| it.window().after(START).contains(&self.now));
        for (at, copy) in backward.carry(self.now, reply) {
            let (says, from) = match elsewhere {
                Some(elsewhere) => {
                    let Parcel { target, sequence, .. } = copy;
                    (Says::Elsewhere { target, sequence }, elsewhere.source)
                }
                None => (self.meaning(&copy), copy.peer),
            };
            let Parcel { port: to, payload, .. } = copy;
            self.plan(at, Event::Arrival(Delivered { at, from, to, payload, says, drops: None }));
        }
    }

    /// What a reply that has reached the probe says.
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

    /// A heartbeat leaves; returns the id of its transmit timestamp.
    pub(crate) fn depart(
        &mut self,
        socket: SocketId,
        peer: SocketAddr,
        payload: Vec<u8>,
        (target, sequence): (usize, u64),
    ) -> u32 {
        let probe = &self.scenario.probe;
        let leaves = self.now + self.conditions.send_latency;
        let port = self.ports.get_mut(&socket).expect("a socket");
        port.awaited = port.awaited.max(self.now + self.targets[target].timeout);
        let source = port.number;
        let id = port.take_id();
        if probe.transmit_stamps && !draws(&mut self.stamps, probe.stamps_lost) {
            let late = draws(&mut self.stamps, probe.stamps_late);
            let comes = if late { leaves + probe.stamps_late_by.0 } else { leaves };
            let at = self.conditions.clock.wall(leaves);
            port.notice(comes, Pending::Transmitted { id, at, target, sequence });
        }
        self.last_sent.insert((target, peer), (sequence, source, payload.clone()));
        let parcel = Parcel {
            target,
            sequence,
            peer,
            payload,
            port: source,
            damaged: false,
            travelled: Duration::ZERO,
            received: Wall::default(),
        };
        let is_dead = self.scenario.dead.iter().any(|dead| {
            dead.address == peer.ip() && dead.window().after(START).contains(&self.now)
        });
        let is_lost = self.nats[target].as_mut().is_some_and(|nat| !nat.passes(source, leaves));
        if is_dead || is_lost {
            return id;
        }
        let (forward, _) = &mut self.links[target];
        for (at, copy) in forward.carry(leaves, &parcel) {
            self.plan(at, Event::Request(copy));
        }
        id
    }
}

/// Draws whether something of this probability happens; draws nothing if the probability is 0.
fn draws(rng: &mut impl Rng, probability: f64) -> bool {
    probability > 0.0 && rng.random_bool(probability)
}

/// Every address that any target has at any time.
fn addresses(scenario: &Scenario) -> BTreeSet<SocketAddr> {
    let mut addresses = BTreeSet::new();
    let changed = scenario.changes.iter().flat_map(|change| &change.targets);
    for target in scenario.config.targets.iter().chain(changed) {
        let ips = match &target.address.host {
            config::Host::Ip(ip) => vec![*ip],
            config::Host::Name(name) => {
                let lookups = scenario.names.get(name).into_iter().flatten();
                lookups.flat_map(|lookup| lookup.finds.clone()).collect()
            }
        };
        addresses.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, target.address.port)));
    }
    addresses
}
