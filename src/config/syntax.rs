//! Explains why a text is not YAML: what to write instead, from the parser's error and the line at
//! which it stopped.

use granit_parser::ErrorKind;

/// The octets before the fault, and the message about it. The parser stopped after `octets` octets.
pub(super) fn explained(text: &str, octets: usize, kind: &ErrorKind) -> (usize, String) {
    let line = Line::at(text, octets);
    if let Some(tab) = tab(text, octets, &line, kind) {
        return (tab, "invalid YAML: tab in indentation, use spaces".to_owned());
    }
    let hint = line.hint().or_else(|| hint(kind));
    let message = match hint {
        Some(hint) => format!("invalid YAML: {hint}"),
        None => format!("invalid YAML: {kind}"),
    };
    (octets, message)
}

/// `key: value` of a text without the blank, such as `interval:1s`.
pub(super) fn missing_blank(text: &str) -> Option<String> {
    let (key, rest) = text.split_once(':')?;
    let is_key = |c: char| c.is_ascii_alphabetic() || c == '_';
    let value = rest.split_whitespace().next()?;
    let joined = !rest.starts_with(char::is_whitespace) && !rest.starts_with("//");
    (joined && !key.is_empty() && key.chars().all(is_key))
        .then(|| format!("write `{key}: {value}`, with a space after the colon"))
}

/// `- item` of a text without the blank, such as `-address: x`.
pub(super) fn missing_blank_after_hyphen(text: &str) -> Option<String> {
    let item = text.strip_prefix('-')?.trim_end();
    let begins = item.starts_with(|c: char| c.is_ascii_alphabetic() || "\"'[{".contains(c));
    begins.then(|| format!("write `- {item}`, with a space after the hyphen"))
}

/// The line at which the parser stopped.
struct Line<'t> {
    /// The octets of the text before it.
    begin: usize,
    indentation: &'t str,
    /// The rest, without the blanks around it.
    text: &'t str,
}

impl<'t> Line<'t> {
    fn at(text: &'t str, octets: usize) -> Self {
        let octets = (0..=octets.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
        let (before, after) = text.split_at(octets.unwrap_or(0));
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = before.len() + after.find('\n').unwrap_or(after.len());
        let whole = &text[begin..end];
        let (indentation, _) = whole.split_at(whole.len() - whole.trim_start().len());
        Self { begin, indentation, text: whole.trim() }
    }

    /// What to write instead of the line, if that can be seen from the line alone.
    fn hint(&self) -> Option<String> {
        if let Some(hint) = missing_blank_after_hyphen(self.text) {
            return Some(hint);
        }
        let entry = self.text.strip_prefix("- ").map_or(self.text, str::trim_start);
        missing_blank(entry).or_else(|| {
            let (before, _) = self.text.split_once("]:")?;
            let (before, inside) = before.rsplit_once('[')?;
            let quoted = before.contains(['"', '\'']);
            let is_address = inside.contains(':') && !inside.contains(' ');
            (!quoted && is_address).then(|| {
                format!("put an IPv6 address with a port in quotes, as in \"[{inside}]:12000\"")
            })
        })
    }
}

/// The octets before the tab that is the fault.
fn tab(text: &str, octets: usize, line: &Line<'_>, kind: &ErrorKind) -> Option<usize> {
    if let Some(tab) = line.indentation.find('\t') {
        // The parser stops at the tab, or after it.
        return Some(octets.max(line.begin + tab));
    }
    let is_tab = matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    );
    // The parser may stop at the end of the line before.
    let behind = || text.get(octets..)?.find('\t').map(|tab| octets + tab);
    is_tab.then(|| behind().unwrap_or(octets))
}

/// What to write, from the error alone.
fn hint(kind: &ErrorKind) -> Option<String> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "other errors are clear, or rare")]
    let hint = match kind {
        ErrorKind::SimpleKeyExpected => {
            "must be `key: value`, with a space after the colon".to_owned()
        }
        ErrorKind::MappingValueNotAllowed => {
            "a value that contains \": \" must be in quotes".to_owned()
        }
        ErrorKind::UnexpectedCharacter { character } => {
            format!("a value that begins with {character:?} must be in quotes")
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation => "wrong indentation: begin each key in the column of \
             the keys beside it, and each \"-\" in the column of the other \"-\""
            .to_owned(),
        _ => return None,
    };
    Some(hint)
}
