//! Scalar values of the command line and of files.
//!
//! clap and the schema use the same [`FromStr`] of each, so both report the same messages.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use crate::model::{Label, TargetLabel};
use crate::wire::{self, PROTOCOLS, Protocol};

/// The longest span that can be configured: one day, so that no sum of a few spans overflows.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest interval that can be configured.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// Labels of every metric of a target (`target`), of metric types (`le`, `quantile`), of other
/// metrics of the probe (`source`), and those that Prometheus sets when it scrapes.
const RESERVED_LABELS: [&str; 6] = ["target", "le", "quantile", "source", "job", "instance"];

/// A duration, more than zero and at most a day, such as `200ms`, `1s` or `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// The time from one heartbeat to the next: a [`Span`] of at least 1 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(Duration);

/// A ratio from 0 to 1, such as `30%` or `0.3`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Ratio(f64);

/// Bits per second, from 1 to 10¹², such as `64kbit` or `1.5Mbit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(NonZeroU64);

/// The name of a label of a target: `[a-zA-Z_][a-zA-Z0-9_]*`, except the labels that metrics of
/// targets already have. Prometheus rejects a whole scrape if one series has a label twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelName(String);

/// An unknown protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol {name:?}{} (known: {})", did_you_mean(.name, &names()), names().join(", "))]
pub struct UnknownProtocol {
    name: String,
}

/// Why a text is not a valid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScalarError {
    /// A number without a unit, where a duration is expected.
    #[error("needs a unit, such as {0}s or {0}ms")]
    NoUnit(String),
    /// Not a duration.
    #[error("must be a duration, such as 200ms, 1s or 1m30s, not {0:?}")]
    NoDuration(String),
    /// A duration of zero.
    #[error("must be more than zero")]
    Zero,
    /// An interval shorter than 1 ms.
    #[error("must be at least 1ms, not {0:?}")]
    IntervalTooShort(String),
    /// A duration of more than a day.
    #[error("must be at most 24h, not {0:?}")]
    TooLong(String),
    /// Not a ratio.
    #[error("must be from 0% to 100%, or from 0 to 1, not {text:?}{hint}", hint = ratio_hint(text))]
    NoRatio {
        /// The text.
        text: String,
    },
    /// Not a bit rate.
    #[error("must be from 1bit to 1000Gbit per second, such as 64kbit or 1.5Mbit, not {0:?}")]
    NoBitRate(String),
    /// Not a network.
    #[error("must be a network, such as 192.0.2.0/24 or 2001:db8::/32, not {0:?}")]
    NoPrefix(String),
    /// A network with bits after its prefix.
    #[error("has host bits set: did you mean {network}, or the one address {address}?")]
    HostBits {
        /// The network without these bits.
        network: String,
        /// The address as written.
        address: String,
    },
    /// Not a label name.
    #[error(
        "invalid label name {0:?}: must be letters, digits and underscores, and not begin with a digit"
    )]
    NoLabelName(String),
    /// A label of the metrics of targets, or one that Prometheus sets.
    #[error("reserved label name {0:?}: Prometheus or the probe's metrics already use it")]
    ReservedLabel(String),
    /// A label name that begins with `__`, for internal use of Prometheus.
    #[error("reserved label name {0:?}: names that begin with __ belong to Prometheus")]
    InternalLabel(String),
}

/// The protocol of this name.
pub(super) fn protocol(name: &str) -> Result<Protocol, UnknownProtocol> {
    wire::by_name(name).ok_or_else(|| UnknownProtocol { name: name.to_owned() })
}

/// The names of all protocols.
pub(super) fn names() -> Vec<&'static str> {
    PROTOCOLS.iter().map(|protocol| protocol.name()).collect()
}

/// The message that `protocol` has no option `key`, which other protocols have.
pub(super) fn foreign_option(key: &str, protocol: Protocol) -> String {
    let having = PROTOCOLS.iter().filter(|known| known.keys().contains(&key));
    let having: Vec<_> = having.map(|known| known.name()).collect();
    let (name, having) = (protocol.name(), having.join(" or "));
    format!("protocol {name} has no option {key}: the protocol must be {having}")
}

