//! The pages of handmade samples: what they show, and that names cannot become markup.

use std::io::{self, Write};
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::*;
use crate::model::State;
use crate::observe::{Diagnosis, Overview, TargetLook, TargetSample, fixture};
use crate::session::{Buckets, Recording};
use crate::web::view::View;

const HOSTILE: &str = "</title><script>alert('&\"')</script>é/..";

fn samples(n: usize) -> Vec<TargetSample> {
    let rtt = Arc::new(Buckets::from_seconds(&[1e-4, 1e-3, 1e-2]));
    (0..n).map(|n| fixture::busy(&format!("t{n}"), ("site", "fra"), &rtt)).collect()
}

fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn list_of(samples: &[TargetSample], query: &str, change: impl FnOnce(&mut Overview)) -> String {
    let view = View::of_query(query);
    let mut overview = fixture::overview(&fixture::probe(samples.to_vec()));
    change(&mut overview);
    let selection = view.select(&overview);
    let sample = |name: &String| samples.iter().find(|sample| sample.target.name == *name);
    let looks = selection.names.iter().filter_map(sample).cloned().map(fixture::look);
    let (looks, overview) = (looks.collect(), Arc::new(overview));
    let list = List { view, overview, selection, looks };
    written(|out| list.write(out))
}

fn list(samples: &[TargetSample], query: &str) -> String {
    list_of(samples, query, |_| {})
}

fn page_of(look: &TargetLook) -> String {
    written(|out| target(look, out))
}

/// A tag of a page: everything between `<` and `>`.
struct Tag<'a>(&'a str);

impl<'a> Tag<'a> {
    /// All tags of a page, each with the text behind it.
    fn all(page: &'a str) -> impl Iterator<Item = (Self, String)> {
        page.split('<').skip(1).map(|piece| {
            let (tag, text) = piece.split_once('>').unwrap();
            (Self(tag), unescaped(text))
        })
    }

    fn name(&self) -> &'a str {
        self.0.split([' ', '/']).next().unwrap()
    }

    /// The value of an attribute, which every template puts in double quotes.
    fn attribute(&self, name: &str) -> Option<String> {
        let (_, rest) = self.0.split_once(&format!(" {name}=\""))?;
        Some(unescaped(rest.split('"').next().unwrap()))
    }
}

/// Text as a browser shows it.
fn unescaped(text: &str) -> String {
    let entities =
        [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, shown)| text.replace(entity, shown))
}

/// The values of an attribute, in the order in which they are in the page.
fn attributes(page: &str, name: &str) -> Vec<String> {
    Tag::all(page).filter_map(|(tag, _)| tag.attribute(name)).collect()
}

/// How many elements of this class the page has.
fn of_class(page: &str, class: &str) -> usize {
    let has = |classes: &String| classes.split(' ').any(|one| one == class);
    attributes(page, "class").iter().filter(|classes| has(classes)).count()
}

