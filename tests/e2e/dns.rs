//! The protocol `dns` against a small name server: response codes are counted as results.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::thread;

use crate::program::{Running, until};

/// A name server that answers every query with the response code in its name: `r3.test` with 3.
fn name_server() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut query) {
            let reply = &mut query[..length];
            reply[2] |= 0x80;
            reply[3] |= reply[14] - b'0';
            socket.send_to(reply, peer).unwrap();
        }
    });
    port
}

#[test]
fn every_response_code_is_a_result_and_not_a_miss() {
    let port = name_server();
    let mut config =
        "defaults: {protocol: dns, interval: 20ms, timeout: 60s}\ntargets:\n".to_owned();
    let codes = [("noerror", 0), ("servfail", 2), ("nxdomain", 3), ("refused", 5), ("other", 9)];
    for (name, code) in codes {
        writeln!(config, "  - {{name: {name}, address: 127.0.0.1:{port}, query: r{code}.test}}")
            .unwrap();
    }
    let probe = Running::probe_of(&config);
    let metrics = until("every target is answered", || {
        let metrics = probe.metrics();
        let answered = |(name, _): &(&str, i32)| metrics.of(name, "received_total") >= 3;
        codes.iter().all(answered).then_some(metrics)
    });
    for (name, _) in codes {
        assert_eq!(metrics.of(name, "up"), 1, "{name}");
        for (result, _) in codes {
            let count = metrics.of_by(name, "results_total", ("result", result));
            let expected = if name == result { metrics.of(name, "received_total") } else { 0 };
            assert_eq!(count, expected, "{name} {result}");
        }
    }
}
