//! Decodes messages of a socket's error queue into [`Notice`]s, without IO.

use std::borrow::Cow;
use std::net::SocketAddr;

use nix::libc;

use super::cmsg::{self, ExtendedError};
use crate::model::{IcmpKind, Wall};

/// `SCM_TSTAMP_SND` of linux/errqueue.h: the timestamp was taken when the driver took the datagram.
const SCM_TSTAMP_SND: u32 = 0;

/// What the kernel reports about datagrams that were sent earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A datagram was handed to the device.
    Transmitted {
        /// The id that `send` returned.
        id: u32,
        /// When the device took it.
        at: Wall,
    },
    /// An ICMP error arrived.
    Icmp {
        /// The destination of the datagram.
        peer: SocketAddr,
        /// The kind of error.
        kind: IcmpKind,
        /// The part of the datagram that the error quotes: all of it, its beginning or nothing.
        quote: Cow<'a, [u8]>,
    },
}

impl Notice<'_> {
    /// The same notice, with its own copy of the quote.
    pub(super) fn into_owned(self) -> Notice<'static> {
        match self {
            Self::Transmitted { id, at } => Notice::Transmitted { id, at },
            Self::Icmp { peer, kind, quote } => {
                Notice::Icmp { peer, kind, quote: quote.into_owned().into() }
            }
        }
    }
}

/// Decodes a message of the error queue. `name` is the destination of the datagram, and `quote` the
/// part of it that an error quotes.
///
/// A transmit timestamp has the kernel's number as its id. Returns `None` unless the message is a
/// timestamp, or an ICMP error with a known destination.
pub(super) fn read<'a>(
    name: Option<SocketAddr>,
    control: &[u8],
    quote: &'a [u8],
) -> Option<Notice<'a>> {
    let error_notice =
        |kind| name.map(|peer| Notice::Icmp { peer, kind, quote: Cow::Borrowed(quote) });
    let facts = cmsg::read(control);
    let error = facts.error?;
    match error.origin {
        libc::SO_EE_ORIGIN_TIMESTAMPING if error.info == SCM_TSTAMP_SND => {
            Some(Notice::Transmitted { id: error.data, at: facts.stamp? })
        }
        libc::SO_EE_ORIGIN_ICMP => error_notice(icmp(error)),
        libc::SO_EE_ORIGIN_ICMP6 => error_notice(icmp6(error)),
        // Local errors (SO_EE_ORIGIN_LOCAL) are reported by the send call.
        _ => None,
    }
}

/// Types and codes of RFC 792 and RFC 1812 section 5.2.7.
fn icmp(error: ExtendedError) -> IcmpKind {
    match (error.kind, error.code) {
        (3, 0 | 6 | 11) => IcmpKind::NetUnreachable,
        (3, 1 | 7 | 8 | 12) => IcmpKind::HostUnreachable,
        (3, 3) => IcmpKind::PortUnreachable,
        (3, 4) => IcmpKind::TooBig,
        (3, 9 | 10 | 13) => IcmpKind::AdminProhibited,
        (11, 0) => IcmpKind::TtlExceeded,
        _ => IcmpKind::Other,
    }
}

