//! Parses `--web.listen-address` and binds the listener for HTTP.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use super::listening;

/// Maximum number of completed connections that wait to be accepted (listen(2)).
const BACKLOG: i32 = 1024;

/// The default of `--web.max-requests`. The limit bounds memory: each scrape copies the figures of
/// all targets.
pub(super) const DEFAULT_MAX_REQUESTS: usize = 16;

/// Reads `--web.max-requests`: from 1 to 1,000.
pub(super) fn max_requests(text: &str) -> Result<usize, &'static str> {
    let requests = text.parse().ok().filter(|requests| (1..=1000).contains(requests));
    requests.ok_or("must be a number from 1 to 1000")
}

/// `HOST:PORT`, or `:PORT` for all addresses of the host. Port 0 picks a free port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenAddress {
    /// A name or a literal address; `None` for all addresses.
    host: Option<String>,
    port: u16,
}

/// A text is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoListenAddress {
    /// A URL.
    #[error("is a URL: must be :PORT or HOST:PORT, such as {FLAG_EXAMPLES}")]
    Url,
    /// A port without its colon.
    #[error("must be :PORT or HOST:PORT: did you mean :{0}?")]
    Port(u16),
    /// Neither `:PORT` nor `HOST:PORT`.
    #[error("must be :PORT or HOST:PORT, such as {FLAG_EXAMPLES}")]
    Other,
}

/// Addresses to listen on. Neither program has this default port.
const FLAG_EXAMPLES: &str = ":8080, 127.0.0.1:8080 or [::1]:8080";

/// The flag of the address.
const FLAG: &str = "--web.listen-address";

impl ListenAddress {
    /// Binds a listener. Must be called within a runtime.
    ///
    /// Without a host, it listens on all addresses of both families, or of IPv4 on a host without
    /// IPv6. With a name, it listens on the first address that can be bound. With an address that
    /// the host does not have yet, it logs a warning and answers as soon as the host has it.
    ///
    /// # Errors
    /// If the name does not resolve, or none of its addresses can be bound.
    pub(super) async fn bind(&self) -> anyhow::Result<TcpListener> {
        let bound = match self.host.as_deref().map(|host| (host, host.parse::<IpAddr>())) {
            Some((_, Ok(ip))) => bind_one((ip, self.port).into()),
            Some((name, Err(_))) => TcpListener::bind((name, self.port)).await,
            None => bind_all(self.port),
        };
        bound.map_err(|error| {
            let kind = error.kind();
            let error = anyhow::Error::new(error).context(format!("cannot serve HTTP on {self}"));
            listening::explained(error, kind, self.port, FLAG)
        })
    }
}

impl FromStr for ListenAddress {
    type Err = NoListenAddress;

    fn from_str(text: &str) -> Result<Self, NoListenAddress> {
        if text.contains("://") {
            return Err(NoListenAddress::Url);
        }
        // `parse` accepts a sign.
        let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
        let port = |text: &str| text.parse().ok().filter(|_| digits(text));
        let Some((host, port)) = text.rsplit_once(':').and_then(|(h, p)| Some((h, port(p)?)))
        else {
            return Err(port(text).map_or(NoListenAddress::Other, NoListenAddress::Port));
        };
        if host.is_empty() {
            return Ok(Self { host: None, port });
        }
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => v6.parse::<Ipv6Addr>().map_err(|_| NoListenAddress::Other)?.to_string(),
            None if host.contains([':', '[', ']', '/']) || host.contains(char::is_whitespace) => {
                return Err(NoListenAddress::Other);
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

/// Listens on an address, also if the host does not have it yet.
fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    match listen(address, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            tracing::warn!(%address, "{}", listening::ABSENT);
            listen(address, true)
        }
        outcome => outcome,
    }
}

/// Listens on all addresses of both families, or of IPv4 if the kernel has no IPv6.
fn bind_all(port: u16) -> io::Result<TcpListener> {
    match listen((Ipv6Addr::UNSPECIFIED, port).into(), false) {
        Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
            listen((Ipv4Addr::UNSPECIFIED, port).into(), false)
        }
        outcome => outcome,
    }
}

/// Like `TcpListener::bind`, except that `[::]` includes IPv4 whatever `net.ipv6.bindv6only` is, and
/// that an absent address is no error if `is_free` (`IP_FREEBIND`, ip(7)).
fn listen(address: SocketAddr, is_free: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if is_free {
        if address.is_ipv4() {
            socket.set_freebind_v4(true)?;
        } else {
            socket.set_freebind_v6(true)?;
        }
    }
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
    fn addresses_without_a_valid_host_and_port_are_refused() {
        let refused = |text: &str| text.parse::<ListenAddress>().unwrap_err();
        assert_eq!(refused("9863"), NoListenAddress::Port(9863));
        for text in ["http://localhost:80", "https://:9863/", "udp://127.0.0.1:80"] {
            assert_eq!(refused(text), NoListenAddress::Url);
        }
        for text in [
            "",
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
            "65536",
            "local host:80",
            "localhost:http",
        ] {
            assert_eq!(refused(text), NoListenAddress::Other, "{text:?}");
        }
    }

    #[test]
    fn without_a_host_it_listens_on_both_families() {
        block_on(async {
            let listener = address(":0").bind().await.unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
            assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok());
        });
    }

    #[test]
    fn an_address_that_the_host_does_not_have_yet_is_listened_on() {
        block_on(async {
            for absent in ["192.0.2.77:0", "[2001:db8::77]:0"] {
                let listener = address(absent).bind().await.unwrap();
                let absent: SocketAddr = absent.parse().unwrap();
                assert_eq!(listener.local_addr().unwrap().ip(), absent.ip());
            }
        });
    }

    #[test]
    fn an_error_names_the_address_in_use_and_the_flag() {
        block_on(async {
            let holder = address("127.0.0.1:0").bind().await.unwrap();
            let taken = holder.local_addr().unwrap().to_string();
            let error = address(&taken).bind().await.unwrap_err();
            assert_eq!(
                format!("{error:#}"),
                format!(
                    "cannot serve HTTP on {taken}: Address already in use (os error 98): stop the \
                     program that uses it, or choose another address or port with \
                     --web.listen-address"
                )
            );
        });
    }
}
