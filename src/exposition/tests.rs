//! The encoders, compared with the catalogue and with snapshots, and read by a strict parser.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::catalogue::{self, Family, Kind};
use super::family::seconds;
use super::{ResponderMetrics, encode_heartbeats, encode_probe, encode_targets};
use crate::config::{self, Host};
use crate::model::{DropReason, ImpairmentKind, Label, TargetLabel};
use crate::observe::ProbeSample;
use crate::observe::fixture::{self, NOW};
use crate::session::Buckets;
use crate::wire::{self, Protocol};

/// One sample line of the text format.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// A parsed family.
#[derive(Debug, Default)]
struct Read {
    help: String,
    kind: String,
    lines: Vec<Line>,
}

/// Parses the text format 0.0.4 strictly: HELP, then TYPE, then only lines of that family; every
/// family and every series once.
fn read(text: &str) -> BTreeMap<String, Read> {
    assert!(text.ends_with('\n'), "the last line has no line feed");
    let mut families = BTreeMap::<String, Read>::new();
    let mut series = BTreeSet::new();
    let mut present = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a HELP has a text");
            let kind = lines
                .next()
                .and_then(|line| line.strip_prefix("# TYPE "))
                .and_then(|line| line.strip_prefix(name))
                .and_then(|line| line.strip_prefix(' '))
                .unwrap_or_else(|| panic!("no TYPE after the HELP of {name}"));
            let read = Read { help: help.to_owned(), kind: kind.to_owned(), lines: Vec::new() };
            assert!(families.insert(name.to_owned(), read).is_none(), "duplicate family {name}");
            name.clone_into(&mut present);
            continue;
        }
        assert!(!line.starts_with('#'), "unexpected comment: {line}");
        let line = read_line(line);
        let family = families.get_mut(&present).expect("a line before any HELP");
        let suffixes: &[&str] = match family.kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["_sum", "_count"],
            _ => &[""],
        };
        let suffix = line.name.strip_prefix(present.as_str()).expect("a line of another family");
        assert!(suffixes.contains(&suffix), "{} in a {}", line.name, family.kind);
        assert!(
            series.insert(format!("{}{:?}", line.name, line.labels)),
            "duplicate series: {line:?}"
        );
        family.lines.push(line);
    }
    families
}

fn read_line(line: &str) -> Line {
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "not a name: {name}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (name, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(name), "not a label: {name}");
            let (value, after) = read_quoted(after);
            labels.push((name.to_owned(), value));
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',').expect("a comma between labels");
        }
    }
    let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), labels.len(), "duplicate label: {line}");
    let value = rest.strip_prefix(' ').expect("one space before the value");
    Line { name: name.to_owned(), labels, value: value.parse().expect("a number") }
}

/// The text up to the closing quote, unescaped, and the rest.
fn read_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => panic!("invalid escape: {other:?}"),
            }),
            c => value.push(c),
        }
    }
    panic!("unterminated label value");
}

