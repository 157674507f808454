//! When a name is looked up again. Pure.

use std::time::Duration;

use crate::model::{Found, IpVersion};

/// The shortest time between two lookups of a name that succeeds, also if its targets are down: the
/// name servers of many names with a TTL of 0 still get at most this rate.
pub(super) const SHORTEST: Duration = Duration::from_secs(5);

/// The longest time between two lookups, also if the TTL is longer or unknown: the hosts file, and a
/// record that was changed against its TTL, are noticed within a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// The shortest wait before a failed lookup is retried.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest such wait if no name server gave a definite answer: names are resolved soon after the
/// network or the name server is there.
const UNANSWERED_RETRY: Duration = Duration::from_secs(10);

/// The lookups of a name so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
}

impl Pace {
    /// How long to wait after a lookup that found this before the next one. `ttl` is the time for
    /// which the answer is valid, if it is known.
    pub(super) fn after(&mut self, found: &Found, ttl: Option<Duration>) -> Duration {
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
        if found.of(IpVersion::Auto).is_err() {
            self.failures = self.failures.saturating_add(1);
            return wait.min(if found.is_definite() { LONGEST } else { UNANSWERED_RETRY });
        }
        if found.is_definite() {
            self.failures = 0;
            return ttl.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
        }
        // The addresses of one IP version are still unknown.
        self.failures = self.failures.saturating_add(1);
        wait.clamp(SHORTEST, UNANSWERED_RETRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LookupFailure;

    const S: Duration = Duration::from_secs(1);

    fn found() -> Found {
        ["192.0.2.1:0".parse().unwrap()].into()
    }

    #[test]
    fn a_name_is_looked_up_when_its_ttl_ends_within_limits() {
        let mut pace = Pace::default();
        for (ttl, wait) in
            [(None, 60), (Some(0), 5), (Some(5), 5), (Some(17), 17), (Some(3600), 60)]
        {
            let ttl = ttl.map(|seconds| S * seconds);
            assert_eq!(pace.after(&found(), ttl), S * wait, "{ttl:?}");
        }
    }

    #[test]
    fn failures_back_off_until_a_success() {
        let mut pace = Pace::default();
        let mut waits = |why, n| -> Vec<u64> {
            (0..n).map(|_| pace.after(&Found::failed(why), None).as_secs()).collect()
        };
        assert_eq!(waits(LookupFailure::NxDomain, 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(waits(LookupFailure::Timeout, 2), [10, 10]);
        assert_eq!(pace.after(&found(), None), S * 60);
        let mut waits = |why, n| -> Vec<u64> {
            (0..n).map(|_| pace.after(&Found::failed(why), None).as_secs()).collect()
        };
        assert_eq!(waits(LookupFailure::Unreachable, 6), [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_family_that_no_server_answers_for_is_asked_for_again() {
        let half =
            Found::new(Ok(vec!["192.0.2.1:0".parse().unwrap()]), Err(LookupFailure::Timeout));
        let mut pace = Pace::default();
        let waits: Vec<_> = (0..5).map(|_| pace.after(&half, Some(S * 300)).as_secs()).collect();
        assert_eq!(waits, [5, 5, 5, 8, 10]);
    }
}
