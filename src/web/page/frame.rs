//! Parts that all pages share: the frame around their contents, links to targets, and writing them.

use std::borrow::Cow;
use std::io;

use askama::Template;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The characters of a target's name that stay in a path (RFC 3986 section 2.3: unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The frame around the contents of a page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) program: &'static str,
    /// The prefix of relative paths that leads from the page to the start page.
    pub(super) root: Cow<'static, str>,
    /// Empty for the title of the program alone.
    pub(super) title: String,
    pub(super) links: &'static [&'static str],
    /// Whether the page updates itself.
    pub(super) live: bool,
}

impl Frame {
    /// The frame of a page of the probe.
    pub(super) fn probe(root: &'static str, title: String) -> Self {
        let links = &["metrics", "api/v1/targets"];
        Self { program: "heartbeat-probe", root: root.into(), title, links, live: true }
    }

    pub(super) fn home(&self) -> &str {
        if self.root.is_empty() { "./" } else { &self.root }
    }

    #[expect(clippy::unused_self, reason = "templates call methods")]
    pub(super) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// Writes a page in one piece.
pub(super) fn write(page: &impl Template, out: &mut dyn io::Write) -> io::Result<()> {
    let page = page.render().map_err(io::Error::other)?;
    out.write_all(page.as_bytes())
}

/// The path of a target's page from the start page.
pub(super) fn href(name: &str) -> String {
    format!("targets/{}", utf8_percent_encode(name, SEGMENT))
}
