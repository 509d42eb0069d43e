//! Hostile input against the real binary: whoever sends it gets an answer, and nobody else waits for long.
//!
//! Everything stays on the loopback, bounded in number and time. The parsers alone: `hostile_parsers.rs`.

use std::{
    fs,
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    time::{Duration, Instant},
};

use crate::common::{
    scene::{REPO, Scene, push_and_open},
    service::{SECRET, Service},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use gatelog::{
    escape::is_invisible,
    policy::Bundle,
    simulated_github::{Role, Route, commit, sign},
    verdict::Decision,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// As long as GitHub waits for the answer to a delivery.
const GITHUBS_PATIENCE: Duration = Duration::from_secs(10);

/// Most memory the service ever had, in MB.
fn peak_mb(service: &Service) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Sends these bytes, and everything that comes back until the other side hangs up.
async fn talk(port: u16, said: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // It may hang up before it has heard all.
    let _ = stream.write_all(said).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer))
        .await
        .expect("neither an answer nor the end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status of an answer; 0: the connection was closed without one.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
}

async fn assert_answers(s: &Scene, after: &str) -> Duration {
    let started = Instant::now();
    let health = tokio::time::timeout(GITHUBS_PATIENCE, s.service.get(s.service.port, "/healthz")).await;
    assert_eq!(health.expect("health in time").map(|(status, _)| status), Some(200), "after {after}");
    started.elapsed()
}

/// POST /webhook with a good head, and `rest` behind it.
fn delivery(headers: &[(&str, &str)], rest: &[u8]) -> Vec<u8> {
    let mut head =
        "POST /webhook HTTP/1.1\r\nhost: x\r\nx-github-event: push\r\nx-github-delivery: 1\r\n".to_owned();
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    [head.as_bytes(), b"\r\n", rest].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_bodies_end_after_ten_seconds() {
    let s = Scene::started().await;
    let started = Instant::now();
    let cases = [
        b"POST /webhook HTTP/1.1\r\nhost: x\r\nx-slow: ".to_vec(),
        delivery(&[("content-type", "application/json"), ("content-length", "1000")], b"{"),
        delivery(&[("content-type", "application/json"), ("transfer-encoding", "chunked")], b"1\r\n{\r\n"),
    ];
    let slow = cases.map(|case| {
        let port = s.service.port;
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(&case).await.unwrap();
            // A byte now and then does not help.
            let (mut read, mut write) = stream.into_split();
            let drip = tokio::spawn(async move {
                while write.write_all(b"a").await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let mut answer = Vec::new();
            let _ = read.read_to_end(&mut answer).await;
            drip.abort();
            String::from_utf8_lossy(&answer).into_owned()
        })
    });
    let mut answers = Vec::new();
    for one in slow {
        answers.push(tokio::time::timeout(Duration::from_secs(30), one).await.expect("it ends").unwrap());
    }
    let took = started.elapsed();
    assert!((8..20).contains(&took.as_secs()), "{took:?}");
    let statuses: Vec<u16> = answers.iter().map(|a| status(a)).collect();
    assert!(matches!(statuses[0], 0 | 408), "{statuses:?}");
    // Chunks that are none may be told apart before the time is up.
    assert!(statuses[1] == 408 && matches!(statuses[2], 400 | 408), "{statuses:?}");
    assert_answers(&s, "slow peers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_keep_nobody_out() {
    const BATCHES: usize = 10;
    const EACH: usize = 1000;
    let s = Scene::started().await;
    s.pull("before", "Before").await;
    s.settle().await;
    let before = peak_mb(&s.service);
    let body =
        delivery(&[("content-type", "application/json"), ("content-length", "1000000")], &[b' '; 4000]);
    let sayings: [&[u8]; 4] = [b"", b"GET / HT", b"POST /webhook HTTP/1.1\r\nhost: x\r\nx: ", &body];
    let (mut open, mut worst) = (Vec::new(), Duration::ZERO);
    let (started, port) = (Instant::now(), s.service.port);
    for batch in 0..BATCHES {
        let connecting = (0..EACH).map(|n| async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            let _ = stream.write_all(sayings[n % sayings.len()]).await;
            Some(stream)
        });
        open.extend(futures_util::future::join_all(connecting).await.into_iter().flatten());
        worst = worst.max(assert_answers(&s, &format!("{} connections", open.len())).await);
        let asked = Instant::now();
        let branch = format!("topic-{batch}");
        let pull = s.act(|w| push_and_open(w, &branch, &branch));
        tokio::time::timeout(GITHUBS_PATIENCE, pull).await.expect("a delivery is taken in time");
        worst = worst.max(asked.elapsed());
    }
    assert!(open.len() > BATCHES * EACH * 9 / 10, "only {} connections", open.len());
    let (took, peak) = (started.elapsed(), peak_mb(&s.service));
    let said =
        format!("slowest answer {} ms, {took:?} in all, memory {before} → {peak} MB", worst.as_millis());
    println!("{} connections: {said}", open.len());
    crate::common::measured("10,000 slow connections", &said);
    assert!(took < Duration::from_secs(300), "{took:?}");
    assert!(peak < before + 200, "{before} → {peak} MB");
    let count = open.len();
    drop(open);
    let view = s.settle().await;
    assert!(view.unfinished().0.is_empty(), "all that was taken is judged, beside {count} connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_bodies_that_are_too_much() {
    let s = Scene::started().await;
    let port = s.service.port;
    let json_type = ("content-type", "application/json");
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = "x".repeat(1 << 20);
    let bombs = [
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{long}: x\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!("{long} / HTTP/1.1\r\nhost: x\r\n\r\n"),
        "GET /healthz HTTP/1.1\r\nhost: x\r\n folded: x\r\n\r\n".to_owned(),
        "\r\n".repeat(100_000),
        "\0".repeat(100_000),
    ];
    for bomb in &bombs {
        let answer = talk(port, bomb.as_bytes()).await;
        assert!(matches!(status(&answer), 0 | 400 | 414 | 431), "{answer}");
        assert_answers(&s, "a header bomb").await;
    }
    // Said to be too large, found to be too large, compressed, of two lengths.
    let claimed = delivery(&[json_type, ("content-length", "26214401")], b"{");
    assert_eq!(status(&talk(port, &claimed).await), 413);
    let absurd = delivery(&[json_type, ("content-length", "99999999999999999999")], b"{");
    assert!(matches!(status(&talk(port, &absurd).await), 0 | 400 | 413));
    let mut chunks = Vec::new();
    for _ in 0..27 {
        chunks.extend_from_slice(b"100000\r\n");
        chunks.extend_from_slice(&[b' '; 1 << 20]);
        chunks.extend_from_slice(b"\r\n");
    }
    let chunked = delivery(&[json_type, ("transfer-encoding", "chunked")], &chunks);
    assert!(matches!(status(&talk(port, &chunked).await), 0 | 413));
    let packed =
        delivery(&[json_type, ("content-encoding", "gzip"), ("content-length", "4")], b"\x1f\x8b\x08\0");
    assert_eq!(status(&talk(port, &packed).await), 415, "nothing is ever decompressed");
    let both =
        delivery(&[json_type, ("content-length", "3"), ("transfer-encoding", "chunked")], b"0\r\n\r\n");
    assert!(matches!(status(&talk(port, &both).await), 0 | 400 | 401));
    let extension = format!("1;{}\r\n{{\r\n0\r\n\r\n", "x".repeat(1 << 20));
    let chunked = delivery(&[json_type, ("transfer-encoding", "chunked")], extension.as_bytes());
    assert!(matches!(status(&talk(port, &chunked).await), 0 | 400 | 401));
    assert_answers(&s, "bodies").await;
    let peak = peak_mb(&s.service);
    assert!(peak < 400, "{peak} MB");
    assert_eq!(s.view().deliveries("1").len(), 0, "nothing was recorded");
}

/// Well signed, so recorded; none of them is a document that two readers read alike.
#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_none_is_recorded_and_is_an_error() {
    let s = Scene::started().await;
    let pull = |title: &str| {
        format!("{{\"action\":\"opened\",\"pull_request\":{{\"number\":1,\"title\":{title}}}}}").into_bytes()
    };
    let deep = |n: usize| [b"{\"a\":".as_slice(), &b"[".repeat(n), &b"]".repeat(n), b"}"].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("private-number", pull("{\"$serde_json::private::Number\":\"1\"}")),
        ("private-number-escaped", pull("{\"\\u0024serde_json::private::Number\":\"1\"}")),
        ("twice", b"{\"action\":\"opened\",\"x\":1,\"x\":2}".to_vec()),
        ("twice-inside", pull("\"a\",\"number\":2")),
        ("twice-escaped", pull("{\"a\":1,\"\\u0061\":2}")),
        ("not-utf8", pull("\"\u{1}\"").into_iter().map(|b| if b == 1 { 0xff } else { b }).collect()),
        ("control", pull("\"\u{1}\"")),
        ("half-a-surrogate", pull("\"\\ud800\"")),
        ("byte-order-mark", [b"\xef\xbb\xbf".as_slice(), &pull("\"a\"")].concat()),
        ("huge-number", pull("1e400")),
        ("tiny-exponent", pull("1e-99999999999999999999")),
        ("long-number", pull(&"9".repeat(100_000))),
        ("deep", deep(100_000)),
        ("deeper", b"[".repeat(20 << 20)),
        ("two-documents", b"{} {}".to_vec()),
        ("a-list", b"[]".to_vec()),
        ("nothing", Vec::new()),
        ("nul", b"{\"a\":1}\0".to_vec()),
    ];
    // Valid, if odd: read as it stands.
    let fine = ["tiny-exponent"];
    let courier = s.gh.courier();
    for (guid, body) in &cases {
        let event = if guid.starts_with("twice") { "star" } else { "pull_request" };
        let answer = courier.deliver_raw(guid, event, body).await.unwrap();
        assert_eq!(answer.status, 202, "{guid}: {answer:?}");
    }
    let view = s.settle().await;
    for (guid, _) in cases.iter().filter(|(guid, _)| !fine.contains(guid)) {
        assert_eq!(view.decision(guid), Some(Decision::Error), "{guid}");
        assert_eq!(view.flags(view.deliveries(guid)[0].seq), [json!("unreadable")], "{guid}");
    }
    // Everything can still be shown and verified.
    s.service.verify().await;
    for entry in &view.entries {
        let shown = s.service.gatelog(&["log", "show", &entry.seq.to_string(), "--ledger", "data"]).await;
        assert_eq!(shown.status.code(), Some(0), "{shown:?}");
        assert_harmless(&shown.stdout);
    }
    assert_harmless(&s.service.gatelog(&["log", "list", "--ledger", "data"]).await.stdout);
    let peak = peak_mb(&s.service);
    assert!(peak < 600, "{peak} MB");
    assert!(s.gh.check_runs_on("x").is_empty());
}

fn assert_harmless(shown: &[u8]) {
    let text = String::from_utf8_lossy(shown);
    let bad = text.chars().find(|c| *c != '\n' && *c != '\t' && is_invisible(*c));
    assert!(bad.is_none(), "{bad:?} in {text:?}");
}

/// What someone would put into a title, a branch, a file name, a review, a policy's message.
const HOSTILE: &[&str] = &[
    "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "[click](https://evil.example) ![p](https://evil.example/p.png) <https://evil.example>",
    "@octo-org/admins fixes #1 GH-1 octo-org/other#7 www.evil.example",
    "# Approved\n\n| a | b |\n|---|---|\n</td></tr></table></details>\n```\n---\n",
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{0}\u{8}\u{7f}\r",
    "all\u{202e}dewo\u{2066}r\u{200b}r\u{feff}e\u{e0041}\u{ad}\u{3164}v",
    "$\\color{green}{Allowed}$ :white_check_mark: ~~*_`|\\",
];

/// `deny` says what the pull request says, in every field that is shown.
const ECHO: &str = r#"# METADATA
# title: "Echo <b>of</b> [titles](https://evil.example) @octo-org/admins"
# custom:
#   id: "X-<i>1</i>"
#   facts: [files]
package controls.echo

deny contains {
	"msg": input.pull_request.title,
	"path": file.filename,
	"who": input.pull_request.head.ref,
	"fix": sprintf("run `%s`\n```\n%s", [input.pull_request.title, file.filename]),
} if some file in input.files
"#;

/// A service whose one control is [`ECHO`], and whose log is for people.
async fn echoing() -> Scene {
    let mut s = Scene::set().await;
    let (policies, toml) = (s.service.dir.join("echo/controls/echo"), s.service.dir.join("gatelog.toml"));
    fs::create_dir_all(&policies).unwrap();
    fs::write(policies.join("echo.rego"), ECHO).unwrap();
    let config = fs::read_to_string(&toml).unwrap();
    let ours = crate::common::foreign::root().join("policies").display().to_string();
    let config =
        config.replace(&ours, "echo").replace("\"json\"", "\"text\"").replace("\"info\"", "\"debug\"");
    fs::write(&toml, config).unwrap();
    s.service.start().await;
    s
}

/// Found by the test below: the push was never shown when it was judged before the pull request on its head.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_shown_though_its_pull_request_waits() {
    let s = echoing().await;
    let hold = s.gh.hold(Route::Graphql);
    let did = s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
    // The pull request's event first: the order of webhooks is not promised.
    for hook in did.hooks.iter().rev() {
        assert_eq!(s.deliver(hook).await.status, 202);
    }
    let until = Instant::now() + Duration::from_secs(60);
    while s.view().decision(&did.hooks[0].guid).is_none() {
        assert!(Instant::now() < until, "{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hold.release();
    s.settle().await;
    let run = s.run_on(&s.head(did.what), "gatelog/push").expect("the push is shown");
    assert_eq!(run.conclusion.as_deref(), Some("success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_and_policies_write_is_shown_and_not_obeyed() {
    let mut s = echoing().await;
    for (n, text) in HOSTILE.iter().enumerate() {
        // What git allows in a ref.
        let allowed = |c: &char| !c.is_control() && !" ~^:?*[\\".contains(*c);
        let branch = format!("{n}<b>&{}", text.chars().filter(allowed).collect::<String>());
        let file = format!("{n}/{}", text.replace(['/', '\0', '\n'], "_"));
        let change = commit("mallory", text).write(&file, text);
        let pr = s
            .act(|w| {
                let pushed = w.push("alice", REPO, &branch, &[change])?;
                let mut opened = w.open_pull("alice", REPO, &branch, "main", text)?;
                opened.hooks.splice(..0, pushed.hooks);
                Ok(opened)
            })
            .await
            .what;
        s.settle().await;
        let run = s.run_on(&s.head(pr), "gatelog").unwrap();
        assert_eq!(run.conclusion.as_deref(), Some("failure"));
        let title = run.title.unwrap();
        assert!(!title.contains('\n') && !title.chars().any(is_invisible), "{title:?}");
        for shown in [run.summary.unwrap(), run.text.unwrap()] {
            assert_harmless(shown.as_bytes());
            let outside = outside_of_code(&shown);
            for bad in [
                "<img",
                "<script",
                "<b>",
                "<i>",
                "](https:",
                "<https:",
                "@octo-org/admins",
                "fixes #1",
                "\n# Approved",
            ] {
                assert!(!outside.contains(bad), "{bad:?} of {text:?} in {shown}");
            }
        }
    }
    let listed = s.service.gatelog(&["log", "list", "--ledger", "data"]).await;
    assert_harmless(&listed.stdout);
    for pr in 1..=HOSTILE.len() {
        let story = ["log", "list", "--ledger", "data", "--repo", REPO, "--pr", &pr.to_string()];
        let story = s.service.gatelog(&story).await;
        assert_eq!(story.status.code(), Some(0), "{story:?}");
        assert_harmless(&story.stdout);
    }
    for seq in 0..s.view().entries.len() {
        let seq = seq.to_string();
        assert_harmless(&s.service.gatelog(&["log", "show", &seq, "--ledger", "data"]).await.stdout);
    }
    assert_eq!(s.service.stop().await.code(), Some(0));
    assert_harmless(&fs::read(s.service.dir.join("serve.log")).unwrap());
}

/// Markdown without its code spans and blocks, in which nothing is obeyed.
fn outside_of_code(markdown: &str) -> String {
    let (mut out, mut rest) = (String::new(), markdown);
    while let Some(at) = rest.find('`') {
        let escaped = rest[..at].ends_with('\\');
        out.push_str(&rest[..at]);
        let fence = if escaped { 1 } else { rest[at..].len() - rest[at..].trim_start_matches('`').len() };
        rest = &rest[at + fence..];
        if escaped {
            continue;
        }
        let close = "`".repeat(fence);
        let mut from = 0;
        while let Some(found) = rest[from..].find(&close) {
            let end = from + found;
            let run = rest[end..].len() - rest[end..].trim_start_matches('`').len();
            if run == fence {
                rest = &rest[end + run..];
                break;
            }
            from = end + run;
        }
    }
    out.push_str(rest);
    // What stands behind a backslash is a letter.
    let mut chars = out.chars();
    std::iter::from_fn(|| match chars.next()? {
        '\\' => chars.next().map(|_| ' '),
        c => Some(c),
    })
    .collect()
}

#[test]
fn code_is_found() {
    assert_eq!(outside_of_code("a `b` c ``d ` e`` f\n```text\n<b>\n```\ng"), "a  c  f\n\ng");
    assert_eq!(outside_of_code("a \\` b `c` \\[d\\](x)"), "a  b   d (x)");
}

/// Letters that look like others, or that are not seen, make another person.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_looks_like_another_is_another() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    // Cyrillic o; a zero-width space; an override; another case is the same login to GitHub.
    let likes = ["b\u{43e}b", "bob\u{200b}", "\u{202e}bob", "bob\u{feff}"];
    for login in likes {
        s.gh.with(|w| {
            w.add_user(login);
            w.grant(login, REPO, Role::Read).unwrap();
        });
        s.act(|w| w.approve(login, REPO, pr)).await;
    }
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}");
    assert!(!title.chars().any(is_invisible), "{title:?}");
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    assert_harmless(run.summary.unwrap().as_bytes());
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}", s.check(pr));
}

/// A run of our App that names no entry of ours raises the alarm, whatever it says instead.
#[tokio::test(flavor = "multi_thread")]
async fn external_ids_that_are_none() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let good = s.run_on(&s.head(pr), "gatelog").unwrap().external_id;
    assert!(s.service.get(s.service.internal, "/metrics").await.unwrap().1.contains("gatelog_alarm 0"));
    let (generation, rest) = good.split_once(':').unwrap();
    let leaf = rest.split_once(':').unwrap().1;
    let long = "9".repeat(100_000);
    let odd = [
        "",
        ":",
        "::",
        ":::",
        "1",
        "1:",
        "1:2",
        "1:2:",
        "-1:-1:x",
        "1:99999999999999999999:x",
        "1:18446744073709551615:ab",
        "1:+1:x",
        "1: 1:x",
        "\u{202e}1:2:x",
        "1:2:\u{1b}[2J",
        &long,
    ];
    let changed = [
        format!("{generation}:0:{leaf}"),
        format!("2:{rest}"),
        format!("0{good}"),
        format!("{good} "),
        good.to_uppercase(),
    ];
    let (app, head) = (s.gh.app_id(), s.head(pr));
    let all: Vec<&str> = odd.into_iter().chain(changed.iter().map(String::as_str)).collect();
    for (n, id) in all.iter().enumerate() {
        let run = json!({"id": 9000 + n, "name": "gatelog", "head_sha": head, "external_id": id, "app": {"id": app}});
        let hook = s.gh.with(|w| {
            w.any_event("alice", REPO, "check_run", json!({"action": "completed", "check_run": run}))
        });
        let hook = &hook.unwrap().hooks[0];
        assert_eq!(s.deliver(hook).await.status, 202, "{id:?}");
        let view = s.view();
        let flags = view.flags(view.deliveries(&hook.guid)[0].seq);
        assert!(flags.contains(&json!("unknown_run")), "{id:?}: {flags:?}");
    }
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert!(metrics.lines().any(|l| l == "gatelog_alarm 1"), "{metrics}");
    assert_answers(&s, "odd external ids").await;
    s.settle().await;
    s.service.verify().await;
}

/// The key of the App can write every run of it, and need not change its external id.
#[tokio::test(flavor = "multi_thread")]
async fn a_red_run_turned_green_by_somebody_else_raises_the_alarm() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    assert_eq!(run.conclusion.as_deref(), Some("failure"));
    let told = async |conclusion: &str, name: &str, sha: &str| {
        let run = json!({"id": run.id, "name": name, "head_sha": sha, "external_id": run.external_id,
            "status": "completed", "conclusion": conclusion, "app": {"id": s.gh.app_id()}});
        let payload = json!({"action": "completed", "check_run": run});
        let hook = s.gh.with(|w| w.any_event("alice", REPO, "check_run", payload)).unwrap().hooks.remove(0);
        assert_eq!(s.deliver(&hook).await.status, 202);
        let view = s.view();
        view.flags(view.deliveries(&hook.guid)[0].seq).contains(&json!("unknown_run"))
    };
    let head = s.head(pr);
    assert!(!told("failure", "gatelog", &head).await, "as it was written");
    for forged in ["success", "neutral", "skipped"] {
        assert!(told(forged, "gatelog", &head).await, "{forged}");
    }
    // And while the alarm stands, no success is sent.
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    assert!(metrics.lines().any(|l| l == "gatelog_alarm 1"));
    assert_ne!(s.check(pr).0, "success");
    let out = s.service.gatelog(&["log", "acknowledge", "--ledger", "data"]).await;
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

/// With the App's key, and the external id of a verdict that allowed this commit once.
#[tokio::test(flavor = "multi_thread")]
async fn a_green_that_is_over_is_written_over_when_somebody_brings_it_back() {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    let review = s.act(|w| w.approve("bob", REPO, pr)).await.what;
    s.settle().await;
    let green = s.run_on(&s.head(pr), "gatelog").unwrap();
    assert_eq!(green.conclusion.as_deref(), Some("success"));
    s.act(|w| w.dismiss("carol", REPO, pr, review)).await;
    s.settle().await;
    let red = s.run_on(&s.head(pr), "gatelog").unwrap();
    assert_eq!(red.conclusion.as_deref(), Some("failure"));
    let told = s.gh.with(|w| {
        let run = w.check_runs.get_mut(&red.id).unwrap();
        run.conclusion = green.conclusion.clone();
        run.external_id = green.external_id.clone();
        let run = json!({"id": red.id, "name": "gatelog", "head_sha": green.head_sha,
            "external_id": green.external_id, "status": "completed", "conclusion": "success",
            "app": {"id": green.app}});
        let payload = json!({"action": "completed", "check_run": run});
        w.any_event("alice", REPO, "check_run", payload).unwrap().hooks
    });
    assert_eq!(s.check(pr).0, "success", "so it stands until we hear of it");
    s.gh.deliver_all(&told).await.unwrap();
    s.until("the red is written again", 60, || (s.check(pr).0 == "failure").then_some(())).await;
    s.settle().await;
    s.service.verify().await;
}

#[test]
fn a_folder_of_policies_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let (outside, root) = (dir.path().join("outside"), dir.path().join("policies"));
    let control = root.join("controls/x");
    for folder in [&outside, &control] {
        fs::create_dir_all(folder).unwrap();
    }
    let policy = "package controls.x\n\ndeny contains \"no\" if input.a\n";
    fs::write(control.join("x.rego"), policy).unwrap();
    fs::write(outside.join("secret.yaml"), "secret: yes\n").unwrap();
    let load = || Bundle::load(&root).map(|b| b.digest().to_owned()).map_err(|e| e.to_string());
    let digest = load().unwrap();
    let tried = |name: &str, target: &std::path::Path| {
        let link = control.join(name);
        symlink(target, &link).unwrap();
        let said = load();
        fs::remove_file(link).unwrap();
        said.expect_err(name)
    };
    assert!(tried("a.yaml", &outside.join("secret.yaml")).contains("leads out of the folder"));
    assert!(tried("a.yaml", std::path::Path::new("../../../outside/secret.yaml")).contains("leads out"));
    assert!(tried("a.json", std::path::Path::new("/dev/zero")).contains("leads out"));
    assert!(tried("folder", &outside).contains("a link to a folder"));
    assert!(tried("loop.rego", std::path::Path::new("loop.rego")).contains("cannot be read"));
    assert!(tried("gone.rego", &outside.join("gone")).contains("cannot be read"));
    // What would block whoever opens it is not opened.
    let pipe = control.join("pipe.rego");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    assert!(load().unwrap_err().contains("is no ordinary file"));
    fs::remove_file(pipe).unwrap();
    // Names that would mean something elsewhere are names.
    for name in ["..rego.txt", "a\u{202e}.txt", "$(id).txt"] {
        fs::write(control.join(name), "x").unwrap();
    }
    assert_eq!(load().unwrap(), digest, "what is no policy changes nothing");
    let mut deep = root.clone();
    for _ in 0..20 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    assert!(load().unwrap_err().contains("folders nested deeper"));
}

