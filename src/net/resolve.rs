//! Resolves names to addresses with the system's resolver (getaddrinfo(3): hosts file, DNS, …).

use std::io;
use std::net::SocketAddr;

/// The addresses of `name`, in the resolver's order of preference; never empty. Their port is 0;
/// a link-local address keeps the zone of its name (`fe80::1%eth0`; RFC 4007 section 11).
///
/// Runs on tokio's blocking threads, so that a name server that does not answer delays only this
/// lookup.
///
/// # Errors
/// Those of the resolver, or `NotFound` if the name has no address.
pub async fn resolve(name: &str) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}
