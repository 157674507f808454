//! The checked configuration: targets, their defaults, and limits that other modules rely on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::address::Address;
use super::scalars::format_duration;
use crate::model::{Addresses, IpVersion, PacketOptions};
use crate::wire::{DEFAULT_PROTOCOL, Protocol, ProtocolOptions};

/// How many heartbeats of one target can be in flight at once.
///
/// Each takes a place in the ledger's ring, and the ring bounds a target's memory.
pub const MAX_IN_FLIGHT: u32 = 1 << 16;

/// Maximum number of heartbeats that a flight recorder keeps. The ring for [`MAX_IN_FLIGHT`]
/// heartbeats has room for them.
pub const MAX_RECORDER: u32 = MAX_IN_FLIGHT;

/// The port of targets whose protocol has no port of its own. The responder listens on it, and so
/// do the servers of the course with which the probe interoperates (`tests/e2e/course.rs`).
pub const DEFAULT_PORT: u16 = 12000;

/// A whole configuration, without contradictions. The default has no targets.
#[derive(Debug, Clone)]
pub struct Config {
    /// The targets of the file in its order, then those of the command line. Names are unique, also
    /// those of the targets that come from templates.
    pub targets: Vec<Arc<Target>>,
    /// Upper bounds of the buckets of `heartbeat_rtt_seconds`, in seconds, ascending, without +Inf;
    /// never empty.
    pub rtt_buckets: Vec<f64>,
    /// The default settings of all targets, including those of the command line.
    pub defaults: Defaults,
}

/// One target: a server to which heartbeats are sent, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The value of the `target` label; unique, not empty, neither `.` nor `..`, without control
    /// characters, line separators, invisible characters, and characters that change the direction of
    /// text. The key `name` accepts at most 256 octets.
    pub name: String,
    /// Where heartbeats go.
    pub address: Address,
    /// The IP versions of the addresses that are used if the host is a name.
    pub ip_version: IpVersion,
    /// Whether there is a target for each of these addresses; see
    /// [`template_name`](Self::template_name). [`Addresses::First`] for a literal address.
    pub addresses: Addresses,
    /// The host name that has this address, if the target comes from a template.
    pub resolved_from: Option<Arc<str>>,
    /// The protocol, with this target's options.
    pub protocol: ProtocolOptions,
    /// Time from one heartbeat to the next; from 1 ms to a day.
    pub interval: Duration,
    /// Time to wait for an answer; more than zero, at most a day, and at most [`MAX_IN_FLIGHT`]
    /// intervals.
    pub timeout: Duration,
    /// Consecutive misses before the target is down; at least 1.
    pub misses: u32,
    /// Consecutive answers before it is up again; at least 1.
    pub recoveries: u32,
    /// How many of the newest heartbeats the flight recorder keeps; from 1 to [`MAX_RECORDER`].
    pub recorder: u32,
    /// How heartbeats leave. The source has the family of a literal address.
    pub packets: PacketOptions,
    /// Labels of its series, in addition to `target`.
    pub labels: BTreeMap<String, String>,
}

impl Target {
    /// The IP versions of the addresses to which heartbeats can go: `ip_version`, or that of the
    /// source address.
    #[must_use]
    pub fn admitted_version(&self) -> IpVersion {
        match (self.ip_version, self.packets.source) {
            (IpVersion::Auto, Some(IpAddr::V4(_))) => IpVersion::V4,
            (IpVersion::Auto, Some(IpAddr::V6(_))) => IpVersion::V6,
            (version, _) => version,
        }
    }
}

/// The default settings of targets, with the ranges of [`Target`].
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// The protocol.
    pub protocol: Protocol,
    /// The port of addresses without a port, if set; never 0. See [`Defaults::port_of`].
    pub port: Option<u16>,
    /// The IP versions of the addresses of names.
    pub ip_version: IpVersion,
    /// Which addresses of names are probed, for the targets of a file. Those of the command line
    /// use one address at a time.
    pub addresses: Addresses,
    /// Time from one heartbeat to the next.
    pub interval: Duration,
    /// Time to wait for an answer.
    pub timeout: Duration,
    /// Consecutive misses before a target is down.
    pub misses: u32,
    /// Consecutive answers before it is up again.
    pub recoveries: u32,
    /// How many of the newest heartbeats the flight recorder keeps.
    pub recorder: u32,
    /// How heartbeats leave.
    pub packets: PacketOptions,
}

/// A timeout that keeps more heartbeats in flight than the ledger has room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a timeout of {} at an interval of {} keeps {count} heartbeats in flight: the limit{} is {limit}",
    format_duration(*timeout),
    format_duration(*interval),
    if *limit < MAX_IN_FLIGHT { format!(" of protocol {}", protocol.name()) } else { String::new() }
)]
pub struct TooManyInFlight {
    /// The protocol, which can have a lower limit than the ledger.
    pub protocol: Protocol,
    /// Time from one heartbeat to the next.
    pub interval: Duration,
    /// Time to wait for an answer.
    pub timeout: Duration,
    /// How many heartbeats would be in flight.
    pub count: u128,
    /// How many may be in flight.
    pub limit: u32,
}

