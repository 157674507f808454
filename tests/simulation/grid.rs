//! When heartbeats are due. Each name has a phase within the interval, which is asked of the
//! product, because no definition gives it. Everything else follows from the definition.

use std::sync::Arc;
use std::time::Duration;

use udp_heartbeat::config::Target;
use udp_heartbeat::model::{Mono, TargetId};
use udp_heartbeat::probe::{Detail, Fleet};

/// The phase of a target within its interval, as the product computes it.
pub(crate) fn phase(target: &Arc<Target>) -> Duration {
    let mut alone = Fleet::new(&[1.0], Detail::Changes, None);
    alone.add(TargetId::first(0), target.clone(), Mono::default());
    let first = alone.poll_timeout().expect("a new target has something due");
    let phase = first.since(Mono::default());
    assert!(phase < target.interval);
    phase
}

/// The first moment from `now` on that is a whole number of intervals after the phase.
pub(crate) fn next(now: Mono, target: &Arc<Target>) -> Mono {
    let phase = Mono::default() + phase(target);
    let passed = now.since(phase).as_nanos();
    let intervals = passed.div_ceil(target.interval.as_nanos());
    let nanos = u64::try_from(intervals * target.interval.as_nanos()).expect("some time this year");
    phase + Duration::from_nanos(nanos)
}
