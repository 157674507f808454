//! Numbers as text, the way Python prints and reads them.
//!
//! [`text`] formats a float as Python's `repr` does, [`text_within`] as exactly as fits into a
//! number of octets, and [`parse`] reads a finite float. None of them panics or allocates.

use std::fmt::{self, Write as _};

use arrayvec::ArrayString;

/// More significant digits are never needed to distinguish two doubles.
const MOST_DIGITS: usize = 17;

/// A number as text: the longest, `-2.2250738585072014e-308`, has 24 octets.
pub(super) type Text = ArrayString<24>;

/// A finite `number` as Python's `repr` prints it: the fewest digits that read back as the same
/// double, with a fraction (`0.0`, `1726820518.3919091`), in exponent form below 10⁻⁴ and from 10¹⁶
/// on (`1.5e-05`, `1e+16`).
pub(super) fn text(number: f64) -> Text {
    Decimal::shortest(number).repr()
}

/// A finite `number` in at most `room` octets, as exactly as fits; `None` if it does not fit at
/// all.
///
/// In this order of preference: the form of [`text`], with fewer digits if necessary; the same in a
/// shorter notation (`12` for `12.0`, `3e8`); the nearest whole number. Python's `float()` reads
/// each of them. Reading such a text and writing the number into the same room gives the same text
/// again, so that a reader can require this form.
pub(super) fn text_within(number: f64, room: usize) -> Option<Text> {
    let fits = |text: &Text| text.len() <= room;
    let roundings = || {
        let rounded = (1..MOST_DIGITS).rev().map(|digits| rounded(number, digits));
        std::iter::once(number).chain(rounded).map(Decimal::shortest)
    };
    let brief = |decimal: Decimal| decimal.whole().filter(fits).or(Some(decimal.brief()));
    roundings()
        .map(|decimal| decimal.repr())
        .find(fits)
        .or_else(|| roundings().filter_map(brief).find(fits))
        .or_else(|| {
            // Adding zero turns −0 into 0.
            let nearest = Decimal::shortest(number.round() + 0.0);
            Some(nearest.repr()).filter(fits).or(nearest.whole()).filter(fits)
        })
}

