//! What a probe receives: any octets enter, and no protocol may panic over them, or read from one
//! datagram what another protocol reads from it as well.

#![no_main]

use libfuzzer_sys::fuzz_target;
use udp_heartbeat::model::Wall;
use udp_heartbeat::wire::{Key, PROTOCOLS, by_name, with_key};

fuzz_target!(|input: (u64, &[u8])| {
    let (sent, datagram) = input;
    let mut readers = 0;
    let key = Key::from_hex(&[b'7'; 32]).expect("a key");
    let stamp = by_name("stamp").expect("a protocol");
    for protocol in PROTOCOLS.into_iter().chain(with_key(stamp, key)) {
        let Ok(reply) = protocol.decode(datagram) else {
            continue;
        };
        readers += 1;
        assert!(
            reply
                .session
                .is_none_or(|session| session <= protocol.max_session())
        );
        protocol.confirms(&reply, Wall::from_nanos(sent));
    }
    assert!(readers <= 1);
});
