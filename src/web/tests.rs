//! The server over loopback: what each path answers.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::exposition::{ResponderMetrics, encode_probe};
use crate::observe::{
    Glancing, Looking, ProbeSample, ProbeSource, ResponderStatus, Sampling, Unavailable, fixture,
};

mod connections;
mod secure;

/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A probe that answers with a sample made by hand.
struct Source {
    sample: ProbeSample,
    answers: AtomicBool,
    /// Whether targets are removed after their names were found, and before they are looked at.
    removes: AtomicBool,
    /// Whether a look at targets never ends.
    hangs: AtomicBool,
    /// How often it was asked for an overview.
    glances: AtomicUsize,
}

impl ProbeSource for Source {
    fn sample(&self) -> Sampling<'_> {
        let answers = self.ready();
        Box::pin(async move { if answers { Ok(self.sample.clone()) } else { Err(Unavailable) } })
    }

    fn knows(&self, name: &str) -> bool {
        self.sample.targets.iter().any(|sample| sample.target.name == name)
    }

    fn glance(&self) -> Glancing<'_> {
        self.glances.fetch_add(1, Ordering::Relaxed);
        let answers = self.ready();
        let overview = || fixture::overview(&self.sample);
        Box::pin(async move { if answers { Ok(overview()) } else { Err(Unavailable) } })
    }

    fn look(&self, names: Vec<String>) -> Looking<'_> {
        let answers = self.ready();
        let removes = self.removes.load(Ordering::Relaxed);
        let look = |name: String| {
            let sample = self.sample.targets.iter().find(|sample| sample.target.name == name)?;
            Some(fixture::look(sample.clone()))
        };
        let hangs = self.hangs.load(Ordering::Relaxed);
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            if answers {
                Ok(names.into_iter().filter(|_| !removes).filter_map(look).collect())
            } else {
                Err(Unavailable)
            }
        })
    }

    fn ready(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }
}

/// What `work` returns, unless it takes longer than a minute.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.unwrap()
}

/// A server on loopback, and the channel that stops it.
struct Running {
    address: SocketAddr,
    source: Arc<Source>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Running {
    async fn start(limits: Limits) -> Self {
        Self::with(limits, fixture::two_targets()).await
    }

    async fn with(limits: Limits, sample: ProbeSample) -> Self {
        Self::behind(Access::open(), limits, sample).await
    }

    async fn behind(access: Access, limits: Limits, sample: ProbeSample) -> Self {
        let source = Arc::new(Source {
            sample,
            answers: AtomicBool::new(true),
            removes: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            glances: AtomicUsize::new(0),
        });
        let router = probe_router(source.clone(), None, 16);
        let (address, stop, server) = spawn(access, router, limits).await;
        Self { address, source, stop, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request on a connection of its own.
    async fn ask(&self, request: &str) -> Answer {
        ask(self.address, request).await
    }
}

async fn spawn(
    access: Access,
    router: Router,
    limits: Limits,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(server::run(listener, access, router, limits, async {
        let _ = stopped.await;
    }));
    (address, stop, server)
}

/// Sends `request`, a request line with any further headers, and reads the answer.
async fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    Answer::read(&mut stream).await
}

/// An answer of the server.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// In lower case.
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// Reads until the server closes.
    async fn read(stream: &mut TcpStream) -> Self {
        let mut raw = Vec::new();
        soon(stream.read_to_end(&mut raw)).await.unwrap();
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("a header") + 4;
        let head = String::from_utf8(raw[..end].to_vec()).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = raw.split_off(end);
        if head.contains("transfer-encoding: chunked") && !body.is_empty() {
            body = dechunk(&body);
        }
        Self { status, head, body }
    }

    fn has(&self, line: &str) -> bool {
        self.head.lines().any(|present| present == line)
    }

    /// The methods of the Allow header, in order.
    fn allowed(&self) -> Vec<&str> {
        let value = self.head.lines().find_map(|line| line.strip_prefix("allow:"));
        let mut methods: Vec<_> = value.unwrap().split(',').map(str::trim).collect();
        methods.sort_unstable();
        methods
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// The contents of a chunked body (RFC 9112 section 7.1), which must be whole.
fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        rest = &rest[end + 2..];
        if size == 0 {
            assert_eq!(rest, b"\r\n");
            return body;
        }
        body.extend_from_slice(&rest[..size]);
        assert_eq!(&rest[size..size + 2], b"\r\n");
        rest = &rest[size + 2..];
    }
}

/// The metrics without those of this process, which change.
fn steady(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.contains("process_")).collect()
}

