//! Lookups against a name server on loopback, with configuration files of their own.

use std::fs;
use std::net::UdpSocket as StdSocket;

use super::*;
use crate::model::IpVersion;
use crate::net::in_time;

/// How the server answers a question for a name: the RCODE, and the records of the type that was
/// asked for; `None` for no answer.
type Zone = fn(&str, u16) -> Option<(u8, Vec<Vec<u8>>)>;

const A: u16 = 1;

fn zone(name: &str, of: u16) -> Option<(u8, Vec<Vec<u8>>)> {
    let v4 = |last| (of == A).then(|| vec![192, 0, 2, last]).into_iter().collect();
    Some(match name {
        "two.example" => match of {
            A => (0, vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]]),
            _ => (0, vec![[&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1]].concat()]),
        },
        "one.example" => (0, v4(1)),
        "short.search.example" => (0, v4(7)),
        "nobody.example" => (0, if of == A { vec![vec![0, 0, 0, 0]] } else { vec![] }),
        "half.example" => match of {
            A => (0, v4(1)),
            _ => return None,
        },
        "broken.example" => (2, vec![]),
        "refused.example" => (5, vec![]),
        "silent.example" => return None,
        _ => (3, vec![]),
    })
}

/// Starts a name server, and returns its port.
fn serve(zone: Zone) -> u16 {
    let socket = StdSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = answer(&buffer[..len], zone) {
                let _ = socket.send_to(&reply, peer);
            }
        }
    });
    port
}

/// The reply to a query of one question (RFC 1035 section 4.1). The TTL of every record is 30 s.
fn answer(query: &[u8], zone: Zone) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let of = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let (code, records) = zone(&labels.join("."), of)?;
    let count = u8::try_from(records.len()).unwrap();
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    reply.extend(&query[12..at + 5]);
    for record in records {
        let length = u8::try_from(record.len()).unwrap();
        // A pointer to the name of the question.
        reply.extend([0xc0, 12]);
        reply.extend(of.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 30, 0, length]);
        reply.extend(record);
    }
    Some(reply)
}

struct Place {
    folder: tempfile::TempDir,
    resolver: Resolver,
}

impl Place {
    fn new(resolv_conf: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [conf, hosts] = ["resolv.conf", "hosts"].map(|name| folder.path().join(name));
        if let Some(text) = resolv_conf {
            fs::write(&conf, text).unwrap();
        }
        fs::write(&hosts, "# none\n192.0.2.99 Hosted.example alias\n").unwrap();
        let resolver = Resolver { system: System::new(conf, hosts, serve(zone)) };
        Self { folder, resolver }
    }

    async fn look_up(&self, name: &str) -> Lookup {
        in_time(self.resolver.look_up(name)).await
    }

    async fn failure(&self, name: &str) -> LookupFailure {
        self.look_up(name).await.found.of(IpVersion::Auto).unwrap_err()
    }
}

fn ips(lookup: &Lookup) -> Vec<String> {
    let mut ips: Vec<_> =
        lookup.found.addresses().iter().map(|address| address.ip().to_string()).collect();
    // Whether this machine has IPv6 decides the order.
    ips.sort();
    ips
}

#[tokio::test]
async fn an_answer_has_the_addresses_of_both_versions_and_its_ttl() {
    let place = Place::new(Some("nameserver 127.0.0.1\n"));
    let two = place.look_up("two.example").await;
    assert_eq!(ips(&two), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assert_eq!(two.ttl, Some(Duration::from_secs(30)));
    let one = place.look_up("ONE.example.").await;
    assert_eq!(ips(&one), ["192.0.2.1"]);
    assert_eq!(one.found.of(IpVersion::V6), Err(LookupFailure::NoAddress));
}

#[tokio::test]
async fn each_failure_has_its_reason() {
    let place = Place::new(Some("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n"));
    for (name, reason) in [
        ("absent.example", LookupFailure::NxDomain),
        ("broken.example", LookupFailure::ServFail),
        ("refused.example", LookupFailure::ServFail),
        ("silent.example", LookupFailure::Timeout),
        ("nobody.example", LookupFailure::InvalidAddress),
        ("fe80::1%nowhere", LookupFailure::Unreachable),
    ] {
        assert_eq!(place.failure(name).await, reason, "{name}");
    }
    let half = place.look_up("half.example").await;
    assert_eq!(ips(&half), ["192.0.2.1"], "one version that is not answered delays no other");
    assert_eq!(half.found.of(IpVersion::V6), Err(LookupFailure::Timeout));
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_names_are_completed() {
    let place = Place::new(Some("nameserver 127.0.0.1\nsearch search.example\n"));
    let hosted = place.look_up("hosted.example").await;
    assert_eq!((ips(&hosted), hosted.ttl), (vec!["192.0.2.99".to_owned()], None));
    assert_eq!(ips(&place.look_up("short").await), ["192.0.2.7"]);
    assert!(ips(&place.look_up("localhost").await).contains(&"127.0.0.1".to_owned()));
    let zoned = place.look_up("fe80::1%lo").await;
    let addresses = zoned.found.addresses();
    assert!(matches!(addresses, [SocketAddr::V6(v6)] if v6.scope_id() == 1), "{addresses:?}");
}

#[tokio::test]
async fn changes_of_the_configuration_are_noticed() {
    // No name server listens on this address of loopback.
    let place = Place::new(Some("nameserver 127.0.0.99\noptions attempts:1 timeout:1\n"));
    let reason = place.failure("one.example").await;
    assert!(!reason.is_definite(), "{reason}");
    fs::write(place.folder.path().join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    in_time(async {
        while place.look_up("one.example").await.found.addresses().is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    fs::write(place.folder.path().join("hosts"), "192.0.2.98 one.example\n").unwrap();
    in_time(async {
        while ips(&place.look_up("one.example").await) != ["192.0.2.98"] {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_configuration_the_name_server_of_this_machine_is_asked() {
    let place = Place::new(None);
    assert_eq!(ips(&place.look_up("one.example").await), ["192.0.2.1"]);
    let place = Place::new(Some("search a.example\n\u{0}garbage\n"));
    assert_eq!(ips(&place.look_up("one.example").await), ["192.0.2.1"]);
}
