//! Finds the selectors and the grouping labels in a `PromQL` query.
//!
//! It reads tokens and does not check the grammar; `promtool` and tests/stack do. Variables of
//! Grafana are read as durations and as parts of strings.

/// The names in a query.
#[derive(Debug, Default)]
pub(crate) struct Query {
    /// Every series selector, in order.
    pub(crate) selectors: Vec<Selector>,
    /// Labels in `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
    pub(crate) grouping: Vec<String>,
    /// Labels that `label_replace` and `label_join` add.
    pub(crate) made: Vec<String>,
}

/// A series selector.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    /// The name of the metric; empty if there is none.
    pub(crate) metric: String,
    /// Label, operator and value of each matcher.
    pub(crate) matchers: Vec<(String, String, String)>,
    /// The range in brackets after it.
    pub(crate) range: Option<String>,
    /// The function whose first argument it is.
    pub(crate) function: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    /// The text inside square brackets.
    Range(String),
    Sign(char),
}

const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "inf", "nan"];

impl Query {
    /// Reads a query.
    pub(crate) fn read(text: &str) -> Self {
        let tokens = tokens(text);
        let mut query = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            at = query.step(&tokens, at);
        }
        query
    }

    /// Reads the part that begins at `at`, and returns the index of the next.
    fn step(&mut self, tokens: &[Token], at: usize) -> usize {
        let next = tokens.get(at + 1);
        match &tokens[at] {
            Token::Word(word) if GROUPING.contains(&word.as_str()) => {
                let Some(Token::Sign('(')) = next else { return at + 1 };
                let end = closing(tokens, at + 1, ')');
                self.grouping.extend(tokens[at + 2..end].iter().filter_map(Token::word));
                end + 1
            }
            // An aggregation with its grouping before its argument.
            Token::Word(_) if next.is_some_and(|next| next.is_one_of(&["by", "without"])) => at + 1,
            // A modifier, such as `@ end()`, is written like a function.
            Token::Word(word) if next == Some(&Token::Sign('(')) => {
                if matches!(word.as_str(), "label_replace" | "label_join") {
                    let end = closing(tokens, at + 1, ')');
                    // The first string after a comma is the new label; strings of matchers follow
                    // an operator.
                    let made = tokens[at..end].windows(2).find_map(|pair| match pair {
                        [Token::Sign(','), Token::Text(text)] => Some(text.clone()),
                        _ => None,
                    });
                    self.made.extend(made);
                }
                at + 1
            }
            Token::Word(word) if OPERATORS.contains(&word.as_str()) || is_number(word) => at + 1,
            Token::Word(word) => self.selector(tokens, at, word.clone()),
            Token::Sign('{') => self.selector(tokens, at, String::new()),
            Token::Text(_) | Token::Range(_) | Token::Sign(_) => at + 1,
        }
    }

    fn selector(&mut self, tokens: &[Token], start: usize, metric: String) -> usize {
        let mut selector = Selector { metric, ..Selector::default() };
        if let [.., Token::Word(function), Token::Sign('(')] = &tokens[..start] {
            selector.function = Some(function.clone());
        }
        let mut at = start + usize::from(!selector.metric.is_empty());
        if tokens.get(at) == Some(&Token::Sign('{')) {
            let end = closing(tokens, at, '}');
            let parts = tokens[at + 1..end].split(|token| *token == Token::Sign(','));
            selector.matchers.extend(parts.filter_map(matcher));
            at = end + 1;
        }
        if let Some(Token::Range(range)) = tokens.get(at) {
            selector.range = Some(range.clone());
            at += 1;
        }
        self.selectors.push(selector);
        at
    }
}

impl Selector {
    /// Whether the selector has exactly this matcher.
    pub(crate) fn matches(&self, label: &str, operator: &str, value: &str) -> bool {
        self.matchers.iter().any(|(l, o, v)| l == label && o == operator && v == value)
    }
}

impl Token {
    fn is_one_of(&self, words: &[&str]) -> bool {
        matches!(self, Self::Word(word) if words.contains(&word.as_str()))
    }

    fn word(&self) -> Option<String> {
        if let Self::Word(word) = self { Some(word.clone()) } else { None }
    }
}

fn matcher(tokens: &[Token]) -> Option<(String, String, String)> {
    let [Token::Word(label), signs @ .., Token::Text(value)] = tokens else { return None };
    let signs = signs.iter().filter_map(|sign| match sign {
        Token::Sign(sign) => Some(*sign),
        Token::Word(_) | Token::Text(_) | Token::Range(_) => None,
    });
    Some((label.clone(), signs.collect(), value.clone()))
}

/// The index of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize, close: char) -> usize {
    let opening = &tokens[open];
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        depth += i32::from(token == opening) - i32::from(*token == Token::Sign(close));
        if depth == 0 {
            return at;
        }
    }
    panic!("no {close} for {opening:?}");
}

/// Numbers and durations: `0.5`, `1e9`, `5m`.
fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit() || first == '.')
}

fn tokens(text: &str) -> Vec<Token> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '$');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if first == '"' || first == '\'' {
            let end = rest[1..].find(first).expect("a string ends");
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if first == '[' {
            let end = rest.find(']').expect("a range ends");
            (Token::Range(rest[1..end].to_owned()), end + 1)
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (Token::Word(rest[..end].to_owned()), end)
        } else {
            (Token::Sign(first), first.len_utf8())
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

#[test]
fn names_are_found() {
    let query = Query::read(
        r#"topk(3, sum by (job, le) (rate(a_total{x="1", y=~"$y|2"}[$__rate_interval] @ end())) / on (job) group_left (z) label_replace(b:c{y="3"}, "host", "$1", "y", "(.+)") > bool 0.5) and {x!="}"} offset 1w"#,
    );
    let selector = |metric: &str| Selector { metric: metric.to_owned(), ..Selector::default() };
    let matcher = |l: &str, o: &str, v: &str| (l.to_owned(), o.to_owned(), v.to_owned());
    let rate = Selector {
        matchers: vec![matcher("x", "=", "1"), matcher("y", "=~", "$y|2")],
        range: Some("$__rate_interval".to_owned()),
        function: Some("rate".to_owned()),
        ..selector("a_total")
    };
    let replaced = Selector {
        matchers: vec![matcher("y", "=", "3")],
        function: Some("label_replace".to_owned()),
        ..selector("b:c")
    };
    let nameless = Selector { matchers: vec![matcher("x", "!=", "}")], ..selector("") };
    assert_eq!(query.selectors, [rate, replaced, nameless]);
    assert_eq!(query.grouping, ["job", "le", "job", "z"]);
    assert_eq!(query.made, ["host"]);
}
