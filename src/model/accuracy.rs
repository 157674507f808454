//! How far the wall clock may be off.

use std::time::Duration;

/// The accuracy of the wall clock, as the kernel reports it (adjtimex(2)).
///
/// The default is that of a clock about which nothing is known: not synchronised, with an error of
/// 16 s, at which NTP calls a clock unsynchronised (MAXDISP, RFC 5905 section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockAccuracy {
    is_synchronized: bool,
    /// In microseconds, as the kernel counts it.
    max_error: u32,
}

impl ClockAccuracy {
    /// The accuracy of a clock that may differ from UTC by `max_error`, which is rounded down to
    /// 1 µs and limited to 71 minutes.
    #[must_use]
    pub fn new(is_synchronized: bool, max_error: Duration) -> Self {
        let max_error = max_error.as_micros().try_into().unwrap_or(u32::MAX);
        Self { is_synchronized, max_error }
    }

    /// Whether a time daemon (NTP or PTP) keeps the clock synchronised to UTC.
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        self.is_synchronized
    }

    /// The maximum difference from UTC. The kernel adds 0.5 ms for every second since the time daemon
    /// last set it.
    #[must_use]
    pub const fn max_error(self) -> Duration {
        Duration::from_micros(self.max_error as u64)
    }
}

impl Default for ClockAccuracy {
    fn default() -> Self {
        Self { is_synchronized: false, max_error: 16_000_000 }
    }
}
