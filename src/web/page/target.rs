//! The page of one target: what is known of it enters, the page leaves.

use std::io::{self, Write};
use std::time::Duration;

use super::graph::{chart, ribbon, told};
use super::text::{ABSENT, Escaped, count, milliseconds, moment, percent, since, span};
use super::{close, href, open};
use crate::config::{Target, format_duration};
use crate::exposition::{outcome, rfc3339_micros};
use crate::model::{Direction, IcmpKind, InvalidReason, Label, UnsentReason, Wall};
use crate::observe::{Diagnosis, TargetLook};
use crate::session::{Heartbeat, Histogram, Outcome, Record, Summary};
use crate::web::view::Standing;

/// How many heartbeats a page that stays open shows.
const RIBBON: u32 = 240;

/// Writes the page of a target.
pub(in crate::web) fn target(look: &TargetLook, out: &mut dyn Write) -> io::Result<()> {
    let name = &look.sample.target.name;
    let state = Standing::of(look.glance.state).word();
    open(out, "../", &format!("{name}: {state}"))?;
    head(look, out)?;
    out.write_all(b"<section><h2>Last minutes</h2>")?;
    chart(&look.recent, out)?;
    out.write_all(b"</section><section><h2>Heartbeat by heartbeat</h2>")?;
    ribbon(&look.recording.newest, RIBBON, out)?;
    legend(out)?;
    out.write_all(b"</section>")?;
    frozen(look, out)?;
    out.write_all(b"<div class=columns>")?;
    figures(look, out)?;
    errors(&look.sample.session.record, out)?;
    histogram(&look.sample.session.record.rtt, out)?;
    settings(&look.sample.target, look, out)?;
    out.write_all(b"</div>")?;
    recorder(look, out)?;
    close(out)
}

/// Name, state, and why.
fn head(look: &TargetLook, out: &mut dyn Write) -> io::Result<()> {
    let TargetLook { at, sample, glance, changes, .. } = look;
    let state = Standing::of(glance.state).word();
    write!(
        out,
        "<nav class=back><a href=\"../\">All targets</a></nav><div class=head><h2 class=name>{}\
         </h2><p class=lead><b class=\"big {state}\" role=status>{state}</b>",
        Escaped(&sample.target.name)
    )?;
    if let Some(changed) = glance.changed {
        write!(
            out,
            " <span>for {}</span> <span class=soft>since {}</span>",
            span(since(changed, *at)),
            moment(changed)
        )?;
    }
    out.write_all(b"</p>")?;
    if let Some(Diagnosis { summary, evidence, advice, .. }) = look.diagnosis() {
        write!(out, "<p class=why>{}</p><ul class=soft>", Escaped(&summary))?;
        for fact in &evidence {
            write!(out, "<li>{}", Escaped(fact))?;
        }
        write!(out, "</ul><p>{}</p>", Escaped(&advice))?;
    }
    if changes.len() > 1 {
        out.write_all(b"<p class=soft>Before that:")?;
        for (n, (state, began)) in changes.iter().enumerate().skip(1) {
            let lasted = since(*began, changes[n - 1].1);
            let state = state.label();
            write!(out, " <span class={state}>{state} for {}</span>", span(lasted))?;
        }
        let all = glance.changes;
        let noun = if all == 1 { "change" } else { "changes" };
        write!(out, " · {} {noun} since the probe began</p>", count(all))?;
    }
    out.write_all(b"</div>")
}

fn legend(out: &mut dyn Write) -> io::Result<()> {
    let words = ["received", "late", "lost", "unsent", "skipped", "in_flight"];
    out.write_all(b"<p class=\"legend soft\" aria-hidden=true>")?;
    for word in words {
        write!(out, "<span><i class={word}></i>{}</span>", word.replace('_', " "))?;
    }
    out.write_all(b"</p>")
}

/// What the flight recorder kept of the moments before the last outage.
fn frozen(look: &TargetLook, out: &mut dyn Write) -> io::Result<()> {
    let Some(frozen) = &look.recording.frozen else { return Ok(()) };
    write!(
        out,
        "<section class=frozen><h2>Just before it went down</h2><p>Called down at {}, {} ago. \
         What the flight recorder held at that moment:</p>",
        moment(frozen.down),
        span(since(frozen.down, look.at))
    )?;
    ribbon(&frozen.heartbeats, 0, out)?;
    out.write_all(b"<details><summary>The same as a table</summary>")?;
    table(&frozen.heartbeats, out)?;
    out.write_all(b"</details></section>")
}

