//! The pages for people: what is known enters, one HTML document leaves, whole in itself.
//!
//! Nothing is loaded from anywhere, links are relative (the page may stand behind a proxy under
//! another path), and every name that was configured is escaped.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::ResponderStatus;
use crate::exposition::{ProbeSample, TargetSample, rfc3339};
use crate::model::{IcmpKind, Label, State};

/// Targets that are shown; the document of all is `/api/v1/targets`.
const ROWS: usize = 1000;

const STYLE: &str = include_str!("style.css");

/// The page of the probe: every target, those that are down first.
pub(super) fn probe(sample: &ProbeSample, out: &mut dyn Write) -> io::Result<()> {
    let mut targets: Vec<_> = sample.targets.iter().collect();
    targets.sort_by_key(|target| urgency(target));
    let count = |state| targets.iter().filter(|target| target.session.state == state).count();
    let (up, down, unknown) = (count(Some(State::Up)), count(Some(State::Down)), count(None));

    open(out, "heartbeat-probe", &format!("{down} down, {up} up"), true)?;
    let all = if targets.len() == 1 { "target" } else { "targets" };
    write!(
        out,
        "<p class=lead>{} {all}: <b class=down>{down} down</b>, <b class=up>{up} up</b>",
        targets.len()
    )?;
    if unknown > 0 {
        write!(out, ", <b class=unknown>{unknown} unknown yet</b>")?;
    }
    out.write_all(b"</p>")?;
    if sample.impaired {
        notice(out, "The probe itself is late or drops datagrams: do not believe its figures.")?;
    }
    if !sample.config_loaded {
        notice(out, "The configuration could not be reloaded: an older one is in force.")?;
    }
    links(out, &["metrics", "api/v1/targets", "-/healthy", "-/ready"])?;
    out.write_all(
        b"<table><thead><tr><th>Target<th>Address<th>Protocol<th>State<th>Since\
          <th class=n>Loss<th class=n>Last RTT<th class=n>Mean RTT</thead><tbody>",
    )?;
    for target in targets.iter().take(ROWS) {
        row(out, target)?;
    }
    out.write_all(b"</tbody></table>")?;
    if let Some(more @ 1..) = targets.len().checked_sub(ROWS) {
        write!(out, "<p>and {more} more: see <a href=api/v1/targets>api/v1/targets</a></p>")?;
    }
    out.write_all(
        b"<p class=soft>Loss and mean RTT are over all heartbeats that were settled since the probe \
          began. The page loads itself again every 5 seconds.</p>",
    )?;
    close(out)
}

/// The page of the responder.
pub(super) fn responder(status: &ResponderStatus, out: &mut dyn Write) -> io::Result<()> {
    open(out, "heartbeat-responder", "heartbeat-responder", false)?;
    out.write_all(b"<p class=lead>Answers UDP heartbeats, so that a probe can tell that this host is alive.</p>")?;
    if !status.impairments.is_empty() {
        let impairments = status.impairments.join(", ");
        notice(out, &format!("Answers badly, on purpose: {impairments}."))?;
    }
    links(out, &["metrics", "-/healthy", "-/ready"])?;
    out.write_all(b"<table><thead><tr><th>Listens on</thead><tbody>")?;
    for listener in &status.listeners {
        write!(out, "<tr><td data-of='Listens on'>{listener}")?;
    }
    out.write_all(b"</tbody></table>")?;
    close(out)
}

/// Down first, then what is not known yet.
fn urgency(target: &TargetSample) -> u8 {
    match target.session.state {
        Some(State::Down) => 0,
        None => 1,
        Some(State::Up) => 2,
    }
}

fn row(out: &mut dyn Write, sample: &TargetSample) -> io::Result<()> {
    let TargetSample { target, session, .. } = sample;
    let record = &session.record;
    let state = session.state.map_or("unknown", Label::label);
    let since = session.state_changed.and_then(rfc3339).map_or_else(absent, |at| legible(&at));
    let last = record.last_rtt.map(Duration::from_nanos);
    write!(
        out,
        "<tr><td data-of=Target><b>{}</b><td data-of=Address>{}<td data-of=Protocol>{}\
         <td data-of=State><span><b class={state}>{state}</b>{}</span><td data-of=Since>{since}\
         <td class=n data-of=Loss>{}<td class=n data-of='Last RTT'>{}\
         <td class=n data-of='Mean RTT'>{}",
        Escaped(&target.name),
        Escaped(&target.address.to_string()),
        target.protocol.name(),
        explanation(sample),
        loss(record.lost, record.received),
        milliseconds(last),
        milliseconds(record.rtt.mean()),
    )
}

/// What is known of why a target is not up, as HTML; empty where nothing is.
fn explanation(sample: &TargetSample) -> String {
    if sample.session.state == Some(State::Up) {
        return String::new();
    }
    let errors = &sample.session.record.icmp_errors;
    let most = IcmpKind::ALL.iter().max_by_key(|kind| errors[kind.index()]);
    match most {
        _ if sample.address.is_none() => "<small>the name has no address</small>".to_owned(),
        Some(kind) if errors[kind.index()] > 0 => {
            let (count, kind) = (errors[kind.index()], kind.label().replace('_', " "));
            format!("<small>{count} ICMP errors: {kind}</small>")
        }
        _ => String::new(),
    }
}

/// What was lost of what was settled, in percent.
fn loss(lost: u64, received: u64) -> String {
    if lost + received == 0 {
        return absent();
    }
    format!("{:.2}\u{202f}%", 100.0 * lost as f64 / (lost + received) as f64)
}

