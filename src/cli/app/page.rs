//! The local page: a form that carries the manifest to GitHub, and the address GitHub sends people back to.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use crate::escape::html;

/// What came back from GitHub, and where to say what became of it.
pub struct Answer {
    pub code: String,
    pub told: oneshot::Sender<String>,
}

/// What the page shows and expects.
pub struct Page {
    /// Where the form is sent, state included.
    pub form: String,
    pub manifest: Value,
    pub organization: String,
    /// Random; GitHub must bring it back.
    pub state: String,
    /// Random, first part of every path: only who was told the address finds the page.
    pub secret: String,
    /// `127.0.0.1:PORT`
    pub host: String,
    pub answers: mpsc::Sender<Answer>,
}

/// `code` and `state` of an address that GitHub sends people back to.
pub fn code_and_state(query: &str) -> (Option<String>, Option<String>) {
    let value = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(n, _)| n == name).map(|(_, v)| v.into_owned()).filter(|v| !v.is_empty())
    };
    (value("code"), value("state"))
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, page: Page) -> std::io::Result<()> {
    let (start, created) = (format!("/{}", page.secret), format!("/{}/created", page.secret));
    let app = Router::new().route(&start, get(form)).route(&created, get(back)).with_state(Arc::new(page));
    axum::serve(listener, app).await
}

/// A page elsewhere whose name was made to lead here is not let in.
fn is_here(page: &Page, headers: &HeaderMap) -> bool {
    let port = page.host.rsplit(':').next().unwrap_or_default();
    let local = format!("localhost:{port}");
    headers.get(header::HOST).is_some_and(|h| h == page.host.as_str() || h == local.as_str())
}

async fn form(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    if !is_here(&page, &headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let manifest = page.manifest.to_string();
    let text = format!(
        "<p>GitHub will ask you to create an App in <b>{org}</b>, with the permissions that gatelog needs.</p>\n\
         <form action=\"{action}\" method=\"post\">\n\
         <input type=\"hidden\" name=\"manifest\" value=\"{manifest}\">\n\
         <button>Go to GitHub</button>\n</form>",
        org = html(&page.organization),
        action = html(&page.form),
        manifest = attribute(&manifest),
    );
    show(StatusCode::OK, &text)
}

/// The whole text, for a value that is our own and must not be cut.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

async fn back(State(page): State<Arc<Page>>, headers: HeaderMap, uri: Uri) -> Response {
    if !is_here(&page, &headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let (Some(code), Some(state)) = code_and_state(uri.query().unwrap_or_default()) else {
        return show(StatusCode::BAD_REQUEST, "<p>GitHub sent no code. Nothing was done.</p>");
    };
    // Another's App must not become ours because a browser was led here.
    if state != page.state {
        let text = "<p>This is not the answer to the form of this gatelog. Nothing was done.</p>";
        return show(StatusCode::BAD_REQUEST, text);
    }
    let (told, hear) = oneshot::channel();
    if page.answers.send(Answer { code, told }).await.is_err() {
        return show(StatusCode::GONE, "<p>gatelog has ended.</p>");
    }
    match hear.await {
        Ok(said) => show(StatusCode::OK, &format!("<p>{}</p>", html(&said))),
        Err(_) => show(StatusCode::GONE, "<p>gatelog has ended; look at its terminal.</p>"),
    }
}

fn show(status: StatusCode, body: &str) -> Response {
    let page = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>gatelog</title>\n\
         <style>body {{ font: 1.1em sans-serif; max-width: 40em; margin: 4em auto }}</style>\n{body}\n"
    );
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(page)).into_response()
}
