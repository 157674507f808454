//! The settings that a mapping of a file sets, where `defaults` and targets share them.

use std::time::Duration;

use super::packet_keys::PacketKeys;
use super::target::Defaults;
use crate::model::{Addresses, IpVersion};
use crate::wire::Protocol;

/// The settings that `defaults` and targets share; `None` if absent or invalid.
#[derive(Debug)]
pub(super) struct CommonKeys {
    pub(super) protocol: Option<Protocol>,
    pub(super) port: Option<u16>,
    pub(super) ip_version: Option<IpVersion>,
    pub(super) addresses: Option<Addresses>,
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) misses: Option<u32>,
    pub(super) recoveries: Option<u32>,
    pub(super) recorder: Option<u32>,
    pub(super) packets: PacketKeys,
}

impl CommonKeys {
    /// These settings, with missing ones from `fallback`.
    pub(super) fn or(&self, fallback: &Defaults) -> Defaults {
        Defaults {
            protocol: self.protocol.unwrap_or(fallback.protocol),
            port: self.port.or(fallback.port),
            ip_version: self.ip_version.unwrap_or(fallback.ip_version),
            addresses: self.addresses.unwrap_or(fallback.addresses),
            interval: self.interval.unwrap_or(fallback.interval),
            timeout: self.timeout.unwrap_or(fallback.timeout),
            misses: self.misses.unwrap_or(fallback.misses),
            recoveries: self.recoveries.unwrap_or(fallback.recoveries),
            recorder: self.recorder.unwrap_or(fallback.recorder),
            packets: self.packets.or(&fallback.packets),
        }
    }
}