/// A moment of RFC 3339 as people read it, to the second.
fn legible(moment: &str) -> String {
    let to_the_second = moment.split('.').next().unwrap_or(moment);
    format!("{} UTC", to_the_second.replace('T', " "))
}

fn milliseconds(delay: Option<Duration>) -> String {
    delay.map_or_else(absent, |delay| format!("{:.3}\u{202f}ms", delay.as_secs_f64() * 1e3))
}

fn absent() -> String {
    "–".to_owned()
}

/// Everything up to the program's own part of the page; `refresh` has it loaded again in 5 s.
fn open(out: &mut dyn Write, program: &str, title: &str, refresh: bool) -> io::Result<()> {
    let refresh = if refresh { "<meta http-equiv=refresh content=5>" } else { "" };
    write!(
        out,
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content='width=device-width, initial-scale=1'>\
         <meta name=color-scheme content='light dark'>{refresh}\
         <link rel=icon href='data:,'><title>{title} · {program}</title><style>{STYLE}</style>\
         </head><body><header><h1>{program}</h1><span>{}</span></header><main>",
        env!("CARGO_PKG_VERSION")
    )
}

fn close(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"</main></body></html>\n")
}

fn links(out: &mut dyn Write, paths: &[&str]) -> io::Result<()> {
    out.write_all(b"<nav>")?;
    for path in paths {
        write!(out, "<a href='{path}'>/{path}</a> ")?;
    }
    out.write_all(b"</nav>")
}

fn notice(out: &mut dyn Write, text: &str) -> io::Result<()> {
    write!(out, "<p class=notice>{}</p>", Escaped(text))
}

/// Text that means nothing to a browser.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['&', '<', '>', '"', '\'']) {
            let (plain, special) = match part.char_indices().next_back() {
                Some((at, '&')) => (&part[..at], "&amp;"),
                Some((at, '<')) => (&part[..at], "&lt;"),
                Some((at, '>')) => (&part[..at], "&gt;"),
                Some((at, '"')) => (&part[..at], "&quot;"),
                Some((at, '\'')) => (&part[..at], "&#39;"),
                _ => (part, ""),
            };
            f.write_str(plain)?;
            f.write_str(special)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::exposition::fixture;
    use crate::session::Buckets;

    fn probe_page(sample: &ProbeSample) -> String {
        let mut out = Vec::new();
        probe(sample, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn targets(n: usize) -> Vec<TargetSample> {
        let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
        (0..n).map(|n| fixture::busy(&format!("t{n}"), ("site", "fra"), &rtt)).collect()
    }

    #[test]
    fn names_are_text_to_a_browser() {
        let mut hostile = targets(1);
        Arc::make_mut(&mut hostile[0].target).name = "<script>alert('&\"')</script>é".to_owned();
        let page = probe_page(&fixture::probe(hostile));
        assert!(page.contains("<b>&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;é</b>"));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn a_row_tells_state_loss_and_delays() {
        let page = probe_page(&fixture::two_targets());
        assert!(page.contains(
            "<b>fra-edge</b><td data-of=Address>[::1]:12000<td data-of=Protocol>stamp\
             <td data-of=State><span><b class=up>up</b></span>\
             <td data-of=Since>2025-01-02 03:04:05 UTC\
             <td class=n data-of=Loss>62.50\u{202f}%<td class=n data-of='Last RTT'>2.000\u{202f}ms\
             <td class=n data-of='Mean RTT'>0.733\u{202f}ms"
        ));
        assert!(page.contains(
            "<b class=unknown>unknown</b><small>the name has no address</small></span>\
             <td data-of=Since>–<td"
        ));
        assert!(page.contains("2 targets: <b class=down>0 down</b>, <b class=up>1 up</b>, "));
        assert!(page.contains("<b class=unknown>1 unknown yet</b>"));
    }

    #[test]
    fn a_target_that_is_down_tells_what_came_back() {
        let mut down = targets(1);
        down[0].session.state = Some(State::Down);
        let page = probe_page(&fixture::probe(down));
        assert!(page.contains(
            "<b class=down>down</b><small>9 ICMP errors: port unreachable</small></span>"
        ));
        assert!(page.contains("1 target: <b class=down>1 down</b>, <b class=up>0 up</b></p>"));
    }

    #[test]
    fn those_that_are_down_come_first_and_the_rest_is_counted() {
        let mut many = targets(ROWS + 2);
        many.last_mut().unwrap().session.state = Some(State::Down);
        let page = probe_page(&fixture::probe(many));
        assert_eq!(page.matches("<td data-of=Target>").count(), ROWS);
        let first = page.find("<td data-of=Target>").unwrap();
        assert!(page[first..].starts_with("<td data-of=Target><b>t1001</b>"));
        assert!(page.contains("and 2 more: see"));
        assert!(!probe_page(&fixture::probe(targets(ROWS))).contains("more: see"));
    }

    #[test]
    fn a_responder_says_whether_it_lies() {
        let page = |impairments: &[&str]| {
            let status = ResponderStatus {
                listeners: vec!["[::]:12000".parse().unwrap()],
                impairments: impairments.iter().map(|&text| text.to_owned()).collect(),
            };
            let mut out = Vec::new();
            responder(&status, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(page(&[]).contains("[::]:12000"));
        assert!(!page(&[]).contains("class=notice"));
        assert!(page(&["loss 30%", "delay 20ms"]).contains("on purpose: loss 30%, delay 20ms."));
    }
}
