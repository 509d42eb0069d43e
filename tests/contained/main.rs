//! Policies that want to take the gate down: the control that tries is an error that names the limit it
//! hit, the others report, the next events are judged, and no process is left behind.

#[path = "../common/mod.rs"]
mod common;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::common::scene::Scene;
use gatelog::{
    policy::{Bundle, Input, Judge},
    verdict::{Control, Outcome, Verdict},
};
use serde_json::{Value, json};
use tokio::sync::RwLock;

const PROGRAM: &str = env!("CARGO_BIN_EXE_gatelog");

/// On a machine that is busy with other things, the engine's own limit may come first.
const BUSY: &str = "longer than 5 s";

/// Bystanders, one before and one after the control that hurts.
const FINE: &str = "package controls.a_fine\n\nwarn contains input.event.name\n";
const DENIES: &str = "package controls.z_denies\n\ndeny contains \"no\"\n";

fn bundle(hurt: &str) -> Arc<Bundle> {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), hurt);
    Arc::new(Bundle::load(dir.path()).unwrap_or_else(|e| panic!("{e}")))
}

fn write(dir: &Path, hurt: &str) {
    fs::write(dir.join("a.rego"), FINE).unwrap();
    fs::write(dir.join("z.rego"), DENIES).unwrap();
    fs::write(dir.join("m.rego"), format!("package controls.m_hurts\n\n{hurt}\n")).unwrap();
}

fn input(payload: Value) -> Arc<Input> {
    let document = json!({
        "about": "pull_request", "time": "2026-11-24T15:04:05.000000Z",
        "event": {"name": "pull_request", "action": "opened", "payload": payload},
        "facts": {"complete": true, "missing": [], "fetched_at": "2026-11-24T15:04:05.000000Z"},
    });
    Arc::new(Input::from_json(document).unwrap())
}

fn hurt() -> Arc<Input> {
    input(json!({"hurt": true}))
}

/// A value of 2^n bytes, or of 2^n levels, by rules that each double the one before.
fn doubled(first: &str, step: impl Fn(&str) -> String, n: usize) -> String {
    let rules =
        (1..=n).map(|i| format!("v{i} := {} if input.event.payload.hurt\n", step(&format!("v{}", i - 1))));
    format!("v0 := {first}\n{}", rules.collect::<String>())
}

fn text(n: usize) -> String {
    doubled("\"A\"", |v| format!("concat(\"\", [{v}, {v}])"), n)
}

fn pool(count: usize) -> Judge {
    Judge::in_processes_of(Path::new(PROGRAM), count).unwrap()
}

/// Held alone by tests that look at, or kill, all judge processes of this program.
static PROCESSES: RwLock<()> = RwLock::const_new(());

fn control<'v>(verdict: &'v Verdict, name: &str) -> &'v Control {
    verdict.controls.iter().find(|c| c.id == name).unwrap()
}

fn message(control: &Control) -> &str {
    control.findings.first().map_or("", |f| &f.msg)
}

/// The control is an error with one of these texts; the bystanders answer; so does the next event.
async fn contained(rules: &str, limits: &[&str]) {
    let _shared = PROCESSES.read().await;
    let (judge, bundle) = (pool(2), bundle(rules));
    judge.prepare(&bundle).await.unwrap();
    let began = Instant::now();
    let verdict = judge.judge(bundle.clone(), hurt()).await;
    let took = began.elapsed();
    let hurts = control(&verdict, "m_hurts");
    assert_eq!(hurts.outcome, Outcome::Error, "{hurts:?}");
    assert!(limits.iter().any(|l| message(hurts).contains(l)), "{}", message(hurts));
    println!("{} after {} ms", message(hurts), took.as_millis());
    bystanders(&verdict);
    let next = judge.judge(bundle.clone(), input(json!({}))).await;
    bystanders(&next);
    assert_eq!(control(&next, "m_hurts").outcome, Outcome::Pass, "{next:?}");
}

