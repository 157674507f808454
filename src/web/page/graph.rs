//! Graphs of the last minutes, as the coordinates of their SVG elements.
//!
//! Misses differ in shape as well as in colour, and a summary in words serves screen readers.

use std::fmt::Write as _;
use std::time::Duration;

use super::text::{milliseconds, percent, span};
use crate::session::{Column, Misses, Recent};

/// The shapes of a graph: a line of the mean delays, with gaps, and bars where heartbeats were
/// missed.
#[derive(Debug)]
pub(super) struct Graph {
    /// The whole graph in words.
    pub(super) summary: String,
    /// SVG paths.
    pub(super) line: String,
    pub(super) area: String,
    pub(super) bars: Vec<Bar>,
    /// The value of the upper edge, in seconds.
    top: f64,
    height: f64,
}

/// A bar of misses, with SVG numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: String,
    pub(super) y: String,
    pub(super) width: String,
    pub(super) height: String,
}

/// A graph at full width, with a scale.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) graph: Graph,
    pub(super) top: String,
    pub(super) half: String,
    /// How far back it goes.
    pub(super) covered: String,
    pub(super) hits: Vec<Hit>,
}

/// A column that shows its figures when the pointer is over it.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) x: String,
    pub(super) width: String,
    pub(super) words: String,
}

/// The graph in a row of the list: 120 units by 28.
pub(super) fn sparkline(recent: &Recent) -> Graph {
    Graph::new(recent, 120.0, 28.0)
}

/// The chart on the page of a target: 900 units by 200.
pub(super) fn chart(recent: &Recent) -> Chart {
    let width = 900.0;
    let graph = Graph::new(recent, width, 200.0);
    let top = Duration::from_secs_f64(graph.top);
    let columns = u32::try_from(recent.columns.len()).unwrap_or(1);
    Chart {
        graph,
        top: milliseconds(Some(top)),
        half: milliseconds(Some(top / 2)),
        covered: span(recent.width * columns),
        hits: hits(recent, step(recent, width)),
    }
}

impl Graph {
    fn new(recent: &Recent, width: f64, height: f64) -> Self {
        let columns = &recent.columns;
        let step = step(recent, width);
        let greatest = columns.iter().filter_map(|column| column.rtt).max();
        let top = ceiling(greatest.unwrap_or_default().as_secs_f64());
        let mut graph = Self {
            summary: summary(recent),
            line: String::new(),
            area: String::new(),
            bars: Vec::new(),
            top,
            height,
        };
        let mut run: Vec<(f64, f64)> = Vec::new();
        for (n, column) in columns.iter().enumerate() {
            let left = n as f64 * step;
            if let Some(ratio) = ratio(column).filter(|&ratio| ratio > 0.0) {
                // Keeps a small ratio visible.
                let tall = height * ratio.max(0.12);
                graph.bars.push(Bar {
                    x: format!("{left:.1}"),
                    y: format!("{:.1}", height - tall),
                    width: format!("{:.1}", step * 0.85),
                    height: format!("{tall:.1}"),
                });
            }
            match column.rtt {
                Some(rtt) => {
                    let y = height - rtt.as_secs_f64() / top * height;
                    run.push((left + step / 2.0, y));
                }
                None => graph.draw(&std::mem::take(&mut run)),
            }
        }
        graph.draw(&run);
        graph
    }

    /// Draws a line through points without a gap.
    fn draw(&mut self, run: &[(f64, f64)]) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        for (n, (x, y)) in run.iter().enumerate() {
            let _ = write!(self.line, "{}{x:.1} {y:.1}", if n == 0 { 'M' } else { 'L' });
        }
        if run.len() == 1 {
            // Round line ends make a dot of a very short line.
            self.line.push_str("h.1");
            return;
        }
        let height = self.height;
        let _ = write!(self.area, "M{:.1} {height}", first.0);
        for (x, y) in run {
            let _ = write!(self.area, "L{x:.1} {y:.1}");
        }
        let _ = write!(self.area, "L{:.1} {height}Z", last.0);
    }
}

