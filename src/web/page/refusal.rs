//! The page that a browser shows instead of a page that is refused, such as an unknown one.

use std::io;

use askama::Template;

use super::frame::{Frame, write};

#[derive(Debug, Template)]
#[template(path = "refusal.html", config = "src/web/templates/askama.toml")]
struct RefusalPage<'a> {
    frame: Frame,
    message: &'a str,
}

/// Writes the page about the request for `path`, which `program` refuses with `status`.
pub(in crate::web) fn refusal(
    program: &'static str,
    path: &str,
    status: &str,
    message: &str,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let root = "../".repeat(path.matches('/').count().saturating_sub(1)).into();
    let frame = Frame { program, root, title: status.to_owned(), links: &["metrics"], live: false };
    write(&RefusalPage { frame, message }, out)
}
