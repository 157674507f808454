//! Files of `--web.config.file`, valid and invalid.
//!
//! Each rule has a file that breaks it: `tests/web/invalid-RULE.yml` must be refused with exactly
//! the lines of `invalid-RULE.txt`. All other files there must be accepted. The certificates that
//! they name are made by the test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use udp_heartbeat::config::{HttpConfig, HttpSource};

/// A folder with the files of `tests/web` and certificates.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web");
    for entry in std::fs::read_dir(files).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    write("ca.crt", authority.self_signed(&authority_key).unwrap().pem());
    write("ca.key", authority_key.serialize_pem());
    let issuer = Issuer::new(authority, authority_key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["probe.example".to_owned()]).unwrap();
    write("server.crt", server.signed_by(&server_key, &issuer).unwrap().pem());
    write("server.key", server_key.serialize_pem());
    folder
}

/// The names of the files that end in `.yml`, without it.
fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> =
        names.filter_map(|name| name.strip_suffix(".yml").map(str::to_owned)).collect();
    names.sort();
    names
}

fn load(folder: &TempDir, name: &str) -> Result<HttpConfig, String> {
    let prefix = format!("{}/", folder.path().display());
    let source = HttpSource::new(&folder.path().join(format!("{name}.yml")));
    source.read().config.map_err(|problems| problems.to_string().replace(&prefix, "") + "\n")
}

#[test]
fn each_broken_rule_is_reported_with_the_expected_lines() {
    let folder = folder();
    let broken: Vec<_> =
        names(&folder).into_iter().filter(|name| name.starts_with("invalid-")).collect();
    assert!(broken.len() >= 20, "{broken:?}");
    for name in broken {
        let file = folder.path().join(format!("{name}.txt"));
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        match load(&folder, &name) {
            Ok(_) => panic!("{name} is accepted"),
            Err(problems) => assert_eq!(problems, expected, "{name}"),
        }
    }
}

#[test]
fn every_other_file_is_accepted() {
    let folder = folder();
    let valid: Vec<_> =
        names(&folder).into_iter().filter(|name| !name.starts_with("invalid-")).collect();
    assert_eq!(valid, ["any-client", "empty", "full", "no-limit", "tls", "users"]);
    for name in valid {
        load(&folder, &name).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    }
}

#[test]
fn every_key_is_taken_over() {
    let folder = folder();
    let full = load(&folder, "full").unwrap();
    let tls = full.tls.unwrap();
    assert_eq!(tls.alpn_protocols, [b"http/1.1"]);
    assert!(!tls.ignore_client_order);
    let headers: Vec<_> =
        full.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(
        headers,
        [
            ("content-security-policy", "default-src 'self'"),
            ("x-frame-options", "deny"),
            ("x-content-type-options", "nosniff"),
            ("strict-transport-security", "max-age=31536000"),
        ]
    );
    assert_eq!(full.users.keys().collect::<Vec<_>>(), ["ann"]);
    let limit = full.rate_limit.unwrap();
    assert_eq!((limit.interval.as_millis(), limit.burst.get()), (100, 20));
    let tls = load(&folder, "tls").unwrap().tls.unwrap();
    assert_eq!(tls.alpn_protocols, [b"h2".as_slice(), b"http/1.1"]);
    assert_eq!(load(&folder, "no-limit").unwrap().rate_limit, None);
}

#[test]
fn certificates_may_be_in_the_file_itself() {
    let folder = folder();
    let indented = |name: &str| {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        format!("\n    {}", text.lines().collect::<Vec<_>>().join("\n    "))
    };
    let text = format!(
        "tls_server_config:\n  cert: |{}\n  key: |{}\n  client_ca: |{}\n  client_auth_type: \
         RequireAndVerifyClientCert\n",
        indented("server.crt"),
        indented("server.key"),
        indented("ca.crt")
    );
    std::fs::write(folder.path().join("inline.yml"), text).unwrap();
    assert!(load(&folder, "inline").unwrap().tls.is_some());
}

#[test]
fn a_change_of_any_file_changes_the_digest() {
    let folder = folder();
    let path = folder.path().join("tls.yml");
    let digest = || HttpSource::new(&path).read().digest;
    let first = digest();
    assert_eq!(first, digest());
    let certificate = folder.path().join("server.crt");
    let text = std::fs::read_to_string(&certificate).unwrap();
    std::fs::write(&certificate, format!("{text}\n")).unwrap();
    let second = digest();
    assert_ne!(first, second);
    std::fs::remove_file(&certificate).unwrap();
    assert_ne!(second, digest());
    std::fs::write(&certificate, text).unwrap();
    assert_eq!(first, digest());
}

#[test]
fn problems_show_no_secret() {
    let folder = folder();
    let text = "tls_server_config: {cert_file: server.crt, key: sesame}\nbasic_auth_users: {ann: sesame}\n";
    std::fs::write(folder.path().join("secret.yml"), text).unwrap();
    let problems = load(&folder, "secret").unwrap_err();
    assert!(problems.contains("private key") && problems.contains("bcrypt"), "{problems}");
    assert!(!problems.contains("sesame"), "{problems}");
}
