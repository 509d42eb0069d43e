//! What stands at the other end of our calls is GitHub, a proxy, or somebody else.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use gatelog::{
    event::Repository,
    facts::FACTS,
    github::{
        Github, RepoAt, Settings,
        gather::{self, Floor, Known},
        report,
    },
    simulated_github::AppKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// Between two answers of the input.
const NEXT: u8 = 0x1e;

/// Answers are given in turn, the last one again and again; each is the body of a 200.
pub fn answers(data: &[u8]) {
    let other = Other::get();
    let all: Vec<Vec<u8>> = data.split(|b| *b == NEXT).map(<[u8]>::to_vec).collect();
    *other.answers.lock().unwrap_or_else(PoisonError::into_inner) = all;
    other.next.store(0, Ordering::SeqCst);
    // Another installation each time: limits and tokens of the one before are not ours.
    let installation = 1 + other.installation.fetch_add(1, Ordering::SeqCst);
    let repository =
        Repository { id: 1, name: "octo-org/app".parse().expect("a constant"), default_branch: None };
    let at = RepoAt { installation, repository };
    let asked = async {
        if let Ok(pulled) = gather::pull(&other.github, &at, 1, &Floor::default()).await {
            let mut facts = super::no_facts();
            facts.facts.missing = pulled.missing;
            facts.change = Some(pulled.change);
            let needs: BTreeSet<_> = FACTS.iter().map(|(name, _)| ((*name).to_owned(), None)).collect();
            let _ = gather::complete(&other.github, &at, facts, &needs, &Known::default()).await;
        }
        let _ = gather::open_pulls(&other.github, &at).await;
        let sha = "0123456789012345678901234567890123456789".parse().expect("a constant");
        let _ = report::find_runs(&other.github, &at, &sha, "gatelog").await;
    };
    other.runtime.block_on(async {
        let all = tokio::time::timeout(Duration::from_secs(20), asked).await;
        assert!(all.is_ok(), "it asks without end");
    });
}

struct Other {
    runtime: Runtime,
    github: Github,
    answers: Mutex<Vec<Vec<u8>>>,
    next: AtomicUsize,
    installation: AtomicU64,
}

impl Other {
    fn get() -> &'static Self {
        static OTHER: OnceLock<Other> = OnceLock::new();
        OTHER.get_or_init(|| {
            let runtime = Runtime::new().expect("a runtime");
            let _inside = runtime.enter();
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
            let github = client(listener.local_addr().expect("it is bound"));
            runtime.spawn(accept(listener));
            drop(_inside);
            Other {
                runtime,
                github,
                answers: Mutex::default(),
                next: AtomicUsize::new(0),
                installation: AtomicU64::new(0),
            }
        })
    }

    fn answer(&self, request: &str) -> Vec<u8> {
        if request.contains("/access_tokens") {
            return b"{\"token\":\"t\"}".to_vec();
        }
        let all = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let n = self.next.fetch_add(1, Ordering::SeqCst);
        all.get(n).or(all.last()).cloned().unwrap_or_default()
    }
}

fn client(address: SocketAddr) -> Github {
    let key = AppKey::of_this_process().expect("a key");
    let settings = Settings {
        api_url: format!("http://{address}"),
        graphql_url: None,
        app_id: 1,
        private_key_pem: key.private_pem.clone().into_bytes().into(),
        timeout: Duration::from_secs(5),
        outbound: gatelog::outbound::Outbound::new(None, &gatelog::outbound::Proxies::default())
            .expect("roots"),
        secondary_limits: false,
    };
    Github::new(&settings).expect("a client")
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream));
    }
}

/// HTTP/1.1 as far as our own client speaks it.
async fn serve(mut stream: TcpStream) -> Option<()> {
    let (mut buffer, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
            buffer.extend_from_slice(&chunk[..n]);
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.trim().parse().ok());
        let whole = end + length.unwrap_or(0usize);
        while buffer.len() < whole {
            let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
            buffer.extend_from_slice(&chunk[..n]);
        }
        buffer.drain(..whole);
        let body = Other::get().answer(&head);
        let status = if head.contains("/access_tokens") { "201 Created" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.write_all(&body).await.ok()?;
    }
}
