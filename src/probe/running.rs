//! The running probe, for its users.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::config::{Config, Target};
use crate::observe::Unavailable;

use super::command::Command;
use super::coordinator::{Coordinator, look_up};
use super::crew::Hand;
use super::error::{ApplyError, StartError};
use super::event::Event;
use super::expansion::expand;
use super::names::Names;
use super::options::RunOptions;
use super::placement;
use super::roster::{Applied, Preview, Roster};
use super::sockets::charge;

/// A running probe. When it is dropped, its workers end.
#[derive(Debug)]
pub struct Probe {
    pub(super) coordinator: Arc<Coordinator>,
    /// Changes the targets of templates when the addresses of their names change.
    following: AbortHandle,
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
        let (lookups, wanted) = unbounded_channel();
        let channels: Vec<_> = (0..options.workers.get()).map(|_| unbounded_channel()).collect();
        let commands = channels.iter().map(|(commands, _)| commands.clone()).collect();
        let names = Names::new(commands, wanted);
        let looked_up = look_up(&names, &config.targets).await;
        let targets = expand(&config.targets, |name| names.book().ips(name));
        let reports = (events, lookups);
        let loads = loads(&targets, options.workers);
        let start = |(load, channel)| {
            Hand::start(load, &config.rtt_buckets, &options, reports.clone(), channel)
        };
        let crew = loads.into_iter().zip(channels).map(start).collect::<Result<Vec<_>, _>>()?;
        let coordinator = Arc::new(Coordinator::new(crew, names, Roster::new(options.workers)));
        // The workers carry this out before any later command.
        let _ = coordinator.put(&config)?;
        drop(looked_up);
        let following = tokio::spawn(Coordinator::follow(Arc::downgrade(&coordinator)));
        Ok((Self { coordinator, following: following.abort_handle() }, happenings))
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
        let (applied, done) = self.coordinator.apply(&wanted).await?;
        for done in done {
            done.await.map_err(|_| Unavailable)?;
        }
        Ok(applied)
    }

    /// What [`apply`](Self::apply) would change. The new names of targets with `addresses: all` are
    /// looked up and awaited for at most two seconds.
    ///
    /// # Errors
    /// If the names of the targets are not unique.
    pub async fn preview(&self, wanted: &Config) -> Result<Preview, ApplyError> {
        self.coordinator.preview(wanted).await
    }

    /// A configuration could not be loaded: the one in force stays. The figures say so until the next
    /// [`apply`](Self::apply).
    pub fn note_failed_reload(&self) {
        self.coordinator.note_failed_reload();
    }

    /// Whether the first heartbeat of every target that can be resolved has been settled. Once
    /// true, it stays true when targets are added.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.coordinator.crew.iter().all(Hand::is_ready)
    }

    /// Stops sending, and waits until all heartbeats in flight are settled: at most for the longest
    /// timeout. The figures can still be sampled.
    pub async fn stop(&self) {
        self.following.abort();
        for hand in &self.coordinator.crew {
            // A worker that has ended sends nothing more.
            let _ = hand.commands.send(Command::Stop);
        }
        self.settled().await;
    }

    /// Waits until no target has anything due or in flight: after [`stop`](Self::stop), or when all
    /// have reached their [`RunOptions::limit`].
    pub async fn settled(&self) {
        for hand in &self.coordinator.crew {
            let (done, settled) = oneshot::channel();
            if hand.commands.send(Command::Settle(done)).is_ok() {
                // An error means that the worker has ended.
                let _ = settled.await;
            }
        }
    }
}

#[cfg(test)]
impl Probe {
    pub(super) fn following(&self) -> AbortHandle {
        self.following.clone()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// The load of each worker, in octets per second, as the kernel charges them.
fn loads(targets: &[Arc<Target>], workers: NonZeroUsize) -> Vec<f64> {
    let mut loads = vec![0.0; workers.get()];
    for target in targets {
        let charge = charge(target.protocol.padded_size().into());
        loads[placement::worker(&target.name, workers)] += charge / target.interval.as_secs_f64();
    }
    loads
}
