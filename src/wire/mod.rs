//! The protocols: how a heartbeat looks on the wire.
//!
//! A protocol has two halves. The [`Prober`] sends: a [`Request`] enters and octets leave, octets
//! enter and a [`Reply`] leaves. Each target has one of its own, built from its
//! [`ProtocolOptions`]. The [`Reflect`] half, which a protocol may lack, is what a responder answers
//! with. Nothing here reads a clock or can panic: decoding is total over any octets.
//!
//! A protocol is one file beside this one, and one entry in the registry below. Its file has:
//!
//! - a static `PROTOCOL`: a `Description`, which has all that is the same for every target;
//! - a type for the options that a target may set, which implements `TargetOptions`; a protocol
//!   without options implements `WithoutOptions` for its prober instead;
//! - what implements [`Prober`], and, where responders answer the protocol, [`Reflect`].
//!
//! From its entry, the registry makes a variant of [`Protocol`] and one of [`ProtocolOptions`].
//!
//! Three rules are true for all protocols, and property tests over the registry check them:
//!
//! 1. A responder's reply is never longer than its request: the responder cannot amplify.
//! 2. No reply of any protocol is a request of any protocol: two responders, or a responder and
//!    another server, cannot be made to answer each other.
//! 3. Decoding what was encoded and reflected gives what was encoded.
//!
//! Several protocols share a responder's port. They are asked in the order of their [`Rank`]: STAMP
//! has no magic number and takes almost anything, so it is asked last.

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
pub use options::{FiledKey, OptionSource};
pub use ping::PingText;
pub use prober::{Prober, Reply, Request, Unreadable};
pub use protocol::{MAX_DATAGRAM, MAX_RESULTS};
pub use reflect::{
    Arrived, Authenticity, NotRequest, ParsedRequest, Rank, Reflect, Unauthenticated,
};
pub use stamp::StampOptions;

/// Declares the registry: for each protocol, a variant of [`Protocol`] and one of its options.
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

            /// The options that `source` sets; what is wrong there is reported to it.
            pub fn options(self, source: &mut dyn OptionSource) -> ProtocolOptions {
                match self {
                    $(Self::$variant => $module::$options::read(source).into(),)+
                }
            }
        }

        /// A protocol with the options that one target sets of it.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ProtocolOptions {
            $(
                #[doc = concat!("Those of `", stringify!($module), "`.")]
                $variant($module::$options),
            )+
        }

        impl ProtocolOptions {
            /// The protocol that they are options of.
            #[must_use]
            pub const fn protocol(&self) -> Protocol {
                match self {
                    $(Self::$variant(_) => Protocol::$variant,)+
                }
            }

            /// The keys that are of the protocol alone, with the values in force, as they are
            /// written in configuration; files by their absolute paths.
            #[must_use]
            pub fn written(&self) -> Vec<(&'static str, String)> {
                match self {
                    $(Self::$variant(options) => options.written(),)+
                }
            }

            /// The sending half of the protocol for one target; `secret` is drawn for it alone, and
            /// cannot be guessed by others.
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

/// The protocol of targets that name none.
pub const DEFAULT_PROTOCOL: Protocol = Protocol::Heartbeat;

impl Protocol {
    /// The name in configuration, on the command line and in labels: lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.description().name
    }

    /// One line for help texts: what speaks it, what it reports.
    #[must_use]
    pub fn summary(self) -> &'static str {
        self.description().summary
    }

    /// The port that servers of the protocol listen on by convention, where there is one.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        self.description().port
    }

    /// The keys that a target may set, beside those of every protocol.
    #[must_use]
    pub fn keys(self) -> &'static [&'static str] {
        self.description().keys
    }

    /// The options of a target that sets none.
    #[must_use]
    pub fn default_options(self) -> ProtocolOptions {
        self.options(&mut NothingSet)
    }

    /// The results that a reply can report, as label values; none where replies report nothing of
    /// the kind. At most [`MAX_RESULTS`].
    #[must_use]
    pub fn results(self) -> &'static [&'static str] {
        self.description().results
    }

    /// The half that responders answer with, where they do.
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

/// The protocol called `name`, as it is written in configuration and in `PROTOCOL://HOST`.
#[must_use]
pub fn by_name(name: &str) -> Option<Protocol> {
    PROTOCOLS.iter().copied().find(|protocol| protocol.name() == name)
}

/// The protocols that responders answer, with the half that answers.
pub fn reflecting() -> impl Iterator<Item = (Protocol, &'static dyn Reflect)> {
    PROTOCOLS.iter().filter_map(|&protocol| Some((protocol, protocol.reflect()?)))
}

/// A request, and the protocol that it is of.
#[derive(Debug, Clone, Copy)]
pub struct Recognised<'d> {
    /// The protocol.
    pub protocol: Protocol,
    /// What was read of the request.
    pub request: ParsedRequest<'d>,
    /// The half of the protocol that answers it.
    half: &'static dyn Reflect,
}

impl Recognised<'_> {
    /// See [`Reflect::authenticate`].
    ///
    /// # Errors
    /// Where the request is of the authenticated mode, and none of the keys is its sender's.
    pub fn authenticate<'k>(&self, keys: &'k [Key]) -> Result<Authenticity<'k>, Unauthenticated> {
        self.half.authenticate(&self.request, keys)
    }

    /// See [`Reflect::reflect`].
    pub fn reflect(&self, arrived: Arrived<'_>, now: Wall, out: &mut Vec<u8>) {
        self.half.reflect(&self.request, arrived, now, out);
    }
}

/// Reads a datagram that came to a responder at `now`, where the responder serves all protocols on
/// one port.
///
/// # Errors
/// [`NotRequest::Reply`] where it is a reply of any protocol, [`NotRequest::Foreign`] where it is
/// of none.
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
                Err(NotRequest::Reply) => why_not = NotRequest::Reply,
                Err(NotRequest::Foreign) => {}
            }
        }
    }
    Err(why_not)
}