/// The texts of the body, in one line.
fn text(page: &str) -> String {
    let (_, body) = page.split_once("<body>").unwrap();
    let texts: Vec<String> = Tag::all(body).map(|(_, text)| text).collect();
    let words = texts.join(" ");
    words
        .split([' ', '\n', '\u{202f}'])
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn title(page: &str) -> String {
    Tag::all(page).find(|(tag, _)| tag.name() == "title").unwrap().1
}

#[test]
fn names_cannot_become_markup() {
    let plain = samples(1);
    let mut hostile = plain.clone();
    let target = Arc::make_mut(&mut hostile[0].target);
    target.name = HOSTILE.to_owned();
    target.labels.insert("site".to_owned(), HOSTILE.to_owned());
    let tags = |page: &str| -> Vec<String> {
        Tag::all(page).map(|(tag, _)| tag.name().to_owned()).collect()
    };

    let one = page_of(&fixture::look(hostile[0].clone()));
    assert_eq!(tags(&one), tags(&page_of(&fixture::look(plain[0].clone()))));
    assert_eq!(title(&one), format!("{HOSTILE}: up · heartbeat-probe"));
    assert!(text(&one).contains(&format!("label site {HOSTILE}")));

    let all = list(&hostile, "");
    assert_eq!(tags(&all), tags(&list(&plain, "")));
    assert!(attributes(&all, "data-key").contains(&HOSTILE.to_owned()));
    let path =
        "targets/%3C%2Ftitle%3E%3Cscript%3Ealert%28%27%26%22%27%29%3C%2Fscript%3E%C3%A9%2F..";
    let (_, shown) =
        Tag::all(&all).find(|(tag, _)| tag.attribute("href").as_deref() == Some(path)).unwrap();
    assert_eq!(shown, HOSTILE);
    assert!(attributes(&one, "href").contains(&format!("../api/v1/{path}/heartbeats")));

    let asked = list(&hostile, &format!("q={}", utf8_percent_encode("<>\"'", NON_ALPHANUMERIC)));
    assert!(attributes(&asked, "value").contains(&"<>\"'".to_owned()));
}

#[test]
fn a_page_contains_nothing_that_its_policy_forbids() {
    for page in [list(&samples(2), "sort=loss"), page_of(&fixture::look(samples(1).remove(0)))] {
        for forbidden in ["<style", " style=", "javascript:", " onclick", "http:", "https:", "//"] {
            assert!(!page.contains(forbidden), "{forbidden} in {page}");
        }
        let scripts = Tag::all(&page).filter(|(tag, _)| tag.0.starts_with("script"));
        for (script, text) in scripts {
            assert!(script.attribute("src").unwrap().ends_with("assets/live.js"));
            assert_eq!(text, "");
        }
    }
}

#[test]
fn a_row_shows_state_misses_delays_and_changes() {
    let row = text(&list(&samples(1), ""));
    let expected = "up t0 stamp [::1]:12000 site=fra 3 min 12 s 2025-01-02 03:04:05 62.5 % \
                    2.000 ms 0.550 ms 9.730 ms 3 ↑ up 03:04:05 ↓ down 03:03:45";
    assert!(row.contains(expected), "{row}");
    assert!(row.contains("0 down of 1 target, 1 up"), "{row}");

    let fresh = fixture::fresh("new", ("role", "core"), &Arc::new(Buckets::from_seconds(&[1.0])));
    let row = text(&list(std::slice::from_ref(&fresh), ""));
    assert!(
        row.contains(
            "unknown new the name cannot be resolved: no such name (NXDOMAIN) heartbeat \
                      new.example:12000"
        ),
        "{row}"
    );
    assert!(row.contains("role=core – – – – –"), "{row}");
    let mut resolved = fresh.clone();
    resolved.address = Some("192.0.2.7:12000".parse().unwrap());
    let row = text(&list(&[resolved], ""));
    assert!(row.contains("heartbeat new.example:12000 192.0.2.7 role=core"), "{row}");
    assert!(row.contains("0 up, 1 unknown"), "{row}");
}

#[test]
fn list_and_page_show_the_diagnosis_of_a_target_that_is_down() {
    let dead = fixture::look(fixture::dead("absent"));
    let Diagnosis { summary, evidence, advice, .. } = dead.diagnosis().unwrap();
    let row = text(&list(std::slice::from_ref(&dead.sample), ""));
    assert!(row.contains(&format!("down absent {summary} heartbeat")), "{row}");
    let page = page_of(&dead);
    let shown = text(&page);
    for words in evidence.iter().chain([&summary, &advice]) {
        assert!(shown.contains(words.as_str()), "{words} in {shown}");
    }
    assert_eq!(of_class(&page, "why"), 1);
    let well = fixture::look(samples(1).remove(0));
    assert_eq!(of_class(&page_of(&well), "why"), 0);
}

#[test]
fn a_list_is_paged_and_its_links_keep_what_is_asked_for() {
    let page = list(&samples(120), "q=t&sort=name&page=2");
    assert_eq!(attributes(&page, "data-key").len(), 50);
    assert!(text(&page).contains("First Previous 51–100 of 120 Next Last"), "{page}");
    let link = |name: &str| {
        let named = |(tag, text): &(Tag, String)| tag.name() == "a" && text.trim() == name;
        Tag::all(&page).find(named).unwrap().0.attribute("href").unwrap()
    };
    assert_eq!(link("First"), "?q=t&sort=name");
    assert_eq!(link("Next"), "?q=t&sort=name&page=3");
    assert_eq!(link("down"), "?q=t&state=down&sort=name");
    assert_eq!(link("Target"), "?q=t&sort=name&order=reversed");
    assert_eq!(link("State"), "?q=t");
    assert_eq!(attributes(&page, "aria-sort"), ["ascending"]);
    let empty = list(&samples(2), "q=nowhere");
    assert!(text(&empty).contains("No target matches “nowhere”; clear filter"), "{empty}");
    assert!(text(&empty).contains("0 down of 0 targets matching “nowhere” (2 in all), 0 up"));
    let none = text(&list(&samples(2), "state=down&sort=name"));
    assert!(none.contains("No target is down; clear filter"), "{none}");
    let neither = list(&samples(2), "q=nowhere&state=down&sort=name");
    assert!(text(&neither).contains("No target matches “nowhere” and is down; clear filter"));
    assert!(attributes(&neither, "href").contains(&"?sort=name".to_owned()), "{neither}");
    assert_eq!((of_class(&empty, "targets"), attributes(&empty, "data-key").len()), (0, 0));
    assert_eq!(of_class(&page, "pager"), 1);
    assert_eq!(of_class(&list(&samples(50), ""), "pager"), 0);
}

#[test]
fn headline_counts_and_title_are_of_the_targets_that_match() {
    let mut samples = samples(3);
    samples[1].session.state = Some(State::Down);
    let page = list(&samples, "q=t1");
    assert!(
        text(&page).contains("1 down of 1 target matching “t1” (3 in all), 0 up"),
        "{}",
        text(&page)
    );
    assert_eq!(title(&page), "1 down, 0 up · heartbeat-probe");
    assert!(text(&page).contains("all 1 down 1 unknown 0 up 0"), "{}", text(&page));
    let page = text(&list(&samples, "state=up"));
    assert!(page.contains("1 down of 3 targets, 2 up"), "{page}");
    assert!(page.contains("all 3 down 1 unknown 0 up 2"), "{page}");
}

#[test]
fn the_page_of_a_refusal_has_a_way_back_from_any_path() {
    for (program, path, back, words) in [
        ("heartbeat-probe", "/nowhere", "./", "All targets"),
        ("heartbeat-probe", "/targets/a/b", "../../", "All targets"),
        ("heartbeat-responder", "/targets/", "../", "Start page"),
    ] {
        let page = written(|out| refusal(program, path, "404 Not Found", "unknown <path>", out));
        let shown = text(&page);
        assert!(shown.contains(&format!("{words} 404 Not Found unknown <path>")), "{shown}");
        assert_eq!(attributes(&page, "href").iter().filter(|href| *href == back).count(), 2);
        assert_eq!(title(&page), format!("404 Not Found · {program}"));
        assert_eq!(attributes(&page, "src"), [""; 0]);
    }
}

#[test]
fn the_list_warns_of_an_impaired_probe_and_an_old_configuration() {
    assert_eq!(of_class(&list(&samples(1), ""), "notice"), 0);
    let impaired = list_of(&samples(1), "", |overview| overview.impaired = true);
    assert!(text(&impaired).contains("its figures are unreliable"));
}

#[test]
fn the_page_of_a_target_shows_all_that_is_known() {
    let mut sample = samples(1).remove(0);
    sample.session.state = Some(State::Down);
    let page = page_of(&fixture::look(sample));
    let shown = text(&page);
    for expected in [
        "t0 down for 3 min 12 s since 2025-01-02 03:04:05",
        "Earlier states: down for 20 s · 3 changes since the probe started",
        "#4294967294 skipped: the probe was late",
        "#4294967295 not sent: no route",
        "#4294967296 late: answered after 1700 ms",
        "#4294967299 answered after 0.733 ms",
        "#4294967300 in flight",
        "Declared down at 2025-01-02 03:04:05 , 3 min 12 s ago.",
        "missed in the last minutes 62.5 %",
        "time difference -2568.025 ms",
        "port unreachable 9",
        "skipped 4",
        "≤ 10.00 ms 33.3 % 1",
        "protocol stamp interval 1s timeout 1s500ms",
        "flight recorder 16 heartbeats label site fra",
        "2025-01-02 03:04:09.972967",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    let bars: Vec<_> = Tag::all(&page).filter(|(tag, _)| tag.name() == "li").collect();
    for class in ["received", "late", "lost", "unsent", "skipped", "in_flight"] {
        let has = |bar: &Tag| bar.attribute("class").as_deref() == Some(class);
        assert!(bars.iter().any(|(bar, _)| has(bar)), "{class}");
    }
    // A ribbon begins with the oldest heartbeat, a table with the newest.
    let keys = |page: &str, of: &str| -> Vec<u64> {
        let of = Tag::all(page).filter(|(tag, _)| tag.name() == of);
        of.filter_map(|(tag, _)| tag.attribute("data-key")?.parse().ok()).collect()
    };
    let (_, frozen) = page.split_once("Just before it went down").unwrap();
    let (frozen, _) = frozen.split_once("</section>").unwrap();
    let (ribbon, mut table) = (keys(frozen, "li"), keys(frozen, "tr"));
    assert!(ribbon.is_sorted() && ribbon.len() > 1);
    table.reverse();
    assert_eq!(table, ribbon);
    assert_eq!(of_class(&page, "heartbeats"), 2);
}

#[test]
fn a_target_without_heartbeats_has_a_page() {
    let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
    let mut look = fixture::look(fixture::fresh("new", ("role", "core"), &rtt));
    look.recording = Recording { newest: Vec::new(), frozen: None };
    look.changes.clear();
    let shown = text(&page_of(&look));
    assert!(shown.contains("new unknown the name cannot be resolved"), "{shown}");
    assert!(shown.contains("No answer yet."), "{shown}");
    assert!(!shown.contains("Just before it went down"), "{shown}");
}

#[test]
fn the_page_of_a_responder_shows_its_impairments() {
    let page = |impairments: &[&str]| {
        let impairments: Vec<_> = impairments.iter().map(|&text| text.to_owned()).collect();
        written(|out| responder(&["[::]:12000".parse().unwrap()], &impairments, out))
    };
    assert!(text(&page(&[])).contains("[::]:12000"));
    assert_eq!(title(&page(&[])), "heartbeat-responder");
    assert_eq!(title(&page(&["loss 30%"])), "impaired · heartbeat-responder");
    assert_eq!(of_class(&page(&[]), "notice"), 0);
    let lossy = text(&page(&["loss 30%", "delay 20ms"]));
    assert!(lossy.contains("Impaired on purpose: loss 30%, delay 20ms."), "{lossy}");
    assert_eq!(attributes(&page(&[]), "src"), [""; 0]);
}
