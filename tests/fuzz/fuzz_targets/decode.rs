//! The replies of a probe: no octets make a protocol panic, and at most one protocol decodes a
//! datagram, besides STAMP, which is asked last.

#![no_main]

use libfuzzer_sys::fuzz_target;
use udp_heartbeat::model::Wall;
use udp_heartbeat::wire::{FiledKey, Key, PROTOCOLS, ProtocolOptions, StampOptions};

fuzz_target!(|input: (u64, &[u8])| {
    let (sent, datagram) = input;
    let mut readers = 0;
    let key = Key::from_hex(&[b'7'; 32]).expect("a key");
    let key = Some(FiledKey::new("key", key));
    let keyed = ProtocolOptions::Stamp(StampOptions { key, ..StampOptions::default() });
    let open = PROTOCOLS.iter().map(|protocol| protocol.default_options());
    for options in open.chain([keyed]) {
        let prober = options.prober(sent);
        prober.quoted(datagram);
        let Ok(reply) = prober.decode(datagram) else {
            continue;
        };
        readers += usize::from(!prober.is_identified_by_echo());
        assert!(
            reply
                .session
                .is_none_or(|session| session <= prober.max_session())
        );
        prober.confirms(&reply, Wall::from_nanos(sent));
    }
    assert!(readers <= 1);
});
