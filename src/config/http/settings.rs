//! What HTTP clients must show, as plain data.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use rustls::ServerConfig;

/// The settings of a file of `--web.config.file`. The default is that of a program without one:
/// plain HTTP for everyone.
#[derive(Debug, Clone, Default)]
pub struct HttpConfig {
    /// TLS with its certificate and the protocols of HTTP; `None` for plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Headers of every answer, in place of those that it has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The bcrypt hashes of passwords by user. If empty, no password is needed.
    pub users: BTreeMap<String, String>,
    /// How many requests are answered; `None` for any number.
    pub rate_limit: Option<RateLimit>,
}

/// A limit for the requests of all clients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The mean time between requests; more than zero.
    pub interval: Duration,
    /// How many requests may come at once.
    pub burst: NonZeroU32,
}
