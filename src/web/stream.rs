//! Streams a long answer: a blocking thread encodes it no faster than the client reads.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Frame;
use tokio::sync::mpsc;

/// Approximate size of a chunk, in octets.
pub(super) const CHUNK: usize = 32 << 10;

/// Chunks that are encoded ahead of the client.
const AHEAD: usize = 4;

/// A body that `encode` writes on a blocking thread.
///
/// If `encode` fails or panics, the body ends with an error, which the client can distinguish from
/// its end. If the client closes the connection, writes fail with `BrokenPipe`.
pub(super) fn stream(
    gzip: bool,
    encode: impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + 'static,
) -> Body {
    let (chunks, body) = channel();
    tokio::task::spawn_blocking(move || {
        let out = ChunkWriter { chunks, chunk: Vec::with_capacity(CHUNK) };
        if let Err(error) = write(out, gzip, encode) {
            tracing::debug!(%error, "an answer ended early");
        }
    });
    body
}

/// A body of the chunks that are sent. An empty one marks the end; without it, the body ends with an
/// error.
pub(super) fn channel() -> (mpsc::Sender<Bytes>, Body) {
    let (chunks, receiver) = mpsc::channel(AHEAD);
    (chunks, Body::new(Chunks(Some(receiver))))
}

/// The body of an answer to HEAD: it has no octets, and the length of the answer to GET is unknown.
pub(super) fn left_out() -> Body {
    Body::new(Chunks(None))
}

/// Encodes, and marks the end.
fn write(
    mut out: ChunkWriter,
    gzip: bool,
    encode: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    if gzip {
        let mut gzip = GzEncoder::new(out, Compression::fast());
        encode(&mut gzip)?;
        out = gzip.finish()?;
    } else {
        encode(&mut out)?;
    }
    out.finish()
}

/// The chunks as they are encoded. An empty chunk marks the end; after it, this is `None`.
#[derive(Debug)]
struct Chunks(Option<mpsc::Receiver<Bytes>>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(chunks) = &mut self.0 else { return Poll::Ready(None) };
        let frame = match ready!(chunks.poll_recv(cx)) {
            Some(chunk) if !chunk.is_empty() => {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            Some(_) => None,
            // The encoder ended without marking the end.
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        };
        self.0 = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// Collects octets into chunks, and waits when the client is behind.
#[derive(Debug)]
struct ChunkWriter {
    chunks: mpsc::Sender<Bytes>,
    chunk: Vec<u8>,
}

impl ChunkWriter {
    /// Sends the last chunk and the mark of the end.
    fn finish(mut self) -> io::Result<()> {
        io::Write::flush(&mut self)?;
        self.send(Bytes::new())
    }

    fn send(&self, chunk: Bytes) -> io::Result<()> {
        self.chunks.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl io::Write for ChunkWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(octets);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.send(chunk.into())
    }
}
