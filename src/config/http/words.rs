//! Reads the words of TLS as Go names them: versions, cipher suites, curves, and what clients must
//! show.

use rustls::crypto::{SupportedKxGroup, ring};
use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion, version};

/// Which certificate a client must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientAuth {
    /// None is asked for.
    None,
    /// Any, or none.
    Request,
    /// Any.
    RequireAny,
    /// A valid one, or none.
    VerifyIfGiven,
    /// A valid one.
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether a certificate is checked against those of `client_ca_file`.
    pub(super) fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    /// Whether a client without a certificate is refused.
    pub(super) fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// The value of `client_auth_type`.
pub(super) fn client_auth(word: &str) -> Result<ClientAuth, String> {
    Ok(match word {
        "" | "NoClientCert" => ClientAuth::None,
        "RequestClientCert" => ClientAuth::Request,
        "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
        "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
        "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
        _ => {
            return Err("must be NoClientCert, RequestClientCert, RequireAnyClientCert, \
                        VerifyClientCertIfGiven or RequireAndVerifyClientCert"
                .to_owned());
        }
    })
}

/// A TLS version.
pub(super) fn tls_version(word: &str) -> Result<&'static SupportedProtocolVersion, String> {
    match word {
        "TLS12" => Ok(&version::TLS12),
        "TLS13" => Ok(&version::TLS13),
        "TLS10" | "TLS11" => Err(format!("{word} is insecure (RFC 8996): must be TLS12 or TLS13")),
        _ => Err("must be TLS12 or TLS13".to_owned()),
    }
}

/// A cipher suite by its name in the registry of IANA.
pub(super) fn cipher_suite(word: &str) -> Result<SupportedCipherSuite, String> {
    // Go has this name without the hash as well.
    let whole = if word.ends_with("_CHACHA20_POLY1305") {
        format!("{word}_SHA256")
    } else {
        word.to_owned()
    };
    let suites = ring::ALL_CIPHER_SUITES;
    suites.iter().copied().find(|suite| iana_name(*suite) == whole).ok_or_else(|| {
        let known = suites.iter().filter(|suite| !is_of_tls13(**suite));
        let known: Vec<_> = known.map(|suite| iana_name(*suite)).collect();
        format!("unknown or insecure cipher suite {word:?} (known: {})", known.join(", "))
    })
}

/// Whether a suite is for TLS 1.3.
pub(super) fn is_of_tls13(suite: SupportedCipherSuite) -> bool {
    suite.version().version == ProtocolVersion::TLSv1_3
}

fn iana_name(suite: SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

/// An elliptic curve by its name in Go.
pub(super) fn curve(word: &str) -> Result<&'static dyn SupportedKxGroup, String> {
    match word {
        "X25519" => Ok(ring::kx_group::X25519),
        "CurveP256" => Ok(ring::kx_group::SECP256R1),
        "CurveP384" => Ok(ring::kx_group::SECP384R1),
        _ => Err(format!("unknown curve {word:?} (known: X25519, CurveP256, CurveP384)")),
    }
}
