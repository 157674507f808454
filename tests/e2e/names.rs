//! Names that do not resolve, and the readiness of the probe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::program::{Running, UNRESOLVABLE, until};
use crate::reload::asked_at;
use crate::server::{Server, sequence};

#[test]
fn an_unresolved_target_is_unsent_on_schedule_and_does_not_affect_others() {
    let responder = Running::responder(&[]);
    let probe = Running::probe_of(&format!(
        "defaults: {{interval: 10ms, timeout: 60s}}
targets:
  - {{name: bad, address: \"{UNRESOLVABLE}\"}}
  - {{name: good, address: \"{}\"}}
",
        responder.udp[0]
    ));
    let mut checked = 0;
    until("100 heartbeats have been due", || {
        let metrics = probe.metrics();
        let skipped = |target| metrics.of_by(target, "unsent_total", ("reason", "skipped"));
        let unresolved = metrics.of_by("bad", "unsent_total", ("reason", "unresolved"));
        // Both targets have the same interval with different phases, so their counts differ by 1.
        let bad = unresolved + skipped("bad");
        let good = metrics.of("good", "sent_total") + skipped("good");
        assert!(bad.abs_diff(good) <= 1, "{bad} due and {good} due");

        assert_eq!(metrics.of("bad", "sent_total"), 0);
        assert_eq!(metrics.of("bad", "consecutive_misses"), unresolved);
        assert_eq!(metrics.of("good", "lost_total"), 0);
        assert_eq!(metrics.of("good", "resolved"), 1);
        checked += 1;
        (good >= 100).then_some(())
    });
    assert!(checked > 1);
    until("the lookup of the name has failed", || {
        (probe.get("/-/ready").status == 200).then_some(())
    });
    let metrics = probe.metrics();
    assert_eq!(metrics.of("bad", "resolved"), 0);
    assert_eq!((metrics.of("bad", "up"), metrics.of("good", "up")), (0, 1));
    let bad = probe.target("bad");
    assert_eq!((&bad["endpoint"], &bad["state"]), (&serde_json::Value::Null, &"down".into()));
    assert_eq!(bad["address"], format!("[{UNRESOLVABLE}]:12000"));
    assert_eq!(probe.end("TERM").0, Some(0));
}

#[test]
fn the_probe_is_ready_once_the_first_heartbeat_is_settled() {
    let answers = Arc::new(AtomicBool::new(false));
    let may_answer = answers.clone();
    let server = Server::start(move |socket, request, peer| {
        if may_answer.load(Ordering::Relaxed) {
            let reply = format!("{} 0.0", sequence(request));
            socket.send_to(reply.as_bytes(), peer).unwrap();
        }
    });
    let probe = Running::probe_of(&format!(
        "targets: [{{name: slow, address: \"{}\", interval: 20ms, timeout: 10m}}]\n",
        server.address
    ));
    until("heartbeats are in flight", || {
        assert_eq!(probe.get("/-/ready").status, 503);
        assert_eq!(probe.get("/-/healthy").status, 200);
        (probe.metrics().of("slow", "in_flight") >= 3).then_some(())
    });
    assert_eq!(probe.get("/-/ready").body, "not ready\n");
    assert_eq!(probe.target("slow")["state"], "unknown");

    answers.store(true, Ordering::Relaxed);
    until("it is ready", || (probe.get("/-/ready").status == 200).then_some(()));
    assert!(probe.metrics().of("slow", "received_total") > 0);
}

#[test]
fn each_address_of_a_name_has_a_target_with_the_label_ip() {
    let responder = Running::responder(&[]);
    let port = responder.udp[0].port();
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    let write = |more: &str| {
        let text = format!(
            "defaults: {{interval: 20ms, timeout: 10s, addresses: all}}
targets:
  - {{name: each, address: \"localhost:{port}\", ip_version: 4, labels: {{site: fra}}{more}}}
  - {{name: one, address: \"localhost:{port}\", ip_version: 4, addresses: first}}
  - {{name: literal, address: \"127.0.0.1:{port}\"}}
"
        );
        std::fs::write(file.path(), text).unwrap();
    };
    write("");
    let flags = ["--web.enable-lifecycle", "--config.file", file.path().to_str().unwrap()];
    let probe = Running::probe(&flags);
    until("all are answered", || {
        let metrics = probe.metrics();
        let names = ["each 127.0.0.1", "one", "literal"];
        names.iter().all(|name| metrics.of(name, "received_total") >= 3).then_some(())
    });
    let metrics = probe.metrics();
    let ip = |name, ip| metrics.find("heartbeat_up", &[("target", name), ("ip", ip)]).is_some();
    assert!(ip("each 127.0.0.1", "127.0.0.1") && ip("one", "") && ip("literal", ""));
    assert!(metrics.find("heartbeat_up", &[("target", "each")]).is_none());
    assert_eq!(metrics.of("each 127.0.0.1", "resolved"), 1);
    let each = probe.target("each 127.0.0.1");
    assert_eq!(each["labels"], serde_json::json!({"ip": "127.0.0.1", "site": "fra"}));
    assert_eq!(each["address"], format!("127.0.0.1:{port}"));
    assert!(probe.get("/targets/each%20127.0.0.1").body.contains("127.0.0.1"));

    write(", interval: 30ms");
    let dry = asked_at(&probe, "POST", "/-/reload?dry_run=1", "").1;
    assert_eq!(dry, "change each 127.0.0.1\n0 added, 0 removed, 1 changed, 2 unchanged\n");
    assert_eq!(
        asked_at(&probe, "POST", "/-/reload", "").1,
        "0 added, 0 removed, 1 changed, 2 unchanged\n"
    );
    assert!(probe.metrics().of("each 127.0.0.1", "received_total") >= 3, "its counters stay");
}
