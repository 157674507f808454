//! Which targets a page of the list shows, and in which order, from the query of its URL.
//!
//! Every query yields a page: unknown keys and values are ignored.

use std::cmp::{Ordering, Reverse};

use crate::config::Target;
use crate::model::{Label, State, Wall};
use crate::observe::{Overview, TargetGlance, TargetLook};
use crate::session::Glance;

/// How many targets a page shows.
pub(super) const ROWS: usize = 50;

/// The contents of a list, as the query of its URL asks for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct View {
    /// Words, in any case. A target matches if its name, address, protocol or labels contain each
    /// of them.
    pub(super) words: String,
    /// The state that the targets must be in.
    pub(super) state: Option<Standing>,
    pub(super) sort: Sort,
    /// Whether the order of [`Sort`] is reversed.
    pub(super) reversed: bool,
    /// From 0.
    pub(super) page: usize,
}

/// The state of a target as it is shown; unknown until there is a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Down,
    Unknown,
    Up,
}

/// The sort key. A target without the value is last in either order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    /// Down, the latest change first; then unknown; then up. Otherwise as configured.
    #[default]
    Urgency,
    Name,
    /// The latest change first.
    Since,
    /// The greatest first, like all below.
    Loss,
    Last,
    P50,
    P99,
    Changes,
}

/// The targets of one page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Their names, in the order of the page.
    pub(super) names: Vec<String>,
    /// How many targets there are on all pages.
    pub(super) matching: usize,
    /// How many targets that match the words are in each state, in the order of [`Standing::ALL`].
    pub(super) counts: [u64; 3],
    /// The page that is shown, from 0; the last page if a later one was asked for.
    pub(super) page: usize,
    /// How many pages there are; at least one.
    pub(super) pages: usize,
}

impl Standing {
    pub(super) const ALL: [Self; 3] = [Self::Down, Self::Unknown, Self::Up];

    pub(super) fn of(state: Option<State>) -> Self {
        match state {
            Some(State::Down) => Self::Down,
            None => Self::Unknown,
            Some(State::Up) => Self::Up,
        }
    }

    /// The word in URLs, classes and text.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Down => State::Down.label(),
            Self::Unknown => "unknown",
            Self::Up => State::Up.label(),
        }
    }
}

impl Sort {
    const ALL: [Self; 8] = [
        Self::Urgency,
        Self::Name,
        Self::Since,
        Self::Loss,
        Self::Last,
        Self::P50,
        Self::P99,
        Self::Changes,
    ];

    /// The word in URLs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Urgency => "state",
            Self::Name => "name",
            Self::Since => "since",
            Self::Loss => "loss",
            Self::Last => "last",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Changes => "changes",
        }
    }

    /// The value of the column's `aria-sort`.
    pub(super) fn direction(self, reversed: bool) -> &'static str {
        let ascends = matches!(self, Self::Urgency | Self::Name);
        if ascends == reversed { "descending" } else { "ascending" }
    }
}

