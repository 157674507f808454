//! Simulated time: the machine that a worker runs on, the network and the responders, and a queue
//! of what happens when.
//!
//! To the worker, the world is a [`Machine`]: it reads the world's clocks, and sends and receives on
//! the sockets of its kernel. [`World::wait`] stands for the driver: it jumps to the next round,
//! and everything happens that happens by then. What a round was shown is written down, and given
//! by [`World::finish`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use udp_heartbeat::config::{self, Target};
use udp_heartbeat::model::{IcmpKind, Moment, Mono, TargetId, UnsentReason, Wall};
use udp_heartbeat::net::{Datagram, Notice, Outbox};
use udp_heartbeat::observe::TargetLook;
use udp_heartbeat::probe::{Command, Family, Machine, Next, PAUSE, WorkerGlance, WorkerSample};

use crate::clock::START;
use crate::conditions::Conditions;
use crate::kernel::{Pending, Port};
use crate::life::TTL;
use crate::network::{Host, Link, Parcel};
use crate::ping_text;
use crate::request;
use crate::scenario::{Question, Scenario, Window};
use crate::senders::Senders;
use crate::truth::{Attempt, Delivered, Input, Order, Returned, Round, Says};

/// How often, in the course of a scenario, all figures are held against the model's.
const CHECKPOINTS: u32 = 12;

/// Everything but the probe.
pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    targets: &'a [Arc<Target>],
    now: Mono,
    /// What happens when; what happens at one moment, in the order in which it was planned.
    queue: BTreeMap<(Mono, u64), Event>,
    planned: u64,
    pub(crate) conditions: Conditions,
    ports: [Option<Port>; Family::ALL.len()],
    failing_watch: Vec<Window>,
    /// Whether a watch has ever ended.
    pub(crate) has_ended_watch: bool,
    /// What the last call read.
    received: Vec<Delivered>,
    senders: Senders,
    links: Vec<(Link, Link)>,
    /// What each target sent last, and how many heartbeats.
    last_sent: Vec<Vec<u8>>,
    stamps: ChaCha8Rng,
    pub(crate) hosts: BTreeMap<SocketAddr, Host>,
    commands: Option<UnboundedSender<Command>>,
    /// Since when a command waits.
    commanded: Option<Mono>,
    /// Answers that are waited for.
    pub(crate) asked: BTreeMap<u64, Asked>,
    questions: u64,
    /// Commands on their way.
    orders: Vec<Order>,
    notes: Notes,
}

/// What a round is shown.
#[derive(Debug, Default)]
struct Notes {
    began: Mono,
    earliest: Mono,
    orders: Vec<Order>,
    clock: Vec<Moment>,
    /// Datagrams that were received after the last reading of the clock.
    unread: Vec<Delivered>,
    inputs: Vec<Input>,
    attempts: Vec<Attempt>,
    watch_failed: bool,
}

/// An answer that is waited for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// What can be held against little is looked at after every round.
    Balance(oneshot::Receiver<WorkerSample>),
    Sample(oneshot::Receiver<WorkerSample>),
    Glance(oneshot::Receiver<WorkerGlance>),
    Look(oneshot::Receiver<Vec<Option<TargetLook>>>),
    Settle(oneshot::Receiver<()>),
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
    Ask(Question, Option<Duration>),
    /// Whoever asked this does not wait any longer.
    Leave(u64),
    Stop,
}

