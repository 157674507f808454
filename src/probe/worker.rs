//! The pipeline: one thread's targets on its own sockets.
//!
//! A [`Worker`] goes round: read what has arrived, send what is due, tell what happened, and sleep
//! until there is more to do. It owns its sockets and its [`Fleet`] alone; nothing on the way of a
//! heartbeat is shared or locked. What others want of it comes as [`Command`]s between two rounds.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::model::{Mono, Stamp, TargetId, UnsentReason};
use crate::net::{self, Alarm, Inbox};
use crate::observe::{TargetGlance, TargetSample};

use super::applying::{Applying, reachable_first};
use super::command::{Command, WorkerGlance, WorkerSample};
use super::event::Event;
use super::fleet::Fleet;
use super::gathering::Gathering;
use super::lane::{Lane, Moved};
use super::timeline::Timeline;

/// How many commands are looked at in one round, most of which are answers about names.
const COMMANDS_PER_ROUND: usize = 256;

/// How many changes of targets are carried out in one round: some microseconds each.
const CHANGES_PER_ROUND: usize = 64;

/// How many targets are given the addresses of their names in one round: less than a microsecond
/// each.
const ADDRESSES_PER_ROUND: usize = 256;

/// How many targets are sampled for a scrape in one round.
const SAMPLED_PER_ROUND: usize = 256;

/// How many are glanced at for a page in one round: some tenths of a microsecond each.
const GLANCED_PER_ROUND: usize = 512;

/// How many batches are sent in one round before arrivals are looked at again.
const BATCHES_PER_ROUND: usize = 8;

/// How long a worker pauses after a busy round. Arrivals carry the kernel's stamps, so they can
/// wait, and what falls due leaves late by little more than this (the kernel's timer slack, 50 µs,
/// and the round itself); it makes batches of what would be a system call each.
const PAUSE: Duration = Duration::from_micros(200);

/// A round that moves this many datagrams is a busy one.
const BUSY: usize = 8;

/// After how many busy rounds in a row the kernel is asked to tell no more of what arrives: only
/// who sleeps need be told, and it costs at both ends of every datagram.
const STEADY: u32 = 64;

/// A thread's targets and sockets.
#[derive(Debug)]
pub(super) struct Worker {
    fleet: Fleet,
    lanes: Vec<Lane>,
    inbox: Inbox,
    timeline: Timeline,
    alarm: Alarm,
    /// Busy rounds in a row.
    busy: u32,
    commands: UnboundedReceiver<Command>,
    events: UnboundedSender<Event>,
    ready: Arc<AtomicBool>,
    applying: Applying,
    scrapes: Gathering<(TargetId, TargetSample), WorkerSample>,
    glances: Gathering<(TargetId, TargetGlance), WorkerGlance>,
    /// Who waits for everything to be settled.
    settling: Vec<oneshot::Sender<()>>,
}

impl Worker {
    /// A worker for `fleet` on `lanes`, at most one for each address family.
    pub(super) fn new(
        fleet: Fleet,
        applying: Applying,
        lanes: Vec<Lane>,
        commands: UnboundedReceiver<Command>,
        events: UnboundedSender<Event>,
        ready: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        Ok(Self {
            fleet,
            lanes,
            inbox: Inbox::new(),
            timeline: Timeline::new(net::now()),
            alarm: Alarm::new()?,
            busy: 0,
            commands,
            events,
            ready,
            applying,
            scrapes: Gathering::default(),
            glances: Gathering::default(),
            settling: Vec::new(),
        })
    }

    /// Goes round until nobody can send commands any more.
    pub(super) async fn run(mut self) {
        while self.take_commands() {
            let now = net::now();
            let changing = self.change_targets(now.mono);
            let received = self.receive(now);
            let sent = self.transmit(now);
            self.report();
            self.answer(now.mono);
            let asked = self.scrapes.is_under_way() || self.glances.is_under_way();
            if asked || changing || !sent.all {
                continue;
            }
            if received.datagrams + sent.datagrams >= BUSY {
                self.busy = self.busy.saturating_add(1);
                if self.busy == STEADY {
                    self.lanes.iter_mut().for_each(Lane::stop_watching);
                }
                // Of the whole thread: were the sockets watched meanwhile, as the runtime does,
                // every datagram would wake it.
                thread::sleep(PAUSE);
            } else {
                self.busy = 0;
                if received.all && !self.sleep().await {
                    return;
                }
            }
        }
    }

    /// Reads everything that arrived before `now`.
    fn receive(&mut self, now: Stamp) -> Moved {
        self.timeline.begin_round(now);
        let mut moved = Moved { datagrams: 0, all: true };
        let glance = self.busy.is_multiple_of(STEADY);
        for lane in self.lanes.iter_mut().filter(|lane| glance || !lane.is_unused()) {
            lane.read_notices(&mut self.fleet, now);
            let Moved { datagrams, all } =
                lane.receive(&mut self.inbox, &self.timeline, &mut self.fleet, now);
            moved.datagrams += datagrams;
            moved.all &= all;
        }
        moved
    }

