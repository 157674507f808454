//! Prints a configuration as YAML: every setting in force, including defaults, without secrets.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU8;

use serde::Serialize;

use super::address::Host;
use super::scalars::format_duration;
use super::target::{Config, Defaults, Target};
use crate::model::{IpVersion, PacketOptions};
use crate::wire::OptionValue;

impl Config {
    /// Writes the configuration as a file that reads back as the same configuration. Each target
    /// has all its settings, also those from `defaults`. Paths of key files are absolute.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn to_yaml(&self, mut out: impl io::Write) -> io::Result<()> {
        let file = File {
            defaults: (&self.defaults).into(),
            rtt_buckets: &self.rtt_buckets,
            targets: Targets(self),
        };
        // Not written directly, so that errors of `out` stay what they are.
        let text = serde_yaml::to_string(&file).map_err(io::Error::other)?;
        out.write_all(text.as_bytes())
    }
}

/// A whole file.
#[derive(Serialize)]
struct File<'a> {
    defaults: DefaultsEntry,
    rtt_buckets: &'a [f64],
    targets: Targets<'a>,
}

#[derive(Serialize)]
struct DefaultsEntry {
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    ip_version: PrintedVersion,
    addresses: &'static str,
    interval: String,
    timeout: String,
    misses: u32,
    recoveries: u32,
    recorder: u32,
    #[serde(flatten)]
    packets: PacketEntry,
}

/// How heartbeats leave, in `defaults` or on a target.
#[derive(Serialize)]
struct PacketEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    dscp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
    dont_fragment: bool,
}

/// The targets, each converted when it is written.
struct Targets<'a>(&'a Config);

#[derive(Serialize)]
struct TargetEntry<'a> {
    name: &'a str,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_version: Option<PrintedVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    protocol: &'static str,
    #[serde(flatten)]
    options: BTreeMap<&'static str, OptionValue>,
    interval: String,
    timeout: String,
    misses: u32,
    recoveries: u32,
    recorder: u32,
    #[serde(flatten)]
    packets: PacketEntry,
}

/// `auto`, or the number.
#[derive(Clone, Copy)]
struct PrintedVersion(IpVersion);

impl Serialize for PrintedVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            IpVersion::Auto => serializer.serialize_str(self.0.word()),
            IpVersion::V4 => serializer.serialize_u8(4),
            IpVersion::V6 => serializer.serialize_u8(6),
        }
    }
}

impl Serialize for Targets<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.targets.iter().map(|target| TargetEntry::from(&**target)))
    }
}

impl From<&Defaults> for DefaultsEntry {
    fn from(defaults: &Defaults) -> Self {
        let Defaults {
            protocol,
            port,
            ip_version,
            addresses,
            interval,
            timeout,
            misses,
            recoveries,
            recorder,
            packets,
        } = *defaults;
        Self {
            protocol: protocol.name(),
            port,
            ip_version: PrintedVersion(ip_version),
            addresses: addresses.word(),
            interval: format_duration(interval),
            timeout: format_duration(timeout),
            misses,
            recoveries,
            recorder,
            packets: packets.into(),
        }
    }
}

impl From<PacketOptions> for PacketEntry {
    fn from(packets: PacketOptions) -> Self {
        let PacketOptions { source, interface, dscp, ttl, dont_fragment } = packets;
        Self {
            source: source.map(|source| source.to_string()),
            interface: interface.map(|interface| interface.to_string()),
            dscp: dscp.to_string(),
            ttl: ttl.map(NonZeroU8::get),
            dont_fragment,
        }
    }
}

impl<'a> From<&'a Target> for TargetEntry<'a> {
    fn from(target: &'a Target) -> Self {
        Self {
            name: &target.name,
            address: target.address.to_string(),
            // A literal address has one.
            ip_version: match target.address.host {
                Host::Name(_) => Some(PrintedVersion(target.ip_version)),
                Host::Ip(_) => None,
            },
            addresses: target.address.host.dns_name().map(|_| target.addresses.word()),
            labels: &target.labels,
            protocol: target.protocol.name(),
            options: target.protocol.written().into_iter().collect(),
            interval: format_duration(target.interval),
            timeout: format_duration(target.timeout),
            misses: target.misses,
            recoveries: target.recoveries,
            recorder: target.recorder,
            packets: target.packets.into(),
        }
    }
}
