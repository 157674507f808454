//! Down and up: a responder that is killed and restarted, and servers that answer some heartbeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::program::{Running, own_address, until};
use crate::scrape::Metrics;
use crate::server::{Server, sequence};

fn changes(metrics: &Metrics, state: &str) -> u64 {
    metrics.of_by("target", "state_changes_total", ("state", state))
}

fn seconds(metrics: &Metrics, name: &str) -> f64 {
    metrics.find(&format!("heartbeat_{name}"), &[("target", "target")]).unwrap()
}

#[test]
fn a_target_is_down_in_time_after_a_kill_and_up_after_a_restart() {
    let address = own_address();
    let responder = Running::responder_on(&[address], &[]);
    // The recorder needs room for heartbeats in flight, and for those that a busy machine skips.
    let probe = Running::probe_of(&format!(
        "defaults: {{interval: 100ms, timeout: 2s, recorder: 100}}
targets: [{{name: target, address: \"{address}\"}}]
"
    ));
    until("it is up", || (probe.metrics().of("target", "received_total") >= 3).then_some(()));
    let up = probe.metrics();
    assert_eq!((up.of("target", "up"), changes(&up, "up"), changes(&up, "down")), (1, 1, 0));

    responder.kill();
    let down = until("it is down", || {
        let metrics = probe.metrics();
        (changes(&metrics, "down") == 1).then_some(metrics)
    });
    assert_eq!(down.of("target", "up"), 0);
    assert!(down.of("target", "consecutive_misses") >= 3);
    // The target is down at most three intervals and a timeout after the last answered heartbeat.
    // Each interval that the probe was too late for counts as skipped, and the probe may be late by
    // one more without skipping.
    let took = seconds(&down, "state_change_timestamp_seconds")
        - seconds(&down, "last_reply_timestamp_seconds");
    let skipped = down.of_by("target", "unsent_total", ("reason", "skipped"));
    let bound = (3 + skipped + 1) as f64 * 0.1 + 2.0;
    assert!(took > 2.0 && took <= bound, "down after {took} s");
    let unreachable = |metrics: &Metrics| {
        metrics.of_by("target", "icmp_errors_total", ("kind", "port_unreachable"))
    };
    assert!(unreachable(&down) > 0);
    assert_eq!(probe.target("target")["state"], "down");
    let recorded = probe.heartbeats("target");
    let outcomes = |heartbeats: &Value| {
        let all = heartbeats.as_array().unwrap().iter();
        all.map(|heartbeat| heartbeat["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let frozen = outcomes(&recorded["frozen"]["heartbeats"]);
    let answered = frozen.iter().rposition(|outcome| outcome == "received").unwrap();
    let misses = frozen[answered + 1..].iter().filter(|outcome| *outcome == "lost").count();
    assert_eq!(misses, 3, "{frozen:?}");
    assert!(frozen.len() <= 100 && outcomes(&recorded["heartbeats"]).len() <= 100);
    assert_eq!(recorded["state"], "down");

    let responder = Running::responder_on(&[address], &[]);
    let recovered = until("it is up again", || {
        let metrics = probe.metrics();
        (changes(&metrics, "up") == 2).then_some(metrics)
    });
    assert!(recovered.of("target", "received_total") > down.of("target", "received_total"));
    let replied = until("three more are answered", || {
        let metrics = probe.metrics();
        (metrics.of("target", "received_total") >= recovered.of("target", "received_total") + 3)
            .then_some(metrics)
    });
    assert_eq!(replied.of("target", "up"), 1);
    let was_down = seconds(&replied, "down_seconds_total");
    let outage = seconds(&replied, "state_change_timestamp_seconds")
        - seconds(&down, "state_change_timestamp_seconds");
    assert!(
        (was_down - outage).abs() < 0.1,
        "{was_down} s down, {outage} s between the changes of state"
    );
    assert_eq!(responder.end("TERM").0, Some(0));
    assert_eq!(probe.end("TERM").0, Some(0));
}

#[test]
fn a_target_is_up_again_after_the_configured_number_of_answers() {
    let healthy = Arc::new(AtomicBool::new(false));
    let is_healthy = healthy.clone();
    let mut heartbeats = 0_u64..;
    // Of each five heartbeats, the first three are not answered.
    let server = Server::start(move |socket, request, peer| {
        if heartbeats.next().unwrap() % 5 >= 3 || is_healthy.load(Ordering::Relaxed) {
            let reply = format!("{} 0.0", sequence(request));
            socket.send_to(reply.as_bytes(), peer).unwrap();
        }
    });
    // The timeout is shorter than the interval, so each heartbeat is settled before the next is
    // sent.
    let probe = Running::probe_of(&format!(
        "targets:
  - name: target
    address: \"{}\"
    interval: 40ms
    timeout: 30ms
    misses: 2
    recoveries: 3
",
        server.address
    ));
    let down = until("six have been answered, never three in a row", || {
        let metrics = probe.metrics();
        (metrics.of("target", "received_total") >= 6).then_some(metrics)
    });
    assert_eq!((changes(&down, "up"), changes(&down, "down"), down.of("target", "up")), (0, 1, 0));

    healthy.store(true, Ordering::Relaxed);
    let up = until("it is up", || {
        let metrics = probe.metrics();
        (changes(&metrics, "up") > 0).then_some(metrics)
    });
    assert!(up.of("target", "received_total") > down.of("target", "received_total"));
}

#[test]
fn late_answers_do_not_make_a_target_up_and_one_in_time_does() {
    let is_fast = Arc::new(AtomicBool::new(false));
    let answers_fast = is_fast.clone();
    // At first, every answer takes twice the timeout.
    let server = Server::start(move |socket, request, peer| {
        let reply = format!("{} 0.0", sequence(request));
        let pause = if answers_fast.load(Ordering::Relaxed) { 0 } else { 100 };
        let socket = socket.try_clone().unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(pause));
            // The probe may have ended by then.
            let _ = socket.send_to(reply.as_bytes(), peer);
        });
    });
    // A high `misses` keeps the target from going down, which would hide the effect of late
    // answers.
    let probe = Running::probe_of(&format!(
        "targets: [{{name: target, address: \"{}\", interval: 20ms, timeout: 50ms, misses: 100000}}]\n",
        server.address
    ));
    let metrics = until("ten have been answered late", || {
        let metrics = probe.metrics();
        (metrics.of("target", "late_total") >= 10).then_some(metrics)
    });
    assert_eq!(metrics.of("target", "received_total"), 0);
    assert_eq!(metrics.find("heartbeat_up", &[("target", "target")]), None);
    assert_eq!((changes(&metrics, "up"), changes(&metrics, "down")), (0, 0));
    assert!(metrics.of("target", "lost_total") >= metrics.of("target", "late_total"));

    is_fast.store(true, Ordering::Relaxed);
    let metrics = until("one is answered in time", || {
        let metrics = probe.metrics();
        (metrics.of("target", "received_total") > 0).then_some(metrics)
    });
    assert_eq!((metrics.of("target", "up"), changes(&metrics, "up")), (1, 1));
}
