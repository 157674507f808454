//! Writes families of the catalogue in the Prometheus text format 0.0.4.
//!
//! The text is written in pieces. Only one piece is in memory, however many series there are, and
//! writing a series allocates nothing.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};

use super::catalogue::{self, Family, Kind};
use crate::model::Wall;
use crate::session::{Histogram, Summary};

/// The number of octets of text that are collected before they are written.
const PIECE: usize = 16 << 10;

/// The value of one series.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// A counter or gauge.
    Number(f64),
    /// A counter or gauge that is a whole number.
    Count(u64),
    /// A histogram. The function scales its integers to the unit of the metric.
    Histogram(&'a Histogram, fn(u64) -> f64),
    /// A summary of nanoseconds.
    Summary(&'a Summary),
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Value<'_> {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

/// Writes families one after the other.
#[derive(Debug)]
pub(super) struct FamilyWriter<W> {
    out: W,
    /// The text that is not yet written to `out`.
    text: String,
    /// The labels of the current series, as text between the braces; a buffer that is reused.
    labels: String,
    /// The bucket bounds of the current family with their text, cached as most series have the
    /// same.
    bounds: Vec<(u64, String)>,
}

impl<W: io::Write> FamilyWriter<W> {
    pub(super) fn new(out: W) -> Self {
        let text = String::with_capacity(2 * PIECE);
        Self { out, text, labels: String::new(), bounds: Vec::new() }
    }

    /// Writes a family with the series that `each` pushes, and nothing if `each` pushes no series.
    pub(super) fn family(
        &mut self,
        family: &Family,
        each: impl FnOnce(&mut Series<'_, W>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.bounds.clear();
        each(&mut Series { writer: self, family, has_heading: false })
    }

    /// Writes the program's version and the metrics of the process, and ends the text.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.family(&catalogue::BUILD_INFO, |series| {
            series.push([("version", env!("CARGO_PKG_VERSION"))], 1.0)
        })?;
        self.write_out()?;
        encode(&ProcessCollector::for_self().collect(), &mut self.out)
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.out.write_all(self.text.as_bytes())?;
        self.text.clear();
        Ok(())
    }

    fn write_histogram(&mut self, name: &str, histogram: &Histogram, scale: fn(u64) -> f64) {
        let Self { text, labels, bounds, .. } = self;
        for (bucket, (bound, count)) in histogram.cumulative().enumerate() {
            if bounds.get(bucket).is_none_or(|&(known, _)| known != bound) {
                bounds.truncate(bucket);
                bounds.push((bound, scale(bound).to_string()));
            }
            begin_line(text, name, "_bucket", labels, Some(&bounds[bucket].1));
            end_line(text, count);
        }
        begin_line(text, name, "_bucket", labels, Some("+Inf"));
        end_line(text, histogram.count());
        self.write_sum(name, scale(histogram.sum()), histogram.count());
    }

    fn write_sum(&mut self, name: &str, sum: f64, count: u64) {
        let Self { text, labels, .. } = self;
        begin_line(text, name, "_sum", labels, None);
        end_line(text, sum);
        begin_line(text, name, "_count", labels, None);
        end_line(text, count);
    }
}

/// Writes the series of one family.
#[derive(Debug)]
pub(super) struct Series<'a, W> {
    writer: &'a mut FamilyWriter<W>,
    family: &'a Family,
    has_heading: bool,
}

impl<W: io::Write> Series<'_, W> {
    /// Writes a series.
    pub(super) fn push<'l, 'v>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        value: impl Into<Value<'v>>,
    ) -> io::Result<()> {
        let Self { writer, family, has_heading } = self;
        if !std::mem::replace(has_heading, true) {
            write_heading(&mut writer.text, family);
        }
        writer.labels.clear();
        for (name, value) in labels {
            let separator = if writer.labels.is_empty() { "" } else { "," };
            writer.labels.extend([separator, name, "=\""]);
            write_escaped(&mut writer.labels, value, &['\\', '\n', '"']);
            writer.labels.push('"');
        }
        let name = family.name;
        match value.into() {
            Value::Number(number) => {
                begin_line(&mut writer.text, name, "", &writer.labels, None);
                end_line(&mut writer.text, number);
            }
            Value::Count(count) => {
                begin_line(&mut writer.text, name, "", &writer.labels, None);
                end_line(&mut writer.text, count);
            }
            Value::Histogram(histogram, scale) => writer.write_histogram(name, histogram, scale),
            Value::Summary(summary) => {
                writer.write_sum(name, seconds(summary.sum), summary.count);
            }
        }
        if writer.text.len() < PIECE {
            return Ok(());
        }
        writer.write_out()
    }
}

