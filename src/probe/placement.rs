//! The phase of a target's heartbeats within its interval, and its worker. Both depend on its name
//! alone.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::model::{Mono, nanos};

/// The index of the worker that has the target of this name.
pub(super) fn worker(name: &str, workers: NonZeroUsize) -> usize {
    usize::try_from(digest(name) % workers.get() as u64).unwrap_or(0)
}

/// A part of `interval` that depends on `name` alone, uniformly distributed over many names.
pub(super) fn phase(name: &str, interval: Duration) -> Duration {
    // Depends on the upper bits, while the worker depends on the lower ones: each worker's targets
    // are spread over the whole interval.
    let part = (u128::from(digest(name)) * interval.as_nanos()) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

/// The first moment from `now` on that lies a whole number of intervals after the phase of `name`.
pub(super) fn next_on_grid(now: Mono, name: &str, interval: Duration) -> Mono {
    let phase = Mono::default() + phase(name, interval);
    let interval = nanos(interval).max(1);
    match now.as_nanos().checked_sub(phase.as_nanos()) {
        None => phase,
        Some(passed) => {
            let missing = (interval - passed % interval) % interval;
            now + Duration::from_nanos(missing)
        }
    }
}

/// A hash of the name, which is the same in every run of a build. Targets of one interval fall due
/// in the order of their digests.
pub(super) fn digest(name: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ten_thousand_names_are_spread_evenly() {
        const BINS: usize = 1_000;
        let names = (0..10_000).map(|n| format!("edge-{n:04}.pop{}.example", n % 37));
        let mut bins = [0_u32; BINS];
        for name in names {
            let phase = phase(&name, SECOND);
            assert!(phase < SECOND);
            bins[usize::try_from(phase.as_millis()).unwrap()] += 1;
        }
        // The mean is 10 a millisecond. For uniform phases, chi-square has 999 degrees of freedom
        // and exceeds 1143 once in a thousand; a bin has 30 once in some thousand.
        let chi_square: f64 = bins.iter().map(|&n| (f64::from(n) - 10.0).powi(2) / 10.0).sum();
        assert!((860.0..1143.0).contains(&chi_square), "{chi_square}");
        assert!(bins.iter().all(|&n| n < 30), "{:?}", bins.iter().max());
    }

    #[test]
    fn a_phase_depends_on_the_name_and_scales_with_the_interval() {
        let whole = phase("fra-edge", SECOND * 1_000);
        assert_eq!(whole, phase("fra-edge", SECOND * 1_000));
        assert_ne!(whole, phase("fra-edge2", SECOND * 1_000));
        let part = phase("fra-edge", SECOND);
        assert!(whole.abs_diff(part * 1_000) <= Duration::from_micros(1));
        assert_eq!(phase("fra-edge", Duration::from_nanos(1)), Duration::ZERO);
    }

    #[test]
    fn workers_share_names_evenly_and_each_share_is_spread_over_the_interval() {
        let workers = NonZeroUsize::new(4).unwrap();
        let names: Vec<String> = (0..1000).map(|n| format!("target {n}")).collect();
        for share in 0..workers.get() {
            let own: Vec<_> = names.iter().filter(|name| worker(name, workers) == share).collect();
            // Binomial with n = 1000, p = 1/4: five standard deviations are 68.
            assert!((182..=318).contains(&own.len()), "{}", own.len());
            let early = own.iter().filter(|name| phase(name, SECOND) < SECOND / 2).count();
            // Binomial with n < 318, p = 1/2: five standard deviations are less than 45.
            assert!(early.abs_diff(own.len() / 2) < 45, "{early} of {}", own.len());
        }
    }

    proptest! {
        #[test]
        fn a_grid_has_one_fixed_point_in_each_interval(
            name in "[a-z]{1,8}",
            interval in 1..100_000_000_000_u64,
            now in 0..1_000_000_000_000_000_u64,
            wait in 0..1_000_000_000_000_u64,
        ) {
            let interval = Duration::from_nanos(interval);
            let now = Mono::from_nanos(now);
            let next = next_on_grid(now, &name, interval);
            prop_assert!(next >= now && next.since(now) < interval);
            prop_assert_eq!(next_on_grid(next, &name, interval), next);
            let later = next_on_grid(now + Duration::from_nanos(wait), &name, interval);
            prop_assert_eq!(later.since(next).as_nanos() % interval.as_nanos(), 0);
        }
    }
}