/// `, did you mean WORD?` with the closest of `words`, if the edit distance is at most a third of
/// the letters of `wrong`; otherwise nothing.
pub(super) fn did_you_mean(wrong: &str, words: &[&str]) -> String {
    // Bounds the time of the comparison, which grows with the length.
    const MAX_LENGTH: usize = 64;

    if wrong.len() > MAX_LENGTH {
        return String::new();
    }
    let wrong = wrong.to_ascii_lowercase().replace('-', "_");
    let tolerance = (wrong.chars().count() / 3).max(1);
    words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&wrong, word), word))
        .filter(|&(distance, _)| distance <= tolerance)
        .min_by_key(|&(distance, _)| distance)
        .map_or_else(String::new, |(_, word)| format!(", did you mean {word}?"))
}

impl Span {
    /// The duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let duration = parse_duration(text)?;
        if duration.is_zero() {
            return Err(ScalarError::Zero);
        }
        if duration > LONGEST {
            return Err(ScalarError::TooLong(text.to_owned()));
        }
        Ok(Self(duration))
    }
}

impl Interval {
    /// The duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Interval {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let Span(duration) = text.parse()?;
        if duration < SHORTEST_INTERVAL {
            return Err(ScalarError::IntervalTooShort(text.to_owned()));
        }
        Ok(Self(duration))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format_duration(self.0))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format_duration(self.0))
    }
}

/// A duration as in a file: `1m30s`.
pub(crate) fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

/// Reads a duration as humantime does, with messages that say what to write instead.
fn parse_duration(text: &str) -> Result<Duration, ScalarError> {
    // humantime panics if its sum reaches 2^64 seconds. At most five numbers of ten digits fit into
    // 64 octets, and their sum stays below in every unit.
    const MAX_DIGITS: usize = 10;
    const MAX_LENGTH: usize = 64;

    let unfit = || ScalarError::NoDuration(text.to_owned());
    if let Some(positive) = text.strip_prefix('-')
        && !positive.starts_with('-')
        && positive.parse::<Span>().is_ok()
    {
        return Err(ScalarError::Zero);
    }
    if let Ok(number) = text.parse::<f64>() {
        return Err(match number {
            0.0 => ScalarError::Zero,
            0.0..f64::INFINITY => ScalarError::NoUnit(text.to_owned()),
            _ => unfit(),
        });
    }
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    if text.len() > MAX_LENGTH || numbers.map(str::len).any(|digits| digits > MAX_DIGITS) {
        return Err(unfit());
    }
    humantime::parse_duration(text).map_err(|_| unfit())
}

impl Ratio {
    /// The ratio, from 0 to 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Ratio {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let (number, whole) = match text.strip_suffix('%') {
            Some(percent) => (percent.trim_end(), 100.0),
            None => (text, 1.0),
        };
        match number.parse::<f64>() {
            // Adding zero turns −0 into 0.
            Ok(value) if (0.0..=whole).contains(&value) => Ok(Self(value / whole + 0.0)),
            _ => Err(ScalarError::NoRatio { text: text.to_owned() }),
        }
    }
}

/// `: did you mean RATIO?` if the text is a ratio without its percent sign, or with a decimal comma;
/// otherwise nothing.
fn ratio_hint(text: &str) -> String {
    let with_point = text.replacen(',', ".", 1);
    let percent = format!("{with_point}%");
    let meant = [with_point, percent].into_iter().find(|meant| meant.parse::<Ratio>().is_ok());
    meant.map_or_else(String::new, |meant| format!(": did you mean {meant}?"))
}

/// Shows a ratio in percent if that reads back as the same value, otherwise as a number.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The product may have a rounding error: 0.07 × 100 = 7.000…001.
        let percent = (self.0 * 100.0 * 1e9).round() / 1e9;
        #[expect(clippy::float_cmp, reason = "the percentage must read back as the same value")]
        if percent / 100.0 == self.0 {
            f.pad(&format!("{percent}%"))
        } else {
            f.pad(&self.0.to_string())
        }
    }
}

impl BitRate {
    /// The units and their factors, the largest first.
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000, "Gbit"), (1_000_000, "Mbit"), (1_000, "kbit"), (1, "bit")];

    /// The highest bit rate.
    const MOST: f64 = 1e12;

    /// Bits per second.
    #[must_use]
    pub const fn get(self) -> NonZeroU64 {
        self.0
    }
}

