//! What judging in a process of its own costs: the shipped policies and a pull request of about 21 KB,
//! judged here and there in turn. Then: how much one more control costs that reads nothing new, and how long
//! innocent events take while hostile ones are judged.
//!
//! `cargo bench --bench judge`

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use gatelog::policy::{Bundle, Input, Judge};
use serde_json::{Value, json};

const ROUNDS: usize = 400;

#[tokio::main]
async fn main() {
    let program = Path::new(env!("CARGO_BIN_EXE_gatelog"));
    overhead(program).await;
    one_more(program);
    innocent(program).await;
}

async fn overhead(program: &Path) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let bundle = Arc::new(Bundle::load(&dir).expect("the shipped policies load"));
    let here = Judge::in_process(1).expect("a thread");
    let there = Judge::in_processes_of(program, 1).expect("a thread");
    println!("{}", there.prepare(&bundle).await.expect("a process"));
    let input = Arc::new(Input::from_json(pull_request()).expect("an input"));
    let expected = bundle.judge(&input).to_bytes();
    let (mut inside, mut outside, mut ratios) = (vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let a = time(&here, &bundle, &input, &expected).await;
        let b = time(&there, &bundle, &input, &expected).await;
        if round >= 20 {
            inside.push(a);
            outside.push(b);
            ratios.push(b.as_secs_f64() / a.as_secs_f64());
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "input {} bytes, {} controls, median of {}: in process {:?}, in a judge process {:?}; median ratio {:.3}",
        input.document().to_string().len(),
        bundle.controls().len(),
        inside.len(),
        quantile(&mut inside, 50),
        quantile(&mut outside, 50),
        ratios[ratios.len() / 2],
    );
}

