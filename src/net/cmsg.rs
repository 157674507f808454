//! Decodes the control messages (cmsg(3)) of received datagrams into [`Facts`]. [`Control`] encodes
//! the control messages of datagrams to be sent. No IO; any octets can be decoded.
//!
//! A control message consists of a length (`size_t`, including the header), a level and a type (two
//! `int`s), and data. Each message starts at a multiple of the size of `size_t`. All fields are in
//! host byte order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;

use super::egress::Egress;
use super::name::chunk;
use crate::model::Wall;

/// Octets of a message's length.
const WORD: usize = size_of::<usize>();
/// Octets of a message's header.
const HEADER: usize = align(WORD + 8);

/// `SCM_TS_OPT_ID` of asm-generic/socket.h, since Linux 6.13: the id with which the transmit
/// timestamp of this datagram is reported. On the few architectures with other option numbers, the
/// kernel refuses it as unknown.
const SCM_TS_OPT_ID: libc::c_int = 81;

/// What the kernel reports about a datagram or an error, besides its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// When it was received or transmitted: the software timestamp of `SCM_TIMESTAMPING`.
    pub(super) stamp: Option<Wall>,
    /// The local address of the datagram.
    pub(super) local: Option<IpAddr>,
    /// The destination differs from `local`: it is an IPv4 broadcast or multicast address.
    pub(super) to_group: bool,
    /// The hop limit with which it arrived.
    pub(super) ttl: Option<u8>,
    /// The traffic class (DSCP and ECN) with which it arrived.
    pub(super) traffic_class: Option<u8>,
    /// How many datagrams the socket had dropped when this one was queued.
    pub(super) drops: Option<u32>,
    /// The error, if the message is from the error queue.
    pub(super) error: Option<ExtendedError>,
}

/// The fields of `struct sock_extended_err` that are used here (ip(7), `IP_RECVERR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExtendedError {
    /// The error number that the socket reports.
    pub(super) errno: i32,
    /// The origin of the error: `SO_EE_ORIGIN_…`.
    pub(super) origin: u8,
    /// The ICMP type.
    pub(super) kind: u8,
    /// The ICMP code.
    pub(super) code: u8,
    /// Depends on the origin. For a timestamp: its kind (`SCM_TSTAMP_…`).
    pub(super) info: u32,
    /// Depends on the origin. For a timestamp: the number of the datagram.
    pub(super) data: u32,
}

/// Decodes all control messages of one datagram. Unknown and truncated messages are ignored.
pub(super) fn read(control: &[u8]) -> Facts {
    let mut facts = Facts::default();
    for Message { level, kind, data } in Messages(control) {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => facts.stamp = software_stamp(data),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                facts.drops = chunk(data, 0).map(u32::from_ne_bytes);
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // in_pktinfo: interface, local address, destination address of the header. The
                // local address can be the source of an answer. It differs from the header's
                // address only if the datagram was sent to a broadcast or multicast address
                // (ip(7)).
                let local: Option<[u8; 4]> = chunk(data, 4);
                let header: Option<[u8; 4]> = chunk(data, 8);
                facts.local = local.map(|ip| Ipv4Addr::from(ip).into());
                facts.to_group = local != header;
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // in6_pktinfo: address, interface.
                facts.local = chunk(data, 0).map(|ip: [u8; 16]| Ipv6Addr::from(ip).into());
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                facts.ttl = chunk(data, 0).and_then(|ttl| i32::from_ne_bytes(ttl).try_into().ok());
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => facts.traffic_class = data.first().copied(),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                facts.traffic_class =
                    chunk(data, 0).and_then(|class| i32::from_ne_bytes(class).try_into().ok());
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                facts.error = extended_error(data);
            }
            _ => {}
        }
    }
    facts
}

