//! `heartbeat-probe odds`: how often random loss alone looks like an outage, as a table.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Interval, Ratio};
use crate::session::odds;

use super::output::written;

/// Compute how often random loss alone looks like an outage, to choose `misses`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ratio of heartbeats that are lost at random, such as 30% or 0.3.
    #[arg(long, value_name = "RATIO", allow_hyphen_values = true)]
    loss: Ratio,

    /// Consecutive misses after which a target is down; several values are compared.
    #[arg(
        long,
        value_name = "K,...",
        value_delimiter = ',',
        default_value = "3",
        allow_negative_numbers = true,
        value_parser = super::whole(1..=100_u32)
    )]
    misses: Vec<u32>,

    /// Print the probability of an outage within N heartbeats; several values are compared.
    #[arg(
        short = 'n',
        long = "within",
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "10,100,1000",
        allow_negative_numbers = true,
        value_parser = super::whole(1..=1_000_000_000_u64)
    )]
    within: Vec<u64>,

    /// Time from one heartbeat to the next.
    #[arg(short, long, value_name = "DURATION", default_value = "1s", allow_hyphen_values = true)]
    interval: Interval,
}

/// Prints the table.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    written(io::stdout().write_all(render(args).as_bytes()), ExitCode::SUCCESS)
}

/// The table, and a sentence that converts it to time.
fn render(args: &Args) -> String {
    let mut header = vec!["misses".to_owned(), "expected heartbeats".to_owned()];
    header.extend(args.within.iter().map(|&n| format!("within {}", grouped(&n.to_string()))));
    let loss = args.loss.get();
    let rows = args.misses.iter().map(|&misses| {
        let mut row = vec![misses.to_string(), heartbeats(loss, odds::expected(loss, misses))];
        row.extend(args.within.iter().map(|&n| percent(odds::within(loss, misses, n))));
        row
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();

    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let gap = if column == 0 { "" } else { "  " };
            let _ = write!(text, "{gap}{cell:>width$}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "\n{}", sentence(args));
    text
}

fn sentence(args: &Args) -> String {
    let (loss, interval) = (args.loss, args.interval);
    if loss.get() == 0.0 {
        return "Without loss, a live target is never down.".to_owned();
    }
    let times = args.misses.iter().map(|&misses| {
        let after = waiting(odds::expected(loss.get(), misses), interval.duration());
        let misses = if misses == 1 { "1 miss".to_owned() } else { format!("{misses} misses") };
        format!("{after} ({misses})")
    });
    let times: Vec<_> = times.collect();
    format!(
        "With a heartbeat every {interval}, random loss of {loss} alone looks like an outage after \
         {} on average.",
        times.join(", ")
    )
}

/// A number of heartbeats, with two decimals below 10¹⁵.
fn heartbeats(loss: f64, expected: f64) -> String {
    match expected {
        _ if loss == 0.0 => "never".to_owned(),
        f64::INFINITY => format!("over {:.0e}", f64::MAX),
        1e15.. => format!("{expected:.2e}"),
        _ => grouped(&format!("{expected:.2}")),
    }
}

/// A probability in percent, with three decimals, or with three significant digits if all three
/// decimals would be 0.
fn percent(probability: f64) -> String {
    match probability * 100.0 {
        percent @ 5e-4.. => format!("{percent:.3} %"),
        0.0 => "0 %".to_owned(),
        percent => format!("{percent:.2e} %"),
    }
}

/// The time that `heartbeats` intervals take, in the two largest units, rounded down.
fn waiting(heartbeats: f64, interval: Duration) -> String {
    const YEAR: f64 = 365.25 * 86_400.0;
    let seconds = heartbeats * interval.as_secs_f64();
    let of = |unit: f64| (seconds / unit).floor();
    match seconds {
        f64::INFINITY => "over 1e300 years".to_owned(),
        // Above 10⁹ years, only the magnitude matters.
        _ if seconds >= 1e9 * YEAR => format!("{:.1e} years", seconds / YEAR),
        _ if seconds >= 100.0 * YEAR => {
            format!("{} years", grouped(&format!("{:.0}", seconds / YEAR)))
        }
        YEAR.. => format!("{}y {}d", of(YEAR), ((seconds % YEAR) / 86_400.0).floor()),
        86_400.0.. => format!("{}d {}h", of(86_400.0), ((seconds % 86_400.0) / 3600.0).floor()),
        3600.0.. => format!("{}h {}m", of(3600.0), ((seconds % 3600.0) / 60.0).floor()),
        60.0.. => format!("{}m {}s", of(60.0), (seconds % 60.0).floor()),
        1.0.. => format!("{seconds:.1}s"),
        _ => format!("{:.0}ms", seconds * 1000.0),
    }
}

/// A number with commas between groups of three digits.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + fraction
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn odds(flags: &str) -> Result<String, String> {
        let cli = Cli::try_parse_from(format!("odds {flags}").split(' '));
        cli.map(|cli| render(&cli.args)).map_err(|error| error.to_string())
    }

    #[test]
    fn odds_of_the_course_s_loss() {
        assert_eq!(
            odds("--loss 30% --misses 3,4,5 -n 10,100,1000").unwrap(),
            "\
misses  expected heartbeats  within 10  within 100  within 1,000
     3                51.48   15.512 %    86.395 %     100.000 %
     4               174.94    4.200 %    43.263 %      99.699 %
     5               586.46    1.093 %    15.256 %      81.931 %

With a heartbeat every 1s, random loss of 30% alone looks like an outage after 51.5s (3 misses), \
2m 54s (4 misses), 9m 46s (5 misses) on average.
"
        );
    }

    #[test]
    fn the_defaults_are_the_probe_s() {
        assert_eq!(odds("--loss 0.3 --misses 3 -n 10,100,1000 --interval 1s"), odds("--loss 30%"),);
    }

    #[test]
    fn rare_odds_keep_three_digits() {
        assert_eq!(
            odds("--loss 0.01% --misses 1,3,100 -n 3,1000000000 -i 200ms").unwrap(),
            "\
misses   expected heartbeats    within 3  within 1,000,000,000
     1             10,000.00     0.030 %             100.000 %
     3  1,000,100,010,000.00  1.00e-10 %               0.100 %
   100            over 2e308         0 %                   0 %

With a heartbeat every 200ms, random loss of 0.01% alone looks like an outage after \
33m 20s (1 miss), 6,338 years (3 misses), over 1e300 years (100 misses) on average.
"
        );
    }

    #[test]
    fn certain_odds() {
        assert_eq!(
            odds("--loss 0 -n 10").unwrap(),
            "\
misses  expected heartbeats  within 10
     3                never        0 %

Without loss, a live target is never down.
"
        );
        assert_eq!(
            odds("--loss 1 --misses 1 -n 1 -i 1ms").unwrap(),
            "\
misses  expected heartbeats   within 1
     1                 1.00  100.000 %

With a heartbeat every 1ms, random loss of 100% alone looks like an outage after 1ms (1 miss) \
on average.
"
        );
    }

    #[test]
    fn flags_out_of_range_are_refused() {
        for (flags, message) in [
            ("--loss 30", "must be from 0% to 100%, or from 0 to 1, not \"30\""),
            ("--loss 0.3 -i 5", "needs a unit, such as 5s or 5ms"),
            ("--loss 0.3 --misses 0", "must be a whole number from 1 to 100"),
            ("--loss 0.3 --misses 101", "must be a whole number from 1 to 100"),
            ("--loss 0.3 -n 0", "must be a whole number from 1 to 1000000000"),
        ] {
            let error = odds(flags).unwrap_err();
            assert!(error.contains(message), "{flags}: {error}");
        }
    }

    #[test]
    fn times_are_written_in_their_two_largest_units() {
        let second = Duration::from_secs(1);
        for (seconds, text) in [
            (0.25, "250ms"),
            (1.0, "1.0s"),
            (60.0, "1m 0s"),
            (3600.0 * 5.5, "5h 30m"),
            (86_400.0 * 2.25, "2d 6h"),
            (365.25 * 86_400.0 * 3.0, "3y 0d"),
            (365.25 * 86_400.0 * 1234.0, "1,234 years"),
            (365.25 * 86_400.0 * 1.5e12, "1.5e12 years"),
            (f64::INFINITY, "over 1e300 years"),
        ] {
            assert_eq!(waiting(seconds, second), text);
        }
    }
}