impl<'a> World<'a> {
    /// A world in which nothing has happened yet.
    pub(crate) fn new(scenario: &'a Scenario, commands: UnboundedSender<Command>) -> Self {
        let targets = &scenario.config.targets;
        let conditions = Conditions::new(scenario);
        let host = |address| (address, Host::new(address, &scenario.responder, scenario.seed));
        let link = |(target, seed): (&Arc<Target>, u64)| {
            let path = scenario.path(&target.name);
            (Link::new(&path.forward, 2 * seed), Link::new(&path.backward, 2 * seed + 1))
        };
        let port = |family| {
            let room = scenario.probe.receive_queue.unwrap_or(usize::MAX);
            conditions.has(family).then(|| Port::new(room))
        };
        let mut world = Self {
            scenario,
            targets,
            now: START,
            queue: BTreeMap::new(),
            planned: 0,
            ports: Family::ALL.map(port),
            has_ended_watch: false,
            failing_watch: scenario.probe.watch_fails.clone(),
            received: Vec::new(),
            senders: Senders::new(scenario, &conditions),
            hosts: addresses(scenario).into_iter().map(host).collect(),
            links: targets.iter().zip(scenario.seed * 1_000..).map(link).collect(),
            last_sent: vec![Vec::new(); targets.len()],
            stamps: ChaCha8Rng::seed_from_u64(scenario.seed),
            conditions,
            commands: Some(commands),
            commanded: None,
            asked: BTreeMap::new(),
            questions: 0,
            orders: Vec::new(),
            notes: Notes::default(),
        };
        world.plan_scenario();
        world
    }

