//! The exporter of `run` and `demo`: a probe with its page and metrics, until a signal stops it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, Host};
use crate::probe::{Begin, Detail, Event, Health, Probe, RunOptions};
use crate::web::{self, Access, ReloadControl};

use super::memory;
use super::reload::{Reloader, Reloads};
use super::service;
use super::signal::{self, Signals};

/// A probe and its HTTP server, ready to run.
#[derive(Debug)]
pub(super) struct Exporter {
    /// The configuration with the targets to probe.
    pub(super) config: Config,
    /// How the configuration can be reloaded; `None` if it cannot.
    pub(super) reloads: Option<Reloads>,
    /// The number of probing threads.
    pub(super) workers: NonZeroUsize,
    /// The listener for HTTP.
    pub(super) listener: TcpListener,
    /// What its clients must show.
    pub(super) access: Access,
    /// The maximum number of long answers, such as scrapes, that are written at a time.
    pub(super) max_requests: usize,
}

impl Exporter {
    /// Probes and serves until SIGTERM or SIGINT. Then it stops sending, waits for the heartbeats
    /// in flight, and closes the listener last.
    ///
    /// `started` is called once probing has started.
    pub(super) async fn serve(
        self,
        started: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
        observer: impl Observer,
    ) -> anyhow::Result<()> {
        let Self { config, reloads, workers, listener, access, max_requests } = self;
        let mut signals = Signals::listen()?;
        // Before the probe starts: a signal during the start must not end the program.
        let hangups = signal::hangups()?;
        let buckets = config.rtt_buckets.clone();
        let options =
            RunOptions { detail: Detail::Changes, begin: Begin::Spread, limit: None, workers };
        let any_names =
            config.targets.iter().any(|target| matches!(target.address.host, Host::Name(_)));
        let (probe, events) = tokio::select! {
            started = Probe::start(config, options) => started?,
            _ = signals.next() => return Ok(()),
        };
        let probe = Arc::new(probe);
        let over_http = reloads.as_ref().is_some_and(|reloads| reloads.over_http);
        let reloader = if let Some(reloads) = reloads {
            Some(Reloader::start(probe.clone(), reloads, buckets, hangups))
        } else {
            signal::log_hangups(hangups);
            None
        };
        tokio::spawn(observe(probe.clone(), events, observer));

        let address = listener.local_addr()?;
        let control = reloader.clone().filter(|_| over_http);
        let control = control.map(|reloader| reloader as Arc<dyn ReloadControl>);
        let router = web::probe_router(probe.clone(), control, max_requests);
        let (close, closed) = oneshot::channel::<()>();
        let server = tokio::spawn(web::serve(listener, access, router, async {
            // An error means that the sender was dropped, which is how shutdown is signalled.
            let _ = closed.await;
        }));
        started(address)?;
        service::ready();
        tokio::spawn(service::report(probe.clone()));
        if any_names {
            warn_of_names(&probe).await;
        }
        memory::give_back();

        let signal = signals.next().await;
        service::stopping();
        if let Some(reloader) = &reloader {
            reloader.end();
        }
        tracing::info!(
            signal,
            hint = "a second signal stops at once",
            "stopping once the heartbeats in flight are settled"
        );
        tokio::select! {
            () = probe.stop() => {}
            signal = signals.next() => tracing::warn!(signal, "stopping at once"),
        }
        drop(close);
        server.await?;
        Ok(())
    }
}

/// Is told what happens to the targets and to the probe.
pub(super) trait Observer: Send + 'static {
    /// Something happened to a target.
    fn happened(&mut self, event: &Event);

    /// A second has passed. `health` is `None` if a worker does not answer.
    fn each_second(&mut self, _health: Option<Health>) {}
}

/// Tells `observer` what happens until the probe ends.
async fn observe(
    probe: Arc<Probe>,
    mut events: UnboundedReceiver<Event>,
    mut observer: impl Observer,
) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => observer.happened(&event),
                None => return,
            },
            _ = seconds.tick() => observer.each_second(probe.health().await.ok()),
        }
    }
}

/// Logs the names that have no address yet, since a mistyped name otherwise shows only as a target
/// that is down. The probe itself logs the names of targets with `addresses: all`.
async fn warn_of_names(probe: &Probe) {
    /// How many names are logged.
    const LOGGED: usize = 10;

    let Ok(sample) = probe.sample().await else { return };
    let unresolved = sample.targets.iter().filter(|sample| !sample.resolved);
    let mut names: Vec<_> = unresolved
        .filter(|sample| sample.target.template_name().is_none())
        .filter_map(|sample| match &sample.target.address.host {
            Host::Name(name) => Some(match sample.lookup_failure {
                Some(reason) => format!("{name} ({reason})"),
                None => format!("{name} (no answer yet)"),
            }),
            Host::Ip(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return;
    }
    let count = names.len();
    names.truncate(LOGGED);
    tracing::warn!(count, names = names.join(", "), "cannot resolve names, retrying");
}
