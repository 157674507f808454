//! Reads the configuration again while the probe runs: on SIGHUP, when the file changes, and when an
//! HTTP client asks for it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::Config;
use crate::probe::{Applied, Preview, Probe};
use crate::web::{ReloadControl, Reloading};

use super::configuration::Source;
use super::memory;

/// How a configuration can be reloaded.
#[derive(Debug)]
pub(super) struct Reloads {
    /// Where it comes from.
    pub(super) source: Source,
    /// The digest of the file's contents in force, if there is a file.
    pub(super) digest: Option<u64>,
    /// How often to look whether the contents have changed; `None` for never.
    pub(super) watch: Option<Duration>,
    /// Whether HTTP clients may reload it.
    pub(super) over_http: bool,
}

/// Applies the configuration to a running probe again.
#[derive(Debug)]
pub(super) struct Reloader {
    probe: Arc<Probe>,
    source: Source,
    /// The bounds of the buckets for delays, which a running probe keeps.
    buckets: Vec<f64>,
    /// The digest of the file's contents when they were last read. Locked from the reading until its
    /// targets are probed, so that the newest contents are applied last.
    read: Mutex<Option<u64>>,
    is_over: AtomicBool,
}

impl Reloader {
    /// A reloader for a probe that was started with this configuration and these buckets. It reloads
    /// at every signal, and when the contents of the file change if `reloads` says so, until the
    /// runtime ends.
    pub(super) fn start(
        probe: Arc<Probe>,
        reloads: Reloads,
        buckets: Vec<f64>,
        hangups: Signal,
    ) -> Arc<Self> {
        let Reloads { source, digest, watch, .. } = reloads;
        let (read, is_over) = (digest.into(), AtomicBool::new(false));
        let reloader = Arc::new(Self { probe, source, buckets, read, is_over });
        tokio::spawn(reloader.clone().follow(hangups));
        if let Some(interval) = watch {
            tokio::spawn(reloader.clone().watch(interval));
        }
        reloader
    }

    /// From now on, nothing is reloaded: the program is stopping.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    async fn follow(self: Arc<Self>, mut hangups: Signal) {
        while hangups.recv().await.is_some() {
            // The outcome is logged.
            let _ = self.reload().await;
        }
    }

    /// Looks at the contents of the file every `interval`, and reloads if they have changed since
    /// they were last read, however the file was replaced.
    async fn watch(self: Arc<Self>, interval: Duration) {
        loop {
            sleep(interval).await;
            let source = self.source.clone();
            let read = spawn_blocking(move || source.read()).await;
            // A file that is being replaced may be missing for a moment.
            let Ok(Ok(Some(contents))) = read else { continue };
            let last = *self.read.lock().await;
            if last != Some(contents.digest()) {
                let _ = self.reload().await;
            }
        }
    }

    /// Reads the configuration and probes its targets. If it is invalid, the one in force stays.
    ///
    /// # Errors
    /// All problems of the configuration, one per line.
    async fn reload(&self) -> Result<Applied, String> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err("the program is stopping".to_owned());
        }
        let mut last = self.read.lock().await;
        let (digest, config) = self.load().await?;
        *last = digest;
        let outcome = match config {
            Ok(config) => self.apply(config).await,
            Err(problems) => Err(problems),
        };
        match &outcome {
            Ok(Applied { added, removed, retuned, unchanged }) => {
                let changed = retuned;
                tracing::info!(added, removed, changed, unchanged, "configuration reloaded");
            }
            Err(problems) => {
                self.probe.note_failed_reload();
                for problem in problems.lines() {
                    let what = "cannot reload the configuration, keeping the current one";
                    tracing::error!(problem, "{what}");
                }
            }
        }
        memory::give_back();
        outcome
    }

    async fn apply(&self, config: Config) -> Result<Applied, String> {
        if config.rtt_buckets != self.buckets {
            tracing::warn!("rtt_buckets has changed: restart the probe to use the new buckets");
        }
        self.probe.apply(config).await.map_err(|error| error.to_string())
    }

    /// What a reload would change, in words. Changes nothing.
    ///
    /// # Errors
    /// All problems of the configuration, one per line.
    async fn preview(&self) -> Result<String, String> {
        let (_, config) = self.load().await?;
        let preview = self.probe.preview(&config?).await.map_err(|error| error.to_string())?;
        let Preview { removed, retuned, added, unchanged } = preview;
        let mut text = String::new();
        for (what, names) in [("remove", &removed), ("change", &retuned), ("add", &added)] {
            for name in names {
                let _ = writeln!(text, "{what} {name}");
            }
        }
        Ok(text + &summary(added.len(), removed.len(), retuned.len(), unchanged))
    }

    /// The digest of the file's contents, and the configuration or its problems. The error is that of
    /// the runtime.
    async fn load(&self) -> Result<(Option<u64>, Result<Config, String>), String> {
        let source = self.source.clone();
        let load = spawn_blocking(move || match source.read() {
            Ok(contents) => {
                let config = source.check(contents.as_ref());
                let digest = contents.map(|contents| contents.digest());
                (digest, config.map_err(|error| format!("{error:#}")))
            }
            Err(problems) => (None, Err(problems.to_string())),
        });
        load.await.map_err(|error| error.to_string())
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
