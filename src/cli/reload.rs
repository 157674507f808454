//! Reads the configuration again while the probe runs: on SIGHUP, and when a client asks for it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::SignalKind;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::Config;
use crate::probe::{Applied, Preview, Probe};
use crate::web::{ReloadControl, Reloading};

use super::configuration::configuration;
use super::{memory, signal};

/// Where the targets come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The configuration file, if there is one.
    pub(super) file: Option<PathBuf>,
    /// The additional targets of the command line.
    pub(super) targets: Vec<String>,
    /// The hash of the [contents] of the file before it was read.
    pub(super) hash: Option<u64>,
    /// How often to look whether the contents have changed; `None` for never.
    pub(super) watch: Option<Duration>,
}

/// Applies the configuration to a running probe again.
#[derive(Debug)]
pub(super) struct Reloader {
    probe: Arc<Probe>,
    source: Source,
    /// The bounds of the buckets for delays, which a running probe keeps.
    buckets: Vec<f64>,
    /// The hash of the file that was read last; `None` if it could not be read.
    read: std::sync::Mutex<Option<u64>>,
    /// Locked from the reading of the file until its targets are probed, so that the newest contents
    /// are applied last.
    turn: Mutex<()>,
    is_over: AtomicBool,
}

impl Reloader {
    /// A reloader for a probe that was started with this source and these buckets.
    pub(super) fn new(probe: Arc<Probe>, source: Source, buckets: Vec<f64>) -> Self {
        let read = source.hash.into();
        let (turn, is_over) = (Mutex::default(), AtomicBool::new(false));
        Self { probe, source, buckets, read, turn, is_over }
    }

    /// Looks at the contents of the file as often as [`Source::watch`] says, and reloads if they have
    /// changed since they were last read, however the file was replaced. Ends with the runtime.
    pub(super) fn watch_file(self: &Arc<Self>) {
        let Some(interval) = self.source.watch else { return };
        let reloader = self.clone();
        tokio::spawn(async move {
            loop {
                sleep(interval).await;
                let file = reloader.source.file.clone();
                let now = spawn_blocking(move || contents(file.as_deref())).await.unwrap_or(None);
                // A file that is being replaced may be missing for a moment.
                if now.is_some() && now != *reloader.last_read() {
                    // The outcome is logged.
                    let _ = reloader.reload().await;
                }
            }
        });
    }

    fn last_read(&self) -> MutexGuard<'_, Option<u64>> {
        // A number cannot be half written.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Reads the configuration.
    async fn read(&self) -> Result<Config, String> {
        let Source { file, targets, .. } = self.source.clone();
        let read = spawn_blocking(move || {
            // Before the file itself: if it changes in between, it is read once more.
            let hash = contents(file.as_deref());
            (hash, configuration(file.as_deref(), &targets))
        });
        let (hash, config) = read.await.map_err(|error| error.to_string())?;
        *self.last_read() = hash;
        config.map_err(|error| format!("{error:#}"))
    }

    /// What a reload would change, in words. Changes nothing.
    ///
    /// # Errors
    /// All problems of the configuration, one per line.
    async fn preview(&self) -> Result<String, String> {
        let Source { file, targets, .. } = self.source.clone();
        let read = spawn_blocking(move || configuration(file.as_deref(), &targets));
        let read = read.await.map_err(|error| error.to_string())?;
        let config = read.map_err(|error| format!("{error:#}"))?;
        let preview = self.probe.preview(&config).map_err(|error| error.to_string())?;
        let Preview { removed, retuned, added, unchanged } = preview;
        let counts = (added.len(), removed.len(), retuned.len());
        let mut text = String::new();
        for (what, names) in [("remove", removed), ("change", retuned), ("add", added)] {
            for name in names {
                let _ = writeln!(text, "{what} {name}");
            }
        }
        let (added, removed, retuned) = counts;
        text.push_str(&summary(added, removed, retuned, unchanged));
        Ok(text)
    }

    async fn apply(&self) -> Result<Applied, String> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err("the program is stopping".to_owned());
        }
        let config = self.read().await?;
        if config.rtt_buckets != self.buckets {
            tracing::warn!("rtt_buckets has changed: restart the program to use the new buckets");
        }
        self.probe.apply(config).await.map_err(|error| error.to_string())
    }
}

impl ReloadControl for Reloader {
    fn reload(&self, dry_run: bool) -> Reloading<'_> {
        Box::pin(async move {
            if dry_run {
                return self.preview().await;
            }
            let Applied { added, removed, retuned, unchanged } = self.reload().await?;
            Ok(summary(added, removed, retuned, unchanged))
        })
    }
}

/// The numbers of changed and unchanged targets, as a line.
fn summary(added: usize, removed: usize, changed: usize, unchanged: usize) -> String {
    format!("{added} added, {removed} removed, {changed} changed, {unchanged} unchanged\n")
}

/// A hash of the contents of a file; `None` if there is none or it cannot be read.
pub(super) fn contents(file: Option<&Path>) -> Option<u64> {
    use std::hash::{DefaultHasher, Hasher as _};

    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(file?).ok()?);
    Some(hasher.finish())
}
