//! The shape of the project, held: the layers of `src/lib.rs`'s map, the top level of the
//! repository, and what every source file has.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A source file, as a module.
struct Source {
    /// Its path from the top of the repository.
    path: String,
    text: String,
    /// Where its module stands: `["net", "socket"]` for `src/net/socket.rs`.
    module: Vec<String>,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of `src` but the map itself, in the order of their paths.
fn sources() -> Vec<Source> {
    let mut folders = vec![top().join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let sources: Vec<_> = files.iter().map(|path| Source::read(path)).collect();
    assert!(sources.len() > 50, "src is not where it was");
    sources
}

impl Source {
    fn read(path: &Path) -> Self {
        let relative = path.strip_prefix(top()).unwrap();
        let inside = relative.strip_prefix("src").unwrap().with_extension("");
        let mut module: Vec<String> =
            inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        Self {
            path: relative.to_str().unwrap().to_owned(),
            text: fs::read_to_string(path).unwrap(),
            module,
        }
    }

    /// A file that holds tests alone.
    fn is_test(&self) -> bool {
        self.module.last().is_some_and(|name| name == "tests")
    }

    /// The module of the crate's top level that it belongs to; none for the map itself.
    fn layer(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }
}

/// The lines of the program: no comments, and nothing that is compiled for tests alone.
///
/// Relies on rustfmt: an item ends on the line that it began on, or with a closing bracket as far
/// to the right as it began.
fn program(text: &str) -> String {
    let mut program = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            let code = line.trim_start();
            if !code.starts_with("//") {
                program.push_str(line);
                program.push('\n');
            }
            continue;
        }
        let margin = line.len() - line.trim_start().len();
        for line in lines.by_ref() {
            let is_outermost = line.len() - line.trim_start().len() == margin;
            let is_attribute = line.trim_start().starts_with("#[");
            let ends = line.ends_with(';') || line.ends_with('}');
            if is_outermost && ends && !is_attribute {
                break;
            }
        }
    }
    program
}

/// Words and signs of a program: `crate`, `::`, `{`, …
fn tokens(program: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = program.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(length);
        tokens.push(token);
        rest = behind.trim_start();
    }
    tokens
}

/// The modules of the crate's top level that a program names, from the module that it stands in:
/// by `crate::X`, by `super::…::X`, or by the crate's own name.
fn named<'a>(program: &'a str, module: &[String]) -> BTreeSet<&'a str> {
    let tokens = tokens(program);
    let mut named = BTreeSet::new();
    for at in 0..tokens.len() {
        let continues = at > 0 && tokens[at - 1] == "::";
        let supers = tokens[at..].chunks(2).take_while(|pair| *pair == ["super", "::"]).count();
        let root = match tokens[at] {
            _ if continues => continue,
            "crate" | "udp_heartbeat" => 1,
            "super" if supers == module.len() && supers > 0 => 2 * supers - 1,
            _ => continue,
        };
        if tokens.get(at + root) == Some(&"::") {
            heads(&tokens[at + root + 1..], &mut named);
        }
    }
    named
}

/// The first words of a path: one, or all of a group in braces.
fn heads<'a>(tokens: &[&'a str], heads: &mut BTreeSet<&'a str>) {
    match tokens {
        ["{", group @ ..] => {
            let mut depth = 0;
            let mut is_head = true;
            for token in group {
                match *token {
                    "}" if depth == 0 => return,
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    "," => is_head = depth == 0,
                    word if is_head => {
                        heads.insert(word);
                        is_head = false;
                    }
                    _ => {}
                }
            }
        }
        [word, ..] => {
            heads.insert(word);
        }
        [] => {}
    }
}

