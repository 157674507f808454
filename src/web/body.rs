//! Bodies of answers: what an encoder writes enters, chunks leave as the client takes them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// Octets of a chunk, about.
const CHUNK: usize = 32 << 10;

/// Chunks written ahead of the client.
const AHEAD: usize = 4;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Body {
    /// What is short, as a whole.
    Whole(Bytes),
    /// What is long, as it is written; an empty chunk is the end.
    Stream(mpsc::Receiver<Bytes>),
    /// What was streamed to its end, or is not to be sent (HEAD).
    Ended,
}

impl Body {
    /// A body that `encode` writes, on a blocking thread, no faster than the client reads.
    ///
    /// Where `encode` fails or panics, the answer breaks off in a way that the client can tell
    /// from its end. Where the client leaves, what `encode` writes is refused (`BrokenPipe`).
    pub(super) fn stream(
        gzip: bool,
        encode: impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let (chunks, receiver) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            let out = ChunkWriter { chunks, chunk: Vec::with_capacity(CHUNK) };
            if let Err(error) = written(out, gzip, encode) {
                tracing::debug!(%error, "an answer broke off");
            }
        });
        Self::Stream(receiver)
    }
}

/// Encodes, and marks the end.
fn written(
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

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = match &mut *self {
            Self::Whole(whole) => Some(std::mem::take(whole)),
            Self::Stream(chunks) => ready!(chunks.poll_recv(cx)),
            Self::Ended => return Poll::Ready(None),
        };
        let Some(chunk) = chunk else {
            *self = Self::Ended;
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        };
        if chunk.is_empty() || matches!(*self, Self::Whole(_)) {
            *self = Self::Ended;
        }
        Poll::Ready((!chunk.is_empty()).then(|| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_empty(),
            Self::Stream(_) => false,
            Self::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Self::Stream(_) | Self::Ended => SizeHint::default(),
        }
    }
}

/// Collects what is written into chunks, and waits where the client lags behind.
#[derive(Debug)]
struct ChunkWriter {
    chunks: mpsc::Sender<Bytes>,
    chunk: Vec<u8>,
}

impl ChunkWriter {
    /// Sends what is left, and the end.
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
