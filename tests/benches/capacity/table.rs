//! Tables of aligned text, and the format of quantities.

use std::fmt;
use std::time::Duration;

use super::figures::Quantile;

/// Rows of cells, with the first column aligned to the left and the others to the right, and notes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Adds a line below the table.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "  {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}

/// Microseconds, `1.23 µs`.
pub(crate) fn micros(span: Duration) -> String {
    format!("{:.2} µs", span.as_secs_f64() * 1e6)
}

/// Milliseconds, `1.2 ms`.
pub(crate) fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

/// A quantile in milliseconds.
pub(crate) fn quantile(quantile: Option<Quantile>) -> String {
    match quantile {
        Some(Quantile::At(span)) => format!("{:.3} ms", span.as_secs_f64() * 1e3),
        Some(Quantile::Above(span)) => format!("> {}", millis(span)),
        None => "–".to_owned(),
    }
}

/// Octets in mebibytes.
pub(crate) fn mebibytes(octets: f64) -> String {
    format!("{:.1} MiB", octets / f64::from(1 << 20))
}

/// Octets in kibibytes.
pub(crate) fn kibibytes(octets: f64) -> String {
    format!("{:.2} KiB", octets / f64::from(1 << 10))
}

/// A share in percent, which is 100 only if nothing is missing.
pub(crate) fn percent(share: f64) -> String {
    if share >= 1.0 {
        return "100 %".to_owned();
    }
    format!("{:.4} %", (share * 1e6).floor() / 1e4)
}

/// `a / b`, `1.2 ×`.
pub(crate) fn ratio(a: Duration, b: Duration) -> String {
    format!("{:.2} ×", a.as_secs_f64() / b.as_secs_f64())
}

/// A whole number with commas: `100,000`.
pub(crate) fn count(number: impl fmt::Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
