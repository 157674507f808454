//! TLS, passwords and the rate limit, with real handshakes.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// A certificate authority and the folder of its files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate with its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.crt"), certificate.pem()).unwrap();
        let certificate = certificate.der().clone();
        let authority = Self { folder, issuer: Issuer::new(params, key), certificate };
        authority.renew(false);
        authority
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a new certificate of the server, and its key.
    fn renew(&self, expired: bool) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["probe.example".to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path("server.key"), key.serialize_pem()).unwrap();
        std::fs::write(self.path("server.crt"), certificate.pem()).unwrap();
        certificate.der().clone()
    }

    /// A certificate of a client.
    fn client(&self, names: Vec<SanType>, expired: bool) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        Identity { certificate, key }
    }

    /// Writes the file of `--web.config.file`.
    fn write(&self, text: &str) -> std::path::PathBuf {
        let path = self.path("web.yml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes the file, with TLS and these further keys of TLS.
    fn write_tls(&self, keys: &str) -> std::path::PathBuf {
        let keys: Vec<_> = keys.lines().map(str::trim).collect();
        let keys = keys.join("\n  ");
        self.write(&format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  {keys}\n"
        ))
    }

    async fn connect(
        &self,
        address: SocketAddr,
        how: &Connecting<'_>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(how.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match how.identity {
            Some(Identity { certificate, key }) => {
                builder.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = how.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(how.name).unwrap().to_owned();
        soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    /// The status of an answer over a new connection; `None` if TLS fails. In TLS 1.3, a server
    /// refuses a client's certificate only after the client's handshake.
    async fn status(&self, address: SocketAddr, how: &Connecting<'_>) -> Option<u16> {
        let mut stream = self.connect(address, how).await.ok()?;
        let request = "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }
}

/// How a client connects.
struct Connecting<'a> {
    identity: Option<&'a Identity>,
    versions: &'a [&'static SupportedProtocolVersion],
    protocols: &'a [&'a str],
    name: &'static str,
}

impl Default for Connecting<'_> {
    fn default() -> Self {
        Self {
            identity: None,
            versions: rustls::ALL_VERSIONS,
            protocols: &[],
            name: "probe.example",
        }
    }
}

impl<'a> Connecting<'a> {
    fn with(identity: &'a Identity) -> Self {
        Self { identity: Some(identity), ..Self::default() }
    }
}

async fn serve_file(path: &Path) -> Running {
    let access = Access::of_file(path).unwrap_or_else(|problems| panic!("{problems}"));
    Running::behind(access, Limits::default(), fixture::two_targets()).await
}

