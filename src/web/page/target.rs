//! The page of one target: its state, graph, figures, settings, and newest heartbeats.

use std::io;
use std::time::Duration;

use askama::Template;

use super::frame::{Frame, href, write};
use super::graph::{Chart, chart};
use super::text::{ABSENT, ShownTime, Since, count, milliseconds, moment, percent, since, span};
use crate::config::format_duration;
use crate::exposition::{self, rfc3339_micros};
use crate::model::{Direction, IcmpKind, InvalidReason, Label, UnsentReason, Wall};
use crate::observe::{Diagnosis, TargetLook};
use crate::session::{Histogram, Outcome, Record, Summary};
use crate::web::view::Standing;

/// How many heartbeats an open page shows.
const KEEP: u32 = 240;

/// The outcomes of heartbeats, in the order of the legend.
const LEGEND: [&str; 6] = ["received", "late", "lost", "unsent", "skipped", "in_flight"];

#[derive(Debug, Template)]
#[template(path = "target.html", config = "src/web/templates/askama.toml")]
struct TargetPage<'a> {
    frame: Frame,
    name: &'a str,
    state: &'static str,
    since: Option<Since>,
    why: Option<Diagnosis>,
    /// Earlier states, the newest first, and how long each lasted.
    before: Vec<(&'static str, String)>,
    changes: String,
    chart: Chart,
    newest: Vec<HeartbeatRow>,
    keep: u32,
    legend: Vec<(&'static str, String)>,
    frozen: Option<Frozen>,
    figures: Vec<Figure>,
    errors: [Group; 3],
    histogram: Vec<Bin>,
    settings: Vec<Figure>,
    /// The path of the flight recorder as JSON.
    json: String,
}

/// A heartbeat; unknown values are shown as [`ABSENT`].
#[derive(Debug)]
struct HeartbeatRow {
    sequence: u64,
    outcome: &'static str,
    words: String,
    at: String,
    ttl: String,
}

/// What the flight recorder kept when the target last went down.
#[derive(Debug)]
struct Frozen {
    down: ShownTime,
    ago: String,
    heartbeats: Vec<HeartbeatRow>,
}

#[derive(Debug)]
struct Figure {
    name: String,
    value: String,
}

/// Counts by kind or reason, without those that are zero.
#[derive(Debug)]
struct Group {
    title: &'static str,
    /// The newest of them, if it is known.
    newest: Option<(String, ShownTime)>,
    figures: Vec<Figure>,
    /// The text to show if there are no figures.
    none: &'static str,
}

/// A row of the histogram.
#[derive(Debug)]
struct Bin {
    bound: String,
    /// In percent of the highest bin.
    width: String,
    share: String,
    number: String,
}

/// Writes the page of a target.
pub(in crate::web) fn target(look: &TargetLook, out: &mut dyn io::Write) -> io::Result<()> {
    write(&page(look), out)
}

fn page(look: &TargetLook) -> TargetPage<'_> {
    let TargetLook { at, sample, glance, recording, recent, changes, .. } = look;
    let name = &sample.target.name;
    let state = Standing::of(glance.state).word();
    let record = &sample.session.record;
    let earlier = changes.windows(2).map(|pair| {
        let [(_, ended), (state, began)] = [pair[0], pair[1]];
        (state.label(), span(since(began, ended)))
    });
    let noun = if glance.changes == 1 { "change" } else { "changes" };
    TargetPage {
        frame: Frame::probe("../", format!("{name}: {state}")),
        name,
        state,
        since: glance.changed.map(|changed| Since::new(changed, *at)),
        why: look.diagnosis(),
        before: earlier.collect(),
        changes: format!("{} {noun}", count(glance.changes)),
        chart: chart(recent),
        newest: recording.newest.iter().map(HeartbeatRow::new).collect(),
        keep: KEEP,
        legend: LEGEND.map(|class| (class, in_words(class))).into(),
        frozen: recording.frozen.as_ref().map(|frozen| Frozen {
            down: moment(frozen.down),
            ago: span(since(frozen.down, *at)),
            heartbeats: frozen.heartbeats.iter().map(HeartbeatRow::new).collect(),
        }),
        figures: figures(look),
        errors: errors(record),
        histogram: histogram(&record.rtt),
        settings: settings(look),
        json: format!("../api/v1/{}/heartbeats", href(name)),
    }
}

