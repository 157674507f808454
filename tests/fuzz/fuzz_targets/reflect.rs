//! What a responder receives: any octets enter, at any time, and the reply that leaves may neither
//! be longer than the request nor be a request itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use udp_heartbeat::model::Wall;
use udp_heartbeat::wire::{Arrived, Key, recognise, reflecting};

/// The moment, the dwell in milliseconds, the hop limit and the octets.
type Input<'a> = (u64, u16, Option<u8>, &'a [u8]);

const DAY: u64 = 86_400_000_000_000;

fuzz_target!(|input: Input| {
    let (at, dwell, ttl, request) = input;
    // In the years in which the octets at hand are requests, or in any.
    let at = if at % 2 == 0 {
        1_700_000_000_000_000_000 + at % DAY
    } else {
        at
    };
    let now = Wall::from_nanos(at.saturating_add(u64::from(dwell) * 1_000_000));
    let arrived = Arrived::new(Wall::from_nanos(at), ttl);

    // As if the key had vouched for it: no tag is ever found by chance.
    let key = Key::from_hex(&[b'7'; 32]).expect("a key");
    let arrived = Arrived {
        key: Some(&key),
        ..arrived
    };
    for (_, reflect) in reflecting() {
        let Ok(parsed) = reflect.recognise(request, arrived.at) else {
            continue;
        };
        let mut reply = Vec::new();
        reflect.reflect(&parsed, arrived, now, &mut reply);
        assert!(reply.len() <= request.len());
    }
    let Ok(recognised) = recognise(request, arrived.at) else {
        return;
    };
    let mut reply = Vec::new();
    recognised.reflect(arrived, now, &mut reply);
    for nanos in [at, at.saturating_sub(DAY), at.saturating_add(DAY)] {
        assert!(recognise(&reply, Wall::from_nanos(nanos)).is_err());
    }
});
