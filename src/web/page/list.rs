//! A page of the list of targets, sorted and filtered as its URL asks.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;

use super::frame::{Frame, href, write};
use super::graph::{Graph, sparkline};
use super::text::{ShownTime, Since, clock, count, milliseconds, percent};
use crate::config::Host;
use crate::model::Label;
use crate::observe::{Overview, TargetLook};
use crate::web::view::{ROWS, Selection, Sort, Standing, View};

/// The data of a page of the list.
#[derive(Debug)]
pub(in crate::web) struct List {
    pub(in crate::web) view: View,
    pub(in crate::web) overview: Arc<Overview>,
    pub(in crate::web) selection: Selection,
    /// The targets of the page, in its order.
    pub(in crate::web) looks: Vec<TargetLook>,
}

/// The columns, and the order that each sorts by.
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

/// The number of changes of state that a row shows.
const NEWEST: usize = 3;

#[derive(Debug, Template)]
#[template(path = "list.html", config = "src/web/templates/askama.toml")]
struct ListPage<'a> {
    frame: Frame,
    down: String,
    up: String,
    unknown: Option<String>,
    /// How many targets match the words.
    all: String,
    noun: &'static str,
    /// How many targets there are, if the words leave some out.
    whole: Option<String>,
    /// The link to the same list without a filter, if there is one.
    unfiltered: Option<String>,
    /// The state that the list is limited to.
    state: Option<&'static str>,
    any_down: bool,
    notices: Vec<&'static str>,
    /// The words in the filter.
    words: &'a str,
    /// The hidden fields of the form.
    hidden: Vec<(&'static str, &'static str)>,
    chips: Vec<Chip>,
    columns: Vec<Column>,
    rows: Vec<Row<'a>>,
    pager: Option<Pager>,
}

/// A link to the targets in one state, or in any.
#[derive(Debug)]
struct Chip {
    href: String,
    is_current: bool,
    word: &'static str,
    number: String,
}

/// The head of a column.
#[derive(Debug)]
struct Column {
    title: &'static str,
    href: String,
    is_number: bool,
    /// Present for the column that the list is sorted by.
    direction: Option<&'static str>,
}

#[derive(Debug)]
struct Row<'a> {
    name: &'a str,
    href: String,
    state: &'static str,
    why: Option<String>,
    protocol: &'static str,
    address: String,
    /// The address that heartbeats go to, if the configured one is a name.
    endpoint: Option<String>,
    labels: &'a BTreeMap<String, String>,
    since: Option<Since>,
    missed: String,
    has_misses: bool,
    last: String,
    p50: String,
    p99: String,
    graph: Graph,
    changes: String,
    newest: Vec<Change>,
}

/// A change of state.
#[derive(Debug)]
struct Change {
    state: &'static str,
    at: ShownTime,
}

/// Links to other pages of the list.
#[derive(Debug)]
struct Pager {
    /// To the first page and the one before.
    back: Option<(String, String)>,
    from: String,
    to: String,
    of: String,
    /// To the next page and the last.
    on: Option<(String, String)>,
}

impl List {
    /// Writes the page.
    pub(in crate::web) fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        write(&self.page(), out)
    }

    fn page(&self) -> ListPage<'_> {
        let counts @ [down, unknown, up] = self.selection.counts;
        let all = down + unknown + up;
        let whole = self.overview.targets.len() as u64;
        let is_filtered = !self.view.words.is_empty() || self.view.state.is_some();
        ListPage {
            frame: Frame::probe("", format!("{} down, {} up", count(down), count(up))),
            down: count(down),
            up: count(up),
            unknown: (unknown > 0).then(|| count(unknown)),
            all: count(all),
            noun: if all == 1 { "target" } else { "targets" },
            whole: (whole != all).then(|| count(whole)),
            unfiltered: is_filtered.then(|| self.view.unfiltered().query()),
            state: self.view.state.map(Standing::word),
            any_down: down > 0,
            notices: self.notices(),
            words: &self.view.words,
            hidden: self.hidden(),
            chips: self.chips(counts),
            columns: self.columns(),
            rows: self.looks.iter().map(Row::new).collect(),
            pager: self.pager(),
        }
    }

    fn notices(&self) -> Vec<&'static str> {
        let mut notices = Vec::new();
        if self.overview.impaired {
            notices
                .push("The probe itself is late or drops datagrams: its figures are unreliable.");
        }
        notices
    }

    fn hidden(&self) -> Vec<(&'static str, &'static str)> {
        let View { state, sort, reversed, .. } = self.view;
        let mut hidden = Vec::new();
        if let Some(state) = state {
            hidden.push(("state", state.word()));
        }
        if sort != Sort::default() {
            hidden.push(("sort", sort.word()));
        }
        if reversed {
            hidden.push(("order", "reversed"));
        }
        hidden
    }

    fn chips(&self, counts: [u64; 3]) -> Vec<Chip> {
        let all = [(None, counts.iter().sum())].into_iter();
        let each = Standing::ALL.into_iter().map(Some).zip(counts);
        all.chain(each)
            .map(|(state, number)| Chip {
                href: self.view.of_state(state).query(),
                is_current: self.view.state == state,
                word: state.map_or("all", Standing::word),
                number: count(number),
            })
            .collect()
    }

    fn columns(&self) -> Vec<Column> {
        let View { sort: by, reversed, .. } = self.view;
        let column = |(title, sort): (&'static str, Sort)| Column {
            title,
            href: self.view.sorted_by(sort).query(),
            is_number: !matches!(sort, Sort::Urgency | Sort::Name),
            direction: (by == sort).then(|| sort.direction(reversed)),
        };
        COLUMNS.map(column).into()
    }

    fn pager(&self) -> Option<Pager> {
        let Selection { matching, page, pages, .. } = self.selection;
        let link = |page: usize| self.view.at_page(page).query();
        (pages > 1).then(|| Pager {
            back: (page > 0).then(|| (link(0), link(page - 1))),
            from: count((page * ROWS + 1) as u64),
            to: count((page * ROWS + self.looks.len()) as u64),
            of: count(matching as u64),
            on: (page + 1 < pages).then(|| (link(page + 1), link(pages - 1))),
        })
    }
}

impl<'a> Row<'a> {
    fn new(look: &'a TargetLook) -> Self {
        let TargetLook { at, sample, glance, recent, changes, .. } = look;
        let target = &sample.target;
        let is_name = matches!(target.address.host, Host::Name(_));
        let nanos = |nanos: Option<u64>| milliseconds(nanos.map(Duration::from_nanos));
        let change = |&(state, at)| Change { state: Label::label(state), at: clock(at) };
        Self {
            name: &target.name,
            href: href(&target.name),
            state: Standing::of(glance.state).word(),
            why: look.diagnosis().map(|diagnosis| diagnosis.summary),
            protocol: target.protocol.name(),
            address: target.address.to_string(),
            endpoint: sample.address.filter(|_| is_name).map(|address| address.ip().to_string()),
            labels: &target.labels,
            since: glance.changed.map(|changed| Since::new(changed, *at)),
            missed: percent(glance.misses.ratio()),
            has_misses: glance.misses.missed > 0,
            last: nanos(glance.last_rtt),
            p50: nanos(glance.p50),
            p99: nanos(glance.p99),
            graph: sparkline(recent),
            changes: count(glance.changes),
            newest: changes.iter().take(NEWEST).map(change).collect(),
        }
    }
}