#[tokio::test]
async fn every_path_of_the_probe_answers() {
    let running = Running::start(Limits::default()).await;
    let mut expected = Vec::new();
    encode_probe(&fixture::two_targets(), &mut expected).unwrap();

    let metrics = running.ask("GET /metrics HTTP/1.1").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.has("vary: accept-encoding"));
    assert_eq!(steady(metrics.text()), steady(std::str::from_utf8(&expected).unwrap()));

    let targets = running.ask("GET /api/v1/targets?x=y HTTP/1.1").await;
    assert!(targets.has("content-type: application/json"));
    let targets: serde_json::Value = serde_json::from_slice(&targets.body).unwrap();
    assert_eq!(targets["targets"][0]["name"], "fra-edge");

    let page = running.ask("GET / HTTP/1.1").await;
    assert!(page.has("content-type: text/html; charset=utf-8"));
    assert!(page.has("x-content-type-options: nosniff"));
    assert!(page.has(
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    ));
    assert!(page.text().ends_with("</html>"));

    assert_eq!(running.ask("GET /-/healthy HTTP/1.1").await.text(), "healthy\n");
    assert_eq!(running.ask("GET /-/ready HTTP/1.1").await.text(), "ready\n");
    assert_eq!(running.ask("GET /metrics/ HTTP/1.1").await.status, 404);
}

#[tokio::test]
async fn pages_and_their_assets_are_served() {
    let running = Running::start(Limits::default()).await;
    let ask = async |path: &str| running.ask(&format!("GET {path} HTTP/1.1")).await;
    let style = ask("/assets/style.css").await;
    assert!(style.has("content-type: text/css; charset=utf-8"));
    assert!(style.text().contains("prefers-color-scheme"));
    let script = ask("/assets/live.js").await;
    assert!(script.has("content-type: text/javascript; charset=utf-8"));
    assert_eq!(running.ask("HEAD /assets/live.js HTTP/1.1").await.body, b"");

    let target = ask("/targets/fra-edge").await;
    assert!(target.has("content-type: text/html; charset=utf-8"));
    assert!(target.text().contains("<title>fra-edge: up · heartbeat-probe</title>"));
    assert!(target.text().contains("href=\"../assets/style.css\""));
    assert!(target.text().ends_with("</html>"));
    assert_eq!(ask("/targets/").await.status, 404);
    assert_eq!(ask("/targets/nobody").await.status, 404);

    let found = ask("/?q=site%3Dfra&sort=p99&page=9").await;
    assert!(found.text().contains("data-key=\"fra-edge\""));
    assert!(!found.text().contains("data-key=\"new\""));
    running.source.answers.store(false, Ordering::Relaxed);
    assert_eq!(ask("/targets/fra-edge").await.status, 503);
}

#[tokio::test]
async fn simultaneous_requests_share_one_overview() {
    let running = Running::start(Limits::default()).await;
    let ask = || running.ask("GET / HTTP/1.1");
    let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
    for answer in [a, b, c, d] {
        assert_eq!(answer.status, 200);
    }
    // If this takes longer than a second, the probe is asked twice.
    assert!(running.source.glances.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn the_flight_recorder_is_found_by_any_name() {
    let mut sample = fixture::two_targets();
    Arc::make_mut(&mut sample.targets[1].target).name = "10 % of 1/2 é?#..".to_owned();
    let running = Running::with(Limits::default(), sample).await;
    let ask = async |name: &str| {
        running.ask(&format!("GET /api/v1/targets/{name}/heartbeats HTTP/1.1")).await
    };
    let answer = ask("fra-edge").await;
    assert!(answer.has("content-type: application/json"));
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&document["target"], &document["state"]), (&"fra-edge".into(), &"up".into()));
    assert_eq!(document["heartbeats"][5]["outcome"], "received");

    let other = ask("10%20%25%20of%201%2F2%20%C3%A9%3F%23..").await;
    assert!(other.text().contains("\"target\":\"10 % of 1/2 é?#..\""), "{}", other.text());
    for unknown in ["", "fra", "FRA-EDGE", "%ff", "fra-edge/x", "10 % of 1/2 é"] {
        let path = format!("GET /api/v1/targets/{unknown}/heartbeats HTTP/1.1");
        // An invalid URI is refused before it is routed.
        assert!([400, 404].contains(&running.ask(&path).await.status), "{unknown}");
    }
    running.source.answers.store(false, Ordering::Relaxed);
    assert_eq!(ask("fra-edge").await.status, 503);
}

