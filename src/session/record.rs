//! What is counted of one target: the figures behind its series on `/metrics`.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Direction, IcmpKind, InvalidReason, Label, StampSource, State, UnsentReason, Wall,
};
use crate::wire::MAX_RESULTS;

/// Everything counted of one target since it was first configured.
#[derive(Debug, Clone)]
pub struct Record {
    /// Heartbeats that left.
    pub sent: u64,
    /// Heartbeats answered within the timeout.
    pub received: u64,
    /// Those answered within the timeout, by the result that the answer reports: the place among
    /// the protocol's [results](crate::wire::Protocol::results).
    pub results: Rare<MAX_RESULTS>,
    /// Heartbeats sent and not answered within the timeout.
    pub lost: u64,
    /// Heartbeats that were due and never left, by [`UnsentReason`].
    pub unsent: Rare<{ UnsentReason::COUNT }>,
    /// First answers after the timeout; each also stands in `lost`.
    pub late: u64,
    /// Further answers to one heartbeat (RFC 5560).
    pub duplicates: u64,
    /// First answers older than one already seen (RFC 4737).
    pub reordered: u64,
    /// Lost heartbeats of which a stateful reflector's numbers tell on which way they were lost, by
    /// [`Direction`].
    pub one_way_lost: [u64; Direction::COUNT],
    /// Datagrams from the target that answer nothing, by [`InvalidReason`].
    pub invalid: Rare<{ InvalidReason::COUNT }>,
    /// Entries into each [`State`].
    pub state_changes: [u64; State::COUNT],
    /// ICMP errors about the target, by [`IcmpKind`].
    pub icmp_errors: Rare<{ IcmpKind::COUNT }>,
    /// The last of them, and when it came.
    pub last_icmp: Option<(IcmpKind, Wall)>,
    /// The last datagram from the target that answers nothing, and when it came.
    pub last_invalid: Option<(InvalidReason, Wall)>,
    /// Round-trip delays by the source of their stamps.
    pub stamps: [u64; StampSource::COUNT],
    /// Round-trip delays (RFC 2681) of heartbeats answered in time, in nanoseconds, the
    /// responder's turnaround taken off where the protocol tells it.
    pub rtt: Histogram,
    /// Lengths of completed loss periods (RFC 3357), in heartbeats.
    pub loss_bursts: Histogram,
    /// The responder's dwell, in nanoseconds.
    pub turnaround: Summary,
    /// Absolute delay variation between consecutive answered heartbeats (RFC 3393), in nanoseconds.
    pub ipdv: Summary,
    /// The last round-trip delay, in nanoseconds.
    pub last_rtt: Option<u64>,
    /// When the last answer in time arrived.
    pub last_reply: Option<Wall>,
    /// Responder's receive time − probe's send time, in nanoseconds, as last answered.
    pub time_difference: Option<i64>,
    /// The hop limit of the last answer.
    pub reply_ttl: Option<u8>,
}

impl Record {
    /// A record in which nothing has happened.
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
            state_changes: [0; State::COUNT],
            icmp_errors: Rare::default(),
            last_icmp: None,
            last_invalid: None,
            stamps: [0; StampSource::COUNT],
            rtt: Histogram::new(rtt),
            loss_bursts: Histogram::new(loss_bursts),
            turnaround: Summary::default(),
            ipdv: Summary::default(),
            last_rtt: None,
            last_reply: None,
            time_difference: None,
            reply_ttl: None,
        }
    }

    /// Heartbeats that never left and count as misses: all but the skipped.
    #[must_use]
    pub fn unsent_misses(&self) -> u64 {
        UnsentReason::ALL
            .iter()
            .filter(|&&reason| reason != UnsentReason::Skipped)
            .map(|reason| self.unsent[reason.index()])
            .sum()
    }
}

/// Counts of what does not happen to most targets; they take memory once one is changed.
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

/// Upper bounds of a histogram's buckets, ascending; the bucket to +Inf is implied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Box<[u64]>);

impl Buckets {
    /// Buckets for delays, from bounds in seconds.
    ///
    /// The bounds are expected to be finite, positive and ascending, as `config/` checks them.
    #[must_use]
    pub fn from_seconds(bounds: &[f64]) -> Self {
        Self(bounds.iter().map(|&bound| nanos(bound)).collect())
    }

    /// Buckets for counts.
    #[must_use]
    pub fn from_counts(bounds: &[u64]) -> Self {
        Self(bounds.into())
    }

    /// The bounds: nanoseconds, or counts.
    #[must_use]
    pub fn bounds(&self) -> &[u64] {
        &self.0
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what a bound out of range should do"
)]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// How often values fell into which bucket.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Arc<Buckets>,
    /// One count a bucket, not cumulative; the last is the one to +Inf. Empty before the first
    /// value: most targets lose nothing, and need no memory to count what they lose.
    counts: Box<[u64]>,
    sum: u64,
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub fn new(buckets: Arc<Buckets>) -> Self {
        Self { buckets, counts: Box::default(), sum: 0 }
    }

    /// Counts `value`; a bucket's bound belongs to the bucket.
    pub fn observe(&mut self, value: u64) {
        let bucket = self.buckets.0.partition_point(|&bound| bound < value);
        self.counts_mut()[bucket] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Adds what another histogram over the same buckets has counted.
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

    /// Upper bounds with the cumulative count up to each, without +Inf.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut total = 0;
        self.buckets.0.iter().enumerate().map(move |(bucket, &bound)| {
            total += self.counts.get(bucket).copied().unwrap_or(0);
            (bound, total)
        })
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The mean, where anything was counted.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count()).map(Duration::from_nanos)
    }
}

impl Histogram {
    /// The value that a share `q`, from 0 to 1, of the values does not exceed, as Prometheus's
    /// `histogram_quantile` estimates it: by interpolation within a bucket, and no more than the
    /// greatest bound. `None` where nothing was counted.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "neither a bound nor a share of it is negative, and `as` saturates"
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

/// The sum and number of values: enough for a mean over any period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many values there were.
    pub count: u64,
    /// Their sum.
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
    fn a_bound_belongs_to_its_bucket_and_the_rest_to_infinity() {
        let mut histogram = Histogram::new(Arc::new(Buckets::from_counts(&[1, 2, 5])));
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1, 0), (2, 0), (5, 0)]);
        for value in [0, 1, 2, 3, 5, 6, 1000] {
            histogram.observe(value);
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1, 2), (2, 3), (5, 5)]);
        assert_eq!((histogram.count(), histogram.sum()), (7, 1017));
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
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