impl View {
    /// Reads the query of a URL.
    pub(super) fn of_query(query: &str) -> Self {
        let mut view = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "q" => value.trim().clone_into(&mut view.words),
                "state" => {
                    view.state = Standing::ALL.into_iter().find(|state| state.word() == value);
                }
                "sort" => {
                    let known = Sort::ALL.into_iter().find(|sort| sort.word() == value);
                    view.sort = known.unwrap_or_default();
                }
                "order" => view.reversed = value == "reversed",
                "page" => view.page = value.parse::<usize>().unwrap_or(1).saturating_sub(1),
                _ => {}
            }
        }
        view
    }

    /// The query of the URL of this view, with its `?`. For all targets it is `?` alone: a link to
    /// an empty URL would keep the present query.
    pub(super) fn query(&self) -> String {
        let Self { words, state, sort, reversed, page } = self;
        let mut query = form_urlencoded::Serializer::new("?".to_owned());
        if !words.is_empty() {
            query.append_pair("q", words);
        }
        if let Some(state) = state {
            query.append_pair("state", state.word());
        }
        if *sort != Sort::default() {
            query.append_pair("sort", sort.word());
        }
        if *reversed {
            query.append_pair("order", "reversed");
        }
        if *page > 0 {
            query.append_pair("page", &page.saturating_add(1).to_string());
        }
        query.finish().replacen("?&", "?", 1)
    }

    /// This view, sorted by `sort`; reversed if it is sorted so already.
    pub(super) fn sorted_by(&self, sort: Sort) -> Self {
        let reversed = self.sort == sort && !self.reversed;
        Self { sort, reversed, page: 0, ..self.clone() }
    }

    /// This view without its filter: all words and states.
    pub(super) fn unfiltered(&self) -> Self {
        Self { words: String::new(), state: None, page: 0, ..self.clone() }
    }

    /// This view, limited to targets in `state`.
    pub(super) fn of_state(&self, state: Option<Standing>) -> Self {
        Self { state, page: 0, ..self.clone() }
    }

    /// Another page of this view.
    pub(super) fn at_page(&self, page: usize) -> Self {
        Self { page, ..self.clone() }
    }

    /// The targets of the page.
    pub(super) fn select(&self, overview: &Overview) -> Selection {
        let words: Vec<String> = self.words.split_whitespace().map(str::to_lowercase).collect();
        let mut counts = [0; 3];
        let mut targets: Vec<&TargetGlance> = (overview.targets.iter())
            .filter(|target| words.is_empty() || has_all(target, &words))
            .filter(|target| {
                let standing = Standing::of(target.glance.state);
                counts[standing as usize] += 1;
                self.state.is_none_or(|state| state == standing)
            })
            .collect();
        targets.sort_by(|one, other| {
            self.order((&one.target, &one.glance), (&other.target, &other.glance))
        });
        let matching = targets.len();
        let pages = matching.div_ceil(ROWS).max(1);
        let page = self.page.min(pages - 1);
        let shown = targets.into_iter().skip(page * ROWS).take(ROWS);
        let names = shown.map(|shown| shown.target.name.clone()).collect();
        Selection { names, matching, counts, page, pages }
    }

    /// Sorts the targets of a page by the figures that are shown, which are newer than the overview
    /// by which they were selected.
    pub(super) fn arrange(&self, looks: &mut [TargetLook]) {
        looks.sort_by(|one, other| {
            let (a, b) = (&one.sample.target, &other.sample.target);
            self.order((a, &one.glance), (b, &other.glance))
        });
    }

    fn order(&self, one: (&Target, &Glance), other: (&Target, &Glance)) -> Ordering {
        let ((target, a), (other_target, b)) = (one, other);
        let loss = |glance: &Glance| glance.misses.ratio().map(share);
        match self.sort {
            Sort::Urgency => self.known(&urgency(a), &urgency(b)),
            Sort::Name => self.known(&target.name, &other_target.name),
            Sort::Since => self.greatest(a.changed, b.changed),
            Sort::Loss => self.greatest(loss(a), loss(b)),
            Sort::Last => self.greatest(a.last_rtt, b.last_rtt),
            Sort::P50 => self.greatest(a.p50, b.p50),
            Sort::P99 => self.greatest(a.p99, b.p99),
            Sort::Changes => self.known(&Reverse(a.changes), &Reverse(b.changes)),
        }
    }

    fn known<T: Ord>(&self, one: &T, other: &T) -> Ordering {
        if self.reversed { other.cmp(one) } else { one.cmp(other) }
    }

    /// The greatest first; an unknown value is last in either order.
    fn greatest<T: Ord>(&self, one: Option<T>, other: Option<T>) -> Ordering {
        match (one, other) {
            (Some(one), Some(other)) => self.known(&Reverse(one), &Reverse(other)),
            (one, other) => other.is_some().cmp(&one.is_some()),
        }
    }
}

/// Down, the latest first; unknown; up.
fn urgency(glance: &Glance) -> (Standing, Option<Reverse<Wall>>) {
    let standing = Standing::of(glance.state);
    let changed = glance.changed.filter(|_| standing == Standing::Down);
    (standing, changed.map(Reverse))
}

/// A ratio as a number that can be sorted by.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1")]
fn share(ratio: f64) -> u64 {
    (ratio * 1e12) as u64
}

