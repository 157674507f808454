//! Limits how often a repeated warning is logged.

use std::time::Duration;

use crate::model::Mono;

/// Lets a repeated warning through at most every ten seconds.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: Option<Mono>,
    pending: u64,
}

impl Throttle {
    const PAUSE: Duration = Duration::from_secs(10);

    /// Adds `count` occurrences. Returns how many have gathered if it is time to log them.
    pub(super) fn complain(&mut self, count: u64, now: Mono) -> Option<u64> {
        self.pending += count;
        if self.pending == 0 || self.last.is_some_and(|last| now < last + Self::PAUSE) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occurrences_gather_for_ten_seconds() {
        let mut throttle = Throttle::default();
        let at = |millis: u64| Mono::from_nanos(millis * 1_000_000);
        assert_eq!(throttle.complain(0, at(0)), None);
        assert_eq!(throttle.complain(1, at(1)), Some(1));
        assert_eq!(throttle.complain(1, at(2)), None);
        assert_eq!(throttle.complain(4, at(10_000)), None);
        assert_eq!(throttle.complain(2, at(10_001)), Some(7));
        assert_eq!(throttle.complain(0, at(30_000)), None);
    }
}