/// Reads a decimal number: digits with optional sign, fraction and exponent.
///
/// `None` for anything else, including surrounding space, `inf` and `nan`, and for a number too
/// large for a double.
pub(super) fn parse(text: &[u8]) -> Option<f64> {
    let decimal = |octet: &u8| matches!(octet, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.iter().all(decimal) {
        return None;
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// Reads a whole number: digits only.
pub(super) fn parse_whole(text: &[u8]) -> Option<u128> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A finite number as Rust prints it in exponent form.
type Scientific = ArrayString<24>;

/// The double nearest to `number` rounded to this number of significant digits; `number` itself if
/// rounding up makes it infinite.
fn rounded(number: f64, digits: usize) -> f64 {
    let rounded = scientific(format_args!("{number:.*e}", digits - 1)).parse();
    rounded.ok().filter(|rounded: &f64| rounded.is_finite()).unwrap_or(number)
}

/// Formats a number; there is room for every double with at most [`MOST_DIGITS`] digits.
fn scientific(printed: fmt::Arguments<'_>) -> Scientific {
    let mut text = Scientific::new();
    let fits = text.write_fmt(printed);
    debug_assert!(fits.is_ok(), "{printed}");
    text
}

/// A finite number in decimal: ±d.ddd × 10^exponent.
struct Decimal {
    negative: bool,
    /// `d` and `ddd`: the significant digits, without trailing zeros.
    digits: ArrayString<MOST_DIGITS>,
    exponent: i32,
}

impl Decimal {
    /// The fewest digits that read back as `number`; among these, the nearest; if two are equally
    /// near, the even ones.
    fn shortest(number: f64) -> Self {
        let shortest = scientific(format_args!("{number:e}"));
        // If two are equally near, `{:e}` takes the greater and `{:.e}` the even one. The nearest
        // may not read back, because the neighbour below a power of two is nearer than the one
        // above.
        let digits = Self::read(&shortest).digits.len();
        let nearest = scientific(format_args!("{number:.*e}", digits.saturating_sub(1)));
        Self::read(if nearest.parse() == Ok(number) { &nearest } else { &shortest })
    }

    fn read(scientific: &str) -> Self {
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
        let mut digits = ArrayString::new();
        for digit in mantissa.chars().filter(char::is_ascii_digit).take(MOST_DIGITS) {
            digits.push(digit);
        }
        Self {
            negative: mantissa.starts_with('-'),
            digits,
            exponent: exponent.parse().unwrap_or(0),
        }
    }

    /// As `repr` does: always with a fraction or an exponent.
    fn repr(&self) -> Text {
        match self.exponent {
            16.. => self.scientific(format_args!("e+{:02}", self.exponent)),
            0.. => self.plain(),
            -4.. => {
                let zeros = usize::try_from(-1 - self.exponent).unwrap_or(0);
                self.written(format_args!("0.{:0<zeros$}{}", "", self.digits))
            }
            _ => self.scientific(format_args!("e-{:02}", self.exponent.unsigned_abs())),
        }
    }

    /// As `repr` does from 1 to 10¹⁶.
    fn plain(&self) -> Text {
        let before_point = usize::try_from(self.exponent + 1).unwrap_or(0);
        match self.digits.split_at_checked(before_point) {
            Some((whole, fraction)) if !fraction.is_empty() => {
                self.written(format_args!("{whole}.{fraction}"))
            }
            _ => self.written(format_args!("{:0<before_point$}.0", self.digits)),
        }
    }

    /// A whole number without the fraction that `repr` adds; `None` for other numbers.
    fn whole(&self) -> Option<Text> {
        self.repr().strip_suffix(".0").and_then(|whole| Text::from(whole).ok())
    }

    /// In exponent form, with the shortest exponent: no plus sign and no padding.
    fn brief(&self) -> Text {
        self.scientific(format_args!("e{}", self.exponent))
    }

    fn scientific(&self, exponent: fmt::Arguments<'_>) -> Text {
        let (first, rest) = self.digits.split_at_checked(1).unwrap_or_default();
        let point = if rest.is_empty() { "" } else { "." };
        self.written(format_args!("{first}{point}{rest}{exponent}"))
    }

    /// `magnitude` with the sign of the number.
    fn written(&self, magnitude: fmt::Arguments<'_>) -> Text {
        let mut text = Text::new();
        let sign = if self.negative { "-" } else { "" };
        let fits = write!(text, "{sign}{magnitude}");
        debug_assert!(fits.is_ok(), "{sign}{magnitude}");
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repr(number: f64) -> String {
        text(number).to_string()
    }

    fn within(number: f64, room: usize) -> Option<String> {
        text_within(number, room).map(|text| text.to_string())
    }

    #[test]
    #[expect(clippy::excessive_precision, reason = "digits as Python prints them, or exact halves")]
    fn floats_print_as_python_prints_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.568_024_873_733_520_5, "-2.5680248737335205"),
            (1.215_934_753_417_968_8e-5, "1.2159347534179688e-05"),
            (1_726_820_518.391_909_1, "1726820518.3919091"),
            (0.1, "0.1"),
            (9.965_896_606_445_312_5e-5, "9.965896606445312e-05"),
            (199_138_850_438_087.125, "199138850438087.12"),
            (1_097_718_834_198_879.25, "1097718834198879.2"),
            (1_097_718_834_198_879.75, "1097718834198879.8"),
            (0.0001, "0.0001"),
            (0.000_123, "0.000123"),
            (0.000_099_9, "9.99e-05"),
            (1e-5, "1e-05"),
            (100.0, "100.0"),
            (123_456_789.0, "123456789.0"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (-1.5e16, "-1.5e+16"),
            (1e22, "1e+22"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(repr(number), text);
        }
    }

    #[test]
    fn digits_give_way_to_room() {
        let small = 1.215_934_753_417_968_8e-5;
        assert_eq!(within(small, 22).as_deref(), Some("1.2159347534179688e-05"));
        assert_eq!(within(small, 21).as_deref(), Some("1.215934753417969e-05"));
        assert_eq!(within(small, 18).as_deref(), Some("1.215934753418e-05"));
        assert_eq!(within(small, 7).as_deref(), Some("1.2e-05"));
        assert_eq!(within(small, 6).as_deref(), Some("1e-05"));
        assert_eq!(within(small, 4).as_deref(), Some("1e-5"));
        assert_eq!(within(small, 3).as_deref(), Some("0.0"));
        assert_eq!(within(small, 1).as_deref(), Some("0"));
        assert_eq!(within(small, 0), None);
        assert_eq!(within(-2.568_024_873_733_520_5, 8).as_deref(), Some("-2.56802"));
        assert_eq!(within(-0.004, 3).as_deref(), Some("0.0"));
        assert_eq!(within(12.34, 2).as_deref(), Some("12"));
        assert_eq!(within(12.34, 1), None);
        assert_eq!(within(0.7, 1).as_deref(), Some("1"));
        assert_eq!(within(315_575_999.5, 11).as_deref(), Some("315575999.5"));
        assert_eq!(within(315_575_999.5, 10).as_deref(), Some("315576000"));
        assert_eq!(within(-315_575_999.5, 6).as_deref(), Some("-3.2e8"));
        assert_eq!(within(-315_575_999.5, 3), None);
        assert_eq!(within(f64::MAX, 12).as_deref(), Some("1.79769e+308"));
        assert_eq!(within(f64::MAX, 5), None);
        assert_eq!(within(1.2e308, 5).as_deref(), Some("1e308"));
    }

    #[test]
    fn only_decimal_text_is_a_number() {
        for (text, number) in [
            ("0", 0.0),
            ("-2.5680248737335205", -2.568_024_873_733_520_5),
            ("+1.5E3", 1500.0),
            ("1e-05", 1e-5),
            ("007", 7.0),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(number));
        }
        for text in [
            "", "-", "+", ".", "e5", "1e", "1e+", "--1", "1-", "1.2.3", "1_000", " 1", "1 ", "inf",
            "-inf", "infinity", "nan", "NaN", "0x10", "1e999", "-1e309", "١",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(b"\xff"), None);
    }

    #[test]
    fn only_digits_are_a_whole_number() {
        assert_eq!(parse_whole(b"18446744073709551616"), Some(1 << 64));
        for text in ["", "+1", "-1", "1.0", "1e3", " 1", "340282366920938463463374607431768211456"]
        {
            assert_eq!(parse_whole(text.as_bytes()), None, "{text:?}");
        }
    }

    /// Doubles of every magnitude, and those that protocols carry.
    fn numbers() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>()
                .prop_map(f64::from_bits)
                .prop_filter("finite", |number| number.is_finite()),
            -4e8..4e8,
            -1.0..1.0,
            (-1_000_000..1_000_000i32).prop_map(f64::from),
            (-1_000_000..1_000_000i32, -12..12i32)
                .prop_map(|(digits, exponent)| f64::from(digits) * 10f64.powi(exponent)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(number in numbers()) {
            let text = repr(number);
            prop_assert_eq!(parse(text.as_bytes()).map(f64::to_bits), Some(number.to_bits()));
            prop_assert_eq!(within(number, text.len()), Some(text));
        }

        #[test]
        fn shortened_numbers_fit_read_back_and_stay(number in numbers(), room in 0..26usize) {
            let Some(text) = within(number, room) else {
                prop_assert!(room < repr(number).len());
                return Ok(());
            };
            prop_assert!(text.len() <= room);
            let read = parse(text.as_bytes());
            prop_assert!(read.is_some(), "{text}");
            prop_assert_eq!(within(read.unwrap(), text.len()), Some(text));
        }

        #[test]
        fn five_digits_take_at_most_twelve_octets(number in -4e8..4e8f64) {
            let read = parse(within(number, 12).unwrap().as_bytes()).unwrap();
            prop_assert!((read - number).abs() <= 1e-5 * number.abs());
        }

        #[test]
        fn reading_is_total(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(number) = parse(&text) {
                prop_assert!(number.is_finite());
            }
            let _ = parse_whole(&text);
        }
    }
}
