//! Configuration files: each rule has a file that breaks it, and what is said about it.
//!
//! `tests/config/invalid-RULE.yml` must be refused with exactly the lines of `invalid-RULE.txt`;
//! every other file there must be accepted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use udp_heartbeat::config::{self, Config, Target};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// The names of the files in the folder that end in `suffix`, without it.
fn files(suffix: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect()
}

fn load(name: &str) -> Result<Config, String> {
    let path = folder().join(format!("{name}.yml"));
    let prefix = format!("{}/", folder().display());
    config::load(&path).map_err(|problems| problems.to_string().replace(&prefix, "") + "\n")
}

#[test]
fn each_broken_rule_is_told_as_written_down() {
    let broken: BTreeSet<_> =
        files(".yml").into_iter().filter(|name| name.starts_with("invalid-")).collect();
    assert!(broken.len() >= 30, "{broken:?}");
    assert_eq!(broken, files(".txt"));
    for name in broken {
        let expected = std::fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
        match load(&name) {
            Ok(_) => panic!("{name} is accepted"),
            Err(problems) => assert_eq!(problems, expected, "{name}"),
        }
    }
}

#[test]
fn every_other_file_is_accepted() {
    let valid: Vec<_> =
        files(".yml").into_iter().filter(|name| !name.starts_with("invalid-")).collect();
    assert_eq!(valid, ["aliases", "full", "keyed", "minimal", "no-targets"]);
    for name in valid {
        load(&name).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

/// All of a target but its labels.
fn shown(target: &Target) -> String {
    let Target { name, address, interval, timeout, misses, recoveries, recorder, .. } = target;
    format!(
        "{name}: {}://{address} {interval:?} {timeout:?} {misses} {recoveries} {recorder}",
        target.protocol.name()
    )
}

#[test]
fn every_key_is_taken_over() {
    let config = load("full").unwrap();
    assert_eq!(config.rtt_buckets, [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0]);
    assert_eq!(
        config.targets.iter().map(|target| shown(target)).collect::<Vec<_>>(),
        [
            "fra-edge: heartbeat://fra.example:12000 200ms 2s 5 3 600",
            "Zürich, 2nd floor: ping://[2001:db8::1]:4000 500ms 90s 4 2 100",
            "[2001:db8::2]:12000: stamp://[2001:db8::2]:12000 500ms 90s 4 2 100",
            "192.0.2.1: stamp://192.0.2.1:862 500ms 90s 4 2 100",
        ]
    );
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels = BTreeMap::from([label("rack", "7"), label("site", "fra")]);
    assert_eq!(config.targets[0].labels, labels);
    assert_eq!(config.targets[1].labels, BTreeMap::new());
}

#[test]
fn what_a_file_does_not_say_has_the_documented_defaults() {
    let config = load("minimal").unwrap();
    assert_eq!(config.rtt_buckets, config::default_rtt_buckets());
    assert_eq!(
        shown(&config.targets[0]),
        "fra.example: heartbeat://fra.example:12000 1s 1s 3 1 16"
    );
}

#[test]
fn a_file_without_targets_still_has_defaults_for_the_command_line() {
    let config = load("no-targets").unwrap();
    assert!(config.targets.is_empty());
    assert_eq!(config.defaults.interval, Duration::from_secs(2));
    let target = config::parse_target("ping://a.example", &config.defaults).unwrap();
    let config = config.with_targets([target]).unwrap();
    assert_eq!(shown(&config.targets[0]), "ping://a.example: ping://a.example:12000 2s 1s 3 1 16");
}

#[test]
fn an_alias_is_what_it_stands_for() {
    let config = load("aliases").unwrap();
    assert_eq!(config.targets[1].labels["provider"], "example");
    assert_eq!(config.targets[0].labels, config.targets[1].labels);
}

#[test]
fn lines_and_columns_are_those_of_an_editor() {
    let places = |text: &str| {
        let problems = config::parse("probe.yml", text).unwrap_err();
        problems.iter().map(|problem| (problem.line, problem.column)).collect::<Vec<_>>()
    };
    assert_eq!(places("targets:\r\n  - a\r\n  - b\r\n"), [(2, 5), (3, 5)]);
    assert_eq!(places("{é: 1, ü: 2}"), [(1, 2), (1, 8)]);
    assert_eq!(places("targets: [{address: \"a\n  b\"}, c]"), [(1, 12), (2, 8)]);
    assert_eq!(places("targets:\n-"), [(2, 2)]);
    assert_eq!(places("\u{feff}a: 1"), [(1, 1)]);
}

/// A file of `count` targets, every one of which is `wrong` in the same way or right.
fn many(count: usize, wrong: bool) -> String {
    let mut text = "targets:\n".to_owned();
    for index in 0..count {
        let name = if wrong { 0 } else { index };
        writeln!(text, "  - name: target-{name}").unwrap();
        writeln!(text, "    address: host-{index}.example:12000").unwrap();
        writeln!(text, "    interval: {}", if wrong { "0s" } else { "1s" }).unwrap();
    }
    text
}

#[test]
fn many_targets_are_read_and_many_problems_told() {
    // Anything quadratic takes minutes here.
    let config = config::parse("probe.yml", &many(20_000, false)).unwrap();
    assert_eq!(config.targets.len(), 20_000);
    assert_eq!(config.targets[19_999].name, "target-19999");

    let problems = config::parse("probe.yml", &many(20_000, true)).unwrap_err();
    assert_eq!(problems.iter().count(), 39_999);
    assert_eq!(
        problems.iter().last().unwrap().to_string(),
        "probe.yml:60001:5: targets[19999].interval: must be more than zero"
    );
}

/// Parses `text` and checks that every problem lies within it, in order.
fn check_problems(text: &str) -> Result<(), TestCaseError> {
    let Err(problems) = config::parse("probe.yml", text) else {
        return Ok(());
    };
    prop_assert!(problems.iter().count() > 0);
    let lines: Vec<_> = text.split('\n').collect();
    let mut last = (0, 0);
    for problem in &problems {
        prop_assert!((1..=lines.len()).contains(&problem.line), "{}", problem);
        let width = lines[problem.line - 1].chars().count();
        prop_assert!((1..=width + 1).contains(&problem.column), "{}", problem);
        prop_assert!(last <= (problem.line, problem.column), "{}", problem);
        prop_assert!(!problem.path.is_empty() && !problem.message.is_empty());
        last = (problem.line, problem.column);
    }
    Ok(())
}

/// Text of the kind that YAML gives a meaning.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("targets:\n"),
        Just("  - "),
        Just("address: "),
        Just("a.example"),
        Just("\n"),
        Just("    "),
        Just("labels: "),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(", "),
        Just("&a "),
        Just("*a"),
        Just("!t "),
        Just("'"),
        Just("\""),
        Just(": "),
        Just("? "),
        Just("|\n"),
        Just(">-\n"),
        Just("---\n"),
        Just("...\n"),
        Just("# "),
        Just("<<: "),
        Just("%YAML 1.1\n"),
        Just("\t"),
        Just("\r"),
        Just("\u{85}"),
        Just("\u{feff}"),
        Just("ü"),
        Just("\0"),
        Just("1s"),
        Just("interval: "),
        Just("defaults:\n"),
        Just("!!int "),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_accepted_or_has_problems_that_lie_in_it(text in r"(?s).{0,60}") {
        check_problems(&text)?;
    }

    #[test]
    fn so_is_text_that_looks_like_yaml(text in yaml_like()) {
        check_problems(&text)?;
    }

    #[test]
    fn so_is_a_good_file_with_a_piece_replaced(
        name in prop_oneof![Just("full"), Just("aliases"), Just("invalid-many")],
        at in any::<prop::sample::Index>(),
        length in 0..12_usize,
        piece in prop_oneof![yaml_like(), r"(?s).{0,4}"],
    ) {
        let text = std::fs::read_to_string(folder().join(format!("{name}.yml"))).unwrap();
        let text: Vec<_> = text.chars().collect();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        let changed: String =
            text[..start].iter().copied().chain(piece.chars()).chain(text[end..].iter().copied()).collect();
        check_problems(&changed)?;
    }
}
