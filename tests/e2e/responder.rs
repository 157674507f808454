//! `heartbeat-responder`: answers, metrics, impairments, limits, and malformed datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use udp_heartbeat::net;
use udp_heartbeat::wire::{self, Request};

use crate::program::{Killed, PATIENCE, RESPONDER, Running, message, run, until};

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(client: &UdpSocket) -> String {
    let mut buffer = [0; 2048];
    let length = client.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn it_answers_serves_metrics_and_exits_with_0_on_sigterm() {
    let responder = Running::responder(&[]);
    let client = client(responder.udp[0]);
    client.send(b"Ping 5 Fri Sep 20 13:12:19 2024").unwrap();
    assert_eq!(receive(&client), "PING 5 FRI SEP 20 13:12:19 2024");

    for path in ["/", "/-/healthy", "/-/ready"] {
        assert_eq!(responder.get(path).status, 200, "{path}");
    }
    assert_eq!(responder.get("/-/reload").status, 404);
    let metrics = responder.metrics();
    assert_eq!(metrics.responder("received_total", ("protocol", "ping")), 1);
    // A reply is counted after it is sent, and the client may have it before.
    until("the reply is counted", || {
        (responder.metrics().responder("replied_total", ("protocol", "ping")) == 1).then_some(())
    });
    for (name, labels, values) in [
        ("received_total", "protocol", vec!["heartbeat", "stamp"]),
        ("replied_total", "protocol", vec!["heartbeat", "stamp"]),
        (
            "dropped_total",
            "reason",
            vec![
                "loss",
                "burst_loss",
                "outage",
                "malformed",
                "bad_number",
                "bad_timestamp",
                "too_long",
                "short_request",
                "reflection",
                "rate_limited",
                "overflow",
                "unauthenticated",
                "denied",
            ],
        ),
        ("impaired_total", "kind", vec!["delay", "bandwidth", "duplicate", "reorder", "corrupt"]),
    ] {
        for value in values {
            assert_eq!(metrics.responder(name, (labels, value)), 0, "{name} {value}");
        }
    }
    assert_eq!(metrics.count("heartbeat_responder_send_errors_total", &[]), 0);

    let (code, log) = responder.end("TERM");
    assert_eq!(code, Some(0));
    let last: Vec<_> = log[log.len() - 2..].iter().map(message).collect();
    assert_eq!(last, ["stopping", "stopped"]);
    assert_eq!(log[log.len() - 2]["fields"]["signal"], "SIGTERM");
}

#[test]
fn short_requests_are_answered_only_with_the_option_which_the_log_mentions() {
    // A request of STAMP without its end.
    let prober = wire::by_name("stamp").unwrap().default_options().prober(0);
    let mut request = Vec::new();
    prober.encode(&Request::new(0, 7, net::now().wall), &mut request);
    request.truncate(14);

    let responder = Running::responder(&[]);
    client(responder.udp[0]).send(&request).unwrap();
    until("the request is counted", || {
        let dropped = responder.metrics().responder("dropped_total", ("reason", "short_request"));
        (dropped == 1).then_some(())
    });

    let responder = Running::responder(&["--stamp.short-requests"]);
    let client = client(responder.udp[0]);
    client.send(&request).unwrap();
    let mut reply = [0; 100];
    assert_eq!(client.recv(&mut reply).unwrap(), 44);
    assert_eq!((&reply[24..28], &reply[28..36]), (&request[..4], &request[4..12]));
    let (_, log) = responder.end("TERM");
    let warned = log.iter().any(|line| message(line).contains("up to 3.1 times"));
    assert!(warned, "{log:?}");
}

#[test]
fn the_hmac_tlvs_of_open_requests_are_checked_with_the_option() {
    let prober = wire::by_name("stamp").unwrap().default_options().prober(0);
    let mut request = Vec::new();
    prober.encode(&Request::new(0, 7, net::now().wall), &mut request);
    // An HMAC TLV whose HMAC is wrong.
    request.extend([0x80, 8, 0, 16]);
    request.extend([7; 16]);

    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "11".repeat(32)).unwrap();
    let keys = format!("--stamp.key-file={}", key.display());
    let open = [&*keys, "--stamp.allow-unauthenticated"];
    // Unrecognised without the option, and failed with it.
    for (flags, expected) in
        [(&open[..], 0x80), (&[&open[..], &["--stamp.check-tlvs"]].concat(), 0x20)]
    {
        let responder = Running::responder(flags);
        let client = client(responder.udp[0]);
        client.send(&request).unwrap();
        let mut reply = [0; 100];
        assert_eq!(client.recv(&mut reply).unwrap(), request.len());
        assert_eq!(reply[44], expected, "{flags:?}");
    }
}