/// Everything that this run says, to anyone: no secret is in it.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_said_nowhere() {
    let mut s = Scene::set().await;
    s.service.with_log(true).await;
    let toml = s.service.dir.join("gatelog.toml");
    let config = fs::read_to_string(&toml).unwrap();
    // Not only gatelog speaks: every library does, and says all it has to say.
    fs::write(&toml, config.replace("level = \"info\"", "level = \"trace,gatelog=trace\"")).unwrap();
    s.service.start().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    s.gh.expire_tokens();
    let did = s.act(|w| w.approve("bob", REPO, pr)).await;
    s.gh.courier().deliver_badly_signed(&did.hooks[0]).await.unwrap();
    let json_type = ("content-type", "application/json");
    s.service
        .post(&[json_type, ("x-hub-signature-256", &sign(SECRET.as_bytes(), b"{}"))], b"{}")
        .await
        .unwrap();
    s.gh.outage(true);
    s.act(|w| w.comment("bob", REPO, pr, "Hello.")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    s.gh.outage(false);
    s.settle().await;
    let mut said = vec![
        ("metrics", s.service.get(s.service.internal, "/metrics").await.unwrap().1),
        ("ready", s.service.get(s.service.internal, "/readyz").await.unwrap().1),
        ("the checkpoint", s.service.get(s.service.port, "/log/checkpoint").await.unwrap().1),
    ];
    for args in [
        &["check-config", "--config", "gatelog.toml"][..],
        &["doctor", "--config", "gatelog.toml"],
        &["log", "list", "--ledger", "data", "--format", "jsonl"],
        &["check-config", "--config", "webhook.secret"],
        &["check-config", "--config", "app.pem"],
        &["check-config", "--config", "log.key"],
        // A second key is made while everybody speaks, and both sign.
        &["log", "key", "rotate"],
        &["log", "key", "show"],
    ] {
        let out = s.service.gatelog(args).await;
        let both = [out.stdout, out.stderr].concat();
        assert!(!both.is_empty());
        said.push(("a command", String::from_utf8_lossy(&both).into_owned()));
    }
    assert!(s.gh.tokens_minted() > 1, "{}", s.gh.tokens_minted());
    let pid = s.service.pid().unwrap();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).unwrap();
    let ended = s.service.wait_until_ended(Duration::from_secs(20)).await.unwrap();
    assert!(ended.signal().is_some() && !ended.core_dumped(), "{ended:?}");
    said.push(("the log", fs::read_to_string(s.service.dir.join("serve.log")).unwrap()));
    let log = &said.last().unwrap().1;
    assert!(log.contains("hyper") && log.contains("\"TRACE\""), "the libraries speak");
    for entry in walk(&s.service.dir.join("data")) {
        said.push(("the ledger", String::from_utf8_lossy(&fs::read(entry).unwrap()).into_owned()));
    }
    let log_keys = log_keys(&s.service.dir.join("log.key"));
    assert_eq!(log_keys.len(), 2, "the key was changed");
    for entry in walk(&s.service.dir.join("data")) {
        let bytes = fs::read(&entry).unwrap();
        for (_, seed) in &log_keys {
            assert!(!bytes.windows(32).any(|w| w == seed), "a log key is in {}", entry.display());
        }
    }
    let pem = s.gh.app_key_pem();
    let mut secrets: Vec<String> = pem.lines().filter(|l| l.len() > 40).map(str::to_owned).collect();
    secrets.push(SECRET.to_owned());
    secrets.push("ghs_simulated".to_owned());
    secrets.push("PRIVATE+KEY".to_owned());
    secrets.extend(log_keys.iter().flat_map(|(text, seed)| [text.clone(), hex::encode(seed)]));
    // The beginning of every JWT, and of what goes into an Authorization header.
    secrets.extend([
        "eyJ0eXAi".to_owned(),
        "eyJhbGci".to_owned(),
        "Bearer ey".to_owned(),
        "Bearer ghs".to_owned(),
    ]);
    for (what, text) in &said {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret:?} stands in {what}: {}", around(text, secret));
        }
    }
}

