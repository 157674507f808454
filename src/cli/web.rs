//! Where a program serves HTTP: `--web.listen-address` enters, a bound listener leaves.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use anyhow::Context as _;
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel completes before the program accepts them.
const BACKLOG: i32 = 1024;

/// How many scrapes are answered at a time unless told otherwise: each holds the figures of all
/// targets.
pub(super) const DEFAULT_MAX_REQUESTS: usize = 16;

/// Reads `--web.max-requests`: from 1 to 1,000.
pub(super) fn max_requests(text: &str) -> Result<usize, &'static str> {
    let requests = text.parse().ok().filter(|requests| (1..=1000).contains(requests));
    requests.ok_or("must be a number from 1 to 1000")
}

/// `HOST:PORT`, or `:PORT` for all addresses of the host; port 0 picks a free one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenAddress {
    /// A name or a literal address; `None` for all addresses.
    host: Option<String>,
    port: u16,
}

/// Not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be :PORT or HOST:PORT, such as :9863, 127.0.0.1:9863 or [::1]:9863")]
pub(super) struct NoListenAddress;

impl ListenAddress {
    /// Binds a listener within a runtime.
    ///
    /// All addresses are those of both families, or of IPv4 on a host without IPv6. Of a name,
    /// the first address that can be bound to is taken.
    ///
    /// # Errors
    /// The name does not resolve, or none of its addresses can be bound to; the address is named.
    pub(super) async fn bind(&self) -> anyhow::Result<TcpListener> {
        let bound = match &self.host {
            Some(host) => TcpListener::bind((host.as_str(), self.port)).await,
            None => bind_all(self.port),
        };
        bound.with_context(|| format!("cannot serve HTTP on {self}"))
    }
}

impl FromStr for ListenAddress {
    type Err = NoListenAddress;

    fn from_str(text: &str) -> Result<Self, NoListenAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NoListenAddress)?;
        // `parse` would take a sign.
        if !port.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(NoListenAddress);
        }
        let port = port.parse().map_err(|_| NoListenAddress)?;
        if host.is_empty() {
            return Ok(Self { host: None, port });
        }
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6.parse::<Ipv6Addr>().map_err(|_| NoListenAddress)?.to_string(),
            None if host.contains([':', '[', ']', '/']) || host.contains(char::is_whitespace) => {
                return Err(NoListenAddress);
            }
            None => host.to_owned(),
        };
        Ok(Self { host: Some(host), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.as_deref() {
            None => write!(f, ":{port}"),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Some(host) => write!(f, "{host}:{port}"),
        }
    }
}

/// Listens on all addresses of both families; of IPv4 alone where the kernel knows no IPv6.
fn bind_all(port: u16) -> io::Result<TcpListener> {
    match listen((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
            listen((Ipv4Addr::UNSPECIFIED, port).into())
        }
        outcome => outcome,
    }
}

/// As tokio's own, but with IPv4 on IPv6's unspecified address whatever `net.ipv6.bindv6only` says.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn address(text: &str) -> ListenAddress {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_read_back_as_written() {
        for text in [":9863", ":0", "127.0.0.1:9863", "[::1]:65535", "localhost:80"] {
            assert_eq!(address(text).to_string(), text);
        }
    }

    #[test]
    fn what_lacks_a_port_or_a_host_of_sense_is_refused() {
        for text in [
            "",
            "9863",
            ":",
            "localhost",
            "localhost:",
            ":65536",
            ":+1",
            ":-1",
            "::1:80",
            "[::1]",
            "[localhost]:80",
            "[::1:80",
            "http://localhost:80",
            "local host:80",
            "localhost:http",
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(NoListenAddress), "{text:?}");
        }
    }

    #[test]
    fn all_addresses_are_those_of_both_families() {
        block_on(async {
            let listener = address(":0").bind().await.unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
            assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok());
        });
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        block_on(async {
            let holder = address("127.0.0.1:0").bind().await.unwrap();
            let taken = holder.local_addr().unwrap().to_string();
            let error = address(&taken).bind().await.unwrap_err();
            assert_eq!(error.to_string(), format!("cannot serve HTTP on {taken}"));
            assert!(error.source().is_some());
        });
    }
}