/// One figure in a list.
fn figure(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    write!(out, "<div><dt>{name}<dd>{value}</div>")
}

fn figures(look: &TargetLook, out: &mut dyn Write) -> io::Result<()> {
    let TargetLook { sample, glance, at, .. } = look;
    let record = &sample.session.record;
    let nanos = |nanos: Option<u64>| milliseconds(nanos.map(Duration::from_nanos));
    let settled = record.lost + record.received;
    let lost = (settled > 0).then(|| record.lost as f64 / settled as f64);
    out.write_all(b"<section><h2>Figures</h2><dl>")?;
    figure(out, "missed lately", &percent(glance.misses.ratio()))?;
    figure(out, "lost since the probe began", &percent(lost))?;
    figure(out, "last delay", &nanos(record.last_rtt))?;
    figure(out, "mean delay", &milliseconds(record.rtt.mean()))?;
    figure(out, "p50, estimated", &nanos(glance.p50))?;
    figure(out, "p99, estimated", &nanos(glance.p99))?;
    figure(out, "mean delay variation", &mean(record.ipdv))?;
    figure(out, "mean turnaround", &mean(record.turnaround))?;
    let difference = record
        .time_difference
        .map_or_else(|| ABSENT.to_owned(), |nanos| format!("{:+.3}\u{202f}ms", nanos as f64 / 1e6));
    figure(out, "time difference", &difference)?;
    let ttl = record.reply_ttl.map_or_else(|| ABSENT.to_owned(), |ttl| ttl.to_string());
    figure(out, "hop limit of replies", &ttl)?;
    figure(out, "last answer in time", &ago(record.last_reply, *at))?;
    figure(out, "misses in a row", &count(sample.session.consecutive_misses))?;
    figure(out, "down in all", &span(sample.session.down))?;
    figure(out, "sent", &count(record.sent))?;
    figure(out, "received", &count(record.received))?;
    figure(out, "lost", &count(record.lost))?;
    for (way, &lost) in Direction::ALL.iter().zip(&record.one_way_lost).filter(|(_, n)| **n > 0) {
        figure(out, &format!("lost {}", way.label()), &count(lost))?;
    }
    figure(out, "in flight", &count(sample.session.in_flight))?;
    figure(out, "late", &count(record.late))?;
    figure(out, "duplicates", &count(record.duplicates))?;
    figure(out, "reordered", &count(record.reordered))?;
    out.write_all(b"</dl></section>")
}

/// What came back and what did not leave, by kind and reason.
fn errors(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"<section><h2>ICMP errors</h2>")?;
    if let Some((kind, at)) = record.last_icmp {
        write!(out, "<p>The last: {}, at {}.</p>", kind_in_words(kind), moment(at))?;
    }
    by_label::<IcmpKind>(out, &record.icmp_errors, "None came back.")?;
    out.write_all(b"<h2>Not sent</h2>")?;
    by_label::<UnsentReason>(out, &record.unsent, "All that fell due was sent.")?;
    out.write_all(b"<h2>Invalid replies</h2>")?;
    by_label::<InvalidReason>(out, &record.invalid, "None came.")?;
    out.write_all(b"</section>")
}

fn by_label<L: Label>(out: &mut dyn Write, counts: &[u64], none: &str) -> io::Result<()> {
    if counts.iter().all(|&count| count == 0) {
        return write!(out, "<p class=soft>{none}</p>");
    }
    out.write_all(b"<dl>")?;
    for (label, &number) in L::ALL.iter().zip(counts).filter(|&(_, &count)| count > 0) {
        figure(out, &label.label().replace('_', " "), &count(number))?;
    }
    out.write_all(b"</dl>")
}

fn kind_in_words(kind: IcmpKind) -> String {
    kind.label().replace('_', " ")
}

