//! REST: three verbs and the answer as it came. Paging, where it is needed, is by page number.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Github, RepoAt, Trouble, TroubleKind,
    budget::Turn,
    call::{As, Call},
};

/// An answer of GitHub that is neither an outage nor a limit nor a refusal: 2xx, 404, 409, 410, 422.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// GitHub sent us elsewhere first (a renamed repository, a list we may not see).
    pub redirected: bool,
    /// What was asked, for messages.
    pub(super) what: String,
}

impl Response {
    /// The answer itself if its status is one of these.
    ///
    /// # Errors
    /// `Gone` for 404 and 410, `Unexpected` for others.
    pub fn expect(self, statuses: &[u16]) -> Result<Self, Trouble> {
        if statuses.contains(&self.status.as_u16()) {
            return Ok(self);
        }
        let kind = match self.status.as_u16() {
            404 | 410 => TroubleKind::Gone,
            _ => TroubleKind::Unexpected,
        };
        Err(Trouble::new(kind, format!("{}: {}{}", self.what, self.status, self.message())))
    }

    /// # Errors
    /// `Unavailable` if the body is not JSON (cut short, a proxy's page), `Unexpected` if it is not
    /// the JSON that was expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_slice(&self.body).map_err(|e| {
            let kind = if e.is_data() { TroubleKind::Unexpected } else { TroubleKind::Unavailable };
            Trouble::new(kind, format!("{}: answer not understood: {e}", self.what))
        })
    }

    /// GitHub's own words, as `: words`; empty if there are none.
    #[must_use]
    pub fn message(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Said {
            message: String,
        }
        match serde_json::from_slice::<Said>(&self.body) {
            Ok(said) => format!(": {}", said.message.chars().take(300).collect::<String>()),
            Err(_) => String::new(),
        }
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether `Link` names a next page.
    #[must_use]
    pub fn next_link(&self) -> Option<&str> {
        self.header("link")?.split(',').find_map(|part| {
            let (url, rest) = part.trim().strip_prefix('<')?.split_once('>')?;
            rest.contains("rel=\"next\"").then_some(url)
        })
    }
}

/// Each call is made once (once more after a 502 or a refused token, where that is harmless), within
/// the configured time.
///
/// # Errors
/// All give `Unavailable` for network, time-out and 5xx, `RateLimited`, `Denied` for 401 and 403, and
/// `Gone` for a redirect that could not be followed. After `Unavailable` a `post` or `patch` may
/// still have happened. Other statuses are the caller's to read ([`Response::expect`]).
impl Github {
    /// GET of `path` (with its query) in the name of the installation.
    pub async fn get(&self, installation: u64, path: &str) -> Result<Response, Trouble> {
        self.call(&Call::rest(As::Installation(installation), Method::GET, path)).await
    }

    /// GET with another media type than GitHub's JSON.
    pub async fn get_as(
        &self,
        installation: u64,
        path: &str,
        media_type: &'static str,
    ) -> Result<Response, Trouble> {
        let call = Call::rest(As::Installation(installation), Method::GET, path);
        self.call(&call.accept(media_type)).await
    }

    pub async fn post<B: Serialize + ?Sized>(
        &self,
        installation: u64,
        path: &str,
        body: &B,
    ) -> Result<Response, Trouble> {
        self.write(installation, Method::POST, path, body, None).await
    }

    pub async fn patch<B: Serialize + ?Sized>(
        &self,
        installation: u64,
        path: &str,
        body: &B,
    ) -> Result<Response, Trouble> {
        self.write(installation, Method::PATCH, path, body, None).await
    }

    /// GET in the name of the app itself (`/app`, `/app/installations` …).
    pub async fn get_app(&self, path: &str) -> Result<Response, Trouble> {
        self.call(&Call::rest(As::App, Method::GET, path)).await
    }

    /// `turn`: what was waited for with [`Github::turn_to_write`]; without, it is waited for here.
    pub(super) async fn write<B: Serialize + ?Sized>(
        &self,
        installation: u64,
        method: Method,
        path: &str,
        body: &B,
        turn: Option<Turn>,
    ) -> Result<Response, Trouble> {
        let body = serde_json::to_vec(body)
            .map_err(|e| Trouble::new(TroubleKind::Unexpected, format!("{method} {path}: {e}")))?;
        self.call(&Call::rest(As::Installation(installation), method, path).body(body).turn(turn)).await
    }
}

/// One part of a path: what people named must not become a path of its own.
#[must_use]
pub fn segment(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    match text {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => percent_encoding::utf8_percent_encode(text, KEEP).to_string(),
    }
}

impl Github {
    /// Whether only those who were let in see the repository, as it is now: neither everybody nor a whole
    /// enterprise.
    ///
    /// Source: <https://docs.github.com/en/rest/repos/repos#get-a-repository>.
    ///
    /// # Errors
    /// It cannot be read now.
    pub async fn is_private(&self, at: &RepoAt) -> Result<bool, Trouble> {
        #[derive(serde::Deserialize)]
        struct Repository {
            visibility: Option<String>,
        }
        let answer = self.get(at.installation, &at.path("")).await?.expect(&[200])?;
        Ok(answer.json::<Repository>()?.visibility.as_deref() == Some("private"))
    }

    /// Whether the repository can be read now.
    ///
    /// # Errors
    /// It cannot.
    pub async fn can_read(&self, at: &RepoAt) -> Result<(), Trouble> {
        self.is_private(at).await.map(drop)
    }
}
