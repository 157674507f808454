//! The workers of a probe: starting them, and the handles to them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::command::Command;
use super::error::StartError;
use super::event::Event;
use super::fleet::Fleet;
use super::options::{Begin, RunOptions};
use super::sockets::Sockets;
use super::worker::Worker;

/// Where a worker sends events, and names to look up.
pub(super) type Reports = (UnboundedSender<Event>, UnboundedSender<Arc<str>>);

/// The handle to a worker.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) commands: UnboundedSender<Command>,
    ready: Arc<AtomicBool>,
}

impl Hand {
    /// Starts a worker without targets, and waits until its sockets are open, with buffers for
    /// a `load` in octets per second, as the kernel charges them. Its commands come through the
    /// channel.
    pub(super) fn start(
        load: f64,
        rtt_buckets: &[f64],
        options: &RunOptions,
        reports: Reports,
        (commands, orders): (UnboundedSender<Command>, UnboundedReceiver<Command>),
    ) -> Result<Self, StartError> {
        let ready = Arc::new(AtomicBool::new(false));
        let mut fleet = Fleet::new(rtt_buckets, options.detail, Some(seed()));
        if let Some(heartbeats) = options.limit {
            fleet.limit(heartbeats);
        }
        spawn(fleet, options.begin, load, orders, reports, ready.clone())?;
        Ok(Self { commands, ready })
    }

    /// Whether the first heartbeat of every target that can be resolved has been settled.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// An unpredictable random number.
#[expect(clippy::disallowed_methods, reason = "this draws the seed that a fleet is given")]
fn seed() -> u64 {
    rand::random()
}

/// Starts the worker's thread, and waits until its sockets are open.
fn spawn(
    fleet: Fleet,
    begin: Begin,
    load: f64,
    commands: UnboundedReceiver<Command>,
    reports: Reports,
    ready: Arc<AtomicBool>,
) -> Result<(), StartError> {
    let (opened, outcome) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new().name("worker".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(opened.send(Err(error.into()))),
        };
        runtime.block_on(async {
            match Sockets::open(load) {
                Ok(mut sockets) => {
                    let worker = Worker::new(fleet, begin, &mut sockets, commands, reports, ready);
                    drop(opened.send(Ok(())));
                    sockets.drive(worker).await;
                }
                Err(error) => drop(opened.send(Err(error.into()))),
            }
        });
    })?;
    outcome.recv().unwrap_or_else(|gone| Err(io::Error::other(gone).into()))
}
