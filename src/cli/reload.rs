//! Reads the configuration again while the probe runs: on SIGHUP, and when a client asks for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::SignalKind;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::probe::{Applied, Probe};
use crate::web::{ReloadControl, Reloading};

use super::run::configuration;
use super::{memory, signal};

/// Where the targets come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The configuration file, if there is one.
    pub(super) file: Option<PathBuf>,
    /// The additional targets of the command line.
    pub(super) targets: Vec<String>,
}

/// Applies the configuration to a running probe again.
#[derive(Debug)]
pub(super) struct Reloader {
    probe: Arc<Probe>,
    source: Source,
    /// The bounds of the buckets for delays, which a running probe keeps.
    buckets: Vec<f64>,
    /// Locked from the reading of the file until its targets are probed, so that the newest contents
    /// are applied last.
    turn: Mutex<()>,
    is_over: AtomicBool,
}

impl Reloader {
    /// A reloader for a probe that was started with this source and these buckets.
    pub(super) fn new(probe: Arc<Probe>, source: Source, buckets: Vec<f64>) -> Self {
        Self { probe, source, buckets, turn: Mutex::default(), is_over: AtomicBool::new(false) }
    }

    /// From now on, nothing is reloaded: the program is stopping.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Reloads on every SIGHUP, until the runtime ends.
    ///
    /// # Errors
    /// If the signal cannot be listened for.
    pub(super) fn follow_hangups(self: &Arc<Self>) -> anyhow::Result<()> {
        let mut hangup = signal::on(SignalKind::hangup())?;
        let reloader = self.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                // The outcome is logged.
                let _ = reloader.reload().await;
            }
        });
        Ok(())
    }

    /// Reads the configuration and probes its targets. If it is invalid, the one in force stays.
    ///
    /// # Errors
    /// All problems of the configuration, one per line.
    async fn reload(&self) -> Result<Applied, String> {
        let _turn = self.turn.lock().await;
        let outcome = self.apply().await;
        match &outcome {
            Ok(Applied { added, removed, retuned, unchanged }) => {
                tracing::info!(
                    added,
                    removed,
                    changed = retuned,
                    unchanged,
                    "configuration reloaded"
                );
            }
            Err(problems) => {
                self.probe.note_failed_reload();
                for problem in problems.lines() {
                    tracing::error!(
                        problem,
                        "cannot reload the configuration: the one in force stays"
                    );
                }
            }
        }
        memory::give_back();
        outcome
    }

    async fn apply(&self) -> Result<Applied, String> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err("the program is stopping".to_owned());
        }
        let Source { file, targets } = self.source.clone();
        let read = spawn_blocking(move || configuration(file.as_deref(), &targets));
        let read = read.await.map_err(|error| error.to_string())?;
        let config = read.map_err(|error| format!("{error:#}"))?;
        if config.rtt_buckets != self.buckets {
            tracing::warn!("rtt_buckets has changed: restart the program to use the new buckets");
        }
        self.probe.apply(config).await.map_err(|error| error.to_string())
    }
}

impl ReloadControl for Reloader {
    fn reload(&self) -> Reloading<'_> {
        Box::pin(async {
            let Applied { added, removed, retuned, unchanged } = self.reload().await?;
            Ok(format!(
                "{added} added, {removed} removed, {retuned} changed, {unchanged} unchanged\n"
            ))
        })
    }
}