/// The lines of the map, from the top down, each with the modules that stand in it.
fn layers(map: &str, modules: &BTreeSet<&str>) -> Vec<Vec<String>> {
    let (_, section) = map.split_once("//! # Layers").unwrap();
    let drawing = section.split("```").nth(1).unwrap();
    drawing
        .lines()
        .skip(1)
        .filter_map(|line| line.strip_prefix("//! "))
        .map(|line| {
            let words = line.split("  ").map(str::trim).filter(|word| !word.is_empty());
            words.take_while(|word| modules.contains(word)).map(str::to_owned).collect()
        })
        .collect()
}

/// What in a module of `layer` is not below it.
fn violations(program: &str, module: &[String], layers: &[Vec<String>]) -> Vec<String> {
    let line = |name: &str| layers.iter().position(|line| line.iter().any(|word| word == name));
    let layer = module[0].as_str();
    // Both stand in the uppermost line: the binaries are crates of their own, on top of `cli`.
    let allowed = |name: &str| name == layer || (layer == "bin" && name == "cli");
    named(program, module)
        .into_iter()
        .filter(|name| line(name).is_some_and(|other| other <= line(layer).unwrap()))
        .filter(|name| !allowed(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn imports_go_downwards_only_and_none_within_a_line() {
    let sources = sources();
    let modules: BTreeSet<_> = sources.iter().filter_map(Source::layer).collect();
    let map = fs::read_to_string(top().join("src/lib.rs")).unwrap();
    let layers = layers(&map, &modules);
    let drawn: BTreeSet<_> = layers.iter().flatten().map(String::as_str).collect();
    assert_eq!(drawn, modules, "the map shows what there is");
    assert_eq!(layers.iter().flatten().count(), modules.len(), "and each once");

    let mut below = 0;
    for source in sources.iter().filter(|source| source.layer().is_some() && !source.is_test()) {
        let program = program(&source.text);
        let violations = violations(&program, &source.module, &layers);
        assert!(violations.is_empty(), "{} imports {violations:?}", source.path);
        below += named(&program, &source.module).len();
    }
    assert!(below > 100, "{below} imports were found");
}

/// The modules beside it that a program names, by `super::X`.
fn beside(program: &str) -> BTreeSet<&str> {
    let tokens = tokens(program);
    let mut beside = BTreeSet::new();
    for at in 0..tokens.len() {
        let continues = at > 0 && tokens[at - 1] == "::";
        if !continues && tokens[at..].starts_with(&["super", "::"]) {
            heads(&tokens[at + 2..], &mut beside);
        }
    }
    beside
}

/// Those of a room's modules that import each other in a circle, or one that does: each comes with
/// the names that it imports.
fn circles<'a>(mut room: BTreeMap<&'a str, BTreeSet<&str>>) -> Vec<&'a str> {
    loop {
        let left: BTreeSet<_> = room.keys().copied().collect();
        // Whoever needs nobody that is left can be read.
        room.retain(|_, imports| imports.iter().any(|name| left.contains(name)));
        if room.len() == left.len() {
            return room.into_keys().collect();
        }
    }
}

#[test]
fn no_files_of_one_folder_import_each_other_in_a_circle() {
    let sources = sources();
    let programs: Vec<_> = sources
        .iter()
        .filter(|source| !source.is_test() && !source.path.ends_with("mod.rs"))
        .filter_map(|source| Some((source.module.split_last()?, program(&source.text))))
        .collect();
    let mut rooms: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for ((name, folder), program) in &programs {
        rooms.entry(folder).or_default().insert(name.as_str(), beside(program));
    }
    let imports = rooms.values().flat_map(BTreeMap::values).map(BTreeSet::len).sum::<usize>();
    assert!(imports > 100, "{imports} imports were found");
    for (folder, room) in rooms {
        let circles = circles(room);
        assert!(circles.is_empty(), "src/{}: {circles:?}", folder.join("/"));
    }
}

#[test]
fn a_circle_is_caught() {
    let room = |programs: &[(&'static str, &'static str)]| -> BTreeMap<_, _> {
        programs.iter().map(|&(name, program)| (name, beside(program))).collect()
    };
    let straight = room(&[("a", "use super::b::B;"), ("b", "use super::c;"), ("c", "")]);
    assert_eq!(circles(straight), [""; 0]);
    // In a group, in a path, and through a third; but not by what only continues a path.
    let bent = [("a", "use super::{b::B, d};"), ("b", "fn f() { super::c::g() }")];
    assert_eq!(circles(room(&[&bent[..], &[("c", "use super::a;")]].concat())), ["a", "b", "c"]);
    assert_eq!(circles(room(&[&bent[..], &[("c", "use super::super::a;")]].concat())), [""; 0]);
}

#[test]
fn a_program_that_breaks_the_layers_is_caught() {
    let layers = [vec!["bin", "cli"], vec!["probe", "web"], vec!["net"], vec!["model"]]
        .map(|line| line.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let caught = |text: &str, module: &str| {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        violations(&program(text), &module, &layers).join(" ")
    };
    // Upwards, within a line, in a group, in a path, by `super`, by the crate's name.
    assert_eq!(caught("use crate::probe::Probe;", "net"), "probe");
    assert_eq!(caught("use crate::web;", "probe::worker"), "web");
    assert_eq!(caught("use crate::{model::{Mono, cli}, web::{serve}, net};", "probe"), "web");
    assert_eq!(caught("fn f() { crate::cli::failed() }", "web"), "cli");
    assert_eq!(caught("use super::super::super::cli;", "net::batch::mmsg"), "cli");
    assert_eq!(caught("use super::web;", "probe"), "web");
    assert_eq!(caught("use udp_heartbeat::cli;", "net"), "cli");
    // Downwards, at home, in comments and in tests.
    assert_eq!(caught("use crate::net::{self, cli}; use crate::model;", "probe"), "");
    assert_eq!(caught("use super::cli; use super::super::net;", "probe::worker"), "");
    assert_eq!(caught("use udp_heartbeat::cli;", "bin::probe"), "");
    assert_eq!(caught("use udp_heartbeat::net;", "cli"), "");
    assert_eq!(caught("//! [`crate::probe`]\n/// [`crate::web`]\n", "net"), "");
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::cli;\n    fn f() {}\n}\n";
    assert_eq!(caught(tests, "net"), "");
    let helper =
        "    #[cfg(test)]\n    #[must_use]\n    fn f(&self) {\n        crate::cli::g();\n    }\n";
    assert_eq!(caught(helper, "net"), "");
    // What comes behind tests is a program again.
    for tests in [tests, helper, "#[cfg(test)]\nmod tests;\n"] {
        assert_eq!(caught(&format!("{tests}use crate::cli;"), "net"), "cli");
    }
}

#[test]
fn the_top_level_holds_what_it_may_and_nothing_else() {
    let required = ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE", "src", "tests"];
    let allowed = ["deploy", "dashboards", "target"];
    let entries = fs::read_dir(top()).unwrap();
    let names: BTreeSet<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for name in required {
        assert!(names.contains(name), "{name} is missing");
    }
    for name in names.iter().map(String::as_str).filter(|name| !name.starts_with('.')) {
        assert!(required.contains(&name) || allowed.contains(&name), "{name} has no place here");
    }
}

#[test]
fn every_source_file_says_what_it_is_and_is_not_too_long() {
    for Source { path, text, .. } in sources() {
        assert!(text.starts_with("//! "), "{path} does not begin with what enters and leaves");
        let lines = text.lines().count();
        assert!(lines <= 600, "{path} has {lines} lines");
    }
}

#[test]
fn only_one_file_reads_clocks() {
    let mut readers = Vec::new();
    for source in sources() {
        let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code: String = code.flat_map(|line| [line, "\n"]).collect();
        let reads = ["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now"];
        if reads.iter().any(|read| code.contains(read)) || code.contains("clock_gettime(") {
            readers.push(source.path);
        }
    }
    assert_eq!(readers, ["src/net/clock.rs"]);
}
