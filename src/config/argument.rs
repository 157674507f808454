//! Parses targets of the command line, and addresses of a file: `[PROTOCOL://]HOST[:PORT]`.

use std::path::Path;
use std::sync::Arc;

use super::address::{self, Address, AddressError, Host};
use super::key::{KeyFile, absolute};
use super::packets::{PacketConflict, check_packets};
use super::scalars::{UnknownProtocol, did_you_mean, foreign_option, names, protocol};
use super::target::{Defaults, Target, TooManyInFlight, in_flight};
use crate::wire::{FiledKey, OptionSource, Protocol};

/// Why a text does not describe a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The part before `://` is not the name of a protocol.
    #[error(transparent)]
    Protocol(#[from] UnknownProtocol),
    /// A URL, such as `http://…`: the part before `://` does not resemble the name of a protocol.
    #[error(
        "{0:?} is a URL: write HOST:PORT or PROTOCOL://HOST:PORT (known protocols: {known})",
        known = names().join(", ")
    )]
    Url(String),
    /// The rest is not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The protocol does not have a given option, or the value of an option is invalid. Contains
    /// the message.
    #[error("{0}")]
    Option(String),
    /// The timeout of the defaults is too long for the protocol.
    #[error(transparent)]
    InFlight(#[from] TooManyInFlight),
    /// A packet option of the defaults contradicts the address.
    #[error("{key} {0}", key = .0.key())]
    Packets(#[from] PacketConflict),
}

/// `[PROTOCOL://]HOST[:PORT]`, where heartbeats go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) protocol: Option<Protocol>,
    pub(super) host: Host,
    pub(super) port: Option<u16>,
}

/// Reads `[PROTOCOL://]HOST[:PORT]`.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, TargetError> {
    let (protocol, address) = match text.split_once("://") {
        None => (None, text),
        Some((name, address)) => match protocol(name) {
            Ok(protocol) => (Some(protocol), address),
            Err(_) if did_you_mean(name, &names()).is_empty() => {
                return Err(TargetError::Url(text.to_owned()));
            }
            Err(unknown) => return Err(unknown.into()),
        },
    };
    let (host, port) = address::parse(address)?;
    Ok(Endpoint { protocol, host, port })
}

/// Reads a target of the command line, `[PROTOCOL://]HOST[:PORT]`.
///
/// Its name is `text`; settings that are not in the text come from `defaults`.
///
/// # Errors
/// If the protocol is unknown, the address is invalid, or the timeout is too long for the protocol.
pub fn parse_target(text: &str, defaults: &Defaults) -> Result<Target, TargetError> {
    parse_target_with(text, &[], defaults)
}

/// Like [`parse_target`], with `options` of the protocol: keys and their values.
///
/// # Errors
/// Those of [`parse_target`]. Also if the protocol does not have one of the options, or the value
/// of an option is invalid.
pub fn parse_target_with(
    text: &str,
    options: &[(&str, &str)],
    defaults: &Defaults,
) -> Result<Target, TargetError> {
    let Endpoint { protocol, host, port } = endpoint(text)?;
    let protocol = protocol.unwrap_or(defaults.protocol);
    let address = Address { host, port: port.unwrap_or(defaults.port_of(protocol)) };
    if let Some((key, _)) = options.iter().find(|(key, _)| !protocol.keys().contains(key)) {
        return Err(TargetError::Option(foreign_option(key, protocol)));
    }
    in_flight(protocol, defaults.interval, defaults.timeout)?;
    check_packets(&address, defaults.ip_version, &defaults.packets)?;
    let mut source = Arguments { options, wrong: None };
    let protocol = protocol.options(&mut source);
    match source.wrong {
        Some(message) => Err(TargetError::Option(message)),
        None => Ok(Target { protocol, ..defaults.target(text.to_owned(), address) }),
    }
}

