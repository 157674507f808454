//! The history of one target: the heartbeats of the last minutes in columns, as a graph shows them.
//!
//! A column stores a mean delay and two counts in four octets, so that the history takes as much
//! memory as a few heartbeats of the flight recorder, whatever the interval.

use std::time::Duration;

use crate::model::{Mono, nanos};

/// How many columns are kept.
const COLUMNS: usize = OVER as usize + 1;

/// How many of the columns are complete.
const OVER: u8 = 29;

/// The minimum time that a column covers.
const WIDTH: Duration = Duration::from_secs(10);

/// The largest count that a column stores. Larger counts are scaled to this.
const MOST: u32 = 255;

/// The heartbeats that were settled within one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Column {
    /// The mean round-trip delay of those answered in time, with a relative error of at most
    /// 1/2,048.
    pub rtt: Option<Duration>,
    /// How many were misses: lost, or unsent but not skipped.
    ///
    /// Exact up to 255 settled heartbeats. Beyond that it is scaled to 255 and rounded up, so that
    /// it is 0 only if nothing was missed.
    pub missed: u32,
    /// How many were settled, without the skipped; at most 255.
    pub settled: u32,
}

/// The history of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// Oldest first; the last is not complete yet.
    pub columns: Vec<Column>,
    /// The time that a column covers.
    pub width: Duration,
}

/// Misses among settled heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Misses {
    /// How many were misses.
    pub missed: u32,
    /// How many were settled.
    pub settled: u32,
}

impl Misses {
    /// The ratio of misses, from 0 to 1; `None` if nothing was settled.
    #[must_use]
    pub fn ratio(self) -> Option<f64> {
        (self.settled > 0).then(|| f64::from(self.missed) / f64::from(self.settled))
    }
}

/// The stored history of one target.
#[derive(Debug)]
pub(super) struct History {
    /// The current column; it moves to `over[next]` when it is complete.
    present: Tally,
    /// When the current column ends.
    ends: Mono,
    /// The time that a column covers, in seconds.
    width: u32,
    /// The complete columns, as a ring.
    over: [Packed; OVER as usize],
    next: u8,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// The sum of delays, in nanoseconds.
    sum: u64,
    received: u32,
    missed: u32,
}

/// A column in four octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Packed {
    /// The mean as [`Packed::packed_delay`] encodes it; meaningless if all were missed.
    rtt: u16,
    missed: u8,
    settled: u8,
}

impl History {
    /// An empty history of heartbeats every `interval`, the first due at `first`.
    pub(super) fn new(interval: Duration, first: Mono) -> Self {
        let width = seconds(interval);
        let ends = first + Duration::from_secs(width.into());
        Self { present: Tally::default(), ends, width, over: Default::default(), next: 0 }
    }

    /// Applies a new `interval`; the next heartbeat is due at `next`. If the columns change their
    /// width, the history is cleared, as old and new columns cannot be compared.
    pub(super) fn retune(&mut self, interval: Duration, next: Mono) {
        if seconds(interval) != self.width {
            *self = Self::new(interval, next);
        }
    }

    /// Counts a heartbeat answered in time at `at`, with a delay of `rtt` nanoseconds.
    pub(super) fn received(&mut self, at: Mono, rtt: u64) {
        self.advance(at);
        self.present.sum = self.present.sum.saturating_add(rtt);
        self.present.received = self.present.received.saturating_add(1);
    }

    /// Counts a heartbeat settled as a miss at `at`.
    pub(super) fn missed(&mut self, at: Mono) {
        self.advance(at);
        self.present.missed = self.present.missed.saturating_add(1);
    }

    /// The columns up to `now`.
    pub(super) fn recent(&self, now: Mono) -> Recent {
        let columns = self.packed(now).map(Packed::column).collect();
        Recent { columns, width: self.width() }
    }

    /// The misses in all columns up to `now`.
    pub(super) fn misses(&self, now: Mono) -> Misses {
        self.packed(now).fold(Misses::default(), |sum, column| Misses {
            missed: sum.missed + u32::from(column.missed),
            settled: sum.settled + u32::from(column.settled),
        })
    }

