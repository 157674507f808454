//! The core schema of YAML 1.2 (section 10.3.2), which gives plain scalars their types.
//!
//! Quoted scalars and block scalars are always text and are not resolved here.

/// The value of a plain scalar that is not text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Plain {
    /// Empty, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits 64 bits; larger ones are floats.
    Integer(i64),
    /// Any other number, including infinities and NaN.
    Float(f64),
}

/// The value of a plain scalar; `None` if it is text.
///
/// A number too large for a float is text, because as infinity it would not be the number written.
pub(super) fn resolve(text: &str) -> Option<Plain> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Plain::Null),
        "true" | "True" | "TRUE" => Some(Plain::Bool(true)),
        "false" | "False" | "FALSE" => Some(Plain::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => Some(Plain::Float(f64::NAN)),
        _ => number(text),
    }
}

fn number(text: &str) -> Option<Plain> {
    if let Some(digits) = text.strip_prefix("0x") {
        return in_base(16, digits);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return in_base(8, digits);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Some(Plain::Float(sign * f64::INFINITY));
    }
    // Restricted to these characters, Rust's grammar of floats is that of the core schema.
    let numeric = |octet: u8| octet.is_ascii_digit() || b".eE+-".contains(&octet);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !unsigned.bytes().all(numeric)
    {
        return None;
    }
    if let Ok(number) = text.parse() {
        return Some(Plain::Integer(number));
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Plain::Float)
}

/// A whole number without a sign.
fn in_base(base: u32, digits: &str) -> Option<Plain> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    if let Ok(number) = i64::from_str_radix(digits, base) {
        return Some(Plain::Integer(number));
    }
    let digits = digits.chars().filter_map(|c| c.to_digit(base));
    let number = digits.fold(0.0, |number, digit| number * f64::from(base) + f64::from(digit));
    number.is_finite().then_some(Plain::Float(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(text: &str) -> Option<i64> {
        if let Some(Plain::Integer(number)) = resolve(text) { Some(number) } else { None }
    }

    fn float(text: &str) -> Option<f64> {
        if let Some(Plain::Float(number)) = resolve(text) { Some(number) } else { None }
    }

    #[test]
    fn null_true_and_false_are_read_in_every_spelling() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(resolve(text), Some(Plain::Null), "{text:?}");
        }
        for text in ["true", "True", "TRUE"] {
            assert_eq!(resolve(text), Some(Plain::Bool(true)), "{text:?}");
        }
        for text in ["false", "False", "FALSE"] {
            assert_eq!(resolve(text), Some(Plain::Bool(false)), "{text:?}");
        }
    }

    #[test]
    fn whole_numbers_are_decimal_octal_or_hexadecimal() {
        for (text, number) in [
            ("0", 0),
            ("7", 7),
            ("-7", -7),
            ("+7", 7),
            ("007", 7),
            ("0x1F", 31),
            ("0xff", 255),
            ("0o17", 15),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Some(number), "{text:?}");
        }
    }

    #[test]
    fn other_numbers_are_floats() {
        for (text, number) in [
            ("1.5", 1.5),
            ("-.5", -0.5),
            ("5.", 5.0),
            ("1e3", 1e3),
            ("+1.E-3", 1e-3),
            ("12e03", 12e3),
            (".inf", f64::INFINITY),
            ("+.INF", f64::INFINITY),
            ("-.Inf", f64::NEG_INFINITY),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            ("0x10000000000000000", 18_446_744_073_709_551_616.0),
            ("0o7777777777777777777777777777", 2_f64.powi(84)),
        ] {
            assert_eq!(float(text).map(f64::to_bits), Some(number.to_bits()), "{text:?}");
        }
        assert!(float(".nan").is_some_and(f64::is_nan));
    }

    #[test]
    fn everything_else_is_text() {
        let huge = "9".repeat(400);
        let hexadecimal = format!("0x{}", "f".repeat(400));
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "nULL",
            "tRue",
            "0b1",
            "1_000",
            "0x",
            "0o8",
            "-0x1",
            "0X1",
            "0o",
            "+",
            "-",
            ".",
            "e",
            "1e",
            "e5",
            ".e5",
            "1e+",
            "+-1",
            "--1",
            "1.2.3",
            "1:30",
            "inf",
            "nan",
            "infinity",
            "+.nan",
            ".iNF",
            "1s",
            "0x1g",
            "1 ",
            " 1",
            "１",
            "1e400",
            "-1e400",
            huge.as_str(),
            hexadecimal.as_str(),
        ] {
            assert_eq!(resolve(text), None, "{text:?}");
        }
    }
}
