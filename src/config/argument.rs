//! A target of the command line: `[PROTOCOL://]HOST[:PORT]` enters, a [`Target`] leaves.

use super::address::{self, Address, AddressError};
use super::scalars::{UnknownProtocol, protocol};
use super::target::{Defaults, Target};

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// What stands before `://` is no protocol.
    #[error(transparent)]
    Protocol(#[from] UnknownProtocol),
    /// What stands behind it is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// Reads a target as it is given on the command line, `[PROTOCOL://]HOST[:PORT]`.
///
/// Its name is the text as it is written; what the text does not say comes from `defaults`.
///
/// # Errors
/// Where the protocol is unknown, or the rest is no address.
pub fn parse_target(text: &str, defaults: &Defaults) -> Result<Target, TargetError> {
    let (protocol, address) = match text.split_once("://") {
        Some((name, address)) => (protocol(name)?, address),
        None => (defaults.protocol, text),
    };
    let (host, port) = address::parse(address)?;
    let address = Address { host, port: port.unwrap_or(defaults.port) };
    Ok(Target { protocol, ..defaults.target(text.to_owned(), address) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Host;

    #[test]
    fn a_target_takes_from_the_defaults_what_it_does_not_say() {
        let defaults = Defaults { port: 862, misses: 5, ..Defaults::default() };
        let plain = parse_target("fra.example", &defaults).unwrap();
        assert_eq!((plain.name.as_str(), plain.protocol.name()), ("fra.example", "heartbeat"));
        assert_eq!(
            plain.address,
            Address { host: Host::Name("fra.example".to_owned()), port: 862 }
        );
        assert_eq!(plain.misses, 5);

        let full = parse_target("stamp://[::1]:12000", &defaults).unwrap();
        assert_eq!((full.name.as_str(), full.protocol.name()), ("stamp://[::1]:12000", "stamp"));
        assert_eq!(full.address, Address { host: Host::Ip("::1".parse().unwrap()), port: 12000 });
    }

    #[test]
    fn a_target_of_no_protocol_names_those_there_are() {
        let error = |text: &str| parse_target(text, &Defaults::default()).unwrap_err().to_string();
        assert_eq!(
            error("stmp://a"),
            r#"unknown protocol "stmp", did you mean stamp? (known: heartbeat, ping, stamp)"#
        );
        assert_eq!(error("http://a"), r#"unknown protocol "http" (known: heartbeat, ping, stamp)"#);
        assert_eq!(error("stamp://"), r#"no host in """#);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_target_panic(text in r"\PC*|[a-z]{0,6}://\PC*") {
            let _ = parse_target(&text, &Defaults::default());
        }
    }
}
