//! The clocks of the benchmark: elapsed time and CPU time.

use std::time::Duration;

use nix::time::ClockId;
use udp_heartbeat::model::Mono;
use udp_heartbeat::net;

/// CPU time of the calling thread so far, user and system, to the nanosecond.
pub(crate) fn thread_cpu() -> anyhow::Result<Duration> {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// The present time of `clock`.
#[expect(clippy::disallowed_methods, reason = "CPU time is not a moment, and this is not pure")]
pub(crate) fn read(clock: ClockId) -> anyhow::Result<Duration> {
    Ok(nix::time::clock_gettime(clock)?.into())
}

/// A stopwatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch(Mono);

impl Watch {
    /// Starts a stopwatch.
    pub(crate) fn start() -> Self {
        Self(net::now().mono)
    }

    /// The time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        net::now().mono.since(self.0)
    }
}
