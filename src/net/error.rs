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
pub struct SendError {
    #[source]
    pub(super) errno: Errno,
    reason: UnsentReason,
}

impl SendError {
    /// The error `errno` about a datagram about which nothing else is known.
    pub(super) fn new(errno: Errno) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all other values of errno(3) are `other`"
        )]
        let reason = match errno {
            Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::EADDRNOTAVAIL
            | Errno::EAFNOSUPPORT
            | Errno::ENETDOWN
            | Errno::ENODEV => UnsentReason::NoRoute,
            Errno::EPERM | Errno::EACCES | Errno::ECONNREFUSED => UnsentReason::Refused,
            Errno::EMSGSIZE => UnsentReason::TooBig,
            Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM => UnsentReason::Buffer,
            _ => UnsentReason::Other,
        };
        Self { errno, reason }
    }

    /// The error `errno` for a reason that the number alone does not say.
    pub(super) fn because(errno: Errno, reason: UnsentReason) -> Self {
        Self { errno, reason }
    }

    /// The reason with which the heartbeat is counted as unsent.
    #[must_use]
    pub fn reason(self) -> UnsentReason {
        self.reason
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
            (Errno::EMSGSIZE, UnsentReason::TooBig),
            (Errno::EINVAL, UnsentReason::Other),
        ] {
            assert_eq!(SendError::new(errno).reason(), reason, "{errno}");
        }
    }

    #[test]
    fn the_cause_of_an_error_is_its_source() {
        let error = SendError::new(Errno::EPERM);
        assert_eq!(error.to_string(), "the kernel did not accept the datagram");
        assert_eq!(error.source().unwrap().to_string(), "EPERM: Operation not permitted");
    }
}
