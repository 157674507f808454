//! Queries octet by octet, and the replies that servers may send to them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::{NotRequest, recognise};

const AT: Wall = Wall::from_nanos(1_726_820_518_500_000_000);

fn options(query: &str, query_type: &str) -> DnsOptions {
    DnsOptions { query: query.parse().unwrap(), query_type: query_type.parse().unwrap() }
}

fn prober(query: &str, query_type: &str) -> Arc<dyn Prober> {
    options(query, query_type).prober(7)
}

fn encoded(prober: &dyn Prober, sequence: u32) -> Vec<u8> {
    let mut out = Vec::new();
    prober.encode(&Request::new(0, sequence, AT), &mut out);
    out
}

/// The reply of a server: the request with QR, these further flags, and these records.
fn answered(request: &[u8], flags: [u8; 2], records: &[u8]) -> Vec<u8> {
    let mut reply = [request, records].concat();
    reply[2] |= QR | flags[0];
    reply[3] |= flags[1];
    reply
}

#[test]
fn a_request_is_one_question_that_desires_recursion() {
    let request = encoded(&*prober("www.Example.org", "aaaa"), 3);
    let id = Ids(7).id(3).to_be_bytes();
    let question = b"\x03www\x07Example\x03org\0\0\x1c\0\x01";
    assert_eq!(request, [&id[..], b"\x01\0\0\x01\0\0\0\0\0\0", question].concat());
    let root = encoded(&*DnsOptions::default().prober(7), 65_539);
    assert_eq!(root, [&id[..], b"\x01\0\0\x01\0\0\0\0\0\0", b"\0\0\x02\0\x01"].concat());
}

#[test]
fn ids_are_a_permutation_that_the_secret_chooses() {
    let all = |secret| (0..=u16::MAX).map(|number| Ids(secret).id(number)).collect::<Vec<_>>();
    for secret in [0, 1, 7, u64::MAX] {
        let mut ids = all(secret);
        assert!((0..=u16::MAX).all(|number| Ids(secret).number(Ids(secret).id(number)) == number));
        let follow = ids.windows(2).filter(|pair| pair[0].wrapping_add(1) == pair[1]).count();
        assert!(follow < 20, "{follow} IDs are one more than the one before");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 65_536);
    }
    let same = all(1).iter().zip(all(2)).filter(|(a, b)| **a == *b).count();
    assert!(same < 20, "{same} of 65,536 IDs are the same with another secret");
}

#[test]
fn the_response_code_and_truncation_are_results() {
    let prober = prober("example.org", "MX");
    let request = encoded(&*prober, 70_000);
    for (flags, result) in [
        ([0, 0x80], "noerror"),
        ([0, 1], "formerr"),
        ([0x04, 2], "servfail"),
        ([0, 3], "nxdomain"),
        ([0, 4], "notimp"),
        ([0, 5], "refused"),
        ([TC, 0], "truncated"),
        ([TC, 3], "nxdomain"),
        ([0, 6], "other"),
        ([0, 15], "other"),
    ] {
        let reply = prober.decode(&answered(&request, flags, b"\xc0\x0c")).unwrap();
        assert_eq!(RESULTS[usize::from(reply.result.unwrap())], result);
        assert_eq!((reply.session, reply.sequence), (Some(0), 70_000 - 65_536));
        assert!(prober.confirms(&reply, AT));
    }
}

#[test]
fn a_reply_repeats_the_question_in_either_case_and_to_the_octet() {
    let prober = prober("example.org", "TYPE65");
    let request = encoded(&*prober, 1);
    let reply = answered(&request, [0, 0], &[]);
    let mut shouted = reply.clone();
    shouted[HEADER..].make_ascii_uppercase();
    assert_eq!(prober.decode(&shouted), prober.decode(&reply));
    // 65 and 97 are `A` and `a`, and also two record types, which must not be taken as equal.
    let kind = reply.len() - 3;
    assert_eq!((reply[kind], u8::to_ascii_lowercase(&reply[kind])), (65, 97));
    for (octet, other) in [(kind, 97), (reply.len() - 1, 3), (HEADER + 1, b'f')] {
        let mut other_question = reply.clone();
        other_question[octet] = other;
        assert_eq!(prober.decode(&other_question), Err(Unreadable::Mismatch), "octet {octet}");
    }
    for count in [0, 2] {
        let mut questions = reply.clone();
        questions[5] = count;
        assert_eq!(prober.decode(&questions), Err(Unreadable::Mismatch), "{count} questions");
    }
}

#[test]
fn what_no_server_writes_is_malformed() {
    let prober = prober("example.org", "A");
    let request = encoded(&*prober, 1);
    assert_eq!(prober.decode(&request), Err(Malformed), "it is a request");
    let reply = answered(&request, [0, 0], &[]);
    for length in 0..reply.len() {
        assert_eq!(prober.decode(&reply[..length]), Err(Malformed), "{length} octets");
    }
    let notify = answered(&request, [0x20, 0], &[]);
    assert_eq!(prober.decode(&notify), Err(Malformed), "another operation");
    let mut compressed = reply;
    compressed[HEADER] = 0xc0;
    assert_eq!(prober.decode(&compressed), Err(Malformed));
}

