//! SIGTERM and SIGINT: the probe stops sending, settles what is in flight, closes HTTP and exits
//! with 0.

use std::process::{Command, Stdio};

use crate::program::{Killed, Lines, PROBE, Running, message, until};
use crate::scrape::{Begun, Metrics, get};
use crate::server::Server;

#[test]
fn it_waits_for_heartbeats_in_flight_and_closes_http_last() {
    let silent = Server::silent();
    let mut probe = Running::probe_of(&format!(
        "targets: [{{name: silent, address: \"{}\", interval: 10ms, timeout: 1s}}]\n",
        silent.address
    ));
    until("some are in flight", || (probe.metrics().of("silent", "in_flight") >= 5).then_some(()));
    let last = Begun::get(probe.http, "/metrics").unwrap();
    probe.signal("TERM");
    let stopping = probe.logged("stopping once the heartbeats in flight are settled");
    assert_eq!(stopping["fields"]["signal"], "SIGTERM");
    let mut sent = None;
    until("HTTP ends", || {
        let Ok(answer) = get(probe.http, "/metrics") else { return Some(()) };
        let ledger = Metrics::read(answer.body).ledger("silent");
        assert_eq!(*sent.get_or_insert(ledger.sent), ledger.sent, "nothing more is sent");
        None
    });
    // The request that was begun before is still answered, after all heartbeats are settled.
    let ledger = Metrics::read(last.finish().unwrap().body).ledger("silent");
    assert_eq!((ledger.in_flight, ledger.lost), (0, ledger.sent));
    assert!(ledger.sent >= 5);
    assert_eq!(probe.ended().0, Some(0));
}

#[test]
fn it_ends_at_once_if_nothing_is_in_flight() {
    let responder = Running::responder(&[]);
    let probe = Running::probe_of(&format!(
        "targets: [{{name: quick, address: \"{}\", interval: 100ms, timeout: 1h}}]\n",
        responder.udp[0]
    ));
    until("some are answered", || {
        (probe.metrics().of("quick", "received_total") >= 2).then_some(())
    });
    let (code, log) = probe.end("INT");
    assert_eq!(code, Some(0));
    assert_eq!(log.last().unwrap()["fields"]["signal"], "SIGINT");
}

#[test]
fn sighup_is_logged_and_ends_no_responder() {
    let mut responder = Running::responder(&[]);
    responder.signal("HUP");
    responder.logged("ignoring SIGHUP: restart the program to apply changed settings");
    assert_eq!(get(responder.http, "/-/healthy").unwrap().status, 200);
}

#[test]
fn ping_without_answers_exits_with_1_on_sigterm() {
    let silent = Server::silent();
    let (child, out) = Killed::spawn(
        Command::new(PROBE).args(["ping", &silent.address.to_string(), "-c1000000", "-W100ms"]),
        Stdio::piped(),
    );
    let mut out = Lines::of(out.unwrap());
    assert!(out.next().is_some());
    child.signal("TERM");
    out.rest();
    let (code, errors) = child.finish();
    assert_eq!((code, errors.as_str()), (Some(1), ""));
}

#[test]
fn the_demo_shows_four_servers_and_ends_on_sigint() {
    let (child, out) = Killed::spawn(
        Command::new(PROBE).args(["demo", "--web.listen-address=127.0.0.1:0", "--log.format=json"]),
        Stdio::piped(),
    );
    let mut out = Lines::of(out.unwrap());
    let mut introduction = String::new();
    let line = out
        .find(|line| {
            introduction.push_str(line);
            introduction.push('\n');
            line.ends_with("/metrics")
        })
        .unwrap();
    let http = line.split("http://").nth(1).unwrap().strip_suffix("/metrics").unwrap();
    let introduction = introduction.replace(http, "127.0.0.1:9862");
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("```text\n{introduction}")), "{introduction}");
    let http = http.parse().unwrap();
    assert_eq!(get(http, "/").unwrap().status, 200);
    until("every server is up or down", || {
        let metrics = Metrics::read(get(http, "/metrics").unwrap().body);
        let up = |target| metrics.find("heartbeat_up", &[("target", target)]);
        let states = ["steady", "flaky", "absent"].map(up);
        if states.contains(&None) || up("lossy").is_none() {
            return None;
        }
        assert_eq!(states, [Some(1.0), Some(1.0), Some(0.0)]);
        Some(())
    });
    child.signal("INT");
    let printed = out.rest();
    let absent = "  absent   DOWN  3 consecutive misses: port unreachable: the host is up, but ";
    assert!(printed.contains(absent), "{printed}");
    assert!(printed.contains("  steady   up\n"), "{printed}");
    let (code, log) = child.finish();
    assert_eq!(code, Some(0), "{log}");
    let last = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(message(&last), "stopping once the heartbeats in flight are settled");
}
