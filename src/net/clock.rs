//! Reads the clocks. No other file does.

use nix::time::{ClockId, clock_gettime};

use crate::model::{Moment, Mono, Wall};

/// The current time on `CLOCK_MONOTONIC` and `CLOCK_REALTIME`, read one after the other (about 50
/// ns apart, as `clock_gettime` runs in the vDSO).
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the only place that reads clocks")]
pub fn now() -> Moment {
    let nanos = |clock| {
        // Both clocks exist on every Linux, so the call cannot fail, and neither is before 1970.
        clock_gettime(clock).map_or(0, |time| {
            u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000
                + u64::try_from(time.tv_nsec()).unwrap_or(0)
        })
    };
    Moment {
        mono: Mono::from_nanos(nanos(ClockId::CLOCK_MONOTONIC)),
        wall: Wall::from_nanos(nanos(ClockId::CLOCK_REALTIME)),
    }
}
