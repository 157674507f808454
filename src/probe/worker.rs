//! The round of a worker, which probes the targets of one thread.
//!
//! In each [round](Worker::round), a [`Worker`] carries out commands, reads what has arrived, sends
//! what is due, reports what happened, and returns how to continue. The round is a synchronous
//! function: it never waits, and it reaches time and network through a [`Machine`] only. The worker
//! owns its [`Fleet`]; no heartbeat needs shared data or a lock. Other threads send it
//! [`Command`]s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::model::{Moment, Mono, TargetId, UnsentReason};
use crate::net::Egress;
use crate::observe::{TargetGlance, TargetSample};

use super::applying::Applying;
use super::command::{Command, WorkerGlance, WorkerSample};
use super::detour::Wanted;
use super::egress::egress;
use super::event::Event;
use super::fleet::Fleet;
use super::fresh_ports::FreshPorts;
use super::gathering::Gathering;
use super::lane::{Lane, Moved};
use super::machine::{Family, Machine, SocketId, SourcePort};
use super::options::Begin;
use super::timeline::Timeline;
use super::transmit::Transmit;

/// Maximum number of commands in one round; most are answers about names.
const COMMANDS_PER_ROUND: usize = 256;

/// Maximum number of changes of targets in one round: some microseconds each.
const CHANGES_PER_ROUND: usize = 64;

/// Maximum number of targets that receive the addresses of their names in one round: less than a
/// microsecond each.
const ADDRESSES_PER_ROUND: usize = 256;

/// Maximum number of targets that are sampled for a scrape in one round.
const SAMPLED_PER_ROUND: usize = 256;

/// Maximum number of targets that are glanced at for a page in one round: some tenths of a
/// microsecond each.
const GLANCED_PER_ROUND: usize = 512;

/// Maximum number of batches that are sent in one round, before arrivals are read again.
const BATCHES_PER_ROUND: usize = 8;

/// How long a worker pauses after a busy round, so that datagrams share system calls. Arrivals can
/// wait, as they carry the kernel's stamps. Heartbeats that fall due meanwhile leave late by at
/// most this pause, the kernel's timer slack of 50 µs, and the round itself.
pub const PAUSE: Duration = Duration::from_micros(200);

/// A round that moves at least this many datagrams is a busy one.
pub const BUSY: usize = 8;

/// Busy rounds in a row after which the sockets are no longer watched: only a worker that sleeps
/// needs the watch, and it costs time for every datagram sent or received.
const STEADY: u32 = 64;

/// How to continue after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next round begins at once.
    Again,
    /// The next round begins after a [`PAUSE`], whatever arrives meanwhile.
    Pause,
    /// The next round begins when a datagram arrives on a watched socket, when a command comes, or
    /// at this moment, if there is one.
    Sleep(Option<Mono>),
    /// There is no next round, because the command channel is closed.
    End,
}

/// The targets of a thread, and the state of its sockets.
#[derive(Debug)]
pub struct Worker {
    fleet: Fleet,
    lanes: Vec<Lane>,
    /// By family: the additional sockets.
    fresh_ports: [FreshPorts; Family::ALL.len()],
    /// How many additional sockets have been opened.
    opened: u64,
    /// Datagrams that the kernel dropped on additional sockets that are closed.
    closed_drops: u64,
    timeline: Timeline,
    /// Busy rounds in a row.
    busy: u32,
    commands: UnboundedReceiver<Command>,
    events: UnboundedSender<Event>,
    lookups: UnboundedSender<Arc<str>>,
    ready: Arc<AtomicBool>,
    /// Whether it was told to send nothing more.
    is_stopping: bool,
    applying: Applying,
    scrapes: Gathering<(TargetId, TargetSample), WorkerSample>,
    glances: Gathering<(TargetId, TargetGlance), WorkerGlance>,
    /// Requests to report when everything is settled.
    settling: Vec<oneshot::Sender<()>>,
}

impl Worker {
    /// A worker for `fleet` on the sockets of `machine`. `begin` says when the heartbeats of added
    /// targets begin. The worker sends events to `events`, and to `lookups` the names that are to be
    /// looked up at once, each at most once until it is [resolved](Command::Resolved). It sets
    /// `ready` when the first changes
    /// have been carried out and every target that can be resolved has had its first heartbeat
    /// settled, unless it is stopping by then.
    pub fn new(
        fleet: Fleet,
        begin: Begin,
        machine: &mut impl Machine,
        commands: UnboundedReceiver<Command>,
        (events, lookups): (UnboundedSender<Event>, UnboundedSender<Arc<str>>),
        ready: Arc<AtomicBool>,
    ) -> Self {
        let families = Family::ALL.into_iter().filter(|&family| machine.has(family));
        Self {
            fleet,
            lanes: families.map(|family| Lane::new(SocketId::usual(family))).collect(),
            fresh_ports: Default::default(),
            opened: 0,
            closed_drops: 0,
            timeline: Timeline::new(machine.now()),
            busy: 0,
            commands,
            events,
            lookups,
            ready,
            is_stopping: false,
            applying: Applying::new(begin),
            scrapes: Gathering::default(),
            glances: Gathering::default(),
            settling: Vec::new(),
        }
    }

