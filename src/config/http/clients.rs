//! Checks the certificates of TLS clients.

use std::fmt::Debug;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use webpki::EndEntityCert;

use super::words::ClientAuth;

/// What a client must show.
#[derive(Debug)]
pub(super) struct Clients {
    auth: ClientAuth,
    /// Checks a certificate against those that are trusted; `None` if any certificate will do.
    trusted: Option<Arc<dyn ClientCertVerifier>>,
    /// One of these names must be in the certificate, unless the list is empty.
    allowed: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    /// A check of clients' certificates. `roots` are used only if `auth` verifies.
    ///
    /// # Errors
    /// If `auth` verifies and there are no roots.
    pub(super) fn new(
        auth: ClientAuth,
        roots: RootCertStore,
        allowed: Vec<String>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let trusted = if auth.verifies() {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build();
            Some(verifier.map_err(|error| error.to_string())?)
        } else {
            None
        };
        Ok(Self { auth, trusted, allowed, provider })
    }

    /// Whether the certificate has one of the allowed names.
    fn is_allowed(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        if self.allowed.is_empty() {
            return Ok(true);
        }
        let invalid = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        let certificate = EndEntityCert::try_from(certificate).map_err(invalid)?;
        let is_named = |allowed: &String| {
            let has_ip = |name: ServerName<'_>| {
                let is_ip = matches!(name, ServerName::IpAddress(_));
                is_ip && certificate.verify_is_valid_for_subject_name(&name).is_ok()
            };
            certificate.valid_dns_names().any(|name| name == allowed)
                || certificate.valid_uri_names().any(|name| name == allowed)
                || ServerName::try_from(allowed.as_str()).is_ok_and(has_ip)
        };
        Ok(self.allowed.iter().any(is_named))
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trusted.as_ref().map_or(&[], |trusted| trusted.root_hint_subjects())
    }

    fn client_auth_mandatory(&self) -> bool {
        self.auth.requires()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(trusted) = &self.trusted {
            trusted.verify_client_cert(certificate, intermediates, now)?;
        }
        if self.is_allowed(certificate)? {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