fn bystanders(verdict: &Verdict) {
    let fine = control(verdict, "a_fine");
    assert_eq!((fine.outcome, message(fine)), (Outcome::Warn, "pull_request"));
    let denies = control(verdict, "z_denies");
    assert_eq!((denies.outcome, message(denies)), (Outcome::Deny, "no"));
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_without_end_hit_the_memory() {
    contained(&format!("{}\ndeny contains v40", text(40)), &["limit of memory (1024 MiB)"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_string_is_only_a_large_string() {
    let _shared = PROCESSES.read().await;
    let (judge, bundle) = (pool(1), bundle(&format!("{}\ndeny contains v27", text(27))));
    let verdict = judge.judge(bundle.clone(), hurt()).await;
    assert_eq!(control(&verdict, "m_hurts").outcome, Outcome::Deny, "{:?}", control(&verdict, "m_hurts"));
    bystanders(&verdict);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_of_a_large_set_hits_the_memory_or_the_time() {
    let rules = "r := numbers.range(1, 100000)\n\
        deny contains \"x\" if { input.event.payload.hurt; count({[i, j] | some i in r; some j in r}) == 0 }";
    contained(rules, &["limit of memory", BUSY]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_without_end_hits_the_time() {
    let rules = "r := numbers.range(1, 10000)\n\
        deny contains \"x\" if { input.event.payload.hurt; some i in r; some j in r; some k in r; i + j + k < 0 }";
    contained(rules, &[BUSY]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_without_end_is_refused() {
    let rules =
        "deny contains \"x\" if { input.event.payload.hurt; count(numbers.range(1, 1000000000000)) == 0 }";
    contained(rules, &["more than 1000000 numbers"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builtin_without_end_hits_the_cpu_time() {
    let rules = format!("{}\ndeny contains \"x\" if count(regex.find_n(`A*[^A]|A`, v22, -1)) == 0", text(22));
    contained(&rules, &["limit of CPU time (10 s)", "limit of wall time (30 s)"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_too_deep_hits_the_stack() {
    // Functions that each call the one before twice: 13 × 2^16 levels, which a comparison goes down.
    let nested = format!("{}x{}", "{\"a\": ".repeat(13), "}".repeat(13));
    let functions: String = (1..=16).map(|i| format!("f{i}(x) := f{0}(f{0}(x))\n", i - 1)).collect();
    let rules = format!(
        "f0(x) := {nested}\n{functions}\ndeny contains \"x\" if {{ input.event.payload.hurt; f16(1) == f16(2) }}"
    );
    contained(&rules, &["limit of the stack (64 MiB)", BUSY]).await;
}

/// The engine's own built-in panics on it; ours, in its place, says so. (A panic that is still possible:
/// `a_panic_is_that_rules_trouble_only` beside the engine.)
#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_would_panic_on_is_an_error_of_its_control() {
    let rules = "deny contains \"x\" if { input.event.payload.hurt; object.subset([1, 2], []) }";
    contained(rules, &["`object.subset` with an empty array"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hurts_in_needs_hurts_no_other() {
    let rules = format!(
        "{}\nneeds contains {{\"fact\": \"reviews\"}} if v40 != \"\"\ndeny contains \"x\" if 1 == 2\n",
        text(40)
    );
    let _shared = PROCESSES.read().await;
    let (judge, bundle) = (pool(1), bundle(&rules));
    assert!(judge.needs(bundle.clone(), hurt()).await.is_empty());
    let verdict = judge.judge(bundle, hurt()).await;
    assert!(message(control(&verdict, "m_hurts")).contains("limit of memory"), "{verdict:?}");
    bystanders(&verdict);
}

#[test]
fn a_million_brackets_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let rules = format!("x := {}1{}", "[".repeat(500_000), "]".repeat(500_000));
    write(dir.path(), &rules);
    let began = Instant::now();
    let refused = Bundle::load(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("nested deeper"), "{}", &refused[..200]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Judge processes that this process, or another, is the parent of.
fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    processes.filter(|pid| judges_for(*pid) == Some(of)).collect()
}

/// The parent of a judge process that is not only a name in the table.
fn judges_for(pid: u32) -> Option<u32> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    if !line.windows(13).any(|w| w == b"judge-process") {
        return None;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn descriptors(of: &str) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{of}/fd")).unwrap();
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}

async fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < patience, "{what}: not after {patience:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_process_has_nothing_but_its_pipes() {
    let _alone = PROCESSES.write().await;
    let (judge, bundle) = (pool(1), bundle("deny contains 1 if 1 == 2"));
    let before = children(std::process::id());
    println!("{}", judge.prepare(&bundle).await.unwrap());
    let new: Vec<u32> =
        children(std::process::id()).into_iter().filter(|pid| !before.contains(pid)).collect();
    let [pid] = new.as_slice() else { panic!("one is started, others when they are needed: {new:?}") };
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(read("environ"), "RUST_LIB_BACKTRACE=0\0");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    // What the one who started these tests lets everybody inherit cannot be used: `read` and `write` are
    // filtered by descriptor. Nothing that this process opened is there.
    let beyond: Vec<u32> = descriptors(&format!("{pid}")).into_iter().filter(|fd| *fd > 2).collect();
    let kept = |fd: &u32| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).unwrap().trim().to_owned();
        u32::from_str_radix(&flags, 8).unwrap() & 0o2_000_000 == 0
    };
    assert!(beyond.iter().all(kept), "{beyond:?}");
    let limits = read("limits");
    let soft = |name: &str| limits.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    assert!(soft("Max address space").contains("1073741824"), "{limits}");
    assert!(soft("Max core file size").contains(" 0 "), "{limits}");
    assert!(soft("Max file size").contains(" 0 "), "{limits}");
    let filtered = read("status").lines().any(|l| l == "Seccomp:\t2");
    assert!(filtered || !Path::new("/proc/sys/kernel/seccomp").exists());
    assert_eq!(read("oom_score_adj").trim(), "1000");
    // What comes one after the other needs no second one.
    for _ in 0..3 {
        judge.judge(bundle.clone(), hurt()).await;
    }
    let standing = || children(std::process::id()).iter().filter(|pid| !before.contains(pid)).count();
    // A busy machine may have cost one, which is replaced.
    until("one process judges", Duration::from_secs(10), || standing() == 1).await;
    drop(judge);
    until("the process ends with the pool", Duration::from_secs(1), || standing() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_from_outside_costs_no_verdict() {
    let _alone = PROCESSES.write().await;
    let (judge, bundle) = (pool(1), bundle("deny contains 1 if 1 == 2"));
    judge.prepare(&bundle).await.unwrap();
    let expected = bundle.judge(&hurt());
    for _ in 0..5 {
        for pid in children(std::process::id()) {
            let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
                continue;
            };
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        assert_eq!(judge.judge(bundle.clone(), hurt()).await, expected);
    }
}

/// Through the real server: a pull request whose control eats all memory, then one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_goes_on_and_leaves_nobody_behind() {
    let mut s = Scene::set().await;
    let policies = s.service.dir.join("hostile");
    fs::create_dir(&policies).unwrap();
    let hurt = text(40).replace("input.event.payload.hurt", "input.pull_request.title == \"hurt\"");
    fs::write(policies.join("m.rego"), format!("package controls.m_hurts\n\n{hurt}\ndeny contains v40\n"))
        .unwrap();
    let fine = "package controls.a_fine\n\ndeny contains \"never\" if input.pull_request.title == \"hurt\"\n";
    fs::write(policies.join("a.rego"), fine).unwrap();
    let config = s.service.dir.join("gatelog.toml");
    let text = fs::read_to_string(&config).unwrap();
    let lines = text.lines().map(|l| match l.starts_with("path = ") && l.contains("policies") {
        true => format!("path = \"{}\"\n", policies.display()),
        false => format!("{l}\n"),
    });
    fs::write(&config, lines.collect::<String>()).unwrap();
    s.service.start().await;
    let server = s.service.id().unwrap();
    let memory = resident(server);

    let hurts = s.pull("one", "hurt").await;
    let fine = s.pull("two", "fine").await;
    s.settle().await;
    let run = s.run_on(&s.head(hurts), "gatelog").unwrap();
    let summary = run.summary.unwrap_or_default();
    assert_eq!(run.conclusion.as_deref(), Some("failure"));
    assert!(summary.contains("limit of memory") && summary.contains("never"), "{summary}");
    assert_eq!(s.check(fine).0, "success", "{:?}", s.check(fine));
    assert!(resident(server) < memory + (64 << 20), "{memory} {}", resident(server));
    assert!(s.service.log().contains("judged in processes of their own"));

    let judges = children(server);
    assert!(!judges.is_empty());
    s.service.kill9().await;
    until("they end with their parent", Duration::from_secs(1), || {
        judges.iter().all(|pid| judges_for(*pid).is_none())
    })
    .await;
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    kib.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}
