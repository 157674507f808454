//! HTTP clients that mean harm, while heartbeats must flow: a header that never ends, hundreds of
//! idle connections, a body of a gigabyte.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::program::{Running, until};
use crate::scrape::{Metrics, Sample};
use crate::server::Server;

const TARGETS: u64 = 200;

/// Sends without end for as long as the server takes it; how much it took.
fn flood(server: SocketAddr, head: &str, body: &[u8], limit: usize) -> usize {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut taken = 0;
    while taken < limit {
        match stream.write(body) {
            Ok(octets) => taken += octets,
            Err(_) => break,
        }
    }
    taken
}

fn resident(metrics: &Metrics) -> u64 {
    metrics.count("process_resident_memory_bytes", &[])
}

#[test]
fn nothing_that_http_clients_do_stalls_heartbeats_scrapes_or_fills_memory() {
    // All of them are one source, of 10,000 requests a second.
    let responder = Running::responder(&["--rate-limit=0"]);
    let mut config =
        "defaults: {interval: 20ms, timeout: 10s, protocol: stamp}\ntargets:\n".to_owned();
    for n in 0..TARGETS {
        writeln!(config, "  - {{name: t{n}, address: \"{}\"}}", responder.udp[0]).unwrap();
    }
    let probe = Running::probe_of(&config);
    let sent = |metrics: &Metrics| metrics.sum("heartbeat_sent_total");
    let before = until("every target is answered", || {
        let metrics = probe.metrics();
        metrics.ledgers().values().all(|ledger| ledger.received > 0).then_some(metrics)
    });

    // More than the server serves at a time.
    let idle: Vec<_> = (0..400).map(|_| TcpStream::connect(probe.http).unwrap()).collect();
    let after_idle = probe.metrics();
    assert!(sent(&after_idle) > sent(&before));

    let mut unending: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(probe.http).unwrap();
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nX-Endless: ");
            stream
        })
        .collect();
    for _ in 0..5 {
        for stream in &mut unending {
            // Those that were shown the door do not count.
            let _ = stream.write_all(b"more and more, ");
        }
        probe.metrics();
    }

    let head = "GET / HTTP/1.1\r\nHost: test\r\nX-Large: ";
    let header = flood(probe.http, head, &[b'x'; 4096], 64 << 20);
    assert!(header < 16 << 20, "a header of {header} octets was taken");
    let head = "POST /metrics HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\n";
    let body = flood(probe.http, head, &[b'x'; 4096], 1 << 30);
    assert!(body < 64 << 20, "a body of {body} octets was taken");
    // Asks for much and reads none of it.
    let greedy: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(probe.http).unwrap();
            let _ = stream
                .write_all("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(50).as_bytes());
            stream
        })
        .collect();
    let during = until("a scrape is answered", || {
        let answer = probe.get("/metrics");
        // All who write may be busy with the greedy ones for a while.
        (answer.status == 200).then(|| Metrics::read(answer.body))
    });
    assert!(sent(&during) > sent(&after_idle));
    drop((idle, unending, greedy));

    let settled = until("heartbeats flow on", || {
        let metrics = probe.metrics();
        let more = sent(&metrics) - sent(&during);
        (more >= 10 * TARGETS).then_some(metrics)
    });
    // On a machine that is busy with other things, the kernel may have dropped some at a socket of
    // ours; HTTP costs none.
    let drops = kernel_drops(responder.udp[0]) + settled.sum("heartbeat_probe_receive_drops_total");
    let lost = settled.sum("heartbeat_lost_total");
    assert!(lost <= drops, "{lost} lost, {drops} dropped by the kernel");
    let skipped = |sample: &&Sample| sample.label("reason") == Some("skipped");
    let unsent = settled.samples.iter().filter(|sample| sample.name == "heartbeat_unsent_total");
    let (skipped, others): (Vec<_>, Vec<_>) = unsent.partition(skipped);
    assert_eq!((skipped.len(), others.len()), (200, 1000));
    assert!(others.iter().all(|sample| sample.value == 0.0), "{others:?}");
    assert!(resident(&settled) < 128 << 20, "{} octets", resident(&settled));
    assert_eq!(probe.end("TERM").0, Some(0));
}

/// What the kernel dropped at the sockets of this port (`/proc/net/udp`, last column).
fn kernel_drops(address: SocketAddr) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let port = format!(":{:04X}", address.port());
    let sockets: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|columns: &Vec<&str>| columns[1].ends_with(&port))
        .collect();
    assert!(!sockets.is_empty(), "{table}");
    sockets.iter().map(|columns| columns.last().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    const DOWN: u64 = 2000;
    let silent = Server::silent();
    // Each target going down is a line of some 200 octets; a pipe holds 65,536, and no line is read
    // before the end.
    let mut config = "defaults: {interval: 100ms, timeout: 50ms, misses: 1}\ntargets:\n".to_owned();
    for n in 0..DOWN {
        writeln!(config, "  - {{name: t{n}, address: \"{}\"}}", silent.address).unwrap();
    }
    let probe = Running::probe_of(&config);
    until("every target is down", || {
        let metrics = probe.metrics();
        let down = metrics.sum("heartbeat_state_changes_total");
        (down == DOWN).then_some(())
    });
    assert_eq!(probe.end("TERM").0, Some(0));
}