    /// The misses in the columns that lie entirely between `from` and `until`, as of `now`: the sum
    /// over these columns, and the misses in the column with the median ratio.
    pub(super) fn between(&self, now: Mono, from: Mono, until: Mono) -> (Misses, Misses) {
        let passed = u32::try_from(self.over_at(now)).unwrap_or(u32::MAX);
        let present_ends = self.ends + self.width().saturating_mul(passed);
        let mut each = [Misses::default(); COLUMNS];
        let mut len = 0;
        let mut sum = Misses::default();
        for (newer, column) in (0..=u32::from(OVER)).rev().zip(self.packed(now)) {
            let ends = present_ends - self.width().saturating_mul(newer);
            let lies_between = ends - self.width() >= from && ends.min(now) <= until;
            if column.settled == 0 || !lies_between {
                continue;
            }
            let misses = Misses { missed: column.missed.into(), settled: column.settled.into() };
            sum.missed += misses.missed;
            sum.settled += misses.settled;
            each[len] = misses;
            len += 1;
        }
        if sum.missed == 0 {
            return (sum, sum);
        }
        let each = &mut each[..len];
        each.sort_unstable_by_key(|misses| {
            u64::from(misses.missed) * 1_000_000 / u64::from(misses.settled)
        });
        (sum, each[(len - 1) / 2])
    }

    /// Completes the columns that end at or before `at`. A heartbeat settled earlier than the
    /// current column is counted in the current one.
    fn advance(&mut self, at: Mono) {
        if at < self.ends {
            return;
        }
        let over = self.over_at(at);
        for _ in 0..over.min(COLUMNS as u64) {
            self.over[usize::from(self.next)] = Packed::of(std::mem::take(&mut self.present));
            self.next = (self.next + 1) % OVER;
        }
        let passed = u32::try_from(over).unwrap_or(u32::MAX);
        self.ends = self.ends + self.width().saturating_mul(passed);
    }

    /// How many columns end at or before `at`, beginning with the current one.
    fn over_at(&self, at: Mono) -> u64 {
        match at.as_nanos().checked_sub(self.ends.as_nanos()) {
            Some(late) => late / nanos(self.width()) + 1,
            None => 0,
        }
    }

    /// All columns at `now`, oldest first.
    fn packed(&self, now: Mono) -> impl Iterator<Item = Packed> + '_ {
        let passed = usize::try_from(self.over_at(now)).unwrap_or(COLUMNS).min(COLUMNS);
        let (newer, older) = self.over.split_at(self.next.into());
        let known = older.iter().chain(newer).copied().chain([Packed::of(self.present)]);
        known.chain(std::iter::repeat_n(Packed::default(), passed)).skip(passed)
    }

    fn width(&self) -> Duration {
        Duration::from_secs(self.width.into())
    }
}

