//! The probe: sessions on real sockets.
//!
//! [`Probe::start`] takes a configuration and begins; [`Event`]s tell what happens, and
//! [`Probe::sample`] gives the figures of a moment. Inside, in the order of a heartbeat's way:
//!
//! - `worker`: the loop of one thread, the only place that reads a clock;
//! - `command`: what is asked of it from other threads;
//! - `gathering`: what of that is about all targets, answered little by little;
//! - [`Fleet`]: the targets of one worker and their agenda, pure;
//! - `routes`: from a datagram to the target it is for;
//! - `lane`: a socket, with what is to leave on it and what has arrived;
//! - `awaited`: from a transmit timestamp to the heartbeat that it is of;
//! - `timeline`: kernel timestamps on the monotonic clock;
//! - `names`: name resolution, beside all this;
//! - `looking`: targets as pages show them, all at a glance or a few closely.

mod awaited;
mod command;
mod fleet;
mod gathering;
mod lane;
mod looking;
mod names;
mod routes;
mod timeline;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::config::{Config, Host, Target};
use crate::model::{StampSource, Wall};
use crate::net::{self, BindError};
use crate::observe::{
    Glancing, Looking, ProbeSample, ProbeSource, Sampling, TargetSample, Unavailable,
};

use command::{Command, WorkerSample};
use lane::{Family, Lane, LaneError};
use looking::Directory;
use names::{Listener, Names};
use worker::Worker;

pub use fleet::{Detail, Event, Fleet, Happening, Ticket, Transmit};
pub use timeline::Timeline;

/// How long the start waits for names, so that the first heartbeats find their way.
const FIRST_LOOKUP: Duration = Duration::from_secs(2);

/// How long it takes to add a target to a worker, rather more than less.
const ADDING: Duration = Duration::from_micros(5);

/// How long a scrape waits for a worker.
const SAMPLE_PATIENCE: Duration = Duration::from_secs(5);

/// How a probe is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How much is told as [`Event`]s.
    pub detail: Detail,
    /// When each target's first heartbeat is due.
    pub begin: Begin,
    /// Every target stops after this many heartbeats.
    pub limit: Option<u64>,
    /// On how many threads; each has its own sockets and its share of the targets.
    pub workers: NonZeroUsize,
}

/// When the first heartbeats are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Spread over each target's interval by its name, so that many targets are no burst.
    Spread,
    /// All at once.
    AtOnce,
}

/// A running probe. When it is dropped, its workers end.
#[derive(Debug)]
pub struct Probe {
    crew: Vec<Hand>,
    config: Config,
    directory: Directory,
    loaded_at: Wall,
    _names: Names,
}

/// A worker, as the rest of the program knows it.
#[derive(Debug)]
struct Hand {
    commands: UnboundedSender<Command>,
    ready: Arc<AtomicBool>,
    /// Its targets, by their places in the configuration; a target's number is its place here.
    share: Vec<usize>,
}

