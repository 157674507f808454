//! Requests that are padded to a size.

use super::super::super::options::OptionSource;
use super::*;

/// The options of a target in a file, and what was reported.
#[derive(Default)]
struct Source {
    key: Option<FiledKey>,
    size: Option<u32>,
    reported: Option<(&'static str, String)>,
}

impl OptionSource for Source {
    fn text(&mut self, _key: &'static str) -> Option<String> {
        None
    }

    fn whole(&mut self, key: &'static str, _expected: &str) -> Option<u32> {
        self.size.filter(|_| key == SIZE)
    }

    fn key(&mut self, _key: &'static str) -> Option<FiledKey> {
        self.key.clone()
    }

    fn report(&mut self, key: &'static str, message: String) {
        self.reported = Some((key, message));
    }
}

#[test]
fn a_padded_request_ends_in_extra_padding_and_the_reply_has_its_size() {
    for size in [44, 48, 49, 1400, 65_507] {
        let prober = StampOptions { size: Some(size), ..StampOptions::default() }.prober(0);
        let mut request = Vec::new();
        prober.encode(&Request::new(7, 44, AT), &mut request);
        assert_eq!(request.len(), usize::from(size));
        assert_eq!(request[..44], REQUEST);
        if let Some(tlv) = request.get(44..).filter(|tlv| !tlv.is_empty()) {
            let [high, low] = (size - 48).to_be_bytes();
            assert_eq!(tlv[..4], [0x80, 1, high, low], "U is set, type 1");
            assert!(tlv[4..].iter().all(|&octet| octet == 0));
        }
        let now = after(AT, 500);
        let recognised = StampReflector.recognise(&request, now).unwrap();
        let mut reply = Vec::new();
        StampReflector.reflect(
            &recognised,
            Arrived::new(now, Some(61)),
            after(AT, 750),
            &mut reply,
        );
        assert_eq!(reply.len(), request.len());
        assert_eq!(reply.get(44).copied().unwrap_or(0), 0, "the reflector knows the type");
        assert_eq!(prober.decode(&reply), Ok(READ));
    }
}

#[test]
fn an_authenticated_request_is_padded_after_its_tag() {
    let options = StampOptions {
        key: Some(FiledKey::new("key", key(0))),
        size: Some(200),
        ..StampOptions::default()
    };
    let (mut plain, mut padded) = (Vec::new(), Vec::new());
    let request = Request::new(7, 44, AT);
    StampOptions { size: None, ..options.clone() }.prober(0).encode(&request, &mut plain);
    options.prober(0).encode(&request, &mut padded);
    assert_eq!((plain.len(), padded.len()), (112, 200));
    assert_eq!(padded[..112], plain);
    assert_eq!(padded[112..116], [0x80, 1, 0, 84]);
    let keys = [key(0)];
    let parsed = StampReflector.recognise(&padded, AT).unwrap();
    let Ok(Authenticity::By { key, .. }) = StampReflector.authenticate(&parsed, &keys) else {
        panic!("not authenticated");
    };
    let arrived = Arrived { key: Some(key), ..Arrived::new(AT, None) };
    let mut reply = Vec::new();
    StampReflector.reflect(&parsed, arrived, AT, &mut reply);
    assert_eq!((reply.len(), reply[112]), (200, 0), "the TLV is intact and known");
    assert!(options.prober(0).decode(&reply).is_ok());
}

#[test]
fn padding_does_not_allocate_once_the_buffer_is_large_enough() {
    let prober = StampOptions { size: Some(9_000), ..StampOptions::default() }.prober(0);
    let mut out = Vec::with_capacity(44);
    prober.encode(&Request::new(0, 1, AT), &mut out);
    let (place, capacity) = (out.as_ptr(), out.capacity());
    assert_eq!(capacity, 9_000, "no more than needed");
    out.clear();
    prober.encode(&Request::new(0, 2, AT), &mut out);
    assert_eq!((out.as_ptr(), out.capacity()), (place, capacity));
}

#[test]
fn targets_of_different_sizes_share_replies_and_are_different_targets() {
    let [small, large] =
        [None, Some(1400)].map(|size| StampOptions { size, ..StampOptions::default() });
    assert!(small.prober(0).shares_replies_with(&*large.prober(0)));
    assert_ne!(small, large);
    let accept = (ZERO_SSID, OptionValue::Text("accept".to_owned()));
    assert_eq!(small.written(), std::slice::from_ref(&accept));
    assert_eq!(large.written(), [(SIZE, OptionValue::Number(1400)), accept]);
}

#[test]
fn sizes_without_room_for_the_padding_are_refused() {
    for (is_keyed, size, message) in [
        (false, 43, Some("must be 44, or from 48 to 65507 octets, not 43")),
        (false, 44, None),
        (false, 47, Some("must be 44, or from 48 to 65507 octets, not 47")),
        (false, 48, None),
        (false, 65_507, None),
        (false, 65_508, Some("must be 44, or from 48 to 65507 octets, not 65508")),
        (false, 70_000, Some("must be 44, or from 48 to 65507 octets, not 70000")),
        (true, 48, Some("must be 112, or from 116 to 65507 octets (because of the key), not 48")),
        (true, 112, None),
        (true, 116, None),
    ] {
        let key = is_keyed.then(|| FiledKey::new("key", key(0)));
        let mut source = Source { key, size: Some(size), reported: None };
        let options = StampOptions::read(&mut source);
        assert_eq!(source.reported, message.map(|message| (SIZE, message.to_owned())));
        assert_eq!(options.size.map(u32::from), message.is_none().then_some(size));
    }
}