fn histogram(rtt: &Histogram, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"<section><h2>Delays since the probe began</h2>")?;
    let total = rtt.count();
    if total == 0 {
        return out.write_all(b"<p class=soft>No answer yet.</p></section>");
    }
    let mut below = 0;
    let mut rows: Vec<(String, u64)> = Vec::new();
    for (bound, up_to) in rtt.cumulative() {
        let bound = milliseconds(Some(Duration::from_nanos(bound)));
        rows.push((format!("≤ {bound}"), up_to - below));
        below = up_to;
    }
    rows.push(("longer".to_owned(), total - below));
    let first = rows.iter().position(|row| row.1 > 0).unwrap_or(0).saturating_sub(1);
    let last = rows.iter().rposition(|row| row.1 > 0).unwrap_or(0) + 1;
    let most = rows.iter().map(|row| row.1).max().unwrap_or(1);
    out.write_all(
        b"<table class=histogram><thead><tr><th scope=col>Delay<th scope=col>\
          <span class=sr>Share</span><th scope=col class=n>Answers<tbody>",
    )?;
    for (bound, number) in rows.iter().take(last + 1).skip(first) {
        let wide = 100.0 * *number as f64 / most as f64;
        write!(
            out,
            "<tr><th scope=row class=n>{bound}<td><svg viewBox=\"0 0 100 10\" \
             preserveAspectRatio=none aria-hidden=true><rect width={wide:.1} height=10 /></svg>\
             <span class=sr>{}</span><td class=n>{}",
            percent(Some(*number as f64 / total as f64)),
            count(*number)
        )?;
    }
    out.write_all(b"</table></section>")
}

fn settings(target: &Target, look: &TargetLook, out: &mut dyn Write) -> io::Result<()> {
    let sample = &look.sample;
    out.write_all(b"<section><h2>Settings</h2><dl>")?;
    figure(out, "address", &Escaped(&target.address.to_string()).to_string())?;
    let goes = sample.address.map_or_else(|| ABSENT.to_owned(), |address| address.to_string());
    figure(out, "heartbeats go to", &goes)?;
    if sample.address_changes > 0 {
        figure(out, "changes of address", &count(sample.address_changes))?;
    }
    figure(out, "protocol", target.protocol.name())?;
    figure(out, "interval", &format_duration(target.interval))?;
    figure(out, "timeout", &format_duration(target.timeout))?;
    figure(out, "misses until it is down", &count(target.misses.into()))?;
    figure(out, "answers until it is up", &count(target.recoveries.into()))?;
    figure(out, "flight recorder", &format!("{} heartbeats", count(target.recorder.into())))?;
    for (label, value) in &target.labels {
        let name = format!("label {}", Escaped(label));
        figure(out, &name, &Escaped(value).to_string())?;
    }
    out.write_all(b"</dl></section>")
}

fn recorder(look: &TargetLook, out: &mut dyn Write) -> io::Result<()> {
    let path = format!("../api/v1/{}/heartbeats", href("", &look.sample.target.name));
    write!(
        out,
        "<section><h2>Flight recorder</h2><details><summary>The newest {} heartbeats</summary>",
        look.recording.newest.len()
    )?;
    table(&look.recording.newest, out)?;
    write!(out, "</details><p><a href=\"{}\">As JSON</a></p></section>", Escaped(&path))
}

/// Heartbeats, the newest first.
fn table(heartbeats: &[Heartbeat], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(
        b"<div class=scroll><table class=heartbeats><thead><tr><th scope=col class=n>Number\
          <th scope=col>Sent<th scope=col>What became of it<th scope=col class=n>Hop limit<tbody>",
    )?;
    for heartbeat in heartbeats.iter().rev() {
        let at = heartbeat.at.and_then(rfc3339_micros).map_or_else(
            || ABSENT.to_owned(),
            |at| at.replace('T', " ").trim_end_matches('Z').to_owned(),
        );
        let ttl = heartbeat.ttl.map_or_else(|| ABSENT.to_owned(), |ttl| ttl.to_string());
        let class = if matches!(heartbeat.outcome, Outcome::Received(_)) { "soft" } else { "" };
        write!(
            out,
            "<tr data-key={0}><th scope=row class=n>{0}<td>{at}<td class=\"{1} {class}\">{2}\
             <td class=n>{ttl}",
            heartbeat.sequence,
            outcome(heartbeat),
            told(heartbeat),
        )?;
    }
    out.write_all(b"</table></div>")
}

fn mean(summary: Summary) -> String {
    milliseconds(summary.sum.checked_div(summary.count).map(Duration::from_nanos))
}

fn ago(at: Option<Wall>, now: Wall) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", span(since(at, now))))
}
