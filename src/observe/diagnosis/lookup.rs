//! Why a lookup of a name failed and what to do about it, in words.

use crate::model::LookupFailure;

/// Why a lookup of `host`, a name, failed and what to do about it, as one clause.
#[must_use]
pub fn lookup_failure(host: &str, why: LookupFailure) -> String {
    format!("{}; {}", lookup_words(host, why), lookup_advice(host, why))
}

/// What to do about a failed lookup of `host`, as a clause.
pub(super) fn lookup_advice(host: &str, why: LookupFailure) -> String {
    match why {
        LookupFailure::NxDomain => {
            format!("check the spelling, and DNS with `getent hosts {host}`")
        }
        LookupFailure::NoAddress => {
            format!("check `ip_version`, and the records with `getent ahosts {host}`")
        }
        LookupFailure::InvalidAddress => {
            format!("check the records with `getent ahosts {host}`: a filter may answer 0.0.0.0")
        }
        LookupFailure::Unreachable if is_zoned(host) => {
            "check the names of interfaces with `ip link`".to_owned()
        }
        LookupFailure::ServFail
        | LookupFailure::Timeout
        | LookupFailure::Unreachable
        | LookupFailure::Other => {
            "check the name servers in /etc/resolv.conf on the probe's machine".to_owned()
        }
    }
}

/// Whether it is a link-local address with its zone.
fn is_zoned(host: &str) -> bool {
    host.contains('%')
}

/// Why a lookup of `host` failed.
pub(super) fn lookup_words(host: &str, why: LookupFailure) -> &'static str {
    match why {
        LookupFailure::NxDomain => "no such name (NXDOMAIN)",
        LookupFailure::NoAddress => "the name has no address of the wanted IP version",
        LookupFailure::InvalidAddress => {
            "the name has only addresses that no host can have, such as 0.0.0.0"
        }
        LookupFailure::ServFail => {
            "the name server answered with an error, such as SERVFAIL or REFUSED"
        }
        LookupFailure::Timeout => "no answer from a name server",
        LookupFailure::Unreachable if is_zoned(host) => "its interface does not exist",
        LookupFailure::Unreachable => "no name server can be reached",
        LookupFailure::Other => "the answer of the name server cannot be read",
    }
}
