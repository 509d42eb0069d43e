//! Through real sockets.

use std::{net::SocketAddr, path::Path};

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::{gate, github, ledger::Ledger, time::Time};

const SECRET: &str = "It's a Secret to Everybody";

/// A server on ports of its own.
struct Server {
    public: SocketAddr,
    internal: SocketAddr,
    ledger: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let (public, internal) =
            (bind("[server] listen", any).await.unwrap(), bind("internal_listen", any).await.unwrap());
        let addresses = (public.local_addr().unwrap(), internal.local_addr().unwrap());
        let ledger = tempfile::tempdir().unwrap();
        let admin = Some(admin::Socket::bind(ledger.path()).unwrap());
        let (gate, github) = gate(ledger.path()).await;
        let app = App::new(gate, github, Arc::new(Metrics::new()), vec![Secret::new(SECRET.into())]);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = serve(Doors { public, internal, admin }, app, async {
            let _ = stopped.await;
        });
        let served = tokio::spawn(serving);
        Self { public: addresses.0, internal: addresses.1, ledger, stop, served }
    }

    async fn get(&self, address: SocketAddr, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).header("host", "x").body(Full::default()).unwrap();
        exchange(address, request).await
    }
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let retry = response.headers().contains_key("retry-after");
    assert_eq!(retry, status == StatusCode::SERVICE_UNAVAILABLE);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn signature(body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn delivery(guid: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/webhook")
        .header("host", "x")
        .header("content-type", "application/json")
        .header("x-github-event", "push")
        .header("x-github-delivery", guid)
        .header("x-hub-signature-256", signature(body.as_bytes()))
        .body(Full::from(body))
        .unwrap()
}

#[tokio::test]
async fn a_delivery_is_recorded_once() {
    let s = Server::start().await;
    let (status, first) = exchange(s.public, delivery("g-1", "{}")).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    let (status, again) = exchange(s.public, delivery("g-1", "{}")).await;
    assert_eq!(status, StatusCode::OK);
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again, serde_json::json!({"seq": first["seq"], "duplicate": true}));
    let (_, metrics) = s.get(s.internal, "/metrics").await;
    assert!(metrics.contains("gatelog_deliveries_total{event=\"push\",outcome=\"recorded\"} 1"), "{metrics}");
    assert!(
        metrics.contains("gatelog_deliveries_total{event=\"push\",outcome=\"duplicate\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_is_not_taken() {
    let s = Server::start().await;
    let with = |name: &'static str, value: &str| {
        let mut d = delivery("g-2", "{}");
        d.headers_mut().insert(name, value.parse().unwrap());
        d
    };
    let forged = with("x-hub-signature-256", &signature(b"{ }"));
    assert_eq!(exchange(s.public, forged).await.0, StatusCode::UNAUTHORIZED);
    let mut unsigned = delivery("g-2", "{}");
    unsigned.headers_mut().remove("x-hub-signature-256");
    assert_eq!(exchange(s.public, unsigned).await.0, StatusCode::UNAUTHORIZED);
    let mut anonymous = delivery("g-2", "{}");
    anonymous.headers_mut().remove("x-github-delivery");
    let (status, body) = exchange(s.public, anonymous).await;
    assert_eq!((status, body.contains("X-GitHub-Delivery")), (StatusCode::BAD_REQUEST, true));
    let xml = with("content-type", "application/xml");
    assert_eq!(exchange(s.public, xml).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(s.get(s.public, "/webhook").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(s.get(s.public, "/metrics").await.0, StatusCode::NOT_FOUND);
    let (_, metrics) = s.get(s.internal, "/metrics").await;
    assert!(metrics.contains("gatelog_rejected_signatures_total 2"), "{metrics}");
    // Nothing of it was stored: the GUID is new.
    assert_eq!(exchange(s.public, delivery("g-2", "{}")).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_payload_over_25_mb_is_not_read() {
    let s = Server::start().await;
    let mut stream = TcpStream::connect(s.public).await.unwrap();
    let head = "POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-github-event: push\r\n\
                x-github-delivery: g\r\ncontent-length: 26214401\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn health() {
    let s = Server::start().await;
    assert_eq!(s.get(s.public, "/healthz").await, (StatusCode::OK, "ok\n".into()));
    assert_eq!(s.get(s.public, "/readyz").await, (StatusCode::OK, "ready\n".into()));
}

#[tokio::test]
async fn the_admin_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let s = Server::start().await;
    let socket = s.ledger.path().join(admin::NAME);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let call = async |method, path: &str| admin::call(s.ledger.path(), method, path).await.unwrap();
    let (status, body) = call(Method::GET, "/status").await;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, body["pid"].as_u64()), (StatusCode::OK, Some(u64::from(std::process::id()))));
    assert_eq!(call(Method::GET, "/entries?from=x").await.0, StatusCode::BAD_REQUEST);
    exchange(s.public, delivery("g-5", "{}")).await;
    let (_, lines) = call(Method::GET, "/entries").await;
    let lines: Vec<serde_json::Value> =
        lines.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    let event = lines.iter().find(|l| l["bodies"] == serde_json::json!(["payload"])).unwrap();
    assert_eq!(event["seq"], lines.iter().position(|l| l == event).unwrap());
    // `raw` is what is hashed.
    let leaf = Sha256::digest([b"\0", event["raw"].as_str().unwrap().as_bytes()].concat());
    assert_eq!(event["leaf"], hex::encode(leaf));
    let path = format!("/entries/{}/bodies/payload", event["seq"]);
    assert_eq!(call(Method::GET, &path).await, (StatusCode::OK, Bytes::from_static(b"{}")));
    let (_, one) = call(Method::GET, "/entries?from=0&limit=1").await;
    assert_eq!(one.iter().filter(|b| **b == b'\n').count(), 1);
    assert_eq!(call(Method::GET, "/entries/0/bodies/none").await.0, StatusCode::NOT_FOUND);
    assert_eq!(call(Method::POST, "/acknowledge").await.0, StatusCode::OK);
    let _ = s.stop.send(());
    s.served.await.unwrap();
    assert!(!socket.exists());
    let gone = admin::call(s.ledger.path(), Method::GET, "/status").await;
    assert!(matches!(gone, Err(admin::CallError::NotRunning)));
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join(admin::NAME)).unwrap());
    let gone = admin::call(dir.path(), Method::GET, "/status").await;
    assert!(matches!(gone, Err(admin::CallError::NotRunning)));
    let socket = admin::Socket::bind(dir.path()).unwrap();
    assert!(UnixStream::connect(dir.path().join(admin::NAME)).await.is_ok());
    drop(socket);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn stopping_finishes_what_is_in_hand() {
    let s = Server::start().await;
    let mut idle = TcpStream::connect(s.public).await.unwrap();
    let mut busy = TcpStream::connect(s.public).await.unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-github-event: push\r\n\
         x-github-delivery: g-9\r\nx-hub-signature-256: {}\r\ncontent-length: 2\r\n\r\n{{",
        signature(b"{}")
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let _ = s.stop.send(());
    // The idle connection is closed, the port too; the request in hand is answered.
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    assert!(TcpStream::connect(s.public).await.is_err());
    busy.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    s.served.await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_one_sentence() {
    let first = bind("[server] listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = first.local_addr().unwrap();
    let e = bind("[server] listen", address).await.unwrap_err();
    assert_eq!(e, format!("[server] listen: {address} is in use by another program"));
}

/// A gate whose GitHub cannot be reached.
async fn gate(dir: &Path) -> (Gate, Github) {
    let policies = dir.join("policies");
    crate::cli::init::write_policies(&policies).unwrap();
    let (ledger, _) = Ledger::open(&dir.join("data"), Time::now).unwrap();
    let key = crate::simulated_github::AppKey::of_this_process().unwrap();
    let github = Github::new(&github::Settings {
        api_url: "http://127.0.0.1:1".into(),
        graphql_url: None,
        app_id: 1,
        private_key_pem: key.private_pem.into_bytes().into(),
        timeout: Duration::from_secs(1),
        outbound: crate::outbound::Outbound::new(None, &crate::outbound::Proxies::default()).unwrap(),
        secondary_limits: false,
    })
    .unwrap();
    let bundle = gate::load(&policies).unwrap();
    let settings = gate::Settings {
        ledger_dir: dir.join("data"),
        policies_dir: policies,
        app_id: 1,
        check_name: "gatelog".into(),
        publish: false,
        judging: crate::config::Judging::InProcess,
        config_file: None,
        sweep_every: None,
        watched: gate::reconcile::Watched::default(),
        alerts: None,
    };
    let past = gate::ReadBack::default();
    let running = Gate::start(settings, ledger, past, github.clone(), bundle, Arc::default()).await.unwrap();
    (running.gate, github)
}