    /// Jumps to the next round, after one that said how to go on; false where nothing happens any
    /// more.
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
            self.ports.iter_mut().flatten().for_each(Port::woken);
        }
        let orders = carried_out(std::mem::take(&mut self.orders));
        for order in &orders {
            if let Order::Lookup(_, target, found) = order {
                self.senders.look_up(*target, found, &self.conditions);
            }
        }
        self.notes = Notes { began: self.now, earliest, orders, ..Notes::default() };
        true
    }

    /// What the round was shown since [`wait`](Self::wait), and whether a watch failed in it.
    pub(crate) fn finish(&mut self) -> (Round, bool) {
        let notes = std::mem::take(&mut self.notes);
        let Notes { began, earliest, mut orders, clock, unread, inputs, attempts, watch_failed } =
            notes;
        // It has taken all commands that had come by then.
        self.commanded = None;
        assert!(unread.is_empty(), "the clock is read after every batch");
        let mut clock = clock.into_iter();
        for order in &mut orders {
            if let Order::Look(.., at) = order {
                *at = clock.next().expect("every look reads the clock");
            }
        }
        let at = clock.next().expect("every round reads the clock");
        let leaving = clock.last().expect("and again before it sends");
        (Round { began, at, earliest, orders, inputs, attempts, leaving }, watch_failed)
    }

    /// How many heartbeats have been handed over in this round so far.
    pub(crate) fn attempts(&self) -> usize {
        self.notes.attempts.len()
    }

    /// Asks the worker something; the answer is one of those `asked` for.
    pub(crate) fn ask(&mut self, question: Question) -> u64 {
        let (command, asked) = match question {
            Question::Sample => {
                let (to, answer) = oneshot::channel();
                (Command::Sample(to), Asked::Sample(answer))
            }
            Question::Glance => {
                let (to, answer) = oneshot::channel();
                (Command::Glance(to), Asked::Glance(answer))
            }
            Question::Look => {
                let (to, answer) = oneshot::channel();
                // Every other one, the last first; and one that is not there.
                let looked: Vec<usize> = (0..self.targets.len()).rev().step_by(2).collect();
                let question = self.questions + 1;
                self.orders.push(Order::Look(question, looked.clone(), Moment::default()));
                let numbers = std::iter::once(self.targets.len()).chain(looked);
                (Command::Look(numbers.map(id).collect(), to), Asked::Look(answer))
            }
        };
        self.command(command);
        self.expect(asked)
    }

    /// Asks for a sample of which only the sums are looked at.
    pub(crate) fn ask_balance(&mut self) {
        let (to, answer) = oneshot::channel();
        self.command(Command::Sample(to));
        self.expect(Asked::Balance(answer));
    }

    /// Nobody commands the worker any more.
    pub(crate) fn leave(&mut self) {
        self.commands = None;
    }

    fn expect(&mut self, asked: Asked) -> u64 {
        self.questions += 1;
        self.asked.insert(self.questions, asked);
        self.questions
    }

    fn command(&mut self, command: Command) {
        let commands = self.commands.as_ref().expect("somebody commands");
        commands.send(command).expect("the worker is there");
        self.commanded.get_or_insert(self.now);
    }

    /// When a sleep until `until` ends; `None` where it never does.
    fn sleep(&mut self, until: Option<Mono>) -> Option<Mono> {
        loop {
            let edges = self.ports.iter().flatten().filter_map(Port::edge);
            if let Some(since) = edges.chain(self.commanded).min() {
                return Some(since);
            }
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            match (next, until) {
                (Some(at), until) if until.is_none_or(|until| at <= until) => self.advance(at),
                (_, until) => return until,
            }
        }
    }

    /// Everything happens that happens until `until`.
    fn advance(&mut self, until: Mono) {
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
        let Scenario { lasts, names, icmp, inject, scrapes, .. } = self.scenario;
        self.plan(START + lasts.0, Event::Stop);
        for checkpoint in 1..CHECKPOINTS {
            let at = START + lasts.0 * checkpoint / CHECKPOINTS;
            for question in [Question::Sample, Question::Glance, Question::Look] {
                self.plan(at, Event::Ask(question, None));
            }
        }
        for scrape in scrapes {
            let patience = scrape.patience.map(|patience| patience.0);
            self.plan(START + scrape.at.0, Event::Ask(scrape.asks, patience));
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
            self.plan(at, Event::Arrival(Delivered { at, from, payload, says, drops: None }));
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
                if let Some(port) = &mut self.ports[Family::of(delivered.from).index()] {
                    port.arrive(delivered);
                }
            }
            Event::Lookup(target, found) => {
                self.orders.push(Order::Lookup(self.now, target, found.clone()));
                let config::Host::Name(name) = &self.targets[target].address.host else {
                    panic!("an address is not looked up")
                };
                let name = name.as_str().into();
                self.command(Command::Resolved { name, addresses: found.into() });
            }
            Event::Icmp(about, target, kind) => {
                let quote = target.map(|target| self.last_sent[target].clone());
                let quote = quote.unwrap_or_default();
                // Who has sent nothing is quoted by nobody.
                let target = target.filter(|_| !quote.is_empty());
                let returned = Returned { about, kind, target, quote };
                if let Some(port) = &mut self.ports[Family::of(about).index()] {
                    port.notice(self.now, Pending::Icmp(returned));
                }
            }
            Event::Ask(question, patience) => {
                let question = self.ask(question);
                if let Some(patience) = patience {
                    self.plan(self.now + patience, Event::Leave(question));
                }
            }
            Event::Leave(question) => {
                self.asked.remove(&question);
            }
            Event::Stop => {
                self.orders.push(Order::Stop);
                self.command(Command::Stop);
                let (to, answer) = oneshot::channel();
                self.command(Command::Settle(to));
                self.expect(Asked::Settle(answer));
            }
        }
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
        for (at, copy) in backward.carry(self.now, reply) {
            let says = self.meaning(&copy);
            let (from, payload) = (copy.peer, copy.payload);
            self.plan(at, Event::Arrival(Delivered { at, from, payload, says, drops: None }));
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

    /// A heartbeat leaves; gives the id of its transmit timestamp.
    fn depart(&mut self, peer: SocketAddr, payload: Vec<u8>, target: usize, sequence: u64) -> u32 {
        let probe = &self.scenario.probe;
        let leaves = self.now + self.conditions.send_latency;
        let port = self.ports[Family::of(peer).index()].as_mut().expect("a socket");
        let id = port.take_id();
        if probe.transmit_stamps && !draws(&mut self.stamps, probe.stamps_lost) {
            let late = draws(&mut self.stamps, probe.stamps_late);
            let comes = if late { leaves + probe.stamps_late_by.0 } else { leaves };
            let at = self.conditions.clock.wall(leaves);
            port.notice(comes, Pending::Transmitted { id, at, target, sequence });
        }
        self.last_sent[target].clone_from(&payload);
        let parcel = Parcel {
            target,
            sequence,
            peer,
            payload,
            damaged: false,
            travelled: Duration::ZERO,
            received: Wall::default(),
        };
        let (forward, _) = &mut self.links[target];
        for (at, copy) in forward.carry(leaves, &parcel) {
            self.plan(at, Event::Request(copy));
        }
        id
    }
}

