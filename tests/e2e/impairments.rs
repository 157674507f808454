//! Impairments that change while the responder runs, over HTTP and by `heartbeat-responder
//! impairments`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use serde_json::{Value, json};

use crate::program::{Ended, PATIENCE, RESPONDER, Running, message, run, until};

fn asked(responder: &Running, request: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(responder.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "{request} /api/v1/impairments HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn put(responder: &Running, impairments: &Value) -> Value {
    let (status, body) = asked(responder, "PUT", &impairments.to_string());
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn client(source: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(source).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends 40 requests and returns a `.` for each answered one and an `x` for each lost one.
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
    let answered = until("every request is lost or answered", || {
        let (lost, answered) = counts();
        let answered = answered - before.1;
        (lost - before.0 + answered == 40).then_some(answered)
    });
    let mut fates = ["x"; 40];
    let mut buffer = [0; 100];
    // On a busy machine, replies that were sent may take a while to arrive.
    for _ in 0..answered {
        let length = client.recv(&mut buffer).unwrap();
        let text = str::from_utf8(&buffer[..length]).unwrap();
        let n: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
        fates[n] = ".";
    }
    fates.concat()
}

/// The answer to a method that is not allowed.
const METHODS: &str = "method not allowed; the Allow header lists the allowed methods";

/// The answer without `--web.enable-lifecycle`.
const REFUSED: &str = "access to the impairments over HTTP is disabled: restart the responder with the \
    flag --web.enable-lifecycle; for the systemd service, add the flag to FLAGS in \
    /etc/default/heartbeat-responder and run systemctl restart heartbeat-responder";

/// The losses at 30 % with a seed of 7, the same in every version.
const SEVEN: &str = "..x....x.xx...x..xxx..x...x.xxx.x.x...x.";

#[test]
fn impairments_are_set_changed_and_cleared_at_run_time() {
    let mut responder = Running::responder(&["--web.enable-lifecycle", "--seed=7"]);
    let client = client("127.0.0.1:0", responder.udp[0]);
    let unimpaired = ".".repeat(40);
    assert_eq!(fates(&responder, &client), unimpaired);
    let none = json!({"all": {"seed": 7}, "sources": {}});
    assert_eq!(
        serde_json::from_str::<Value>(&responder.get("/api/v1/impairments").body).unwrap(),
        none
    );
    assert!(!responder.get("/").body.contains("on purpose"));

    // The seed is that of the command line, and the sequence of losses begins with the next
    // request.
    let lossy = put(&responder, &json!({"all": {"loss": 0.3}}));
    assert_eq!(lossy, json!({"all": {"loss": "30%", "seed": 7}, "sources": {}}));
    let logged = responder.logged("impairments changed: loss 30%");
    assert_eq!(logged["level"], "WARN");
    // The logged document can be used in a request.
    let impairments = logged["fields"]["impairments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(impairments).unwrap(), lossy);
    assert!(responder.get("/").body.contains("on purpose: loss 30%."));
    assert_eq!(fates(&responder, &client), SEVEN);
    // Setting the same again changes nothing: the sequence of losses goes on.
    assert_eq!(put(&responder, &lossy), lossy);
    assert_ne!(fates(&responder, &client), SEVEN);
    put(&responder, &json!({"all": {"loss": "30%", "seed": 8}}));
    put(&responder, &lossy);
    assert_eq!(fates(&responder, &client), SEVEN);

    assert_eq!(put(&responder, &json!({})), none);
    assert_eq!(fates(&responder, &client), unimpaired);
    assert_eq!(responder.end("TERM").0, Some(0));
}

#[test]
fn a_source_may_have_impairments_of_its_own() {
    let responder = Running::responder(&["--web.enable-lifecycle"]);
    let [one, other] = ["127.0.0.1:0", "127.0.0.9:0"].map(|ip| client(ip, responder.udp[0]));
    put(&responder, &json!({"sources": {"127.0.0.8/29": {"loss": 1}, "::/0": {"loss": 1}}}));
    assert_eq!(fates(&responder, &one), ".".repeat(40));
    assert_eq!(fates(&responder, &other), "x".repeat(40));
    // A source without impairments, while all others have some.
    put(&responder, &json!({"all": {"loss": 1}, "sources": {"127.0.0.8/29": {}}}));
    assert_eq!(fates(&responder, &one), "x".repeat(40));
    assert_eq!(fates(&responder, &other), ".".repeat(40));
    let words = "Impaired on purpose: loss 100%, for 127.0.0.8/29: none.";
    assert!(responder.get("/").body.contains(words));
}

#[test]
fn invalid_requests_are_refused_with_the_key_and_change_nothing() {
    let responder = Running::responder(&["--web.enable-lifecycle", "--loss=30%", "--seed=7"]);
    let before = responder.get("/api/v1/impairments").body;
    // Only one octet too many: octets left unread would reset the connection before the answer.
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
            "sources.\"10.0.0.0/8\".outage: must be every=PERIOD,for=DURATION, such as every=60s,for=20s",
        ),
        ("PUT", "", 400, "not JSON: EOF while parsing a value at line 1 column 0"),
        ("PUT", &large, 413, "the request body is larger than 524288 octets"),
        ("PUT", &many, 400, "sources: more than 1000 networks"),
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
        "PUT /api/v1/impairments HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
    broken.write_all(put.as_bytes()).unwrap();
    let mut answer = String::new();
    broken.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\r\n\r\ncannot read the request body: "), "{answer}");

    assert_eq!(responder.get("/api/v1/impairments").body, before);
    assert_eq!(fates(&responder, &client("127.0.0.1:0", responder.udp[0])), SEVEN);
}

#[test]
fn the_most_sources_with_all_settings_fit_into_a_request() {
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
    let Ended { code, err, .. } = run(RESPONDER, &["impairments", &web, "set", "--loss=1%"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn without_enable_lifecycle_requests_are_refused() {
    let responder = Running::responder(&[]);
    for request in ["GET", "PUT"] {
        let (status, text) = asked(&responder, request, r#"{"all": {"loss": 1}}"#);
        assert_eq!(status, 403);
        assert_eq!(text, format!("{REFUSED}\n"));
    }
    assert_eq!(fates(&responder, &client("127.0.0.1:0", responder.udp[0])), ".".repeat(40));
}

#[test]
fn the_command_line_shows_sets_and_clears_impairments() {
    let responder = Running::responder(&["--web.enable-lifecycle", "--delay=1ms", "--seed=7"]);
    let web = format!("--web=http://{}/", responder.http);
    let impairments = |arguments: &[&str]| {
        let Ended { code, out, err } =
            run(RESPONDER, &[&["impairments", &web], arguments].concat());
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        out
    };
    assert_eq!(impairments(&["show"]), "delay 1ms\n");
    assert_eq!(impairments(&["set", "--loss=30%"]), "loss 30%\n");
    assert_eq!(fates(&responder, &client("127.0.0.1:0", responder.udp[0])), SEVEN);
    assert_eq!(
        impairments(&["set", "--source=192.0.2.0/24", "--outage", "every=60s,for=20s"]),
        "loss 30%\nfor 192.0.2.0/24: down for the last 20s of every 60s\n"
    );
    let shown: Value = serde_json::from_str(&impairments(&["show", "--json"])).unwrap();
    assert_eq!(shown["sources"]["192.0.2.0/24"]["outage"], "every=1m,for=20s");
    assert_eq!(impairments(&["clear", "--source=192.0.2.0/24"]), "loss 30%\n");
    assert_eq!(impairments(&["clear"]), "no impairments\n");

    let failed = |web: &str, arguments: &[&str]| {
        let Ended { code, out, err } = run(RESPONDER, &[&["impairments", web], arguments].concat());
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        err
    };
    assert_eq!(
        failed(&web, &["clear", "--source=192.0.2.0/24"]),
        "error: no impairments are set for 192.0.2.0/24\n"
    );
    let fixed = Running::responder(&[]);
    assert_eq!(failed(&format!("--web={}", fixed.http), &["show"]), format!("error: {REFUSED}\n"));
    let absent = failed("--web=http://127.0.0.1:1", &["show"]);
    assert!(
        absent.starts_with("error: cannot reach the responder at http://127.0.0.1:1/ (--web): ")
    );
    let ended = run(RESPONDER, &["impairments", "--web=https://a", "show"]);
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("the responder does not serve HTTPS"), "{}", ended.err);
    let (_, log) = responder.end("TERM");
    let changes = log.iter().filter(|line| message(line).starts_with("impairments changed"));
    assert_eq!(changes.count(), 4);
}