/// A probe that could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket of either address family could be opened.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// A worker's thread or its runtime could not be made.
    #[error("cannot start a worker")]
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
        let hosts = config.targets.iter().filter_map(|target| match &target.address.host {
            Host::Name(name) => Some(name.clone()),
            Host::Ip(_) => None,
        });
        let mut names = Names::look_up(hosts.collect::<BTreeSet<_>>(), FIRST_LOOKUP).await;

        let (events, happenings) = unbounded_channel();
        let mut crew = Vec::new();
        let mut listeners: BTreeMap<String, Vec<Listener>> = BTreeMap::new();
        for share in shares(&config, options.workers) {
            let (commands, orders) = unbounded_channel();
            let targets: Vec<Arc<Target>> =
                share.iter().map(|&place| config.targets[place].clone()).collect();
            for (number, target) in (0..).zip(&targets) {
                let Host::Name(name) = &target.address.host else { continue };
                if let Some(addresses) = names.first(name) {
                    let addresses = addresses.to_vec();
                    // The receiver is at hand, so this arrives, and before any heartbeat is due.
                    let _ = commands.send(Command::Resolved { number, addresses });
                }
                let listener = Listener { worker: commands.clone(), number };
                listeners.entry(name.clone()).or_default().push(listener);
            }
            let ready = Arc::new(AtomicBool::new(false));
            let rate = targets.iter().map(|target| rate(target)).sum();
            let rtt_buckets = config.rtt_buckets.clone();
            let fleet = move || fleet(targets, &rtt_buckets, options);
            spawn(fleet, rate, orders, events.clone(), ready.clone())?;
            crew.push(Hand { commands, ready, share });
        }
        for (name, listeners) in listeners {
            names.follow(name, listeners);
        }
        let shares = crew.iter().map(|hand: &Hand| hand.share.as_slice());
        let directory = Directory::new(&config.targets, shares);
        let loaded_at = net::now().wall;
        let probe = Self { crew, config, directory, loaded_at, _names: names };
        Ok((probe, happenings))
    }

    /// The figures of this moment; each target's are consistent in themselves.
    ///
    /// # Errors
    /// [`Unavailable`] where a worker does not answer within five seconds.
    pub async fn sample(&self) -> Result<ProbeSample, Unavailable> {
        self.whole(self.ask(Command::Sample).await?).ok_or(Unavailable)
    }

    /// Asks all workers the same, and gives their answers in the order of the crew.
    async fn ask<T>(
        &self,
        question: impl Fn(oneshot::Sender<T>) -> Command,
    ) -> Result<Vec<T>, Unavailable> {
        let mut asked = Vec::new();
        for hand in &self.crew {
            let (to, answer) = oneshot::channel();
            hand.commands.send(question(to)).map_err(|_| Unavailable)?;
            asked.push(answer);
        }
        let answers = async {
            let mut answers = Vec::new();
            for answer in asked {
                answers.push(answer.await.map_err(|_| Unavailable)?);
            }
            Ok(answers)
        };
        tokio::time::timeout(SAMPLE_PATIENCE, answers).await.map_err(|_| Unavailable)?
    }

    /// Whether the first heartbeat of every target that can be resolved has been settled.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.crew.iter().all(|hand| hand.ready.load(Ordering::Relaxed))
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
    /// all have come to their [`Options::limit`].
    pub async fn settled(&self) {
        for hand in &self.crew {
            let (done, settled) = oneshot::channel();
            if hand.commands.send(Command::Settle(done)).is_ok() {
                // The worker says so, or has ended.
                let _ = settled.await;
            }
        }
    }

    /// Puts the workers' samples together, the targets in the order of the configuration. `None`
    /// where one is missing.
    fn whole(&self, samples: Vec<WorkerSample>) -> Option<ProbeSample> {
        let configured = &self.config.targets;
        let mut samples = samples.into_iter().zip(&self.crew);
        let (first, hand) = samples.next()?;
        let mut whole = ProbeSample {
            targets: Vec::new(),
            label_names: configured.iter().flat_map(|t| t.labels.keys()).cloned().collect(),
            schedule_lag: first.schedule_lag,
            receive_drops: first.receive_drops,
            timestamps: [0; StampSource::COUNT],
            unmatched: first.unmatched,
            impaired: first.impaired,
            config_loaded: true,
            at: net::now().wall,
            config_loaded_at: self.loaded_at,
        };
        let mut targets: Vec<Option<TargetSample>> = vec![None; configured.len()];
        place(&mut targets, first.targets, hand);
        for (sample, hand) in samples {
            place(&mut targets, sample.targets, hand);
            whole.schedule_lag.merge(&sample.schedule_lag);
            whole.receive_drops += sample.receive_drops;
            whole.impaired |= sample.impaired;
            add(&mut whole.unmatched, &sample.unmatched);
        }
        whole.targets = targets.into_iter().collect::<Option<_>>()?;
        for target in &whole.targets {
            add(&mut whole.timestamps, &target.session.record.stamps);
        }
        Some(whole)
    }
}

