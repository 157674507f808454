//! The pages for people, as the real program serves them: sorted, filtered, escaped, and of targets
//! that go down.

use std::fmt::Write as _;

use crate::program::{Running, UNRESOLVABLE, own_address, until};

/// Where each of these stands in a page; all must, in this order.
fn in_order(page: &str, expected: &[&str]) {
    let mut from = 0;
    for text in expected {
        let found = page[from..].find(text);
        from += found.unwrap_or_else(|| panic!("{text} is not there, or out of order: {page}"));
    }
}

#[test]
fn a_list_and_a_target_tell_what_is_down_and_what_led_to_it() {
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
    assert!(!page.contains("<img") && !page.contains("<b>}"), "{page}");
    let escaped = "&lt;img src=x onerror=alert(1)&gt;&amp;&#39;/..";
    assert!(page.contains(&format!("data-key=\"{escaped}\"")));
    assert!(page.contains("port unreachable") && page.contains("the name has no address"));
    assert!(page.contains("site=&lt;b&gt;"));
    let alive = page.find("data-key=\"alive\"").unwrap();
    assert!(page.find("data-key=\"gone\"").unwrap() < alive, "those that are down come first");

    in_order(
        &probe.get("/?sort=name").body,
        &["data-key=\"&lt;img", "data-key=\"alive\"", "data-key=\"gone\""],
    );
    let found = probe.get("/?q=FRA&state=up").body;
    assert_eq!(found.matches("data-key=").count(), 1);
    assert!(found.contains("data-key=\"alive\""));

    // The link of the list, as it stands there.
    let (_, link) = page.split_once("<a href=\"targets/%3Cimg").unwrap();
    let link = format!("/targets/%3Cimg{}", link.split('"').next().unwrap());
    let target = probe.get(&link);
    assert_eq!(target.status, 200);
    in_order(
        &target.body,
        &["<title>&lt;img src=x", "down</b>", "Last minutes", "Just before it went down", "lost"],
    );
    assert!(!target.body.contains("<img"));
    let json = probe.get(&format!("/api/v1{link}/heartbeats"));
    let document: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    assert_eq!(document["target"], hostile);
    assert_eq!(document["heartbeats"].as_array().unwrap().len(), 8);

    let unknown = probe.get("/targets/nobody");
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "there is nothing here; try /\n"));
    assert_eq!(probe.end("TERM").0, Some(0));
}

#[test]
fn many_targets_come_in_pages_of_fifty() {
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
    assert_eq!(page.matches("<tr role=row class").count(), 50);
    in_order(&page, &["data-key=\"t0100\"", "data-key=\"t0149\"", "101–150 of 2\u{202f}000"]);
    let last = probe.get("/?q=rack%3Dr6&sort=name&order=reversed&page=6").body;
    in_order(&last, &["data-key=\"t0244\"", "251–285 of 285"]);
}
