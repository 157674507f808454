//! The accept loop: accepts connections, bounds their number, and drains them at shutdown.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::access::Access;
use super::connection;
use super::gate;
use super::limits::Limits;
use super::queue::Queue;
use super::seats::{Client, Seats};
use crate::model::Mono;
use crate::net;

/// The pause after accept(2) has failed for lack of resources.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long accept(2) must have succeeded before its recovery is logged.
const RECOVERED: Duration = Duration::from_secs(10);

/// Accepts until `shutdown` resolves, then drains.
pub(super) async fn run(
    listener: TcpListener,
    access: Access,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut server = Server::new(access, router, limits);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.admit(stream, peer.into()),
                Err(error) => server.recover(&error).await,
            },
        }
    }
    drop(listener);
    server.drain().await;
}

#[derive(Debug)]
struct Server {
    access: Arc<Access>,
    /// The routes, behind their gate.
    router: Router,
    /// Health checks only.
    health: Router,
    limits: Limits,
    queue: Arc<Queue>,
    seats: Seats,
    /// The connections of the reserve. Each may be evicted at any time.
    reserve: Arc<Queue>,
    reserved: Seats,
    connections: JoinSet<()>,
    shutdown: watch::Sender<bool>,
    /// When accept(2) last failed for lack of resources; `None` after its recovery. Only the first
    /// failure in a row is logged.
    starved: Option<Mono>,
}

impl Server {
    fn new(access: Access, router: Router, limits: Limits) -> Self {
        let access = Arc::new(access);
        let [router, health] = gate::behind(access.clone(), router);
        Self {
            router,
            health,
            access,
            seats: Seats::default(),
            reserve: Arc::default(),
            reserved: Seats::default(),
            limits,
            queue: Arc::default(),
            connections: JoinSet::new(),
            shutdown: watch::Sender::new(false),
            starved: None,
        }
    }

    /// Serves a new connection. If there are too many, or too many of the client, the longest idle
    /// one, of the client if it has too many, is closed. If none is idle, the connection gets a place
    /// in the reserve, where only health checks are answered.
    fn admit(&mut self, stream: TcpStream, client: Client) {
        if self.starved.take_if(|last| net::now().mono.since(*last) >= RECOVERED).is_some() {
            tracing::info!("accepting HTTP connections again");
        }
        while self.connections.try_join_next().is_some() {}
        // Answers are written in large pieces: waiting to fill a segment only delays the last.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::trace!(%error, "cannot set TCP_NODELAY");
        }
        let has_room = if self.seats.of(client) >= self.limits.share {
            self.queue.evict(Some(client))
        } else {
            self.seats.taken() < self.limits.connections || self.queue.evict(None)
        };
        let (access, limits) = (self.access.clone(), self.limits);
        let shutdown = self.shutdown.subscribe();
        if has_room {
            let (router, seat) = (self.router.clone(), self.seats.take(client));
            let queued = (client, self.queue.clone());
            self.connections.spawn(async move {
                let _seat = seat;
                let tls = access.terms().await.config.tls.clone();
                connection::serve(stream, tls, router, limits, queued, shutdown).await;
            });
            return;
        }
        tracing::debug!("no room for an HTTP connection: answering health checks only");
        if self.reserved.taken() >= limits.reserve {
            self.reserve.evict(None);
        }
        let (router, seat) = (self.health.clone(), self.reserved.take(client));
        let (reserve, evicted) = (self.reserve.clone(), Arc::new(Notify::new()));
        let place = reserve.join(client, evicted.clone());
        let queued = (client, Arc::default());
        self.connections.spawn(async move {
            let _seat = seat;
            let serving = async {
                let tls = access.terms().await.config.tls.clone();
                connection::serve(stream, tls, router, limits, queued, shutdown).await;
            };
            tokio::select! {
                () = serving => reserve.leave(place),
                () = evicted.notified() => {}
            }
        });
    }

    /// Handles an error of accept(2): errors of one connection are ignored; others (no more
    /// descriptors or memory) persist until something is freed, so an idle connection is closed.
    async fn recover(&mut self, error: &io::Error) {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        ) {
            return;
        }
        let now = net::now().mono;
        if self.starved.replace(now).is_none_or(|last| now.since(last) >= RECOVERED) {
            tracing::warn!(%error, "cannot accept HTTP connections");
        }
        self.queue.evict(None);
        sleep(BACK_OFF).await;
    }

    /// Lets answers under way finish, and closes the connections that take too long.
    async fn drain(mut self) {
        self.shutdown.send_replace(true);
        let ended = async { while self.connections.join_next().await.is_some() {} };
        if timeout(self.limits.drain, ended).await.is_err() {
            let left = self.connections.len();
            tracing::debug!(left, "closing HTTP connections whose answers take too long");
        }
        self.connections.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[tokio::test]
    async fn only_lack_of_descriptors_evicts_an_idle_connection() {
        let mut server = Server::new(Access::open(), Router::new(), Limits::default());
        let evicted = Arc::new(Notify::new());
        let client = Client::from(std::net::SocketAddr::from(([192, 0, 2, 1], 1)));
        server.queue.join(client, evicted.clone());

        server.recover(&Errno::ECONNABORTED.into()).await;
        assert_eq!(server.starved, None);
        server.recover(&Errno::EMFILE.into()).await;
        assert!(server.starved.is_some());
        evicted.notified().await;
        assert!(!server.queue.evict(None));
    }
}
