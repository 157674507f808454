//! The pages of samples made by hand: what they say, and that no name means anything to a browser.

use std::sync::Arc;

use super::*;
use crate::observe::{Diagnosis, Overview, TargetLook, TargetSample, fixture};
use crate::session::{Buckets, Recording};
use crate::web::view::View;

const HOSTILE: &str = "</title><script>alert('&\"')</script>é/..";

const ESCAPED: &str = "&lt;/title&gt;&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;é/..";

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
    let looks = selection.places.iter().map(|&place| fixture::look(samples[place].clone()));
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

/// What stands between tags, in one line.
fn text(page: &str) -> String {
    let (_, body) = page.split_once("<body>").unwrap();
    let pieces = body.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    let text = pieces.collect::<Vec<_>>().join(" ");
    text.split([' ', '\u{202f}']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn names_are_text_to_a_browser() {
    let mut hostile = samples(1);
    let target = Arc::make_mut(&mut hostile[0].target);
    target.name = HOSTILE.to_owned();
    target.labels.insert("site".to_owned(), HOSTILE.to_owned());
    let one = page_of(&fixture::look(hostile[0].clone()));
    let all = list(&hostile, &format!("q={}", utf8_percent_encode("<>\"'", NON_ALPHANUMERIC)));
    for (page, title) in [(&one, true), (&all, false)] {
        // The script of the page itself, and no other.
        assert_eq!(page.matches("<script").count(), 1);
        assert_eq!(page.split("<body>").next().unwrap().matches("</title>").count(), 1);
        assert!(!page.contains("alert('"), "{page}");
        assert_eq!(
            page.contains(&format!("<title>{ESCAPED}: up · heartbeat-probe</title>")),
            title
        );
    }
    assert!(one.contains(&format!("<dt>label site<dd>{ESCAPED}</div>")));
    assert!(all.contains("value=\"&lt;&gt;&quot;&#39;\""), "{all}");

    let mut hostile = samples(1);
    Arc::make_mut(&mut hostile[0].target).name = HOSTILE.to_owned();
    let all = list(&hostile, "");
    assert!(all.contains(&format!("data-key=\"{ESCAPED}\"")));
    let path =
        "targets/%3C%2Ftitle%3E%3Cscript%3Ealert%28%27%26%22%27%29%3C%2Fscript%3E%C3%A9%2F..";
    assert!(all.contains(&format!("<a href=\"{path}\">{ESCAPED}</a>")), "{all}");
    assert!(one.contains(&format!("href=\"../api/v1/{path}/heartbeats\"")));
}

#[test]
fn nothing_stands_in_a_page_that_its_policy_forbids() {
    for page in [list(&samples(2), "sort=loss"), page_of(&fixture::look(samples(1).remove(0)))] {
        for forbidden in ["<style", " style=", "javascript:", " onclick", "http:", "https:", "//"] {
            assert!(!page.contains(forbidden), "{forbidden} in {page}");
        }
    }
}

#[test]
fn a_row_tells_state_misses_delays_and_changes() {
    let row = text(&list(&samples(1), ""));
    let expected = "up t0 stamp [::1]:12000 site=fra 3 min 12 s 2025-01-02 03:04:05 62.5 % \
                    2.000 ms 0.550 ms 9.730 ms 3 ↑ up 03:04:05 ↓ down 03:03:45";
    assert!(row.contains(expected), "{row}");
    assert!(row.contains("0 down of 1 target, 1 up"), "{row}");

    let fresh = fixture::fresh("new", ("role", "core"), &Arc::new(Buckets::from_seconds(&[1.0])));
    let row = text(&list(&[fresh], ""));
    assert!(
        row.contains("unknown new the name has no address heartbeat new.example:12000"),
        "{row}"
    );
    assert!(row.contains("role=core – – – – –"), "{row}");
    assert!(row.contains("0 up, 1 not known yet"), "{row}");
}

#[test]
fn list_and_page_say_why_a_target_is_down_in_the_words_of_its_diagnosis() {
    let dead = fixture::look(fixture::dead("absent"));
    let Diagnosis { summary, evidence, advice, .. } = dead.diagnosis().unwrap();
    let row = text(&list(std::slice::from_ref(&dead.sample), ""));
    assert!(row.contains(&format!("down absent {summary} heartbeat")), "{row}");
    let page = text(&page_of(&dead));
    for words in evidence.iter().chain([&summary, &advice]) {
        assert!(page.contains(words.as_str()), "{words} in {page}");
    }
    let well = fixture::look(samples(1).remove(0));
    assert!(!page_of(&well).contains("class=why"));
}

#[test]
fn a_list_is_paged_and_its_links_keep_what_is_asked_for() {
    let page = list(&samples(120), "q=t&sort=name&page=2");
    assert_eq!(page.matches("<tr role=row class=up").count(), 50);
    assert!(text(&page).contains("First Previous 51–100 of 120 Next Last"), "{page}");
    for link in [
        "href=\"?q=t&amp;sort=name\" rel=first",
        "href=\"?q=t&amp;sort=name&amp;page=3\" rel=next",
        "href=\"?q=t&amp;state=down&amp;sort=name\" data-live>down <span>0</span>",
        "aria-sort=ascending><a href=\"?q=t&amp;sort=name&amp;order=reversed\" data-live>Target</a>",
        "href=\"?q=t\" data-live>State</a>",
    ] {
        assert!(page.contains(link), "{link} in {page}");
    }
    assert_eq!(page.matches("aria-sort").count(), 1);
    let empty = list(&samples(2), "q=nowhere");
    assert!(empty.contains("No target is like that.") && !empty.contains("<table"));
    assert!(!list(&samples(50), "").contains("<nav class=pager"));
}

#[test]
fn a_probe_that_cannot_be_believed_says_so() {
    assert!(!list(&samples(1), "").contains("class=notice"));
    let impaired = list_of(&samples(1), "", |overview| overview.impaired = true);
    assert!(impaired.contains("do not believe its figures"));
    let outdated = list_of(&samples(1), "", |overview| overview.config_loaded = false);
    assert!(outdated.contains("an older one is in force"));
}

#[test]
fn the_page_of_a_target_tells_all_of_it() {
    let mut sample = samples(1).remove(0);
    sample.session.state = Some(crate::model::State::Down);
    let page = page_of(&fixture::look(sample));
    let told = text(&page);
    for expected in [
        "t0 down for 3 min 12 s since 2025-01-02 03:04:05",
        "Before that: down for 20 s · 3 changes since the probe began",
        "#4294967294 skipped: the probe was late",
        "#4294967295 not sent: no route",
        "#4294967296 late: answered after 1700 ms",
        "#4294967299 answered after 0.733 ms",
        "#4294967300 in flight",
        "Called down at 2025-01-02 03:04:05 , 3 min 12 s ago.",
        "missed lately 62.5 %",
        "time difference -2568.025 ms",
        "port unreachable 9",
        "skipped 4",
        "≤ 10.00 ms 33.3 % 1",
        "protocol stamp interval 1s timeout 1s500ms",
        "flight recorder 16 heartbeats label site fra",
        "2025-01-02 03:04:09.972967",
    ] {
        assert!(told.contains(expected), "{expected} in {told}");
    }
    let words = ["received", "late", "lost", "unsent", "skipped", "in_flight"];
    for word in words {
        assert!(page.contains(&format!("<li class={word} data-key=")), "{word}");
    }
    // The outage's, with the newest first.
    assert_eq!(page.matches("<table class=heartbeats>").count(), 2);
    let (_, frozen) = page.split_once("<table class=heartbeats>").unwrap();
    assert!(
        frozen.find("data-key=4294967298").unwrap() < frozen.find("data-key=4294967297").unwrap()
    );
}

#[test]
fn the_page_of_a_target_of_which_nothing_is_known_is_one_too() {
    let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
    let mut look = fixture::look(fixture::fresh("new", ("role", "core"), &rtt));
    look.recording = Recording { newest: Vec::new(), frozen: None };
    look.changes.clear();
    let told = text(&page_of(&look));
    assert!(told.contains("new unknown the name has no address"), "{told}");
    assert!(told.contains("No answer yet."), "{told}");
    assert!(!told.contains("Just before it went down"), "{told}");
}

#[test]
fn a_responder_says_whether_it_lies() {
    let page = |impairments: &[&str]| {
        let status = ResponderStatus {
            listeners: vec!["[::]:12000".parse().unwrap()],
            impairments: impairments.iter().map(|&text| text.to_owned()).collect(),
        };
        written(|out| responder(&status, out))
    };
    assert!(page(&[]).contains("[::]:12000"));
    assert!(!page(&[]).contains("class=notice"));
    assert!(page(&["loss 30%", "delay 20ms"]).contains("on purpose: loss 30%, delay 20ms."));
    assert!(!page(&[]).contains("live.js"));
}
