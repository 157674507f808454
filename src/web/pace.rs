//! A rate limit for the requests of all clients together.

use std::time::Duration;

use crate::config::RateLimit;
use crate::model::Mono;

/// The requests of the recent past.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next request is due if all come at the mean rate; `None` before the first.
    due: Option<Mono>,
}

impl Pace {
    /// Counts a request at `now`, or returns how long it is too early.
    pub(super) fn admit(&mut self, limit: RateLimit, now: Mono) -> Result<(), Duration> {
        let due = self.due.map_or(now, |due| due.max(now));
        let ahead = limit.interval.saturating_mul(limit.burst.get() - 1);
        let early = due.since(now).saturating_sub(ahead);
        if early.is_zero() {
            self.due = Some(due + limit.interval);
            Ok(())
        } else {
            Err(early)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_request_per_interval() {
        let interval = Duration::from_secs(2);
        let limit = RateLimit { interval, burst: NonZeroU32::new(3).unwrap() };
        let mut pace = Pace::default();
        let begin = crate::net::now().mono;
        let mut admit = |seconds| pace.admit(limit, begin + Duration::from_secs(seconds));
        for _ in 0..3 {
            assert_eq!(admit(0), Ok(()));
        }
        assert_eq!(admit(0), Err(Duration::from_secs(2)));
        assert_eq!(admit(1), Err(Duration::from_secs(1)));
        assert_eq!(admit(2), Ok(()));
        assert_eq!(admit(3), Err(Duration::from_secs(1)));
        // A pause restores the burst, and no more.
        for _ in 0..3 {
            assert_eq!(admit(100), Ok(()));
        }
        assert_eq!(admit(100), Err(Duration::from_secs(2)));
    }
}
