//! A small HTTP client that times its requests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use flate2::read::MultiGzDecoder;

use super::clock::Watch;

/// How long an answer may pause. The largest answer takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer to a GET.
#[derive(Debug)]
pub(crate) struct Answer {
    /// From before the connection to the last octet.
    pub(crate) took: Duration,
    /// The status code.
    pub(crate) status: u16,
    gzip: bool,
    body: Vec<u8>,
}

impl Answer {
    /// Size of the body as it was received, in octets.
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// The body as text.
    pub(crate) fn text(self) -> anyhow::Result<String> {
        if !self.gzip {
            return Ok(String::from_utf8(self.body)?);
        }
        let mut text = String::new();
        MultiGzDecoder::new(self.body.as_slice()).read_to_string(&mut text).context("gzip")?;
        Ok(text)
    }
}

/// Requests `path` from `address` over HTTP/1.0, whose bodies end with the connection.
pub(crate) fn get(address: SocketAddr, path: &str, gzip: bool) -> anyhow::Result<Answer> {
    let watch = Watch::start();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let coding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{coding}\r\n").as_bytes())?;
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets)?;
    let took = watch.elapsed();

    let end = octets.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.with_context(|| format!("no HTTP answer from {address}{path}"))?;
    let body = octets.split_off(end + 4);
    let head = String::from_utf8(octets)?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let coded = head.contains("\r\ncontent-encoding: gzip");
    ensure!(status != 200 || coded == gzip, "asked for gzip: {gzip}, received gzip: {coded}");
    Ok(Answer { took, status, gzip: coded, body })
}
