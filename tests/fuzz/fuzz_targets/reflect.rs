//! The requests of a responder: a reply to any octets at any time is neither longer than the
//! request nor a request itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use udp_heartbeat::model::Wall;
use udp_heartbeat::wire::{Arrived, Key, NotRequest, recognise, reflecting};

/// The moment, the turnaround in milliseconds, the hop limit and the octets.
type Input<'a> = (u64, u16, Option<u8>, &'a [u8]);

const DAY: u64 = 86_400_000_000_000;

fuzz_target!(|input: Input| {
    let (at, turnaround, ttl, request) = input;
    // Even moments are moved to one day, so that octets with a time of that day are requests.
    let at = if at % 2 == 0 {
        1_700_000_000_000_000_000 + at % DAY
    } else {
        at
    };
    let now = Wall::from_nanos(at.saturating_add(u64::from(turnaround) * 1_000_000));
    let arrived = Arrived::new(Wall::from_nanos(at), ttl);

    // Treated as authenticated, because the fuzzer never finds a valid tag by chance.
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
        let read = recognise(&reply, Wall::from_nanos(nanos));
        assert!(!matches!(read, Ok(_) | Err(NotRequest::Short)));
    }
});
