//! Interoperability with the course's four programs, which are imitated from their wire formats.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use udp_heartbeat::net;

use crate::loss::drops;
use crate::program::{PATIENCE, PROBE, Running, run, until};
use crate::server::Server;

/// A float as Python prints it. If two shortest texts are equally near, Python takes the one with
/// an even last digit, Rust the greater.
fn python(number: f64) -> String {
    let shortest = format!("{number:e}");
    let length = shortest.split('e').next().unwrap().matches(|c: char| c.is_ascii_digit()).count();
    let even = format!("{number:.*e}", length - 1);
    let text = if even.parse() == Ok(number) { even } else { shortest };
    let (mantissa, exponent) = text.split_once('e').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    let places = exponent.unsigned_abs() as usize;
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = digits.replace('.', "");
    match exponent {
        -4..0 => format!("{sign}0.{}{digits}", "0".repeat(places - 1)),
        0..16 => {
            let (whole, fraction) = digits.split_at(digits.len().min(places + 1));
            let fraction = if fraction.is_empty() { "0" } else { fraction };
            format!("{sign}{whole:0<width$}.{fraction}", width = places + 1)
        }
        _ => format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, places),
    }
}

#[test]
fn floats_are_printed_as_python_prints_them() {
    for (number, text) in [
        (0.0, "0.0"),
        (-2.568_024_873_733_520_5, "-2.5680248737335205"),
        (1.215_934_753_417_968_8e-5, "1.2159347534179688e-05"),
        (1_726_820_518.391_909_1, "1726820518.3919091"),
        (1e22, "1e+22"),
        (300.0, "300.0"),
        (-0.25, "-0.25"),
        (0.000_123, "0.000123"),
        // 2⁻²⁵ · 1701, halfway between …2 and …3.
        (5.069_375_038_146_972_7e-5, "5.0693750381469727e-05"),
    ] {
        assert_eq!(python(number), text);
    }
}

/// The counts of a server of the course.
#[derive(Debug, Default)]
struct Done {
    answered: AtomicU64,
    dropped: AtomicU64,
}

impl Done {
    fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::SeqCst), self.dropped.load(Ordering::SeqCst))
    }
}

