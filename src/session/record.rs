//! The counters of one target, which its series on `/metrics` show.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Direction, IcmpKind, InvalidReason, Label, StampSource, State, UnsentReason, Wall,
};
use crate::wire::MAX_RESULTS;

/// The counters of one target, since it was first configured.
#[derive(Debug, Clone)]
pub struct Record {
    /// Heartbeats that left.
    pub sent: u64,
    /// Heartbeats answered within the timeout.
    pub received: u64,
    /// Heartbeats answered within the timeout, by the result that the answer reports: its index in
    /// the protocol's [results](crate::wire::Protocol::results).
    pub results: Rare<MAX_RESULTS>,
    /// Heartbeats sent and not answered within the timeout.
    pub lost: u64,
    /// Heartbeats that were due and never left, by [`UnsentReason`].
    pub unsent: Rare<{ UnsentReason::COUNT }>,
    /// First answers after the timeout; `lost` counts these heartbeats too.
    pub late: u64,
    /// Further answers to one heartbeat (RFC 5560).
    pub duplicates: u64,
    /// First answers to a heartbeat older than one already answered (RFC 4737).
    pub reordered: u64,
    /// Lost heartbeats by [`Direction`], from the sequence numbers of a stateful reflector.
    pub one_way_lost: [u64; Direction::COUNT],
    /// Invalid replies from the target, by [`InvalidReason`].
    pub invalid: Rare<{ InvalidReason::COUNT }>,
    /// Answers to the target's heartbeats that came from another address.
    pub other_source_replies: u64,
    /// The address that the last of them came from, and when it arrived.
    pub last_other_source: Option<Box<(SocketAddr, Wall)>>,
    /// Entries into each [`State`].
    pub state_changes: [u64; State::COUNT],
    /// ICMP errors about the target, by [`IcmpKind`].
    pub icmp_errors: Rare<{ IcmpKind::COUNT }>,
    /// The last ICMP error, and when it arrived.
    pub last_icmp: Option<(IcmpKind, Wall)>,
    /// The last invalid reply, and when it arrived.
    pub last_invalid: Option<(InvalidReason, Wall)>,
    /// The number of round-trip delays, by the source of their timestamps.
    pub stamps: [u64; StampSource::COUNT],
    /// Round-trip delays (RFC 2681) of heartbeats answered in time, in nanoseconds, without the
    /// responder's turnaround if the protocol reports it.
    pub rtt: Histogram,
    /// Lengths of completed loss periods (RFC 3357), in heartbeats.
    pub loss_bursts: Histogram,
    /// The responder's turnaround, in nanoseconds.
    pub turnaround: Summary,
    /// Heartbeats answered in time whose reported turnaround was negative or longer than the round
    /// trip, and was ignored.
    pub turnaround_invalid: u64,
    /// Absolute differences between the round-trip delays of consecutive heartbeats, both answered
    /// in time, in nanoseconds. RFC 3393 defines another value: a signed one-way difference.
    pub ipdv: Summary,
    /// The last round-trip delay, in nanoseconds.
    pub last_rtt: Option<u64>,
    /// When the last answer in time arrived.
    pub last_reply: Option<Wall>,
    /// Responder's receive time − probe's send time, in nanoseconds, from the last answer that
    /// reports it.
    pub time_difference: Option<i64>,
    /// The hop limit of the last answer.
    pub reply_ttl: Option<u8>,
}

impl Record {
    /// A record with all counters at 0.
    #[must_use]
    pub fn new(rtt: Arc<Buckets>, loss_bursts: Arc<Buckets>) -> Self {
        Self {
            sent: 0,
            received: 0,
            results: Rare::default(),
            lost: 0,
            unsent: Rare::default(),
            late: 0,
            duplicates: 0,
            reordered: 0,
            one_way_lost: [0; Direction::COUNT],
            invalid: Rare::default(),
            other_source_replies: 0,
            last_other_source: None,
            state_changes: [0; State::COUNT],
            icmp_errors: Rare::default(),
            last_icmp: None,
            last_invalid: None,
            stamps: [0; StampSource::COUNT],
            rtt: Histogram::new(rtt),
            loss_bursts: Histogram::new(loss_bursts),
            turnaround: Summary::default(),
            turnaround_invalid: 0,
            ipdv: Summary::default(),
            last_rtt: None,
            last_reply: None,
            time_difference: None,
            reply_ttl: None,
        }
    }

    /// Unsent heartbeats that count as misses: all except the skipped.
    #[must_use]
    pub fn unsent_misses(&self) -> u64 {
        UnsentReason::ALL
            .iter()
            .filter(|&&reason| reason != UnsentReason::Skipped)
            .map(|reason| self.unsent[reason.index()])
            .sum()
    }
}

/// Counters that stay 0 for most targets. They take no memory until one is changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rare<const N: usize>(Option<Box<[u64; N]>>);