impl Machine for World<'_> {
    fn now(&mut self) -> Moment {
        self.advance(self.now + self.scenario.probe.clock_takes.0);
        let stamp = self.conditions.clock.stamp(self.now);
        self.notes.clock.push(stamp);
        let read = self.notes.unread.drain(..).map(|delivered| Input::Arrival(delivered, stamp));
        self.notes.inputs.extend(read);
        stamp
    }

    fn has(&self, family: Family) -> bool {
        self.conditions.has(family)
    }

    fn send(
        &mut self,
        family: Family,
        outbox: &mut Outbox,
        mut done: impl FnMut(usize, Result<u32, UnsentReason>),
    ) {
        let datagrams: Vec<(SocketAddr, Vec<u8>)> =
            outbox.iter().map(|(peer, payload)| (peer, payload.to_vec())).collect();
        outbox.clear();
        assert!(!datagrams.is_empty(), "an empty batch is sent");
        let leaving = self.conditions.clock.stamp(self.now);
        for (index, (peer, payload)) in datagrams.into_iter().enumerate() {
            assert_eq!(Family::of(peer), family, "sent to {peer}");
            let request = request::read(&payload).expect("a request");
            let target = self.senders.find(peer, &request);
            let sequence = u64::from(request.sequence);
            let refused = self.conditions.refusal(&self.targets[target], self.now);
            self.notes.attempts.push(Attempt { target, sequence, leaving, refused });
            done(
                index,
                match refused {
                    Some(reason) => Err(reason),
                    None => Ok(self.depart(peer, payload, target, sequence)),
                },
            );
        }
    }

    fn receive(&mut self, family: Family) -> usize {
        let port = self.ports[family.index()].as_mut().expect("a socket");
        self.received = port.read();
        self.notes.unread.extend(self.received.iter().cloned());
        self.received.len()
    }

    fn received(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.received.iter().map(|delivered| Datagram {
            peer: delivered.from,
            local: None,
            to_group: false,
            payload: &delivered.payload,
            truncated: false,
            received: self
                .conditions
                .has_receive_stamps
                .then(|| self.conditions.clock.wall(delivered.at)),
            ttl: Some(TTL),
            drops: delivered.drops,
        })
    }

    fn read_notices(&mut self, family: Family, mut each: impl FnMut(Notice<'_>)) {
        let port = self.ports[family.index()].as_mut().expect("a socket");
        for pending in port.read_notices(self.now) {
            let input = match pending {
                Pending::Transmitted { id, at, target, sequence } => {
                    each(Notice::Transmitted { id, at });
                    Input::Transmitted { target, sequence }
                }
                Pending::Icmp(returned) => {
                    let quote = returned.quote.as_slice().into();
                    each(Notice::Icmp { peer: returned.about, kind: returned.kind, quote });
                    Input::Icmp(returned)
                }
            };
            self.notes.inputs.push(input);
        }
    }

    fn watch(&mut self) -> bool {
        let fails = |window: &Window| window.after(START).contains(&self.now);
        if self.failing_watch.iter().any(fails) {
            self.notes.watch_failed = true;
            return false;
        }
        self.ports.iter_mut().flatten().for_each(|port| port.watch(self.now));
        true
    }

    fn stop_watching(&mut self) {
        self.has_ended_watch = true;
        self.ports.iter_mut().flatten().for_each(Port::stop_watching);
    }
}

/// Orders that are carried out in one round, in their order: targets get the addresses of their
/// names last, and the newest answer about a name replaces those before it.
fn carried_out(orders: Vec<Order>) -> Vec<Order> {
    let mut newest = BTreeMap::new();
    let mut carried_out = Vec::new();
    for order in orders {
        if let Order::Lookup(_, target, _) = order {
            newest.insert(target, order);
        } else {
            carried_out.push(order);
        }
    }
    carried_out.extend(newest.into_values());
    carried_out
}

/// The identity of the target at this place in the scenario.
pub(crate) fn id(number: usize) -> TargetId {
    TargetId::first(u32::try_from(number).expect("few targets"))
}

/// Whether something of this probability happens; nothing is drawn where it never does.
fn draws(rng: &mut impl Rng, probability: f64) -> bool {
    probability > 0.0 && rng.random_bool(probability)
}

/// Every address at which any target is at any time.
fn addresses(scenario: &Scenario) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for target in &scenario.config.targets {
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
