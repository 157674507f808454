//! The list of all targets: an overview, and the targets of one page of it looked at closely,
//! enter; the page leaves.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::graph::sparkline;
use super::text::{ABSENT, Escaped, clock, count, milliseconds, moment, percent, since, span};
use super::{close, href, notice, open};
use crate::model::{Label, State};
use crate::observe::{Overview, TargetLook};
use crate::web::view::{ROWS, Selection, Sort, Standing, View};

/// What the list tells.
#[derive(Debug)]
pub(in crate::web) struct List {
    pub(in crate::web) view: View,
    pub(in crate::web) overview: Arc<Overview>,
    pub(in crate::web) selection: Selection,
    /// The targets of the page, in its order.
    pub(in crate::web) looks: Vec<TargetLook>,
}

/// The columns, and by what each is sorted.
const COLUMNS: [(&str, Sort); 8] = [
    ("State", Sort::Urgency),
    ("Target", Sort::Name),
    ("Since", Sort::Since),
    ("Missed", Sort::Loss),
    ("Last", Sort::Last),
    ("p50", Sort::P50),
    ("p99", Sort::P99),
    ("Changes", Sort::Changes),
];

impl List {
    /// Writes the page.
    pub(in crate::web) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let [down, unknown, up] = self.counts();
        open(out, "", &format!("{} down, {} up", count(down), count(up)))?;
        self.lead(out, down, unknown, up)?;
        if self.overview.impaired {
            notice(
                out,
                "The probe itself is late or drops datagrams: do not believe its figures.",
            )?;
        }
        if !self.overview.config_loaded {
            notice(out, "The configuration could not be reloaded: an older one is in force.")?;
        }
        self.controls(out, [down, unknown, up])?;
        if self.looks.is_empty() {
            out.write_all(b"<p class=empty>No target is like that.")?;
        } else {
            self.table(out)?;
        }
        self.pager(out)?;
        out.write_all(
            "<p class=soft>Missed and the graph are of the last five minutes (longer for \
             intervals of more than five seconds): heartbeats that were lost or could not be \
             sent. p50 and p99 are estimated from the histogram since the probe began. Times are \
             UTC."
                .as_bytes(),
        )?;
        close(out)
    }

    /// How many targets are down, unknown and up.
    fn counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for target in &self.overview.targets {
            counts[Standing::of(target.glance.state) as usize] += 1;
        }
        counts
    }

    fn lead(&self, out: &mut dyn Write, down: u64, unknown: u64, up: u64) -> io::Result<()> {
        let all = self.overview.targets.len() as u64;
        let noun = if all == 1 { "target" } else { "targets" };
        let trouble = if down > 0 { "down" } else { "none" };
        write!(
            out,
            "<p class=lead role=status><b class=\"big {trouble}\">{} down</b> of {} {noun}, {} up",
            count(down),
            count(all),
            count(up)
        )?;
        if unknown > 0 {
            write!(out, ", {} not known yet", count(unknown))?;
        }
        out.write_all(b"</p>")
    }

    /// The filter, as a form that works without a script.
    fn controls(&self, out: &mut dyn Write, counts: [u64; 3]) -> io::Result<()> {
        let view = &self.view;
        write!(
            out,
            "<form class=controls role=search><label class=sr for=q>Filter</label>\
             <input id=q name=q type=search autocomplete=off spellcheck=false \
             placeholder=\"Filter by name, address, label\" value=\"{}\">",
            Escaped(&view.words)
        )?;
        if let Some(state) = view.state {
            write!(out, "<input type=hidden name=state value={}>", state.word())?;
        }
        if view.sort != Sort::default() {
            write!(out, "<input type=hidden name=sort value={}>", view.sort.word())?;
        }
        if view.reversed {
            out.write_all(b"<input type=hidden name=order value=reversed>")?;
        }
        out.write_all(b"<button>Filter</button><nav class=chips aria-label=\"By state\">")?;
        let all = [(None, counts.iter().sum())].into_iter();
        let each = Standing::ALL.into_iter().map(Some).zip(counts);
        for (state, number) in all.chain(each) {
            let current = if view.state == state { " aria-current=true" } else { "" };
            write!(
                out,
                "<a href=\"{}\" data-live{current}>{} <span>{}</span></a>",
                Escaped(&view.of_state(state).query()),
                state.map_or("all", Standing::word),
                count(number)
            )?;
        }
        out.write_all(b"</nav></form>")
    }

    fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(
            b"<table class=targets role=table><caption class=sr>Targets; the links in the head \
              sort them</caption><thead role=rowgroup><tr role=row>",
        )?;
        for (title, sort) in COLUMNS {
            if sort == Sort::Changes {
                out.write_all(b"<th role=columnheader scope=col class=wide>Last minutes")?;
            }
            let View { sort: by, reversed, .. } = self.view;
            let current = if by == sort {
                format!(" aria-sort={}", sort.direction(reversed))
            } else {
                String::new()
            };
            let class = if matches!(sort, Sort::Urgency | Sort::Name) { "" } else { " class=n" };
            write!(
                out,
                "<th role=columnheader scope=col{class}{current}>\
                 <a href=\"{}\" data-live>{title}</a>",
                Escaped(&self.view.sorted_by(sort).query())
            )?;
        }
        out.write_all(b"</thead><tbody role=rowgroup>")?;
        for look in &self.looks {
            row(out, look)?;
        }
        out.write_all(b"</tbody></table>")
    }

    fn pager(&self, out: &mut dyn Write) -> io::Result<()> {
        let Selection { matching, page, pages, .. } = self.selection;
        if pages == 1 {
            return Ok(());
        }
        let link = |out: &mut dyn Write, to: usize, rel: &str, text: &str| {
            let query = self.view.at_page(to).query();
            write!(out, "<a href=\"{}\" rel={rel} data-live>{text}</a>", Escaped(&query))
        };
        out.write_all(b"<nav class=pager aria-label=Pages>")?;
        if page > 0 {
            link(out, 0, "first", "First")?;
            link(out, page - 1, "prev", "Previous")?;
        }
        write!(
            out,
            "<span>{}–{} of {}</span>",
            count((page * ROWS + 1) as u64),
            count((page * ROWS + self.looks.len()) as u64),
            count(matching as u64)
        )?;
        if page + 1 < pages {
            link(out, page + 1, "next", "Next")?;
            link(out, pages - 1, "last", "Last")?;
        }
        out.write_all(b"</nav>")
    }
}

