//! An HTTP client that parses and checks metrics.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::program::{PATIENCE, Running};

/// A complete HTTP response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A request that is sent without its end, to be finished later.
pub(crate) struct Begun(TcpStream);

/// The contents of `/metrics`.
pub(crate) struct Metrics {
    pub(crate) text: String,
    pub(crate) samples: Vec<Sample>,
}

/// One sample of `/metrics`.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// The ledger of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ledger {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) in_flight: u64,
}

impl Running {
    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.http, path).unwrap()
    }

    /// Scrapes `/metrics`, and checks that every ledger adds up.
    pub(crate) fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
        Metrics::read(answer.body)
    }

    /// The flight recorder of this target, whose name must need no escaping.
    pub(crate) fn heartbeats(&self, name: &str) -> Value {
        let answer = self.get(&format!("/api/v1/targets/{name}/heartbeats"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The target of this name in `/api/v1/targets`.
    pub(crate) fn target(&self, name: &str) -> Value {
        let mut document: Value = serde_json::from_str(&self.get("/api/v1/targets").body).unwrap();
        let targets = document["targets"].as_array_mut().unwrap();
        targets.iter_mut().find(|target| target["name"] == name).unwrap().take()
    }
}

/// Requests `path`.
pub(crate) fn get(server: SocketAddr, path: &str) -> io::Result<Answer> {
    Begun::get(server, path)?.finish()
}

impl Begun {
    /// Sends the request without its last line.
    pub(crate) fn get(server: SocketAddr, path: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // HTTP/1.0: the answer is not chunked, and ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n")?;
        Ok(Self(stream))
    }

    pub(crate) fn finish(mut self) -> io::Result<Answer> {
        self.0.write_all(b"\r\n")?;
        let mut answer = String::new();
        self.0.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| io::Error::other(format!("no answer: {answer:?}")))?;
        let status = head[9..12].parse().map_err(io::Error::other)?;
        Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
    }
}

impl Metrics {
    /// Parses the text format, and checks `sent = received + lost + in_flight` of every target.
    pub(crate) fn read(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(Sample::read).collect();
        let metrics = Self { text, samples };
        for (target, Ledger { sent, received, lost, in_flight }) in metrics.ledgers() {
            assert_eq!(sent, received + lost + in_flight, "{target}");
        }
        metrics
    }

    /// The sample of this name that has all of these labels.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.samples.iter().filter(|sample| {
            sample.name == name
                && labels.iter().all(|&(label, value)| sample.label(label) == Some(value))
        });
        let value = found.next()?.value;
        assert!(found.next().is_none(), "{name}{labels:?} is not unique");
        Some(value)
    }

    /// The value of a counter or an integer gauge, which must exist.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value = self.find(name, labels);
        let value = value.unwrap_or_else(|| panic!("no {name}{labels:?} in\n{}", self.text));
        whole(value)
    }

    /// `heartbeat_NAME{target="TARGET"}`.
    pub(crate) fn of(&self, target: &str, name: &str) -> u64 {
        self.count(&format!("heartbeat_{name}"), &[("target", target)])
    }

    /// `heartbeat_NAME{target="TARGET",LABEL="VALUE"}`.
    pub(crate) fn of_by(&self, target: &str, name: &str, label: (&str, &str)) -> u64 {
        self.count(&format!("heartbeat_{name}"), &[("target", target), label])
    }

    /// `heartbeat_responder_NAME{LABEL="VALUE"}`.
    pub(crate) fn responder(&self, name: &str, label: (&str, &str)) -> u64 {
        self.count(&format!("heartbeat_responder_{name}"), &[label])
    }

    /// The sum of a family over all of its labels.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let family = self.samples.iter().filter(|sample| sample.name == name);
        family.map(|sample| whole(sample.value)).sum()
    }

    /// The ledger of every target.
    pub(crate) fn ledgers(&self) -> BTreeMap<&str, Ledger> {
        let mut ledgers = BTreeMap::<_, Ledger>::new();
        for sample in &self.samples {
            let Some(target) = sample.label("target") else { continue };
            let ledger = ledgers.entry(target).or_default();
            match sample.name.as_str() {
                "heartbeat_sent_total" => ledger.sent = whole(sample.value),
                "heartbeat_received_total" => ledger.received = whole(sample.value),
                "heartbeat_lost_total" => ledger.lost = whole(sample.value),
                "heartbeat_in_flight" => ledger.in_flight = whole(sample.value),
                _ => {}
            }
        }
        ledgers
    }

    pub(crate) fn ledger(&self, target: &str) -> Ledger {
        self.ledgers()[target]
    }
}

impl Sample {
    fn read(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix("\"}").expect(line)),
            None => (series, ""),
        };
        let labels = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
            let (label, value) = pair.split_once("=\"").expect(line);
            (label.to_owned(), value.to_owned())
        });
        let value = value.parse().expect(line);
        Self { name: name.to_owned(), labels: labels.collect(), value }
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// Converts a value to an integer. It must be one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
fn whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0, "{value} is not a count");
    value as u64
}
