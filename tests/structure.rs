//! Checks the structure of the project: the layers in `src/lib.rs`, no circular imports between
//! files, the top level of the repository, and the first line and length of every source file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A source file, as a module.
struct Source {
    /// Its path relative to the top of the repository.
    path: String,
    text: String,
    /// The path of its module: `["net", "socket"]` for `src/net/socket.rs`.
    module: Vec<String>,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that git tracks, relative to the top of the repository, in the order of their paths.
/// Without git, as in an unpacked archive: all files except hidden ones and `target`.
fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git").arg("-C").arg(top()).args(["ls-files", "-z"]).output();
    let listed = listed.map_or(Vec::new(), |listed| listed.stdout);
    let names = listed.split(|&octet| octet == 0).filter(|name| !name.is_empty());
    let paths = names.map(|name| PathBuf::from(std::str::from_utf8(name).unwrap()));
    let mut files: Vec<_> = paths.filter(|path| top().join(path).is_file()).collect();
    if files.is_empty() {
        walk(Path::new(""), &mut files);
    }
    files.sort();
    files
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(top().join(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = folder.join(&name);
        if name.starts_with('.') || path == Path::new("target") {
            continue;
        }
        if top().join(&path).is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Every source file of `src`, in the order of their paths.
fn sources() -> Vec<Source> {
    let is_source = |path: &PathBuf| {
        path.starts_with("src") && path.extension().is_some_and(|extension| extension == "rs")
    };
    let sources: Vec<_> =
        tracked().iter().filter(|path| is_source(path)).map(Source::read).collect();
    assert!(sources.len() > 50, "only {} source files found", sources.len());
    sources
}

impl Source {
    fn read(path: &PathBuf) -> Self {
        let inside = path.strip_prefix("src").unwrap().with_extension("");
        let mut module: Vec<String> =
            inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        Self {
            path: path.to_str().unwrap().to_owned(),
            text: fs::read_to_string(top().join(path)).unwrap(),
            module,
        }
    }

    /// Whether the file contains only tests.
    fn is_test(&self) -> bool {
        self.module.last().is_some_and(|name| name == "tests")
    }

    /// The top-level module that it belongs to; `None` for `lib.rs`.
    fn layer(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }
}

/// The lines of the program, without comments and test code.
///
/// Relies on rustfmt: an item ends on its first line, or with a closing bracket of the same
/// indentation.
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

/// The words and signs of a program: `crate`, `::`, `{`, …
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

/// The top-level modules that the program of `module` names by `crate::X`, by `super::…::X`, or by
/// the name of the crate.
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

/// The first word of a path, or of each path in a group in braces.
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

/// The layers of the map from the top down, each with its modules.
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

/// The modules that a program names although they are not below its own layer.
fn violations(program: &str, module: &[String], layers: &[Vec<String>]) -> Vec<String> {
    let line = |name: &str| layers.iter().position(|line| line.iter().any(|word| word == name));
    let layer = module[0].as_str();
    // `bin` and `cli` share the top layer, since the binaries are crates on top of `cli`.
    let allowed = |name: &str| name == layer || (layer == "bin" && name == "cli");
    named(program, module)
        .into_iter()
        .filter(|name| line(name).is_some_and(|other| other <= line(layer).unwrap()))
        .filter(|name| !allowed(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn imports_go_to_lower_layers_only() {
    let sources = sources();
    let modules: BTreeSet<_> = sources.iter().filter_map(Source::layer).collect();
    let map = fs::read_to_string(top().join("src/lib.rs")).unwrap();
    let layers = layers(&map, &modules);
    let drawn: BTreeSet<_> = layers.iter().flatten().map(String::as_str).collect();
    assert_eq!(drawn, modules, "the map shows every module");
    assert_eq!(layers.iter().flatten().count(), modules.len(), "the map shows each module once");

    let mut below = 0;
    for source in sources.iter().filter(|source| source.layer().is_some() && !source.is_test()) {
        let program = program(&source.text);
        let violations = violations(&program, &source.module, &layers);
        assert!(violations.is_empty(), "{} imports {violations:?}", source.path);
        below += named(&program, &source.module).len();
    }
    assert!(below > 100, "{below} imports were found");
}

/// A name that a `use` declaration brings in.
#[derive(Debug, PartialEq)]
struct Use<'a> {
    /// The path, which ends with the original name.
    path: Vec<&'a str>,
    /// The name after `as`, or the original name.
    name: &'a str,
    is_public: bool,
}

/// The `use` declarations of a program, and all its other tokens.
fn split_uses(program: &str) -> (Vec<Use<'_>>, Vec<&str>) {
    let tokens = tokens(program);
    let (mut uses, mut others) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map(|before| tokens[before]);
        let begins = matches!(before, None | Some(";" | "{" | "}" | "]" | ")" | "pub"));
        if tokens[at] == "use" && begins {
            let is_public = matches!(before, Some(")" | "pub"));
            at = read_use(&tokens, at + 1, &[], is_public, &mut uses);
        } else {
            others.push(tokens[at]);
        }
        at += 1;
    }
    (uses, others)
}

/// Reads one tree of a `use` declaration after `prefix`, and returns the index of its end.
fn read_use<'a>(
    tokens: &[&'a str],
    mut at: usize,
    prefix: &[&'a str],
    is_public: bool,
    uses: &mut Vec<Use<'a>>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut name = None;
    while let Some(&token) = tokens.get(at) {
        match token {
            "::" => {}
            "{" => {
                while tokens.get(at) != Some(&"}") {
                    at = read_use(tokens, at + 1, &path, is_public, uses);
                }
                path.clear();
            }
            "as" => name = tokens.get(at + 1).copied(),
            "," | "}" | ";" => break,
            word if name.is_none() => path.push(word),
            _ => {}
        }
        at += 1;
    }
    if path.last() == Some(&"self") {
        path.pop();
    }
    if path.len() > prefix.len()
        && let Some(name) = name.or(path.last().copied())
    {
        uses.push(Use { path, name, is_public });
    }
    at
}

/// The imports between the files and subfolders of one folder, by their names. The folder's own
/// file is `mod`.
type Room = BTreeMap<String, BTreeSet<String>>;

/// The `mod.rs` of one folder.
#[derive(Default)]
struct Facade<'a> {
    /// The other files and the subfolders.
    children: BTreeSet<&'a str>,
    /// The names that it imports from its children, each with the child that it comes from.
    taken: BTreeMap<&'a str, &'a str>,
    /// The children that it uses itself. A `pub use` alone is not a use.
    uses: BTreeSet<&'a str>,
}

impl<'a> Facade<'a> {
    fn new(program: &'a str, children: BTreeSet<&'a str>) -> Self {
        let (declared, others) = split_uses(program);
        let mut facade = Self { children, ..Self::default() };
        for Use { path, name, is_public } in declared {
            let path = path.strip_prefix(&["self"]).unwrap_or(&path);
            let Some(child) = path.first().and_then(|child| facade.children.get(child)) else {
                continue;
            };
            facade.taken.insert(name, child);
            if !is_public || others.contains(&name) {
                facade.uses.insert(child);
            }
        }
        for (at, token) in others.iter().enumerate() {
            let begins =
                at == 0 || others[at - 1] != "::" || others[..at].ends_with(&["self", "::"]);
            if let Some(child) = facade.children.get(token)
                && begins
                && others.get(at + 1) == Some(&"::")
            {
                facade.uses.insert(child);
            }
        }
        facade
    }

    /// The file that `super::name` comes from, for a file of the folder.
    fn origin(&self, name: &'a str) -> &'a str {
        let is_child = self.children.contains(name);
        if is_child { name } else { self.taken.get(name).copied().unwrap_or("mod") }
    }
}

/// The rooms of all folders, from the modules and their programs.
fn rooms(programs: &[(&[String], String)]) -> BTreeMap<Vec<String>, Room> {
    let is_folder = |module: &[String]| {
        programs.iter().any(|(other, _)| other.len() > module.len() && other.starts_with(module))
    };
    let mut facades = BTreeMap::new();
    for (folder, program) in programs.iter().filter(|(module, _)| is_folder(module)) {
        let below = programs
            .iter()
            .filter(|(other, _)| other.len() == folder.len() + 1 && other.starts_with(folder));
        let children = below.filter_map(|(child, _)| child.last()).map(String::as_str).collect();
        facades.insert(*folder, Facade::new(program, children));
    }
    let mut rooms: BTreeMap<Vec<String>, Room> = BTreeMap::new();
    for (folder, facade) in &facades {
        let uses = facade.uses.iter().map(|&child| child.to_owned()).collect();
        rooms.entry(folder.to_vec()).or_default().insert("mod".to_owned(), uses);
    }
    for (module, program) in programs {
        for (up, name) in above(program) {
            let Some(level) = module.len().checked_sub(up).filter(|&level| level > 0) else {
                continue;
            };
            let (folder, node) = (&module[..level], &module[level]);
            let Some(facade) = facades.get(folder) else { continue };
            let imports =
                rooms.entry(folder.to_vec()).or_default().entry(node.clone()).or_default();
            imports.insert(facade.origin(name).to_owned());
            // A folder may name its own parts through its parent.
            imports.remove(node);
        }
    }
    rooms
}

/// The names `super::…::X` in a program: the number of levels, and X.
fn above(program: &str) -> BTreeSet<(usize, &str)> {
    let tokens = tokens(program);
    let mut above = BTreeSet::new();
    for at in 0..tokens.len() {
        let continues = at > 0 && tokens[at - 1] == "::";
        let up = tokens[at..].chunks(2).take_while(|pair| *pair == ["super", "::"]).count();
        if !continues && up > 0 {
            let mut names = BTreeSet::new();
            heads(&tokens[at + 2 * up..], &mut names);
            above.extend(names.into_iter().map(|name| (up, name)));
        }
    }
    above
}

/// The files of a room that `from` imports, directly or indirectly.
fn reached<'a>(room: &'a Room, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        let imports = room.get(node).into_iter().flatten();
        open.extend(imports.map(String::as_str).filter(|&import| reached.insert(import)));
    }
    reached
}

/// The files of a room, except `mod`, that import themselves indirectly.
fn circles(room: &Room) -> Vec<&str> {
    let others: Room = room
        .iter()
        .filter(|(node, _)| *node != "mod")
        .map(|(node, imports)| (node.clone(), imports - &BTreeSet::from(["mod".to_owned()])))
        .collect();
    let is_circle = |node: &&str| reached(&others, node).contains(node);
    room.keys().map(String::as_str).filter(is_circle).collect()
}

/// The files of a room that use definitions in `mod` although `mod` uses the files, directly or
/// indirectly, so that neither can be read first.
fn entangled(room: &Room) -> Vec<&str> {
    let used = reached(room, "mod");
    let is_entangled = |(node, imports): &(&String, &BTreeSet<String>)| {
        used.contains(node.as_str()) && imports.contains("mod")
    };
    room.iter().filter(is_entangled).map(|(node, _)| node.as_str()).collect()
}

#[test]
fn files_of_a_folder_have_no_circular_imports() {
    let sources = sources();
    let programs: Vec<_> = sources
        .iter()
        .filter(|source| !source.is_test() && !source.module.is_empty())
        .map(|source| (source.module.as_slice(), program(&source.text)))
        .collect();
    let rooms = rooms(&programs);
    let imports = rooms.values().flat_map(Room::values).map(BTreeSet::len).sum::<usize>();
    assert!(imports > 100, "{imports} imports were found");
    assert_eq!(listed(&rooms, circles), [""; 0]);
    assert_eq!(listed(&rooms, entangled), [""; 0]);
}

/// The files that `find` finds in any folder.
fn listed(rooms: &BTreeMap<Vec<String>, Room>, find: fn(&Room) -> Vec<&str>) -> Vec<String> {
    let in_folder = |(folder, room): (&Vec<String>, _)| -> Vec<String> {
        find(room).iter().map(|file| format!("{}/{file}", folder.join("/"))).collect()
    };
    rooms.iter().flat_map(in_folder).collect()
}

#[test]
fn circular_imports_are_found() {
    let room = |files: &[(&str, &str)]| -> Room {
        let module = |name: &str| -> Vec<String> {
            name.split("::").filter(|part| *part != "mod").map(str::to_owned).collect()
        };
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (module(&format!("f::{name}")), program(text)))
            .collect();
        let programs: Vec<_> =
            files.iter().map(|(module, program)| (module.as_slice(), program.clone())).collect();
        rooms(&programs).remove(&["f".to_owned()][..]).unwrap_or_default()
    };
    let facade = ("mod", "mod a; mod b; mod c; mod d;");
    let circle = |files: &[(&str, &str)]| circles(&room(&[&[facade], files].concat())).join(" ");
    assert_eq!(circle(&[("a", "use super::b::B;"), ("b", "use super::c;"), ("c", "")]), "");
    // In a group, in a path, and through a third file, but not in the middle of a path.
    let bent = [("a", "use super::{b::B, d};"), ("b", "fn f() { super::c::g() }"), ("d", "")];
    assert_eq!(circle(&[&bent[..], &[("c", "use super::a;")]].concat()), "a b c");
    assert_eq!(circle(&[&bent[..], &[("c", "use super::super::a;")]].concat()), "");
    // From a file in a subfolder.
    let inside = [("c", "mod e;"), ("c::e", "use super::super::a;")];
    assert_eq!(circle(&[&bent[..], &inside[..]].concat()), "a b c");
    // Through a name that `mod` re-exports.
    let handed =
        [("mod", "mod a; mod b; pub use b::B;"), ("a", "use super::B;"), ("b", "use super::a;")];
    assert_eq!(circles(&room(&handed)), ["a", "b"]);

    let tangle = |facade: &str, a: &str, b: &str| {
        entangled(&room(&[("mod", facade), ("a", a), ("b", b)])).join(" ")
    };
    let define = "mod a; mod b; pub struct S;";
    // A re-export in `mod` is not a use.
    assert_eq!(tangle(&format!("{define} pub use a::A;"), "use super::S;", ""), "");
    for uses in [
        "use a::A;",
        "pub use a::A; fn f(_: A) {}",
        "fn f() { a::g() }",
        "pub use {self::a::{B as C, A}}; const X: A;",
    ] {
        assert_eq!(tangle(&format!("{define} {uses}"), "use super::S;", ""), "a", "{uses}");
        assert_eq!(tangle(&format!("{define} {uses}"), "fn f() -> super::S {}", ""), "a", "{uses}");
        assert_eq!(tangle(&format!("{define} {uses}"), "use super::b;", "use super::S;"), "b");
        assert_eq!(tangle(&format!("{define} {uses}"), "", "use super::S;"), "");
    }
}

#[test]
fn imports_that_violate_the_layers_are_found() {
    let layers = [vec!["bin", "cli"], vec!["probe", "web"], vec!["net"], vec!["model"]]
        .map(|line| line.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let caught = |text: &str, module: &str| {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        violations(&program(text), &module, &layers).join(" ")
    };
    // Upwards, within a layer, in a group, in a path, by `super`, by the name of the crate.
    assert_eq!(caught("use crate::probe::Probe;", "net"), "probe");
    assert_eq!(caught("use crate::web;", "probe::worker"), "web");
    assert_eq!(caught("use crate::{model::{Mono, cli}, web::{serve}, net};", "probe"), "web");
    assert_eq!(caught("fn f() { crate::cli::failed() }", "web"), "cli");
    assert_eq!(caught("use super::super::super::cli;", "net::batch::mmsg"), "cli");
    assert_eq!(caught("use super::web;", "probe"), "web");
    assert_eq!(caught("use udp_heartbeat::cli;", "net"), "cli");
    // No violation: downwards, within a module, in comments, in tests.
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
    // The lines after test code are checked.
    for tests in [tests, helper, "#[cfg(test)]\nmod tests;\n"] {
        assert_eq!(caught(&format!("{tests}use crate::cli;"), "net"), "cli");
    }
}

#[test]
fn the_top_level_has_only_known_entries() {
    let required = ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE", "src", "tests"];
    let allowed = ["deploy", "dashboards"];
    let tracked = tracked();
    let names: BTreeSet<&str> =
        tracked.iter().filter_map(|path| path.iter().next()?.to_str()).collect();
    for name in required {
        assert!(names.contains(name), "{name} is missing");
    }
    for name in names.into_iter().filter(|name| !name.starts_with('.')) {
        assert!(required.contains(&name) || allowed.contains(&name), "{name} is not allowed here");
    }
}

#[test]
fn every_source_file_has_a_module_comment_and_at_most_600_lines() {
    for Source { path, text, .. } in sources() {
        assert!(text.starts_with("//! "), "{path} does not begin with a module comment");
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
