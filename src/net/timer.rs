//! A timer with the precision of the kernel's high-resolution timers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::read;

use crate::model::Mono;

/// A one-shot timer on `CLOCK_MONOTONIC` (`timerfd_create(2)`). Wait for it with
/// [`Readiness`](super::Readiness).
///
/// tokio's own timer rounds up to whole milliseconds, which is too coarse for 100,000 heartbeats
/// per second. A timerfd uses the kernel's high-resolution timers without timer slack.
#[derive(Debug)]
pub struct Timer(TimerFd);

impl Timer {
    /// A disarmed timer. Its descriptor is non-blocking and closes on exec.
    ///
    /// # Errors
    /// Those of `timerfd_create(2)`: the descriptor limit is reached.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?))
    }

    /// Makes the descriptor readable from `at` on, or at once if `at` has passed. This replaces an
    /// earlier setting and discards an expiry that was not acknowledged.
    ///
    /// # Errors
    /// Those of `timerfd_settime(2)`; none is expected.
    pub fn arm(&self, at: Mono) -> io::Result<()> {
        // A time of zero would disarm it.
        let nanos = at.as_nanos().max(1);
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let at = TimeSpec::new(
            seconds.try_into().unwrap_or(nix::libc::time_t::MAX),
            rest.try_into().unwrap_or_default(),
        );
        self.0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        Ok(())
    }

    /// Disarms the timer.
    ///
    /// # Errors
    /// Those of `timerfd_settime(2)`; none is expected.
    pub fn disarm(&self) -> io::Result<()> {
        Ok(self.0.unset()?)
    }

    /// Clears an expiry, so that the descriptor is no longer readable. Returns whether the timer
    /// had expired since it was last armed or acknowledged. Arming the timer also clears an expiry.
    ///
    /// # Errors
    /// Those of read(2); none is expected.
    pub fn acknowledge(&self) -> io::Result<bool> {
        match read(&self.0, &mut [0; 8]) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::net::{Readiness, in_time, now};

    #[test]
    fn a_timer_expires_once_each_time_it_is_armed_and_not_early() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let timer = Timer::new().unwrap();
            let readiness = Readiness::of(&timer).unwrap();
            assert!(!timer.acknowledge().unwrap());
            let at = now().mono + Duration::from_micros(300);
            timer.arm(at).unwrap();
            in_time(poll_fn(|context| readiness.poll_readable(context))).await.unwrap();
            assert!(now().mono >= at);
            assert!(timer.acknowledge().unwrap());
            assert!(!timer.acknowledge().unwrap());
            for _ in 0..3 {
                timer.arm(now().mono).unwrap();
                in_time(poll_fn(|context| readiness.poll_readable(context))).await.unwrap();
            }
        });
    }

    #[test]
    fn a_past_moment_expires_at_once_and_the_largest_moment_never() {
        let timer = Timer::new().unwrap();
        timer.arm(Mono::from_nanos(0)).unwrap();
        assert!(timer.acknowledge().unwrap());
        timer.arm(Mono::from_nanos(u64::MAX)).unwrap();
        assert!(!timer.acknowledge().unwrap());
        timer.arm(Mono::from_nanos(1)).unwrap();
        timer.disarm().unwrap();
        assert!(!timer.acknowledge().unwrap());
    }
}