/// `struct scm_timestamping`: three times, the first of which is the software timestamp, or zero.
/// On 32-bit machines the fields have 32 or 64 bits.
fn software_stamp(data: &[u8]) -> Option<Wall> {
    let (seconds, nanos) = if data.len() >= 3 * 16 {
        (i64::from_ne_bytes(chunk(data, 0)?), i64::from_ne_bytes(chunk(data, 8)?))
    } else {
        let half = |at| Some(i64::from(i32::from_ne_bytes(chunk(data, at)?)));
        (half(0)?, half(4)?)
    };
    let nanos = u64::try_from(seconds)
        .ok()?
        .checked_mul(1_000_000_000)?
        .checked_add(u64::try_from(nanos).ok()?)?;
    (nanos != 0).then_some(Wall::from_nanos(nanos))
}

fn extended_error(data: &[u8]) -> Option<ExtendedError> {
    let [origin, kind, code, _pad] = chunk(data, 4)?;
    Some(ExtendedError {
        errno: i32::from_ne_bytes(chunk(data, 0)?),
        origin,
        kind,
        code,
        info: u32::from_ne_bytes(chunk(data, 8)?),
        data: u32::from_ne_bytes(chunk(data, 12)?),
    })
}

/// One control message.
#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    level: libc::c_int,
    kind: libc::c_int,
    data: &'a [u8],
}

/// Iterates over the control messages in these octets, up to the first with an invalid length.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = usize::from_ne_bytes(chunk(self.0, 0)?);
        let message = self.0.get(..len)?;
        let found = Message {
            level: libc::c_int::from_ne_bytes(chunk(message, WORD)?),
            kind: libc::c_int::from_ne_bytes(chunk(message, WORD + 4)?),
            data: message.get(HEADER..)?,
        };
        self.0 = self.0.get(align(len)..).unwrap_or_default();
        Some(found)
    }
}

/// The control messages of a datagram to be sent.
#[derive(Debug, Clone)]
pub(super) struct Control {
    octets: [u8; Self::ROOM],
    len: usize,
    /// The length without the id, which is set again for every attempt to send.
    kept: usize,
}

impl Control {
    /// Room for a source address of either family, and for four numbers: a traffic class, a hop
    /// limit, whether to fragment, and an id.
    const ROOM: usize = HEADER + align(20) + 4 * (HEADER + align(4));

    /// No control messages.
    pub(super) const EMPTY: Self = Self { octets: [0; Self::ROOM], len: 0, kept: 0 };

    /// Sets how a datagram to an IPv4 or IPv6 address leaves (ip(7) `IP_PKTINFO`, `IP_TOS` and
    /// `IP_TTL`; RFC 3542 sections 6.1, 6.2, 6.3, 6.5 and 11.2). This clears all earlier messages.
    ///
    /// A source address of the other family is ignored.
    pub(super) fn set(&mut self, is_ipv4: bool, egress: &Egress) {
        let Egress { source, interface, traffic_class, hop_limit, dont_fragment } = *egress;
        self.len = 0;
        if source.is_some() || interface.is_some() {
            self.set_path(is_ipv4, source, interface.unwrap_or(0));
        }
        if traffic_class != 0 {
            self.set_number(is_ipv4, (libc::IP_TOS, libc::IPV6_TCLASS), traffic_class);
        }
        if let Some(limit) = hop_limit {
            self.set_number(is_ipv4, (libc::IP_TTL, libc::IPV6_HOPLIMIT), limit.get());
        }
        if dont_fragment && !is_ipv4 {
            self.append(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &1_i32.to_ne_bytes());
        }
        self.kept = self.len;
    }

