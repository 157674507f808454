//! Faults that change while the responder runs: over HTTP, and by `heartbeat-responder faults`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use serde_json::{Value, json};

use crate::program::{Ended, PATIENCE, RESPONDER, Running, message, run, until};

fn asked(responder: &Running, request: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(responder.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "{request} /api/v1/faults HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn put(responder: &Running, faults: &Value) -> Value {
    let (status, body) = asked(responder, "PUT", &faults.to_string());
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn client(source: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(source).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Which of 40 requests are answered: `.`, or not: `x`; all of a client's are counted as lost or
/// answered once this is over.
fn fates(responder: &Running, client: &UdpSocket) -> String {
    let counts = || {
        let metrics = responder.metrics();
        let lost = metrics.responder("dropped_total", ("reason", "loss"));
        (lost, metrics.responder("replied_total", ("protocol", "ping")))
    };
    let before = counts();
    for n in 0..40 {
        client.send(format!("Ping {n} x").as_bytes()).unwrap();
    }
    let answered = until("all are lost or answered", || {
        let (lost, answered) = counts();
        let answered = answered - before.1;
        (lost - before.0 + answered == 40).then_some(answered)
    });
    let mut fates = ["x"; 40];
    let mut buffer = [0; 100];
    // What has left may take a while to arrive, on a machine that is busy.
    for _ in 0..answered {
        let length = client.recv(&mut buffer).unwrap();
        let text = str::from_utf8(&buffer[..length]).unwrap();
        let n: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
        fates[n] = ".";
    }
    fates.concat()
}

/// The answer to a method that is not allowed.
const METHODS: &str = "method not allowed; the Allow header lists the allowed ones";

/// The answer without `--web.enable-lifecycle`.
const REFUSED: &str = "impairments can be read and changed only with --web.enable-lifecycle";

/// What a seed of 7 loses at 30 %, for ever.
const SEVEN: &str = "..x....x.xx...x..xxx..x...x.xxx.x.x...x.";

#[test]
fn faults_come_change_and_go_while_it_runs() {
    let mut responder = Running::responder(&["--web.enable-lifecycle", "--seed=7"]);
    let client = client("127.0.0.1:0", responder.udp[0]);
    let well = ".".repeat(40);
    assert_eq!(fates(&responder, &client), well);
    let none = json!({"all": {"seed": 7}, "sources": {}});
    assert_eq!(serde_json::from_str::<Value>(&responder.get("/api/v1/faults").body).unwrap(), none);
    assert!(!responder.get("/").body.contains("on purpose"));

    // The seed is that of the start, and its first packet is the first from now on.
    let lossy = put(&responder, &json!({"all": {"loss": 0.3}}));
    assert_eq!(lossy, json!({"all": {"loss": "30%", "seed": 7}, "sources": {}}));
    let logged = responder.logged("faults were changed: loss 30%");
    assert_eq!(logged["level"], "WARN");
    // What is logged can be asked for again.
    let faults = logged["fields"]["faults"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(faults).unwrap(), lossy);
    assert!(responder.get("/").body.contains("on purpose: loss 30%."));
    assert_eq!(fates(&responder, &client), SEVEN);
    // The same again changes nothing: the sequence goes on.
    assert_eq!(put(&responder, &lossy), lossy);
    assert_ne!(fates(&responder, &client), SEVEN);
    put(&responder, &json!({"all": {"loss": "30%", "seed": 8}}));
    put(&responder, &lossy);
    assert_eq!(fates(&responder, &client), SEVEN);

    assert_eq!(put(&responder, &json!({})), none);
    assert_eq!(fates(&responder, &client), well);
    assert_eq!(responder.end("TERM").0, Some(0));
}

#[test]
fn a_source_may_have_faults_of_its_own() {
    let responder = Running::responder(&["--web.enable-lifecycle"]);
    let [one, other] = ["127.0.0.1:0", "127.0.0.9:0"].map(|ip| client(ip, responder.udp[0]));
    put(&responder, &json!({"sources": {"127.0.0.8/29": {"loss": 1}, "::/0": {"loss": 1}}}));
    assert_eq!(fates(&responder, &one), ".".repeat(40));
    assert_eq!(fates(&responder, &other), "x".repeat(40));
    // And none where others have some.
    put(&responder, &json!({"all": {"loss": 1}, "sources": {"127.0.0.8/29": {}}}));
    assert_eq!(fates(&responder, &one), "x".repeat(40));
    assert_eq!(fates(&responder, &other), ".".repeat(40));
    let words = "Answers badly, on purpose: loss 100%, for 127.0.0.8/29: nothing.";
    assert!(responder.get("/").body.contains(words));
}

#[test]
fn what_is_wrong_is_refused_with_its_key_and_changes_nothing() {
    let responder = Running::responder(&["--web.enable-lifecycle", "--loss=30%", "--seed=7"]);
    let before = responder.get("/api/v1/faults").body;
    // One octet too many: nothing is left unread, which would cut the answer off.
    let large = " ".repeat((512 << 10) + 1);
    let sources: Vec<_> =
        (0..1001).map(|n| format!("\"10.0.{}.{}\": {{}}", n / 256, n % 256)).collect();
    let many = format!("{{\"sources\": {{{}}}}}", sources.join(", "));
    for (request, body, status, answer) in [
        ("PUT", "{\"all\": {", 400, "not JSON: EOF while parsing an object at line 1 column 9"),
        (
            "PUT",
            r#"{"all": {"loss": "130%"}}"#,
            400,
            "all.loss: must be from 0% to 100%, or from 0 to 1, not \"130%\"",
        ),
        (
            "PUT",
            r#"{"sources": {"10.0.0.0/8": {"outage": "20s"}}}"#,
            400,
            "sources.\"10.0.0.0/8\".outage: must be such as every=60s,for=20s",
        ),
        ("PUT", "", 400, "not JSON: EOF while parsing a value at line 1 column 0"),
        ("PUT", &large, 413, "the request body is larger than 524288 octets"),
        ("PUT", &many, 400, "sources: there are more than 1000"),
        ("POST", "{}", 405, METHODS),
        ("DELETE", "", 405, METHODS),
        ("HEAD", "", 200, ""),
    ] {
        let (shown, text) = asked(&responder, request, body);
        assert_eq!((shown, text.trim_end()), (status, answer), "{body:.50}");
    }
    let mut broken = TcpStream::connect(responder.http).unwrap();
    broken.set_read_timeout(Some(PATIENCE)).unwrap();
    let put =
        "PUT /api/v1/faults HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
    broken.write_all(put.as_bytes()).unwrap();
    let mut answer = String::new();
    broken.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\r\n\r\ncannot read the request body: "), "{answer}");

    assert_eq!(responder.get("/api/v1/faults").body, before);
    assert_eq!(fates(&responder, &client("127.0.0.1:0", responder.udp[0])), SEVEN);
}

#[test]
fn all_that_may_be_said_of_as_many_sources_as_there_may_be_is_taken_and_shown() {
    let responder = Running::responder(&["--web.enable-lifecycle"]);
    let settings = json!({"loss": "12.3456789%", "burst_loss": "12.3456789%,12.3456789%",
        "direction": "both", "delay": "123456789ns", "jitter": "123456789ns",
        "jitter_shape": "uniform", "bandwidth": "123456789bit,123456789ns",
        "duplicate": "12.3456789%", "reorder": "12.3456789%,123456789ns",
        "reorder_extent": 65_535, "corrupt": "12.3456789%",
        "outage": "every=12345678ms,for=1234567ms", "seed": u64::MAX});
    let network =
        |n: u32| format!("2001:db8:1111:2222:3333:4444:{:x}:{:x}/128", n + 0x1000, 0xffff);
    let sources: serde_json::Map<String, Value> =
        (0..1000).map(|n| (network(n), settings.clone())).collect();
    let shown = put(&responder, &json!({"sources": sources}));
    assert_eq!(put(&responder, &shown), shown);
    let web = format!("--web=http://{}", responder.http);
    let Ended { code, err, .. } = run(RESPONDER, &["faults", &web, "set", "--loss=1%"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn without_leave_nobody_changes_anything() {
    let responder = Running::responder(&[]);
    for request in ["GET", "PUT"] {
        let (status, text) = asked(&responder, request, r#"{"all": {"loss": 1}}"#);
        assert_eq!(status, 403);
        assert_eq!(text, format!("{REFUSED}\n"));
    }
    assert_eq!(fates(&responder, &client("127.0.0.1:0", responder.udp[0])), ".".repeat(40));
}

#[test]
fn the_command_line_reads_sets_and_clears() {
    let responder = Running::responder(&["--web.enable-lifecycle", "--delay=1ms", "--seed=7"]);
    let web = format!("--web=http://{}/", responder.http);
    let faults = |arguments: &[&str]| {
        let Ended { code, out, err } = run(RESPONDER, &[&["faults", &web], arguments].concat());
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        out
    };
    assert_eq!(faults(&["show"]), "delay 1ms\n");
    assert_eq!(faults(&["set", "--loss=30%"]), "loss 30%\n");
    assert_eq!(fates(&responder, &client("127.0.0.1:0", responder.udp[0])), SEVEN);
    assert_eq!(
        faults(&["set", "--source=192.0.2.0/24", "--outage", "every=60s,for=20s"]),
        "loss 30%\nfor 192.0.2.0/24: down for the last 20s of every 60s\n"
    );
    let shown: Value = serde_json::from_str(&faults(&["show", "--json"])).unwrap();
    assert_eq!(shown["sources"]["192.0.2.0/24"]["outage"], "every=1m,for=20s");
    assert_eq!(faults(&["clear", "--source=192.0.2.0/24"]), "loss 30%\n");
    assert_eq!(faults(&["clear"]), "nothing goes wrong on purpose\n");

    let failed = |web: &str, arguments: &[&str]| {
        let Ended { code, out, err } = run(RESPONDER, &[&["faults", web], arguments].concat());
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        err
    };
    assert_eq!(
        failed(&web, &["clear", "--source=192.0.2.0/24"]),
        "error: there are no faults for 192.0.2.0/24 alone\n"
    );
    let deaf = Running::responder(&[]);
    assert_eq!(failed(&format!("--web={}", deaf.http), &["show"]), format!("error: {REFUSED}\n"));
    let nobody = failed("--web=http://127.0.0.1:1", &["show"]);
    assert!(nobody.starts_with("error: cannot ask the responder at http://127.0.0.1:1/: "));
    let ended = run(RESPONDER, &["faults", "--web=https://a", "show"]);
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    let (_, log) = responder.end("TERM");
    let changes = log.iter().filter(|line| message(line).starts_with("faults were changed"));
    assert_eq!(changes.count(), 4);
}