impl<const N: usize> Deref for Rare<N> {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        self.0.as_deref().unwrap_or(const { &[0; N] })
    }
}

impl<const N: usize> DerefMut for Rare<N> {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.0.get_or_insert_with(|| Box::new([0; N]))[..]
    }
}

/// Upper bounds of a histogram's buckets, ascending; the +Inf bucket is implied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Box<[u64]>);

impl Buckets {
    /// Buckets for delays, from bounds in seconds.
    ///
    /// The bounds must be finite, positive and ascending; `config` checks this.
    #[must_use]
    pub fn from_seconds(bounds: &[f64]) -> Self {
        Self(bounds.iter().map(|&bound| nanos(bound)).collect())
    }

    /// Buckets for counts.
    #[must_use]
    pub fn from_counts(bounds: &[u64]) -> Self {
        Self(bounds.into())
    }

    /// The bounds, in nanoseconds or as counts.
    #[must_use]
    pub fn bounds(&self) -> &[u64] {
        &self.0
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, as a bound out of range should"
)]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// Counts of values by bucket.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Arc<Buckets>,
    /// One count per bucket, not cumulative, the +Inf bucket last. Empty until the first value,
    /// because most targets lose nothing and need no memory for loss periods.
    counts: Box<[u64]>,
    sum: u64,
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub fn new(buckets: Arc<Buckets>) -> Self {
        Self { buckets, counts: Box::default(), sum: 0 }
    }

    /// Counts `value`. Upper bounds are inclusive.
    pub fn observe(&mut self, value: u64) {
        let bucket = self.buckets.0.partition_point(|&bound| bound < value);
        self.counts_mut()[bucket] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Adds the counts of a histogram with the same buckets.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.buckets, other.buckets);
        for (mine, theirs) in self.counts_mut().iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    fn counts_mut(&mut self) -> &mut [u64] {
        if self.counts.is_empty() {
            self.counts = vec![0; self.buckets.0.len() + 1].into();
        }
        &mut self.counts
    }

    /// Each upper bound with its cumulative count, without +Inf.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut total = 0;
        self.buckets.0.iter().enumerate().map(move |(bucket, &bound)| {
            total += self.counts.get(bucket).copied().unwrap_or(0);
            (bound, total)
        })
    }

    /// The number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The mean of values in nanoseconds; `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count()).map(Duration::from_nanos)
    }
}

impl Histogram {
    /// The `q`-quantile of the values (0 ≤ `q` ≤ 1), as Prometheus's `histogram_quantile` estimates
    /// it: by linear interpolation within a bucket, at most the largest bound. `None` if there are
    /// no values.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounds and fractions of them are not negative, and `as` saturates"
    )]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = q * count as f64;
        let (mut lower, mut below) = (0, 0);
        for (bound, total) in self.cumulative() {
            if total as f64 >= rank && total > below {
                let share = (rank - below as f64) / (total - below) as f64;
                return Some(lower + ((bound - lower) as f64 * share) as u64);
            }
            (lower, below) = (bound, total);
        }
        Some(lower)
    }
}

/// The sum and number of values, enough for the mean of any period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of values.
    pub count: u64,
    /// The sum of values.
    pub sum: u64,
}

impl Summary {
    /// Adds a value.
    pub fn observe(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_bounds_are_inclusive_and_larger_values_are_in_the_inf_bucket() {
        let mut histogram = Histogram::new(Arc::new(Buckets::from_counts(&[1, 2, 5])));
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1, 0), (2, 0), (5, 0)]);
        for value in [0, 1, 2, 3, 5, 6, 1000] {
            histogram.observe(value);
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1, 2), (2, 3), (5, 5)]);
        assert_eq!((histogram.count(), histogram.sum()), (7, 1017));
    }

    #[test]
    fn quantiles_equal_those_of_prometheus() {
        let mut histogram = Histogram::new(Arc::new(Buckets::from_counts(&[100, 200, 400])));
        assert_eq!(histogram.quantile(0.5), None);
        for value in [50, 150, 150, 300] {
            histogram.observe(value);
        }
        // Ranks 1, 2, 3 and 4 lie at the ends of 0…100, the middle and the end of 100…200, and 400.
        let quantiles = [0.125, 0.25, 0.5, 0.75, 0.99, 1.0].map(|q| histogram.quantile(q));
        assert_eq!(quantiles, [50, 100, 150, 200, 392, 400].map(Some));
        (0..100).for_each(|_| histogram.observe(1_000));
        assert_eq!(histogram.quantile(0.5), Some(400));
    }

    #[test]
    fn seconds_become_nanoseconds() {
        assert_eq!(Buckets::from_seconds(&[50e-6, 0.1]).bounds(), [50_000, 100_000_000]);
    }
}