    /// Sends what is due at `now`.
    fn transmit(&mut self, now: Stamp) -> Moved {
        let mut datagrams = 0;
        self.fleet.handle_timeout(now);
        for _ in 0..BATCHES_PER_ROUND {
            let leaving = net::now();
            let full = self.fill_batches(now, leaving);
            for lane in &mut self.lanes {
                datagrams += lane.send(&mut self.fleet, leaving);
            }
            if !full {
                return Moved { datagrams, all: true };
            }
        }
        Moved { datagrams, all: false }
    }

    /// Hands what is due at `now` to the lanes, and says whether it stopped because one is full.
    fn fill_batches(&mut self, now: Stamp, leaving: Stamp) -> bool {
        while let Some(transmit) = self.fleet.poll_transmit(now) {
            let Some(lane) = self.lanes.iter_mut().find(|lane| lane.carries(transmit.peer)) else {
                self.fleet.handle_unsent(transmit.ticket, UnsentReason::NoRoute, leaving);
                continue;
            };
            if lane.push(&transmit, leaving) {
                return true;
            }
        }
        false
    }

    /// Passes on what happened.
    fn report(&mut self) {
        while let Some(event) = self.fleet.poll_event() {
            // Nobody has to listen.
            let _ = self.events.send(event);
        }
        let is_asked = !self.ready.load(Ordering::Relaxed) && self.applying.is_done();
        if is_asked && self.fleet.poll_ready() {
            self.ready.store(true, Ordering::Relaxed);
        }
        if !self.settling.is_empty() && self.fleet.is_settled() {
            for done in self.settling.drain(..) {
                let _ = done.send(());
            }
        }
    }

    /// Samples and glances at some targets for those who wait.
    fn answer(&mut self, now: Mono) {
        let Self { fleet, lanes, scrapes, glances, .. } = self;
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
                receive_drops: lanes.iter().map(Lane::drops).sum(),
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

    /// Carries out what is asked, in order; false once nobody can ask any more.
    ///
    /// What changes the targets is only begun here, and nothing more is looked at until it is done:
    /// so whoever asks later is answered by the targets as they are then.
    fn take_commands(&mut self) -> bool {
        use tokio::sync::mpsc::error::TryRecvError;
        for _ in 0..COMMANDS_PER_ROUND {
            if self.applying.is_under_way() {
                break;
            }
            match self.commands.try_recv() {
                Ok(command) => self.carry_out(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    /// Goes on with what changes the targets; true while there is more to do.
    fn change_targets(&mut self, now: Mono) -> bool {
        let Self { fleet, lanes, applying, .. } = self;
        let carries = |address| lanes.iter().any(|lane| lane.carries(address));
        applying.proceed(CHANGES_PER_ROUND, fleet, now, carries);
        let more = fleet.pass_on_addresses(ADDRESSES_PER_ROUND);
        more || applying.is_under_way()
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Apply(orders, done) => {
                self.applying.begin(orders, done, &mut self.fleet, net::now().mono);
            }
            Command::Resolved { name, addresses } => {
                let lanes = &self.lanes;
                let carries = |address| lanes.iter().any(|lane| lane.carries(address));
                let addresses = reachable_first(&addresses, carries);
                self.fleet.handle_resolved(&name, addresses.into());
            }
            Command::Sample(to) => self.scrapes.ask(to),
            Command::Glance(to) => self.glances.ask(to),
            Command::Look(ids, to) => {
                let now = net::now();
                let looks = ids.iter().map(|&id| self.fleet.look(id, now));
                // Whoever asked may have left.
                let _ = to.send(looks.collect());
            }
            Command::Stop => self.fleet.stop(),
            Command::Settle(done) => self.settling.push(done),
        }
    }

    /// Sleeps until something arrives or falls due. False once nobody can send commands any more.
    async fn sleep(&mut self) -> bool {
        let Self { fleet, lanes, alarm, commands, .. } = self;
        // The kernel takes every time there is, and has nearly always a watch to give; where it does
        // not, a pause takes the place of sleep.
        let watched = lanes.iter_mut().all(Lane::watch);
        if !watched || alarm.set(fleet.poll_timeout()).is_err() {
            thread::sleep(PAUSE);
            return true;
        }
        let woken = poll_fn(|context| {
            // All are asked, so that each wakes the task.
            let mut woken = alarm.poll(context).is_ready();
            for lane in lanes.iter() {
                woken |= lane.poll_readable(context).is_ready();
            }
            if woken { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => self.carry_out(command),
                None => return false,
            },
            () = woken => {}
        }
        true
    }
}
