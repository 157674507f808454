//! Reads `tls_server_config`.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use zeroize::Zeroizing;

use super::clients::Clients;
use super::files::Files;
use super::levels::TLS;
use super::words::{self, ClientAuth};
use crate::config::node::{Node, Value};
use crate::config::place::Path;
use crate::config::values;
use crate::config::walk::{Fields, Walk, enumerate};

/// What HTTP/2 and HTTP/1.1 are called in TLS (RFC 7301 section 6), the preferred one first.
const HTTP_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS settings; `None` if they are invalid, and thus reported.
pub(super) fn settings(
    walk: &mut Walk,
    files: &mut Files,
    path: &Path<'_>,
    node: &Node<'_>,
    http2: bool,
) -> Option<Arc<ServerConfig>> {
    let fields = walk.fields(path, node, &TLS)?;
    let mut reader = Reader { walk, files, path, fields: &fields };
    let chain = reader.certificates(["cert", "cert_file"], true);
    let key = reader.key();
    let versions = reader.versions();
    let provider = reader.provider();
    let clients = reader.clients(&provider);
    let (chain, key, versions, clients) = (chain?, key?, versions?, clients?);

    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    let Ok(builder) = builder else {
        let place = fields.entry(path, "cipher_suites").map_or(*path, |(place, _)| place);
        let message = "has no suite for the TLS versions from min_version to max_version";
        walk.report(&place, || message);
        return None;
    };
    match builder.with_client_cert_verifier(clients).with_single_cert(chain, key) {
        Ok(mut config) => {
            let protocols = if http2 { &HTTP_PROTOCOLS[..] } else { &HTTP_PROTOCOLS[1..] };
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            let prefer = walk.value(path, &fields, "prefer_server_cipher_suites", boolean);
            config.ignore_client_order = prefer.unwrap_or(true);
            Some(Arc::new(config))
        }
        Err(error) => {
            let place = fields.entry(path, "key").or_else(|| fields.entry(path, "key_file"));
            let place = place.map_or(*path, |(place, _)| place);
            walk.report(&place, || {
                if let Error::InconsistentKeys(_) = error {
                    return "is not the key of the certificate".to_owned();
                }
                format!("cannot be used with the certificate: {error}")
            });
            None
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node<'_>) -> Result<bool, String> {
    if let Value::Bool(value) = node.value {
        return Ok(value);
    }
    Err(values::mismatch("true or false", node))
}

/// Reads the keys of `tls_server_config`.
struct Reader<'a, 'n> {
    walk: &'a mut Walk,
    files: &'a mut Files,
    path: &'a Path<'a>,
    fields: &'a Fields<'n>,
}

impl<'a> Reader<'a, '_> {
    /// The text of a key, or of the file that another key names, and where it is written. `None` if
    /// neither is there, or it is invalid and thus reported.
    fn text(
        &mut self,
        [inline, file]: [&'static str; 2],
        needed: bool,
    ) -> Option<(Path<'a>, Zeroizing<Vec<u8>>)> {
        let [inside, outside] = [inline, file].map(|key| self.fields.entry(self.path, key));
        match (inside, outside) {
            (Some(_), Some((place, _))) => {
                self.walk.report(&place, || format!("must not be given together with {inline}"));
                None
            }
            (Some((place, _)), None) => {
                let text = |node: &Node<'_>| values::text(node).map(str::to_owned);
                let text = self.walk.value(self.path, self.fields, inline, text)?;
                Some((place, Zeroizing::new(text.into_bytes())))
            }
            (None, Some((place, _))) => {
                let files = &mut *self.files;
                let read = |node: &Node<'_>| files.read(values::text(node)?);
                let read = self.walk.value(self.path, self.fields, file, read)?;
                Some((place, read))
            }
            (None, None) => {
                if needed {
                    self.walk.report(self.path, || format!("has no {file}"));
                }
                None
            }
        }
    }

    /// The certificates in PEM; at least one. `None` also if they are not there.
    fn certificates(
        &mut self,
        keys: [&'static str; 2],
        needed: bool,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let (place, text) = self.text(keys, needed)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match read {
            Ok(chain) if !chain.is_empty() => return Some(chain),
            Ok(_) => self.walk.report(&place, || "contains no certificate in PEM format"),
            Err(error) => self.walk.report(&place, || format!("is not valid PEM: {error}")),
        }
        None
    }

    /// The private key of the certificate.
    fn key(&mut self) -> Option<PrivateKeyDer<'static>> {
        let (place, text) = self.text(["key", "key_file"], true)?;
        let key = PrivateKeyDer::from_pem_slice(&text).ok();
        if key.is_none() {
            // The message must not show any of the text.
            let message = "contains no private key in PEM format, or an encrypted one";
            self.walk.report(&place, || message);
        }
        key
    }

    /// The versions from `min_version` to `max_version`; `None` if there are none.
    fn versions(&mut self) -> Option<Vec<&'static SupportedProtocolVersion>> {
        let word = |node: &Node<'_>| words::tls_version(values::text(node)?);
        let [min, max] = ["min_version", "max_version"].map(|key| {
            let given = self.fields.entry(self.path, key);
            let read = self.walk.value(self.path, self.fields, key, word);
            (given, read)
        });
        let refused = [&min, &max].iter().any(|(given, read)| given.is_some() && read.is_none());
        if refused {
            return None;
        }
        let (min, given) = (min.1.unwrap_or(&version::TLS12), max.0);
        let max = max.1.unwrap_or(&version::TLS13);
        let number = |version: &SupportedProtocolVersion| u16::from(version.version);
        let all = [&version::TLS13, &version::TLS12];
        let range = number(min)..=number(max);
        let versions: Vec<_> =
            all.into_iter().filter(|version| range.contains(&number(version))).collect();
        if let (true, Some((place, _))) = (versions.is_empty(), given) {
            self.walk.report(&place, || "is lower than min_version");
            return None;
        }
        Some(versions)
    }

    /// The cipher suites and curves. As in Go, the suites of TLS 1.3 cannot be chosen.
    fn provider(&mut self) -> Arc<CryptoProvider> {
        let mut provider = ring::default_provider();
        if let Some(chosen) = self.words("cipher_suites", "cipher suites", words::cipher_suite) {
            provider.cipher_suites.retain(|suite| words::is_of_tls13(*suite));
            provider
                .cipher_suites
                .extend(chosen.into_iter().filter(|suite| !words::is_of_tls13(*suite)));
        }
        if let Some(chosen) = self.words("curve_preferences", "curves", words::curve) {
            provider.kx_groups = chosen;
        }
        Arc::new(provider)
    }

    /// The items of a list of words; `None` if it is empty or missing.
    fn words<T>(
        &mut self,
        key: &'static str,
        of: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (path, node) = self.fields.entry(self.path, key)?;
        let items = self.walk.list(&path, node, of, &[])?;
        let mut found = Vec::new();
        for (path, node) in enumerate(&path, items) {
            match values::text(node).and_then(&read) {
                Ok(item) => found.push(item),
                Err(message) => self.walk.report(&path, || message),
            }
        }
        Some(found).filter(|found| !found.is_empty())
    }

    /// The check of clients' certificates; `None` if the settings are invalid.
    fn clients(&mut self, provider: &Arc<CryptoProvider>) -> Option<Arc<dyn ClientCertVerifier>> {
        let (path, fields) = (self.path, self.fields);
        let word = |node: &Node<'_>| words::client_auth(values::text(node)?);
        let auth = match fields.entry(path, "client_auth_type") {
            Some(_) => self.walk.value(path, fields, "client_auth_type", word)?,
            None => ClientAuth::None,
        };
        let authorities = self.certificates(["client_ca", "client_ca_file"], false);
        let allowed = self.words("client_allowed_sans", "names", allowed_name).unwrap_or_default();
        let given =
            fields.entry(path, "client_ca").or_else(|| fields.entry(path, "client_ca_file"));
        match &given {
            Some((place, _)) if auth == ClientAuth::None => {
                self.walk.report(place, || "needs a client_auth_type other than NoClientCert");
                return None;
            }
            None if auth.verifies() => {
                let place =
                    fields.entry(path, "client_auth_type").map_or(*path, |(place, _)| place);
                self.walk.report(&place, || "needs client_ca_file");
                return None;
            }
            Some(_) | None => {}
        }
        if let (false, Some((place, _))) =
            (allowed.is_empty() || auth.requires(), fields.entry(path, "client_allowed_sans"))
        {
            self.walk.report(
                &place,
                || "needs the client_auth_type RequireAnyClientCert or RequireAndVerifyClientCert",
            );
            return None;
        }
        if auth == ClientAuth::None {
            return Some(Arc::new(NoClientAuth));
        }
        let mut roots = RootCertStore::empty();
        for certificate in authorities.unwrap_or_default() {
            if let (Err(error), Some((place, _))) = (roots.add(certificate), &given) {
                self.walk.report(place, || format!("contains an invalid certificate: {error}"));
                return None;
            }
        }
        if roots.is_empty() && given.is_some() {
            return None;
        }
        match Clients::new(auth, roots, allowed, provider.clone()) {
            Ok(clients) => Some(Arc::new(clients)),
            Err(message) => {
                self.walk.report(path, || message);
                None
            }
        }
    }
}

/// An item of `client_allowed_sans`.
fn allowed_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.contains('@') && !text.contains("://") {
        return Err(
            "e-mail addresses are not supported: must be a DNS name, an IP address or a URI"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}
