//! Configuration files, valid and invalid.
//!
//! Each rule has a file that breaks it: `tests/config/invalid-RULE.yml` must be refused with
//! exactly the lines of `invalid-RULE.txt`. All other files there must be accepted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use udp_heartbeat::config::{self, Config, Defaults, LineColumn, Target};
use udp_heartbeat::model::PacketOptions;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// The names of the files in the folder that end in `suffix`, without the suffix.
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
fn each_broken_rule_is_reported_with_the_expected_lines() {
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
    assert_eq!(
        valid,
        ["aliases", "dns", "full", "keyed", "minimal", "no-targets", "packets", "prefixes"]
    );
    for name in valid {
        load(&name).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

/// A target without its labels.
fn shown(target: &Target) -> String {
    let Target { name, address, interval, timeout, misses, recoveries, recorder, .. } = target;
    format!(
        "{name}: {}://{address} {} {} {interval:?} {timeout:?} {misses} {recoveries} {recorder}",
        target.protocol.name(),
        target.ip_version.word(),
        target.addresses.word()
    )
}

#[test]
fn every_key_is_taken_over() {
    let config = load("full").unwrap();
    assert_eq!(config.rtt_buckets, [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0]);
    assert_eq!(
        config.targets.iter().map(|target| shown(target)).collect::<Vec<_>>(),
        [
            "fra-edge: heartbeat://fra.example:12000 4 first 200ms 2s 5 3 600",
            "Zürich, 2nd floor: ping://[2001:db8::1]:4000 6 first 500ms 90s 4 2 100",
            "[2001:db8::2]:12000: stamp://[2001:db8::2]:12000 6 first 500ms 90s 4 2 100",
            "192.0.2.1: stamp://192.0.2.1:862 6 first 500ms 90s 4 2 100",
            "each: stamp://each.example:862 6 all 500ms 90s 4 2 100",
            "fe80::1%eth0: stamp://[fe80::1%eth0]:862 6 first 500ms 90s 4 2 100",
        ]
    );
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels = BTreeMap::from([label("rack", "7"), label("site", "fra")]);
    assert_eq!(config.targets[0].labels, labels);
    assert_eq!(config.targets[1].labels, BTreeMap::new());
}

#[test]
fn only_targets_of_a_file_can_have_a_target_for_each_address() {
    let config = load("full").unwrap();
    let templates = config.targets.iter().filter_map(|target| target.template_name());
    assert_eq!(templates.collect::<Vec<_>>(), ["each.example"]);
    let target = config::parse_target("each.example", &config.defaults).unwrap();
    assert_eq!(target.template_name(), None);
}

#[test]
fn the_port_is_from_the_target_the_defaults_or_the_protocol() {
    let config = load("dns").unwrap();
    let ports: Vec<_> = config.targets.iter().map(|target| target.address.port).collect();
    assert_eq!(ports, [53, 53, 53, 5353, 12000]);
    let text = "defaults: {port: 862}\ntargets: [{address: a, protocol: dns}]";
    let config = config::parse("probe.yml", text).unwrap();
    assert_eq!(config.targets[0].address.port, 862);
    let port = |text: &str, config: &Config| {
        config::parse_target(text, &config.defaults).unwrap().address.port
    };
    assert_eq!(port("dns://a", &config), 862);
    assert_eq!(port("dns://a", &Config::default()), 53);
    assert_eq!(port("stamp://a", &Config::default()), 12000);
}

#[test]
fn the_protocol_may_be_in_the_address_as_on_the_command_line() {
    let config = load("prefixes").unwrap();
    assert_eq!(
        config.targets.iter().map(|target| shown(target)).collect::<Vec<_>>(),
        [
            "stamp://fra.example:862: stamp://fra.example:862 auto first 1s 1s 3 1 16",
            "same: dns://192.0.2.1:53 auto first 1s 1s 3 1 16",
            "keyed: stamp://[2001:db8::1]:862 auto first 1s 1s 3 1 16",
        ]
    );
    let text = config.targets[0].name.as_str();
    let argument = config::parse_target(text, &config.defaults).unwrap();
    assert_eq!(argument, *config.targets[0]);
}

#[test]
fn packet_options_are_from_the_target_or_the_defaults() {
    let config = load("packets").unwrap();
    let shown = |target: &Target| {
        let PacketOptions { source, interface, dscp, ttl, dont_fragment } = target.packets;
        let source = source.map_or("any".to_owned(), |source| source.to_string());
        let interface = interface.map_or("any".to_owned(), |interface| interface.to_string());
        let ttl = ttl.map_or(0, NonZeroU8::get);
        let size = target.protocol.padded_size();
        format!("{source} {interface} {dscp} {ttl} {dont_fragment} {size}")
    };
    assert_eq!(
        config.targets.iter().map(|target| shown(target)).collect::<Vec<_>>(),
        [
            "192.0.2.10 eth1 EF 64 true 0",
            "192.0.2.10 eth1 CS0 1 false 1400",
            "2001:db8::10 wlan0.7 AF41 64 true 0",
            "fe80::2 eth1 EF 64 true 0",
            "192.0.2.10 eth1 EF 64 true 116",
        ]
    );
    // A target of the command line has those of the defaults.
    let target = config::parse_target("198.51.100.1", &config.defaults).unwrap();
    assert_eq!(shown(&target), "192.0.2.10 eth1 EF 64 true 0");
    let error = config::parse_target("2001:db8::1", &config.defaults).unwrap_err();
    assert_eq!(
        error.to_string(),
        "source 192.0.2.10 and the target's address 2001:db8::1 have different IP versions: both \
         must be IPv4, or both IPv6"
    );
    assert_eq!(load("minimal").unwrap().targets[0].packets, PacketOptions::default());
}

#[test]
fn missing_settings_have_the_documented_defaults() {
    let config = load("minimal").unwrap();
    assert_eq!(config.rtt_buckets, config::default_rtt_buckets());
    assert_eq!(
        shown(&config.targets[0]),
        "fra.example: heartbeat://fra.example:12000 auto first 1s 1s 3 1 16"
    );
}

#[test]
fn a_file_without_targets_still_has_defaults_for_the_command_line() {
    let config = load("no-targets").unwrap();
    assert!(config.targets.is_empty());
    assert_eq!(config.defaults.interval, Duration::from_secs(2));
    let target = config::parse_target("ping://a.example", &config.defaults).unwrap();
    let config = config.with_targets([target]).unwrap();
    assert_eq!(
        shown(&config.targets[0]),
        "ping://a.example: ping://a.example:12000 auto first 2s 1s 3 1 16"
    );
}

#[test]
fn an_alias_repeats_the_value_of_its_anchor() {
    let config = load("aliases").unwrap();
    assert_eq!(config.targets[1].labels["provider"], "example");
    assert_eq!(config.targets[0].labels, config.targets[1].labels);
}

#[test]
fn lines_and_columns_are_those_of_an_editor() {
    let places = |text: &str| {
        let problems = config::parse("probe.yml", text).unwrap_err();
        problems
            .iter()
            .filter_map(|problem| problem.place)
            .map(|LineColumn { line, column }| (line, column))
            .collect::<Vec<_>>()
    };
    assert_eq!(places("targets:\r\n  - a\r\n  - b\r\n"), [(2, 5), (3, 5)]);
    assert_eq!(places("{é: 1, ü: 2}"), [(1, 2), (1, 8)]);
    assert_eq!(places("targets: [{address: \"a\n  b\"}, c]"), [(1, 12), (2, 8)]);
    assert_eq!(places("targets:\n-"), [(2, 2)]);
    assert_eq!(places("\u{feff}a: 1"), [(1, 1)]);
    // These characters end lines in YAML 1.1 but not in editors; a lone CR ends lines in YAML.
    assert_eq!(places("{\u{85}: 1, \u{2028}: 2, \u{2029}: 3}"), [(1, 2), (1, 8), (1, 14)]);
    assert_eq!(places("a: 1\rb: 2\n"), [(1, 1), (1, 6)]);
}

/// The problems of a text, one per line.
fn reported(text: &str) -> Vec<String> {
    let problems = config::parse("probe.yml", text).unwrap_err().to_string();
    problems.lines().map(str::to_owned).collect()
}

#[test]
fn hostile_texts_have_one_short_problem_each() {
    let pieces = |piece: &str, count: usize| piece.repeat(count);
    for (name, text) in [
        ("brackets", format!("a: {}", pieces("[", 20_000))),
        ("braces", pieces("{a: ", 100_000)),
        ("dashes", pieces("- ", 100_000)),
        ("closed brackets", format!("{}{}", pieces("[", 100_000), pieces("]", 100_000))),
        ("a long key", format!("{}: 1", pieces("k", 100_000))),
        ("a long value", format!("targets: {}", pieces("v", 100_000))),
        ("a long port", format!("targets: [{{address: a, port: {}}}]", pieces("9", 100_000))),
        ("a long interval", format!("defaults: {{interval: {}}}", pieces("9", 100_000))),
        ("a long address", format!("targets: [{{address: {}}}]", pieces("a.", 100_000))),
        (
            "a long label",
            format!("targets: [{{address: a, labels: {{{}: x}}}}]", pieces("é", 1000)),
        ),
        ("a long tag", format!("!{} x", pieces("t", 100_000))),
        ("a long anchor", format!("*{}", pieces("a", 100_000))),
        ("a long protocol", format!("defaults: {{protocol: {}}}", pieces("p", 100_000))),
        ("NUL", pieces("\0", 100_000)),
        ("tabs", pieces("\t", 100_000)),
        ("quotes", pieces("'", 100_001)),
        ("spaces", pieces(" ", 100_000)),
        ("lines", pieces("\r\n", 100_000)),
        ("comments", pieces("#\n", 100_000)),
        ("documents", pieces("---\n", 100_000)),
        ("anchors", pieces("&a ", 100_000)),
        ("keys", pieces("? ", 100_000)),
        ("a list of commas", format!("[{}]", pieces("a,", 100_000))),
    ] {
        let reported = reported(&text);
        assert_eq!(reported.len(), 1, "{name}: {:?}", &reported[..2]);
        assert!(reported[0].chars().count() < 1000, "{name}: {}", reported[0]);
    }
}

#[test]
fn the_first_hundred_problems_are_reported_and_all_are_counted() {
    let mut keys = String::new();
    for number in 0..100_000 {
        writeln!(keys, "key{number}: 1").unwrap();
    }
    let reported = reported(&keys);
    assert_eq!(reported.len(), 101);
    assert!(reported[99].starts_with("probe.yml:100:1: key99: unknown key"), "{}", reported[99]);
    assert_eq!(reported[100], "probe.yml: and 99900 more problems");

    let duplicates = format!("targets: [{{address: a, labels: {{{}}}}}]", "x: y, ".repeat(50_000));
    let problems = config::parse("probe.yml", &duplicates).unwrap_err();
    assert_eq!(problems.count(), 49_999);
    let first = problems.iter().next().unwrap();
    assert_eq!(first.message, r#"duplicate label "x" (also at column 33)"#);
}

#[test]
fn the_size_of_a_file_is_limited() {
    let text = format!("# {}\n{{}}", "x".repeat(64 << 20));
    assert_eq!(
        reported(&text),
        ["probe.yml: is larger than 64 MiB, the limit for a configuration file"]
    );
}

#[test]
fn files_that_cannot_be_read_are_reported_without_a_line() {
    let loaded = |path: &Path| config::load(path).unwrap_err().to_string();
    let path = folder();
    assert_eq!(loaded(&path), format!("{}: is a directory, not a file", path.display()));
    assert_eq!(
        loaded(Path::new("/dev/zero")),
        "/dev/zero: is larger than 64 MiB, the limit for a configuration file"
    );
    assert_eq!(
        loaded(Path::new("/nowhere/probe.yml")),
        "/nowhere/probe.yml: cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(loaded(Path::new("/dev/null")), "/dev/null:1:1: file: is empty");
}

/// The configuration as `check --print` prints it.
fn printed(config: &Config) -> String {
    let mut out = Vec::new();
    config.to_yaml(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Checks that the printed configuration reads back equal in every field.
fn reads_back(config: &Config) -> Result<(), TestCaseError> {
    let text = printed(config);
    let again = config::parse("elsewhere/printed.yml", &text)
        .map_err(|problems| TestCaseError::fail(format!("{problems}\n{text}")))?;
    prop_assert_eq!(format!("{config:#?}"), format!("{again:#?}"), "{}", text);
    Ok(())
}

#[test]
fn a_printed_configuration_reads_back_and_contains_no_secret() {
    for name in ["aliases", "dns", "full", "keyed", "minimal", "no-targets", "packets", "prefixes"]
    {
        reads_back(&load(name).unwrap()).unwrap();
    }
    let text = printed(&load("keyed").unwrap());
    let file = folder().join("keys/one.key");
    let key = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(&format!("key_file: {}\n", file.display())), "{text}");
    assert!(!text.contains(key.trim()), "{text}");
    // The same for a key file of the command line.
    let options = [("key_file", "tests/config/keys/one.key")];
    let target = config::parse_target_with("stamp://a", &options, &Defaults::default()).unwrap();
    let config = Config::default().with_targets([target]).unwrap();
    reads_back(&config).unwrap();
    assert!(printed(&config).contains(&format!("key_file: {}\n", file.display())));
    let text = printed(&load("dns").unwrap());
    for line in ["query: .", "query_type: NS", "query: _sip._udp.example.org.", "query_type: HTTPS"]
    {
        assert!(text.contains(&format!("  {line}\n")), "{line}: {text}");
    }
}

/// A file of `count` targets, all valid or all `wrong` in the same way.
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
fn many_targets_take_linear_time_valid_or_not() {
    // Quadratic work would take minutes.
    let config = config::parse("probe.yml", &many(20_000, false)).unwrap();
    assert_eq!(config.targets.len(), 20_000);
    assert_eq!(config.targets[19_999].name, "target-19999");

    let problems = config::parse("probe.yml", &many(20_000, true)).unwrap_err();
    assert_eq!((problems.iter().count(), problems.count()), (100, 39_999));
    assert_eq!(
        problems.iter().last().unwrap().to_string(),
        "probe.yml:152:5: targets[50].name: duplicate target name \"target-0\" (also at line 2)"
    );
}

/// Parses `text` and checks that every problem lies within it, in order.
fn check_problems(text: &str) -> Result<(), TestCaseError> {
    let problems = match config::parse("probe.yml", text) {
        Ok(config) => return reads_back(&config),
        Err(problems) => problems,
    };
    prop_assert!(problems.iter().count() > 0);
    let lines: Vec<_> = text.split('\n').collect();
    let mut last = (0, 0);
    for problem in &problems {
        let LineColumn { line, column } = problem.place.unwrap();
        prop_assert!((1..=lines.len()).contains(&line), "{}", problem);
        let width = lines[line - 1].chars().count();
        prop_assert!((1..=width + 1).contains(&column), "{}", problem);
        prop_assert!(last <= (line, column), "{}", problem);
        prop_assert!(!problem.path.is_empty() && !problem.message.is_empty());
        last = (line, column);
    }
    Ok(())
}

/// Text made of pieces that have a meaning in YAML.
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

/// Words that YAML may read as other types, or that need quotes and escapes.
fn awkward() -> impl Strategy<Value = String> {
    prop_oneof![
        r"(?s).{0,12}",
        r"[a ':\u{2028}\u{2029}]{1,4}",
        r"[-+.0-9eExoXinfaNF_:]{1,8}",
        r"[ \n\r\t#:'\x00-\x20\x7f-\xa0\u{feff}\u{2028}\u{2029}|>&*!%@`-]{1,8}",
        "(y|Y|yes|no|on|off|null|Null|~|true|TRUE|False|\\.inf|\\.NaN|0x1F|0o7|0b1|1_0|1e400|<<|=|---|\\.\\.\\.)",
        "9{300,400}",
    ]
}

/// Whether people do not see this character in a text, or see others in the wrong order.
fn is_hidden(c: char) -> bool {
    let general = ('\u{200b}'..='\u{200f}').contains(&c) || ('\u{2028}'..='\u{202e}').contains(&c);
    let others = ['\u{ad}', '\u{61c}', '\u{180e}', '\u{feff}', '\u{fff9}', '\u{fffa}', '\u{fffb}'];
    let formats =
        ('\u{2060}'..='\u{206f}').contains(&c) || ('\u{e0000}'..='\u{e007f}').contains(&c);
    c.is_control() || general || formats || others.contains(&c)
}

proptest! {
    #[test]
    fn any_names_and_labels_read_back_as_they_are_printed(
        names in proptest::collection::btree_set(awkward(), 1..4),
        labels in proptest::collection::btree_map("x[a-zA-Z0-9_]{0,5}", awkward(), 0..4),
        buckets in proptest::collection::btree_set(1..86_400_000_000_000_u64, 1..5),
        (interval, timeout) in (1_000_000..86_400_000_000_000_u64, 1..86_400_000_000_000_u64),
    ) {
        // JSON is a subset of YAML, and serde_json is independent of the parser under test.
        let bounds: Vec<_> = buckets.iter().map(|&nanos| nanos as f64 / 1e9).collect();
        let duration = |nanos: u64| format!("{}s{}ns", nanos / 1_000_000_000, nanos % 1_000_000_000);
        let target = |name: &String| serde_json::json!({
            "name": name, "address": "a", "labels": labels,
            "interval": duration(interval), "timeout": duration(timeout),
        });
        let file = serde_json::json!({
            "rtt_buckets": bounds, "targets": names.iter().map(target).collect::<Vec<_>>(),
        });
        let fits = |name: &String| {
            ![".", ".."].contains(&name.as_str()) && !name.trim().is_empty() && name.len() <= 256
        };
        let valid = names.iter().all(fits)
            && !names.iter().chain(labels.values()).any(|text| text.contains(is_hidden))
            && config::in_flight(udp_heartbeat::wire::DEFAULT_PROTOCOL, Duration::from_nanos(interval), Duration::from_nanos(timeout)).is_ok();
        // JSON may contain characters that YAML does not allow.
        let file = file.to_string();
        let foreign = |c: char| c.is_control() || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}');
        let read = config::parse("probe.yml", &file);
        prop_assert!(read.is_err() || valid, "{:?}", read);
        prop_assert!(read.is_ok() || !valid || file.contains(foreign), "{:?}", read);
        if let Ok(config) = read {
            for (target, name) in config.targets.iter().zip(&names) {
                prop_assert_eq!(&target.name, name);
                prop_assert_eq!(&target.labels, &labels);
            }
            reads_back(&config)?;
        }
    }

    #[test]
    fn any_text_is_accepted_or_has_problems_within_it(text in r"(?s).{0,60}") {
        check_problems(&text)?;
    }

    #[test]
    fn yaml_like_text_is_accepted_or_has_problems_within_it(text in yaml_like()) {
        check_problems(&text)?;
    }

    #[test]
    fn a_changed_file_is_accepted_or_has_problems_within_it(
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