/// Of each key in the file: its secret part as it stands there, and the seed in it.
fn log_keys(file: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|l| l.starts_with("PRIVATE+KEY+"));
    // PRIVATE+KEY+<name>+<id>+<base64 of 0x01 and the seed>
    let key = |line: &str| {
        let secret = line.splitn(5, '+').last().unwrap().to_owned();
        let seed = BASE64_STANDARD.decode(&secret).unwrap()[1..].to_vec();
        assert_eq!(seed.len(), 32);
        (secret, seed)
    };
    lines.map(key).collect()
}

fn around<'a>(text: &'a str, what: &str) -> &'a str {
    let at = text.find(what).unwrap_or(0);
    let from = text[..at].rfind('\n').map_or(0, |n| n + 1);
    text[from..].lines().next().unwrap_or_default()
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// The ledger's own secret is readable for its user alone, as are the socket and the folder's files.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_private_is_private_on_disk() {
    use std::os::unix::fs::PermissionsExt as _;
    let s = Scene::started().await;
    for name in ["secret", "admin.sock"] {
        let mode = fs::metadata(s.service.dir.join("data").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
}

/// Names in code spans that read like a test must be one.
#[test]
fn tests_that_the_security_page_names_exist() {
    let root = crate::common::foreign::root();
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let sources = walk(&root.join("src")).into_iter().chain(walk(&root.join("tests")));
    let code: String = sources
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .map(|p| fs::read_to_string(p).unwrap())
        .collect();
    let is_name = |w: &&str| {
        w.matches('_').count() > 2
            && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    };
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(named.len() > 20, "{named:?}");
    let gone: Vec<_> = named.into_iter().filter(|n| !code.contains(&format!("fn {n}("))).collect();
    assert!(gone.is_empty(), "docs/security.md names tests that are not there: {gone:?}");
}
