//! Compares README.md and the manual in `deploy/docs` with the programs: their tables, examples,
//! figures and links.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use udp_heartbeat::config::{self, Defaults, LabelName};
use udp_heartbeat::exposition::ResponderMetrics;
use udp_heartbeat::exposition::catalogue::{self, Family, Kind};
use udp_heartbeat::model::{
    Direction, DropReason, IcmpKind, ImpairmentKind, InvalidReason, Label, Mono, StampSource,
    State, TargetId, UnmatchedReason, UnsentReason, Wall,
};
use udp_heartbeat::observe::Cause;
use udp_heartbeat::observe::document::{
    DelaysDocument, DiagnosisDocument, FrozenDocument, HeartbeatDocument, HeartbeatsDocument,
    PingDocument, TargetDocument,
};
use udp_heartbeat::probe::{Detail, Fleet};
use udp_heartbeat::wire::{self, PROTOCOLS};

#[path = "manual/conformance.rs"]
mod conformance;

const PROBE: &str = env!("CARGO_BIN_EXE_heartbeat-probe");
const RESPONDER: &str = env!("CARGO_BIN_EXE_heartbeat-responder");

const README: &str = "README.md";
const COMMAND_LINE: &str = "deploy/docs/command-line.md";
const CONFIGURATION: &str = "deploy/docs/configuration.md";
const COUNTING: &str = "deploy/docs/counting.md";
const DEPLOYMENT: &str = "deploy/docs/deployment.md";
const HTTP: &str = "deploy/docs/http.md";
const METRICS: &str = "deploy/docs/metrics.md";
const PROTOCOL: &str = "deploy/docs/protocols.md";

/// The maximum length of README.md, which is a first look. Longer texts belong in the manual.
const README_LINES: usize = 250;

/// Every page, by its path from the top of the repository.
static PAGES: LazyLock<BTreeMap<PathBuf, String>> = LazyLock::new(|| {
    let mut paths = vec![PathBuf::from(README)];
    for folder in ["deploy", "deploy/docs"] {
        let entries = fs::read_dir(top().join(folder)).unwrap();
        let names = entries.map(|entry| Path::new(folder).join(entry.unwrap().file_name()));
        paths.extend(names.filter(|path| path.extension().is_some_and(|kind| kind == "md")));
    }
    let read = |path: PathBuf| (path.clone(), fs::read_to_string(top().join(path)).unwrap());
    paths.into_iter().map(read).collect()
});

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(path: &str) -> &'static str {
    &PAGES[Path::new(path)]
}

/// The lines of a page that are not in code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The level and the title of a heading.
fn heading(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    (level > 0).then_some((level, title.strip_prefix(' ')?))
}

/// The cells of a row.
type Row = Vec<String>;

/// The tables of the section with this title, without their headers.
fn tables(path: &str, title: &str) -> Vec<Vec<Row>> {
    let mut lines =
        prose(page(path)).skip_while(|line| heading(line).map(|it| it.1) != Some(title));
    let (level, _) = lines.next().and_then(heading).unwrap_or_else(|| panic!("{path}: no {title}"));
    let mut tables = Vec::new();
    let mut rows = Vec::new();
    for line in lines.take_while(|line| heading(line).is_none_or(|other| other.0 > level)) {
        if line.starts_with('|') {
            rows.push(cells(line));
        } else if !rows.is_empty() {
            tables.push(std::mem::take(&mut rows));
        }
    }
    tables.extend((!rows.is_empty()).then_some(rows));
    // The header, and the line below it.
    for table in &mut tables {
        table.drain(..2);
    }
    tables
}

fn table(path: &str, title: &str) -> Vec<Row> {
    tables(path, title).swap_remove(0)
}

