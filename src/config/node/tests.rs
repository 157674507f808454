//! The trees that texts are read into, and the limits on hostile texts.

use std::fmt::Write as _;

use super::super::place::LineColumn;
use super::super::problem::Problems;
use super::*;

/// The tree as text, without places.
fn shown(node: &Node<'_>) -> String {
    match &node.value {
        Value::List(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        Value::Map(entries) => {
            let entry = |(key, value): &(_, _)| format!("{}: {}", shown(key), shown(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Null => "null".to_owned(),
        Value::Text(text) => format!("{text:?}"),
        Value::Bool(_) | Value::Integer(_) | Value::Float(..) | Value::Tagged(_) => {
            node.to_string()
        }
    }
}

fn tree(text: &str) -> String {
    shown(&read(text).unwrap())
}

/// Line, column and message of the first problem.
fn fault(text: &str) -> String {
    let problems = Problems::locate("", text, read(text).unwrap_err().into());
    let problem = problems.iter().next().unwrap();
    let LineColumn { line, column } = problem.place.unwrap();
    format!("{line}:{column}: {}", problem.message)
}

#[test]
fn values_have_the_types_of_the_core_schema() {
    assert_eq!(
        tree("[~, true, yes, 7, -7, 0x10, 1.5, .inf, 1s, {a: b}]"),
        r#"[null, true, "yes", 7, -7, 16, 1.5, .inf, "1s", {"a": "b"}]"#
    );
    assert_eq!(tree("a:\nb: |\n  1\nc: >-\n  true\n"), r#"{"a": null, "b": "1\n", "c": "true"}"#);
}

#[test]
fn quoted_scalars_are_text() {
    assert_eq!(tree(r#"['7', "true", '', "\0\x41\u00e9"]"#), r#"["7", "true", "", "\0Aé"]"#);
}

#[test]
fn tags_of_the_core_schema_are_applied_and_others_kept() {
    assert_eq!(
        tree("[!!str 7, ! 7, !!int '7', !!float 7, !!null '']"),
        r#"["7", "7", 7, 7, null]"#
    );
    assert_eq!(tree("[!!map {}, !!seq [1]]"), "[{}, [1]]");
    assert_eq!(
        tree("[!secret x, !!int x, !!seq {}, !!binary aGk=]"),
        "[!secret, !!int, !!seq, !!binary]"
    );
}

#[test]
fn duplicate_keys_are_kept() {
    assert_eq!(tree("a: 1\na: 2\n"), r#"{"a": 1, "a": 2}"#);
    assert_eq!(tree("[]: 1\n{}: 2\n"), "{[]: 1, {}: 2}");
}

#[test]
fn every_value_has_its_place() {
    let text = "a: !x &b\n  - é\n  - *b\nc: 1";
    let fault = fault(text);
    assert_eq!(fault, "3:5: alias refers to a value that contains it");
    let text = "# a comment\na: &b [é, 2]\nc: *b\n";
    let root = read(text).unwrap();
    let place = |found: &str| At::new(text.rfind(found).unwrap());
    let [(a, list), (c, alias)] = root.entries().unwrap() else { panic!("two entries") };
    assert_eq!((root.at, a.at, c.at), (place("a: &"), place("a: &"), place("c:")));
    assert_eq!((list.at, alias.at), (place("[é"), place("*b")));
    // Values inside a repeated value keep their places.
    let [first, second] = alias.items().unwrap() else { panic!("two items") };
    assert_eq!((first.at, second.at), (place("é"), place("2]")));
}

#[test]
fn aliases_repeat_values_up_to_a_bound() {
    let repeated = |size: usize| {
        let long = "x".repeat(size);
        format!("- &long {long}\n{}", "- *long\n".repeat(100))
    };
    let text = repeated(1000);
    let root = read(&text).unwrap();
    let items = root.items().unwrap();
    assert_eq!((items.len(), items[100].word().len()), (101, 1000));
    // Aliases may repeat 1 MiB more than the length of the text. The first eleven of these hundred
    // aliases do not exceed this.
    assert_eq!(fault(&repeated(100_000)), "13:3: aliases expand to too much data");

    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for level in 1..25 {
        let last = level - 1;
        writeln!(bomb, "a{level}: &a{level} [*a{last}, *a{last}]").unwrap();
    }
    assert!(fault(&bomb).ends_with(": aliases expand to too much data"), "{}", fault(&bomb));
}

#[test]
fn an_alias_needs_an_anchor_before_it() {
    assert_eq!(fault("a: 1\nb: *c\n"), r#"2:4: unknown anchor "c""#);
    assert_eq!(fault("a: *c\nb: &c 1\n"), r#"1:4: unknown anchor "c""#);
    assert_eq!(fault("&a {b: *a}"), "1:8: alias refers to a value that contains it");
}

#[test]
fn depth_is_bounded_in_every_style() {
    let flow = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let block = |depth: usize| format!("{}x", "- ".repeat(depth));
    let deep = format!("is nested too deeply: more than {MAX_DEPTH} levels");
    read(&flow(MAX_DEPTH)).unwrap();
    read(&block(MAX_DEPTH)).unwrap();
    assert_eq!(fault(&flow(MAX_DEPTH + 1)), format!("1:33: {deep}"));
    assert_eq!(fault(&block(MAX_DEPTH + 1)), format!("1:65: {deep}"));
    let half = MAX_DEPTH / 2;
    let mixed = "- ".repeat(half) + &flow(half + 1);
    assert_eq!(fault(&mixed), format!("1:49: {deep}"));
    // Aliases count as well: each of these lists is one level deeper than the one before.
    let mut chain = "- &a0 []\n".to_owned();
    for level in 1..40 {
        writeln!(chain, "- &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(fault(&chain), format!("32:9: {deep}"));
}

/// How many octets of a text precede the problem at which the parser stops.
fn read_of(text: &str) -> usize {
    let problems = Problems::locate("", text, read(text).unwrap_err().into());
    let problem = problems.iter().next().unwrap();
    let LineColumn { line, column } = problem.place.unwrap();
    let lines: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    lines + column
}

#[test]
fn parsing_stops_at_the_depth_limit() {
    for opening in ["[", "{", "- ", "? ", "[{a: ", "{[", "- [", "a: ["] {
        for begin in ["a: ", "", "\n", "a:\n  b: "] {
            let text = begin.to_owned() + &opening.repeat(20_000);
            let read = read_of(&text);
            assert!(read < 1024, "{begin:?} {opening:?}: {read}");
        }
    }
}

#[test]
fn the_number_of_values_is_bounded() {
    let text = "{a: [1, 2], b: 3}\n";
    read_bounded(text, 7).unwrap();
    let problems = Problems::locate("", text, read_bounded(text, 6).unwrap_err().into());
    assert_eq!(problems.to_string(), ":1:1: file: has more than 6 values");
    // An alias counts as one value, since it shares the memory of the value that it repeats.
    read_bounded("[&a [1, 2, 3], *a, *a]", 7).unwrap();
}

#[test]
fn a_file_is_one_document() {
    assert_eq!(tree("---\na: 1\n...\n"), r#"{"a": 1}"#);
    assert_eq!(fault("a: 1\n---\nb: 2\n"), "2:1: must be one document; a second one begins here");
    for text in ["", "\n", "# nothing\n", "---\n", "~", "null\n"] {
        assert_eq!(fault(text), "1:1: is empty", "{text:?}");
    }
}

#[test]
fn invalid_yaml_is_reported() {
    let wrong = [
        ("a: {b: 1\nc: 2}", "2:2: invalid YAML: "),
        ("a:\n\tb: 1\n", "2:2: invalid YAML: tab in indentation, use spaces"),
        ("a: 'b", "1:4: invalid YAML: unclosed quote"),
        ("a: \u{0}", "1:4: invalid YAML: "),
        ("a: [1", "1:4: invalid YAML: unclosed bracket '['"),
        ("a: b: c", "1:5: invalid YAML: "),
        ("a: 1\n\u{feff}b: 2", "2:1: invalid YAML: "),
        ("%YAML 2.0\n---\na: 1", "1:1: invalid YAML: "),
    ];
    let others: Vec<_> = wrong
        .into_iter()
        .filter(|(text, message)| !fault(text).starts_with(message))
        .map(|(text, _)| format!("{text:?}: {}", fault(text)))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}