    /// The source address and the number of the interface; 0 for any.
    fn set_path(&mut self, is_ipv4: bool, source: Option<IpAddr>, interface: u32) {
        if is_ipv4 {
            // in_pktinfo: interface, source address, an address that is not used.
            let mut info = [0; 12];
            info[..4].copy_from_slice(&interface.to_ne_bytes());
            if let Some(IpAddr::V4(ip)) = source {
                info[4..8].copy_from_slice(&ip.octets());
            }
            self.append(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        } else {
            // in6_pktinfo: source address, interface.
            let mut info = [0; 20];
            if let Some(IpAddr::V6(ip)) = source {
                info[..16].copy_from_slice(&ip.octets());
            }
            info[16..].copy_from_slice(&interface.to_ne_bytes());
            self.append(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
    }

    /// A message of the IPv4 or the IPv6 kind that contains a number.
    fn set_number(&mut self, is_ipv4: bool, (v4, v6): (libc::c_int, libc::c_int), number: u8) {
        let (level, kind) = if is_ipv4 { (libc::IPPROTO_IP, v4) } else { (libc::IPPROTO_IPV6, v6) };
        self.append(level, kind, &libc::c_int::from(number).to_ne_bytes());
    }

    /// Sets the id of the transmit timestamp, and replaces an earlier one.
    pub(super) fn set_id(&mut self, id: u32) {
        self.len = self.kept;
        self.append(libc::SOL_SOCKET, SCM_TS_OPT_ID, &id.to_ne_bytes());
    }

    /// The encoded messages.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    fn append(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        let (start, len) = (self.len, HEADER + data.len());
        let message = &mut self.octets[start..start + align(len)];
        message.fill(0);
        message[..WORD].copy_from_slice(&len.to_ne_bytes());
        message[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        message[WORD + 4..WORD + 8].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER..len].copy_from_slice(data);
        self.len += align(len);
    }
}

/// Rounds up to the start of the next message; saturating, so that no length overflows.
const fn align(len: usize) -> usize {
    len.saturating_add(WORD - 1) & !(WORD - 1)
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU8;

    use proptest::prelude::*;

    use super::*;

    /// A control message in the kernel's layout.
    pub(in crate::net) fn message(level: libc::c_int, kind: libc::c_int, data: &[u8]) -> Vec<u8> {
        let mut octets = (HEADER + data.len()).to_ne_bytes().to_vec();
        octets.extend(level.to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend(data);
        octets.resize(align(octets.len()), 0xee);
        octets
    }

    /// `struct scm_timestamping` with this software timestamp.
    pub(in crate::net) fn stamps(seconds: i64, nanos: i64) -> Vec<u8> {
        let times = [seconds, nanos, 7, 7, 9, 9].into_iter().flat_map(i64::to_ne_bytes);
        message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, &times.collect::<Vec<_>>())
    }

    /// `struct sock_extended_err`, followed by the offender's address.
    pub(in crate::net) fn error(v6: bool, error: ExtendedError) -> Vec<u8> {
        let ExtendedError { errno, origin, kind, code, info, data } = error;
        let mut octets = errno.to_ne_bytes().to_vec();
        octets.extend([origin, kind, code, 0xee]);
        octets.extend(info.to_ne_bytes());
        octets.extend(data.to_ne_bytes());
        octets.extend(vec![0xee; if v6 { 28 } else { 16 }]);
        let (level, kind) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        } else {
            (libc::IPPROTO_IP, libc::IP_RECVERR)
        };
        message(level, kind, &octets)
    }

    const REFUSED: ExtendedError = ExtendedError {
        errno: libc::ECONNREFUSED,
        origin: libc::SO_EE_ORIGIN_ICMP,
        kind: 3,
        code: 3,
        info: 11,
        data: 12,
    };

    #[test]
    fn all_control_messages_of_an_ipv4_datagram_are_decoded() {
        let control = [
            stamps(1_726_820_518, 391_909_100),
            message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &70_000_u32.to_ne_bytes()),
            message(libc::IPPROTO_IP, libc::IP_PKTINFO, &[1, 0, 0, 0, 127, 0, 0, 2, 9, 9, 9, 9]),
            message(libc::IPPROTO_IP, libc::IP_TTL, &64_i32.to_ne_bytes()),
            message(libc::IPPROTO_IP, libc::IP_TOS, &[0xB8]),
        ]
        .concat();
        assert_eq!(
            read(&control),
            Facts {
                stamp: Some(Wall::from_nanos(1_726_820_518_391_909_100)),
                local: Some(IpAddr::from([127, 0, 0, 2])),
                to_group: true,
                ttl: Some(64),
                traffic_class: Some(0xB8),
                drops: Some(70_000),
                error: None,
            }
        );
    }