/// Puts a worker's targets where the configuration has them.
fn place(targets: &mut [Option<TargetSample>], sampled: Vec<TargetSample>, hand: &Hand) {
    for (target, &place) in sampled.into_iter().zip(&hand.share) {
        targets[place] = Some(target);
    }
}

fn add(sums: &mut [u64], counts: &[u64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}

/// Shares the targets out by a hash of their names: the places of each worker's in the
/// configuration. A worker may have none.
///
/// Each share is in the order in which targets of the same interval fall due ([`phase`]), so that
/// a worker goes through their memory from one end to the other, which processors are good at.
fn shares(config: &Config, workers: NonZeroUsize) -> Vec<Vec<usize>> {
    let mut shares = vec![Vec::new(); workers.get()];
    let mut places: Vec<(u64, usize)> =
        config.targets.iter().map(|target| digest(&target.name)).zip(0..).collect();
    places.sort_unstable();
    for (digest, place) in places {
        let share = digest % workers.get() as u64;
        shares[usize::try_from(share).unwrap_or(0)].push(place);
    }
    shares
}

/// Heartbeats a second.
fn rate(target: &Target) -> f64 {
    target.interval.as_secs_f64().recip()
}

/// A part of `interval` that depends on `name` alone; over many names, all are equally likely.
fn phase(name: &str, interval: Duration) -> Duration {
    // The upper bits decide, which leaves the lower ones to the sharing-out: each worker's targets
    // are spread over the whole interval.
    let part = (u128::from(digest(name)) * interval.as_nanos()) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

/// The same number for the same name in every run of a build.
fn digest(name: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl ProbeSource for Probe {
    fn sample(&self) -> Sampling<'_> {
        Box::pin(self.sample())
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.directory.find(&self.config.targets, name)
    }

    fn glance(&self) -> Glancing<'_> {
        Box::pin(self.glance())
    }

    fn look(&self, places: Vec<usize>) -> Looking<'_> {
        Box::pin(self.look(places))
    }

    fn ready(&self) -> bool {
        self.is_ready()
    }
}

/// The fleet of `targets`, whose heartbeats begin now.
fn fleet(targets: Vec<Arc<Target>>, rtt_buckets: &[f64], options: Options) -> Fleet {
    let mut fleet = Fleet::new(rtt_buckets, options.detail);
    // The first heartbeat falls due when the last target has been added, not before.
    let adding = ADDING.saturating_mul(u32::try_from(targets.len()).unwrap_or(u32::MAX));
    let start = net::now().mono + adding;
    for target in targets {
        match options.begin {
            Begin::Spread => fleet.add(target, start),
            Begin::AtOnce => fleet.add_from(target, start),
        };
    }
    if let Some(heartbeats) = options.limit {
        fleet.limit(heartbeats);
    }
    fleet
}

/// Starts the worker's thread, and waits until its sockets are open.
fn spawn(
    fleet: impl FnOnce() -> Fleet + Send + 'static,
    rate: f64,
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
            let worker = open_lanes(rate)
                .and_then(|lanes| Ok(Worker::new(fleet(), lanes, commands, events, ready)?));
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

/// Opens a lane for each address family that the machine has; either may have to carry all of
/// `rate` heartbeats a second.
fn open_lanes(rate: f64) -> Result<Vec<Lane>, StartError> {
    let mut lanes = Vec::new();
    let mut refused = None;
    for family in [Family::V4, Family::V6] {
        match Lane::open(family, rate) {
            Ok(lane) => lanes.push(lane),
            Err(LaneError::Bind(error)) if error.is_unsupported_family() => {
                tracing::info!(%error, "this machine has no such address family");
                refused = refused.or(Some(error));
            }
            Err(LaneError::Bind(error)) => return Err(error.into()),
            Err(LaneError::Watch(error)) => return Err(error.into()),
        }
    }
    match refused {
        Some(error) if lanes.is_empty() => Err(error.into()),
        _ => Ok(lanes),
    }
}