impl HeartbeatRow {
    fn new(heartbeat: &crate::session::Heartbeat) -> Self {
        let exact = heartbeat.at.and_then(rfc3339_micros);
        let at = exact.map(|exact| exact.replace('T', " ").trim_end_matches('Z').to_owned());
        Self {
            sequence: heartbeat.sequence,
            outcome: exposition::outcome(heartbeat),
            words: outcome_in_words(heartbeat.outcome),
            at: at.unwrap_or_else(|| ABSENT.to_owned()),
            ttl: heartbeat.ttl.map_or_else(|| ABSENT.to_owned(), |ttl| ttl.to_string()),
        }
    }
}

fn outcome_in_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Skipped => "skipped: the probe was late".to_owned(),
        Outcome::Unsent(reason) => format!("not sent: {}", in_words(reason.label())),
        Outcome::InFlight => "in flight".to_owned(),
        Outcome::Received(rtt) => format!("answered after {}", milliseconds(Some(rtt))),
        Outcome::Lost => "lost".to_owned(),
        Outcome::Late(after) => format!("late: answered after {}", milliseconds(Some(after))),
    }
}

fn figures(look: &TargetLook) -> Vec<Figure> {
    let TargetLook { sample, glance, at, .. } = look;
    let record = &sample.session.record;
    let nanos = |nanos: Option<u64>| milliseconds(nanos.map(Duration::from_nanos));
    let settled = record.lost + record.received;
    let lost = (settled > 0).then(|| record.lost as f64 / settled as f64);
    let difference = record
        .time_difference
        .map_or_else(|| ABSENT.to_owned(), |nanos| format!("{:+.3}\u{202f}ms", nanos as f64 / 1e6));
    let ttl = record.reply_ttl.map_or_else(|| ABSENT.to_owned(), |ttl| ttl.to_string());
    let one_way = Direction::ALL.iter().zip(&record.one_way_lost).filter(|(_, lost)| **lost > 0);
    let one_way = one_way.map(|(way, &lost)| figure(format!("lost {}", way.label()), count(lost)));
    let ignored = Some(record.turnaround_invalid).filter(|&ignored| ignored > 0);
    let ignored = ignored.map(|ignored| figure("turnarounds ignored", count(ignored)));
    let other = record.last_other_source.as_deref().map(|&(address, at)| {
        let number = count(record.other_source_replies);
        let when = ago(Some(at), look.at);
        figure("answers from another address", format!("{number}; the last from {address}, {when}"))
    });
    let mut figures = vec![
        figure("missed in the last minutes", percent(glance.misses.ratio())),
        figure("lost since the probe started", percent(lost)),
        figure("last delay", nanos(record.last_rtt)),
        figure("mean delay", milliseconds(record.rtt.mean())),
        figure("p50, estimated", nanos(glance.p50)),
        figure("p99, estimated", nanos(glance.p99)),
        figure("mean delay variation", mean(record.ipdv)),
        figure("mean turnaround", mean(record.turnaround)),
        figure("time difference", difference),
        figure("hop limit of replies", ttl),
        figure("last answer in time", ago(record.last_reply, *at)),
        figure("misses in a row", count(sample.session.consecutive_misses)),
        figure("total time down", span(sample.session.down)),
        figure("sent", count(record.sent)),
        figure("received", count(record.received)),
        figure("lost", count(record.lost)),
    ];
    figures.extend(one_way);
    figures.extend(ignored);
    figures.extend(other);
    figures.extend([
        figure("in flight", count(sample.session.in_flight)),
        figure("late", count(record.late)),
        figure("duplicates", count(record.duplicates)),
        figure("reordered", count(record.reordered)),
    ]);
    figures
}

