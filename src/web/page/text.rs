//! The text format of figures and moments on the pages.

use std::time::Duration;

use crate::exposition::rfc3339;
use crate::model::Wall;

/// Shown for an unknown value.
pub(super) const ABSENT: &str = "–";

/// A moment, exact and in a short form.
#[derive(Debug)]
pub(super) struct ShownTime {
    /// RFC 3339; `None` if the format cannot express the year.
    pub(super) exact: Option<String>,
    pub(super) shown: String,
}

/// A moment in the past, and how long ago it was.
#[derive(Debug)]
pub(super) struct Since {
    pub(super) span: String,
    pub(super) moment: ShownTime,
}

impl Since {
    pub(super) fn new(then: Wall, now: Wall) -> Self {
        Self { span: span(since(then, now)), moment: moment(then) }
    }
}

/// A ratio in percent; never rounded to 0 or 100.
pub(super) fn percent(ratio: Option<f64>) -> String {
    let Some(percent) = ratio.map(|ratio| ratio * 100.0) else { return ABSENT.to_owned() };
    let shown = match percent {
        none if none <= 0.0 => "0".to_owned(),
        all if all >= 100.0 => "100".to_owned(),
        little if little < 0.01 => "< 0.01".to_owned(),
        most if most > 99.9 => "> 99.9".to_owned(),
        some if some < 1.0 => format!("{some:.2}"),
        some => format!("{some:.1}"),
    };
    format!("{shown}\u{202f}%")
}

/// A delay in milliseconds, with three to four significant digits.
pub(super) fn milliseconds(delay: Option<Duration>) -> String {
    let Some(ms) = delay.map(|delay| delay.as_secs_f64() * 1e3) else {
        return ABSENT.to_owned();
    };
    let digits = match ms {
        short if short < 10.0 => 3,
        short if short < 100.0 => 2,
        short if short < 1000.0 => 1,
        _ => 0,
    };
    format!("{ms:.digits$}\u{202f}ms")
}

/// A span of time in its two greatest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let Some(first) = units.iter().position(|&(_, length)| seconds >= length) else {
        return "0\u{202f}s".to_owned();
    };
    let (unit, length) = units[first];
    let mut text = format!("{}\u{202f}{unit}", seconds / length);
    if let Some((unit, smaller)) = units.get(first + 1)
        && let rest @ 1.. = seconds % length / smaller
    {
        text.extend([" ", &rest.to_string(), "\u{202f}", unit]);
    }
    text
}

/// The time from `then` to `now`; zero if the clock was set back.
pub(super) fn since(then: Wall, now: Wall) -> Duration {
    Duration::from_nanos(now.as_nanos().saturating_sub(then.as_nanos()))
}

/// A moment to the second.
pub(super) fn moment(at: Wall) -> ShownTime {
    shown(at, |exact| exact.split('.').next().map(|second| second.replace('T', " ")))
}

/// The time of day of a moment, to the second.
pub(super) fn clock(at: Wall) -> ShownTime {
    shown(at, |exact| exact.split(['T', '.']).nth(1).map(str::to_owned))
}

fn shown(at: Wall, read: impl FnOnce(&str) -> Option<String>) -> ShownTime {
    let exact = rfc3339(at);
    let shown = exact.as_deref().and_then(read).unwrap_or_else(|| ABSENT.to_owned());
    ShownTime { exact, shown }
}

/// A count with its digits in groups of three.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_never_rounded_to_0_or_100() {
        let read = |ratio| percent(Some(ratio)).replace('\u{202f}', "");
        assert_eq!(
            [0.0, 1e-6, 0.0001, 1.0 / 300.0, 0.3, 0.9989, 0.9999, 1.0].map(read),
            ["0%", "< 0.01%", "0.01%", "0.33%", "30.0%", "99.9%", "> 99.9%", "100%"]
        );
        assert_eq!(percent(None), "–");
    }

    #[test]
    fn delays_have_three_or_four_significant_digits() {
        let read = |micros| milliseconds(Some(Duration::from_micros(micros)));
        let shown = [0, 21, 24_739, 123_456, 1_700_000].map(read);
        let expected = ["0.000", "0.021", "24.74", "123.5", "1700"];
        assert_eq!(shown, expected.map(|ms| format!("{ms}\u{202f}ms")));
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let read = |seconds| span(Duration::from_secs(seconds)).replace('\u{202f}', "");
        assert_eq!(
            [0, 59, 60, 192, 3600, 3661, 7500, 86_400 * 12 + 3 * 3600].map(read),
            ["0s", "59s", "1min", "3min 12s", "1h", "1h 1min", "2h 5min", "12d 3h"]
        );
        let (early, late) = (Wall::from_nanos(5), Wall::from_nanos(12));
        assert_eq!((since(early, late).as_nanos(), since(late, early)), (7, Duration::ZERO));
    }

    #[test]
    fn moments_are_shown_to_the_second_and_kept_exactly() {
        let at = crate::observe::fixture::NOW;
        let read = |moment: ShownTime| (moment.exact.unwrap(), moment.shown);
        let exact = "2025-01-02T03:04:05.678Z".to_owned();
        assert_eq!(read(moment(at)), (exact.clone(), "2025-01-02 03:04:05".to_owned()));
        assert_eq!(read(clock(at)), (exact, "03:04:05".to_owned()));
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(
            [7, 999, 1000, 1_234_567].map(|n| count(n).replace('\u{202f}', "'")),
            ["7", "999", "1'000", "1'234'567"]
        );
    }
}