/// Types and codes of RFC 4443 section 3; code 5 is a failed source address policy, 6 a reject
/// route.
fn icmp6(error: ExtendedError) -> IcmpKind {
    match (error.kind, error.code) {
        (1, 0) => IcmpKind::NetUnreachable,
        (1, 1 | 5 | 6) => IcmpKind::AdminProhibited,
        (1, 3) => IcmpKind::HostUnreachable,
        (1, 4) => IcmpKind::PortUnreachable,
        (2, _) => IcmpKind::TooBig,
        (3, 0) => IcmpKind::TtlExceeded,
        _ => IcmpKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::cmsg::tests as kernel;
    use super::*;

    const PLAIN: ExtendedError =
        ExtendedError { errno: 0, origin: 0, kind: 0, code: 0, info: 0, data: 0 };

    fn peer(v6: bool) -> SocketAddr {
        if v6 { "[2001:db8::1]:862" } else { "192.0.2.1:12000" }.parse().unwrap()
    }

    #[test]
    fn a_transmit_timestamp_has_the_number_of_its_datagram_and_needs_no_name() {
        let error = ExtendedError {
            errno: libc::ENOMSG,
            origin: libc::SO_EE_ORIGIN_TIMESTAMPING,
            data: 4_000_000_000,
            ..PLAIN
        };
        let sent = Notice::Transmitted { id: 4_000_000_000, at: Wall::from_nanos(5_000_000_006) };
        for v6 in [false, true] {
            let control = [kernel::stamps(5, 6), kernel::error(v6, error)].concat();
            assert_eq!(read(None, &control, b"").as_ref(), Some(&sent));
            assert_eq!(read(None, &kernel::error(v6, error), b""), None, "no timestamp");
            for cut in 0..control.len() - if v6 { 28 } else { 16 } - 4 {
                assert_eq!(read(None, &control[..cut], b""), None, "cut to {cut} octets");
            }
        }
        let scheduled = ExtendedError { info: 1, ..error };
        let control = [kernel::stamps(5, 6), kernel::error(false, scheduled)].concat();
        assert_eq!(read(None, &control, b""), None, "SCM_TSTAMP_SCHED is another timestamp");
    }

    #[test]
    fn icmp_types_and_codes_have_kinds() {
        let kind = |v6, kind, code| {
            let origin = if v6 { libc::SO_EE_ORIGIN_ICMP6 } else { libc::SO_EE_ORIGIN_ICMP };
            let control = kernel::error(v6, ExtendedError { origin, kind, code, ..PLAIN });
            match read(Some(peer(v6)), &control, b"quoted") {
                Some(Notice::Icmp { peer: about, kind, quote })
                    if about == peer(v6) && *quote == *b"quoted" =>
                {
                    kind
                }
                other => panic!("{other:?}"),
            }
        };
        let unreachable = [
            IcmpKind::NetUnreachable,
            IcmpKind::HostUnreachable,
            IcmpKind::Other,
            IcmpKind::PortUnreachable,
            IcmpKind::TooBig,
            IcmpKind::Other,
            IcmpKind::NetUnreachable,
            IcmpKind::HostUnreachable,
            IcmpKind::HostUnreachable,
            IcmpKind::AdminProhibited,
            IcmpKind::AdminProhibited,
            IcmpKind::NetUnreachable,
            IcmpKind::HostUnreachable,
            IcmpKind::AdminProhibited,
            IcmpKind::Other,
        ];
        for (code, expected) in (0..).zip(unreachable) {
            assert_eq!(kind(false, 3, code), expected, "type 3 code {code}");
        }
        assert_eq!(kind(false, 11, 0), IcmpKind::TtlExceeded);
        assert_eq!(kind(false, 11, 1), IcmpKind::Other, "reassembly, not hops");
        assert_eq!(kind(false, 12, 0), IcmpKind::Other);

        let unreachable = [
            IcmpKind::NetUnreachable,
            IcmpKind::AdminProhibited,
            IcmpKind::Other,
            IcmpKind::HostUnreachable,
            IcmpKind::PortUnreachable,
            IcmpKind::AdminProhibited,
            IcmpKind::AdminProhibited,
            IcmpKind::Other,
        ];
        for (code, expected) in (0..).zip(unreachable) {
            assert_eq!(kind(true, 1, code), expected, "type 1 code {code}");
        }
        assert_eq!(kind(true, 2, 0), IcmpKind::TooBig);
        assert_eq!(kind(true, 3, 0), IcmpKind::TtlExceeded);
        assert_eq!(kind(true, 3, 1), IcmpKind::Other, "reassembly, not hops");
        assert_eq!(kind(true, 4, 0), IcmpKind::Other);
    }

    #[test]
    fn an_error_without_a_destination_or_of_unknown_origin_is_ignored() {
        let error = ExtendedError { origin: libc::SO_EE_ORIGIN_ICMP, kind: 3, code: 3, ..PLAIN };
        assert_eq!(read(None, &kernel::error(false, error), b""), None);
        for origin in [libc::SO_EE_ORIGIN_NONE, libc::SO_EE_ORIGIN_LOCAL, 5] {
            let error = ExtendedError { origin, ..error };
            assert_eq!(read(Some(peer(false)), &kernel::error(false, error), b""), None);
        }
        assert_eq!(read(Some(peer(false)), &[], b""), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(
            octets in prop::collection::vec(any::<u8>(), 0..300),
            about: Option<SocketAddr>,
        ) {
            let _ = read(about, &octets, b"");
        }

        #[test]
        fn any_error_is_read_without_panic(v6: bool, data: [u8; 16]) {
            let [errno, rest @ ..] = data.as_chunks::<4>().0 else { unreachable!() };
            let error = ExtendedError {
                errno: i32::from_ne_bytes(*errno),
                origin: rest[0][0] % 8,
                kind: rest[0][1],
                code: rest[0][2],
                info: 0,
                data: u32::from_ne_bytes(rest[2]),
            };
            let _ = read(Some(peer(v6)), &kernel::error(v6, error), b"");
        }
    }
}