/// How many heartbeats are in flight when none is answered.
///
/// # Errors
/// If they are more than [`MAX_IN_FLIGHT`] or the [limit of the protocol](Protocol::max_in_flight),
/// or the interval is zero.
pub fn in_flight(
    protocol: Protocol,
    interval: Duration,
    timeout: Duration,
) -> Result<u32, TooManyInFlight> {
    let count = timeout.as_nanos().div_ceil(interval.as_nanos().max(1));
    let limit = protocol.max_in_flight().min(MAX_IN_FLIGHT);
    u32::try_from(count)
        .ok()
        .filter(|&count| count <= limit && !interval.is_zero())
        .ok_or(TooManyInFlight { protocol, interval, timeout, count, limit })
}

/// 20 bounds in seconds, from 50 µs to 26.2 s, each twice the one before. They cover a local link
/// as well as a satellite link with a full buffer.
#[must_use]
pub fn default_rtt_buckets() -> Vec<f64> {
    (0..20).map(|power| 50e-6 * f64::from(1_u32 << power)).collect()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            rtt_buckets: default_rtt_buckets(),
            defaults: Defaults::default(),
        }
    }
}

impl Defaults {
    /// The port of a target with `protocol` whose address has no port: [`Self::port`] if set,
    /// otherwise the protocol's own, otherwise 12000.
    #[must_use]
    pub fn port_of(&self, protocol: Protocol) -> u16 {
        self.port.or(protocol.port()).unwrap_or(DEFAULT_PORT)
    }

    /// The target of this name and address, with these settings, which uses one address at a time.
    #[must_use]
    pub fn target(&self, name: String, address: Address) -> Target {
        Target {
            name,
            address,
            ip_version: self.ip_version,
            addresses: Addresses::First,
            resolved_from: None,
            protocol: self.protocol.default_options(),
            interval: self.interval,
            timeout: self.timeout,
            misses: self.misses,
            recoveries: self.recoveries,
            recorder: self.recorder,
            packets: self.packets,
            labels: BTreeMap::new(),
        }
    }
}

/// The settings without a file: those of the course's programs (`tests/e2e/course.rs`).
impl Default for Defaults {
    fn default() -> Self {
        Self {
            protocol: DEFAULT_PROTOCOL,
            port: None,
            ip_version: IpVersion::Auto,
            addresses: Addresses::First,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            misses: 3,
            recoveries: 1,
            recorder: 16,
            packets: PacketOptions::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::wire::PROTOCOLS;

    #[test]
    fn defaults_are_the_documented_ones() {
        let Defaults { protocol, port, ip_version, addresses, packets, .. } = Defaults::default();
        assert_eq!((ip_version, addresses), (IpVersion::Auto, Addresses::First));
        assert_eq!(packets, PacketOptions::default());
        let Defaults { interval, timeout, misses, recoveries, recorder, .. } = Defaults::default();
        assert_eq!((protocol.name(), port, misses, recoveries), ("heartbeat", None, 3, 1));
        assert_eq!(recorder, 16);
        assert_eq!((interval, timeout), (Duration::from_secs(1), Duration::from_secs(1)));
    }

    #[test]
    fn default_buckets_double_from_50_microseconds() {
        let buckets = default_rtt_buckets();
        assert_eq!((buckets.len(), buckets[0], buckets[19]), (20, 50e-6, 26.2144));
        assert!(buckets.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn heartbeats_in_flight_are_limited() {
        let (ms, s) = (Duration::from_millis(1), Duration::from_secs(1));
        let heartbeat = |interval, timeout| in_flight(DEFAULT_PROTOCOL, interval, timeout);
        assert_eq!(heartbeat(s, s), Ok(1));
        assert_eq!(heartbeat(s, ms), Ok(1));
        assert_eq!(heartbeat(s, s + ms), Ok(2));
        assert_eq!(heartbeat(ms, 65_536 * ms), Ok(65_536));
        assert_eq!(
            heartbeat(ms, 65_537 * ms).unwrap_err().to_string(),
            "a timeout of 1m5s537ms at an interval of 1ms keeps 65537 heartbeats in flight: \
             the limit is 65536"
        );
        assert!(heartbeat(Duration::ZERO, s).is_err());
    }

    #[test]
    fn a_protocol_with_short_numbers_has_a_lower_limit() {
        let ms = Duration::from_millis(1);
        for &protocol in PROTOCOLS {
            let prober = protocol.default_options().prober(0);
            let half = (1_u64 << prober.sequence_bits()) / 2;
            let limit = u32::try_from(half.min(u64::from(MAX_IN_FLIGHT))).unwrap();
            assert_eq!(in_flight(protocol, ms, limit * ms), Ok(limit));
            let error = in_flight(protocol, ms, (limit + 1) * ms).unwrap_err();
            assert_eq!((error.count, error.limit), (u128::from(limit) + 1, limit));
        }
    }
}