fn write_heading(text: &mut String, family: &Family) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
    };
    text.extend(["# HELP ", family.name, " "]);
    write_escaped(text, family.help, &['\\', '\n']);
    text.extend(["\n# TYPE ", family.name, " ", kind, "\n"]);
}

/// Writes a sample's name and labels, and the upper bound if it is a bucket.
fn begin_line(text: &mut String, name: &str, suffix: &str, labels: &str, bound: Option<&str>) {
    text.push_str(name);
    text.push_str(suffix);
    match bound {
        None if labels.is_empty() => {}
        None => text.extend(["{", labels, "}"]),
        Some(bound) if labels.is_empty() => text.extend(["{le=\"", bound, "\"}"]),
        Some(bound) => text.extend(["{", labels, ",le=\"", bound, "\"}"]),
    }
    text.push(' ');
}

/// Writes a sample's value. A whole number is written as the double that Prometheus reads.
fn end_line(text: &mut String, value: impl Into<Value<'static>>) {
    // Writing to a string cannot fail.
    let _ = match value.into() {
        Value::Count(count) if count < 1 << f64::MANTISSA_DIGITS => writeln!(text, "{count}"),
        Value::Count(count) => writeln!(text, "{}", count as f64),
        Value::Number(number) => writeln!(text, "{number}"),
        Value::Histogram(..) | Value::Summary(_) => Ok(()),
    };
}

/// Writes text with a backslash before each special character, and a line feed as `\n`.
fn write_escaped(out: &mut String, text: &str, special: &[char]) {
    let mut rest = text;
    while let Some(at) = rest.find(special) {
        let (plain, behind) = rest.split_at(at);
        let (character, behind) = behind.split_at(1);
        out.extend([plain, "\\", if character == "\n" { "n" } else { character }]);
        rest = behind;
    }
    out.push_str(rest);
}

/// Converts nanoseconds to seconds, so that 50,000 becomes `0.00005`, not
/// `0.000049999999999999996`.
///
/// Below 2⁵³ ns (104 days) the quotient of two exact doubles is the double nearest to the true
/// value. Above, `nanos` itself would be rounded, so whole seconds and the fraction are converted
/// separately.
pub(super) fn seconds(nanos: u64) -> f64 {
    if nanos < 1 << f64::MANTISSA_DIGITS {
        return nanos as f64 / 1e9;
    }
    Duration::from_nanos(nanos).as_secs_f64()
}

/// Converts a moment to Unix time in seconds.
pub(super) fn unix_seconds(moment: Wall) -> f64 {
    seconds(moment.as_nanos())
}

