//! Asking witnesses to cosign a checkpoint: all of them at once, for a second. One that did not answer the last time is
//! asked as long, and not waited for unless the quorum needs it: a dead witness holds nobody up.
//!
//! A witness is believed only as far as it signs: what else it answers is a hint. It says 409 with the size
//! that it saw last, and is asked again from there. Where it saw more than there is, or something else, it is
//! asked for the checkpoint that it has: if our own key has signed that, the ledger was rolled back.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use tokio::sync::Notify;

use super::{AddCheckpoint, MAX_REQUEST, origin_hash};
use crate::{
    ledger::{
        Ledger,
        checkpoint::decimal,
        cosignature::{Cosigned, Cosigner, cosigned},
        note,
        quorum::Policy,
    },
    outbound::{Connector, Outbound},
    store::journal::mark::Signed,
};

/// For all that one witness is asked. A slow one does not hold up publication for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a witness may name another size: once if we forgot, once more if somebody else asks it too.
const ATTEMPTS: usize = 3;

/// The witnesses of a log, and whose word is enough.
pub struct Witnesses {
    policy: Policy,
    asked: Vec<(Cosigner, String)>,
    only_with_quorum: bool,
    client: Client<Connector, Full<Bytes>>,
    late: Mutex<Late>,
    /// Something was heard late.
    heard: Notify,
}

/// Of witnesses that did not answer in time the last time.
#[derive(Default)]
struct Late {
    /// Their keys.
    who: HashSet<String>,
    /// What else than the log that there is they showed when nobody waited for them.
    shown: Vec<(Cosigner, String)>,
}

const TOO_LATE: &str = "it did not answer within a second";

/// What a witness answered.
#[derive(Clone, Debug)]
pub struct Told {
    pub by: Cosigner,
    pub answer: Result<Cosigned, Trouble>,
}

/// Why there is no cosignature of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub what: String,
    /// Where it saw something else: the signed checkpoint that it shows, of whom nothing is verified.
    pub shown: Option<String>,
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Self { what, shown: None }
    }
}

impl From<&str> for Trouble {
    fn from(what: &str) -> Self {
        what.to_owned().into()
    }
}

impl Witnesses {
    /// `only_with_quorum`: nothing is published without it.
    ///
    /// # Errors
    /// A witness has no URL or one that cannot be asked.
    pub fn new(policy: Policy, only_with_quorum: bool, outbound: &Outbound) -> Result<Self, String> {
        let mut asked = vec![];
        for witness in &policy.witnesses {
            let name = witness.key.name();
            let url = witness.url.as_deref().ok_or_else(|| format!("the witness {name} has no URL"))?;
            let usable = url.parse::<Uri>().is_ok_and(|u| {
                matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some() && u.query().is_none()
            });
            if !usable || url.contains('@') {
                return Err(format!(
                    "the URL of the witness {name} is not one of the form https://HOST/PATH"
                ));
            }
            asked.push((witness.key.clone(), url.trim_end_matches('/').to_owned()));
        }
        let late = Mutex::default();
        Ok(Self { policy, asked, only_with_quorum, client: outbound.client(), late, heard: Notify::new() })
    }

    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    #[must_use]
    pub fn only_with_quorum(&self) -> bool {
        self.only_with_quorum
    }

