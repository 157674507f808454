//! Notifies systemd (`sd_notify(3)`) that a program is ready or is stopping. The probe also reports its
//! status, and that its workers respond. Without systemd, this does nothing.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

use crate::model::State;
use crate::probe::Probe;

/// How often the status is updated.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The sockets are open.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The program has begun to stop.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Reports the status of `probe` until the task is aborted. With `WatchdogSec=` in the unit, also
/// reports twice in this time that all workers carry out commands: if one does not, systemd restarts
/// the probe.
pub(super) async fn report(probe: Arc<Probe>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled().map(|time| time / 2);
    let every = watchdog.map_or(STATUS_EVERY, |half| half.min(STATUS_EVERY));
    loop {
        if let Some(status) = status(&probe).await {
            notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        }
        sleep(every).await;
    }
}

/// The numbers of targets by verdict; `None` if a worker does not answer.
async fn status(probe: &Probe) -> Option<String> {
    let overview = probe.glance().await.ok()?;
    let count =
        |state| overview.targets.iter().filter(|target| target.glance.state == Some(state)).count();
    let (all, up, down) = (overview.targets.len(), count(State::Up), count(State::Down));
    let targets = if all == 1 { "target" } else { "targets" };
    let impaired = if overview.impaired { "; the probe is impaired" } else { "" };
    Some(format!("{all} {targets}: {up} up, {down} down{impaired}"))
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