/// Converts signed nanoseconds to seconds.
pub(super) fn signed_seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// 1 for true, 0 for false.
pub(super) fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// Writes families of the `prometheus` crate as text.
///
/// # Errors
/// Those of `out`; `Other` if a family has no name or no series.
pub(super) fn encode(families: &[MetricFamily], out: &mut impl io::Write) -> io::Result<()> {
    TextEncoder::new().encode(families, out).map_err(|error| match error {
        prometheus::Error::Io(cause) => cause,
        other @ (prometheus::Error::AlreadyReg
        | prometheus::Error::InconsistentCardinality { .. }
        | prometheus::Error::Msg(_)) => io::Error::other(other),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::proto::{self, LabelPair, Metric, MetricType};
    use proptest::prelude::*;

    use super::*;
    use crate::session::Buckets;

    const FAMILY: Family = Family {
        name: "heartbeat_x",
        help: "A \\ \"and\"\na line.",
        kind: Kind::Gauge,
        labels: &[],
    };

    /// The labels of a series.
    type Labels = Vec<(String, String)>;

    fn written(family: &Family, series: &[(Labels, Value<'_>)]) -> String {
        let mut out = Vec::new();
        let mut writer = FamilyWriter::new(&mut out);
        let push_all = |out: &mut Series<'_, _>| {
            series.iter().try_for_each(|(labels, value)| {
                out.push(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())), *value)
            })
        };
        writer.family(family, push_all).unwrap();
        writer.write_out().unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The same text from the encoder of the `prometheus` crate.
    fn expected(family: &Family, series: &[(Labels, Value<'_>)]) -> String {
        let mut model = MetricFamily::default();
        model.set_name(family.name.to_owned());
        model.set_help(family.help.to_owned());
        model.set_field_type(match family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
            Kind::Summary => MetricType::SUMMARY,
        });
        for (labels, value) in series {
            let pair = |(name, value): &(String, String)| {
                let mut pair = LabelPair::default();
                pair.set_name(name.clone());
                pair.set_value(value.clone());
                pair
            };
            let mut metric = Metric::from_label(labels.iter().map(pair).collect());
            let number = |metric: &mut Metric, number| {
                let (mut counter, mut gauge) = (proto::Counter::default(), proto::Gauge::default());
                counter.set_value(number);
                gauge.set_value(number);
                metric.set_counter(counter);
                metric.set_gauge(gauge);
            };
            match *value {
                Value::Number(double) => number(&mut metric, double),
                Value::Count(count) => number(&mut metric, count as f64),
                Value::Histogram(histogram, scale) => {
                    let bucket = |(bound, count)| {
                        let mut bucket = proto::Bucket::default();
                        bucket.set_upper_bound(scale(bound));
                        bucket.set_cumulative_count(count);
                        bucket
                    };
                    let mut model = proto::Histogram::default();
                    model.set_bucket(histogram.cumulative().map(bucket).collect());
                    model.set_sample_count(histogram.count());
                    model.set_sample_sum(scale(histogram.sum()));
                    metric.set_histogram(model);
                }
                Value::Summary(summary) => {
                    let mut model = proto::Summary::default();
                    model.set_sample_count(summary.count);
                    model.set_sample_sum(seconds(summary.sum));
                    metric.set_summary(model);
                }
            }
            model.mut_metric().push(metric);
        }
        let mut out = Vec::new();
        encode(&[model], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn any_labels() -> impl Strategy<Value = Labels> {
        let value = prop_oneof![any::<String>(), r#"[\\"\n\r{}, =#é日]{0,12}"#];
        proptest::collection::vec(("[a-z_]{1,8}", value), 0..3)
    }

    #[test]
    fn a_family_without_series_is_not_written() {
        assert_eq!(written(&FAMILY, &[]), "");
    }

    #[test]
    fn histograms_with_different_bounds_have_their_own_text() {
        let [mut one, mut two, three] = [&[1_u64, 2, 3][..], &[1, 5], &[1, 2, 3, 4]]
            .map(|bounds| Histogram::new(Arc::new(Buckets::from_counts(bounds))));
        one.observe(2);
        two.observe(9);
        let family = Family { kind: Kind::Histogram, ..FAMILY };
        let value = |histogram| (Labels::new(), Value::Histogram(histogram, |n| n as f64 / 2.0));
        let series = [value(&one), value(&two), value(&three), value(&one)];
        assert_eq!(written(&family, &series), expected(&family, &series));
    }

    proptest! {
        #[test]
        fn the_text_equals_that_of_the_prometheus_crate(
            labels in any_labels(),
            numbers in proptest::collection::vec(any::<f64>(), 0..8),
            counts in proptest::collection::vec(any::<u64>(), 0..8),
            small in any::<[u32; 3]>(),
        ) {
            let numbers = numbers.into_iter().chain([0.0, -0.0, 1e21]).map(Value::Number);
            let counts = counts.into_iter().chain(small.map(u64::from));
            let exact = 1 << f64::MANTISSA_DIGITS;
            let counts = counts.chain([exact - 1, exact, exact + 1, exact + 3]).map(Value::Count);
            let series: Vec<_> = numbers.chain(counts).map(|value| (labels.clone(), value)).collect();
            for kind in [Kind::Counter, Kind::Gauge] {
                let family = Family { kind, ..FAMILY };
                prop_assert_eq!(written(&family, &series), expected(&family, &series));
            }

            let mut histogram = Histogram::new(Arc::new(Buckets::from_seconds(&[1e-6, 0.05, 3.0])));
            let mut summary = Summary::default();
            for value in small {
                histogram.observe(value.into());
                summary.observe(value.into());
            }
            for (kind, value) in [
                (Kind::Histogram, Value::Histogram(&histogram, seconds)),
                (Kind::Summary, Value::Summary(&summary)),
            ] {
                let family = Family { kind, ..FAMILY };
                let series = [(labels.clone(), value), (Labels::new(), value)];
                prop_assert_eq!(written(&family, &series), expected(&family, &series));
            }
        }
    }
}
