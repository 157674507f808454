//! The two clocks of the probe's machine, on simulated time.

use std::time::Duration;

use udp_heartbeat::model::{Moment, Mono, Wall};

use crate::scenario::{Offset, Step};

/// When every scenario begins on the monotonic clock: a machine that has run for a while.
pub(crate) const START: Mono = Mono::from_nanos(100_000 * 1_000_000_000);

/// When every scenario begins in civil time: 2026-01-01T00:00:00Z.
const EPOCH: Wall = Wall::from_nanos(1_767_225_600 * 1_000_000_000);

/// Civil time on a monotonic clock, with its steps.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    steps: Vec<(Mono, Offset)>,
}

impl Clock {
    /// A clock that jumps as the scenario says.
    pub(crate) fn new(steps: &[Step]) -> Self {
        Self { steps: steps.iter().map(|step| (START + step.at.0, step.by)).collect() }
    }

    /// A clock that is always ahead by `by`.
    pub(crate) fn ahead(by: Offset) -> Self {
        Self { steps: vec![(Mono::default(), by)] }
    }

    /// Both clocks at `at`.
    pub(crate) fn stamp(&self, at: Mono) -> Moment {
        Moment { mono: at, wall: self.wall(at) }
    }

    /// Civil time at `at`; a step applies from its own moment on.
    pub(crate) fn wall(&self, at: Mono) -> Wall {
        let steps = self.steps.iter().filter(|(since, _)| *since <= at);
        let ahead: i64 = steps.map(|(_, by)| by.0).sum();
        shift(EPOCH + at.since(START), ahead)
    }

    /// Whether civil time jumped after `after` and not later than `until`.
    pub(crate) fn stepped(&self, after: Mono, until: Mono) -> bool {
        self.steps.iter().any(|(at, _)| after < *at && *at <= until)
    }
}

fn shift(wall: Wall, nanos: i64) -> Wall {
    let by = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { wall - by } else { wall + by }
}
