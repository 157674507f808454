//! Explains why an address cannot be listened on, and what to change.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Ports below this one need a capability (capabilities(7)), unless sysctl
/// `net.ipv4.ip_unprivileged_port_start` is set to another one.
const PRIVILEGED: u16 = 1024;

/// The log message of a program that listens on an address before this machine has it.
pub(super) const ABSENT: &str =
    "this machine does not have the address yet; requests are answered as soon as it does";

/// Adds advice to `error`, whose cause is of this kind. `port` is the port of the address, and `flag`
/// is the flag that sets the address.
pub(super) fn explained(
    error: impl Into<anyhow::Error>,
    kind: ErrorKind,
    port: u16,
    flag: &str,
) -> anyhow::Error {
    let error = error.into();
    let program = std::env::current_exe().unwrap_or_else(|_| "PROGRAM".into());
    match advice(kind, port, flag, &program) {
        Some(advice) => anyhow::anyhow!("{error:#}: {advice}"),
        None => error,
    }
}

/// The kind of the system's error among the causes of `error`.
pub(super) fn kind(error: &(dyn std::error::Error + 'static)) -> ErrorKind {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map_or(ErrorKind::Other, io::Error::kind)
}

fn advice(kind: ErrorKind, port: u16, flag: &str, program: &Path) -> Option<String> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "other errors have no common cause")]
    match kind {
        ErrorKind::PermissionDenied if port < PRIVILEGED => {
            let program = program.display();
            Some(format!(
                "a port below {PRIVILEGED} needs CAP_NET_BIND_SERVICE: run `setcap \
                 cap_net_bind_service=+ep {program}` as root, set \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or choose another \
                 port with {flag}"
            ))
        }
        ErrorKind::AddrInUse => Some(format!(
            "stop the program that uses it, or choose another address or port with {flag}"
        )),
        ErrorKind::AddrNotAvailable => {
            Some(format!("this machine does not have the address: choose another one with {flag}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_advice() {
        let advice = |kind, port| advice(kind, port, "--listen", Path::new("/bin/responder"));
        assert_eq!(
            advice(ErrorKind::PermissionDenied, 862).unwrap(),
            "a port below 1024 needs CAP_NET_BIND_SERVICE: run `setcap \
             cap_net_bind_service=+ep /bin/responder` as root, set \
             AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or choose another port \
             with --listen"
        );
        assert_eq!(advice(ErrorKind::PermissionDenied, 1024), None);
        for (kind, end) in [
            (ErrorKind::AddrInUse, "or choose another address or port with --listen"),
            (ErrorKind::AddrNotAvailable, "choose another one with --listen"),
        ] {
            assert!(advice(kind, 12000).unwrap().ends_with(end));
        }
        assert_eq!(advice(ErrorKind::OutOfMemory, 862), None);
    }

    #[test]
    fn advice_follows_the_error_and_its_causes() {
        let error = io::Error::from_raw_os_error(98);
        let error = anyhow::Error::new(error).context("cannot bind 127.0.0.1:12000");
        let kind = kind(error.as_ref());
        assert_eq!(
            format!("{:#}", explained(error, kind, 12000, "--listen")),
            "cannot bind 127.0.0.1:12000: Address already in use (os error 98): stop the program \
             that uses it, or choose another address or port with --listen"
        );
    }
}