#[test]
fn it_exits_with_0_on_sigint() {
    let (code, log) = Running::responder(&[]).end("INT");
    assert_eq!(code, Some(0));
    assert_eq!(log[log.len() - 2]["fields"]["signal"], "SIGINT");
}

#[test]
fn impairments_are_logged_and_repeat_with_the_same_seed() {
    for _ in 0..2 {
        let mut responder = Running::responder(&["--loss=30%", "--seed=7"]);
        let warning = responder.logged("impairments: loss 30%");
        assert_eq!(warning["level"], "WARN");
        assert_eq!(warning["fields"]["seed"], 7);

        let client = client(responder.udp[0]);
        for n in 0..40 {
            client.send(format!("Ping {n} x").as_bytes()).unwrap();
        }
        // The losses with a seed of 7, the same in every version.
        let fates = "..x....x.xx...x..xxx..x...x.xxx.x.x...x.";
        for (n, _) in fates.chars().enumerate().filter(|&(_, fate)| fate == '.') {
            assert_eq!(receive(&client), format!("PING {n} X"));
        }
        until("all losses are counted", || {
            let lost = responder.metrics().responder("dropped_total", ("reason", "loss"));
            (lost == fates.matches('x').count() as u64).then_some(())
        });
    }
}

#[test]
fn random_octets_are_counted_and_the_next_request_is_answered() {
    let responder = Running::responder(&[]);
    let client = client(responder.udp[0]);
    let mut draws = ChaCha8Rng::seed_from_u64(1);
    let mut octets = [0; 2000];
    for n in 0..50 {
        draws.fill_bytes(&mut octets);
        // Some are too short for a request; all others may be requests of STAMP.
        let length = (n * 41) % 1100;
        client.send(&octets[..length]).unwrap();
        client.send(&octets).unwrap();
        client.send(b"Ping 5 Fri Sep 20 13:12:19 2024").unwrap();
        // A reply to random octets that look like STAMP may come first.
        let mut answer = [0; 2048];
        until("the valid request is answered", || {
            let length = client.recv(&mut answer).unwrap();
            (&answer[..length] == b"PING 5 FRI SEP 20 13:12:19 2024").then_some(())
        });
    }
    let metrics = until("all datagrams are counted", || {
        let metrics = responder.metrics();
        let counted = metrics.sum("heartbeat_responder_received_total")
            + metrics.sum("heartbeat_responder_dropped_total");
        (counted >= 150).then_some(metrics)
    });
    assert_eq!(metrics.responder("received_total", ("protocol", "ping")), 50);
    assert!(metrics.responder("received_total", ("protocol", "stamp")) >= 50);
    assert!(metrics.responder("dropped_total", ("reason", "malformed")) > 0);
    assert_eq!(responder.end("TERM").0, Some(0));
}

#[test]
fn invalid_flags_exit_with_2_before_a_socket_is_opened() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Opening this address would fail with another error.
    let taken = format!("--listen={}", holder.local_addr().unwrap());
    for (argument, message) in [
        (
            "--loss=130%",
            "invalid value '130%' for '--loss <RATIO>': must be from 0% to 100%, or from 0 to 1, not \"130%\"",
        ),
        (
            "--burst-loss=1%",
            "invalid value '1%' for '--burst-loss <P,R>': must be two ratios, such as 1%,25%",
        ),
        (
            "--outage=20s",
            "invalid value '20s' for '--outage <every=PERIOD,for=DURATION>': must be every=PERIOD,for=DURATION, such as every=60s,for=20s",
        ),
        (
            "--delay=20",
            "invalid value '20' for '--delay <DURATION>': needs a unit, such as 20s or 20ms",
        ),
        (
            "--seed=x",
            "invalid value 'x' for '--seed <N>': must be a whole number from 0 to 18446744073709551615",
        ),
        (
            "--web.listen-address=9863",
            "invalid value '9863' for '--web.listen-address <[HOST]:PORT>': must be :PORT or HOST:PORT: did you mean :9863?",
        ),
        (
            "--listen=12000",
            "invalid value '12000' for '--listen <ADDR:PORT>': must be ADDR:PORT, such as 192.0.2.1:12000 or [::1]:12000; for all addresses, write 0.0.0.0 or [::]",
        ),
        (
            "--allow=fra.example",
            "invalid value 'fra.example' for '--allow <CIDR>': must be a network, such as 192.0.2.0/24 or 2001:db8::/32, not \"fra.example\"",
        ),
        (
            "--rate-limit=1000001",
            "invalid value '1000001' for '--rate-limit <N>': must be a whole number from 0 to 1000000",
        ),
        ("--no-such-flag", "unexpected argument '--no-such-flag' found"),
    ] {
        let ended = run(RESPONDER, &[&taken, argument]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert_eq!(ended.err.lines().next(), Some(format!("error: {message}").as_str()));
        assert_eq!(ended.out, "");
    }
}

