//! Reads the text of `/metrics` and sums its figures over all targets.

use std::time::Duration;

use anyhow::Context;

/// The figures of one scrape, over all targets.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) in_flight: u64,
    pub(crate) late: u64,
    pub(crate) unsent: u64,
    /// Datagrams that the kernel dropped on the probe's sockets.
    pub(crate) drops: u64,
    /// Round trips measured by kernel stamps, and by the user-space clock.
    pub(crate) kernel_stamps: u64,
    pub(crate) user_stamps: u64,
    pub(crate) rtt: Histogram,
    pub(crate) lag: Histogram,
    /// The number of targets, and of those whose ledger does not add up.
    pub(crate) targets: usize,
    pub(crate) unbalanced: usize,
}

impl Figures {
    /// Reads the text format.
    pub(crate) fn read(text: &str) -> anyhow::Result<Self> {
        let mut figures = Self::default();
        let mut ledgers = Ledgers::default();
        for line in text.lines().filter(|line| line.starts_with("heartbeat_")) {
            let (series, value) = line.rsplit_once(' ').context("a line without a value")?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let column = match name {
                "heartbeat_sent_total" => 0,
                "heartbeat_received_total" => 1,
                "heartbeat_lost_total" => 2,
                "heartbeat_in_flight" => 3,
                _ => {
                    figures.add(name, labels, value)?;
                    continue;
                }
            };
            ledgers.0[column].push((labels, value.parse::<f64>()?));
        }
        figures.settle(&ledgers);
        Ok(figures)
    }

    fn add(&mut self, name: &str, labels: &str, value: &str) -> anyhow::Result<()> {
        let count = || -> anyhow::Result<u64> { Ok(whole(value.parse()?)) };
        match name {
            "heartbeat_late_total" => self.late += count()?,
            "heartbeat_unsent_total" => self.unsent += count()?,
            "heartbeat_probe_receive_drops_total" => self.drops += count()?,
            "heartbeat_probe_timestamps_total" if labels.contains("kernel") => {
                self.kernel_stamps += count()?;
            }
            "heartbeat_probe_timestamps_total" => self.user_stamps += count()?,
            "heartbeat_rtt_seconds_bucket" => self.rtt.add_bucket(labels, count()?)?,
            "heartbeat_rtt_seconds_sum" => self.rtt.sum += value.parse::<f64>()?,
            "heartbeat_probe_schedule_lag_seconds_bucket" => {
                self.lag.add_bucket(labels, count()?)?;
            }
            "heartbeat_probe_schedule_lag_seconds_sum" => self.lag.sum += value.parse::<f64>()?,
            _ => {}
        }
        Ok(())
    }

    /// Sums the ledgers, and checks that each one adds up: sent = received + lost + `in_flight`.
    /// Every family has the targets in the same order.
    fn settle(&mut self, ledgers: &Ledgers<'_>) {
        let [sent, received, lost, in_flight] = &ledgers.0;
        let total = |column: &[(&str, f64)]| whole(column.iter().map(|(_, value)| value).sum());
        (self.sent, self.received) = (total(sent), total(received));
        (self.lost, self.in_flight) = (total(lost), total(in_flight));
        self.targets = sent.len();
        let balanced = sent.iter().zip(received).zip(lost.iter().zip(in_flight)).filter(
            |&(((target, sent), received), (lost, in_flight))| {
                let same =
                    [received.0, lost.0, in_flight.0].into_iter().all(|name| name == *target);
                // Whole numbers below 2⁵³ are exact.
                same && whole(*sent) == whole(received.1 + lost.1 + in_flight.1)
            },
        );
        self.unbalanced = self.targets - balanced.count();
    }
}

/// The four columns of the ledgers: each target's labels and its value.
#[derive(Debug, Default)]
struct Ledgers<'a>([Vec<(&'a str, f64)>; 4]);

/// A histogram, summed over all targets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    /// Upper bounds in seconds, ascending, +Inf last, with the cumulative count up to each.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Histogram {
    fn add_bucket(&mut self, labels: &str, count: u64) -> anyhow::Result<()> {
        let bound = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
        let bound: f64 = bound.context("a bucket without a bound")?.0.parse()?;
        match self.buckets.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
            Ok(index) => self.buckets[index].1 += count,
            Err(index) => self.buckets.insert(index, (bound, count)),
        }
        Ok(())
    }

    /// The counts since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        for ((_, count), (_, before)) in later.buckets.iter_mut().zip(&earlier.buckets) {
            *count = count.saturating_sub(*before);
        }
        later.sum -= earlier.sum;
        later
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// The mean; `None` if there are no values.
    pub(crate) fn mean(&self) -> Option<Duration> {
        let mean = self.sum / self.count() as f64;
        Duration::try_from_secs_f64(mean).ok()
    }

    /// The quantile `q`, interpolated within its bucket as by Prometheus's `histogram_quantile`:
    /// only the bucket is certain.
    pub(crate) fn quantile(&self, q: f64) -> Option<Quantile> {
        let rank = q * self.count() as f64;
        let index =
            self.buckets.iter().position(|&(_, count)| count > 0 && count as f64 >= rank)?;
        let (bound, up_to) = self.buckets[index];
        let (lower, before) =
            index.checked_sub(1).map_or((0.0, 0), |previous| self.buckets[previous]);
        if bound.is_infinite() {
            return Some(Quantile::Above(Duration::from_secs_f64(lower)));
        }
        let share = (rank - before as f64) / (up_to - before) as f64;
        Some(Quantile::At(Duration::from_secs_f64(lower + (bound - lower) * share)))
    }
}

/// A quantile, to the precision of a histogram.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Quantile {
    /// About this.
    At(Duration),
    /// More than the highest bound.
    Above(Duration),
}

/// A count, which the text format writes as a double.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole")]
fn whole(count: f64) -> u64 {
    count.round() as u64
}