    /// Asks all of them, and waits for a second at most. `known` says what a witness saw last.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        ledger: &Ledger,
        signed: &Signed,
        known: impl Fn(&Cosigner) -> u64,
    ) -> Vec<Told> {
        let mut told: Vec<Option<Result<Cosigned, Trouble>>> = vec![];
        let mut asking = FuturesUnordered::new();
        let mut waited_for = 0;
        for (place, (by, url)) in self.asked.iter().enumerate() {
            let old = known(by).min(signed.size);
            let late = self.late().who.contains(&by.to_string());
            waited_for += usize::from(!late);
            told.push(late.then(|| Err(TOO_LATE.into())));
            let (all, by, url, ledger, signed) =
                (self.clone(), by.clone(), url.clone(), ledger.clone(), signed.clone());
            // By itself: it is heard to the end, also when nobody waits for it any more.
            let one = tokio::spawn(async move {
                let answer = tokio::time::timeout(PATIENCE, all.one(&by, &url, &ledger, &signed, old)).await;
                all.learn(&by, answer.as_ref().ok());
                answer.unwrap_or_else(|_| Err(TOO_LATE.into()))
            });
            asking.push(async move { (place, one.await) });
        }
        let mut cosigned: Vec<Cosigned> = vec![];
        while waited_for > 0 || self.policy.missing(&cosigned).is_some() {
            let Some((place, answer)) = asking.next().await else { break };
            let answer = answer.unwrap_or_else(|e| Err(format!("asking it failed: {e}").into()));
            waited_for -= usize::from(told[place].is_none());
            cosigned.extend(answer.clone());
            told[place] = Some(answer);
        }
        let answer = |(by, answer): (&(Cosigner, String), Option<_>)| Told {
            by: by.0.clone(),
            answer: answer.unwrap_or_else(|| Err(TOO_LATE.into())),
        };
        self.asked.iter().zip(told).map(answer).collect()
    }

    fn late(&self) -> MutexGuard<'_, Late> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `answer`: `None`, where there was none in time.
    fn learn(&self, by: &Cosigner, answer: Option<&Result<Cosigned, Trouble>>) {
        let (mut late, name) = (self.late(), by.to_string());
        match answer {
            None => _ = late.who.insert(name),
            // Perhaps nobody waits for it, and it is the one that knows that the log was rolled back.
            Some(Err(Trouble { shown: Some(note), .. })) if late.who.contains(&name) => {
                late.shown.push((by.clone(), note.clone()));
                self.heard.notify_one();
            }
            Some(_) => _ = late.who.remove(&name),
        }
    }

    /// Until a witness that nobody waited for shows something else than the log that there is.
    pub(crate) async fn heard(&self) {
        self.heard.notified().await;
    }

    /// What such witnesses showed since the last time. Nothing of it is verified.
    pub(crate) fn shown_late(&self) -> Vec<(Cosigner, String)> {
        std::mem::take(&mut self.late().shown)
    }

    /// The newest checkpoint of the log `origin` that each of them shows within a second. Nothing of it is
    /// verified.
    pub(crate) async fn shown(&self, origin: &str) -> Vec<(Cosigner, String)> {
        let each = self.asked.iter().map(|(by, url)| async move {
            let shown = tokio::time::timeout(PATIENCE, self.checkpoint(url, origin)).await.ok()??;
            Some((by.clone(), shown))
        });
        join_all(each).await.into_iter().flatten().collect()
    }

    async fn one(
        &self,
        by: &Cosigner,
        url: &str,
        ledger: &Ledger,
        signed: &Signed,
        mut old: u64,
    ) -> Result<Cosigned, Trouble> {
        for _ in 0..ATTEMPTS {
            let body = request(ledger, signed, old).await?;
            let (status, answer) = self.send(Method::POST, &format!("{url}/add-checkpoint"), body).await?;
            let seen = match status {
                StatusCode::OK => return cosignature(by, signed, &answer),
                StatusCode::CONFLICT => {
                    size_in(&answer).ok_or("it answers 409 without the size that it saw")?
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    return Err(self.other(url, signed, "it says that it saw another log").await);
                }
                StatusCode::FORBIDDEN => return Err("it does not trust the log's key (403)".into()),
                StatusCode::NOT_FOUND => return Err("it does not know the log (404)".into()),
                status => return Err(format!("it answers {}", status.as_u16()).into()),
            };
            if seen > signed.size {
                let what = format!("it says that it saw {seen} entries, and there are {}", signed.size);
                return Err(self.other(url, signed, &what).await);
            }
            if seen == old {
                return Err("it answers 409 with the size that it was asked with".into());
            }
            old = seen;
        }
        Err("it names another size each time".into())
    }

    /// What it has instead of the log that there is, if it shows it.
    async fn other(&self, url: &str, signed: &Signed, what: &str) -> Trouble {
        Trouble { what: what.to_owned(), shown: self.checkpoint(url, &signed.origin).await }
    }

    /// What a witness shows of a log. Witnesses need not show anything.
    async fn checkpoint(&self, url: &str, origin: &str) -> Option<String> {
        let url = format!("{url}/{}/checkpoint", origin_hash(origin));
        match self.send(Method::GET, &url, String::new()).await {
            Ok((StatusCode::OK, note)) => String::from_utf8(note.to_vec()).ok(),
            _ => None,
        }
    }

    async fn send(&self, method: Method, url: &str, body: String) -> Result<(StatusCode, Bytes), Trouble> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::USER_AGENT, concat!("gatelog/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        let answer = self.client.request(request).await.map_err(|e| cause(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_REQUEST).collect().await;
        let body = body.map_err(|_| "its answer is too large or was cut")?;
        Ok((status, body.to_bytes()))
    }
}

async fn request(ledger: &Ledger, signed: &Signed, old: u64) -> Result<String, Trouble> {
    let (ledger, new) = (ledger.clone(), signed.size);
    // It may read the store.
    let proof = tokio::task::spawn_blocking(move || ledger.consistency(old, new)).await;
    let proof = proof.map_err(|e| e.to_string())?.map_err(|e| format!("the tree cannot be read: {e}"))?;
    Ok(AddCheckpoint { old, proof, checkpoint: signed.checkpoint.clone() }.text())
}

/// What it signed is what we asked for, or it counts for nothing.
fn cosignature(by: &Cosigner, signed: &Signed, answer: &[u8]) -> Result<Cosigned, Trouble> {
    const NO_LINE: &str = "its answer is no signature line";
    // A note ends at its last blank line: one in the answer would make signatures a part of the text.
    if !answer.starts_with("— ".as_bytes()) || answer.windows(2).any(|two| two == b"\n\n") {
        return Err(NO_LINE.into());
    }
    let note = [signed.checkpoint.as_bytes(), answer].concat();
    let parsed = note::parse(&note).map_err(|_| NO_LINE)?;
    let ours = note::parse(signed.checkpoint.as_bytes()).map_err(|e| e.to_string())?;
    if parsed.text != ours.text {
        return Err("what it cosigned is another text".into());
    }
    let found = cosigned(&parsed, std::slice::from_ref(by)).map_err(|_| "its cosignature is wrong")?;
    found.into_iter().next().ok_or_else(|| "its answer has no cosignature of its key".into())
}

fn size_in(answer: &[u8]) -> Option<u64> {
    decimal(std::str::from_utf8(answer).ok()?.trim_end_matches('\n'))
}

/// The innermost reason: "connection refused" and not "client error (Connect)".
fn cause(e: &dyn std::error::Error) -> String {
    let mut last = e;
    while let Some(source) = last.source() {
        last = source;
    }
    format!("it cannot be reached: {last}")
}