fn cells(line: &str) -> Row {
    let line = line.replace(r"\|", "/");
    let inside = line.trim_start_matches('|').trim_end().trim_end_matches('|');
    inside.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The texts in backticks.
fn code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The texts in backticks in the first cell of each row.
fn named(rows: &[Row]) -> BTreeSet<String> {
    rows.iter().flat_map(|row| code(&row[0])).collect()
}

/// The code blocks of a language, without the indentation of a list.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((margin, of)) = line.split_once("```") else { continue };
        let block = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```"));
        let block = block.flat_map(|line| [line.strip_prefix(margin).unwrap_or(line), "\n"]);
        let block: String = block.collect();
        blocks.extend((of == language).then_some(block));
    }
    blocks
}

/// Runs a program that ends by itself, and returns its standard output.
fn output(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    // So wide that no line of a help text is wrapped.
    command.args(arguments).env("COLUMNS", "1000").stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The pipe has room for all of a help text.
    let has_ended = (0..6000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        child.try_wait().unwrap().is_some()
    });
    child.kill().unwrap();
    assert!(has_ended, "{program} {arguments:?} does not end");
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The name of the first long option in a text.
fn option(text: &str) -> Option<String> {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c));
    words.find(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned)
}

/// The options in a help text with their defaults, except those of clap itself.
fn helped(help: &str) -> BTreeMap<String, Option<String>> {
    let mut options = BTreeMap::new();
    let mut last = None;
    for line in help.lines() {
        if line.trim_start().starts_with('-') {
            last = option(line);
        }
        let Some(name) = last.clone().filter(|name| !["--help", "--version"].contains(&&**name))
        else {
            continue;
        };
        let default: &mut Option<String> = options.entry(name).or_default();
        if let Some((_, text)) = line.split_once("[default: ") {
            *default = text.trim_end().strip_suffix(']').map(str::to_owned);
        }
    }
    options
}

/// The options in these sections of the manual with their defaults.
fn documented(titles: &[&str]) -> BTreeMap<String, String> {
    let rows = titles.iter().flat_map(|title| tables(COMMAND_LINE, title)).flatten();
    let option = |row: Row| Some((option(&row[0])?, row[1].replace('`', "")));
    rows.filter_map(option).collect()
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

/// Name, type and labels of the metrics in a section.
fn metrics(title: &str) -> Vec<(String, String, Vec<String>)> {
    let metric = |row: Row| (code(&row[0]).remove(0), row[1].clone(), code(&row[2]));
    table(METRICS, title).into_iter().map(metric).collect()
}

/// Takes the keys of a document instead of reading one.
struct Keys<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a document with keys"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(keys);
        Err(Error::custom("the keys are known"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn keys<'de, D: Deserialize<'de>>() -> BTreeSet<String> {
    let mut keys = Vec::new();
    assert!(D::deserialize(Keys(&mut keys)).is_err());
    assert!(!keys.is_empty());
    keys.into_iter().map(str::to_owned).collect()
}

/// The keys that are written for a document. [`keys`] cannot list them if the document contains
/// flattened parts.
fn written_keys(document: &impl Serialize) -> BTreeSet<String> {
    serde_json::to_value(document).unwrap().as_object().unwrap().keys().cloned().collect()
}

/// The destinations of the links and images in a page.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        let line: String = line.split('`').step_by(2).collect();
        let of = |mark: &str, end: char| {
            let rests = line.split(mark).skip(1).collect::<Vec<_>>();
            rests.into_iter().filter_map(move |rest| Some(rest.split_once(end)?.0.to_owned()))
        };
        links.extend(of("](", ')').chain(of("src=\"", '"')).chain(of("srcset=\"", '"')));
    }
    links.retain(|link| !link.starts_with("http://") && !link.starts_with("https://"));
    links
}

/// The file and the anchor that a link on a page leads to.
fn destination(page: &Path, link: &str) -> (PathBuf, Option<String>) {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, id)| (path, Some(id)));
    let mut file = PathBuf::new();
    let from = if path.is_empty() { page.to_owned() } else { page.with_file_name("").join(path) };
    for part in from.components() {
        match part {
            Component::ParentDir => assert!(file.pop(), "{link} leaves the repository"),
            Component::Normal(name) => file.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {
                panic!("{}: {link} is not a plain relative path", page.display())
            }
        }
    }
    (file, anchor.map(str::to_owned))
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, title) in prose(text).filter_map(heading) {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let new = std::iter::once(anchor.clone()).chain(numbered).find(|it| !anchors.contains(it));
        anchors.extend(new);
    }
    anchors
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for (path, text) in &*PAGES {
        for link in links(text) {
            let (file, anchor) = destination(path, &link);
            assert!(top().join(&file).exists(), "{}: {link}", path.display());
            if let Some(anchor) = anchor {
                let page = PAGES.get(&file).unwrap_or_else(|| panic!("{link} has an anchor"));
                assert!(anchors(page).contains(&anchor), "{}: {link}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 50, "{count} links were found");
}

#[test]
fn links_and_anchors_are_read_as_github_reads_them() {
    let text = "# One, `two` & 3\n```sh\n# no heading\n[no](link)\n```\n## A-b_c\n## A-b_c\n\
                [a](x.md#y) `[b](c)` [http](http://a) <img src=\"p.png\">\n";
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), ["a-b_c", "a-b_c-1", "one-two--3"]);
    assert_eq!(links(text), ["x.md#y", "p.png"]);
    let at = |link| destination(Path::new("deploy/docs/a.md"), link);
    assert_eq!(at("../b.md#c"), ("deploy/b.md".into(), Some("c".to_owned())));
    assert_eq!(at("#c"), ("deploy/docs/a.md".into(), Some("c".to_owned())));
}

#[test]
fn every_page_is_reachable_from_the_readme() {
    let mut reached = BTreeSet::new();
    let mut next = vec![PathBuf::from(README)];
    while let Some(path) = next.pop() {
        if let Some(text) = PAGES.get(&path)
            && reached.insert(path.clone())
        {
            next.extend(links(text).iter().map(|link| destination(&path, link).0));
        }
    }
    assert_eq!(reached, PAGES.keys().cloned().collect());
}

#[test]
fn the_readme_is_short() {
    let lines = page(README).lines().count();
    assert!(lines <= README_LINES, "{lines} lines, and at most {README_LINES} may be");
}

#[test]
fn metrics_are_those_of_the_catalogue() {
    let common = [&catalogue::BUILD_INFO];
    let probe: Vec<_> = catalogue::PROBE.iter().chain(common).map(family).collect();
    let targets: Vec<_> = catalogue::PER_TARGET.iter().map(family).collect();
    let responder: Vec<_> = catalogue::responder().map(family).collect();
    assert_eq!(metrics("Metrics of each target"), targets);
    assert_eq!(metrics("Metrics of the probe"), probe);
    assert_eq!(metrics("Metrics of the responder"), responder);
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
    assert_eq!(BTreeSet::from_iter(metrics("Metrics of the process")), served);
}

#[test]
fn every_value_of_a_label_is_documented() {
    fn values(title: &str, metric: &Family) -> Vec<String> {
        let rows = table(METRICS, title);
        code(&rows.iter().find(|row| code(&row[0])[0] == metric.name).unwrap()[3])
    }
    fn check<L: Label>(title: &str, metric: &Family) {
        let known: BTreeSet<_> = L::ALL.iter().map(|value| value.label().to_owned()).collect();
        let mut documented = BTreeSet::from_iter(values(title, metric));
        documented.retain(|value| !value.starts_with("--"));
        assert_eq!(documented, known, "{}", metric.name);
    }
    let mut results = values("Metrics of each target", &catalogue::RESULTS);
    assert_eq!(results.remove(0), "dns");
    assert_eq!(results, wire::by_name("dns").unwrap().results());
    check::<UnsentReason>("Metrics of each target", &catalogue::UNSENT);
    check::<InvalidReason>("Metrics of each target", &catalogue::INVALID_REPLIES);
    check::<State>("Metrics of each target", &catalogue::STATE_CHANGES);
    check::<Direction>("Metrics of each target", &catalogue::ONE_WAY_LOST);
    check::<IcmpKind>("Metrics of each target", &catalogue::ICMP_ERRORS);
    check::<StampSource>("Metrics of the probe", &catalogue::TIMESTAMPS);
    check::<UnmatchedReason>("Metrics of the probe", &catalogue::UNMATCHED);
    check::<DropReason>("Metrics of the responder", &catalogue::RESPONDER_DROPPED);
    check::<ImpairmentKind>("Metrics of the responder", &catalogue::RESPONDER_IMPAIRED);
}

#[test]
fn every_key_of_a_document_is_documented() {
    let [diagnosis, causes] = &tables(HTTP, "Diagnosis")[..] else { panic!("two tables") };
    let [recorder, heartbeat] = &tables(HTTP, "The flight recorder")[..] else {
        panic!("two tables")
    };
    let (id, target) = (TargetId::first(0), config::parse_target("a", &Defaults::default()));
    let mut fleet = Fleet::new(&[1.0], Detail::Changes, None);
    fleet.add(id, Arc::new(target.unwrap()), Mono::default());
    let sample = fleet.sample(id, Mono::default()).unwrap();
    let target = TargetDocument::new(&sample, Wall::default());
    assert_eq!(named(&table(HTTP, "Keys of a target")), written_keys(&target));
    assert_eq!(named(diagnosis), keys::<DiagnosisDocument>());
    assert_eq!(named(causes), Cause::ALL.iter().map(|cause| cause.label().to_owned()).collect());
    assert_eq!(named(recorder), keys::<HeartbeatsDocument<'_>>());
    assert_eq!(named(heartbeat), keys::<HeartbeatDocument>());
    let meaning = |rows: &[Row], key: &str| {
        let row = rows.iter().find(|row| code(&row[0]) == [key]).unwrap();
        code(&row[1]).into_iter().filter(|word| word != "null").collect::<BTreeSet<_>>()
    };
    assert_eq!(meaning(recorder, "frozen"), keys::<FrozenDocument>());

    let ping = table(COMMAND_LINE, "Keys of ping");
    let report = PingDocument::new(String::new(), &sample, Wall::default(), None, false);
    assert_eq!(named(&ping), written_keys(&report));
    assert_eq!(meaning(&ping, "rtt_seconds"), keys::<DelaysDocument>());
}

#[test]
fn every_protocol_is_documented() {
    let known: Vec<_> = PROTOCOLS.iter().map(|protocol| protocol.name().to_owned()).collect();
    let choice = table(PROTOCOL, "Choosing a protocol");
    assert_eq!(choice.iter().flat_map(|row| code(&row[0])).collect::<Vec<_>>(), known);
    let settings = table(CONFIGURATION, "Settings");
    assert_eq!(code(&settings.iter().find(|row| row[0] == "`protocol`").unwrap()[3]), known);
    for name in known {
        assert!(anchors(page(PROTOCOL)).contains(&name), "{name} has no section");
    }
}

#[test]
fn keys_of_the_configuration_are_those_that_are_known() {
    let known = |text: &str| {
        let problems = config::parse("", text).unwrap_err().to_string();
        let (_, keys) = problems.split_once("(known: ").unwrap();
        keys.trim_end_matches(')').split(", ").map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let defaults = known("defaults: {zzzzzz: 1}");
    let target = known("targets: [{address: a, zzzzzz: 1}]");
    let documented = |title| named(&table(CONFIGURATION, title));
    assert_eq!(documented("Keys at the top of the file"), known("zzzzzz: 1"));
    assert_eq!(documented("Settings"), defaults);
    assert_eq!(documented("Keys of a target"), &target - &defaults);
}

#[test]
fn defaults_of_the_configuration_are_those_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("probe.yml");
    fs::write(&file, "targets: [{address: a}]\n").unwrap();
    let printed = output(PROBE, &["check", "--print", file.to_str().unwrap()]);
    let (_, defaults) = printed.split_once("defaults:\n").unwrap();
    let in_force: Vec<_> = defaults
        .lines()
        .map_while(|line| line.strip_prefix("  ")?.split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let settings = table(CONFIGURATION, "Settings");
    let row = |row: &Row| (code(&row[0]).remove(0), row[1].replace('`', ""));
    // Keys without a default are not printed; the default of `port` depends on the protocol.
    let has_default = |(key, default): &(String, String)| key != "port" && !default.is_empty();
    let documented: Vec<_> = settings.iter().map(row).filter(has_default).collect();
    assert_eq!(documented, in_force);
}

#[test]
fn labels_that_targets_may_not_have_are_documented() {
    let rows = table(CONFIGURATION, "Keys of a target");
    let row = rows.iter().find(|row| row[0] == "`labels`").unwrap();
    let (_, documented) = row[3].split_once("; not ").unwrap();
    let reserved = LabelName::reserved().chain(["__…"]).map(str::to_owned);
    assert_eq!(BTreeSet::from_iter(code(documented)), reserved.collect());
}

#[test]
fn configurations_are_accepted() {
    let mut files = 0;
    for (path, text) in &*PAGES {
        for block in blocks(text, "yaml") {
            if block.starts_with("# probe.yml\n") || block.starts_with("targets:\n") {
                let config = config::parse("probe.yml", &block);
                config.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                files += 1;
            }
        }
    }
    assert_eq!(files, 3);
}

#[test]
fn options_and_their_defaults_are_those_of_the_help_texts() {
    let both = "Options of both programs";
    let impairments: &[&[&str]] =
        &[&["impairments", "show"], &["impairments", "set"], &["impairments", "clear"]];
    for (program, commands, titles) in [
        (PROBE, &[&["run"][..]][..], &["heartbeat-probe run", both][..]),
        (PROBE, &[&["demo"]], &["heartbeat-probe demo", both]),
        (PROBE, &[&["ping"]], &["heartbeat-probe ping", both]),
        (PROBE, &[&["check"]], &["heartbeat-probe check", both]),
        (PROBE, &[&["odds"]], &["heartbeat-probe odds", both]),
        (RESPONDER, &[&[]], &["heartbeat-responder", "Impairments", both]),
        (RESPONDER, impairments, &["heartbeat-responder impairments", "Impairments", both]),
    ] {
        let mut options = BTreeMap::new();
        for command in commands {
            options.extend(helped(&output(program, &[command, &["--help"][..]].concat())));
        }
        let documented = documented(titles);
        assert_eq!(
            documented.keys().collect::<Vec<_>>(),
            options.keys().collect::<Vec<_>>(),
            "{titles:?}"
        );
        for (option, default) in options {
            let documented = &documented[&option];
            match default {
                // The default is a sentence, as for --seed.
                Some(default) if default.contains(", ") => assert!(!documented.is_empty()),
                Some(default) => assert_eq!(documented, &default, "{titles:?} {option}"),
                None => assert!(["", "required"].contains(&&**documented), "{titles:?} {option}"),
            }
        }
    }
}

#[test]
fn the_odds_are_those_that_are_computed() {
    let odds = output(PROBE, &["odds", "--loss", "30%", "--misses", "3,4,5"]);
    assert!(blocks(page(COUNTING), "text").contains(&odds), "{odds}");
    assert!(output(PROBE, &["odds", "--loss", "1%"]).contains(" 1,010,100.00 "));
}

#[test]
fn rules_and_dashboards_are_those_that_are_delivered() {
    let read = |path: &str| fs::read_to_string(top().join("deploy/prometheus").join(path)).unwrap();
    let after = |text: &str, mark: &str| {
        let rests = text.split(mark).skip(1);
        let name = |rest: &str| rest.split(['\n', '"']).next().unwrap().trim().to_owned();
        rests.map(name).collect::<BTreeSet<_>>()
    };
    let [alerts, records] = &tables(DEPLOYMENT, "Rules and alerts")[..] else {
        panic!("two tables")
    };
    let delivered = read("alerts/heartbeat.yml");
    assert_eq!(named(alerts), after(&delivered, "alert: "));

    let recorded = after(&read("rules/heartbeat.yml"), "record: ");
    for row in records {
        for (name, window) in
            code(&row[0]).iter().flat_map(|name| row[1].split(", ").map(move |it| (name, it)))
        {
            let name = format!("{}{window}", name.strip_suffix("5m").unwrap());
            assert!(recorded.contains(&name), "{name}");
        }
    }

    let selected = after(&delivered, "job=\"");
    assert!(!selected.is_empty());
    let scraped = blocks(page(README), "yaml").concat();
    for configuration in [scraped, read("prometheus.yml")] {
        let jobs = after(&configuration, "job_name: ");
        assert!(selected.is_subset(&jobs), "alerts select {selected:?}, not {jobs:?}");
    }

    let mut titles = BTreeSet::new();
    for file in fs::read_dir(top().join("dashboards")).unwrap() {
        let dashboard = fs::read_to_string(file.unwrap().path()).unwrap();
        let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
        titles.insert(dashboard["title"].as_str().unwrap().to_owned());
    }
    let rows = table(DEPLOYMENT, "Dashboards");
    assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<BTreeSet<_>>(), titles);
}