/// Waits until `work` gives `expected`.
async fn becomes<T: PartialEq + std::fmt::Debug>(expected: T, mut work: impl AsyncFnMut() -> T) {
    soon(async {
        while work().await != expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_nothing_else() {
    let authority = Authority::new();
    let running = serve_file(&authority.write_tls("")).await;
    for versions in [&[&version::TLS12], &[&version::TLS13]] {
        let how = Connecting { versions, ..Connecting::default() };
        assert_eq!(authority.status(running.address, &how).await, Some(200));
    }
    let other_name = Connecting { name: "other.example", ..Connecting::default() };
    assert_eq!(authority.status(running.address, &other_name).await, None);
    let stranger = Authority::new();
    assert_eq!(stranger.status(running.address, &Connecting::default()).await, None);
    let mut plain = running.connect().await;
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"));
}

#[tokio::test]
async fn the_versions_of_the_file_are_the_only_ones() {
    let authority = Authority::new();
    for (keys, of_12, of_13) in [
        ("min_version: TLS13", None, Some(200)),
        ("max_version: TLS12", Some(200), None),
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", None, Some(200)),
        ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]", Some(200), Some(200)),
    ] {
        let running = serve_file(&authority.write_tls(keys)).await;
        for (versions, expected) in [(&[&version::TLS12], of_12), (&[&version::TLS13], of_13)] {
            let how = Connecting { versions, ..Connecting::default() };
            assert_eq!(authority.status(running.address, &how).await, expected, "{keys}");
        }
    }
}

#[tokio::test]
async fn each_client_auth_type_asks_for_what_it_says() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.client(Vec::new(), false);
    let expired = authority.client(Vec::new(), true);
    let foreign = stranger.client(Vec::new(), false);
    // None, valid, expired, of another authority.
    for (word, expected) in [
        ("NoClientCert", [true, true, true, true]),
        ("RequestClientCert", [true, true, true, true]),
        ("RequireAnyClientCert", [false, true, true, true]),
        ("VerifyClientCertIfGiven", [true, true, false, false]),
        ("RequireAndVerifyClientCert", [false, true, false, false]),
    ] {
        let file = if word.contains("Verify") { "client_ca_file: ca.crt\n" } else { "" };
        let path = authority.write_tls(&format!("{file}client_auth_type: {word}"));
        let running = serve_file(&path).await;
        for versions in [&[&version::TLS12], &[&version::TLS13]] {
            let identities = [None, Some(&good), Some(&expired), Some(&foreign)];
            for (n, identity) in identities.into_iter().enumerate() {
                let how = Connecting { identity, versions, ..Connecting::default() };
                let status = authority.status(running.address, &how).await;
                assert_eq!(status, expected[n].then_some(200), "{word} {n} {versions:?}");
            }
        }
    }
}

#[tokio::test]
async fn only_allowed_names_of_clients_pass() {
    let authority = Authority::new();
    let name = |text: &str| SanType::DnsName(text.try_into().unwrap());
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let running = serve_file(&authority.write_tls(
        "client_ca_file: ca.crt
         client_auth_type: RequireAndVerifyClientCert
         client_allowed_sans: [prometheus.example, 192.0.2.1, \"spiffe://example/p\", \"2001:db8::1\"]",
    ))
    .await;
    for (names, allowed) in [
        (vec![], false),
        (vec![name("prometheus.example")], true),
        (vec![name("other.example"), name("prometheus.example")], true),
        (vec![name("*.example")], false),
        (vec![name("a.prometheus.example")], false),
        (vec![SanType::IpAddress("192.0.2.1".parse().unwrap())], true),
        (vec![SanType::IpAddress("2001:db8::1".parse().unwrap())], true),
        (vec![SanType::IpAddress("192.0.2.2".parse().unwrap())], false),
        (vec![uri("spiffe://example/p")], true),
        (vec![uri("spiffe://example/q")], false),
    ] {
        let shown = format!("{names:?}");
        let identity = authority.client(names, false);
        let status = authority.status(running.address, &Connecting::with(&identity)).await;
        assert_eq!(status, allowed.then_some(200), "{shown}");
    }
}

#[tokio::test]
async fn http2_is_spoken_unless_the_file_says_no() {
    let authority = Authority::new();
    let how = Connecting { protocols: &["h2", "http/1.1"], ..Connecting::default() };
    for (http2, expected) in [(true, b"h2".as_slice()), (false, b"http/1.1")] {
        let path = authority.write_tls("");
        let text = std::fs::read_to_string(&path).unwrap();
        let running = serve_file(
            &authority.write(&format!("{text}http_server_config: {{http2: {http2}}}\n")),
        )
        .await;
        let stream = authority.connect(running.address, &how).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(expected));
        if !http2 {
            continue;
        }
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        let driving = tokio::spawn(connection);
        let ask = |path: &str| {
            let request = hyper::Request::get(format!("https://probe.example{path}"));
            sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap())
        };
        // All at once, on one connection.
        let paths = ["/metrics", "/", "/-/healthy", "/nowhere", "/api/v1/targets"];
        let asked: Vec<_> = paths.map(ask).into();
        for (path, (asked, status)) in
            paths.iter().zip(asked.into_iter().zip([200, 200, 200, 404, 200]))
        {
            let response = soon(asked).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
            assert!(!body.is_empty(), "{path}");
        }
        running.stop.send(()).unwrap();
        soon(running.server).await.unwrap();
        drop(sender);
        let _ = soon(driving).await.unwrap();
    }
}

