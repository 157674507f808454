//! Checks a tree of values against the known keys, and returns an [`HttpConfig`] or all problems.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::str::FromStr as _;
use std::time::Duration;

use bcrypt::HashParts;
use hyper::header::{HeaderName, HeaderValue};

use super::files::Files;
use super::levels::{FILE, HEADERS, HTTP, RATE_LIMIT, TLS};
use super::settings::{HttpConfig, RateLimit};
use super::tls;
use crate::config::node::Node;
use crate::config::place::Path;
use crate::config::problem::Findings;
use crate::config::scalars::Span;
use crate::config::values;
use crate::config::walk::Walk;

/// Checks a whole file.
pub(super) fn check(root: &Node<'_>, files: &mut Files) -> Result<HttpConfig, Findings> {
    let mut walk = Walk::new(vec![&FILE, &TLS, &HTTP, &HEADERS, &RATE_LIMIT]);
    let config = whole(&mut walk, &Path::Root { at: root.at }, root, files);
    walk.finish(config.unwrap_or_default())
}

fn whole(
    walk: &mut Walk,
    path: &Path<'_>,
    node: &Node<'_>,
    files: &mut Files,
) -> Option<HttpConfig> {
    let fields = walk.fields(path, node, &FILE)?;
    let mut config = HttpConfig::default();
    let mut http2 = true;
    if let Some((path, node)) = fields.entry(path, "http_server_config")
        && let Some(fields) = walk.fields(&path, node, &HTTP)
    {
        http2 = walk.value(&path, &fields, "http2", tls::boolean).unwrap_or(true);
        if let Some((path, node)) = fields.entry(&path, "headers") {
            config.headers = headers(walk, &path, node);
        }
    }
    if let Some((path, node)) = fields.entry(path, "tls_server_config") {
        config.tls = tls::settings(walk, files, &path, node, http2);
    }
    if let Some((path, node)) = fields.entry(path, "basic_auth_users") {
        config.users = users(walk, &path, node);
    }
    if let Some((path, node)) = fields.entry(path, "rate_limit") {
        config.rate_limit = rate_limit(walk, &path, node);
    }
    Some(config)
}

/// The headers of every answer. One with an empty value is left out.
fn headers(walk: &mut Walk, path: &Path<'_>, node: &Node<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    let Some(fields) = walk.fields(path, node, &HEADERS) else { return headers };
    for &key in &HEADERS.keys {
        let read = |node: &Node<'_>| header(key, values::text(node)?);
        let value = walk.value(path, &fields, key, read).filter(|value| !value.is_empty());
        let name = HeaderName::from_bytes(key.as_bytes());
        headers.extend(name.ok().zip(value));
    }
    headers
}

/// The value of a header.
fn header(name: &str, value: &str) -> Result<HeaderValue, String> {
    let words: &[&str] = match name {
        "X-Frame-Options" => &["deny", "sameorigin"],
        "X-Content-Type-Options" => &["nosniff"],
        _ => &[],
    };
    if !words.is_empty() && !value.is_empty() && !words.contains(&value) {
        return Err(format!("must be {}", words.join(" or ")));
    }
    HeaderValue::from_str(value).map_err(|_| "must not contain control characters".to_owned())
}

/// The bcrypt hashes by user.
fn users(walk: &mut Walk, path: &Path<'_>, node: &Node<'_>) -> BTreeMap<String, String> {
    let mut users = BTreeMap::new();
    let expected = || values::mismatch("a mapping of users to bcrypt hashes", node);
    for (key, value) in walk.entries(path, node, expected).unwrap_or_default() {
        let word = key.word();
        let path = path.entry(&word, key.at);
        match values::text(key).and_then(user).and_then(|user| Ok((user, hash(value)?))) {
            Ok((user, hash)) => {
                if users.insert(user, hash).is_some() {
                    walk.report(&path, || "duplicate user");
                }
            }
            Err(message) => walk.report(&path, || message),
        }
    }
    users
}

/// The name of a user, which a colon would end (RFC 7617 section 2).
fn user(name: &str) -> Result<String, String> {
    if name.contains(':') || name.chars().any(char::is_control) {
        return Err("the name of a user must not contain a colon or control characters".to_owned());
    }
    Ok(name.to_owned())
}

/// A bcrypt hash. The message does not show it.
fn hash(node: &Node<'_>) -> Result<String, String> {
    let hash = values::text(node)?;
    match HashParts::from_str(hash) {
        Ok(_) => Ok(hash.to_owned()),
        Err(_) => {
            Err("must be a bcrypt hash, such as the output of htpasswd -nBC 10 USER".to_owned())
        }
    }
}

/// The rate limit; `None` if its interval is 0, which means no limit.
fn rate_limit(walk: &mut Walk, path: &Path<'_>, node: &Node<'_>) -> Option<RateLimit> {
    let fields = walk.fields(path, node, &RATE_LIMIT)?;
    let interval = walk.value(path, &fields, "interval", |node| {
        if ["0", "0s"].contains(&&*node.word()) {
            return Ok(Duration::ZERO);
        }
        values::duration(node).map(Span::duration)
    });
    let whole = |node: &Node<'_>| values::whole(node, "a whole number from 1 to 4294967295");
    let burst: Option<NonZeroU32> =
        walk.value(path, &fields, "burst", whole).and_then(NonZeroU32::new);
    let interval = interval.filter(|interval| !interval.is_zero())?;
    Some(RateLimit { interval, burst: burst.unwrap_or(NonZeroU32::MIN) })
}
