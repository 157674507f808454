//! The rules of a lookup, without system calls: which names are asked for, in which order, and what
//! the answers mean together.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;

use crate::model::{Found, IpVersion, LookupFailure};

/// The maximum number of names that are asked for.
const MAX_CANDIDATES: usize = 16;

/// The absolute names to ask for when `name` is looked up, in order, as resolv.conf(5) says: a name
/// with a final dot is absolute; one with fewer than `ndots` dots is first completed with each domain
/// of the search list; any other is first taken as it is. Empty if it is not a valid name.
pub(super) fn candidates(name: &str, ndots: usize, search: &[Name]) -> Vec<Name> {
    let Ok(mut absolute) = Name::from_str_relaxed(name) else { return Vec::new() };
    let is_absolute = absolute.is_fqdn();
    let relative = absolute.clone();
    absolute.set_fqdn(true);
    if is_absolute || absolute.is_localhost() {
        return vec![absolute];
    }
    let completed = search.iter().take(MAX_CANDIDATES - 1).filter_map(|domain| {
        let mut completed = relative.clone().append_domain(domain).ok()?;
        completed.set_fqdn(true);
        Some(completed)
    });
    let dots = name.matches('.').count();
    let mut all: Vec<Name> = Vec::new();
    let (first, last) = if dots >= ndots { (Some(absolute), None) } else { (None, Some(absolute)) };
    for candidate in first.into_iter().chain(completed).chain(last) {
        if !all.contains(&candidate) {
            all.push(candidate);
        }
    }
    all
}

/// The answers for one candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) v4: Result<Vec<SocketAddr>, LookupFailure>,
    pub(super) v6: Result<Vec<SocketAddr>, LookupFailure>,
    pub(super) ttl: Option<Duration>,
}

impl Attempt {
    /// The result without any candidate.
    pub(super) fn none() -> Self {
        Self { v4: Err(LookupFailure::NxDomain), v6: Err(LookupFailure::NxDomain), ttl: None }
    }

    /// The addresses and their TTL, if there is one.
    pub(super) fn success(&self) -> Option<(Found, Option<Duration>)> {
        let found = self.found();
        (!found.addresses().is_empty()).then_some((found, self.ttl))
    }

    /// The reasons for which there is no address.
    pub(super) fn failure(self) -> (Found, Option<Duration>) {
        (self.found(), None)
    }

    /// The result after one more candidate, which gave no address either. For each IP version, the
    /// most informative answer is kept: “the name exists” is preferred to an error, and an error to
    /// “the name does not exist”.
    pub(super) fn after(&self, next: &Self) -> Self {
        let (before, after) = (self.found(), next.found());
        let merge = |version| {
            let [one, other] = [&before, &after]
                .map(|found| found.of(version).err().unwrap_or(LookupFailure::NoAddress));
            let rank = |why: LookupFailure| match why {
                LookupFailure::NxDomain => 0,
                LookupFailure::ServFail
                | LookupFailure::Timeout
                | LookupFailure::Unreachable
                | LookupFailure::Other => 1,
                LookupFailure::NoAddress => 2,
                LookupFailure::InvalidAddress => 3,
            };
            Err(if rank(other) > rank(one) { other } else { one })
        };
        Self { v4: merge(IpVersion::V4), v6: merge(IpVersion::V6), ttl: None }
    }

    fn found(&self) -> Found {
        Found::new(self.v4.clone(), self.v6.clone())
    }
}

/// Whether to look up the next candidate after this one gave no address. False if the name servers do
/// not answer, because they would not answer for the next one either.
pub(super) fn goes_on(attempt: &Attempt) -> bool {
    let answers = |why: &LookupFailure| why.is_definite() || *why == LookupFailure::ServFail;
    [&attempt.v4, &attempt.v6].into_iter().all(|one| one.as_ref().err().is_none_or(answers))
}

