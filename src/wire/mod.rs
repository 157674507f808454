//! The protocols: how a heartbeat looks on the wire.
//!
//! A protocol has two halves. The [`Prober`] is the sending half: it encodes a [`Request`] and
//! decodes a [`Reply`]. Each target has its own, built from its [`ProtocolOptions`]. The
//! [`Reflect`] half, which a protocol may lack, answers requests. Nothing here reads a clock or can
//! panic: decoding is total over any octets.
//!
//! A protocol is one file beside this one, and one entry in the registry below. Its file has:
//!
//! - a static `PROTOCOL`: a `Description` of the properties that are the same for every target;
//! - a type for the options that a target may set, which implements `TargetOptions`; a protocol
//!   without options implements `WithoutOptions` for its prober instead;
//! - the types that implement [`Prober`] and, if responders answer the protocol, [`Reflect`].
//!
//! The registry turns each entry into a variant of [`Protocol`] and one of [`ProtocolOptions`].
//!
//! Three rules are true for all protocols, and property tests over the registry check them:
//!
//! 1. A responder's reply is never longer than its request: the responder cannot amplify. The one
//!    exception is a [short](recognise_short) request, which a responder answers only if its
//!    settings allow it.
//! 2. No reply of any protocol is a request of any protocol: two responders, or a responder and
//!    another server, cannot be made to answer each other.
//! 3. Decoding what was encoded and reflected gives what was encoded.
//!
//! Several protocols share a responder's port. They are asked in the order of their [`Rank`]: STAMP
//! has no magic number and accepts almost any datagram, so it is asked last.
//!
//! # Examples
//! ```
//! use udp_heartbeat::model::Wall;
//! use udp_heartbeat::wire::{self, Arrived, Request};
//!
//! let now = Wall::from_nanos(1_767_225_600_000_000_000);
//! let prober = wire::by_name("ping").unwrap().default_options().prober(0);
//! let mut request = Vec::new();
//! prober.encode(&Request::new(0, 4, now), &mut request);
//! assert_eq!(request, b"Ping 5 Thu Jan  1 00:00:00 2026");
//!
//! let recognised = wire::recognise(&request, now).unwrap();
//! let mut reply = Vec::new();
//! recognised.reflect(Arrived::new(now, None), now, &mut reply);
//! assert_eq!(reply, b"PING 5 THU JAN  1 00:00:00 2026");
//! assert_eq!(prober.decode(&reply).unwrap().sequence, 4);
//! ```

mod dns;
mod heartbeat;
mod key;
mod number;
mod options;
mod ping;
mod prober;
mod protocol;
mod reflect;
mod stamp;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::model::Wall;

use options::{NothingSet, TargetOptions};
use protocol::Description;

pub use heartbeat::HeartbeatText;
pub use key::{Key, KeyError};
pub use options::{FiledKey, OptionSource, OptionValue};
pub use ping::PingText;
pub use prober::{Prober, Reply, Request, Unreadable};
pub use protocol::{LARGEST_DATAGRAM, MAX_DATAGRAM, MAX_RESULTS};
pub use reflect::{
    Arrived, Authenticity, NotRequest, ParsedRequest, Rank, Reflect, Unauthenticated,
};
pub use stamp::{ROUTER_PORT, StampOptions};

