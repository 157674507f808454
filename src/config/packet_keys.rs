//! Reads the packet options in a mapping of a file.

use std::num::NonZeroU8;
use std::str::FromStr;

use super::node::{Node, Value};
use super::packets::{PacketOptionError, SourceAddress};
use super::values;
use crate::model::{Dscp, InterfaceName, PacketOptions};

/// The packet options that a mapping of a file sets.
#[derive(Debug, Default)]
pub(super) struct PacketKeys {
    pub(super) source: Option<SourceAddress>,
    pub(super) interface: Option<InterfaceName>,
    pub(super) dscp: Option<Dscp>,
    pub(super) ttl: Option<NonZeroU8>,
    pub(super) dont_fragment: Option<bool>,
}

impl PacketKeys {
    /// These options, with missing ones from `fallback`.
    pub(super) fn or(&self, fallback: &PacketOptions) -> PacketOptions {
        PacketOptions {
            source: self.source.map(|SourceAddress(ip)| ip).or(fallback.source),
            interface: self.interface.or(fallback.interface),
            dscp: self.dscp.unwrap_or(fallback.dscp),
            ttl: self.ttl.or(fallback.ttl),
            dont_fragment: self.dont_fragment.unwrap_or(fallback.dont_fragment),
        }
    }
}

/// The value of `source`.
pub(super) fn source(node: &Node<'_>) -> Result<SourceAddress, String> {
    parsed(values::text(node)?)
}

/// The value of `interface`.
pub(super) fn interface(node: &Node<'_>) -> Result<InterfaceName, String> {
    parsed(values::text(node)?)
}

/// The value of `dscp`: a number or a name.
pub(super) fn dscp(node: &Node<'_>) -> Result<Dscp, String> {
    if node.is_number() || matches!(node.value, Value::Text(_)) {
        return parsed(&node.to_string());
    }
    Err(values::mismatch("a DSCP, such as EF or 46", node))
}

/// The value of `ttl`.
pub(super) fn ttl(node: &Node<'_>) -> Result<NonZeroU8, String> {
    const EXPECTED: &str = "a whole number from 1 to 255";
    let ttl = values::whole(node, EXPECTED)?;
    NonZeroU8::new(ttl).ok_or_else(|| values::mismatch(EXPECTED, node))
}

/// The value of `dont_fragment`.
pub(super) fn dont_fragment(node: &Node<'_>) -> Result<bool, String> {
    if let Value::Bool(value) = node.value {
        return Ok(value);
    }
    Err(values::mismatch("true or false", node))
}

fn parsed<T: FromStr<Err = PacketOptionError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: PacketOptionError| error.to_string())
}
