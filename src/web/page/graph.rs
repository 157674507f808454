//! Graphs as SVG that stands in the page: the last minutes and heartbeats enter, elements leave.
//!
//! What is missed is told by shape as well as by colour, and in words to whoever sees neither.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use super::text::{milliseconds, percent, span};
use crate::exposition::outcome;
use crate::session::{Column, Heartbeat, Misses, Outcome, Recent};

/// A line of the mean delays with gaps and bars where heartbeats were missed, small enough for a
/// row of a table.
pub(super) fn sparkline(recent: &Recent) -> String {
    let graph = Graph::of(recent, 120.0, 28.0);
    format!(
        "<svg class=spark viewBox=\"0 0 120 28\" preserveAspectRatio=none role=img \
         aria-label=\"{}\"><path class=grid d=\"M0 27.5H120\"/>{}<path class=line d=\"{}\"/></svg>",
        summary(recent),
        graph.bars,
        graph.line,
    )
}

/// The same at full width, with a scale.
pub(super) fn chart(recent: &Recent, out: &mut dyn Write) -> io::Result<()> {
    let graph = Graph::of(recent, 900.0, 200.0);
    let covered = recent.width * u32::try_from(recent.columns.len()).unwrap_or(1);
    let top = Duration::from_secs_f64(graph.top);
    write!(
        out,
        "<figure class=chart><div class=scale aria-hidden=true><span>{}</span><span>{}</span>\
         <span>0</span></div><svg viewBox=\"0 0 900 200\" preserveAspectRatio=none role=img \
         aria-label=\"{}\"><path class=grid d=\"M0 1H900M0 100H900M0 199H900\"/>{}\
         <path class=area d=\"{}\"/><path class=line d=\"{}\"/>{}</svg>\
         <figcaption><span>{} ago</span><span class=key><i class=line></i>mean delay \
         <i class=miss></i>missed</span><span>now</span></figcaption></figure>",
        milliseconds(Some(top)),
        milliseconds(Some(top / 2)),
        summary(recent),
        graph.bars,
        graph.area,
        graph.line,
        graph.hits(recent),
        span(covered),
    )
}

/// Every heartbeat as a bar of its own, from the oldest on. `keep` is how many of them a page that
/// stays open goes on showing after the probe has forgotten them.
pub(super) fn ribbon(heartbeats: &[Heartbeat], keep: u32, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "<ol class=ribbon data-keep={keep}>")?;
    for heartbeat in heartbeats {
        let (number, words) = (heartbeat.sequence, told(heartbeat));
        write!(
            out,
            "<li class={} data-key={number} title=\"#{number} {words}\">\
             <span class=sr>#{number} {words}</span>",
            outcome(heartbeat),
        )?;
    }
    out.write_all(b"</ol>")
}

/// What became of a heartbeat, in words.
pub(super) fn told(heartbeat: &Heartbeat) -> String {
    match heartbeat.outcome {
        Outcome::Skipped => "skipped: the probe was late".to_owned(),
        Outcome::Unsent(reason) => format!("not sent: {}", reason.to_string().replace('_', " ")),
        Outcome::InFlight => "in flight".to_owned(),
        Outcome::Received(rtt) => format!("answered after {}", milliseconds(Some(rtt))),
        Outcome::Lost => "lost".to_owned(),
        Outcome::Late(after) => format!("late: answered after {}", milliseconds(Some(after))),
    }
}

/// The paths of a graph.
struct Graph {
    /// What stands at the upper edge, in seconds.
    top: f64,
    line: String,
    area: String,
    bars: String,
    /// Units of the picture by the column, and to the lower edge.
    step: f64,
    height: f64,
}

impl Graph {
    fn of(recent: &Recent, width: f64, height: f64) -> Self {
        let columns = &recent.columns;
        let step = width / columns.len().max(1) as f64;
        let greatest = columns.iter().filter_map(|column| column.rtt).max();
        let top = ceiling(greatest.unwrap_or_default().as_secs_f64());
        let mut graph = Self {
            top,
            line: String::new(),
            area: String::new(),
            bars: String::new(),
            step,
            height,
        };
        let mut run: Vec<(f64, f64)> = Vec::new();
        for (n, column) in columns.iter().enumerate() {
            let left = n as f64 * step;
            if let Some(ratio) = ratio(column).filter(|&ratio| ratio > 0.0) {
                // One in a hundred is still to be seen.
                let tall = height * ratio.max(0.12);
                let _ = write!(
                    graph.bars,
                    "<rect class=miss x={left:.1} y={:.1} width={:.1} height={tall:.1} />",
                    height - tall,
                    step * 0.85
                );
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
            // Round ends make a dot of a line that is next to nothing.
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

    /// A field for each column that says its figures to whoever points at it.
    fn hits(&self, recent: &Recent) -> String {
        let mut hits = String::new();
        for (n, column) in recent.columns.iter().enumerate().filter(|(_, c)| c.settled > 0) {
            let back = u32::try_from(recent.columns.len() - n).unwrap_or(1);
            let _ = write!(
                hits,
                "<rect class=hit x={:.1} y=0 width={:.1} height={}><title>{} ago: {}, \
                 {} missed</title></rect>",
                n as f64 * self.step,
                self.step,
                self.height,
                span(recent.width * back),
                milliseconds(column.rtt),
                percent(ratio(column)),
            );
        }
        hits
    }
}

fn ratio(column: &Column) -> Option<f64> {
    Misses { missed: column.missed, settled: column.settled }.ratio()
}

/// The whole graph in a line of words.
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

/// The next round number of seconds above what is shown: 1, 2 or 5 of a power of ten.
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
        let graph = Graph::of(&recent(&[(1000, 0), (2000, 0), (0, 10), (4000, 0)]), 40.0, 50.0);
        assert!((graph.top - 0.005).abs() < 1e-12);
        assert_eq!(graph.line, "M5.0 40.0L15.0 30.0M35.0 10.0h.1");
        assert_eq!(graph.area, "M5.0 50L5.0 40.0L15.0 30.0L15.0 50Z");
        assert_eq!(graph.bars, "<rect class=miss x=20.0 y=0.0 width=8.5 height=50.0 />");
    }

    #[test]
    fn a_graph_of_nothing_is_empty_and_says_so() {
        let nothing =
            Recent { columns: vec![Column::default(); 30], width: Duration::from_secs(10) };
        let graph = Graph::of(&nothing, 40.0, 50.0);
        assert_eq!((graph.line.as_str(), graph.bars.as_str()), ("", ""));
        assert!(sparkline(&nothing).contains("aria-label=\"no answers, – missed\""));
        let some = sparkline(&recent(&[(700, 0), (900, 1), (0, 10)]));
        assert!(
            some.contains("delays from 0.700\u{202f}ms to 0.900\u{202f}ms, 36.7\u{202f}% missed")
        );
    }

    #[test]
    fn scales_end_at_round_numbers() {
        let tops =
            [0.0, 0.9e-3, 1e-3, 1.95e-3, 0.3].map(|greatest| format!("{:.6}", ceiling(greatest)));
        assert_eq!(tops, ["0.000002", "0.001000", "0.002000", "0.005000", "0.500000"]);
    }
}