    /// One round on `machine`, which must be the same in every round.
    pub fn round<M: Machine>(&mut self, machine: &mut M) -> Next {
        if !self.take_commands(machine) {
            return Next::End;
        }
        let now = machine.now();
        let is_changing = self.change_targets(machine, now);
        let received = self.receive(machine, now);
        let sent = self.transmit(machine, now);
        self.close_idle_ports(machine, now.mono);
        self.report();
        self.answer(now.mono);
        self.next(machine, received, sent, is_changing)
    }

    /// The channel of the commands, which also end a [sleep](Next::Sleep).
    pub fn commands(&mut self) -> &mut UnboundedReceiver<Command> {
        &mut self.commands
    }

    /// Carries out a command between two rounds.
    pub fn carry_out(&mut self, command: Command, machine: &mut impl Machine) {
        match command {
            Command::Apply(orders, done) => {
                self.applying.begin(orders, done, &mut self.fleet, machine.now().mono);
            }
            Command::Resolved { name, found } => {
                let carries = |address| machine.has(Family::of(address));
                self.fleet.handle_resolved(&name, found.sorted(carries));
            }
            Command::Sample(to) => self.scrapes.ask(to),
            Command::Glance(to) => self.glances.ask(to),
            Command::Look(ids, to) => {
                let now = machine.now();
                let looks = ids.iter().map(|&id| self.fleet.look(id, now));
                // The client may be gone.
                let _ = to.send(looks.collect());
            }
            Command::Health(to) => {
                let _ = to.send(self.fleet.health(machine.now().mono));
            }
            Command::Stop => {
                self.is_stopping = true;
                self.fleet.stop();
            }
            Command::Settle(done) => self.settling.push(done),
        }
    }

