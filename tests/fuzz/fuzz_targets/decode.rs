//! What a probe receives: any octets enter, and no protocol may panic over them, or read from one
//! datagram what another protocol reads from it as well.

#![no_main]

use libfuzzer_sys::fuzz_target;
use udp_heartbeat::model::Wall;
use udp_heartbeat::wire::PROTOCOLS;

fuzz_target!(|input: (u64, &[u8])| {
    let (sent, datagram) = input;
    let mut readers = 0;
    for protocol in PROTOCOLS {
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