impl FromStr for BitRate {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let parts = Self::UNITS.iter().find_map(|&(factor, unit)| {
            let (number, end) = text.split_at_checked(text.len().checked_sub(unit.len())?)?;
            end.eq_ignore_ascii_case(unit).then_some((number.trim_end(), factor))
        });
        let rate = parts.and_then(|(number, factor)| {
            let rate = number.parse::<f64>().ok()? * factor as f64;
            (1.0..=Self::MOST).contains(&rate).then_some(rate)
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to 10¹²"
        )]
        let rate = rate.and_then(|rate| NonZeroU64::new(rate as u64));
        rate.map(Self).ok_or_else(|| ScalarError::NoBitRate(text.to_owned()))
    }
}

/// Shows a bit rate as a whole number of the largest unit possible.
impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.0.get();
        let (factor, unit) = Self::UNITS
            .into_iter()
            .find(|(factor, _)| rate.is_multiple_of(*factor))
            .unwrap_or((1, "bit"));
        f.pad(&format!("{}{unit}", rate / factor))
    }
}

impl LabelName {
    /// The reserved label names, except those that begin with `__`.
    pub fn reserved() -> impl Iterator<Item = &'static str> {
        TargetLabel::ALL.iter().map(|label| label.label()).chain(RESERVED_LABELS)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<LabelName> for String {
    fn from(name: LabelName) -> Self {
        name.0
    }
}

impl FromStr for LabelName {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let mut characters = text.chars();
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !characters.next().is_some_and(first)
            || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            return Err(ScalarError::NoLabelName(text.to_owned()));
        }
        if text.starts_with("__") {
            return Err(ScalarError::InternalLabel(text.to_owned()));
        }
        if Self::reserved().any(|name| name == text) {
            return Err(ScalarError::ReservedLabel(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LabelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(text: &str) -> Result<Duration, String> {
        text.parse().map(Span::duration).map_err(|error: ScalarError| error.to_string())
    }

    fn interval(text: &str) -> Result<Duration, String> {
        text.parse().map(Interval::duration).map_err(|error: ScalarError| error.to_string())
    }

    fn ratio(text: &str) -> Result<f64, String> {
        text.parse().map(Ratio::get).map_err(|error: ScalarError| error.to_string())
    }

    #[test]
    fn bit_rates_are_written_with_units_and_read_back() {
        let rate =
            |text: &str| text.parse::<BitRate>().map(|rate| (rate.get().get(), rate.to_string()));
        for (text, bits, shown) in [
            ("64kbit", 64_000, "64kbit"),
            ("1.5Mbit", 1_500_000, "1500kbit"),
            ("1 gbit", 1_000_000_000, "1Gbit"),
            ("1bit", 1, "1bit"),
            ("1000Gbit", 1_000_000_000_000, "1000Gbit"),
        ] {
            assert_eq!(rate(text), Ok((bits, shown.to_owned())));
            assert_eq!(rate(shown), Ok((bits, shown.to_owned())));
        }
        for text in ["", "bit", "64", "64k", "0bit", "-1kbit", "1001Gbit", "NaNbit", "infbit", "é"]
        {
            let error = rate(text).unwrap_err().to_string();
            assert!(error.starts_with("must be from 1bit to 1000Gbit per second"), "{error}");
        }
    }

    #[test]
    fn spans_are_written_with_units() {
        assert_eq!(span("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(span("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(span("24h"), Ok(LONGEST));
    }

    #[test]
    fn invalid_spans_are_explained() {
        let invalid = |text: &str| {
            Err(format!("must be a duration, such as 200ms, 1s or 1m30s, not {text:?}"))
        };
        assert_eq!(span("5"), Err("needs a unit, such as 5s or 5ms".to_owned()));
        assert_eq!(span("0.5"), Err("needs a unit, such as 0.5s or 0.5ms".to_owned()));
        assert_eq!(span("0"), Err("must be more than zero".to_owned()));
        assert_eq!(span("0s"), Err("must be more than zero".to_owned()));
        assert_eq!(span("24h1ns"), Err("must be at most 24h, not \"24h1ns\"".to_owned()));
        assert_eq!(span("-1s"), Err("must be more than zero".to_owned()));
        for text in ["", " ", "s", "1 parsec", "-1", "--1s", "1s,", "12345678901s", "inf", "NaN"] {
            assert_eq!(span(text), invalid(text), "{text:?}");
        }
        let text = format!("{}s1000ms", u64::MAX);
        assert_eq!(span(&text), invalid(&text));
    }

    #[test]
    fn an_interval_is_at_least_a_millisecond() {
        assert_eq!(interval("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(interval("999us"), Err("must be at least 1ms, not \"999us\"".to_owned()));
        assert_eq!(interval("0ms"), Err("must be more than zero".to_owned()));
        assert_eq!(interval("1"), Err("needs a unit, such as 1s or 1ms".to_owned()));
    }

    #[test]
    fn spans_are_shown_as_they_are_written() {
        assert_eq!(Span(Duration::from_millis(90_200)).to_string(), "1m30s200ms");
        assert_eq!(Interval(Duration::from_secs(1)).to_string(), "1s");
    }

    #[test]
    fn ratios_are_percent_or_plain() {
        assert_eq!(ratio("30%"), Ok(0.3));
        assert_eq!(ratio("30 %"), Ok(0.3));
        assert_eq!(ratio("0.3"), Ok(0.3));
        assert_eq!(ratio("0.1%"), Ok(0.001));
        assert_eq!(ratio("1"), Ok(1.0));
        assert_eq!(ratio("100%"), Ok(1.0));
        assert!(ratio("-0").is_ok_and(f64::is_sign_positive));
        for text in ["", "%", "101", "101%", "-1%", "nan", "NaN%", "inf", "0,3,1", "30%%"] {
            let message = format!("must be from 0% to 100%, or from 0 to 1, not {text:?}");
            assert_eq!(ratio(text), Err(message), "{text:?}");
        }
        for (text, meant) in
            [("30", "30%"), ("1.1", "1.1%"), ("100", "100%"), ("0,3", "0.3"), ("2,5%", "2.5%")]
        {
            let message = format!(
                "must be from 0% to 100%, or from 0 to 1, not {text:?}: did you mean {meant}?"
            );
            assert_eq!(ratio(text), Err(message), "{text:?}");
        }
    }

    #[test]
    fn ratios_are_shown_in_percent_where_that_is_exact() {
        for text in ["0%", "7%", "30%", "0.1%", "12.5%", "100%", "0.00000000000123"] {
            assert_eq!(text.parse::<Ratio>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn label_names_are_those_of_prometheus_except_reserved_ones() {
        for name in ["site", "_x", "Rack_7", "le_"] {
            assert_eq!(name.parse::<LabelName>().unwrap().as_str(), name);
        }
        for name in ["", "7up", "a-b", "a b", "größe", "a:b"] {
            let error = ScalarError::NoLabelName(name.to_owned());
            assert_eq!(name.parse::<LabelName>(), Err(error));
        }
        assert!(LabelName::reserved().count() > RESERVED_LABELS.len());
        for name in LabelName::reserved() {
            let error = ScalarError::ReservedLabel(name.to_owned());
            assert_eq!(name.parse::<LabelName>(), Err(error));
        }
        let error = ScalarError::InternalLabel("__address__".to_owned());
        assert_eq!("__address__".parse::<LabelName>(), Err(error));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in r"\PC*|[0-9a-z. ]{0,80}|([0-9]{1,20}(y|M|w|s|ms|ns)){0,8}") {
            let _ = (span(&text), interval(&text), ratio(&text), text.parse::<LabelName>());
        }

        #[test]
        fn displayed_scalars_read_back(nanos in 1_000_000..=LONGEST.as_nanos(), share in 0.0..=1.0) {
            let duration = Duration::from_nanos(u64::try_from(nanos).unwrap());
            prop_assert_eq!(Span(duration).to_string().parse(), Ok(Span(duration)));
            prop_assert_eq!(Interval(duration).to_string().parse(), Ok(Interval(duration)));
            prop_assert_eq!(Ratio(share).to_string().parse(), Ok(Ratio(share)));
        }
    }
}