    /// Carries out the commands that wait, in order; false if the channel is closed.
    ///
    /// A change of the targets only begins here, and no further command is carried out until it is
    /// done: a later query sees the changed targets.
    fn take_commands(&mut self, machine: &mut impl Machine) -> bool {
        use tokio::sync::mpsc::error::TryRecvError;
        for _ in 0..COMMANDS_PER_ROUND {
            if self.applying.is_under_way() {
                break;
            }
            match self.commands.try_recv() {
                Ok(command) => self.carry_out(command, machine),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    /// Continues the changes of targets and addresses; true while there is more to do.
    fn change_targets(&mut self, machine: &impl Machine, now: Moment) -> bool {
        let carries = |address| machine.has(Family::of(address));
        self.applying.proceed(CHANGES_PER_ROUND, &mut self.fleet, now, carries);
        let more = self.fleet.pass_on_addresses(ADDRESSES_PER_ROUND, now);
        // Routes come last, after all address changes: names may have swapped their addresses.
        more || self.applying.is_under_way() || self.fleet.retry_routes(CHANGES_PER_ROUND)
    }

    /// Reads everything that arrived before `now`.
    fn receive(&mut self, machine: &mut impl Machine, now: Moment) -> Moved {
        self.timeline.begin_round(now);
        let mut moved = Moved { datagrams: 0, all: true };
        let glance = self.busy.is_multiple_of(STEADY);
        for lane in self.lanes.iter_mut().filter(|lane| glance || !lane.is_unused()) {
            lane.read_notices(machine, &mut self.fleet, now);
            let Moved { datagrams, all } =
                lane.receive(machine, &self.timeline, &mut self.fleet, now);
            moved.datagrams += datagrams;
            moved.all &= all;
        }
        moved
    }

    /// Sends what is due at `now`.
    fn transmit(&mut self, machine: &mut impl Machine, now: Moment) -> Moved {
        let mut datagrams = 0;
        self.fleet.handle_timeout(now);
        for _ in 0..BATCHES_PER_ROUND {
            let leaving = machine.now();
            let full = self.fill_batches(machine, now, leaving);
            for lane in &mut self.lanes {
                datagrams += lane.send(machine, &mut self.fleet, leaving);
            }
            if !full {
                return Moved { datagrams, all: true };
            }
        }
        Moved { datagrams, all: false }
    }

    /// Hands heartbeats that are due at `now` to the lanes. Returns whether it stopped because a
    /// lane is full.
    fn fill_batches(&mut self, machine: &mut impl Machine, now: Moment, leaving: Moment) -> bool {
        let accuracy = machine.clock_accuracy(now.mono);
        while let Some(transmit) = self.fleet.poll_transmit(now) {
            let socket = self.socket(&transmit, machine, now.mono);
            let Some(lane) = self.lanes.iter_mut().find(|lane| lane.socket() == socket) else {
                self.fleet.handle_unsent(transmit.ticket, UnsentReason::NoRoute, leaving);
                continue;
            };
            let egress = if transmit.has_packet_options {
                let packets = self.fleet.packet_options(&transmit);
                egress(&packets, transmit.peer, machine, now.mono)
            } else {
                Ok(Egress::default())
            };
            let egress = match egress {
                Ok(egress) => egress,
                Err(reason) => {
                    self.fleet.handle_unsent(transmit.ticket, reason, leaving);
                    continue;
                }
            };
            if lane.push(&self.fleet, &transmit, &egress, leaving, accuracy) {
                return true;
            }
        }
        false
    }

    /// The socket that a heartbeat leaves from at `now`. A fresh port is opened if one is wanted; if
    /// that is impossible, the usual one is used.
    fn socket(&mut self, transmit: &Transmit, machine: &mut impl Machine, now: Mono) -> SocketId {
        let usual = SocketId::usual(Family::of(transmit.peer));
        let SocketId { family, .. } = usual;
        if transmit.port == Wanted::Usual || !machine.has(family) {
            return usual;
        }
        let ports = &mut self.fresh_ports[family.index()];
        if ports.is_wanted(transmit.port == Wanted::New, now) {
            if machine.renew(family) {
                ports.opened(now);
                self.opened += 1;
                let fresh = SocketId { family, port: SourcePort::Fresh };
                let before = self.lanes.iter_mut().find(|lane| lane.socket() == fresh);
                before.into_iter().for_each(Lane::becomes_previous);
                self.lanes.push(Lane::new(fresh));
            } else {
                ports.failed(now);
            }
        }
        let is_open = ports.use_fresh(self.fleet.timeout(transmit), now);
        if is_open { SocketId { family, port: SourcePort::Fresh } } else { usual }
    }

    /// Closes the additional sockets on which nothing is awaited any more.
    fn close_idle_ports(&mut self, machine: &mut impl Machine, now: Mono) {
        for family in Family::ALL {
            while let Some(port) = self.fresh_ports[family.index()].next_idle(now) {
                let socket = SocketId { family, port };
                machine.close(socket);
                let closed = self.lanes.extract_if(.., |lane| lane.socket() == socket);
                self.closed_drops += closed.map(|lane| lane.drops()).sum::<u64>();
            }
        }
    }

    /// Reports events, names to look up, readiness, and that everything is settled.
    fn report(&mut self) {
        while let Some(name) = self.fleet.poll_lookup() {
            // Nobody looks names up any more if the probe ends.
            let _ = self.lookups.send(name);
        }
        while let Some(event) = self.fleet.poll_event() {
            // The receiver may be gone.
            let _ = self.events.send(event);
        }
        let is_asked =
            !self.is_stopping && !self.ready.load(Ordering::Relaxed) && self.applying.is_done();
        if is_asked && self.fleet.poll_ready() {
            self.ready.store(true, Ordering::Relaxed);
        }
        if !self.settling.is_empty() && self.fleet.is_settled() {
            for done in self.settling.drain(..) {
                let _ = done.send(());
            }
        }
    }

    /// Samples and glances at some targets for the requests that wait.
    fn answer(&mut self, now: Mono) {
        let Self { fleet, lanes, scrapes, glances, opened, closed_drops, .. } = self;
        scrapes.gather(
            fleet.slots(),
            SAMPLED_PER_ROUND,
            |slot| {
                let id = fleet.at_slot(slot)?;
                Some((id, fleet.sample(id, now)?))
            },
            |targets| WorkerSample {
                targets,
                schedule_lag: fleet.schedule_lag().clone(),
                timestamps: fleet.timestamps(),
                receive_drops: *closed_drops + lanes.iter().map(Lane::drops).sum::<u64>(),
                fresh_ports: *opened,
                unmatched: fleet.unmatched(),
                impaired: fleet.is_impaired(now),
            },
        );
        glances.gather(
            fleet.slots(),
            GLANCED_PER_ROUND,
            |slot| {
                let id = fleet.at_slot(slot)?;
                Some((id, fleet.glance(id, now)?))
            },
            |targets| WorkerGlance { targets, impaired: fleet.is_impaired(now) },
        );
    }

    /// How to continue after a round that has received and sent this much.
    fn next(
        &mut self,
        machine: &mut impl Machine,
        received: Moved,
        sent: Moved,
        is_changing: bool,
    ) -> Next {
        let asked = self.scrapes.is_under_way() || self.glances.is_under_way();
        if asked || is_changing || !sent.all || self.fleet.is_moving() {
            return Next::Again;
        }
        if received.datagrams + sent.datagrams >= BUSY {
            self.busy = self.busy.saturating_add(1);
            if self.busy == STEADY {
                machine.stop_watching();
            }
            return Next::Pause;
        }
        self.busy = 0;
        if !received.all {
            Next::Again
        } else if machine.watch() {
            let ports = self.fresh_ports.iter().filter_map(FreshPorts::poll_timeout);
            Next::Sleep(self.fleet.poll_timeout().into_iter().chain(ports).min())
        } else {
            Next::Pause
        }
    }
}
