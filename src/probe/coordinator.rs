//! The running probe: it knows which worker has which target, and changes the targets.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::config::{Config, Host, Target};
use crate::model::Wall;
use crate::net;
use crate::observe::Unavailable;

use super::command::{Command, Order};
use super::crew::Hand;
use super::error::{ApplyError, StartError};
use super::event::Event;
use super::names::Names;
use super::options::RunOptions;
use super::placement;
use super::roster::{Applied, Preview, Roster, Succession};
use super::sockets::charge;

/// How long new names are awaited, so that the first heartbeats of their targets have addresses.
#[cfg(not(test))]
const FIRST_LOOKUP: Duration = Duration::from_secs(2);

/// So long that tests do not depend on a fast machine.
#[cfg(test)]
const FIRST_LOOKUP: Duration = Duration::from_secs(60);

/// A running probe. When it is dropped, its workers end.
#[derive(Debug)]
pub struct Probe {
    pub(super) crew: Vec<Hand>,
    state: Mutex<State>,
    names: Names,
    /// Locked while a configuration waits for its names, so that configurations are applied in the
    /// order of the calls.
    turn: tokio::sync::Mutex<()>,
}

/// The present targets.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) roster: Arc<Roster>,
    /// When the configuration in force was loaded.
    pub(super) loaded_at: Wall,
    /// Whether a newer configuration could not be loaded.
    pub(super) has_failed: bool,
}

impl Probe {
    /// Starts to send heartbeats to every target of `config`. Must be called within a tokio
    /// runtime, which looks up the names.
    ///
    /// # Errors
    /// If no socket or no thread can be created, or the names of the targets are not unique.
    pub async fn start(
        config: Config,
        options: RunOptions,
    ) -> Result<(Self, UnboundedReceiver<Event>), StartError> {
        let (events, happenings) = unbounded_channel();
        let mut loads = vec![0.0; options.workers.get()];
        for target in &config.targets {
            let worker = placement::worker(&target.name, options.workers);
            let charge = charge(target.protocol.padded_size().into());
            loads[worker] += charge / target.interval.as_secs_f64();
        }
        let (lookups, wanted) = unbounded_channel();
        let reports = (events, lookups);
        let start = |&load| Hand::start(load, &config.rtt_buckets, &options, reports.clone());
        let crew = loads.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let names = Names::new(crew.iter().map(|hand| hand.commands.clone()).collect(), wanted);
        let roster = Arc::new(Roster::new(options.workers));
        let state = Mutex::new(State { roster, loaded_at: net::now().wall, has_failed: false });
        let probe = Self { crew, state, names, turn: tokio::sync::Mutex::default() };
        // The workers carry this out before any later command.
        let _ = probe.prepare(&config).await?;
        Ok((probe, happenings))
    }

    /// Probes the targets of `wanted` from now on. Returns when all workers do so.
    ///
    /// Names without an answer are awaited first, for at most two seconds, so that a target with a
    /// new name does not begin with misses. The present targets continue meanwhile.
    ///
    /// Targets are identified by their names. An unchanged target is not touched. A target with
    /// other settings keeps its counters and its heartbeats in flight. A target with another
    /// protocol starts with new counters. Only targets change: the buckets of `wanted` have no
    /// effect, and socket buffers keep their sizes.
    ///
    /// # Errors
    /// If the names of the targets are not unique (nothing has been changed then), or a worker has
    /// ended.
    pub async fn apply(&self, wanted: Config) -> Result<Applied, ApplyError> {
        let (applied, done) = self.prepare(&wanted).await?;
        for done in done {
            done.await.map_err(|_| Unavailable)?;
        }
        Ok(applied)
    }

    /// What [`apply`](Self::apply) would change.
    ///
    /// # Errors
    /// If the names of the targets are not unique.
    pub fn preview(&self, wanted: &Config) -> Result<Preview, ApplyError> {
        Ok(self.state().roster.preview(&wanted.targets)?)
    }

    /// A configuration could not be loaded: the one in force stays. The figures say so until the next
    /// [`apply`](Self::apply).
    pub fn note_failed_reload(&self) {
        self.lock().has_failed = true;
    }

    /// Looks up new names, and then [commits](Self::commit) the targets of `wanted`.
    async fn prepare(
        &self,
        wanted: &Config,
    ) -> Result<(Applied, Vec<oneshot::Receiver<()>>), ApplyError> {
        let _turn = self.turn.lock().await;
        let hosts: BTreeSet<_> = wanted.targets.iter().filter_map(|target| name(target)).collect();
        let _looked_up = self.names.look_up(hosts, FIRST_LOOKUP).await;
        self.commit(wanted)
    }

    /// Orders the workers to probe the targets of `wanted`. Each receiver reports when its worker
    /// has done so.
    fn commit(&self, wanted: &Config) -> Result<(Applied, Vec<oneshot::Receiver<()>>), ApplyError> {
        let mut state = self.lock();
        if self.crew.iter().any(|hand| hand.commands.is_closed()) {
            return Err(Unavailable.into());
        }
        let Succession { roster, mut orders, leaving, applied } =
            state.roster.succession(&wanted.targets)?;
        // Locked until the orders are sent: an answer from now on is newer than the addresses in
        // the orders, and must arrive after them.
        let mut book = self.names.book();
        for (worker, orders) in orders.iter_mut().enumerate() {
            for order in orders {
                let (Order::Add(_, addressed) | Order::Retune(_, addressed)) = order else {
                    continue;
                };
                if let Some(name) = name(&addressed.target) {
                    addressed.found = book.join(name, worker);
                }
            }
        }
        // Last, so that a name that moves from one target to another stays known.
        for (worker, target) in &leaving {
            if let Some(name) = name(target) {
                book.leave(name, *worker);
            }
        }
        let mut all = Vec::new();
        for (hand, orders) in self.crew.iter().zip(orders) {
            let (to, done) = oneshot::channel();
            // If the worker has just ended, `done` ends with an error.
            let _ = hand.commands.send(Command::Apply(orders, to));
            all.push(done);
        }
        *state = State { roster: Arc::new(roster), loaded_at: net::now().wall, has_failed: false };
        Ok((applied, all))
    }

    /// The present targets.
    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is only replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the first heartbeat of every target that can be resolved has been settled. Once
    /// true, it stays true when targets are added.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.crew.iter().all(Hand::is_ready)
    }

    /// Stops sending, and waits until all heartbeats in flight are settled: at most for the longest
    /// timeout. The figures can still be sampled.
    pub async fn stop(&self) {
        for hand in &self.crew {
            // A worker that has ended sends nothing more.
            let _ = hand.commands.send(Command::Stop);
        }
        self.settled().await;
    }

    /// Waits until no target has anything due or in flight: after [`stop`](Self::stop), or when all
    /// have reached their [`RunOptions::limit`].
    pub async fn settled(&self) {
        for hand in &self.crew {
            let (done, settled) = oneshot::channel();
            if hand.commands.send(Command::Settle(done)).is_ok() {
                // An error means that the worker has ended.
                let _ = settled.await;
            }
        }
    }
}

/// The name to look up for a target.
fn name(target: &Target) -> Option<&str> {
    match &target.address.host {
        Host::Name(name) => Some(name),
        Host::Ip(_) => None,
    }
}
