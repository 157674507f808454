//! The way of a datagram through a responder, without sockets: any octets from any source at any
//! time, authenticated or not, with several impairments. There is at most one reply (and its
//! duplicate, if the impairments have duplicates). It is never longer than the datagram, and never
//! a request. Everything is counted.

#![no_main]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use udp_heartbeat::exposition::ResponderMetrics;
use udp_heartbeat::impair::{LossyWay, LinkSettings};
use udp_heartbeat::model::{DropReason, Label, Mono, Moment, Wall};
use udp_heartbeat::net::Datagram;
use udp_heartbeat::responder::{Gate, Reflector, OutgoingReply};
use udp_heartbeat::wire::{
    FiledKey, Key, LARGEST_DATAGRAM, ProtocolOptions, Request, StampOptions, recognise, reflecting,
};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
const LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_000);

/// The reflector and the kernel's flags; the moment; the peer; the address that was asked; the hop
/// limit; the octets.
type Input<'a> = (u8, u64, (u128, u16), Option<u32>, Option<u8>, &'a [u8]);

/// A reflector with state, as one thread of a responder has it.
struct Bench {
    reflector: Reflector,
    metrics: ResponderMetrics,
    duplicates: bool,
}

impl Bench {
    fn new(settings: LinkSettings, rate_limit: Option<NonZeroU32>) -> Self {
        let metrics = ResponderMetrics::new();
        let gate = Arc::new(Gate::new(&[], rate_limit));
        let start = Mono::from_nanos(0);
        Self {
            reflector: Reflector::new(vec![LISTENER], gate, settings, start, metrics.clone()),
            metrics,
            duplicates: settings.duplicate > 0.0,
        }
    }

    /// Gives the reflector the key. If `required`, only requests with the key are answered.
    fn authenticating(self, required: bool) -> Self {
        Self { reflector: self.reflector.authenticating(Arc::new([key()]), required), ..self }
    }

    /// The number of datagrams that are not requests or not allowed, of requests, and of requests
    /// that get no answer.
    fn counts(&self) -> (u64, u64, u64) {
        let dropped = |reasons: &[DropReason]| {
            reasons.iter().map(|&reason| self.metrics.dropped_count(reason)).sum()
        };
        let strange = [
            DropReason::Malformed,
            DropReason::BadNumber,
            DropReason::BadTimestamp,
            DropReason::TooLong,
            DropReason::ShortRequest,
            DropReason::Reflection,
            DropReason::Denied,
        ];
        let other: Vec<_> =
            DropReason::ALL.iter().copied().filter(|reason| !strange.contains(reason)).collect();
        let received =
            reflecting().map(|(protocol, _)| self.metrics.received_count(protocol)).sum();
        (dropped(&strange), received, dropped(&other))
    }
}

fn key() -> Key {
    Key::from_hex(&[b'7'; 32]).expect("a key")
}

/// A request that is authenticated by the key, followed by `octets`.
fn vouched(at: Wall, octets: &[u8]) -> Vec<u8> {
    let key = Some(FiledKey::new("key", key()));
    let options = ProtocolOptions::Stamp(StampOptions { key, ..StampOptions::default() });
    let mut request = Vec::new();
    options.prober(0).encode(&Request::new(1, 2, at), &mut request);
    request.extend(octets);
    request
}

thread_local! {
    static BENCHES: RefCell<Vec<Bench>> = RefCell::new({
        let open = LinkSettings::default();
        let damaging = LinkSettings { corrupt: 1.0, seed: 1, ..open };
        let everything = LinkSettings {
            loss: 0.2,
            direction: LossyWay::Both,
            delay: Duration::from_millis(1),
            jitter: Duration::from_millis(5),
            duplicate: 0.3,
            reorder: 0.3,
            reorder_extent: 2,
            corrupt: 0.5,
            seed: 2,
            ..open
        };
        vec![
            Bench::new(open, None),
            Bench::new(open, NonZeroU32::new(1000)),
            Bench::new(open, None).authenticating(false),
            Bench::new(open, None).authenticating(true),
            Bench::new(damaging, None),
            Bench::new(everything, None),
            Bench::new(damaging, None).authenticating(false),
            Bench::new(everything, None).authenticating(true),
        ]
    });
}

/// How many of `BENCHES` damage nothing; these come first.
const HONEST: usize = 4;

fuzz_target!(|input: Input| {
    let (which, at, (ip, port), local, ttl, octets) = input;
    // Even moments are moved to one day, so that octets with a time of that day are requests.
    let at = if at % 2 == 0 { 1_700_000_000 * SECOND + at % DAY } else { at };
    let now = Moment { mono: Mono::from_nanos(at), wall: Wall::from_nanos(at) };
    let peer = match u32::try_from(ip) {
        Ok(v4) => SocketAddr::new(Ipv4Addr::from_bits(v4).into(), port),
        Err(_) => SocketAddr::new(Ipv6Addr::from_bits(ip).into(), port),
    };
    let vouched = (which & 0x20 != 0).then(|| vouched(now.wall, octets));
    let octets = vouched.as_deref().unwrap_or(octets);
    let datagram = Datagram {
        peer,
        local: local.map(|ip| Ipv4Addr::from_bits(ip).into()),
        to_group: which & 0x80 != 0,
        payload: &octets[..octets.len().min(LARGEST_DATAGRAM)],
        truncated: octets.len() > LARGEST_DATAGRAM,
        received: (which & 0x40 != 0).then_some(now.wall),
        ttl,
        traffic_class: None,
        drops: None,
    };

    BENCHES.with_borrow_mut(|benches| {
        let count = benches.len();
        let bench = &mut benches[usize::from(which) % count];
        let before = bench.counts();
        let (mut replies, mut duplicates) = (0, 0);
        let mut check = |transmit: OutgoingReply<'_>| {
            let OutgoingReply { route, payload } = transmit;
            if route.duplicate {
                duplicates += 1;
            } else {
                replies += 1;
            }
            assert_eq!((route.peer, route.source), (peer, datagram.local));
            assert!(peer.port() != 0 && !peer.ip().is_unspecified() && !peer.ip().is_multicast());
            assert!(payload.len() <= datagram.payload.len());
            for nanos in [at, at.saturating_sub(DAY), at.saturating_add(DAY)] {
                let is_damaged = usize::from(which) % count >= HONEST;
                // A reply that was damaged on purpose may be a request at another time, so it is
                // checked only at the time of its request.
                if nanos == at || !is_damaged {
                    assert!(recognise(payload, Wall::from_nanos(nanos)).is_err());
                }
            }
        };
        bench.reflector.handle(&datagram, 0, now, &mut check);
        bench.reflector.release(Mono::from_nanos(u64::MAX), &mut check);
        assert_eq!(bench.reflector.held(), 0);

        let after = bench.counts();
        let strange = after.0 - before.0;
        let (received, dropped) = (after.1 - before.1, after.2 - before.2);
        assert_eq!(strange + received, 1);
        assert_eq!(replies + dropped, received);
        assert!(duplicates <= replies && (bench.duplicates || duplicates == 0));
    });
});
