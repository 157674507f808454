//! Compares the measurements with the budgets of the design.

use std::time::Duration;

use super::figures::Quantile;
use super::size::Measured;
use super::table::{Table, kibibytes, micros, millis, percent, quantile};
use super::truth::Truth;

/// The number of targets of the capacity budget.
const CAPACITY: usize = 100_000;

/// CPU time per heartbeat, as a multiple of the bare loop's.
const CPU: f64 = 2.0;

/// Difference between the reported mean round trip and that of a packet capture.
const RTT_ERROR: Duration = Duration::from_micros(10);

/// The 99th percentile of the schedule lag, with and without scrapes.
const LAG: Duration = Duration::from_millis(2);

/// Duration of a scrape, and its number of targets.
const SCRAPE: Duration = Duration::from_millis(500);
const SCRAPED: usize = 10_000;

/// Memory per target at rest, in octets.
const MEMORY: f64 = 2048.0;

/// A budget and its measurement.
struct Budget {
    what: &'static str,
    bound: String,
    /// The measured value, and whether it is within the bound; `None` if nothing was measured.
    measured: Option<(String, bool)>,
}

/// The table of all budgets with their measurements. `sizes` are in ascending order.
pub(crate) fn table(sizes: &[Measured], truth: Option<&Truth>) -> Table {
    let mut table = Table::default();
    table.row(["budget", "bound", "measured", "verdict"]);
    for Budget { what, bound, measured } in all(sizes, truth) {
        let (measured, verdict) = match measured {
            Some((measured, true)) => (measured, "met"),
            Some((measured, false)) => (measured, "NOT met"),
            None => ("–".to_owned(), "not measured"),
        };
        table.row([what.to_owned(), bound, measured, verdict.to_owned()]);
    }
    table
}

fn all(sizes: &[Measured], truth: Option<&Truth>) -> Vec<Budget> {
    let of = |targets| sizes.iter().find(|size| size.targets == targets);
    let largest = of(CAPACITY);
    let lag = |lag: Option<Quantile>| {
        let kept = matches!(lag, Some(Quantile::At(span)) if span <= LAG);
        lag.is_some().then(|| (quantile(lag), kept))
    };
    vec![
        Budget {
            what: "capacity: 100,000 STAMP targets at 1 s, all answered and accounted for",
            bound: "100 %".to_owned(),
            measured: largest.map(|size| (percent(size.answered()), size.is_whole())),
        },
        Budget {
            what: "CPU of the probe per heartbeat, at 100,000/s, relative to the bare loop",
            bound: format!("≤ {CPU:.2} ×"),
            measured: largest.map(|size| {
                let ratio = size.probe_cpu.as_secs_f64() / size.floor.bare.as_secs_f64();
                (format!("{ratio:.2} ×"), ratio <= CPU)
            }),
        },
        Budget {
            what: "mean RTT, difference from a capture, at 10,000/s, idle",
            bound: format!("≤ {}", micros(RTT_ERROR)),
            measured: truth.map(|truth| (micros(truth.idle), truth.idle <= RTT_ERROR)),
        },
        Budget {
            what: "the same, all cores busy",
            bound: format!("≤ {}", micros(RTT_ERROR)),
            measured: truth.map(|truth| (micros(truth.busy), truth.busy <= RTT_ERROR)),
        },
        Budget {
            what: "schedule lag, p99, at 100,000/s",
            bound: format!("≤ {}", millis(LAG)),
            measured: largest.and_then(|size| lag(size.lag().0)),
        },
        Budget {
            what: "the same, while /metrics is scraped",
            bound: format!("≤ {}", millis(LAG)),
            measured: largest.and_then(|size| lag(size.lag().1)),
        },
        Budget {
            what: "scrape of 10,000 targets",
            bound: format!("≤ {}", millis(SCRAPE)),
            measured: of(SCRAPED).map(|size| {
                let slower = size.plain.took.max(size.gzip.took);
                (millis(slower), slower <= SCRAPE)
            }),
        },
        Budget {
            what: "memory per target at rest, at the largest size",
            bound: format!("≤ {}", kibibytes(MEMORY)),
            measured: sizes.first().zip(sizes.last()).and_then(|(base, size)| {
                let octets = size.octets_per_target(base)?;
                Some((kibibytes(octets), octets <= MEMORY))
            }),
        },
    ]
}