/// ICMP errors, unsent heartbeats and invalid replies, by kind or reason.
fn errors(record: &Record) -> [Group; 3] {
    let newest = record.last_icmp.map(|(kind, at)| (in_words(kind.label()), moment(at)));
    [
        Group {
            title: "ICMP errors",
            newest,
            figures: by_label::<IcmpKind>(&record.icmp_errors),
            none: "None came back.",
        },
        Group {
            title: "Not sent",
            newest: None,
            figures: by_label::<UnsentReason>(&record.unsent),
            none: "Every heartbeat was sent.",
        },
        Group {
            title: "Invalid replies",
            newest: None,
            figures: by_label::<InvalidReason>(&record.invalid),
            none: "None came.",
        },
    ]
}

fn by_label<L: Label>(counts: &[u64]) -> Vec<Figure> {
    let counted = L::ALL.iter().zip(counts).filter(|&(_, &count)| count > 0);
    counted.map(|(label, &number)| figure(in_words(label.label()), count(number))).collect()
}

/// The bins from the least delay to the greatest, with one more on each side; none if nothing was
/// answered.
fn histogram(rtt: &Histogram) -> Vec<Bin> {
    let total = rtt.count();
    let mut below = 0;
    let mut bins: Vec<(String, u64)> = Vec::new();
    for (bound, up_to) in rtt.cumulative() {
        let bound = milliseconds(Some(Duration::from_nanos(bound)));
        bins.push((format!("≤ {bound}"), up_to - below));
        below = up_to;
    }
    bins.push(("longer".to_owned(), total - below));
    let Some(first) = bins.iter().position(|bin| bin.1 > 0) else { return Vec::new() };
    let last = bins.iter().rposition(|bin| bin.1 > 0).unwrap_or(first) + 1;
    let most = bins.iter().map(|bin| bin.1).max().unwrap_or(1);
    let shown = bins.into_iter().take(last + 1).skip(first.saturating_sub(1));
    shown
        .map(|(bound, number)| Bin {
            bound,
            width: format!("{:.1}", 100.0 * number as f64 / most as f64),
            share: percent(Some(number as f64 / total as f64)),
            number: count(number),
        })
        .collect()
}

fn settings(look: &TargetLook) -> Vec<Figure> {
    let sample = &look.sample;
    let target = &sample.target;
    let goes = sample.address.map_or_else(|| ABSENT.to_owned(), |address| address.to_string());
    let mut settings =
        vec![figure("address", target.address.to_string()), figure("heartbeats go to", goes)];
    if sample.address_changes > 0 {
        settings.push(figure("changes of address", count(sample.address_changes)));
    }
    settings.extend([
        figure("protocol", target.protocol.name()),
        figure("interval", format_duration(target.interval)),
        figure("timeout", format_duration(target.timeout)),
        figure("misses until it is down", count(target.misses.into())),
        figure("answers until it is up", count(target.recoveries.into())),
        figure("flight recorder", format!("{} heartbeats", count(target.recorder.into()))),
    ]);
    let labels = target.labels.iter();
    settings.extend(labels.map(|(label, value)| figure(format!("label {label}"), value.as_str())));
    settings
}

fn figure(name: impl Into<String>, value: impl Into<String>) -> Figure {
    Figure { name: name.into(), value: value.into() }
}

/// A label's value with spaces between its words.
fn in_words(label: &str) -> String {
    label.replace('_', " ")
}

fn mean(summary: Summary) -> String {
    milliseconds(summary.sum.checked_div(summary.count).map(Duration::from_nanos))
}

fn ago(at: Option<Wall>, now: Wall) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", span(since(at, now))))
}