/// Whether the configuration of a target contains each of `words`, which are in lower case.
fn has_all(TargetGlance { target, .. }: &TargetGlance, words: &[String]) -> bool {
    let mut text = format!("{} {}://{}", target.name, target.protocol.name(), target.address);
    for (label, value) in &target.labels {
        text.extend([" ", label, "=", value]);
    }
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::observe::fixture::{self, NOW};
    use crate::session::{Buckets, Misses};

    /// Targets with these names, each a second after the one before.
    fn overview(names: &[&str]) -> Overview {
        let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
        let targets = names.iter().map(|name| fixture::fresh(name, ("site", name), &rtt));
        let mut overview = fixture::overview(&fixture::probe(targets.collect()));
        for (n, target) in (0..).zip(&mut overview.targets) {
            target.glance.changed = Some(NOW + Duration::from_secs(n));
        }
        overview
    }

    /// The positions of the selected targets in the overview.
    fn places(query: &str, overview: &Overview) -> Vec<usize> {
        let names = View::of_query(query).select(overview).names;
        let place =
            |name: &String| overview.targets.iter().position(|shown| shown.target.name == *name);
        names.iter().filter_map(place).collect()
    }

    #[test]
    fn targets_that_are_down_come_first_the_latest_change_before_others() {
        let mut all = overview(&["a", "b", "c", "d", "e"]);
        let states = [Some(State::Up), Some(State::Down), None, Some(State::Down), Some(State::Up)];
        for (target, state) in all.targets.iter_mut().zip(states) {
            target.glance.state = state;
        }
        assert_eq!(places("", &all), [3, 1, 2, 0, 4]);
        assert_eq!(places("order=reversed", &all), [0, 4, 2, 1, 3]);
        assert_eq!(places("state=down", &all), [3, 1]);
        assert_eq!(places("state=up&sort=name&order=reversed", &all), [4, 0]);
        assert_eq!(places("state=nonsense&sort=nonsense&page=x&what=ever", &all).len(), 5);
    }

    #[test]
    fn the_greatest_figure_comes_first_and_an_unknown_one_last() {
        let mut all = overview(&["a", "b", "c"]);
        for (n, target) in (1..).zip(&mut all.targets[..2]) {
            let glance = &mut target.glance;
            (glance.last_rtt, glance.p50, glance.p99) = (Some(n), Some(9 - n), Some(n));
            glance.misses = Misses { missed: 3 - u32::try_from(n).unwrap(), settled: 3 };
            glance.changes = n;
        }
        for (sort, expected) in [
            ("last", [1, 0, 2]),
            ("p50", [0, 1, 2]),
            ("p99", [1, 0, 2]),
            ("loss", [0, 1, 2]),
            ("changes", [1, 0, 2]),
        ] {
            assert_eq!(places(&format!("sort={sort}"), &all), expected, "{sort}");
        }
        assert_eq!(places("sort=loss&order=reversed", &all), [1, 0, 2]);
        assert_eq!(places("sort=since", &all), [2, 1, 0]);
    }

    #[test]
    fn a_page_is_sorted_by_the_figures_that_it_shows() {
        let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
        let mut looks: Vec<TargetLook> = ["a", "b", "c"]
            .map(|name| fixture::look(fixture::busy(name, ("site", "x"), &rtt)))
            .into();
        looks[1].glance.p99 = Some(u64::MAX);
        looks[2].glance.p99 = None;
        View::of_query("sort=p99").arrange(&mut looks);
        let names: Vec<&str> = looks.iter().map(|look| look.sample.target.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "c"]);
    }

    #[test]
    fn words_match_name_address_protocol_and_labels() {
        let all = overview(&["Fra-Edge", "ams-edge", "Zürich"]);
        assert_eq!(places("q=EDGE", &all), [0, 1]);
        assert_eq!(places("q=edge+fra", &all), [0]);
        assert_eq!(places("q=site%3Dams", &all), [1]);
        assert_eq!(places("q=z%C3%9CRICH", &all), [2]);
        assert_eq!(places("q=heartbeat:", &all), [0, 1, 2]);
        assert_eq!(places("q=nowhere", &all), [0_usize; 0]);
    }

    #[test]
    fn a_page_beyond_the_end_is_the_last_page() {
        let names: Vec<String> = (0..=ROWS * 2).map(|n| n.to_string()).collect();
        let all = overview(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let last = View::of_query("page=3").select(&all);
        assert_eq!(
            last,
            Selection {
                names: vec!["100".to_owned()],
                matching: 101,
                counts: [0, 101, 0],
                page: 2,
                pages: 3
            }
        );
        assert_eq!(View::of_query("page=18446744073709551615").select(&all), last);
        assert_eq!(View::of_query("page=0").select(&all).page, 0);
        let none = View::of_query("q=nowhere&page=7").select(&all);
        assert_eq!(
            none,
            Selection { names: vec![], matching: 0, counts: [0; 3], page: 0, pages: 1 }
        );
    }

    #[test]
    fn a_column_that_is_chosen_again_is_sorted_in_reverse() {
        let view = View::of_query("q=a+b&state=up&page=4");
        let once = view.sorted_by(Sort::Loss);
        assert_eq!(once.query(), "?q=a+b&state=up&sort=loss");
        assert_eq!(once.sorted_by(Sort::Loss).query(), "?q=a+b&state=up&sort=loss&order=reversed");
        assert_eq!(view.sorted_by(Sort::Urgency).query(), "?q=a+b&state=up&order=reversed");
        assert_eq!(View::default().query(), "?");
    }

    proptest! {
        #[test]
        fn a_query_reads_back(
            words in any::<String>(), state in 0..4_usize, sort in 0..8_usize,
            reversed: bool, page in 0..usize::MAX,
        ) {
            let view = View {
                words: words.trim().to_owned(),
                state: Standing::ALL.get(state).copied(),
                sort: Sort::ALL[sort],
                reversed,
                page,
            };
            prop_assert_eq!(View::of_query(&view.query()[1..]), view);
        }

        #[test]
        fn any_query_yields_a_page(query in any::<String>()) {
            View::of_query(&query).select(&overview(&["a", "b"]));
        }
    }
}
