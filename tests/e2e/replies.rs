//! Replies that are late, duplicated, reordered, malformed or from strangers, made by servers that
//! are not ours: each is counted as what it is.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::program::{Running, until};
use crate::scrape::Metrics;
use crate::server::{Server, sequence};

fn invalid(metrics: &Metrics) -> [u64; 4] {
    ["malformed", "unknown_sequence", "expired", "mismatch"]
        .map(|reason| metrics.of_by("theirs", "invalid_replies_total", ("reason", reason)))
}

/// Answers heartbeat number `n` (in the order of arrival) in its own way.
fn misbehave(
    n: usize,
    socket: &UdpSocket,
    request: &[u8],
    peer: SocketAddr,
    seen: &mut HashMap<usize, u64>,
) {
    let number = sequence(request);
    seen.insert(n, number);
    let send = |octets: &[u8]| {
        socket.send_to(octets, peer).unwrap();
    };
    let answer = |number: u64| send(format!("{number} 0.0").as_bytes());
    match n {
        1 => (0..3).for_each(|_| answer(number)),
        2 | 3 | 7 => {}
        4 => {
            answer(number);
            answer(seen[&3]);
        }
        5 => send(format!("{number} 0.0x").as_bytes()),
        6 => answer(number + 1_000_000),
        8 => {
            send(&[]);
            answer(number);
        }
        9 => {
            send(&[b'1'; 1500]);
            answer(number);
        }
        10 => {
            let other = UdpSocket::bind("127.0.0.1:0").unwrap();
            let local = SocketAddr::new([127, 0, 0, 1].into(), peer.port());
            other.send_to(format!("{number} 0.0").as_bytes(), local).unwrap();
        }
        11 => {
            send(b"PING 1 FRI SEP 20 13:12:19 2024");
            answer(number);
        }
        12 => {
            // Like an echo server.
            send(request);
            answer(number);
        }
        // Number 2 was sent 60 intervals ago, and the timeout is 50 intervals.
        62 => {
            answer(seen[&2]);
            answer(number);
        }
        // Number 0 has left the ring of remembered heartbeats.
        200 => {
            answer(seen[&0]);
            answer(number);
        }
        _ => answer(number),
    }
}

#[test]
fn every_kind_of_reply_has_its_own_count() {
    let mut seen = HashMap::new();
    let mut n = 0;
    let server = Server::start(move |socket, request, peer| {
        misbehave(n, socket, request, peer, &mut seen);
        n += 1;
    });
    let probe = Running::probe_of(&format!(
        "targets: [{{name: theirs, address: \"{}\", interval: 60ms, timeout: 3s}}]\n",
        server.address
    ));
    let metrics = until("the last invalid reply is counted", || {
        let metrics = probe.metrics();
        let [_, _, expired, _] = invalid(&metrics);
        (expired > 0).then_some(metrics)
    });
    assert_eq!(metrics.of("theirs", "lost_total"), 5, "numbers 2, 5, 6, 7 and 10");
    assert_eq!(metrics.of("theirs", "late_total"), 1, "number 2");
    assert_eq!(metrics.of("theirs", "duplicates_total"), 2, "both of number 1");
    assert_eq!(metrics.of("theirs", "reordered_total"), 2, "numbers 3 and 2");
    assert_eq!(invalid(&metrics), [5, 1, 1, 0]);
    let unmatched =
        |reason| metrics.count("heartbeat_probe_unmatched_total", &[("reason", reason)]);
    assert_eq!((unmatched("unknown_address"), unmatched("unknown_session")), (1, 0));
    // Numbers 2 and 10 are runs of one, and 5 to 7 are a run of three.
    let bursts = |bound| metrics.of_by("theirs", "loss_burst_length_bucket", ("le", bound));
    assert_eq!([bursts("1"), bursts("2"), bursts("3")], [2, 2, 3]);
    assert_eq!(metrics.of_by("theirs", "state_changes_total", ("state", "up")), 1);
}

/// The reply of a Session-Reflector to `request` (RFC 8762 section 4.3.1), with t1 as t2 and t3.
fn reflected(request: &[u8]) -> [u8; 44] {
    let mut reply = [0; 44];
    reply[..16].copy_from_slice(&request[..16]);
    reply[16..24].copy_from_slice(&request[4..12]);
    reply[24..28].copy_from_slice(&request[..4]);
    reply[28..36].copy_from_slice(&request[4..12]);
    reply[36..38].copy_from_slice(&request[12..14]);
    reply[40] = 64;
    reply
}

