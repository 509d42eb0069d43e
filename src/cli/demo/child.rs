//! The server as a child process, which can be killed.

use std::{
    fs::OpenOptions,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::process::{Child, Command};

use super::super::Failure;

/// A start that takes longer has failed.
const START: Duration = Duration::from_secs(20);
/// A clean stop that takes longer has failed; the server gives itself 10 s.
const STOP: Duration = Duration::from_secs(15);

pub struct Server {
    child: Child,
    dir: PathBuf,
    pub listen: SocketAddr,
}

impl Server {
    /// Starts `gatelog serve` with the configuration in `dir` and waits until it is ready.
    ///
    /// # Errors
    /// It does not start; the message says why it says so.
    pub async fn start(dir: &Path, listen: SocketAddr) -> Result<Self, Failure> {
        let mut server = Self { child: spawn(dir)?, dir: dir.to_owned(), listen };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// SIGKILL: it gets no chance to finish anything.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(|e| Failure::could_not_run(format!("cannot kill the server: {e}")))
    }

    /// Starts it again on the same port and ledger.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn restart(&mut self) -> Result<(), Failure> {
        self.child = spawn(&self.dir)?;
        self.wait_until_ready().await
    }

    /// SIGTERM, and waits.
    ///
    /// # Errors
    /// It does not stop, or not with exit code 0.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        let raw = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = raw.and_then(rustix::process::Pid::from_raw) {
            // An error means that it is gone already; waiting tells how.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        match tokio::time::timeout(STOP, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.failure(&format!("the server stopped with {status}"))),
            Ok(Err(e)) => Err(Failure::could_not_run(format!("cannot wait for the server: {e}"))),
            Err(_) => Err(self.failure("the server does not stop")),
        }
    }

    /// The process, for those who want to look.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    async fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let url: http::Uri = format!("http://{}/readyz", self.listen)
            .parse()
            .map_err(|e| Failure::could_not_run(format!("cannot ask the server: {e}")))?;
        while begun.elapsed() < START {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failure(&format!("the server did not start ({status})")));
            }
            if client.get(url.clone()).await.is_ok_and(|r| r.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(self.failure("the server is not ready"))
    }

    fn failure(&self, what: &str) -> Failure {
        let log = self.dir.join("server.log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let mut last: Vec<&str> = text.lines().rev().take(5).collect();
        last.reverse();
        Failure::could_not_run(format!("{what}; the end of {}:\n{}", log.display(), last.join("\n")))
    }
}

fn spawn(dir: &Path) -> Result<Child, Failure> {
    let cannot = |e: std::io::Error| Failure::could_not_run(format!("cannot start the server: {e}"));
    let log = OpenOptions::new().create(true).append(true).open(dir.join("server.log")).map_err(cannot)?;
    let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
    // What somebody's environment says about another gatelog is not for this one.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GATELOG") {
            command.env_remove(name);
        }
    }
    command
        .arg("serve")
        .arg("--config")
        .arg(dir.join("gatelog.toml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(cannot)?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)
}
