//! The mappings of a file of `--web.config.file` and their keys.

use std::sync::LazyLock;

use crate::config::level::Level;

pub(super) static FILE: LazyLock<Level> = LazyLock::new(|| Level {
    place: "at the top of the file",
    keys: vec!["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"],
});

pub(super) static TLS: LazyLock<Level> = LazyLock::new(|| Level {
    place: "under tls_server_config",
    keys: vec![
        "cert_file",
        "key_file",
        "cert",
        "key",
        "client_ca_file",
        "client_ca",
        "client_auth_type",
        "client_allowed_sans",
        "min_version",
        "max_version",
        "cipher_suites",
        "prefer_server_cipher_suites",
        "curve_preferences",
    ],
});

pub(super) static HTTP: LazyLock<Level> =
    LazyLock::new(|| Level { place: "under http_server_config", keys: vec!["http2", "headers"] });

pub(super) static HEADERS: LazyLock<Level> = LazyLock::new(|| Level {
    place: "under http_server_config.headers",
    keys: vec![
        "Content-Security-Policy",
        "X-Frame-Options",
        "X-Content-Type-Options",
        "X-XSS-Protection",
        "Strict-Transport-Security",
    ],
});

pub(super) static RATE_LIMIT: LazyLock<Level> =
    LazyLock::new(|| Level { place: "under rate_limit", keys: vec!["interval", "burst"] });