#[tokio::test]
async fn a_target_that_is_removed_while_it_is_asked_for_is_unknown() {
    let running = Running::start(Limits::default()).await;
    running.source.removes.store(true, Ordering::Relaxed);
    for path in ["/targets/fra-edge", "/api/v1/targets/fra-edge/heartbeats"] {
        let answer = running.ask(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!((answer.status, answer.text()), (404, "unknown target; / lists all targets\n"));
    }
}

#[tokio::test]
async fn a_name_with_slashes_is_found_encoded_or_not() {
    let mut sample = fixture::two_targets();
    Arc::make_mut(&mut sample.targets[1].target).name = "stamp://a/heartbeats".to_owned();
    let running = Running::with(Limits::default(), sample).await;
    let ask = async |path: String| running.ask(&format!("GET {path} HTTP/1.1")).await;
    for name in ["stamp://a/heartbeats", "stamp%3A%2F%2Fa%2Fheartbeats"] {
        let page = ask(format!("/targets/{name}")).await;
        assert_eq!(page.status, 200, "{name}");
        assert!(page.text().contains("stamp://a/heartbeats: unknown"), "{name}");
        let document = ask(format!("/api/v1/targets/{name}/heartbeats")).await;
        assert!(document.text().contains("\"target\":\"stamp://a/heartbeats\""), "{name}");
    }
    for path in ["/targets/stamp://a", "/api/v1/targets/stamp://a/heartbeats", "/targets//"] {
        let unknown = ask(path.to_owned()).await;
        assert_eq!(
            (unknown.status, unknown.text()),
            (404, "unknown target; / lists all targets\n")
        );
    }
    assert_eq!(
        ask("/api/v1/targets/stamp://a".to_owned()).await.text(),
        "unknown path; start at /\n"
    );
}

#[tokio::test]
async fn a_refusal_is_a_page_for_a_browser_and_a_line_for_others() {
    let running = Running::start(Limits::default()).await;
    for (path, back, message) in [
        ("/nowhere", "./", "unknown path; start at /"),
        ("/targets/none", "../", "unknown target; / lists all targets"),
        ("/api/v1/targets/none/heartbeats", "../../../../", "unknown target; / lists all targets"),
    ] {
        let get = format!("GET {path} HTTP/1.1");
        let plain = running.ask(&format!("{get}\r\nAccept: */*")).await;
        assert_eq!((plain.status, plain.text()), (404, &*format!("{message}\n")));
        let page = running.ask(&format!("{get}\r\nAccept: text/html,*/*;q=0.8")).await;
        assert_eq!(page.status, 404);
        assert!(page.head.contains("content-type: text/html"), "{}", page.head);
        for part in [message, &format!("href=\"{back}\">All targets"), "404 Not Found"] {
            assert!(page.text().contains(part), "{part} in {}", page.text());
        }
    }
    let list = running.ask("GET / HTTP/1.1\r\nAccept: text/html").await;
    assert_eq!(list.status, 200);
}

#[tokio::test]
async fn every_answer_has_the_common_headers() {
    let running = Running::start(Limits::default()).await;
    for (request, status) in [
        ("GET /", 200),
        ("HEAD /metrics", 200),
        ("GET /nowhere", 404),
        ("PUT /metrics", 405),
        ("OPTIONS *", 404),
    ] {
        let answer = running.ask(&format!("{request} HTTP/1.1")).await;
        assert_eq!(answer.status, status, "{request}");
        for header in ["x-content-type-options: nosniff", "cache-control: no-store"] {
            assert!(answer.has(header), "{request}: {}", answer.head);
        }
        assert!(answer.head.contains("content-security-policy: "), "{request}");
    }
}

/// Impairments as the last request set them.
struct Control(std::sync::Mutex<String>);

impl ImpairmentControl for Control {
    fn show(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn change(&self, json: &str) -> Result<(), String> {
        if json == "{}" {
            return Err("empty".to_owned());
        }
        json.clone_into(&mut self.0.lock().unwrap());
        Ok(())
    }

    fn in_words(&self) -> Vec<String> {
        vec![self.show()]
    }
}

#[tokio::test]
async fn a_connection_stays_open_after_a_body_that_was_read_and_closes_after_another() {
    let control = Arc::new(Control("[1]".to_owned().into()));
    let status = ResponderStatus::default();
    let router = responder_router(ResponderMetrics::new(), status, Some(control), 16);
    let (address, _stop, _server) = spawn(Access::open(), router, Limits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for body in ["[2]", "[3]"] {
        let put = format!(
            "PUT /api/v1/impairments HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(put.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(body.as_bytes()) {
            assert_ne!(soon(stream.read_buf(&mut answer)).await.unwrap(), 0);
        }
    }
    let get = b"GET /api/v1/impairments HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(get).await.unwrap();
    let refused = Answer::read(&mut stream).await;
    assert_eq!((refused.status, refused.text()), (413, "this path takes no request body\n"));
    assert!(refused.has("connection: close"));

    let page = ask(address, "GET / HTTP/1.1").await;
    assert!(page.text().contains("on purpose: [3]."), "{}", page.text());
    let put = "PUT /api/v1/impairments HTTP/1.1\r\nContent-Length: 2\r\nHost: x\r\n\r\n{}";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(put.as_bytes()).await.unwrap();
    let invalid = Answer::read(&mut stream).await;
    assert_eq!((invalid.status, invalid.text()), (400, "empty\n"));
    let put = "PUT /api/v1/impairments HTTP/1.1\r\nContent-Length: 9999999999\r\nHost: x\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(put.as_bytes()).await.unwrap();
    let large = Answer::read(&mut stream).await;
    assert_eq!(large.status, 413);
    assert_eq!(large.text(), "the request body is larger than 524288 octets\n");
    let delete = ask(address, "DELETE /api/v1/impairments HTTP/1.1").await;
    assert_eq!((delete.status, delete.allowed()), (405, vec!["get", "head", "put"]));
}

#[tokio::test]
async fn every_path_of_the_responder_answers() {
    let metrics = ResponderMetrics::new();
    let router = responder_router(metrics.clone(), ResponderStatus::default(), None, 16);
    let (address, _stop, _server) = spawn(Access::open(), router, Limits::default()).await;
    metrics.received(crate::wire::DEFAULT_PROTOCOL);
    let answer = ask(address, "GET /metrics HTTP/1.1").await;
    let line = "heartbeat_responder_received_total{protocol=\"heartbeat\"} 1\n";
    assert!(answer.text().contains(line));
    assert!(ask(address, "GET / HTTP/1.1").await.text().contains("heartbeat-responder"));
    assert_eq!(ask(address, "GET /-/healthy HTTP/1.1").await.status, 200);
    assert_eq!(ask(address, "GET /-/ready HTTP/1.1").await.status, 200);
    assert_eq!(ask(address, "GET /assets/style.css HTTP/1.1").await.status, 200);
    for path in ["/api/v1/targets", "/api/v1/targets/a/heartbeats", "/targets/a"] {
        assert_eq!(ask(address, &format!("GET {path} HTTP/1.1")).await.status, 404);
    }
}

#[tokio::test]
async fn a_probe_that_does_not_answer_is_unavailable_and_healthy() {
    let running = Running::start(Limits::default()).await;
    running.source.answers.store(false, Ordering::Relaxed);
    for path in ["/", "/metrics", "/api/v1/targets", "/-/ready"] {
        assert_eq!(running.ask(&format!("GET {path} HTTP/1.1")).await.status, 503, "{path}");
    }
    assert_eq!(running.ask("GET /-/healthy HTTP/1.1").await.status, 200);
}

#[tokio::test]
async fn gzip_is_the_same_answer() {
    let running = Running::start(Limits::default()).await;
    for path in ["/metrics", "/api/v1/targets", "/"] {
        let plain = running.ask(&format!("GET {path} HTTP/1.1")).await;
        assert!(!plain.head.contains("content-encoding"));
        let asked = format!("GET {path} HTTP/1.1\r\nAccept-Encoding: gzip");
        let zipped = running.ask(&asked).await;
        assert!(zipped.has("content-encoding: gzip") && zipped.has("vary: accept-encoding"));
        let mut unzipped = String::new();
        let mut decoder = flate2::read::GzDecoder::new(zipped.body.as_slice());
        decoder.read_to_string(&mut unzipped).unwrap();
        assert_eq!(steady(&unzipped), steady(plain.text()), "{path}");
        let refused = format!("GET {path} HTTP/1.1\r\nAccept-Encoding: gzip;q=0");
        assert!(!running.ask(&refused).await.head.contains("content-encoding"));
    }
}

#[tokio::test]
async fn head_is_the_answer_without_its_body() {
    let running = Running::start(Limits::default()).await;
    for path in ["/", "/metrics", "/-/healthy", "/api/v1/targets"] {
        let answer = running.ask(&format!("HEAD {path} HTTP/1.1")).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
        assert!(!answer.has("content-length: 0"), "{path}");
    }
    let metrics = running.ask("HEAD /metrics HTTP/1.1").await;
    assert!(metrics.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
}

#[tokio::test]
async fn the_answer_to_another_method_lists_the_allowed_ones() {
    let running = Running::start(Limits::default()).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = running.ask(&format!("{method} /metrics HTTP/1.1")).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.allowed(), ["get", "head"], "{method}");
    }
}