/// Declares the registry: for each protocol, a variant of [`Protocol`] and one of
/// [`ProtocolOptions`].
macro_rules! protocols {
    ($($variant:ident($module:ident::$options:ident),)+) => {
        /// A protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Protocol {
            $(
                #[doc = concat!("`", stringify!($module), "`.")]
                $variant,
            )+
        }

        /// Every protocol, in the order of help texts.
        pub static PROTOCOLS: &[Protocol] = &[$(Protocol::$variant),+];

        impl Protocol {
            fn description(self) -> &'static Description {
                match self {
                    $(Self::$variant => &$module::PROTOCOL,)+
                }
            }

            /// Reads the options from `source`, and reports invalid options to it.
            pub fn options(self, source: &mut dyn OptionSource) -> ProtocolOptions {
                match self {
                    $(Self::$variant => $module::$options::read(source).into(),)+
                }
            }
        }

        /// A protocol with the options of one target.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ProtocolOptions {
            $(
                #[doc = concat!("Those of `", stringify!($module), "`.")]
                $variant($module::$options),
            )+
        }

        impl ProtocolOptions {
            /// The protocol that these options belong to.
            #[must_use]
            pub const fn protocol(&self) -> Protocol {
                match self {
                    $(Self::$variant(_) => Protocol::$variant,)+
                }
            }

            /// The keys of the protocol with their values in force, in the form of the
            /// configuration file; files are absolute paths.
            #[must_use]
            pub fn written(&self) -> Vec<(&'static str, OptionValue)> {
                match self {
                    $(Self::$variant(options) => options.written(),)+
                }
            }

            /// The size to which the requests of the target are padded, in octets of UDP payload; 0
            /// if they are not padded.
            #[must_use]
            pub fn padded_size(&self) -> u16 {
                match self {
                    $(Self::$variant(options) => options.padded_size(),)+
                }
            }

            /// The sending half of the protocol for one target. `secret` is random, and different
            /// for each target.
            #[must_use]
            pub fn prober(&self, secret: u64) -> Arc<dyn Prober> {
                match self {
                    $(Self::$variant(options) => options.prober(secret),)+
                }
            }
        }

        $(
            impl From<$module::$options> for ProtocolOptions {
                fn from(options: $module::$options) -> Self {
                    Self::$variant(options)
                }
            }
        )+
    };
}

protocols! {
    Heartbeat(heartbeat::HeartbeatText),
    Ping(ping::PingText),
    Stamp(stamp::StampOptions),
    Dns(dns::DnsOptions),
}

/// The default protocol of targets.
pub const DEFAULT_PROTOCOL: Protocol = Protocol::Heartbeat;

impl Protocol {
    /// The name in configuration, on the command line and in labels: lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.description().name
    }

    /// One line for help texts: who supports it, and what it reports.
    #[must_use]
    pub fn summary(self) -> &'static str {
        self.description().summary
    }

    /// The port on which servers of the protocol listen by convention, if there is one.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        self.description().port
    }

    /// The keys of its options, in addition to the keys that every protocol has.
    #[must_use]
    pub fn keys(self) -> &'static [&'static str] {
        self.description().keys
    }

    /// The options of a target that sets none.
    #[must_use]
    pub fn default_options(self) -> ProtocolOptions {
        self.options(&mut NothingSet)
    }

    /// The number of a target's first heartbeat. `secret` is random, and different for each target.
    ///
    /// A reply of a text protocol repeats only the number, so the numbers begin at random: an
    /// attacker off the path must guess one that is in flight. The first number has 30 bits, so the
    /// numbers of session 0 stay below 2³¹ for 34 years at one heartbeat per second: other programs
    /// may read a signed integer.
    /// STAMP begins at 0 (RFC 8762 section 4.2.1).
    #[must_use]
    pub fn first_number(self, secret: u64) -> u32 {
        let [.., a, b, c, d] = secret.to_be_bytes();
        if self.description().random_start { u32::from_be_bytes([a, b, c, d]) >> 2 } else { 0 }
    }

    /// The maximum number of heartbeats of one target in flight: half of the numbers that a reply
    /// can carry, so that a late reply is not taken for the answer to a newer heartbeat.
    #[must_use]
    pub fn max_in_flight(self) -> u32 {
        1 << (self.description().sequence_bits - 1)
    }

    /// The results that a reply can report, as label values; empty if replies report no result. At
    /// most [`MAX_RESULTS`].
    #[must_use]
    pub fn results(self) -> &'static [&'static str] {
        self.description().results
    }

    /// The reflecting half; `None` if responders do not answer the protocol.
    #[must_use]
    pub fn reflect(self) -> Option<&'static dyn Reflect> {
        self.description().reflect
    }
}