/// The shipped policies, and the same with a control more, in turn.
fn one_more(program: &Path) {
    let shipped = Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"));
    let shipped = shipped.expect("the shipped policies load");
    let more = with_control(
        program,
        "package controls.one_more\n\ndeny contains \"it has no title\" if input.pull_request.title == \"\"\n",
    );
    let input = Input::from_json(pull_request()).expect("an input");
    let mut ratios = vec![];
    for round in 0..ROUNDS {
        let began = Instant::now();
        let without = shipped.judge(&input);
        let a = began.elapsed();
        let began = Instant::now();
        let with = more.judge(&input);
        let b = began.elapsed();
        assert_eq!(with.controls.len(), without.controls.len() + 1);
        if round >= 20 {
            ratios.push(b.as_secs_f64() / a.as_secs_f64());
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!("one more control: median ratio {:.3}", ratios[ratios.len() / 2]);
}

/// The shipped policies with one more file.
fn with_control(program: &Path, rules: &str) -> Bundle {
    let folder = tempfile::tempdir().expect("a folder");
    let init = std::process::Command::new(program).arg("init").arg(folder.path()).output();
    assert!(init.is_ok_and(|out| out.status.success()), "gatelog init");
    let dir = folder.path().join("policies");
    std::fs::write(dir.join("more.rego"), rules).expect("a file");
    Bundle::load(&dir).unwrap_or_else(|e| panic!("{e}"))
}

async fn time(judge: &Judge, bundle: &Arc<Bundle>, input: &Arc<Input>, expected: &[u8]) -> Duration {
    let began = Instant::now();
    let verdict = judge.judge(bundle.clone(), input.clone()).await;
    let took = began.elapsed();
    assert_eq!(verdict.to_bytes(), expected, "not the same bytes");
    took
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[((times.len() - 1) * percent).div_ceil(100)]
}

/// Events that hurt, four at a time, beside events that do not, one at a time.
async fn innocent(program: &Path) {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let bundle = hostile(program);
    let judge = Judge::in_processes_of(program, cores).expect("a thread");
    judge.prepare(&bundle).await.expect("a process");
    let mut alone = innocents(&judge, &bundle, Duration::from_secs(10)).await;
    for (name, kind) in
        [("memory", "memory"), ("an endless loop", "loop"), ("an endless built-in", "builtin")]
    {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let hostile: Vec<_> = (0..4)
            .map(|_| {
                let (judge, bundle, stop, done) = (judge.clone(), bundle.clone(), stop.clone(), done.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        judge.judge(bundle.clone(), event(kind)).await;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let mut beside = innocents(&judge, &bundle, Duration::from_secs(20)).await;
        stop.store(true, Ordering::Relaxed);
        println!(
            "{name}: {} hostile events judged; innocent p50 {:?} -> {:?}, p99 {:?} -> {:?} ({} of them)",
            done.load(Ordering::Relaxed),
            quantile(&mut alone, 50),
            quantile(&mut beside, 50),
            quantile(&mut alone, 99),
            quantile(&mut beside, 99),
            beside.len(),
        );
        for task in hostile {
            task.await.expect("no panic");
        }
    }
}

/// One event every 10 ms, as they come.
async fn innocents(judge: &Judge, bundle: &Arc<Bundle>, during: Duration) -> Vec<Duration> {
    let (until, mut times) = (Instant::now() + during, vec![]);
    while Instant::now() < until {
        let began = Instant::now();
        judge.judge(bundle.clone(), event("none")).await;
        times.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    times
}

/// The shipped policies, and a control that does what the event says.
fn hostile(program: &Path) -> Arc<Bundle> {
    let text: String = (1..=40).map(|i| format!("v{i} := concat(\"\", [v{0}, v{0}])\n", i - 1)).collect();
    let rules = format!(
        "package controls.hostile\n\nv0 := \"A\"\n{text}\nr := numbers.range(1, 10000)\nkind := input.event.payload.kind\n\
         deny contains v40 if kind == \"memory\"\n\
         deny contains \"x\" if {{ kind == \"loop\"; some i in r; some j in r; i + j < 0 }}\n\
         deny contains \"x\" if {{ kind == \"builtin\"; count(regex.find_n(`A*[^A]|A`, v22, -1)) == 0 }}\n"
    );
    Arc::new(with_control(program, &rules))
}

fn event(kind: &str) -> Arc<Input> {
    let mut document = pull_request();
    document["event"]["payload"] = json!({"kind": kind});
    Arc::new(Input::from_json(document).expect("an input"))
}

/// 20 commits, 30 files, 12 reviews.
fn pull_request() -> Value {
    let person = |id: u64, login: &str| json!({"id": id, "login": login, "type": "User"});
    let alice = person(1, "alice");
    let sha = |n: usize| format!("{n:040x}");
    let identity = json!({"email": "alice@example.com", "user": alice});
    let commits: Vec<Value> = (0..20)
        .map(|n| {
            json!({"sha": sha(n + 1), "message": format!("Change number {n} of the door"), "parents": [sha(n)],
                "author": identity, "committer": identity, "authors": [identity], "committed_via_web": false,
                "update_merge": false, "verification": {"verified": true, "state": "VALID",
                "signed_by_github": false, "signer": alice, "key_id": "AAAA1111BBBB2222"}})
        })
        .collect();
    let files: Vec<Value> = (0..30)
        .map(|n| json!({"filename": format!("src/house/door_{n}.rs"), "status": "modified", "additions": n, "deletions": 1}))
        .collect();
    let reviews: Vec<Value> = (0..12)
        .map(|n| {
            json!({"id": n, "user": person(10 + n as u64, &format!("reviewer{n}")), "state": "APPROVED",
                "commit_id": sha(20), "submitted_at": "2026-11-24T15:00:00.000000Z", "commits_since": [],
                "can_push": true, "body": "Looks good to me, thank you."})
        })
        .collect();
    json!({
        "about": "pull_request", "time": "2026-11-24T15:04:05.000000Z",
        "event": {"name": "pull_request", "action": "opened", "delivery": null, "source": "github",
            "cause": null, "received_at": "2026-11-24T15:04:04.000000Z", "payload": {"action": "opened"}},
        "facts": {"complete": true, "missing": [], "fetched_at": "2026-11-24T15:04:05.000000Z"},
        "repository": {"id": 1, "name": "octo-org/app", "default_branch": "main"},
        "target": {"ref_kind": "branch", "name": "main"},
        "pull_request": {"number": 1, "title": "A door", "user": alice, "draft": false, "state": "open",
            "merged": false, "commits": 20, "changed_files": 30, "labels": [], "retarget": null,
            "head": {"sha": sha(20), "ref": "topic", "repo": {"id": 1, "full_name": "octo-org/app"}},
            "base": {"sha": sha(99), "ref": "main", "repo": {"id": 1, "full_name": "octo-org/app"}}},
        "commits": commits, "files": files, "reviews": reviews,
        "pushes": [{"before": null, "after": sha(20), "user": alice, "forced": false,
            "commits": (1..=20).map(sha).collect::<Vec<_>>(), "source": "ledger"}],
    })
}