#[tokio::test]
async fn a_changed_certificate_is_used_for_the_next_connection() {
    let authority = Authority::new();
    let running = serve_file(&authority.write_tls("")).await;
    let how = Connecting::default();
    let shown = async || {
        let stream = authority.connect(running.address, &how).await.ok()?;
        Some(stream.get_ref().1.peer_certificates().unwrap()[0].clone())
    };
    let first = shown().await.unwrap();
    let second = authority.renew(false);
    assert_ne!(first, second);
    becomes(Some(second), shown).await;
    // An expired certificate is used as well: it is for the client to refuse it.
    authority.renew(true);
    becomes(None, shown).await;
}

#[tokio::test]
async fn an_invalid_file_refuses_all_requests_until_it_is_valid_again() {
    let authority = Authority::new();
    let running = serve_file(&authority.write_tls("")).await;
    let how = Connecting::default();
    let status = async || authority.status(running.address, &how).await;
    assert_eq!(status().await, Some(200));
    std::fs::write(authority.path("server.key"), "").unwrap();
    becomes(Some(500), status).await;
    authority.renew(false);
    becomes(Some(200), status).await;
    std::fs::remove_file(authority.path("web.yml")).unwrap();
    becomes(Some(500), status).await;
}

#[tokio::test]
async fn a_password_is_asked_for_on_every_path() {
    let authority = Authority::new();
    let hash = bcrypt::hash("s3cret", 4).unwrap();
    let path = authority.write(&format!("basic_auth_users: {{ann: '{hash}'}}\n"));
    let running = serve_file(&path).await;
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/nowhere", "/api/v1/targets"] {
        let refused = running.ask(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.has("www-authenticate: basic"), "{}", refused.head);
        for (shown, allowed) in [("ann:s3cret", true), ("ann:", false), ("bob:s3cret", false)] {
            let shown = STANDARD.encode(shown);
            let request = format!("GET {path} HTTP/1.1\r\nAuthorization: Basic {shown}");
            assert_eq!(running.ask(&request).await.status != 401, allowed, "{path}");
        }
    }
    // Without the user, its password no longer counts.
    authority.write(&format!("basic_auth_users: {{bob: '{hash}'}}\n"));
    let shown = STANDARD.encode("ann:s3cret");
    let request = format!("GET /metrics HTTP/1.1\r\nAuthorization: Basic {shown}");
    becomes(401, async || running.ask(&request).await.status).await;
}

#[tokio::test]
async fn requests_beyond_the_rate_are_refused() {
    let authority = Authority::new();
    let path = authority.write("rate_limit: {interval: 1h, burst: 2}\n");
    let running = serve_file(&path).await;
    for status in [200, 200, 429, 429] {
        assert_eq!(running.ask("GET /-/healthy HTTP/1.1").await.status, status);
    }
    let refused = running.ask("GET /metrics HTTP/1.1").await;
    let wait = refused.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    let wait: u32 = wait.unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn the_headers_of_the_file_are_on_every_answer() {
    let authority = Authority::new();
    let hash = bcrypt::hash("s3cret", 4).unwrap();
    let headers = "http_server_config: {headers: {X-Frame-Options: deny, \
                   Content-Security-Policy: default-src 'self'}}\n";
    let path = authority.write(&format!("{headers}basic_auth_users: {{ann: '{hash}'}}\n"));
    let running = serve_file(&path).await;
    let shown = STANDARD.encode("ann:s3cret");
    for authorization in [String::new(), format!("\r\nAuthorization: Basic {shown}")] {
        let answer = running.ask(&format!("GET / HTTP/1.1{authorization}")).await;
        assert!(answer.has("x-frame-options: deny"), "{}", answer.head);
        assert!(answer.has("content-security-policy: default-src 'self'"), "{}", answer.head);
        assert_eq!(answer.head.matches("content-security-policy").count(), 1);
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_cut_off_by_its_time() {
    let authority = Authority::new();
    let limits = Limits { header: Duration::from_millis(50), ..Limits::default() };
    let access = Access::of_file(&authority.write_tls("")).unwrap();
    let running = Running::behind(access, limits, fixture::two_targets()).await;
    let mut stream = running.connect().await;
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await.unwrap();
    assert_eq!(soon(stream.read(&mut [0])).await.unwrap_or(0), 0);
}