fn row(out: &mut dyn Write, look: &TargetLook) -> io::Result<()> {
    let TargetLook { at, sample, glance, recent, changes, .. } = look;
    let target = &sample.target;
    let (name, state) = (Escaped(&target.name), Standing::of(glance.state).word());
    write!(
        out,
        "<tr role=row class={state} data-key=\"{name}\"><td role=cell class=state>\
         <b class={state}>{state}</b>\
         <th role=rowheader scope=row><a href=\"{}\">{name}</a><small>",
        Escaped(&href("", &target.name)),
    )?;
    if let Some(diagnosis) = look.diagnosis() {
        write!(out, "<span class=why>{}</span>", Escaped(&diagnosis.summary))?;
    }
    write!(
        out,
        "<span>{} {}</span>",
        target.protocol.name(),
        Escaped(&target.address.to_string())
    )?;
    for (label, value) in &target.labels {
        write!(out, "<span class=label>{}={}</span>", Escaped(label), Escaped(value))?;
    }
    out.write_all(b"</small>")?;
    match glance.changed {
        Some(changed) => write!(
            out,
            "<td role=cell class=n data-of=\"{state} for\">{}<small>{}</small>",
            span(since(changed, *at)),
            moment(changed)
        )?,
        None => write!(out, "<td role=cell class=n data-of=Since>{ABSENT}")?,
    }
    let missed = if glance.misses.missed > 0 { " some" } else { "" };
    let nanos = |nanos: Option<u64>| milliseconds(nanos.map(Duration::from_nanos));
    write!(
        out,
        "<td role=cell class=\"n{missed}\" data-of=Missed>{}<td role=cell class=n data-of=Last>{}\
         <td role=cell class=n data-of=p50>{}<td role=cell class=n data-of=p99>{}\
         <td role=cell class=wide>{}<td role=cell class=\"n changes\" data-of=Changes>",
        percent(glance.misses.ratio()),
        nanos(glance.last_rtt),
        nanos(glance.p50),
        nanos(glance.p99),
        sparkline(recent),
    )?;
    out.write_all(count(glance.changes).as_bytes())?;
    out.write_all(b"<small>")?;
    for (state, at) in changes.iter().take(3) {
        let arrow = if *state == State::Up { "↑" } else { "↓" };
        write!(
            out,
            "<span class={0}><i aria-hidden=true>{arrow}</i><span class=sr>{0}</span> {1}</span>",
            state.label(),
            clock(*at)
        )?;
    }
    out.write_all(b"</small>")
}
