//! Hostile HTTP clients must not disturb heartbeats: endless headers, hundreds of idle connections,
//! a body of a gigabyte.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::program::{Running, until};
use crate::scrape::{Metrics, Sample};
use crate::server::Server;

const TARGETS: u64 = 200;

/// Sends `body` repeatedly up to `limit` octets, and returns how many the server accepted.
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

/// A connection from another address than that of the scrapes, because the server bounds the
/// connections of each address.
fn hostile(server: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.into()
}

#[test]
fn http_clients_cannot_stall_heartbeats_or_scrapes_or_fill_memory() {
    // The probe is one source with 10,000 requests per second.
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

    // More connections than the server serves at a time.
    let idle: Vec<_> = (0..400).map(|_| hostile(probe.http)).collect();
    let after_idle = probe.metrics();
    assert!(sent(&after_idle) > sent(&before));

    let mut unending: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = hostile(probe.http);
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nX-Endless: ");
            stream
        })
        .collect();
    for _ in 0..5 {
        for stream in &mut unending {
            // The server may have closed the connection.
            let _ = stream.write_all(b"more and more, ");
        }
        probe.metrics();
    }

    let head = "GET / HTTP/1.1\r\nHost: test\r\nX-Large: ";
    let header = flood(probe.http, head, &[b'x'; 4096], 64 << 20);
    assert!(header < 16 << 20, "a header of {header} octets was accepted");
    let head = "POST /metrics HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\n";
    let body = flood(probe.http, head, &[b'x'; 4096], 1 << 30);
    assert!(body < 64 << 20, "a body of {body} octets was accepted");
    // Clients that request much and read nothing.
    let not_reading: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = hostile(probe.http);
            let _ = stream
                .write_all("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(50).as_bytes());
            stream
        })
        .collect();
    let during = until("a scrape is answered", || {
        let answer = probe.get("/metrics");
        // All encoders may be busy with those clients for a while.
        (answer.status == 200).then(|| Metrics::read(answer.body))
    });
    assert!(sent(&during) > sent(&after_idle));
    drop((idle, unending, not_reading));

    let settled = until("more heartbeats are sent", || {
        let metrics = probe.metrics();
        let more = sent(&metrics) - sent(&during);
        (more >= 10 * TARGETS).then_some(metrics)
    });
    // On a busy machine, the kernel may drop datagrams at our sockets. HTTP clients cause no loss.
    let drops = kernel_drops(responder.udp[0]) + settled.sum("heartbeat_probe_receive_drops_total");
    let lost = settled.sum("heartbeat_lost_total");
    assert!(lost <= drops, "{lost} lost, {drops} dropped by the kernel");
    let skipped = |sample: &&Sample| sample.label("reason") == Some("skipped");
    let unsent = settled.samples.iter().filter(|sample| sample.name == "heartbeat_unsent_total");
    let (skipped, others): (Vec<_>, Vec<_>) = unsent.partition(skipped);
    assert_eq!((skipped.len(), others.len()), (200, 1800));
    assert!(others.iter().all(|sample| sample.value == 0.0), "{others:?}");
    assert!(resident(&settled) < 128 << 20, "{} octets", resident(&settled));
    assert_eq!(probe.end("TERM").0, Some(0));
}

/// Datagrams that the kernel dropped at the sockets of this port (`/proc/net/udp`, last column).
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
fn an_unread_log_delays_nothing() {
    const DOWN: u64 = 2000;
    let silent = Server::silent();
    // Each target that goes down logs about 200 octets. The pipe has room for 65,536, and nothing
    // is read from it before the end.
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
