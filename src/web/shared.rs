//! One encoded body for all requests that wait for it.
//!
//! A body is kept compressed, and grows as it is encoded. Each client reads it at its own speed, and
//! the figures that it was made of are gone once it is complete: clients that read slowly, or not at
//! all, do not hold them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, watch};
use tokio::task::spawn_blocking;

use super::stream::{CHUNK, channel, stream};
use crate::model::Mono;
use crate::net;

/// Writes a long answer.
pub(super) type Encode = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// The newest body, for the requests that came before its figures were gathered.
#[derive(Debug, Default)]
pub(super) struct Shared {
    last: Mutex<Option<(Mono, Growing)>>,
    /// Requests that do not have a body yet. Without any, the last body is forgotten.
    waiting: AtomicUsize,
}

/// A body that is being encoded, or complete.
pub(super) type Growing = watch::Receiver<Grown>;

/// What has been encoded so far.
#[derive(Debug, Default)]
pub(super) struct Grown {
    /// gzip.
    chunks: Vec<Bytes>,
    complete: bool,
}

/// A request that does not have a body yet.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    shared: &'a Shared,
    since: Mono,
}

impl Shared {
    /// A request has come.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting { shared: self, since: net::now().mono }
    }
}

impl<'a> Waiting<'a> {
    /// Waits until no other request is gathering figures.
    pub(super) async fn turn(&self) -> Turn<'a> {
        Turn { last: self.shared.last.lock().await, since: self.since }
    }
}

/// The turn of a request: others wait meanwhile.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    last: MutexGuard<'a, Option<(Mono, Growing)>>,
    since: Mono,
}

impl Turn<'_> {
    /// A body whose figures are newer than the request.
    pub(super) fn found(&self) -> Option<Growing> {
        self.last.as_ref().filter(|(at, _)| *at >= self.since).map(|(_, body)| body.clone())
    }

    /// Gathers figures, and begins to encode them into a body. `permit` is kept until that is done.
    pub(super) async fn gather<E>(
        mut self,
        gather: impl Future<Output = Result<Encode, E>>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Growing, E> {
        let at = net::now().mono;
        let body = grow(gather.await?, permit);
        *self.last = Some((at, body.clone()));
        Ok(body)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.shared.waiting.fetch_sub(1, Ordering::Relaxed) == 1
            && let Ok(mut last) = self.shared.last.try_lock()
        {
            *last = None;
        }
    }
}

/// Encodes on a blocking thread, at full speed.
fn grow(encode: Encode, permit: OwnedSemaphorePermit) -> Growing {
    let (grown, body) = watch::channel(Grown::default());
    spawn_blocking(move || {
        let out = Growth { grown, chunk: Vec::with_capacity(CHUNK) };
        let mut gzip = GzEncoder::new(out, Compression::fast());
        let encoded = encode(&mut gzip).and_then(|()| gzip.finish()?.finish());
        if let Err(error) = encoded {
            tracing::debug!(%error, "an answer ended early");
        }
        drop(permit);
    });
    body
}

/// Collects octets into chunks of a body.
struct Growth {
    grown: watch::Sender<Grown>,
    chunk: Vec<u8>,
}

impl Growth {
    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.grown.send_modify(|grown| grown.complete = true);
        Ok(())
    }
}

impl Write for Growth {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(octets);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(octets.len())
    }

    /// Fails once nobody reads the body any more.
    fn flush(&mut self) -> io::Result<()> {
        if self.grown.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.chunk.is_empty() {
            let chunk = Bytes::copy_from_slice(&self.chunk);
            self.chunk.clear();
            self.grown.send_modify(|grown| grown.chunks.push(chunk));
        }
        Ok(())
    }
}

/// The body for one client, as gzip or not; `turn` is kept until its end.
pub(super) fn answer(body: Growing, gzip: bool, turn: OwnedSemaphorePermit) -> Body {
    let mut reader = Reader { body, read: 0 };
    if gzip {
        let (chunks, body) = channel();
        tokio::spawn(async move {
            let _turn = turn;
            while let Ok(next) = reader.next().await {
                let is_end = next.is_none();
                if chunks.send(next.unwrap_or_default()).await.is_err() || is_end {
                    return;
                }
            }
        });
        return body;
    }
    let runtime = Handle::current();
    stream(false, move |out| {
        let _turn = turn;
        let mut plain = GzDecoder::new(out);
        while let Some(chunk) = runtime.block_on(reader.next())? {
            plain.write_all(&chunk)?;
        }
        plain.try_finish()
    })
}

/// Reads a body from its beginning.
struct Reader {
    body: Growing,
    read: usize,
}

impl Reader {
    /// The next chunk, once it is there; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            {
                let grown = self.body.borrow_and_update();
                if let Some(chunk) = grown.chunks.get(self.read) {
                    self.read += 1;
                    return Ok(Some(chunk.clone()));
                }
                if grown.complete {
                    return Ok(None);
                }
            }
            // The encoder ended without marking the end.
            self.body.changed().await.map_err(|_| io::ErrorKind::UnexpectedEof)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use tokio::sync::{Notify, Semaphore};

    use super::*;

    #[tokio::test]
    async fn requests_that_wait_share_one_body_and_none_gets_an_older_one() {
        let (shared, gathered) = (Shared::default(), AtomicUsize::new(0));
        let (permits, go) = (Arc::new(Semaphore::new(1)), Notify::new());
        let ask = async || {
            let waiting = shared.wait();
            let turn = waiting.turn().await;
            let body = if let Some(body) = turn.found() {
                drop(turn);
                body
            } else {
                let permit = permits.clone().acquire_owned().await.unwrap();
                let gather = async {
                    let number = gathered.fetch_add(1, Ordering::Relaxed);
                    if number == 0 {
                        go.notified().await;
                    }
                    let encode: Encode = Box::new(move |out| write!(out, "sample {number}"));
                    Ok::<_, Infallible>(encode)
                };
                let Ok(body) = turn.gather(gather, permit).await;
                body
            };
            drop(waiting);
            let turn = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
            answer(body, false, turn).collect().await.unwrap().to_bytes()
        };
        // The first one is gathering when the others come, so they need newer figures.
        let release = async { go.notify_one() };
        let (a, b, c, d, ()) = tokio::join!(ask(), ask(), ask(), ask(), release);
        assert_eq!(a, "sample 0");
        assert_eq!([b, c, d], ["sample 1"; 3]);
        assert!(shared.last.lock().await.is_none());
        assert_eq!(ask().await, "sample 2");
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_encoded_ends_with_an_error() {
        for gzip in [true, false] {
            let permit = || async { Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap() };
            let encode: Encode = Box::new(|_| Err(io::ErrorKind::Other.into()));
            let body = answer(grow(encode, permit().await), gzip, permit().await);
            assert!(body.collect().await.is_err());
        }
    }
}