    #[test]
    fn all_control_messages_of_an_ipv6_error_are_decoded() {
        let ip: Ipv6Addr = "2001:db8::5".parse().unwrap();
        let control = [
            message(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &255_i32.to_ne_bytes()),
            message(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &0xB9_i32.to_ne_bytes()),
            message(
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                &[&ip.octets()[..], &[3, 0, 0, 0]].concat(),
            ),
            error(true, REFUSED),
        ]
        .concat();
        assert_eq!(
            read(&control),
            Facts {
                stamp: None,
                local: Some(ip.into()),
                to_group: false,
                ttl: Some(255),
                traffic_class: Some(0xB9),
                drops: None,
                error: Some(REFUSED),
            }
        );
    }

    #[test]
    #[cfg(all(target_pointer_width = "64", target_endian = "little"))]
    fn the_octets_are_in_the_kernels_layout() {
        let control = [
            20, 0, 0, 0, 0, 0, 0, 0, // cmsg_len
            0, 0, 0, 0, // SOL_IP
            2, 0, 0, 0, // IP_TTL
            57, 0, 0, 0, 0xee, 0xee, 0xee, 0xee, // 57 and padding
            20, 0, 0, 0, 0, 0, 0, 0, // cmsg_len
            1, 0, 0, 0, // SOL_SOCKET
            40, 0, 0, 0, // SO_RXQ_OVFL
            3, 1, 0, 0, // 259; the last message may have no padding
        ];
        assert_eq!(read(&control), Facts { ttl: Some(57), drops: Some(259), ..Facts::default() });

        let mut sent = Control::EMPTY;
        sent.set(true, &from(IpAddr::from([127, 0, 0, 2])));
        sent.set_id(0x0102_0304);
        assert_eq!(
            sent.octets(),
            [
                28, 0, 0, 0, 0, 0, 0, 0, // cmsg_len
                0, 0, 0, 0, // SOL_IP
                8, 0, 0, 0, // IP_PKTINFO
                0, 0, 0, 0, 127, 0, 0, 2, 0, 0, 0, 0, // ipi_ifindex, ipi_spec_dst, ipi_addr
                0, 0, 0, 0, // padding
                20, 0, 0, 0, 0, 0, 0, 0, // cmsg_len
                1, 0, 0, 0, // SOL_SOCKET
                81, 0, 0, 0, // SCM_TS_OPT_ID
                4, 3, 2, 1, 0, 0, 0, 0, // the id and padding
            ]
        );
    }