/// The width of a column.
fn step(recent: &Recent, width: f64) -> f64 {
    width / recent.columns.len().max(1) as f64
}

fn hits(recent: &Recent, step: f64) -> Vec<Hit> {
    let columns = recent.columns.iter().enumerate();
    let settled = columns.filter(|(_, column)| column.settled > 0);
    settled
        .map(|(n, column)| {
            let back = u32::try_from(recent.columns.len() - n).unwrap_or(1);
            let ago = span(recent.width * back);
            let (delay, missed) = (milliseconds(column.rtt), percent(ratio(column)));
            Hit {
                x: format!("{:.1}", n as f64 * step),
                width: format!("{step:.1}"),
                words: format!("{ago} ago: {delay}, {missed} missed"),
            }
        })
        .collect()
}

fn ratio(column: &Column) -> Option<f64> {
    Misses { missed: column.missed, settled: column.settled }.ratio()
}

/// The whole graph in words.
fn summary(recent: &Recent) -> String {
    let sum = recent.columns.iter().fold(Misses::default(), |sum, column| Misses {
        missed: sum.missed + column.missed,
        settled: sum.settled + column.settled,
    });
    let delays = || recent.columns.iter().filter_map(|column| column.rtt);
    let Some((least, most)) = delays().min().zip(delays().max()) else {
        return format!("no answers, {} missed", percent(sum.ratio()));
    };
    format!(
        "delays from {} to {}, {} missed",
        milliseconds(Some(least)),
        milliseconds(Some(most)),
        percent(sum.ratio())
    )
}

/// The next round number of seconds above the greatest value: 1, 2 or 5 times a power of ten.
fn ceiling(greatest: f64) -> f64 {
    let wanted = greatest.max(1e-6) * 1.05;
    let power = 10_f64.powf(wanted.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|round| round * power >= wanted);
    round.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(columns: &[(u64, u32)]) -> Recent {
        let column = |&(micros, missed)| Column {
            rtt: (missed < 10).then(|| Duration::from_micros(micros)),
            missed,
            settled: 10,
        };
        Recent { columns: columns.iter().map(column).collect(), width: Duration::from_secs(10) }
    }

    #[test]
    fn a_line_has_a_gap_and_a_bar_where_all_is_missed() {
        let graph = Graph::new(&recent(&[(1000, 0), (2000, 0), (0, 10), (4000, 0)]), 40.0, 50.0);
        assert!((graph.top - 0.005).abs() < 1e-12);
        assert_eq!(graph.line, "M5.0 40.0L15.0 30.0M35.0 10.0h.1");
        assert_eq!(graph.area, "M5.0 50L5.0 40.0L15.0 30.0L15.0 50Z");
        let bar = ["20.0", "0.0", "8.5", "50.0"].map(str::to_owned);
        let [x, y, width, height] = bar;
        assert_eq!(graph.bars, [Bar { x, y, width, height }]);
    }

    #[test]
    fn a_graph_of_nothing_is_empty_and_says_so() {
        let nothing =
            Recent { columns: vec![Column::default(); 30], width: Duration::from_secs(10) };
        let graph = Graph::new(&nothing, 40.0, 50.0);
        assert_eq!((graph.line.as_str(), graph.bars.as_slice()), ("", &[][..]));
        assert_eq!(graph.summary, "no answers, – missed");
        let some = sparkline(&recent(&[(700, 0), (900, 1), (0, 10)]));
        assert_eq!(
            some.summary,
            "delays from 0.700\u{202f}ms to 0.900\u{202f}ms, 36.7\u{202f}% missed"
        );
    }

    #[test]
    fn scales_end_at_round_numbers() {
        let tops =
            [0.0, 0.9e-3, 1e-3, 1.95e-3, 0.3].map(|greatest| format!("{:.6}", ceiling(greatest)));
        assert_eq!(tops, ["0.000002", "0.001000", "0.002000", "0.005000", "0.500000"]);
    }
}
