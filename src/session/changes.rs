//! The changes of the verdict: the newest ones, and the time spent down.

use std::time::Duration;

use crate::model::{Moment, Mono, State, Wall};

/// When the verdict changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    last: Option<Moment>,
    /// Earlier changes, in seconds since the epoch, newest first; 0 for an unused entry.
    before: [u32; 3],
    /// Time spent down before the current verdict.
    down: Duration,
}

impl Changes {
    /// When the verdict last changed.
    pub(super) fn last(&self) -> Option<Moment> {
        self.last
    }

    /// The verdict changes to `state` at `at`.
    pub(super) fn add(&mut self, state: State, at: Moment) {
        if let Some(before) = self.last.replace(at) {
            if state == State::Up {
                self.down += at.mono.since(before.mono);
            }
            self.before.rotate_right(1);
            let seconds = before.wall.as_nanos() / 1_000_000_000;
            self.before[0] = u32::try_from(seconds).unwrap_or(u32::MAX);
        }
    }

    /// Time spent down up to `now`, with the current verdict `state`.
    pub(super) fn down(&self, state: Option<State>, now: Mono) -> Duration {
        let since = self.last.filter(|_| state == Some(State::Down));
        self.down + since.map_or(Duration::ZERO, |since| now.since(since.mono))
    }

    /// The last changes, at most four, newest first: the new verdict and the time. Times are exact
    /// for the newest and rounded down to the second for the others. `state` is the current verdict.
    pub(super) fn newest(&self, state: Option<State>) -> impl Iterator<Item = (State, Wall)> + '_ {
        let known = self.before.into_iter().filter(|&seconds| seconds > 0);
        let before = known.map(|seconds| Wall::from_nanos(u64::from(seconds) * 1_000_000_000));
        let moments = self.last.map(|at| at.wall).into_iter().chain(before);
        // The two verdicts alternate.
        let newest = state.unwrap_or(State::Up);
        let other = if newest == State::Up { State::Down } else { State::Up };
        [newest, other].into_iter().cycle().zip(moments)
    }
}