    #[test]
    fn a_missing_software_stamp_is_none_and_both_widths_are_decoded() {
        assert_eq!(read(&stamps(0, 0)).stamp, None);
        assert_eq!(read(&stamps(-1, 0)).stamp, None);
        let halves = [1_000_i32, 5, 0, 0, 0, 0].into_iter().flat_map(i32::to_ne_bytes);
        let narrow = message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, &halves.collect::<Vec<_>>());
        assert_eq!(read(&narrow).stamp, Some(Wall::from_nanos(1_000_000_000_005)));
    }

    #[test]
    fn a_truncated_message_is_ignored_and_earlier_ones_are_kept() {
        let ttl = message(libc::IPPROTO_IP, libc::IP_TTL, &64_i32.to_ne_bytes());
        let whole = [ttl.clone(), stamps(5, 5)].concat();
        for cut in ttl.len()..whole.len() {
            assert_eq!(read(&whole[..cut]), Facts { ttl: Some(64), ..Facts::default() }, "{cut}");
        }
        let short = [message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &[1, 2]), ttl].concat();
        assert_eq!(read(&short), Facts { ttl: Some(64), ..Facts::default() });
    }

    /// From this source address.
    fn from(source: IpAddr) -> Egress {
        Egress { source: Some(source), ..Egress::default() }
    }

    #[test]
    fn new_messages_clear_the_old_ones_and_the_id() {
        let mut control = Control::EMPTY;
        control.set(false, &from(Ipv6Addr::LOCALHOST.into()));
        control.set_id(u32::MAX);
        control.set_id(7);
        let number = message(libc::SOL_SOCKET, SCM_TS_OPT_ID, &7_u32.to_ne_bytes());
        assert_eq!(control.octets().len(), HEADER + align(20) + number.len());
        assert_eq!(read(control.octets()).local, Some(Ipv6Addr::LOCALHOST.into()));
        control.set(false, &Egress::default());
        assert_eq!(control.octets(), [0_u8; 0]);
    }

    #[test]
    fn all_messages_are_kept_when_the_id_changes() {
        for (source, is_ipv4) in
            [(IpAddr::from(Ipv4Addr::LOCALHOST), true), (Ipv6Addr::LOCALHOST.into(), false)]
        {
            let egress = Egress {
                interface: Some(0x0102_0304),
                traffic_class: 0xB8,
                hop_limit: NonZeroU8::new(64),
                dont_fragment: true,
                ..from(source)
            };
            let mut control = Control::EMPTY;
            control.set(is_ipv4, &egress);
            for id in [1, 2] {
                control.set_id(id);
                let facts = read(control.octets());
                assert_eq!((facts.local, facts.ttl), (Some(source), Some(64)));
                // On receipt, IPv4 has one octet.
                let class = if cfg!(target_endian = "little") || !is_ipv4 { 0xB8 } else { 0 };
                assert_eq!(facts.traffic_class, Some(class));
                let messages: Vec<_> = Messages(control.octets()).collect();
                let kinds: Vec<_> = messages.iter().map(|message| message.kind).collect();
                let expected: &[libc::c_int] = if is_ipv4 {
                    &[libc::IP_PKTINFO, libc::IP_TOS, libc::IP_TTL, SCM_TS_OPT_ID]
                } else {
                    &[
                        libc::IPV6_PKTINFO,
                        libc::IPV6_TCLASS,
                        libc::IPV6_HOPLIMIT,
                        libc::IPV6_DONTFRAG,
                        SCM_TS_OPT_ID,
                    ]
                };
                assert_eq!(kinds, expected);
                let interface = if is_ipv4 { 0 } else { 16 };
                assert_eq!(
                    chunk(messages[0].data, interface).map(u32::from_ne_bytes),
                    egress.interface
                );
                assert_eq!(messages.last().unwrap().data, id.to_ne_bytes());
            }
            control.set(is_ipv4, &Egress::default());
            assert_eq!(control.octets(), [0_u8; 0]);
        }
    }

    #[test]
    fn an_interface_without_a_source_leaves_the_source_to_routing() {
        for is_ipv4 in [true, false] {
            let mut control = Control::EMPTY;
            control.set(is_ipv4, &Egress { interface: Some(3), ..Egress::default() });
            assert!(read(control.octets()).local.unwrap().is_unspecified());
        }
    }

    proptest! {
        #[test]
        fn decoding_any_octets_does_not_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&octets);
        }

        #[test]
        fn decoding_any_data_in_known_messages_does_not_panic(
            parts in prop::collection::vec(
                (
                    prop::sample::select(&[
                        (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING),
                        (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
                        (libc::IPPROTO_IP, libc::IP_PKTINFO),
                        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
                        (libc::IPPROTO_IP, libc::IP_TTL),
                        (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
                        (libc::IPPROTO_IP, libc::IP_RECVERR),
                        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
                    ][..]),
                    prop::collection::vec(any::<u8>(), 0..64),
                ),
                0..6,
            ),
            cut in 0_usize..64,
        ) {
            let octets: Vec<u8> = parts
                .iter()
                .flat_map(|((level, kind), data)| message(*level, *kind, data))
                .collect();
            prop_assert_eq!(Messages(&octets).count(), parts.len());
            let _ = read(&octets[..octets.len().saturating_sub(cut)]);
        }

        #[test]
        fn an_encoded_source_address_is_decoded_as_the_local_address(ip: IpAddr, id: u32) {
            let mut control = Control::EMPTY;
            control.set(ip.is_ipv4(), &from(ip));
            control.set_id(id);
            // The kernel reads the source address from the field of the local address.
            prop_assert_eq!(read(control.octets()).local, Some(ip));
        }
    }
}