/// The time that a column covers with heartbeats every `interval`, in seconds.
fn seconds(interval: Duration) -> u32 {
    // At least two intervals, so that delay variation leaves no column empty.
    let seconds = WIDTH.max(interval.saturating_mul(2)).as_millis().div_ceil(1000);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

impl Packed {
    #[expect(clippy::cast_possible_truncation, reason = "neither count is more than 255")]
    fn of(tally: Tally) -> Self {
        let Tally { sum, received, missed } = tally;
        let settled = u64::from(received) + u64::from(missed);
        let rtt = Self::packed_delay(sum / u64::from(received.max(1)));
        let most = u64::from(MOST);
        if settled <= most {
            return Self { rtt, missed: missed as u8, settled: settled as u8 };
        }
        let share = (u64::from(missed) * most).div_ceil(settled);
        // Rounding must not hide the only answers either.
        let share = if received > 0 { share.min(most - 1) } else { share };
        Self { rtt, missed: share as u8, settled: most as u8 }
    }

    fn column(self) -> Column {
        let rtt = (self.missed < self.settled).then(|| Duration::from_nanos(self.delay()));
        Column { rtt, missed: self.missed.into(), settled: self.settled.into() }
    }

    /// Nanoseconds as a 16-bit float: 11 bits of mantissa and 5 bits of exponent. Exponent 0 means
    /// the mantissa itself. Otherwise the mantissa has an implied twelfth bit, which is set, and is
    /// shifted left by the exponent less one.
    #[expect(clippy::cast_possible_truncation, reason = "masked, and at most 31")]
    fn packed_delay(nanos: u64) -> u16 {
        const MAX: u64 = 0xFFF << 30;
        let nanos = nanos.min(MAX);
        if nanos < 1 << 11 {
            return nanos as u16;
        }
        let cut = nanos.ilog2() - 11;
        ((cut as u16 + 1) << 11) | ((nanos >> cut) as u16 & 0x7FF)
    }

    fn delay(self) -> u64 {
        let low = u64::from(self.rtt & 0x7FF);
        match u32::from(self.rtt >> 11) {
            0 => low,
            cut => (low | 1 << 11) << (cut - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_nanos(millis * 1_000_000)
    }

    fn column(nanos: u64, missed: u32, settled: u32) -> Column {
        let rtt = (missed < settled).then(|| Duration::from_nanos(nanos));
        Column { rtt, missed, settled }
    }

    #[test]
    fn heartbeats_are_counted_in_the_column_in_which_they_are_settled() {
        let mut history = History::new(Duration::from_secs(1), at(0));
        history.received(at(9_999), 1_000);
        history.received(at(10_000), 2_000);
        history.missed(at(19_999));
        history.received(at(19_999), 2_001);
        history.missed(at(35_000));
        let Recent { columns, width } = history.recent(at(49_999));
        assert_eq!((columns.len(), width), (30, Duration::from_secs(10)));
        let newest = [
            column(1_000, 0, 1),
            column(2_000, 1, 3),
            column(0, 0, 0),
            column(0, 1, 1),
            column(0, 0, 0),
        ];
        assert_eq!(columns[25..], newest);
        assert_eq!(columns[..25], [Column::default(); 25]);
        assert_eq!(history.misses(at(49_999)), Misses { missed: 2, settled: 5 });
        assert_eq!(history.misses(at(309_999)), Misses { missed: 2, settled: 4 });
        assert_eq!(history.misses(at(u64::MAX / 1_000_000)).ratio(), None);
    }

    #[test]
    fn misses_between_two_moments_are_those_of_the_columns_between_them() {
        let mut history = History::new(Duration::from_secs(1), at(0));
        // Misses by column: 0, 10, 1 and 2 of 10, and 1 of 2 in the last.
        for (column, missed) in [(0, 0), (1, 10), (2, 1), (3, 2)] {
            for n in 0..10 {
                let settled = at(column * 10_000 + n * 1000);
                if n < missed { history.missed(settled) } else { history.received(settled, 1) }
            }
        }
        history.missed(at(40_000));
        history.received(at(41_000), 1);
        let now = at(42_000);
        let of = |missed, settled| Misses { missed, settled };
        assert_eq!(history.between(now, at(0), now), (of(14, 42), of(2, 10)));
        assert_eq!(history.between(now, at(1), now), (of(14, 32), of(2, 10)));
        assert_eq!(history.between(now, at(20_000), at(40_000)), (of(3, 20), of(1, 10)));
        assert_eq!(history.between(now, at(20_000), at(39_999)), (of(1, 10), of(1, 10)));
        assert_eq!(history.between(now, at(0), at(9_999)), Default::default());
        assert_eq!(history.between(at(10_000_000), at(0), at(10_000_000)), Default::default());
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let mut history = History::new(Duration::from_secs(1), at(0));
        for n in 0..100 {
            history.received(at(n * 10_000), n);
        }
        let columns = history.recent(at(990_000)).columns;
        assert_eq!(columns, (70..100).map(|n| column(n, 0, 1)).collect::<Vec<_>>());
        history.missed(at(10_000_000));
        let columns = history.recent(at(10_000_000)).columns;
        assert_eq!(columns[..29], [Column::default(); 29]);
        assert_eq!(columns[29], column(0, 1, 1));
    }

    #[test]
    fn slow_heartbeats_leave_no_column_empty() {
        let minute = Duration::from_secs(60);
        let mut history = History::new(minute, at(0));
        for n in 0..60 {
            history.received(at(n * 60_000 + (n % 2) * 40_000), 1);
        }
        let Recent { columns, width } = history.recent(at(59 * 60_000));
        assert_eq!(width, minute * 2);
        assert!(columns.iter().all(|column| column.settled > 0), "{columns:?}");
        let day = History::new(Duration::from_secs(86_400), at(0));
        assert_eq!(day.recent(at(0)).width, Duration::from_secs(2 * 86_400));
    }

    #[test]
    fn large_counts_are_scaled_and_a_single_miss_or_answer_is_not_rounded_away() {
        let packed = |received, missed| Packed::of(Tally { sum: 0, received, missed }).column();
        assert_eq!(packed(255, 0), Column { rtt: Some(Duration::ZERO), missed: 0, settled: 255 });
        assert_eq!(packed(128, 127).missed, 127);
        assert_eq!(packed(9_999, 1).missed, 1);
        assert_eq!(packed(5_000, 5_000).missed, 128);
        assert_eq!((packed(1, 9_999).missed, packed(1, 9_999).rtt), (254, Some(Duration::ZERO)));
        assert_eq!((packed(0, 9_999).missed, packed(0, 9_999).rtt), (255, None));
    }

    proptest! {
        #[test]
        fn stored_delays_have_a_relative_error_of_at_most_1_in_2048(nanos in 0..(0xFFF_u64 << 30)) {
            let kept = Packed { rtt: Packed::packed_delay(nanos), missed: 0, settled: 1 }.delay();
            prop_assert!(kept <= nanos && nanos - kept <= nanos / 2048, "{nanos} is stored as {kept}");
        }
    }
}
