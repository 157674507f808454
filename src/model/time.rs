//! Moments on the two clocks, as plain nanoseconds.
//!
//! [`Mono`] orders and spaces events and never steps. [`Wall`] is the time in packets and in the
//! kernel's socket timestamps, and may step. A [`Moment`] is both, read together, so that a step
//! can be detected later. The types read no clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the monotonic clock (`CLOCK_MONOTONIC`): nanoseconds since an arbitrary origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(u64);

/// A moment of civil time (`CLOCK_REALTIME`): nanoseconds since the Unix epoch.
///
/// The range ends in the year 2554.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(u64);

/// Both clocks, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// The moment on the monotonic clock.
    pub mono: Mono,
    /// The same moment in civil time.
    pub wall: Wall,
}

/// When a datagram arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When the kernel received it, on the monotonic clock; timeouts are compared with this.
    pub at: Mono,
    /// The kernel's receive timestamp, if it exists and agrees with the monotonic clock.
    pub kernel: Option<Wall>,
    /// When the program read it from the socket.
    pub read: Moment,
    /// The hop limit with which it arrived, if the kernel reports it.
    pub ttl: Option<u8>,
}

impl Mono {
    /// The moment `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero if `earlier` is later than `self`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Wall {
    /// The moment `nanos` nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the Unix epoch, rounded to the nearest double (about 240 ns at present).
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        // Not `nanos as f64 / 1e9`, which rounds twice: a double does not represent every
        // nanosecond.
        Duration::from_nanos(self.0).as_secs_f64()
    }

    /// `self − earlier` in nanoseconds, negative if `earlier` is later; saturating.
    #[must_use]
    pub fn nanos_since(self, earlier: Self) -> i64 {
        i64::try_from(i128::from(self.0) - i128::from(earlier.0)).unwrap_or(if self.0 > earlier.0 {
            i64::MAX
        } else {
            i64::MIN
        })
    }
}

/// Saturates at the largest moment.
impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// Saturates at the origin.
impl Sub<Duration> for Mono {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

/// Saturates at the largest moment.
impl Add<Duration> for Wall {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// Saturates at the epoch.
impl Sub<Duration> for Wall {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

/// `span` in nanoseconds; saturates after 584 years.
#[must_use]
pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Moment {
    /// The moment `span` later, if civil time is not stepped until then.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self { mono: self.mono + span, wall: self.wall + span }
    }

    /// Whether civil time was stepped between `earlier` and `self`: the times that elapsed on the
    /// two clocks differ by more than 1 ms plus 0.1 % of the monotonic one. Time daemons slew by at
    /// most 500 ppm (adjtimex(2)).
    #[must_use]
    pub fn stepped_since(self, earlier: Self) -> bool {
        const STEP: Duration = Duration::from_millis(1);
        let elapsed = self.mono.since(earlier.mono);
        let by_wall = self.wall.nanos_since(earlier.wall);
        let drift = i64::try_from(nanos(elapsed)).unwrap_or(i64::MAX).saturating_sub(by_wall);
        drift.unsigned_abs() > nanos(STEP + elapsed / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_signed_for_civil_time_and_never_negative_for_the_monotonic_clock() {
        let (early, late) = (Wall::from_nanos(5), Wall::from_nanos(12));
        assert_eq!(late.nanos_since(early), 7);
        assert_eq!(early.nanos_since(late), -7);
        assert_eq!(Wall::from_nanos(u64::MAX).nanos_since(Wall::default()), i64::MAX);
        assert_eq!(Mono::from_nanos(5).since(Mono::from_nanos(12)), Duration::ZERO);
    }

    #[test]
    fn seconds_are_the_nearest_double() {
        for nanos in (0..10_000).map(|n| 1_767_225_600_123_456_789 + n * 37) {
            let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
            let nearest: f64 = text.parse().unwrap();
            let seconds = Wall::from_nanos(nanos).as_secs_f64();
            assert_eq!(seconds.to_bits(), nearest.to_bits(), "{text}");
        }
    }

    #[test]
    fn steps_and_slewing_are_distinguished_in_both_directions() {
        let start = Moment::default().after(Duration::from_secs(1_000));
        let later = start.after(Duration::from_secs(10));
        let by = |nanos| Duration::from_nanos(nanos);
        let (most, more) = (by(11_000_000), by(11_000_001));
        assert!(!Moment { wall: later.wall + most, ..later }.stepped_since(start));
        assert!(!Moment { wall: later.wall - most, ..later }.stepped_since(start));
        assert!(Moment { wall: later.wall + more, ..later }.stepped_since(start));
        assert!(Moment { wall: later.wall - more, ..later }.stepped_since(start));
        assert!(Moment { wall: Wall::default(), ..later }.stepped_since(start));
    }

    #[test]
    fn sums_saturate() {
        assert_eq!(Mono::from_nanos(1) + Duration::MAX, Mono::from_nanos(u64::MAX));
        assert_eq!(Mono::from_nanos(1) - Duration::from_secs(1), Mono::from_nanos(0));
    }
}
