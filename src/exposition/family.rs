//! From the catalogue to the text format: values of one [`Family`] enter, octets leave.
//!
//! The text itself is written by [`prometheus::TextEncoder`], from its own model of a family. That
//! model keeps every label of every series as strings of its own, about 500 octets a series, so a
//! family of many targets is handed over in pieces: memory holds one piece, however many targets
//! there are.

use std::io;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::catalogue::{self, Family, Kind};
use crate::model::Wall;
use crate::session::{Histogram, Summary};

/// How many series are handed to the encoder at a time.
const PIECE: usize = 256;

/// Nanoseconds to seconds, so that 50,000 reads `0.00005` and not `0.000049999999999999996`.
///
/// Below 2⁵³ ns (104 days) the quotient of two exact doubles is the double nearest to the true
/// value. Beyond, where `nanos` itself would be rounded first, whole seconds and the fraction are
/// converted apart.
pub(super) fn seconds(nanos: u64) -> f64 {
    if nanos < 1 << f64::MANTISSA_DIGITS {
        return nanos as f64 / 1e9;
    }
    Duration::from_nanos(nanos).as_secs_f64()
}

/// A moment as Unix time in seconds.
pub(super) fn unix_seconds(moment: Wall) -> f64 {
    seconds(moment.as_nanos())
}

/// Nanoseconds to seconds, with a sign.
pub(super) fn signed_seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// 1 for true.
pub(super) fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// A label with its value.
pub(super) fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// What one series of a family has to say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram, whose values `scale` makes of the integers that were counted.
    Histogram(&'a Histogram, fn(u64) -> f64),
    /// Of a summary of nanoseconds.
    Summary(&'a Summary),
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// Exact up to 2⁵³, as is every counter of the text format.
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

/// Writes families one after the other.
#[derive(Debug)]
pub(super) struct FamilyWriter<W> {
    out: W,
    /// The series of the present piece.
    piece: MetricFamily,
    /// The piece as text, until it is written to `out`.
    text: Vec<u8>,
    /// Whether the present family's HELP and TYPE lines are written.
    begun: bool,
}

impl<W: io::Write> FamilyWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, piece: MetricFamily::default(), text: Vec::new(), begun: false }
    }

    /// Writes the whole family whose series `each` gives; nothing at all where it gives none.
    pub(super) fn family(
        &mut self,
        family: &Family,
        each: impl FnOnce(&mut Series<'_, W>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.piece.set_name(family.name.to_owned());
        self.piece.set_help(family.help.to_owned());
        self.piece.set_field_type(match family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
            Kind::Summary => MetricType::SUMMARY,
        });
        self.begun = false;
        each(&mut Series { writer: self })?;
        self.flush()
    }

    /// The program's version, and what the kernel knows of the process.
    pub(super) fn process(&mut self) -> io::Result<()> {
        self.family(&catalogue::BUILD_INFO, |series| {
            series.push(vec![pair("version", env!("CARGO_PKG_VERSION"))], 1.0)
        })?;
        encode(&ProcessCollector::for_self().collect(), &mut self.out)
    }

    /// Writes the present piece.
    fn flush(&mut self) -> io::Result<()> {
        if self.piece.get_metric().is_empty() {
            return Ok(());
        }
        self.text.clear();
        encode(std::slice::from_ref(&self.piece), &mut self.text)?;
        self.piece.mut_metric().clear();
        let heading = if self.begun { type_line(&self.text) } else { 0 };
        // Without a HELP, the encoder opens every further piece with the TYPE line alone.
        self.piece.set_help(String::new());
        self.begun = true;
        self.out.write_all(&self.text[heading..])
    }
}

/// Where the line after the first begins.
fn type_line(text: &[u8]) -> usize {
    text.iter().position(|&octet| octet == b'\n').map_or(0, |end| end + 1)
}

/// The series of one family, on their way out.
#[derive(Debug)]
pub(super) struct Series<'a, W> {
    writer: &'a mut FamilyWriter<W>,
}

impl<W: io::Write> Series<'_, W> {
    /// Adds a series.
    pub(super) fn push<'v>(
        &mut self,
        labels: Vec<LabelPair>,
        value: impl Into<Value<'v>>,
    ) -> io::Result<()> {
        let value = value.into();
        let mut metric = Metric::from_label(labels);
        match (self.writer.piece.get_field_type(), value) {
            (MetricType::COUNTER, Value::Number(number)) => {
                let mut counter = proto::Counter::default();
                counter.set_value(number);
                metric.set_counter(counter);
            }
            (_, Value::Number(number)) => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(number);
                metric.set_gauge(gauge);
            }
            (_, Value::Histogram(histogram, scale)) => {
                metric.set_histogram(histogram_model(histogram, scale));
            }
            (_, Value::Summary(summary)) => {
                let mut model = proto::Summary::default();
                model.set_sample_count(summary.count);
                model.set_sample_sum(seconds(summary.sum));
                metric.set_summary(model);
            }
        }
        self.writer.piece.mut_metric().push(metric);
        if self.writer.piece.get_metric().len() < PIECE {
            return Ok(());
        }
        self.writer.flush()
    }
}

fn histogram_model(histogram: &Histogram, scale: fn(u64) -> f64) -> proto::Histogram {
    let buckets = histogram.cumulative().map(|(bound, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(scale(bound));
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut model = proto::Histogram::default();
    model.set_bucket(buckets.collect());
    model.set_sample_count(histogram.count());
    model.set_sample_sum(scale(histogram.sum()));
    model
}

/// Writes families as text.
///
/// # Errors
/// Those of `out`; `Other` where a family has no name or no series.
pub(super) fn encode(families: &[MetricFamily], out: &mut impl io::Write) -> io::Result<()> {
    TextEncoder::new().encode(families, out).map_err(|error| match error {
        prometheus::Error::Io(cause) => cause,
        other @ (prometheus::Error::AlreadyReg
        | prometheus::Error::InconsistentCardinality { .. }
        | prometheus::Error::Msg(_)) => io::Error::other(other),
    })
}
