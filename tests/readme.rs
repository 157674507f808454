//! README.md says what the programs do: its tables, examples and figures are held against them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use udp_heartbeat::config::{self, LabelName};
use udp_heartbeat::exposition::ResponderMetrics;
use udp_heartbeat::exposition::catalogue::{self, Family, Kind};
use udp_heartbeat::model::{
    Direction, DropReason, IcmpKind, ImpairmentKind, InvalidReason, Label, StampSource, State,
    UnmatchedReason, UnsentReason,
};
use udp_heartbeat::observe::Cause;
use udp_heartbeat::wire::{self, PROTOCOLS};

const README: &str = include_str!("../README.md");
const PROBE: &str = env!("CARGO_BIN_EXE_heartbeat-probe");
const RESPONDER: &str = env!("CARGO_BIN_EXE_heartbeat-responder");

/// What stands between a heading and the next one.
fn section(heading: &str) -> &'static str {
    let (_, text) = README.split_once(&format!("\n{heading}\n")).unwrap();
    // Within code, `#` begins a comment.
    text.split("\n#").find(|text| text.contains('|')).unwrap()
}

/// The code blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let parts = README.split("```").skip(1).step_by(2);
    parts.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// The cells of each row whose first cell begins with code.
fn rows(text: &'static str) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    text.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

/// What stands in backticks.
fn code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Name, type and labels of the metrics in a section.
fn metrics(heading: &str) -> Vec<(String, String, Vec<String>)> {
    let shown = |row: Vec<&str>| (code(row[0]).remove(0), row[1].to_owned(), code(row[2]));
    rows(section(heading)).into_iter().map(shown).collect()
}

fn family(family: &Family) -> (String, String, Vec<String>) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
    };
    let labels = family.labels.iter().map(|&label| label.to_owned()).collect();
    (family.name.to_owned(), kind.to_owned(), labels)
}

