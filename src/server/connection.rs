//! Accepting connections: how many, how long, how they end.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, serve::Listener};
use hyper::{server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

/// Bounds of one listener.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Connections at once. One more takes the place of the one that keeps us waiting longest; if
    /// none does, it waits.
    connections: usize,
    /// For the whole head of a request, from the first idle moment on: also how long a connection may
    /// stay idle.
    head: Duration,
}

impl Limits {
    /// A descriptor and a few kilobytes each; systems commonly allow 1024 descriptors, and the ledger
    /// needs some. GitHub's own limit for a delivery is 10 s.
    pub const INTERNET: Self = Self { connections: 512, head: Duration::from_secs(10) };
    pub const LOCAL: Self = Self { connections: 64, head: Duration::from_secs(30) };
}

/// Largest head of a request; GitHub's are under 2 KB.
const MAX_HEAD: usize = 16 * 1024;

/// Before another connection is cut, if the one that was cut is not gone.
const CUT_AGAIN: Duration = Duration::from_millis(50);

/// One connection. A request carries it as an extension.
#[derive(Clone, Default)]
pub struct Peer(Arc<State>);

#[derive(Default)]
struct State {
    /// A request is in hand and its next step is ours.
    ours: AtomicBool,
    told_to_go: AtomicBool,
    go: Notify,
}

impl Peer {
    /// While `work` runs, its next step is the peer's: it may be cut.
    pub async fn waited_for<F: Future>(&self, work: F) -> F::Output {
        self.0.ours.store(false, Ordering::Relaxed);
        let done = work.await;
        self.0.ours.store(true, Ordering::Relaxed);
        done
    }

    /// Ready when it is to be cut.
    async fn cut(&self) {
        loop {
            self.0.go.notified().await;
            // Its bytes may have come since.
            if !self.0.ours.load(Ordering::Relaxed) {
                return;
            }
            self.0.told_to_go.store(false, Ordering::Relaxed);
        }
    }
}

/// The places of a listener and who holds them, oldest first.
///
/// Whoever opens connections and says nothing would otherwise keep GitHub out: 512 places for 10 s
/// each are not many.
struct Places {
    free: Arc<Semaphore>,
    held: VecDeque<Weak<State>>,
}

impl Places {
    /// Waits as long as every connection has a request in hand whose next step is ours.
    async fn take(&mut self, peer: &Peer) -> Option<OwnedSemaphorePermit> {
        let slot = loop {
            let slot = tokio::time::timeout(CUT_AGAIN, self.free.clone().acquire_owned());
            if self.free.available_permits() == 0 {
                self.cut_one();
            }
            if let Ok(slot) = slot.await {
                // The semaphore is never closed.
                break slot.ok();
            }
        };
        self.held.push_back(Arc::downgrade(&peer.0));
        slot
    }

    fn cut_one(&mut self) {
        self.held.retain(|peer| peer.strong_count() > 0);
        let waits = |peer: &Arc<State>| {
            !peer.ours.load(Ordering::Relaxed) && !peer.told_to_go.swap(true, Ordering::Relaxed)
        };
        if let Some(peer) = self.held.iter().filter_map(Weak::upgrade).find(waits) {
            tracing::debug!("a connection is cut to make room");
            peer.go.notify_one();
        }
    }
}

/// Accepts until `stop` turns true, then waits for the requests in hand.
pub async fn accept<L: Listener>(
    mut listener: L,
    routes: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let free = Arc::new(Semaphore::new(limits.connections));
    let mut places = Places { free, held: VecDeque::new() };
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            let (io, peer) = (listener.accept().await.0, Peer::default());
            let slot = places.take(&peer).await;
            (io, peer, slot)
        };
        tokio::select! {
            biased;
            () = told(&mut stop) => break,
            (io, peer, slot) = next => {
                let serving = serve(io, peer, routes.clone(), limits, stop.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Until the stop is told, or whoever could tell it is gone.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopping| *stopping).await;
}

async fn serve<I>(io: I, peer: Peer, routes: Router, limits: Limits, mut stop: watch::Receiver<bool>)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (routes, of) = (TowerToHyperService::new(routes), peer.clone());
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        let of = of.clone();
        of.0.ours.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(of.clone());
        let answer = routes.call(request);
        async move {
            let answer = answer.await;
            of.0.ours.store(false, Ordering::Relaxed);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = peer.cut() => return,
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        // A peer that hangs up or is too slow is no fault of ours.
        tracing::debug!("connection ended: {e}");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn server(connections: usize) -> std::net::SocketAddr {
        server_with(connections, Duration::from_millis(300)).await
    }

    async fn server_with(connections: usize, head: Duration) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let late = || async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            "late"
        };
        let routes =
            Router::new().route("/", routing::get(|| async { "ok" })).route("/late", routing::get(late));
        let limits = Limits { connections, head };
        let (sender, stop) = watch::channel(false);
        tokio::spawn(async move {
            accept(listener, routes, limits, stop).await;
            drop(sender);
        });
        address
    }

    async fn is_cut(mut stream: TcpStream) -> bool {
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.is_ok()
    }

    #[tokio::test]
    async fn slow_heads_and_idle_connections_are_cut() {
        let address = server(8).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();
        assert!(is_cut(slow).await);
        assert!(is_cut(TcpStream::connect(address).await.unwrap()).await);
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(is_cut(idle).await);
    }

    #[tokio::test]
    async fn a_large_head_is_refused() {
        let address = server(8).await;
        let mut large = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nx-large: {}\r\n\r\n", "x".repeat(2 * MAX_HEAD));
        let _ = large.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = large.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    }

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn whoever_keeps_us_waiting_longest_makes_room() {
        let address = server_with(2, Duration::from_secs(600)).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();
        let idle = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(ask(address, "/").await.ends_with("ok"));
        assert!(is_cut(slow).await);
        let mut idle = idle;
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        idle.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("ok"), "{answer}");
    }

    #[tokio::test]
    async fn a_request_in_hand_is_not_cut() {
        let address = server_with(2, Duration::from_secs(600)).await;
        let asked = || tokio::spawn(async move { ask(address, "/late").await });
        let (a, b) = (asked(), asked());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let started = std::time::Instant::now();
        assert!(ask(address, "/").await.ends_with("ok"));
        assert!(started.elapsed() > Duration::from_millis(200), "it waits for a place");
        assert!(a.await.unwrap().ends_with("late") && b.await.unwrap().ends_with("late"));
    }
}
