//! What `run` and `demo` share: a probe, its page and its metrics, until a signal ends them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::probe::{Detail, Event, Options, Probe};
use crate::web::{self, Routes};

use super::signal::Signals;

/// Probes the targets of `config` and serves their figures on `listener` until SIGTERM or SIGINT;
/// then sends nothing more, waits for what is in flight, and closes the listener last.
///
/// `started` is called once heartbeats leave, `happened` for every change of state.
pub(super) async fn serve(
    config: Config,
    listener: TcpListener,
    started: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
    mut happened: impl FnMut(&Event) + Send + 'static,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let options = Options { detail: Detail::Changes, limit: None };
    let (probe, mut events) = tokio::select! {
        started = Probe::start(config, options) => started?,
        _ = signals.next() => return Ok(()),
    };
    let probe = Arc::new(probe);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            happened(&event);
        }
    });

    let address = listener.local_addr()?;
    let (close, closed) = oneshot::channel::<()>();
    let server = tokio::spawn(web::serve(listener, Routes::probe(probe.clone()), async {
        // An error is the sender's drop, which says the same.
        let _ = closed.await;
    }));
    started(address)?;

    let signal = signals.next().await;
    tracing::info!(signal, "stopping once the heartbeats in flight are settled");
    probe.stop().await;
    drop(close);
    server.await?;
    Ok(())
}
