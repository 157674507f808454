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
    /// When the last signal was returned.
    last: Option<Mono>,
}

impl Signals {
    /// Starts to listen. From then on, the signals do not kill the process.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            last: None,
        })
    }

    /// Waits for a signal and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            };
            let now = net::now().mono;
            if self.last.is_none_or(|last| now.since(last) >= TOGETHER) {
                self.last = Some(now);
                return name;
            }
        }
    }
}

/// Starts to listen for a signal. From then on, it does not kill the process.
pub(super) fn on(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot listen for signals")
}

/// From now on, SIGHUP is logged and does nothing else. It comes when a terminal closes, and from
/// users who expect a program to read its configuration again.
///
/// # Errors
/// If the signal cannot be listened for.
pub(super) fn log_hangups() -> anyhow::Result<()> {
    let mut hangup = on(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::warn!("ignoring SIGHUP: restart the program to apply changed settings");
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn signals_that_come_together_are_one() {
        let mut signals = Signals::listen().unwrap();
        let own = rustix::process::getpid();
        for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
            rustix::process::kill_process(own, signal).unwrap();
        }
        tokio::time::timeout(Duration::from_secs(60), signals.next()).await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(50), signals.next()).await;
        assert!(second.is_err(), "{second:?}");
    }
}
