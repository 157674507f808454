//! Every protocol over both address families, from a file and from the command line, and every
//! family of the catalogue on `/metrics` of the real programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::ToSocketAddrs;

use udp_heartbeat::exposition::catalogue::{self, Family, Kind};
use udp_heartbeat::wire;

use crate::program::{Running, has_ipv6, until};
use crate::scrape::Metrics;
use crate::server::Server;

#[test]
fn every_protocol_is_answered_over_ipv4_and_ipv6_from_a_file_and_from_bare_targets() {
    let mut listen = vec!["127.0.0.1:0".parse().unwrap()];
    if has_ipv6() {
        listen.push("[::1]:0".parse().unwrap());
    }
    let responder = Running::responder_on(&listen, &[]);

    // Targets of the file and of the command line share addresses, so that the probe must
    // distinguish their replies.
    let mut config = "defaults: {interval: 20ms, timeout: 60s}\ntargets:\n".to_owned();
    let mut arguments = Vec::new();
    let mut names = Vec::new();
    for address in &responder.udp {
        for protocol in wire::reflecting().map(|(protocol, _)| protocol.name()) {
            let name = format!("{protocol}, IPv{}", if address.is_ipv4() { 4 } else { 6 });
            writeln!(
                config,
                "  - {{name: \"{name}\", address: \"{address}\", protocol: {protocol}}}"
            )
            .unwrap();
            names.push(name);
            arguments.push(format!("{protocol}://{address}"));
        }
    }
    // A host name with the default protocol.
    let localhost = ("localhost", 0).to_socket_addrs().unwrap().next().unwrap();
    let served = responder.udp.iter().find(|served| served.is_ipv4() == localhost.is_ipv4());
    arguments.push(format!("localhost:{}", served.unwrap().port()));
    names.extend(arguments.iter().cloned());
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    std::fs::write(file.path(), config).unwrap();
    let mut all = vec!["--workers=2", "--config.file", file.path().to_str().unwrap()];
    all.extend(arguments.iter().map(String::as_str));

    let probe = Running::probe(&all);
    let metrics = until("every target is answered", || {
        let metrics = probe.metrics();
        let answered = |name: &String| metrics.of(name, "received_total") >= 3;
        names.iter().all(answered).then_some(metrics)
    });
    assert_eq!(metrics.ledgers().len(), names.len());
    for name in &names {
        assert_eq!(metrics.of(name, "up"), 1, "{name}");
        assert_eq!(metrics.of(name, "resolved"), 1, "{name}");
        assert_eq!(metrics.of(name, "duplicates_total"), 0, "{name}");
        let labels = [("target", name.as_str())];
        let info = metrics.samples.iter().find(|sample| {
            sample.name == "heartbeat_target_info" && sample.label("target") == Some(name)
        });
        let protocol = info.unwrap().label("protocol").unwrap();
        let difference = metrics.find("heartbeat_time_difference_seconds", &labels);
        assert_eq!(difference.is_some(), protocol != "ping", "{name}");
        let turnarounds = metrics.of(name, "turnaround_seconds_count");
        let expected = if protocol == "stamp" { metrics.of(name, "received_total") } else { 0 };
        assert_eq!(turnarounds, expected, "{name}");
        assert!(metrics.of(name, "reply_ttl") > 0, "{name}");
    }
    for zero in [
        "heartbeat_lost_total",
        "heartbeat_invalid_replies_total",
        "heartbeat_probe_unmatched_total",
        "heartbeat_icmp_errors_total",
        "heartbeat_late_total",
        "heartbeat_address_changes_total",
    ] {
        assert_eq!(metrics.sum(zero), 0, "{zero}\n{}", metrics.text);
    }
    let stamps = metrics.sum("heartbeat_probe_timestamps_total");
    let received = metrics.sum("heartbeat_received_total");
    assert_eq!(stamps, received);
    // No protocol of the responder has results.
    let families = catalogue::probe().filter(|family| **family != catalogue::RESULTS);
    assert_catalogue(&metrics, families);

    assert_eq!(probe.end("TERM").0, Some(0));
    assert_catalogue(&responder.metrics(), catalogue::responder());
    assert_eq!(responder.end("TERM").0, Some(0));
}

/// Checks that `/metrics` has exactly the families of the catalogue, with their HELP texts, types
/// and labels, apart from `process_*`.
fn assert_catalogue(metrics: &Metrics, families: impl Iterator<Item = &'static Family>) {
    let mut described = Vec::new();
    let mut expected = BTreeSet::new();
    for family in families {
        let Family { name, help, kind, labels } = family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        };
        described.push(format!("# HELP {name} {help}"));
        described.push(format!("# TYPE {name} {kind}"));
        let mut labels: BTreeSet<_> = labels.iter().copied().collect();
        if catalogue::PER_TARGET.contains(family) {
            labels.insert("target");
        }
        expected.insert((*name, labels));
    }
    let ours = |line: &&str| line.starts_with("# ") && !line.contains(" process_");
    let mut comments: Vec<&str> = metrics.text.lines().filter(ours).collect();
    comments.sort_unstable();
    described.sort_unstable();
    assert_eq!(comments, described);

    let mut found = BTreeSet::new();
    for sample in metrics.samples.iter().filter(|sample| !sample.name.starts_with("process_")) {
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| sample.name.strip_suffix(part));
        let known = |name: &&str| expected.iter().any(|(known, _)| known == name);
        let name = whole.filter(known).unwrap_or(&sample.name);
        let labels = sample.labels.keys().map(String::as_str).filter(|label| *label != "le");
        found.insert((name, labels.collect()));
    }
    assert_eq!(found, expected);
}

/// `/metrics` with masks for its values and for texts that differ from run to run.
fn masked(metrics: &Metrics, varying: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for line in metrics.text.lines() {
        match line.rsplit_once(' ') {
            Some((series, _)) if !line.starts_with('#') => writeln!(text, "{series} ?").unwrap(),
            _ => writeln!(text, "{line}").unwrap(),
        }
    }
    varying.iter().fold(text, |text, (this, mask)| text.replace(this, mask))
}

#[test]
fn the_probe_s_metrics_match_the_snapshot() {
    let responder = Running::responder(&[]);
    let silent = Server::silent();
    let (answering, absent) = (responder.udp[0].to_string(), silent.address.to_string());
    // The second target has no state before its first timeout, and so lacks some series.
    let probe = Running::probe_of(&format!(
        "rtt_buckets: [0.001, 1]
defaults: {{protocol: stamp, interval: 20ms}}
targets:
  - {{name: fra-edge, address: \"{answering}\", labels: {{site: fra}}}}
  - {{name: silent, address: \"{absent}\", interval: 1h, timeout: 1h, labels: {{role: core}}}}
"
    ));
    let metrics = until("the first target is answered", || {
        let metrics = probe.metrics();
        (metrics.of("fra-edge", "received_total") > 0).then_some(metrics)
    });
    insta::assert_snapshot!(
        "probe",
        masked(
            &metrics,
            &[
                (&answering, "[answering]"),
                (&absent, "[silent]"),
                (env!("CARGO_PKG_VERSION"), "[version]")
            ]
        )
    );
}

#[test]
fn the_responder_s_metrics_match_the_snapshot() {
    let metrics = Running::responder(&[]).metrics();
    insta::assert_snapshot!(
        "responder",
        masked(&metrics, &[(env!("CARGO_PKG_VERSION"), "[version]")])
    );
}