#[test]
fn an_error_quotes_the_question_of_the_target() {
    let prober = prober("example.org", "A");
    let request = encoded(&*prober, 1);
    assert_eq!(prober.quoted(&request), Some(Reply::to(Some(0), 1)));
    assert_eq!(
        prober.quoted(&[&request[..], &[0; 90]].concat()),
        Some(Reply::to(Some(0), 1)),
        "padded"
    );
    assert_eq!(prober.quoted(&request[..request.len() - 1]), None);
    assert_eq!(prober.quoted(&answered(&request, [0, 0], &[])), None);
    let other = encoded(&*self::prober("example.org", "NS"), 1);
    assert_eq!(prober.quoted(&other), None);
}

#[test]
fn targets_with_one_question_share_replies_and_cannot_be_distinguished() {
    let one = options("example.org", "A").prober(1);
    for (query, query_type, shares) in [
        ("example.org.", "a", true),
        ("EXAMPLE.org", "TYPE1", true),
        ("example.org", "NS", false),
        ("example.com", "A", false),
    ] {
        let other = options(query, query_type).prober(2);
        assert_eq!(one.shares_replies_with(&*other), shares, "{query} {query_type}");
    }
    assert!(!one.shares_replies_with(&crate::wire::PingText));
    assert_eq!(one.max_session(), 0);
}

#[test]
fn nothing_shows_the_secret() {
    assert!(format!("{:?}", options("a", "A").prober(1_234_567)).contains("Ids(…)"));
    assert_eq!(
        format!("{:?}", options("a.b", "MX")),
        "DnsOptions { query: a.b., query_type: RecordType(15) }"
    );
    assert_eq!(format!("{:?}", DomainName::default()), ".");
}

#[test]
fn names_are_absolute_and_fit_on_the_wire() {
    let name = |text: &str| text.parse::<DomainName>().map_err(|error| error.to_string());
    assert_eq!(name("."), Ok(DomainName::default()));
    assert_eq!(name("a.b"), name("a.b."));
    assert_eq!(name("_dns._udp.x-1").unwrap().0[..], *b"\x04_dns\x04_udp\x03x-1\0");
    let label = "a".repeat(63);
    let longest = [&label[..], &label, &label, &label[..61]].join(".");
    assert_eq!(name(&longest).unwrap().0.len(), 255);
    assert_eq!(name(&format!("{longest}a")).unwrap_err(), "must have at most 253 characters");
    assert!(name(&format!("{label}a")).unwrap_err().starts_with("invalid label"));
    for text in ["..", "a..b", ".a"] {
        assert_eq!(
            name(text).unwrap_err(),
            "invalid label \"\": must have 1 to 63 characters between dots"
        );
    }
    assert_eq!(name("").unwrap_err(), "must not be empty: the root is \".\"");
    for text in ["b\u{fc}cher.example", "a b", "a\\.b", "a\0"] {
        assert!(name(text).unwrap_err().starts_with("invalid character"), "{text:?}");
    }
}

#[test]
fn types_have_names_or_numbers() {
    let kind = |text: &str| text.parse::<RecordType>().map(|kind| kind.0).ok();
    assert_eq!(["A", "soa", "TYPE6", "type65535"].map(kind), [1, 6, 6, 65_535].map(Some));
    for text in ["", "AA", "TYPE", "TYPE-1", "TYPE+1", "TYPE65536", "\u{e9}\u{e9}6"] {
        let error = text.parse::<RecordType>().unwrap_err().to_string();
        assert!(error.starts_with("must be a record type, such as A, AAAA, CAA,"), "{error}");
    }
}

#[test]
fn options_are_written_as_they_are_read() {
    let text = |text: &str| OptionValue::Text(text.to_owned());
    assert_eq!(DnsOptions::default().written(), [(QUERY, text(".")), (QUERY_TYPE, text("NS"))]);
    for (query, query_type, name, kind) in [
        ("a'b.Example", "mx", "a'b.Example.", "MX"),
        ("x.", "type6", "x.", "SOA"),
        ("x", "TYPE65000", "x.", "TYPE65000"),
    ] {
        let options = options(query, query_type);
        let written = [(QUERY, text(name)), (QUERY_TYPE, text(kind))];
        assert_eq!(options.written(), written);
        assert_eq!(self::options(name, kind), options);
    }
}

proptest! {
    /// Rule 2 of [`crate::wire`], for the replies of other servers.
    #[test]
    fn no_answer_of_a_server_is_a_request_to_a_responder(
        label in "[A-Za-z0-9-]{1,20}",
        query_type in 1..=u16::MAX,
        sequence in any::<u32>(),
        secret in any::<u64>(),
        flags in any::<[u8; 2]>(),
        records in vec(any::<u8>(), 0..500),
        nanos in any::<u64>(),
    ) {
        let prober = options(&label, &format!("TYPE{query_type}")).prober(secret);
        let request = encoded(&*prober, sequence);
        let reply = answered(&request, [flags[0] & !OPCODE, flags[1]], &records);
        let read = prober.decode(&reply);
        prop_assert_eq!(read.map(|reply| reply.sequence), Ok(sequence & 0xffff));
        let verdict = recognise(&reply, Wall::from_nanos(nanos)).unwrap_err();
        prop_assert_eq!(verdict, NotRequest::Reply);
    }

    #[test]
    fn reading_is_total(octets in vec(any::<u8>(), 0..100), head in any::<bool>()) {
        let prober = prober("a", "A");
        let request = encoded(&*prober, 1);
        let octets = if head { answered(&request[..HEADER], [0, 0], &octets) } else { octets };
        let _ = (prober.decode(&octets), prober.quoted(&octets), is_reply(&octets));
    }
}
