//! Valid and invalid addresses.

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Host {
    Host::Name(text.to_owned())
}

fn ip(text: &str) -> Host {
    Host::Ip(text.parse().unwrap())
}

#[test]
fn hosts_are_read_with_and_without_a_port() {
    let port = Some(12000);
    for (text, expected) in [
        ("fra.example", (name("fra.example"), None)),
        ("fra.example.:12000", (name("fra.example."), port)),
        ("udp_server-1:12000", (name("udp_server-1"), port)),
        ("192.0.2.1", (ip("192.0.2.1"), None)),
        ("192.0.2.1:12000", (ip("192.0.2.1"), port)),
        ("2001:db8::1", (ip("2001:db8::1"), None)),
        ("[2001:db8::1]:12000", (ip("2001:db8::1"), port)),
        ("[::1]", (ip("::1"), None)),
        ("::ffff:192.0.2.1", (ip("192.0.2.1"), None)),
        ("fe80::1%eth0", (name("fe80::1%eth0"), None)),
        ("[fe80::1%2]:12000", (name("fe80::1%2"), port)),
    ] {
        assert_eq!(parse(text), Ok(expected), "{text:?}");
    }
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn invalid_hosts_are_explained() {
    let part = |part: &str| {
        format!(
            "invalid part {part:?} of a host name: parts have 1 to 63 characters and neither \
             begin nor end with a hyphen"
        )
    };
    assert_eq!(error(""), r#"no host in """#);
    assert_eq!(error("."), r#"no host in ".""#);
    assert_eq!(error(":12000"), r#"no host in ":12000""#);
    assert_eq!(error("a b"), "invalid character ' ' in a host name");
    assert_eq!(error("a\nb"), r"invalid character '\n' in a host name");
    assert_eq!(
        error("a/b"),
        "invalid character '/' in a host name: write HOST or HOST:PORT, without a path"
    );
    assert_eq!(
        error("münchen.example"),
        "invalid character 'ü' in a host name: write the ASCII form, which begins with xn--"
    );
    assert_eq!(
        error(&format!("{}example", "a.".repeat(130))),
        "host names have at most 253 characters, this one has 267"
    );
    for (text, unfit) in [("a..b", ""), ("-a.b", "-a"), ("a.b-", "b-"), (".a", "")] {
        assert_eq!(error(text), part(unfit));
    }
    let long = "a".repeat(64);
    assert_eq!(error(&long), part(&long));
}

#[test]
fn invalid_ports_are_explained() {
    for port in ["", "0", "65536", "+1", "-1", "http", "1/x"] {
        let message = format!("invalid port {port:?}: must be from 1 to 65535");
        assert_eq!(error(&format!("a:{port}")), message);
        assert_eq!(error(&format!("[::1]:{port}")), message);
    }
}

#[test]
fn invalid_literal_addresses_are_explained() {
    for (text, address) in [
        ("2001:db8::1:12000", "2001:db8::1:12000"),
        ("[::1", "[::1"),
        ("[::1]1", "[::1]1"),
        ("[a]:1", "a"),
    ] {
        assert_eq!(
            error(text),
            format!("invalid IPv6 address {address:?}; with a port, write [2001:db8::1]:12000")
        );
    }
    for text in ["192.0.2", "192.0.2.256", "12000"] {
        assert_eq!(
            error(text),
            format!("invalid IPv4 address {text:?}; host names do not end in a number")
        );
    }
    assert_eq!(
        error("fe80::1"),
        "fe80::1 is a link-local address: name the interface, as in fe80::1%eth0"
    );
    for text in ["fe80::1%", "fe80::1%a/b", "fe80::1%sixteen-letters-", "::1%lo"] {
        assert_eq!(
            error(text),
            format!(
                "invalid zone in {text:?}: a zone names an interface, and only link-local \
                 addresses have one"
            )
        );
    }
    for group in ["224.0.0.1", "255.255.255.255", "ff02::1"] {
        assert_eq!(
            error(group),
            format!("{group} is a multicast or broadcast address: use the address of one host")
        );
    }
    for text in ["0.0.0.0", "::"] {
        assert_eq!(
            error(text),
            format!(
                "{text} is not the address of a host: for this machine, write 127.0.0.1 or ::1"
            )
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in r"\PC*|[0-9a-f:.%\[\]]{0,40}|[a-z]{0,6}://\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn displayed_addresses_read_back(host in prop_oneof![
        "[a-z]([a-z0-9]{0,20}[a-z])?(\\.[a-z]{1,10}){0,3}".prop_map(Host::Name),
        any::<IpAddr>().prop_filter_map("of one host", |address| parse(&address.to_string()).ok()?.0.into()),
        any::<u64>().prop_map(|low| {
            let address = Ipv6Addr::from((0xfe80_u128 << 112) | u128::from(low));
            Host::Name(format!("{address}%eth0"))
        }),
    ], port in 1..=u16::MAX) {
        prop_assert_eq!(parse(&host.to_string()), Ok((host.clone(), None)));
        let address = Address { host: host.clone(), port };
        prop_assert_eq!(parse(&address.to_string()), Ok((host, Some(port))));
    }
}
