//! The pages of the real program: sorting, filtering, escaping, and targets that are down.

use std::fmt::Write as _;

use crate::program::{Running, UNRESOLVABLE, own_address, until};

/// The unescaped values of an attribute, in the order of the page.
fn attributes(page: &str, name: &str) -> Vec<String> {
    let start = format!(" {name}=\"");
    let values = page.split(&start).skip(1);
    values.map(|rest| unescaped(rest.split('"').next().unwrap())).collect()
}

/// Replaces the HTML entities in a text.
fn unescaped(text: &str) -> String {
    let entities =
        [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, shown)| text.replace(entity, shown))
}

/// The names in the list of targets, from the top.
fn rows(page: &str) -> Vec<String> {
    attributes(page, "data-key")
}

/// Checks that the page contains all of `expected`, in this order.
fn in_order(page: &str, expected: &[&str]) {
    let mut from = 0;
    for text in expected {
        let found = page[from..].find(text);
        from += found.unwrap_or_else(|| panic!("{text} is missing or out of order: {page}"));
    }
}

#[test]
fn pages_show_which_targets_are_down_and_why() {
    let responder = Running::responder(&[]);
    let (udp, nobody) = (responder.udp[0], own_address());
    let hostile = "<img src=x onerror=alert(1)>&'/..";
    let probe = Running::probe_of(&format!(
        "defaults: {{interval: 20ms, timeout: 100ms, protocol: stamp, recorder: 8}}
targets:
  - {{name: alive, address: \"{udp}\", labels: {{site: fra}}, timeout: 60s}}
  - {{name: \"{hostile}\", address: \"{nobody}\", labels: {{site: <b>}}}}
  - {{name: gone, address: \"{UNRESOLVABLE}\", timeout: 20s}}
"
    ));
    let page = until("two are down and one is up", || {
        let page = probe.get("/");
        assert_eq!(page.status, 200);
        page.body.contains("<title>2 down, 1 up · heartbeat-probe</title>").then_some(page.body)
    });
    assert!(!page.contains("<img") && !page.contains("=<b>"), "{page}");
    assert!(page.contains("port unreachable") && page.contains("the name cannot be resolved"));
    assert!(unescaped(&page).contains("site=<b>"));
    assert_eq!(rows(&page).len(), 3);
    assert_eq!(rows(&page)[2], "alive", "targets that are down come first");

    assert_eq!(rows(&probe.get("/?sort=name").body), [hostile, "alive", "gone"]);
    assert_eq!(rows(&probe.get("/?q=FRA&state=up").body), ["alive"]);

    // Follow the link of the list.
    let links = attributes(&page, "href");
    let link = links.iter().find(|link| link.starts_with("targets/%3Cimg")).unwrap();
    let link = format!("/{link}");
    let target = probe.get(&link);
    assert_eq!(target.status, 200);
    in_order(
        &unescaped(&target.body),
        &[&format!("<title>{hostile}: down"), "Last minutes", "Just before it went down", "lost"],
    );
    assert!(!target.body.contains("<img"));
    let json = probe.get(&format!("/api/v1{link}/heartbeats"));
    let document: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    assert_eq!(document["target"], hostile);
    assert_eq!(document["heartbeats"].as_array().unwrap().len(), 8);

    let unknown = probe.get("/targets/nobody");
    assert_eq!(
        (unknown.status, unknown.body.as_str()),
        (404, "unknown target; / lists all targets\n")
    );
    let unknown = probe.get("/nowhere");
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "unknown path; start at /\n"));
    assert_eq!(probe.end("TERM").0, Some(0));
}

#[test]
fn the_list_has_pages_of_fifty_targets() {
    let mut config = "defaults: {interval: 10s, timeout: 1s}\ntargets:\n".to_owned();
    for n in 0..2_000 {
        writeln!(
            config,
            "  - {{name: t{n:04}, address: \"127.0.0.1:9\", labels: {{rack: r{}}}}}",
            n % 7
        )
        .unwrap();
    }
    let probe = Running::probe_of(&config);
    let page = probe.get("/?sort=name&page=3").body;
    let expected: Vec<String> = (100..150).map(|n| format!("t{n:04}")).collect();
    assert_eq!(rows(&page), expected);
    assert!(page.contains("101–150 of 2\u{202f}000"));
    let last = probe.get("/?q=rack%3Dr6&sort=name&order=reversed&page=6").body;
    assert_eq!(rows(&last)[0], "t0244");
    assert!(last.contains("251–285 of 285"));
}

#[test]
fn every_path_in_the_manual_is_served_by_the_program_that_it_names() {
    let manual = include_str!("../../deploy/docs/http.md");
    let responder = Running::responder(&["--web.enable-lifecycle"]);
    let probe = Running::probe_of(&format!(
        "targets: [{{name: a, address: \"{}\", interval: 20ms}}]\n",
        responder.udp[0]
    ));
    let mut paths = 0;
    for row in manual.lines().filter_map(|line| line.strip_prefix("| `/")) {
        let (path, rest) = row.split_once("` | ").unwrap();
        let path = format!("/{}", path.replace("NAME", "a"));
        let (named, _) = rest.split_once(" |").unwrap();
        for (name, program) in [("probe", &probe), ("responder", &responder)] {
            let expected = match (path.as_str(), named == name || named == "both") {
                (_, false) => 404,
                // It is not for GET, and needs an option.
                ("/-/reload", true) => 403,
                (_, true) => 200,
            };
            until(&format!("{expected} for {path} of the {name}"), || {
                // Before the first heartbeat is settled, the probe is not ready.
                let status = program.get(&path).status;
                assert!([expected, 503].contains(&status), "{path} of the {name}: {status}");
                (status == expected).then_some(())
            });
        }
        paths += 1;
    }
    assert_eq!(paths, 9);
}
