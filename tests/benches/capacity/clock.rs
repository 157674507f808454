//! The clocks of the benchmark: how much time has passed, and how much of it a CPU worked.

use std::time::Duration;

use nix::time::ClockId;
use udp_heartbeat::model::Mono;
use udp_heartbeat::net;

/// CPU time of the calling thread so far, user's and system's, to the nanosecond.
pub(crate) fn thread_cpu() -> anyhow::Result<Duration> {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// What `clock` shows.
#[expect(clippy::disallowed_methods, reason = "CPU time is no moment, and this is no pure code")]
pub(crate) fn read(clock: ClockId) -> anyhow::Result<Duration> {
    Ok(nix::time::clock_gettime(clock)?.into())
}

/// A stopwatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch(Mono);

impl Watch {
    /// One that starts now.
    pub(crate) fn start() -> Self {
        Self(net::now().mono)
    }

    /// The time since it was started.
    pub(crate) fn elapsed(self) -> Duration {
        net::now().mono.since(self.0)
    }
}
