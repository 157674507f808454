//! Problems of a configuration file, in a format that editors can jump to.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::place::{At, LineColumn, Path, Places};

/// How many problems of a file are reported. The rest are only counted.
pub(super) const MAX_PROBLEMS: usize = 100;

/// The most characters of a path or a message. Longer ones lose their middle.
const MAX_LENGTH: usize = 400;

/// A problem of a configuration file.
///
/// Displayed as `FILE:LINE:COLUMN: path: message`, or `FILE: message` without a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the file, as it was given.
    pub file: Arc<str>,
    /// The place of the last step of the path: the key of an entry, or an item of a list. `None` if
    /// the file cannot be read.
    pub place: Option<LineColumn>,
    /// The path of the value, such as `targets[1].labels.site`; `file` for the whole file.
    pub path: String,
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
}

/// The problems of a configuration file, in the order of the file; never empty.
///
/// Displayed as one line for each of the first 100, and a line with the number of the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    first: Vec<Problem>,
    /// How many problems there are in addition to `first`.
    more: usize,
}

/// A problem whose line and column are not known yet.
#[derive(Debug)]
pub(super) struct Finding {
    at: At,
    path: String,
    message: String,
    /// For a duplicate, the place of the first occurrence.
    first: Option<At>,
}

/// Collects problems: keeps the first [`MAX_PROBLEMS`] in the order of the text, and counts all.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kept: Vec<Finding>,
    /// Findings after this place cannot be among the first [`MAX_PROBLEMS`].
    last: Option<At>,
    count: usize,
}

impl Finding {
    /// `message` about the value at `path`.
    pub(super) fn new(path: &Path<'_>, message: impl fmt::Display) -> Self {
        let (at, path) = (path.at(), shortened(path.to_string()));
        Self { at, path, message: shortened(message.to_string()), first: None }
    }

    /// `message` about the whole file, with the place `at`.
    pub(super) fn of_file(at: At, message: impl fmt::Display) -> Self {
        Self::new(&Path::Root { at }, message)
    }

    /// Adds the place of the first occurrence to the message.
    pub(super) fn with_first(self, first: At) -> Self {
        Self { first: Some(first), ..self }
    }
}

impl Findings {
    /// Adds a problem at `at`. `finding` is called only if the problem may be reported.
    pub(super) fn push(&mut self, at: At, finding: impl FnOnce() -> Finding) {
        self.count += 1;
        if self.last.is_some_and(|last| at > last) {
            return;
        }
        self.kept.push(finding());
        if self.kept.len() >= 2 * MAX_PROBLEMS {
            self.sort();
            self.last = self.kept.last().map(|finding| finding.at);
        }
    }

    /// Whether there are no problems.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sorts by place, stably, and keeps the first [`MAX_PROBLEMS`].
    fn sort(&mut self) {
        self.kept.sort_by_key(|finding| finding.at);
        self.kept.truncate(MAX_PROBLEMS);
    }
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Self { kept: vec![finding], last: None, count: 1 }
    }
}

impl Problems {
    /// The one problem of a file whose text could not be read.
    pub(super) fn of_file(file: &str, message: String) -> Self {
        let (file, path) = (file.into(), "file".to_owned());
        Self { first: vec![Problem { file, place: None, path, message }], more: 0 }
    }

    /// Finds the lines and columns of the findings in `text`.
    pub(super) fn locate(file: &str, text: &str, mut findings: Findings) -> Self {
        findings.sort();
        let Findings { kept, count, .. } = findings;
        let file: Arc<str> = file.into();
        let wanted = kept.iter().flat_map(|finding| [Some(finding.at), finding.first]);
        let places = Places::of(text, wanted.flatten());
        let problem = |finding: Finding| {
            let Finding { at, path, mut message, first } = finding;
            let place = places.get(at);
            if let Some(first) = first.map(|first| places.get(first)) {
                let same_line = first.line == place.line;
                let (unit, number) =
                    if same_line { ("column", first.column) } else { ("line", first.line) };
                message = format!("{message} (also at {unit} {number})");
            }
            let file = Arc::clone(&file);
            Problem { file, place: Some(place), path, message }
        };
        let first: Vec<_> = kept.into_iter().map(problem).collect();
        Self { more: count - first.len(), first }
    }

    /// The first 100 problems, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.first.iter()
    }

    /// The number of all problems.
    #[must_use]
    pub fn count(&self) -> usize {
        self.first.len() + self.more
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, path, message } = self;
        match place {
            Some(LineColumn { line, column }) => {
                write!(f, "{file}:{line}:{column}: {path}: {message}")
            }
            None => write!(f, "{file}: {message}"),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        match (self.more, self.first.last()) {
            (0, _) | (_, None) => Ok(()),
            (1, Some(Problem { file, .. })) => write!(f, "\n{file}: and 1 more problem"),
            (more, Some(Problem { file, .. })) => write!(f, "\n{file}: and {more} more problems"),
        }
    }
}

impl Error for Problem {}

impl Error for Problems {}

/// Replaces the middle of a text that is longer than [`MAX_LENGTH`] by `…`.
fn shortened(text: String) -> String {
    let count = text.chars().count();
    if count <= MAX_LENGTH {
        return text;
    }
    let half = (MAX_LENGTH - 1) / 2;
    let begin = text.chars().take(half);
    begin.chain(['…']).chain(text.chars().skip(count - half)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(octets: usize, message: &str) -> Finding {
        Finding::of_file(At::new(octets), message)
    }

    #[test]
    fn the_first_problems_by_place_are_kept_and_all_are_counted() {
        let text = "x".repeat(1000);
        let mut findings = Findings::default();
        // They are found in another order than that of the text.
        let mut made = 0;
        for number in 0..1000 {
            let octets = (number * 7) % 1000;
            findings.push(At::new(octets), || {
                made += 1;
                finding(octets, "wrong")
            });
        }
        assert!(made < 1000, "{made} were made");
        let problems = Problems::locate("a.yml", &text, findings);
        let columns: Vec<_> =
            problems.iter().map(|problem| problem.place.unwrap().column).collect();
        assert_eq!(columns, (1..=MAX_PROBLEMS).collect::<Vec<_>>());
        assert_eq!(problems.count(), 1000);
        let shown = problems.to_string();
        assert_eq!(shown.lines().count(), MAX_PROBLEMS + 1);
        assert!(shown.ends_with("\na.yml: and 900 more problems"), "{shown}");
    }

    #[test]
    fn duplicates_name_the_line_or_on_the_same_line_the_column_of_the_first() {
        let message = |text: &str| {
            let second = finding(text.rfind('a').unwrap(), "duplicate key");
            let findings = second.with_first(At::new(text.find('a').unwrap())).into();
            Problems::locate("a.yml", text, findings).to_string()
        };
        assert_eq!(message("\na: 1\na: 2\n"), "a.yml:3:1: file: duplicate key (also at line 2)");
        assert_eq!(message("{a: 1, a: 2}"), "a.yml:1:8: file: duplicate key (also at column 2)");
    }

    #[test]
    fn long_messages_keep_their_beginning_and_their_end() {
        let message = format!("begins {} ends", "ü".repeat(1_000_000));
        let problems = Problems::locate("a.yml", "", finding(0, &message).into());
        let message = &problems.iter().next().unwrap().message;
        assert!(message.starts_with("begins ü") && message.ends_with("ü ends"), "{message}");
        assert!(message.contains("ü…ü") && message.chars().count() < MAX_LENGTH);
    }
}
