//! The running probe: it knows which worker has which target, and asks and changes them.

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
use super::roster::{Applied, Roster, Succession};

/// How long the start waits for names, so that the first heartbeats find their way.
const FIRST_LOOKUP: Duration = Duration::from_secs(2);

/// A running probe. When it is dropped, its workers end.
#[derive(Debug)]
pub struct Probe {
    pub(super) crew: Vec<Hand>,
    state: Mutex<State>,
    names: Names,
}

/// What is probed at present.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) roster: Arc<Roster>,
    /// When the configuration in force was loaded.
    pub(super) loaded_at: Wall,
}

impl Probe {
    /// Starts to send heartbeats to every target of `config`; to be called within a tokio runtime,
    /// which looks the names up.
    ///
    /// # Errors
    /// Where the machine gives no socket or no thread, or the names of targets are not unique.
    pub async fn start(
        config: Config,
        options: RunOptions,
    ) -> Result<(Self, UnboundedReceiver<Event>), StartError> {
        let (events, happenings) = unbounded_channel();
        let mut rates = vec![0.0; options.workers.get()];
        for target in &config.targets {
            let worker = placement::worker(&target.name, options.workers);
            rates[worker] += target.interval.as_secs_f64().recip();
        }
        let start = |&rate| Hand::start(rate, &config.rtt_buckets, &options, events.clone());
        let crew = rates.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let names = Names::new(crew.iter().map(|hand| hand.commands.clone()).collect());
        let hosts: BTreeSet<_> = config.targets.iter().filter_map(|target| name(target)).collect();
        names.look_up(hosts, FIRST_LOOKUP).await;

        let roster = Arc::new(Roster::new(options.workers));
        let state = Mutex::new(State { roster, loaded_at: net::now().wall });
        let probe = Self { crew, state, names };
        // The workers carry it out before whatever they are asked next.
        let _ = probe.commit(&config)?;
        Ok((probe, happenings))
    }

    /// Probes the targets of `wanted` from now on; done when all workers do so.
    ///
    /// Targets are known by their names. One that is the same as before is not touched; one with
    /// other settings keeps its counters and what is in flight; one with another protocol begins
    /// anew. Everything else stays as it was at the start: the buckets of `wanted` have no effect,
    /// nor do sockets get larger buffers.
    ///
    /// # Errors
    /// Where the names of the targets are not unique: nothing has been changed then. Where a worker
    /// has ended.
    pub async fn apply(&self, wanted: Config) -> Result<Applied, ApplyError> {
        let (applied, done) = self.commit(&wanted)?;
        for done in done {
            done.await.map_err(|_| Unavailable)?;
        }
        Ok(applied)
    }

    /// Orders the workers to probe the targets of `wanted`, and tells when each has done so.
    ///
    /// Whoever else does the same waits meanwhile.
    fn commit(&self, wanted: &Config) -> Result<(Applied, Vec<oneshot::Receiver<()>>), ApplyError> {
        let mut state = self.lock();
        if self.crew.iter().any(|hand| hand.commands.is_closed()) {
            return Err(Unavailable.into());
        }
        let Succession { roster, mut orders, leaving, applied } =
            state.roster.succession(&wanted.targets)?;
        // Locked until the orders are sent: an answer that comes meanwhile is newer than what they
        // say, and must arrive after them.
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
        // Last, so that a name that one target takes over from another stays known.
        for (worker, target) in &leaving {
            if let Some(name) = name(target) {
                book.leave(name, *worker);
            }
        }
        let mut all = Vec::new();
        for (hand, orders) in self.crew.iter().zip(orders) {
            let (to, done) = oneshot::channel();
            // Where a worker ends just now, nobody will say that this is done.
            let _ = hand.commands.send(Command::Apply(orders, to));
            all.push(done);
        }
        *state = State { roster: Arc::new(roster), loaded_at: net::now().wall };
        Ok((applied, all))
    }

    /// What is probed at present.
    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // It is replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the first heartbeat of every target that can be resolved has been settled, of those
    /// that were there at the start.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.crew.iter().all(Hand::is_ready)
    }

    /// Sends nothing more, and waits until all that is in flight has been settled: at most the
    /// longest timeout. The figures can still be sampled.
    pub async fn stop(&self) {
        for hand in &self.crew {
            // A worker that has ended sends nothing more.
            let _ = hand.commands.send(Command::Stop);
        }
        self.settled().await;
    }

    /// Waits until no target has anything due or in flight: after [`stop`](Self::stop), or once
    /// all have come to their [`RunOptions::limit`].
    pub async fn settled(&self) {
        for hand in &self.crew {
            let (done, settled) = oneshot::channel();
            if hand.commands.send(Command::Settle(done)).is_ok() {
                // The worker says so, or has ended.
                let _ = settled.await;
            }
        }
    }
}

/// The name that is to be looked up for a target.
fn name(target: &Target) -> Option<&str> {
    match &target.address.host {
        Host::Name(name) => Some(name),
        Host::Ip(_) => None,
    }
}