impl ProtocolOptions {
    /// The name of the protocol.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.protocol().name()
    }
}

/// The options of a target that sets none.
impl From<Protocol> for ProtocolOptions {
    fn from(protocol: Protocol) -> Self {
        protocol.default_options()
    }
}

/// The protocol with this `name`, as in the configuration and in `PROTOCOL://HOST`.
#[must_use]
pub fn by_name(name: &str) -> Option<Protocol> {
    PROTOCOLS.iter().copied().find(|protocol| protocol.name() == name)
}

/// The protocols that responders answer, with their reflecting halves.
pub fn reflecting() -> impl Iterator<Item = (Protocol, &'static dyn Reflect)> {
    PROTOCOLS.iter().filter_map(|&protocol| Some((protocol, protocol.reflect()?)))
}

/// A request and its protocol.
#[derive(Debug, Clone, Copy)]
pub struct Recognised<'d> {
    /// The protocol.
    pub protocol: Protocol,
    /// The parsed request.
    pub request: ParsedRequest<'d>,
    /// The reflecting half of the protocol.
    half: &'static dyn Reflect,
}

impl Recognised<'_> {
    /// See [`Reflect::authenticate`].
    ///
    /// # Errors
    /// If the request is in authenticated mode and none of the keys authenticates it.
    pub fn authenticate<'k>(&self, keys: &'k [Key]) -> Result<Authenticity<'k>, Unauthenticated> {
        self.half.authenticate(&self.request, keys)
    }

    /// See [`Reflect::reflect`].
    pub fn reflect(&self, arrived: Arrived<'_>, now: Wall, out: &mut Vec<u8>) {
        self.half.reflect(&self.request, arrived, now, out);
    }
}

/// Reads a datagram that arrived at a responder at `now`, on a port that all protocols share.
///
/// # Errors
/// [`NotRequest::Reply`] if it is a reply of any protocol, [`NotRequest::Short`] if only
/// [`recognise_short`] reads it, [`NotRequest::Foreign`] if it belongs to no protocol; otherwise, what
/// is wrong with it.
pub fn recognise(datagram: &[u8], now: Wall) -> Result<Recognised<'_>, NotRequest> {
    let mut is_reply = PROTOCOLS.iter().filter_map(|protocol| protocol.description().is_reply);
    if is_reply.any(|is_reply| is_reply(datagram)) {
        return Err(NotRequest::Reply);
    }
    let mut why_not = NotRequest::Foreign;
    for rank in Rank::ALL {
        for (protocol, half) in reflecting().filter(|(_, half)| half.rank() == rank) {
            match half.recognise(datagram, now) {
                Ok(request) => return Ok(Recognised { protocol, request, half }),
                Err(reason @ (NotRequest::Reply | NotRequest::Short)) => why_not = reason,
                Err(reason) if why_not == NotRequest::Foreign => why_not = reason,
                Err(_) => {}
            }
        }
    }
    Err(why_not)
}

/// Reads a datagram that one of `keys` shows to be in authenticated mode although [`recognise`] takes
/// it for something else. `None` for all other datagrams: ask [`recognise`].
///
/// # Errors
/// [`NotRequest::Reply`] if it is a reply in authenticated mode.
#[must_use]
pub fn recognise_tagged<'d>(
    datagram: &'d [u8],
    now: Wall,
    keys: &[Key],
) -> Option<Result<Recognised<'d>, NotRequest>> {
    reflecting().find_map(|(protocol, half)| {
        let read = half.recognise_tagged(datagram, now, keys)?;
        Some(read.map(|request| Recognised { protocol, request, half }))
    })
}

/// Reads a datagram for which [`recognise`] returned [`NotRequest::Short`]: its reply is longer
/// than the datagram.
#[must_use]
pub fn recognise_short(datagram: &[u8], now: Wall) -> Option<Recognised<'_>> {
    reflecting().find_map(|(protocol, half)| {
        let request = half.recognise_short(datagram, now)?;
        Some(Recognised { protocol, request, half })
    })
}
