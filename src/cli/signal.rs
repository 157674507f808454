//! The signals that stop a program, and SIGHUP, which does not.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::model::Mono;
use crate::net;

/// Signals within this time of each other are one: a terminal sends SIGINT to a whole process group,
/// and the shell or a supervisor in it passes it on.
const TOGETHER: Duration = Duration::from_millis(100);

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    recent: Recent,
}

impl Signals {
    /// Starts to listen. From then on, the signals do not kill the process.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            recent: Recent::default(),
        })
    }

    /// Waits for a signal and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            };
            if self.recent.is_new(net::now().mono) {
                return name;
            }
        }
    }
}

/// When the last signal came that was not part of an earlier one.
#[derive(Debug, Default)]
struct Recent(Option<Mono>);

impl Recent {
    /// Whether a signal at `now` is a new one.
    fn is_new(&mut self, now: Mono) -> bool {
        let is_new = self.0.is_none_or(|last| now.since(last) >= TOGETHER);
        if is_new {
            self.0 = Some(now);
        }
        is_new
    }
}

/// Starts to listen for a signal. From then on, it does not kill the process.
pub(super) fn on(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot listen for signals")
}

/// Logs every SIGHUP of this stream, and ignores it.
pub(super) fn log_hangups(mut hangups: Signal) {
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::warn!("ignoring SIGHUP: restart the program to apply changed settings");
        }
    });
}

/// Starts to listen for SIGHUP. From then on, it does not end the program when a terminal closes.
///
/// # Errors
/// If the signal cannot be listened for.
pub(super) fn hangups() -> anyhow::Result<Signal> {
    on(SignalKind::hangup())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_come_together_are_one() {
        let at = |millis| Mono::default() + Duration::from_millis(millis);
        let mut recent = Recent::default();
        let new: Vec<bool> = [1_000, 1_000, 1_099, 1_100, 1_150, 5_000]
            .map(|millis| recent.is_new(at(millis)))
            .into();
        assert_eq!(new, [true, false, false, true, false, true]);
    }
}