/// The reason that corresponds to an error of the resolver.
pub(super) fn failure(error: &NetError) -> LookupFailure {
    if let NetError::Timeout = error {
        return LookupFailure::Timeout;
    }
    if let NetError::NoConnections = error {
        return LookupFailure::Unreachable;
    }
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error {
        let code = none.response_code;
        return if code == ResponseCode::NXDomain {
            LookupFailure::NxDomain
        } else if code == ResponseCode::NoError {
            LookupFailure::NoAddress
        } else {
            LookupFailure::ServFail
        };
    }
    if let NetError::Dns(DnsError::ResponseCode(_)) = error {
        return LookupFailure::ServFail;
    }
    if let NetError::Io(error) = error {
        const UNREACHABLE: [io::ErrorKind; 7] = [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::NetworkDown,
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::PermissionDenied,
        ];
        return if error.kind() == io::ErrorKind::TimedOut {
            LookupFailure::Timeout
        } else if UNREACHABLE.contains(&error.kind()) {
            LookupFailure::Unreachable
        } else {
            LookupFailure::Other
        };
    }
    LookupFailure::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, ndots: usize, search: &[&str]) -> Vec<String> {
        let search: Vec<Name> = search.iter().map(|name| name.parse().unwrap()).collect();
        candidates(name, ndots, &search).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_completed_as_resolv_conf_says() {
        let search = ["a.example", "b.example."];
        assert_eq!(names("fra", 1, &search), ["fra.a.example.", "fra.b.example.", "fra."]);
        assert_eq!(
            names("fra.core", 1, &search),
            ["fra.core.", "fra.core.a.example.", "fra.core.b.example."]
        );
        assert_eq!(
            names("fra.core", 2, &search),
            ["fra.core.a.example.", "fra.core.b.example.", "fra.core."]
        );
        assert_eq!(names("fra.core.", 5, &search), ["fra.core."]);
        assert_eq!(names("localhost", 1, &search), ["localhost."]);
        assert_eq!(names("under_score", 1, &[]), ["under_score."]);
        assert_eq!(names("a..b", 1, &[]), [""; 0]);
        let many: Vec<String> = (0..40).map(|n| format!("d{n}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(names("fra", 1, &many).len(), MAX_CANDIDATES);
    }

    fn failed(v4: LookupFailure, v6: LookupFailure) -> Attempt {
        Attempt { v4: Err(v4), v6: Err(v6), ttl: None }
    }

    #[test]
    fn the_answer_that_says_most_about_the_name_counts() {
        use LookupFailure::{NoAddress, NxDomain, ServFail, Timeout};
        let reported = |attempts: &[Attempt]| {
            let whole = attempts.iter().fold(Attempt::none(), |whole, next| whole.after(next));
            whole.failure().0.of(IpVersion::Auto).unwrap_err()
        };
        let nxdomain = failed(NxDomain, NxDomain);
        let servfail = failed(ServFail, ServFail);
        assert_eq!(reported(&[]), NxDomain);
        assert_eq!(reported(&[servfail.clone(), nxdomain.clone()]), ServFail);
        assert_eq!(reported(&[nxdomain.clone(), servfail.clone()]), ServFail);
        assert_eq!(reported(&[failed(NoAddress, NoAddress), nxdomain.clone()]), NoAddress);
        assert_eq!(reported(&[failed(Timeout, NxDomain)]), Timeout);
        assert!(goes_on(&nxdomain) && goes_on(&servfail));
        assert!(!goes_on(&failed(Timeout, Timeout)) && !goes_on(&failed(NxDomain, Timeout)));
    }

    #[test]
    fn errors_of_the_resolver_have_a_reason() {
        let io = |kind: io::ErrorKind| NetError::from(io::Error::from(kind));
        for (error, reason) in [
            (NetError::Timeout, LookupFailure::Timeout),
            (io(io::ErrorKind::TimedOut), LookupFailure::Timeout),
            (NetError::NoConnections, LookupFailure::Unreachable),
            (io(io::ErrorKind::NetworkUnreachable), LookupFailure::Unreachable),
            (io(io::ErrorKind::ConnectionRefused), LookupFailure::Unreachable),
            (io(io::ErrorKind::InvalidData), LookupFailure::Other),
            (DnsError::ResponseCode(ResponseCode::ServFail).into(), LookupFailure::ServFail),
            (DnsError::ResponseCode(ResponseCode::Refused).into(), LookupFailure::ServFail),
            (NetError::Busy, LookupFailure::Other),
        ] {
            assert_eq!(failure(&error), reason, "{error}");
        }
    }
}
