//! The page of the responder: where it listens, and its impairments.

use std::io;
use std::net::SocketAddr;

use askama::Template;

use super::frame::{Frame, write};

#[derive(Debug, Template)]
#[template(path = "responder.html", config = "src/web/templates/askama.toml")]
struct ResponderPage<'a> {
    frame: Frame,
    impairments: String,
    listeners: &'a [SocketAddr],
}

/// Writes the page of the responder.
pub(in crate::web) fn responder(
    listeners: &[SocketAddr],
    impairments: &[String],
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let program = "heartbeat-responder";
    let title = if impairments.is_empty() { String::new() } else { "impaired".to_owned() };
    let frame = Frame { program, root: "".into(), title, links: &["metrics"], live: false };
    write(&ResponderPage { frame, impairments: impairments.join(", "), listeners }, out)
}
