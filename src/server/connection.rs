//! Accepting connections: how many, how long, how they end.

use std::{sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// Bounds of one listener.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Connections at once. More wait in the backlog of the kernel.
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

/// Accepts until `stop` turns true, then waits for the requests in hand.
pub async fn accept<L: Listener>(
    mut listener: L,
    routes: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            // The semaphore is never closed.
            let slot = slots.clone().acquire_owned().await.ok();
            (listener.accept().await.0, slot)
        };
        tokio::select! {
            biased;
            () = told(&mut stop) => break,
            (io, slot) = next => {
                let serving = serve(io, routes.clone(), limits, stop.clone());
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

async fn serve<I>(io: I, routes: Router, limits: Limits, mut stop: watch::Receiver<bool>)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", routing::get(|| async { "ok" }));
        let limits = Limits { connections, head: Duration::from_millis(300) };
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

    #[tokio::test]
    async fn more_connections_than_allowed_wait_for_their_turn() {
        let address = server(1).await;
        let first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        // The first one is cut for idling, then the second is served.
        second.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("ok"), "{answer}");
        drop(first);
    }
}
