//! The pages for people: what is known enters, HTML documents leave.
//!
//! Nothing is loaded from elsewhere, links are relative (the pages may stand behind a proxy under
//! another path), and every name that was configured is escaped. Each page is whole without its
//! script, which fetches the same page again and again and brings what is shown up to date.

mod graph;
mod list;
mod target;
mod text;

use std::io::{self, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::observe::ResponderStatus;
use text::Escaped;

pub(super) use list::List;
pub(super) use target::target;

/// What a name of a target may keep in a path (RFC 3986 section 2.3: unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The page of the responder.
pub(super) fn responder(status: &ResponderStatus, out: &mut dyn Write) -> io::Result<()> {
    shell(out, "heartbeat-responder", "", "heartbeat-responder", &["metrics"], false)?;
    out.write_all(b"<p class=lead>Answers UDP heartbeats, so that a probe can tell that this host is alive.</p>")?;
    if !status.impairments.is_empty() {
        let impairments = status.impairments.join(", ");
        notice(out, &format!("Answers badly, on purpose: {impairments}."))?;
    }
    out.write_all(b"<table><thead><tr><th scope=col>Listens on<tbody>")?;
    for listener in &status.listeners {
        write!(out, "<tr><td>{listener}")?;
    }
    out.write_all(b"</table>")?;
    close(out)
}

/// The path of a target's page; `root` leads to the list.
fn href(root: &str, name: &str) -> String {
    format!("{root}targets/{}", utf8_percent_encode(name, SEGMENT))
}

/// Everything up to the contents of a page of the probe; `root` leads to the list.
fn open(out: &mut dyn Write, root: &str, title: &str) -> io::Result<()> {
    shell(out, "heartbeat-probe", root, title, &["metrics", "api/v1/targets"], true)
}

/// Everything up to a page's contents; one that is `live` brings itself up to date.
fn shell(
    out: &mut dyn Write,
    program: &str,
    root: &str,
    title: &str,
    links: &[&str],
    live: bool,
) -> io::Result<()> {
    write!(
        out,
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\
         <meta name=color-scheme content=\"light dark\"><meta name=referrer content=no-referrer>\
         <link rel=icon href=\"data:,\"><link rel=stylesheet href=\"{root}assets/style.css\">\
         <title>{} · {program}</title>",
        Escaped(title)
    )?;
    if live {
        write!(
            out,
            "<script src=\"{root}assets/live.js\" defer></script>\
             <noscript><meta http-equiv=refresh content=5></noscript>"
        )?;
    }
    write!(
        out,
        "</head><body><header><h1><a href=\"{}\">{program}</a></h1><span>{}</span>\
         <nav aria-label=Elsewhere>",
        if root.is_empty() { "./" } else { root },
        env!("CARGO_PKG_VERSION")
    )?;
    for path in links {
        write!(out, "<a href=\"{root}{path}\">/{path}</a> ")?;
    }
    out.write_all(b"</nav></header><p id=stale role=alert hidden></p><main id=live>")
}

fn close(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"</main></body></html>\n")
}

fn notice(out: &mut dyn Write, text: &str) -> io::Result<()> {
    write!(out, "<p class=notice>{}</p>", Escaped(text))
}

#[cfg(test)]
mod tests;