/// Options of a command line.
struct Arguments<'a> {
    options: &'a [(&'a str, &'a str)],
    /// The message about the first invalid option.
    wrong: Option<String>,
}

impl OptionSource for Arguments<'_> {
    fn text(&mut self, key: &'static str) -> Option<String> {
        let (_, value) = self.options.iter().find(|(known, _)| *known == key)?;
        Some((*value).to_owned())
    }

    fn whole(&mut self, key: &'static str, expected: &str) -> Option<u32> {
        let text = self.text(key)?;
        let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_number && *number > 0);
        if number.is_none() {
            self.report(key, format!("must be {expected}, not {text:?}"));
        }
        number
    }

    fn key(&mut self, key: &'static str) -> Option<FiledKey> {
        let file = self.text(key)?;
        match KeyFile::read(Path::new(&file)) {
            Ok(read) => {
                let key = Arc::new(read.into_key());
                Some(FiledKey { file: absolute(Path::new(&file)), key })
            }
            Err(error) => {
                // The message names the file, so it does not need the name of the option.
                self.wrong.get_or_insert(error.to_string());
                None
            }
        }
    }

    fn report(&mut self, key: &'static str, message: String) {
        self.wrong.get_or_insert(format!("{key} {message}"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Host;

    #[test]
    fn missing_settings_come_from_the_defaults() {
        let defaults = Defaults { port: Some(862), misses: 5, ..Defaults::default() };
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
    fn an_unknown_protocol_is_reported_with_the_known_ones() {
        let error = |text: &str| parse_target(text, &Defaults::default()).unwrap_err().to_string();
        assert_eq!(
            error("stmp://a"),
            r#"unknown protocol "stmp", did you mean stamp? (known: heartbeat, ping, stamp, dns)"#
        );
        for url in ["http://a/", "https://a:443", "udp://a:862", "://a", "é://a"] {
            let known = "(known protocols: heartbeat, ping, stamp, dns)";
            assert_eq!(
                error(url),
                format!("{url:?} is a URL: write HOST:PORT or PROTOCOL://HOST:PORT {known}")
            );
        }
        assert_eq!(error("stamp://a:862/"), "invalid port \"862/\": must be from 1 to 65535");
        assert_eq!(
            error("stamp://a/"),
            "invalid character '/' in a host name: write HOST or HOST:PORT, without a path"
        );
        assert_eq!(error("stamp://"), r#"no host in """#);
    }

    #[test]
    fn a_timeout_that_is_too_long_for_the_protocol_is_refused() {
        let interval = Duration::from_millis(1);
        let defaults = Defaults { interval, timeout: 40_000 * interval, ..Defaults::default() };
        assert!(parse_target("stamp://a", &defaults).is_ok());
        assert_eq!(
            parse_target("dns://a", &defaults).unwrap_err().to_string(),
            "a timeout of 40s at an interval of 1ms keeps 40000 heartbeats in flight: \
             the limit of protocol dns is 32768"
        );
    }

    #[test]
    fn options_must_belong_to_the_protocol_and_be_valid() {
        let target = |text, options: &[(&str, &str)]| {
            parse_target_with(text, options, &Defaults::default()).map_err(|e| e.to_string())
        };
        let asking = |query| target("dns://a", &[("query", query)]).map(|target| target.protocol);
        assert_eq!(asking("example.org"), asking("example.org."));
        assert_ne!(asking("example.org"), asking("example.com"));
        assert_eq!(asking("").unwrap_err(), "query must not be empty: the root is \".\"");
        let error = target("ping://a", &[("key_file", "none")]).unwrap_err();
        assert_eq!(error, "protocol ping has no option key_file: the protocol must be stamp");
        let error = target("stamp://a", &[("key_file", "none")]).unwrap_err();
        assert_eq!(error, "none cannot be read: No such file or directory (os error 2)");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_target_panic(text in r"\PC*|[a-z]{0,6}://\PC*") {
            let _ = parse_target(&text, &Defaults::default());
        }
    }
}
