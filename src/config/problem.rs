//! What is wrong with a configuration file, said so that an editor can jump to it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::place::{At, Lines, Outline, Path};

/// One thing that is wrong with a configuration file.
///
/// Displayed as `FILE:LINE:COLUMN: path: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1. A problem stands where the last step of its path is
    /// written: at the key of an entry, at the item of a list.
    pub column: usize,
    /// What it is about, such as `targets[1].labels.site`; `file` for the whole of it.
    pub path: String,
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
}

/// Everything that is wrong with a configuration file, in the order of the file; never empty.
///
/// Displayed as a line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// A problem whose line and column are not known yet.
#[derive(Debug)]
pub(super) struct Finding {
    steps: Vec<usize>,
    path: String,
    message: String,
    /// A second place, whose line ends the message.
    other: Option<Vec<usize>>,
}

impl Finding {
    /// `message` about what is at `path`.
    pub(super) fn new(path: &Path<'_>, message: impl fmt::Display) -> Self {
        let (path, steps) = (path.to_string(), path.steps());
        Self { steps, path, message: message.to_string(), other: None }
    }

    /// Ends the message with the line of another place.
    pub(super) fn with_line_of(self, other: Vec<usize>) -> Self {
        Self { other: Some(other), ..self }
    }
}

impl Problems {
    /// The one problem of a file that cannot be understood at all.
    pub(super) fn of_file(file: &str, (line, column): At, message: String) -> Self {
        Self(vec![Problem {
            file: file.into(),
            line,
            column,
            path: Path::Root.to_string(),
            message,
        }])
    }

    /// Finds where in `text` the findings stand.
    pub(super) fn locate(file: &str, text: &str, findings: Vec<Finding>) -> Self {
        let file: Arc<str> = file.into();
        let (outline, lines) = (Outline::of(text), Lines::of(text));
        let locate = |steps: &[usize]| lines.clamp(outline.locate(steps));
        let problem = |finding: Finding| {
            let Finding { steps, path, mut message, other } = finding;
            if let Some(other) = other {
                message = format!("{message} {}", locate(&other).0);
            }
            let (line, column) = locate(&steps);
            Problem { file: Arc::clone(&file), line, column, path, message }
        };
        let mut problems: Vec<_> = findings.into_iter().map(problem).collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Self(problems)
    }

    /// Each of them, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
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
        let Self { file, line, column, path, message } = self;
        write!(f, "{file}:{line}:{column}: {path}: {message}")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl Error for Problem {}

impl Error for Problems {}