#[test]
fn invalid_stamp_replies_are_not_answers() {
    let mut n = 0;
    let server = Server::start(move |socket, request, peer| {
        assert_eq!(request.len(), 44);
        let mut reply = reflected(request);
        let mut length = reply.len();
        match n {
            1 => reply[35] ^= 1,
            // It does not reach to the end of the sender's timestamp.
            2 => length = 35,
            // A reflector with a wrong SSID, and one without RFC 8972: the timestamp decides.
            3 => reply[15] += 1,
            4 => reply[14..16].fill(0),
            5 => reply[26] += 1,
            // Sent an hour before it was received.
            6 => {
                let left = u32::from_be_bytes(reply[4..8].try_into().unwrap());
                reply[4..8].copy_from_slice(&left.wrapping_sub(3600).to_be_bytes());
            }
            7 => reply.copy_from_slice(request),
            // A reflector that answers 38 octets, without the sender's Error Estimate.
            8 => {
                reply[36..].fill(0);
                length = 38;
            }
            _ => {}
        }
        n += 1;
        socket.send_to(&reply[..length], peer).unwrap();
    });
    let probe = Running::probe_of(&format!(
        "targets: [{{name: theirs, address: \"{}\", protocol: stamp, interval: 20ms, timeout: 5s}}]\n",
        server.address
    ));
    let metrics = until("heartbeats with invalid replies are lost", || {
        let metrics = probe.metrics();
        (metrics.of("theirs", "lost_total") >= 4).then_some(metrics)
    });
    assert_eq!(metrics.of("theirs", "lost_total"), 4, "numbers 1, 2, 5 and 7");
    assert_eq!(invalid(&metrics), [1, 1, 0, 2]);
    assert_eq!(metrics.of("theirs", "turnaround_invalid_total"), 1, "number 6");
    assert_eq!(metrics.of("theirs", "late_total"), 0);
    assert_eq!(metrics.sum("heartbeat_probe_unmatched_total"), 0);
}

#[test]
fn ping_replies_with_another_date_are_not_answers() {
    let mut n = 0;
    let server = Server::start(move |socket, request, peer| {
        let request = std::str::from_utf8(request).unwrap();
        let reply = match n {
            1 => {
                let number = request.split(' ').nth(1).unwrap();
                format!("PING {number} FRI SEP 20 13:12:19 2024")
            }
            2 => request.to_owned(),
            3 => "PING 0 FRI SEP 20 13:12:19 2024".to_owned(),
            4 => "PING 99999 FRI SEP 20 13:12:19 2024".to_owned(),
            _ => request.to_ascii_uppercase(),
        };
        n += 1;
        socket.send_to(reply.as_bytes(), peer).unwrap();
    });
    let probe = Running::probe_of(&format!(
        "targets: [{{name: theirs, address: \"{}\", protocol: ping, interval: 20ms, timeout: 5s}}]\n",
        server.address
    ));
    let metrics = until("heartbeats with invalid replies are lost", || {
        let metrics = probe.metrics();
        (metrics.of("theirs", "lost_total") >= 4).then_some(metrics)
    });
    assert_eq!(metrics.of("theirs", "lost_total"), 4);
    assert_eq!(invalid(&metrics), [2, 1, 0, 1]);
}

#[test]
fn datagrams_from_strangers_change_only_their_own_counter() {
    const STRAY: usize = 500;
    let port = Arc::new(Mutex::new(None));
    let learned = port.clone();
    let server = Server::start(move |socket, request, peer| {
        *learned.lock().unwrap() = Some(peer);
        socket.send_to(format!("{} 0.0", sequence(request)).as_bytes(), peer).unwrap();
    });
    let probe = Running::probe_of(&format!(
        "targets: [{{name: theirs, address: \"{}\", interval: 10ms, timeout: 60s}}]\n",
        server.address
    ));
    let port: SocketAddr = until("the probe's port is known", || *port.lock().unwrap());

    let strangers = [(); 5].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut draws = ChaCha8Rng::seed_from_u64(2);
    let mut octets = [0; 2000];
    for (n, stranger) in (0..STRAY).zip(strangers.iter().cycle()) {
        draws.fill_bytes(&mut octets);
        match n % 3 {
            // A plausible reply to a heartbeat.
            0 => stranger.send_to(format!("{n} 0.0").as_bytes(), port).unwrap(),
            1 => stranger.send_to(&octets[..n], port).unwrap(),
            _ => stranger.send_to(&octets, port).unwrap(),
        };
        // In batches, so that the kernel does not drop some.
        if n % 50 == 49 {
            until("the batch is counted", || {
                let metrics = probe.metrics();
                let unmatched = [("reason", "unknown_address")];
                (metrics.count("heartbeat_probe_unmatched_total", &unmatched) == n as u64 + 1)
                    .then_some(())
            });
        }
    }
    let metrics = probe.metrics();
    assert_eq!(metrics.sum("heartbeat_probe_unmatched_total"), STRAY as u64);
    assert_eq!(invalid(&metrics), [0; 4]);
    for zero in ["lost_total", "duplicates_total", "late_total", "reordered_total"] {
        assert_eq!(metrics.of("theirs", zero), 0, "{zero}");
    }
    assert_eq!(metrics.of("theirs", "up"), 1);
}