/// A server that drops a datagram if a uniform number from 1 to 10 is below 4, and otherwise sends
/// the result of `answer`.
fn course_server(answer: fn(&str) -> String) -> (Server, Arc<Done>) {
    let done = Arc::new(Done::default());
    let counts = done.clone();
    let mut draws = ChaCha8Rng::seed_from_u64(4);
    let server = Server::start(move |socket, request, peer| {
        if draws.random_range(1..=10) < 4 {
            counts.dropped.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let reply = answer(std::str::from_utf8(request).unwrap());
        // Counted before it is sent, so that a received reply is always counted.
        counts.answered.fetch_add(1, Ordering::SeqCst);
        socket.send_to(reply.as_bytes(), peer).unwrap();
    });
    (server, done)
}

fn ping_server() -> (Server, Arc<Done>) {
    course_server(str::to_ascii_uppercase)
}

fn heartbeat_server() -> (Server, Arc<Done>) {
    course_server(|request| {
        let fields: Vec<&str> = request.split_whitespace().collect();
        let [sequence, timestamp] = fields[..] else { panic!("{request:?}") };
        let _: u64 = sequence.parse().unwrap();
        let difference = net::now().wall.as_secs_f64() - timestamp.parse::<f64>().unwrap();
        format!("{sequence} {}", python(difference))
    })
}

#[test]
fn ping_and_run_agree_with_the_course_s_servers() {
    for (protocol, start) in
        [("ping", ping_server as fn() -> (Server, Arc<Done>)), ("heartbeat", heartbeat_server)]
    {
        let (server, done) = start();
        let target = format!("{protocol}://{}", server.address);
        let ended = run(PROBE, &["ping", &target, "-c100", "-i10ms", "-W10s", "--json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let report: Value = serde_json::from_str(&ended.out).unwrap();
        let ours = ["received", "lost"].map(|key| report[key].as_u64().unwrap());
        assert_eq!((ours[0], ours[1]), done.counts(), "{report}");
        assert!(ours[1] > 0);
        assert_eq!(report["invalid"]["malformed"], 0);

        let (server, done) = start();
        let target = format!("{protocol}://{}", server.address);
        let probe = Running::probe_of(&format!(
            "targets: [{{name: theirs, address: \"{}\", protocol: {protocol}, interval: 10ms, timeout: 10m}}]",
            server.address
        ));
        until("100 heartbeats have been sent", || {
            let metrics = probe.metrics();
            (metrics.of("theirs", "sent_total") >= 100).then_some(())
        });
        // Dropped heartbeats stay in flight for ten minutes.
        until("the figures agree", || {
            let metrics = probe.metrics();
            let ledger = metrics.ledger("theirs");
            assert_eq!(metrics.of("theirs", "up"), 1, "{target}");
            let (answered, dropped) = done.counts();
            ((ledger.received, ledger.in_flight) == (answered, dropped)).then_some(())
        });
        let difference = probe.target("theirs")["time_difference_seconds"].as_f64();
        // Both read the same clock.
        match protocol {
            "heartbeat" => assert!(difference.unwrap().abs() < 60.0, "{difference:?}"),
            _ => assert_eq!(difference, None),
        }
        assert_eq!(probe.metrics().sum("heartbeat_invalid_replies_total"), 0);
    }
}

/// A client of the course. The original waits a second for each answer; this one waits longer.
fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a message and returns the answer, or `None` if none comes in time.
fn exchange(client: &UdpSocket, message: &str) -> Option<String> {
    client.send(message.as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    let length = client.recv(&mut buffer).ok()?;
    Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
}

#[test]
fn the_course_s_ping_client_receives_its_messages_in_capitals() {
    let responder = Running::responder(&[]);
    let client = client(responder.udp[0]);
    for n in 1..=10 {
        let now = i64::try_from(net::now().wall.as_nanos()).unwrap();
        let date = Timestamp::from_nanosecond(now.into()).unwrap().strftime("%a %b %e %H:%M:%S %Y");
        let message = format!("Ping {n} {date}");
        assert_eq!(exchange(&client, &message), Some(message.to_ascii_uppercase()));
    }
    assert_eq!(responder.metrics().responder("received_total", ("protocol", "ping")), 10);
}

#[test]
fn the_course_s_heartbeat_client_receives_time_differences_until_three_misses() {
    const SEED: u64 = 25;
    // With this seed, three misses in a row come early, so the test waits for few timeouts.
    let drops = drops(SEED, 1000);
    let misses = |window: &[bool]| window.iter().all(|&dropped| dropped);
    let last = drops.windows(3).position(misses).unwrap() + 2;
    let losses = drops[..=last].iter().filter(|&&dropped| dropped).count();

    let responder = Running::responder(&["--loss=30%", &format!("--seed={SEED}")]);
    let client = client(responder.udp[0]);
    let mut consecutive = 0;
    let mut sent = 0;
    while sent < 1000 && consecutive < 3 {
        let timestamp = python(net::now().wall.as_secs_f64());
        let patience = if drops[sent] { Duration::from_secs(1) } else { PATIENCE };
        client.set_read_timeout(Some(patience)).unwrap();
        let answer = exchange(&client, &format!("{sent} {timestamp}"));
        assert_eq!(answer.is_none(), drops[sent], "heartbeat {sent}");
        match answer {
            None => consecutive += 1,
            Some(answer) => {
                consecutive = 0;
                let (sequence, difference) = answer.split_once(' ').unwrap();
                assert_eq!(sequence, sent.to_string());
                let number: f64 = difference.parse().unwrap();
                assert!(number.abs() < 60.0, "{answer}");
                assert!(answer.len() <= format!("{sent} {timestamp}").len(), "{answer}");
            }
        }
        sent += 1;
    }
    assert_eq!(sent, last + 1);
    let metrics = responder.metrics();
    assert_eq!(metrics.responder("received_total", ("protocol", "heartbeat")), sent as u64);
    assert_eq!(metrics.responder("dropped_total", ("reason", "loss")), losses as u64);
}

#[test]
fn malformed_datagrams_do_not_end_the_responder() {
    let responder = Running::responder(&[]);
    let client = client(responder.udp[0]);
    for garbage in ["garbage", "", " ", "44", "x y", "44 1e999", "44 nan", "1 2 3"] {
        client.send(garbage.as_bytes()).unwrap();
    }
    let timestamp = python(net::now().wall.as_secs_f64());
    assert!(exchange(&client, &format!("44 {timestamp}")).unwrap().starts_with("44 "));
    let metrics = responder.metrics();
    assert_eq!(metrics.sum("heartbeat_responder_dropped_total"), 8);
    assert_eq!(metrics.sum("heartbeat_responder_received_total"), 1);
}