fn probe_text(sample: &ProbeSample) -> String {
    let mut out = Vec::new();
    encode_probe(sample, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn responder_text(metrics: &ResponderMetrics) -> String {
    let mut out = Vec::new();
    metrics.encode(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
    }
}

/// The text without parts that differ between runs and versions.
fn steady(text: &str) -> String {
    let kept = text.split_inclusive('\n').filter(|line| !line.contains("process_"));
    kept.collect::<String>().replace(env!("CARGO_PKG_VERSION"), "[version]")
}

/// Asserts that `text` has exactly these families, with their help texts, types and labels.
fn assert_matches<'a>(text: &str, families: impl Iterator<Item = &'a Family>, per_target: &[&str]) {
    let read = read(text);
    let catalogue: BTreeMap<_, _> = families.map(|family| (family.name, family)).collect();
    let names: Vec<_> = read.keys().map(String::as_str).collect();
    let ours: Vec<_> = names.iter().copied().filter(|name| !name.starts_with("process_")).collect();
    assert_eq!(ours, catalogue.keys().copied().collect::<Vec<_>>());
    assert!(names.contains(&"process_resident_memory_bytes"));
    for (name, family) in catalogue {
        let read = &read[name];
        assert_eq!(read.help, family.help, "{name}");
        assert_eq!(read.kind, kind_text(family.kind), "{name}");
        let common = if catalogue::PER_TARGET.contains(family) { per_target } else { &[] };
        let expected: Vec<_> = common.iter().chain(family.labels).copied().collect();
        for line in &read.lines {
            let labels = line.labels.iter().map(|(name, _)| name.as_str());
            let labels: Vec<_> = labels.filter(|&label| label != "le").collect();
            assert_eq!(labels, expected, "{name}");
        }
    }
}

#[test]
fn the_probe_exposes_the_families_of_the_catalogue() {
    let text = probe_text(&fixture::two_targets());
    // The protocols of these targets have no results.
    let families = catalogue::probe().filter(|family| **family != catalogue::RESULTS);
    assert_matches(&text, families, &["target", "role", "site"]);
}

#[test]
fn results_are_exposed_if_the_protocol_has_them() {
    let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
    let mut answered = fixture::busy("a", ("site", "fra"), &rtt);
    Arc::make_mut(&mut answered.target).protocol = protocol("dns").default_options();
    answered.session.record.results[3] = 7;
    let mut silent = answered.clone();
    Arc::make_mut(&mut silent.target).name = "b".to_owned();
    silent.session.record.results[3] = 0;
    let other = fixture::fresh("c", ("site", "fra"), &rtt);
    let sample = fixture::probe(vec![answered, silent, other]);
    let text = probe_text(&sample);
    assert_matches(&text, catalogue::probe(), &["target", "site"]);

    let lines = &read(&text)["heartbeat_results_total"].lines;
    let results = protocol("dns").results();
    assert_eq!(lines.len(), 2 * results.len());
    for (line, (target, &result)) in
        lines.iter().zip(["a", "b"].iter().flat_map(|t| results.iter().map(move |r| (t, r))))
    {
        assert_eq!((line.labels[0].1.as_str(), line.labels[2].1.as_str()), (*target, result));
        let is_counted = *target == "a" && result == "nxdomain";
        assert_eq!(line.value.to_bits(), if is_counted { 7.0_f64 } else { 0.0 }.to_bits());
    }

    let mut out = Vec::new();
    encode_targets(&sample, &mut out).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(document["targets"][0]["results"]["nxdomain"], 7);
    assert_eq!(document["targets"][1]["results"].as_object().unwrap().len(), results.len());
    assert_eq!(document["targets"][2]["results"], serde_json::json!({}));
}

#[test]
fn the_responder_exposes_the_families_of_the_catalogue() {
    assert_matches(&responder_text(&ResponderMetrics::new()), catalogue::responder(), &[]);
}

/// A sample of a target that is configured with these labels.
fn configured(labels: &[&str]) -> Result<ProbeSample, config::Problems> {
    let labels: Vec<_> = labels.iter().map(|name| format!("{name}: x")).collect();
    let text =
        format!("targets: [{{address: a, protocol: dns, labels: {{{}}}}}]", labels.join(", "));
    let config = config::parse("probe.yml", &text)?;
    let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
    let mut sample = fixture::busy("a", ("x", "y"), &rtt);
    let target = Arc::make_mut(&mut sample.target);
    target.labels.clone_from(&config.targets[0].labels);
    // A name, and a protocol with results, so that every family has series.
    target.address.host = Host::Name("a.example".to_owned());
    target.protocol = config.targets[0].protocol.clone();
    Ok(fixture::probe(vec![sample]))
}

/// The label names of all target series in the text, including those of buckets.
fn labels_of_targets(text: &str) -> BTreeSet<String> {
    let families = catalogue::PER_TARGET.iter().map(|family| family.name);
    let read = read(text);
    let lines = families.flat_map(|name| &read[name].lines);
    lines.flat_map(|line| &line.labels).map(|(name, _)| name.clone()).collect()
}

#[test]
fn labels_of_target_metrics_cannot_be_configured() {
    let plain = probe_text(&configured(&[]).unwrap());
    let present = labels_of_targets(&plain);
    assert!(present.len() > 6, "{present:?}");
    let listed = catalogue::PER_TARGET.iter().flat_map(|family| family.labels);
    for name in present.iter().map(String::as_str).chain(listed.copied()) {
        let problems = configured(&[name]).unwrap_err().to_string();
        assert!(problems.contains("reserved label name"), "{name}: {problems}");
    }
}

#[test]
fn the_labels_of_target_metrics_are_the_target_labels() {
    let listed: BTreeSet<_> =
        catalogue::PER_TARGET.iter().flat_map(|family| family.labels).copied().collect();
    assert_eq!(listed, TargetLabel::ALL.iter().map(|label| label.label()).collect());
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for family in catalogue::probe().chain(catalogue::responder()) {
        let Family { name, help, kind, .. } = family;
        assert!(name.starts_with("heartbeat_"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
    }
}

#[test]
fn the_exposition_of_the_probe_is_unchanged() {
    insta::assert_snapshot!("probe", steady(&probe_text(&fixture::two_targets())));
}

fn protocol(name: &str) -> Protocol {
    wire::by_name(name).unwrap()
}

#[test]
fn the_exposition_of_the_responder_is_unchanged() {
    let metrics = ResponderMetrics::new();
    metrics.received(protocol("heartbeat"));
    metrics.received(protocol("heartbeat"));
    metrics.replied(protocol("stamp"));
    metrics.dropped(DropReason::BurstLoss);
    metrics.impaired(ImpairmentKind::Corrupt);
    metrics.send_error();
    insta::assert_snapshot!("responder", steady(&responder_text(&metrics)));
}

#[test]
fn the_targets_document_is_unchanged() {
    let mut out = Vec::new();
    encode_targets(&fixture::two_targets(), &mut out).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
    insta::assert_snapshot!("targets", serde_json::to_string_pretty(&document).unwrap());
}

#[test]
fn the_heartbeats_document_is_unchanged() {
    let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
    let look = fixture::look(fixture::busy("fra-edge", ("site", "fra"), &rtt));
    let mut out = Vec::new();
    encode_heartbeats(&look, &mut out).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
    insta::assert_snapshot!("heartbeats", serde_json::to_string_pretty(&document).unwrap());
}

#[test]
fn a_probe_without_targets_exposes_only_its_own_families() {
    let text = probe_text(&fixture::probe(Vec::new()));
    let own = catalogue::PROBE.iter().chain(catalogue::COMMON);
    assert_matches(&text, own, &[]);
}

#[test]
fn a_family_written_in_many_pieces_has_one_heading_and_every_series() {
    let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
    let named = |n| fixture::busy(&format!("t{n}"), ("n", "x"), &rtt);
    let read = read(&probe_text(&fixture::probe((0..1000).map(named).collect())));
    assert_eq!(read["heartbeat_up"].lines.len(), 1000);
    assert_eq!(read["heartbeat_icmp_errors_total"].lines.len(), 7000);
    assert_eq!(read["heartbeat_rtt_seconds"].lines.len(), 4000);
    assert_eq!(read["heartbeat_up"].lines[999].labels[0].1, "t999");
}

#[test]
fn seconds_have_the_shortest_decimal_form() {
    let written: [(u64, &str); 4] = [
        (50_000, "0.00005"),
        (2_200_000, "0.0022"),
        (NOW.as_nanos(), "1735787045.678"),
        (31_536_000_000_000_001, "31536000.000000001"),
    ];
    for (nanos, text) in written {
        let expected: f64 = text.parse().unwrap();
        assert_eq!(seconds(nanos).to_bits(), expected.to_bits(), "{text}");
    }
    assert_eq!(seconds(NOW.as_nanos()).to_string(), "1735787045.678");
}

#[test]
fn clones_share_the_counters_of_the_responder() {
    let metrics = ResponderMetrics::new();
    let clone = metrics.clone();
    let [heartbeat, ping] = ["heartbeat", "ping"].map(protocol);
    clone.received(ping);
    clone.replied(ping);
    clone.dropped(DropReason::Outage);
    clone.impaired(ImpairmentKind::Delay);
    clone.send_error();
    assert_eq!((metrics.received_count(heartbeat), metrics.received_count(ping)), (0, 1));
    assert_eq!((metrics.replied_count(ping), metrics.send_error_count()), (1, 1));
    assert_eq!(metrics.dropped_count(DropReason::Outage), 1);
    assert_eq!(metrics.dropped_count(DropReason::Loss), 0);
    assert_eq!(metrics.impaired_count(ImpairmentKind::Delay), 1);
}

#[test]
fn errors_of_the_writer_are_returned() {
    let error = encode_probe(&fixture::two_targets(), [0; 64].as_mut_slice()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WriteZero);
}

proptest! {
    /// The parser refuses a series with a duplicate label.
    #[test]
    fn accepted_labels_occur_once_in_every_series(
        names in proptest::collection::btree_set(
            prop_oneof![
                "[a-zA-Z_][a-zA-Z0-9_]{0,8}",
                proptest::sample::select(catalogue::probe().flat_map(|f| f.labels).copied().collect::<Vec<_>>())
                    .prop_map(str::to_owned),
                Just("version".to_owned()),
                Just("le".to_owned()),
            ],
            1..5,
        ),
    ) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        if let Ok(sample) = configured(&names) {
            let present = labels_of_targets(&probe_text(&sample));
            prop_assert!(names.iter().all(|name| present.contains(*name)), "{:?}", present);
        }
    }

    #[test]
    fn any_name_and_label_value_round_trips(name in any::<String>(), value in r#"[\\"\n\r{}, =#é日]{0,12}"#) {
        let rtt = Arc::new(Buckets::from_seconds(&[1e-3]));
        let sample = fixture::probe(vec![fixture::busy(&name, ("site", &value), &rtt)]);
        let mut out = Vec::new();
        encode_probe(&sample, &mut out).unwrap();
        // `str::lines` also splits at "\r\n", unlike the format.
        let text = String::from_utf8(out).unwrap().replace('\r', "␍");
        let families = read(&text);
        for name_of_family in ["heartbeat_sent_total", "heartbeat_turnaround_seconds"] {
            for line in &families[name_of_family].lines {
                prop_assert_eq!(&line.labels, &[
                    ("target".to_owned(), name.replace('\r', "␍")),
                    ("site".to_owned(), value.replace('\r', "␍")),
                ]);
            }
            prop_assert!(!families[name_of_family].lines.is_empty());
        }
        let mut out = Vec::new();
        encode_targets(&sample, &mut out).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(document["targets"][0]["name"].as_str(), Some(name.as_str()));
    }
}
