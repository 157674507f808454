//! The errors of opening a socket and of sending a datagram.

use std::io;
use std::net::SocketAddr;

use nix::errno::Errno;

use crate::model::UnsentReason;

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {address}")]
pub struct BindError {
    pub(super) operation: &'static str,
    pub(super) address: SocketAddr,
    pub(super) source: io::Error,
}

impl BindError {
    /// The address of the socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the host does not have the address.
    #[must_use]
    pub fn is_absent_address(&self) -> bool {
        self.source.raw_os_error() == Some(Errno::EADDRNOTAVAIL as i32)
    }

    /// Whether the system does not support the address family, such as IPv6 on a kernel without it.
    #[must_use]
    pub fn is_unsupported_family(&self) -> bool {
        self.source.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32)
    }
}

/// The kernel did not accept a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel did not accept the datagram")]
pub struct SendError(#[source] pub(super) Errno);

impl SendError {
    /// The reason with which the heartbeat is counted as unsent.
    #[must_use]
    pub fn reason(self) -> UnsentReason {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all other values of errno(3) are `other`"
        )]
        match self.0 {
            Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::EADDRNOTAVAIL
            | Errno::EAFNOSUPPORT
            | Errno::ENETDOWN
            | Errno::ENODEV => UnsentReason::NoRoute,
            Errno::EPERM | Errno::EACCES | Errno::ECONNREFUSED => UnsentReason::Refused,
            Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM => UnsentReason::Buffer,
            _ => UnsentReason::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn error_numbers_map_to_reasons() {
        for (errno, reason) in [
            (Errno::ENETUNREACH, UnsentReason::NoRoute),
            (Errno::EHOSTUNREACH, UnsentReason::NoRoute),
            (Errno::EADDRNOTAVAIL, UnsentReason::NoRoute),
            (Errno::EAFNOSUPPORT, UnsentReason::NoRoute),
            (Errno::ENETDOWN, UnsentReason::NoRoute),
            (Errno::ENODEV, UnsentReason::NoRoute),
            (Errno::EPERM, UnsentReason::Refused),
            (Errno::EACCES, UnsentReason::Refused),
            (Errno::ECONNREFUSED, UnsentReason::Refused),
            (Errno::EAGAIN, UnsentReason::Buffer),
            (Errno::ENOBUFS, UnsentReason::Buffer),
            (Errno::ENOMEM, UnsentReason::Buffer),
            (Errno::EMSGSIZE, UnsentReason::Other),
            (Errno::EINVAL, UnsentReason::Other),
        ] {
            assert_eq!(SendError(errno).reason(), reason, "{errno}");
        }
    }

    #[test]
    fn the_cause_of_an_error_is_its_source() {
        let error = SendError(Errno::EPERM);
        assert_eq!(error.to_string(), "the kernel did not accept the datagram");
        assert_eq!(error.source().unwrap().to_string(), "EPERM: Operation not permitted");
    }
}