/// What a program writes that ends by itself; one that does not within a minute is killed.
fn output(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    // The pipe has room for all of a help text.
    let has_ended = (0..6000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        child.try_wait().unwrap().is_some()
    });
    child.kill().unwrap();
    assert!(has_ended, "{program} {arguments:?} does not end");
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The flags in a text, but those that clap brings.
fn flags(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c))
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .filter(|word| !["--help", "--version"].contains(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn metrics_are_those_of_the_catalogue() {
    let common = [&catalogue::BUILD_INFO];
    let probe: Vec<_> = catalogue::PROBE.iter().chain(common).map(family).collect();
    let targets: Vec<_> = catalogue::PER_TARGET.iter().map(family).collect();
    let responder: Vec<_> = catalogue::responder().map(family).collect();
    assert_eq!(metrics("### Of each target"), targets);
    assert_eq!(metrics("### Of the probe"), probe);
    assert_eq!(metrics("### Of the responder"), responder);
}

#[test]
fn metrics_of_the_process_are_those_that_are_served() {
    let mut text = Vec::new();
    ResponderMetrics::new().encode(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let served: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE process_")?.split_once(' '))
        .map(|(name, kind)| (format!("process_{name}"), kind.to_owned(), Vec::new()))
        .collect();
    assert_eq!(BTreeSet::from_iter(metrics("### Of either process")), served);
}

#[test]
fn values_of_labels_are_all_told() {
    fn told<L: Label>(heading: &str, metric: &Family) {
        let rows = rows(section(heading));
        let row = rows.iter().find(|row| code(row[0])[0] == metric.name).unwrap();
        let values: BTreeSet<_> = L::ALL.iter().map(|value| value.label().to_owned()).collect();
        assert_eq!(BTreeSet::from_iter(code(row[3])), values, "{}", metric.name);
    }
    let results = rows(section("### Of each target"));
    let row = results.iter().find(|row| code(row[0])[0] == catalogue::RESULTS.name).unwrap();
    let mut told_results = code(row[3]);
    assert_eq!(told_results.remove(0), "dns");
    assert_eq!(told_results, wire::by_name("dns").unwrap().results());
    told::<UnsentReason>("### Of each target", &catalogue::UNSENT);
    told::<InvalidReason>("### Of each target", &catalogue::INVALID_REPLIES);
    told::<State>("### Of each target", &catalogue::STATE_CHANGES);
    told::<Direction>("### Of each target", &catalogue::ONE_WAY_LOST);
    told::<IcmpKind>("### Of each target", &catalogue::ICMP_ERRORS);
    told::<StampSource>("### Of the probe", &catalogue::TIMESTAMPS);
    told::<UnmatchedReason>("### Of the probe", &catalogue::UNMATCHED);
    told::<DropReason>("### Of the responder", &catalogue::RESPONDER_DROPPED);
    told::<ImpairmentKind>("### Of the responder", &catalogue::RESPONDER_IMPAIRED);
}

#[test]
fn causes_are_all_told() {
    let (_, table) = section("### HTTP").split_once("| `cause` |").unwrap();
    let told: BTreeSet<_> = rows(table).iter().flat_map(|row| code(row[0])).collect();
    let causes = Cause::ALL.iter().map(|cause| cause.label().to_owned());
    assert_eq!(told, causes.collect());
}

#[test]
fn protocols_are_all_told() {
    let told: Vec<_> =
        rows(section("## Choosing a protocol")).iter().map(|row| code(row[0])).collect();
    let known: Vec<_> = PROTOCOLS.iter().map(|protocol| [protocol.name().to_owned()]).collect();
    assert_eq!(told, known);
}

#[test]
fn keys_of_the_configuration_are_those_that_are_known() {
    let known = |text: &str| {
        let problems = config::parse("", text).unwrap_err().to_string();
        let (_, keys) = problems.split_once("(known: ").unwrap();
        keys.trim_end_matches(')').split(", ").map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (top, defaults) = (known("zzzzzz: 1"), known("defaults: {zzzzzz: 1}"));
    let target = known("targets: [{address: a, zzzzzz: 1}]");

    let own = target.difference(&defaults).map(|key| format!("targets[].{key}"));
    let known: BTreeSet<_> = top.iter().cloned().chain(own).chain(defaults.clone()).collect();
    let rows = rows(section("## Configuration"));
    let told: BTreeSet<_> = rows.iter().map(|row| code(row[0]).remove(0)).collect();
    assert_eq!(told, known);
    let starred = rows.iter().filter(|row| row[0].ends_with('*')).map(|row| code(row[0]).remove(0));
    assert_eq!(starred.collect::<BTreeSet<_>>(), defaults);
}

#[test]
fn labels_that_targets_may_not_have_are_all_told() {
    let rows = rows(section("## Configuration"));
    let row = rows.iter().find(|row| row[0] == "`targets[].labels`").unwrap();
    let (_, told) = row[3].split_once("; not ").unwrap();
    let reserved = LabelName::reserved().chain(["__…"]).map(str::to_owned);
    assert_eq!(BTreeSet::from_iter(code(told)), reserved.collect());
}

#[test]
fn the_configuration_is_one_that_is_accepted() {
    let files: Vec<_> =
        blocks("yaml").into_iter().filter(|block| block.starts_with("# probe.yml\n")).collect();
    assert_eq!(files.len(), 1);
    let config = config::parse("probe.yml", files[0]).unwrap();
    assert_eq!(config.targets.len(), 3);
}

#[test]
fn flags_are_those_that_help_tells() {
    let commands = ["run", "demo", "ping", "check", "odds"];
    let mut helped = flags(&output(RESPONDER, &["--help"]));
    for action in ["show", "set", "clear"] {
        helped.extend(flags(&output(RESPONDER, &["faults", action, "--help"])));
    }
    for command in commands {
        helped.extend(flags(&output(PROBE, &[command, "--help"])));
    }
    let tables = [section("### Command line"), section("## A bad network, on purpose")];
    let rows = tables.into_iter().flat_map(rows);
    let told: BTreeSet<_> = rows.flat_map(|row| flags(row[0])).collect();
    assert_eq!(told, helped);
}

#[test]
fn the_odds_are_those_that_are_computed() {
    let odds = output(PROBE, &["odds", "--loss", "30%", "--misses", "3,4,5"]);
    assert!(README.contains(&format!("```text\n{odds}```\n")), "{odds}");
    assert!(output(PROBE, &["odds", "--loss", "1%"]).contains(" 1,010,100.00 "));
}

#[test]
fn links_within_the_page_lead_somewhere() {
    let anchors: BTreeSet<_> = README
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| title.replace(' ', "-").replace(',', ""))
        .collect();
    let links: Vec<_> =
        README.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(!links.is_empty());
    for link in links {
        assert!(anchors.contains(link), "#{link}");
    }
}
