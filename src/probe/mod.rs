//! The probe: sessions on real sockets.
//!
//! [`Probe::start`] takes a configuration and begins; [`Event`]s tell what happens, and
//! [`Probe::sample`] gives the figures of a moment. Inside, in the order of a heartbeat's way:
//!
//! - `worker`: the loop of one thread, the only place that reads a clock;
//! - [`Fleet`]: the targets of one worker and their agenda, pure;
//! - `routes`: from a datagram to the target it is for;
//! - `lane`: a socket, with what is to leave on it and what has arrived;
//! - `timeline`: kernel timestamps on the monotonic clock;
//! - `names`: name resolution, beside all this.

mod fleet;
mod lane;
mod names;
mod routes;
mod timeline;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::config::{Config, Host};
use crate::exposition::{ProbeSample, ProbeSource, Sampling, Unavailable};
use crate::model::{Label, StampSource, Wall};
use crate::net::{self, BindError};

use lane::{Family, Lane, LaneError};
use names::{Listener, Names};
use worker::{Command, Worker, WorkerSample};

pub use fleet::{Detail, Event, Fleet, Happening, Ticket, Transmit};
pub use timeline::Timeline;

/// How long the start waits for names, so that the first heartbeats find their way.
const FIRST_LOOKUP: Duration = Duration::from_secs(2);

/// How long a scrape waits for a worker.
const SAMPLE_PATIENCE: Duration = Duration::from_secs(5);

/// How a probe is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How much is told as [`Event`]s.
    pub detail: Detail,
    /// Every target stops after this many heartbeats.
    pub limit: Option<u64>,
}

/// A running probe. When it is dropped, its worker ends.
#[derive(Debug)]
pub struct Probe {
    worker: UnboundedSender<Command>,
    ready: Arc<AtomicBool>,
    config: Config,
    loaded_at: Wall,
    _names: Names,
}

/// A probe that could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket of either address family could be opened.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// The worker's thread or its runtime could not be made.
    #[error("cannot start the worker: {0}")]
    Worker(#[from] io::Error),
}

impl Probe {
    /// Starts to send heartbeats to every target of `config`; to be called within a tokio runtime,
    /// which looks the names up.
    ///
    /// # Errors
    /// Where the machine gives no socket or no thread.
    pub async fn start(
        config: Config,
        options: Options,
    ) -> Result<(Self, UnboundedReceiver<Event>), StartError> {
        let mut hosts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (number, target) in (0..).zip(&config.targets) {
            if let Host::Name(name) = &target.address.host {
                hosts.entry(name.clone()).or_default().push(number);
            }
        }
        let mut names = Names::look_up(hosts.keys().cloned(), FIRST_LOOKUP).await;

        let (worker, commands) = unbounded_channel();
        let (events, happenings) = unbounded_channel();
        let ready = Arc::new(AtomicBool::new(false));
        for (name, numbers) in hosts {
            if let Some(addresses) = names.first(&name) {
                for &number in &numbers {
                    let addresses = addresses.to_vec();
                    // The receiver is at hand, so this arrives.
                    let _ = worker.send(Command::Resolved { number, addresses });
                }
            }
            let listener = |number| Listener { worker: worker.clone(), number };
            names.follow(name, numbers.into_iter().map(listener).collect());
        }

        let mut fleet = Fleet::new(&config.rtt_buckets, options.detail);
        let now = net::now();
        for target in &config.targets {
            fleet.add(target.clone(), now.mono);
        }
        if let Some(heartbeats) = options.limit {
            fleet.limit(heartbeats);
        }
        spawn(fleet, commands, events, ready.clone())?;
        let probe = Self { worker, ready, config, loaded_at: now.wall, _names: names };
        Ok((probe, happenings))
    }

    /// The figures of this moment; each target's are consistent in themselves.
    ///
    /// # Errors
    /// [`Unavailable`] where the worker does not answer within five seconds.
    pub async fn sample(&self) -> Result<ProbeSample, Unavailable> {
        let (to, sample) = oneshot::channel();
        self.worker.send(Command::Sample(to)).map_err(|_| Unavailable)?;
        let sample = tokio::time::timeout(SAMPLE_PATIENCE, sample).await;
        Ok(self.whole(sample.ok().and_then(Result::ok).ok_or(Unavailable)?))
    }

    /// Whether the first heartbeat of every target that can be resolved has been settled.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Sends nothing more, and waits until all that is in flight has been settled: at most the
    /// longest timeout. The figures can still be sampled.
    pub async fn stop(&self) {
        // A worker that has ended sends nothing more.
        let _ = self.worker.send(Command::Stop);
        self.settled().await;
    }

    /// Waits until no target has anything due or in flight: after [`stop`](Self::stop), or once
    /// all have come to their [`Options::limit`].
    pub async fn settled(&self) {
        let (done, settled) = oneshot::channel();
        if self.worker.send(Command::Settle(done)).is_ok() {
            // The worker says so, or has ended.
            let _ = settled.await;
        }
    }

    fn whole(&self, sample: WorkerSample) -> ProbeSample {
        let mut timestamps = [0; StampSource::COUNT];
        for target in &sample.targets {
            for source in StampSource::ALL {
                timestamps[source.index()] += target.session.record.stamps[source.index()];
            }
        }
        let targets = &self.config.targets;
        ProbeSample {
            targets: sample.targets,
            label_names: targets.iter().flat_map(|t| t.labels.keys()).cloned().collect(),
            schedule_lag: sample.schedule_lag,
            receive_drops: sample.receive_drops,
            timestamps,
            unmatched: sample.unmatched,
            impaired: sample.impaired,
            config_loaded: true,
            config_loaded_at: self.loaded_at,
        }
    }
}

impl ProbeSource for Probe {
    fn sample(&self) -> Sampling<'_> {
        Box::pin(self.sample())
    }

    fn ready(&self) -> bool {
        self.is_ready()
    }
}

/// Starts the worker's thread, and waits until its sockets are open.
fn spawn(
    fleet: Fleet,
    commands: UnboundedReceiver<Command>,
    events: UnboundedSender<Event>,
    ready: Arc<AtomicBool>,
) -> Result<(), StartError> {
    let (opened, outcome) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new().name("worker".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(opened.send(Err(error.into()))),
        };
        runtime.block_on(async {
            let worker = open_lanes()
                .and_then(|lanes| Ok(Worker::new(fleet, lanes, commands, events, ready)?));
            match worker {
                Ok(worker) => {
                    drop(opened.send(Ok(())));
                    worker.run().await;
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
    })?;
    outcome.recv().unwrap_or_else(|gone| Err(io::Error::other(gone).into()))
}

/// Opens a lane for each address family that the machine has.
fn open_lanes() -> Result<Vec<Lane>, StartError> {
    let mut lanes = Vec::new();
    let mut refused = None;
    for family in [Family::V4, Family::V6] {
        match Lane::open(family) {
            Ok(lane) => lanes.push(lane),
            Err(LaneError::Bind(error)) => {
                tracing::info!(%error, "probing without this address family");
                refused = refused.or(Some(error));
            }
            Err(LaneError::Watch(error)) => return Err(error.into()),
        }
    }
    match refused {
        Some(error) if lanes.is_empty() => Err(error.into()),
        _ => Ok(lanes),
    }
}
