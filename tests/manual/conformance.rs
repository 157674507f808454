//! Compares the tables of requirements in `deploy/docs/stamp-conformance.md` with the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{anchors, code, links, page, table, top};

const CONFORMANCE: &str = "deploy/docs/stamp-conformance.md";

/// Adds the names of the test functions in the Rust files of a folder and the folders below.
fn add_tests_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_tests_in(&path, names);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(path).unwrap();
            names.extend(tests_in(&text).map(str::to_owned));
        }
    }
}

/// The names of the test functions of a Rust file.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]\n").skip(1).filter_map(|rest| {
        let mut lines = rest.lines().map(str::trim_start);
        let function = lines.find(|line| !line.starts_with("#["))?;
        function.strip_prefix("fn ")?.split('(').next()
    })
}

/// Whether a Python file of the repository has a function: `FILE::FUNCTION`.
fn is_function_of_script(name: &str) -> bool {
    name.split_once("::").is_some_and(|(file, function)| {
        let text = fs::read_to_string(top().join(file)).unwrap_or_default();
        text.lines().any(|line| line.starts_with(&format!("def {function}(")))
    })
}

#[test]
fn every_requirement_of_stamp_has_a_test_that_exists_or_a_deviation() {
    let mut known = BTreeSet::new();
    for folder in ["src", "tests"] {
        add_tests_in(&top().join(folder), &mut known);
    }
    let mut wrong = Vec::new();
    let mut deviations = BTreeSet::new();
    let mut count = 0;
    for rfc in ["RFC 8762", "RFC 8972"] {
        for role in ["Session-Sender", "Session-Reflector"] {
            for row in table(CONFORMANCE, &format!("{rfc}, {role}")) {
                let [section, level, requirement, does, shown] = &row[..] else {
                    panic!("{row:?} has five cells")
                };
                let cells = [section, level, requirement, does];
                let is_whole = cells.iter().all(|cell| !cell.is_empty());
                let tests = code(shown);
                let is_shown = !tests.is_empty()
                    && tests.iter().all(|name| known.contains(name) || is_function_of_script(name));
                let deviation = links(shown).into_iter().find(|link| link.starts_with('#'));
                if !is_whole || is_shown == deviation.is_some() {
                    wrong.push(format!("{rfc} section {section}: {requirement}: {shown}"));
                }
                deviations.extend(deviation);
                count += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "no test that exists, and no deviation:\n{}", wrong.join("\n"));
    assert!(count > 50, "{count} requirements were found");

    let (_, reasons) = page(CONFORMANCE).split_once("\n## Deviations\n").unwrap();
    let reasons = anchors(reasons).into_iter().map(|anchor| format!("#{anchor}")).collect();
    assert_eq!(deviations, reasons);
}

#[test]
fn names_of_tests_are_read_from_their_files() {
    let text =
        "#[test]\nfn one() {}\nfn no() {}\n    #[test]\n    #[ignore]\n    fn two(x: u8) {}\n";
    assert_eq!(tests_in(text).collect::<Vec<_>>(), ["one", "two"]);
    assert!(is_function_of_script("tests/programs.py::wait_for"));
    assert!(!is_function_of_script("tests/programs.py::wait"));
    assert!(!is_function_of_script("tests/no.py::wait_for"));
}
