//! What the kernel knows about the accuracy of the wall clock: adjtimex(2).

use std::time::Duration;

use nix::libc;

use crate::model::{ClockAccuracy, Mono};

/// How long a value is used before the kernel is asked again. Meanwhile, the error that the kernel
/// reports grows by 4 ms.
const FRESH_FOR: Duration = Duration::from_secs(8);

/// The accuracy of the wall clock at present; the default if the kernel does not say, for example
/// because a seccomp filter forbids the call.
#[must_use]
pub fn clock_accuracy() -> ClockAccuracy {
    // SAFETY: all fields of the structure are integers, for which zeros are a valid value.
    #[expect(unsafe_code, reason = "no crate wraps this call")]
    let mut answer: libc::timex = unsafe { std::mem::zeroed() };
    // With `modes` 0 it changes nothing and needs no privilege.
    answer.modes = 0;
    // SAFETY: the pointer is to `answer`, a valid `timex` that only this function uses.
    #[expect(unsafe_code, reason = "no crate wraps this call")]
    let state = unsafe { libc::adjtimex(&raw mut answer) };
    read(state, answer.status, answer.maxerror)
}

/// Reads the result of a call: the state of the clock, the status bits, and the maximum error in
/// microseconds.
fn read(state: libc::c_int, status: libc::c_int, max_error: libc::c_long) -> ClockAccuracy {
    let unknown = ClockAccuracy::default();
    if state < 0 {
        return unknown;
    }
    let max_error = Duration::from_micros(max_error.try_into().unwrap_or(0));
    if state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0 {
        return ClockAccuracy::new(true, max_error);
    }
    // Without a time daemon, the kernel may report any error; on some virtual machines it is 0.
    ClockAccuracy::new(false, max_error.max(unknown.max_error()))
}

/// The accuracy of the wall clock, read from the kernel every 8 s.
#[derive(Debug, Default)]
pub struct ClockAccuracyCache {
    known: ClockAccuracy,
    until: Option<Mono>,
}

impl ClockAccuracyCache {
    /// The accuracy at `now`, or a few seconds before.
    pub fn at(&mut self, now: Mono) -> ClockAccuracy {
        if self.until.is_none_or(|until| until <= now) {
            self.known = clock_accuracy();
            self.until = Some(now + FRESH_FOR);
        }
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracy(is_synchronized: bool, micros: u64) -> ClockAccuracy {
        ClockAccuracy::new(is_synchronized, Duration::from_micros(micros))
    }

    #[test]
    fn a_clock_is_synchronised_if_neither_state_nor_status_denies_it() {
        let pll = libc::STA_PLL | libc::STA_NANO;
        assert_eq!(read(libc::TIME_OK, pll, 1_500), accuracy(true, 1_500));
        assert_eq!(read(libc::TIME_INS, pll, 0), accuracy(true, 0));
        assert_eq!(read(libc::TIME_OK, pll | libc::STA_UNSYNC, 1_500), accuracy(false, 16_000_000));
        assert_eq!(read(libc::TIME_ERROR, pll, 20_000_000), accuracy(false, 20_000_000));
        assert_eq!(read(-1, 0, 0), ClockAccuracy::default());
        assert_eq!(read(libc::TIME_OK, pll, -1), accuracy(true, 0));
    }

    #[test]
    fn the_kernel_is_asked_again_when_the_value_is_old() {
        let mut cache = ClockAccuracyCache::default();
        let start = Mono::from_nanos(5);
        let first = cache.at(start);
        let from_kernel = clock_accuracy();
        assert_eq!(first.is_synchronized(), from_kernel.is_synchronized());
        let known = ClockAccuracy::new(true, Duration::from_micros(7));
        cache.known = known;
        assert_eq!(cache.at(start + FRESH_FOR - Duration::from_nanos(1)), known);
        assert_ne!(cache.at(start + FRESH_FOR), known);
    }
}