#[test]
fn an_address_in_use_is_named_and_exits_with_1() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let ended = run(RESPONDER, &[&format!("--listen={taken}")]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.err,
        format!(
            "error: cannot bind {taken}: Address already in use (os error 98): stop the program \
             that uses it, or choose another address or port with --listen\n"
        )
    );
}

#[test]
fn it_serves_or_reports_an_error_with_any_number_of_descriptors() {
    const FEW: u32 = 12;
    let more = |limit: &u32| Some(limit + 1 + limit / 8);
    for limit in std::iter::successors(Some(FEW), more) {
        let mut command = Command::new("sh");
        command.args(["-c", r#"ulimit -n "$1"; shift; exec "$@""#, "sh", &limit.to_string()]);
        command.args([RESPONDER, "--listen=127.0.0.1:0", "--web.listen-address=127.0.0.1:0"]);
        let (mut child, _) = Killed::spawn(&mut command, Stdio::null());
        let mut last = String::new();
        for line in child.stderr() {
            last = line;
            if last.contains("serving HTTP") {
                assert!(limit > FEW);
                return;
            }
        }
        assert!(last.starts_with("error: ") && last.contains("Too many open files"), "{last}");
        assert_eq!(child.wait(), Some(1), "{limit}");
    }
}

#[test]
fn by_default_a_source_gets_a_thousand_answers_per_second() {
    const REQUESTS: u64 = 5000;
    let mut limited = Running::responder(&[]);
    let free = Running::responder(&["--rate-limit=0"]);
    let refused = |responder: &Running| {
        responder.metrics().responder("dropped_total", ("reason", "rate_limited"))
    };
    for (responder, limits) in [(&limited, true), (&free, false)] {
        let client = client(responder.udp[0]);
        let mut sent = 0;
        // A slow machine may stay within the limit, so it sends until requests are refused.
        until("enough have been sent", || {
            for _ in 0..REQUESTS / 10 {
                client.send(format!("Ping {sent} x").as_bytes()).unwrap();
                sent += 1;
            }
            // In batches, so that they fit into the receive buffer.
            until("the batch is received", || {
                let metrics = responder.metrics();
                let received = metrics.responder("received_total", ("protocol", "ping"));
                (received == sent).then_some(())
            });
            let is_enough = !limits || refused(responder) > 0;
            (sent >= REQUESTS && is_enough).then_some(())
        });
        assert!(refused(responder) <= sent - 1000, "{} of {sent}", refused(responder));
    }
    assert_eq!(refused(&free), 0);
    let warning =
        limited.logged("requests were not answered because a source exceeds --rate-limit");
    assert_eq!(warning["level"], "WARN");
}

#[test]
fn sources_that_are_not_allowed_get_no_answer() {
    let responder = Running::responder(&["--allow=127.0.0.0/30", "--allow=192.0.2.0/24"]);
    for (source, allowed) in [("127.0.0.4:0", false), ("127.0.0.1:0", true), ("127.0.0.3:0", true)]
    {
        let client = UdpSocket::bind(source).unwrap();
        client.connect(responder.udp[0]).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send(b"Ping 5 x").unwrap();
        if allowed {
            assert_eq!(receive(&client), "PING 5 X");
        }
    }
    // Different threads may handle the sources, so the denied one may be counted last.
    let metrics = until("the denied request is counted", || {
        let metrics = responder.metrics();
        (metrics.responder("dropped_total", ("reason", "denied")) > 0).then_some(metrics)
    });
    assert_eq!(metrics.responder("dropped_total", ("reason", "denied")), 1);
    assert_eq!(metrics.responder("received_total", ("protocol", "ping")), 2);
}
