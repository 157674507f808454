//! Resolves names to addresses: the hosts file, then DNS, as /etc/resolv.conf configures it.
//!
//! Lookups report what getaddrinfo(3) does not: the TTL of an answer, or the reason why there is no answer. Nothing
//! is cached here: the caller decides when to look a name up again. Other sources of nsswitch.conf(5)
//! are not asked.
//!
//! `system` reads the configuration, `search` has the rules without system calls.

mod search;
mod system;

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::interfaces::interface_number;
use crate::model::{Found, LookupFailure};

use search::{Attempt, candidates, failure, goes_on};
use system::{Settings, System};

/// How long a lookup may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the addresses of one IP version are awaited after those of the other have come.
const GRACE: Duration = Duration::from_secs(3);

/// Looks names up. It reads the system's configuration again when the files change.
#[derive(Debug, Default)]
pub struct Resolver {
    system: System,
}

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The addresses, IPv6 first; those to which this machine has no route come last. Their port is
    /// 0; a link-local address keeps the zone of its name.
    pub found: Found,
    /// How long the answer is valid; `None` if that is not known, as for the hosts file.
    pub ttl: Option<Duration>,
}

impl Resolver {
    /// Looks `name` up, for at most 10 s per candidate: the name as it is, or completed with a domain of
    /// the search list. A name may be a link-local
    /// address with its zone (`fe80::1%eth0`; RFC 4007 section 11). Must be called within a tokio
    /// runtime.
    pub async fn look_up(&self, name: &str) -> Lookup {
        if let Some((address, zone)) = name.split_once('%') {
            return Lookup { found: zoned(address, zone), ttl: None };
        }
        let settings = self.system.settings();
        let mut whole = Attempt::none();
        // A name without candidates is reported as not existing.
        for candidate in candidates(name, settings.ndots, &settings.search) {
            let attempt = look_up(&settings, &candidate).await;
            if let Some((found, ttl)) = attempt.success() {
                return Lookup { found: routed_first(&found), ttl };
            }
            whole = whole.after(&attempt);
            if !goes_on(&attempt) {
                break;
            }
        }
        let (found, ttl) = whole.failure();
        Lookup { found, ttl }
    }
}

/// Looks up an absolute name: in the hosts file, or, if that does not have it, in DNS.
async fn look_up(settings: &Arc<Settings>, name: &Name) -> Attempt {
    if let Some([v4, v6]) = settings.hosts(name) {
        return Attempt { v4: Ok(v4), v6: Ok(v6), ttl: None };
    }
    let v4 = timeout(PATIENCE, ask(settings, name, RecordType::A));
    let v6 = timeout(PATIENCE, ask(settings, name, RecordType::AAAA));
    let (mut v4, mut v6) = (std::pin::pin!(v4), std::pin::pin!(v6));
    let has_address = |answer: &Answer| answer.as_ref().is_ok_and(|(found, _)| !found.is_empty());
    let (v4, v6) = tokio::select! {
        v4 = &mut v4 => {
            let v4 = in_time(v4);
            let patience = if has_address(&v4) { GRACE } else { PATIENCE };
            let v6 = timeout(patience, v6).await.map_or(Err(LookupFailure::Timeout), in_time);
            (v4, v6)
        }
        v6 = &mut v6 => {
            let v6 = in_time(v6);
            let patience = if has_address(&v6) { GRACE } else { PATIENCE };
            let v4 = timeout(patience, v4).await.map_or(Err(LookupFailure::Timeout), in_time);
            (v4, v6)
        }
    };
    let ttl = [&v4, &v6].into_iter().filter_map(|answer| answer.as_ref().ok()?.1).min();
    Attempt { v4: v4.map(|(found, _)| found), v6: v6.map(|(found, _)| found), ttl }
}

/// The addresses of one type of record and their TTL, or why there is none.
type Answer = Result<(Vec<SocketAddr>, Option<Duration>), LookupFailure>;

fn in_time<E>(answer: Result<Answer, E>) -> Answer {
    answer.unwrap_or(Err(LookupFailure::Timeout))
}

/// Asks the name servers for the records of one type.
async fn ask(settings: &Settings, name: &Name, of: RecordType) -> Answer {
    let Some(resolver) = &settings.resolver else { return Err(LookupFailure::Other) };
    let lookup = resolver.lookup(name.clone(), of).await.map_err(|error| {
        tracing::debug!(%name, %error, "a name server gives no address");
        failure(&error)
    })?;
    let addresses = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
    let addresses = addresses.map(|ip| SocketAddr::new(ip, 0)).collect();
    // The answer is valid as long as all its records are, including aliases.
    let ttl = lookup.answers().iter().map(|record| record.ttl).min();
    Ok((addresses, ttl.map(|seconds| Duration::from_secs(seconds.into()))))
}

/// A link-local address in this zone.
fn zoned(address: &str, zone: &str) -> Found {
    let number = interface_number(zone).or_else(|| zone.parse().ok().filter(|number| *number > 0));
    match (address.parse::<IpAddr>(), number) {
        (Ok(IpAddr::V6(ip)), Some(number)) => {
            let address = SocketAddrV6::new(ip, 0, 0, number);
            Found::new(Err(LookupFailure::NoAddress), Ok(vec![address.into()]))
        }
        (Ok(IpAddr::V6(_)), None) => Found::failed(LookupFailure::Unreachable),
        _ => Found::failed(LookupFailure::NxDomain),
    }
}

/// Addresses to which this machine has a route come first (RFC 6724 section 6, rule 1).
fn routed_first(found: &Found) -> Found {
    match found.addresses() {
        [] | [_] => found.clone(),
        _ => found.sorted(has_route),
    }
}

/// Whether the kernel has a route and a source address for `address`. Sends nothing.
fn has_route(address: SocketAddr) -> bool {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let to = SocketAddr::new(address.ip(), 9);
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(to)).is_ok()
}

#[cfg(test)]
mod tests;
