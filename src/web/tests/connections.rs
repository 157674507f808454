//! How connections are served and closed, and what hostile clients get.

use super::*;

#[tokio::test]
async fn a_request_that_is_not_http_is_refused() {
    let running = Running::start(Limits::default()).await;
    let mut stream = running.connect().await;
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\r\n\r\n").await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 400);
}

#[tokio::test]
async fn a_request_needs_one_host() {
    let running = Running::start(Limits::default()).await;
    for (version, hosts, status) in [
        ("1.1", "", 400),
        ("1.1", "Host: x\r\nHost: x\r\n", 400),
        ("1.1", "Host:\r\n", 200),
        ("1.1", "Host: probe.example:9862\r\n", 200),
        ("1.1", "Host: [::1]:9862\r\n", 200),
        ("1.1", "Host: 192.0.2.1:\r\n", 200),
        ("1.1", "Host: a b\r\n", 400),
        ("1.1", "Host: a:+1\r\n", 400),
        ("1.1", "Host: a/b\r\n", 400),
        ("1.1", "Host: user@a\r\n", 400),
        ("1.1", "Host: a:b\r\n", 400),
        ("1.1", "Host: a:65536\r\n", 400),
        ("1.1", "Host: :80\r\n", 400),
        ("1.1", "Host: [::1\r\n", 400),
        ("1.0", "Host: a b\r\n", 400),
        ("1.0", "", 200),
    ] {
        let mut stream = running.connect().await;
        let request = format!("GET /-/healthy HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(Answer::read(&mut stream).await.status, status, "{request}");
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let running = Running::start(Limits::default()).await;
    let mut stream = running.connect().await;
    let request = b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..3 {
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ready\n") {
            assert_ne!(soon(stream.read_buf(&mut answer)).await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn a_body_is_refused_unread() {
    let running = Running::start(Limits::default()).await;
    for (method, status) in [("POST", 405), ("GET", 413)] {
        let mut stream = running.connect().await;
        let request =
            format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 1 << 30);
        stream.write_all(request.as_bytes()).await.unwrap();
        // The server closes although no octet of the body has come.
        let answer = Answer::read(&mut stream).await;
        assert_eq!(answer.status, status);
        assert!(answer.has("connection: close"));
    }
}

#[tokio::test]
async fn a_header_without_end_is_cut_off_by_its_size() {
    let running = Running::start(Limits::default()).await;
    let mut stream = running.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let line = [b"X: ", [b'x'; 1021].as_slice(), b"\r\n"].concat();
    let mut sent = 0;
    while stream.write_all(&line).await.is_ok() {
        sent += line.len();
        assert!(sent < 64 << 20, "the server keeps reading");
    }
    assert_eq!(running.ask("GET /-/healthy HTTP/1.1").await.status, 200);
}

#[tokio::test]
async fn a_header_that_trickles_is_cut_off_by_its_time() {
    let limits = Limits { header: Duration::from_millis(50), ..Limits::default() };
    let running = Running::start(limits).await;
    let mut stream = running.connect().await;
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        writer.write_all(b"GET / HTTP/1.1\r\n").await?;
        loop {
            writer.write_all(b"X").await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut answer = [0];
    soon(async {
        tokio::select! {
            read = reader.read(&mut answer) => assert!(matches!(read, Ok(0) | Err(_)), "{read:?}"),
            error = trickle => { let _: std::io::Result<()> = error; }
        }
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let limits = Limits { idle: Duration::from_millis(20), ..Limits::default() };
    let running = Running::start(limits).await;
    let mut stream = running.connect().await;
    assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_the_answer_is_dropped() {
    let rtt = Arc::new(crate::session::Buckets::from_seconds(&[1e-3]));
    let target = fixture::busy("t", ("site", &"x".repeat(1 << 20)), &rtt);
    let limits = Limits { stall: Duration::from_millis(50), ..Limits::default() };
    // Far more than fits into socket buffers.
    let running = Running::with(limits, fixture::probe(vec![target])).await;
    let mut stream = running.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // Nothing is read until the server has given up, which shows in a write.
    soon(async {
        while stream.write_all(b"\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(running.ask("GET /-/healthy HTTP/1.1").await.status, 200);
}

#[tokio::test]
async fn idle_connections_give_way_to_a_scrape() {
    let running = Running::start(Limits::default()).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(running.connect().await);
    }
    assert_eq!(running.ask("GET /metrics HTTP/1.1").await.status, 200);
    // The first connection was evicted; the last is still open and served.
    assert_eq!(soon(idle[0].read(&mut [0])).await.unwrap(), 0);
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(Answer::read(last).await.status, 200);
}

/// Few places, so that few connections take them all.
fn few() -> Limits {
    let hour = Duration::from_secs(3600);
    Limits { connections: 16, share: 4, reserve: 4, stall: hour, ..Limits::default() }
}

/// Connections from `from` whose requests are never answered.
async fn unanswered(running: &Running, from: [u8; 4], number: usize) -> Vec<TcpStream> {
    running.source.hangs.store(true, Ordering::Relaxed);
    let mut streams = Vec::new();
    for _ in 0..number {
        let mut stream = connect_from(running, from).await;
        let request = b"GET /targets/fra-edge HTTP/1.1\r\nHost: x\r\n\r\n";
        // The server may have closed it already, for lack of room.
        let _ = stream.write_all(request).await;
        streams.push(stream);
    }
    streams
}

async fn connect_from(running: &Running, from: [u8; 4]) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(running.address).await.unwrap()
}

async fn ask_from(running: &Running, from: [u8; 4], path: &str) -> Answer {
    let mut stream = connect_from(running, from).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    Answer::read(&mut stream).await
}

/// Waits until the server has read all those requests: then it has no room for another one.
async fn fills(running: &Running, from: [u8; 4]) {
    soon(async {
        while ask_from(running, from, "/metrics").await.status != 503 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_client_cannot_shut_out_others_or_health_checks() {
    let running = Running::start(few()).await;
    let hostile = [127, 0, 0, 1];
    let _streams = unanswered(&running, hostile, 20).await;
    fills(&running, hostile).await;
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(ask_from(&running, hostile, path).await.status, 200, "{path}");
    }
    let refused = ask_from(&running, hostile, "/metrics").await;
    assert!(refused.has("retry-after: 5") && refused.has("connection: close"), "{}", refused.head);
    assert_eq!(ask_from(&running, [127, 0, 0, 2], "/metrics").await.status, 200);
}

#[tokio::test]
async fn many_clients_cannot_shut_out_health_checks() {
    let running = Running::start(few()).await;
    let mut streams = Vec::new();
    for last in 1..=4 {
        streams.extend(unanswered(&running, [127, 0, 0, last], 4).await);
    }
    let other = [127, 0, 0, 9];
    fills(&running, other).await;
    assert_eq!(ask_from(&running, other, "/-/healthy").await.status, 200);
    drop(streams);
    soon(async {
        while ask_from(&running, other, "/metrics").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn scrapes_that_are_not_read_hold_no_sample() {
    let rtt = Arc::new(crate::session::Buckets::from_seconds(&[1e-3]));
    let target = fixture::busy("t", ("site", &"x".repeat(1 << 20)), &rtt);
    // Far more than fits into socket buffers.
    let running = Running::with(Limits::default(), fixture::probe(vec![target])).await;
    let kept = running.source.sample.targets[0].target.clone();
    let before = Arc::strong_count(&kept);
    for path in ["/metrics", "/api/v1/targets"] {
        for encoding in ["", "Accept-Encoding: gzip\r\n"] {
            let mut unread = Vec::new();
            for _ in 0..4 {
                let mut stream = running.connect().await;
                let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{encoding}\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                // The answer has begun, so there was a sample.
                soon(stream.readable()).await.unwrap();
                unread.push(stream);
            }
            soon(async {
                while Arc::strong_count(&kept) > before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_the_listener() {
    let running = Running::start(Limits::default()).await;
    let mut idle = running.connect().await;
    assert_eq!(running.ask("GET /-/ready HTTP/1.1").await.status, 200);
    running.stop.send(()).unwrap();
    soon(running.server).await.unwrap();
    assert_eq!(soon(idle.read(&mut [0])).await.unwrap(), 0);
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn shutdown_lets_an_answer_under_way_finish() {
    let rtt = Arc::new(crate::session::Buckets::from_seconds(&[1e-3]));
    let target = fixture::busy("t", ("site", &"x".repeat(1 << 20)), &rtt);
    let limits = Limits { drain: Duration::from_secs(60), ..Limits::default() };
    let running = Running::with(limits, fixture::probe(vec![target])).await;
    let mut stream = running.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 16];
    soon(stream.read_exact(&mut first)).await.unwrap();
    running.stop.send(()).unwrap();
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"));
    soon(running.server).await.unwrap();
}
