//! More deliveries than the disk or the judges can take: acknowledgements slow down, then there is 503;
//! memory stays bounded, and nothing that was acknowledged is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::common::{
    long, measured,
    scene::{REPO, Scene},
    service::{SECRET, Service},
};
use crate::shim::Shim;
use gatelog::simulated_github::{Route, Webhook, sign};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Barrier,
};

const MEGABYTE: usize = 1 << 20;

/// Megabytes that the service may have at most: 250 of deliveries in hand, as much again on their way to
/// the disk and the judges, and its own.
const MOST_MEMORY: u64 = 1000;

/// GitHub gives up on a delivery after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of one try to deliver.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Acknowledged(u64),
    /// 503 with `Retry-After`.
    Refused,
    /// No answer in time, or the connection was cut.
    None,
}

/// A delivery of a megabyte that is like no other. What is alike is there once: ten thousand of them are not
/// ten gigabytes here.
struct Delivery {
    guid: String,
    start: String,
    signature: String,
}

static FILLER: [u8; MEGABYTE] = [b'a'; MEGABYTE];

impl Delivery {
    fn new(guid: impl Into<String>, n: u64) -> Self {
        let start = format!(
            "{{\"action\":\"created\",\"repository\":{{\"id\":1,\"full_name\":\"octo-org/other\"}},\"n\":{n},\"text\":\""
        );
        let mut new = Self { guid: guid.into(), start, signature: String::new() };
        new.signature = sign(SECRET.as_bytes(), &new.parts().concat());
        new
    }

    fn parts(&self) -> [&[u8]; 3] {
        let end = b"\"}";
        [self.start.as_bytes(), &FILLER[self.start.len() + end.len()..], end]
    }
}

async fn deliver(port: u16, delivery: &Delivery) -> Answer {
    tokio::time::timeout(PATIENCE, send(port, delivery)).await.ok().flatten().unwrap_or(Answer::None)
}

async fn send(port: u16, delivery: &Delivery) -> Option<Answer> {
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {MEGABYTE}\r\n\
         content-type: application/json\r\nx-github-event: star\r\nx-github-delivery: {}\r\n\
         x-hub-signature-256: {}\r\n\r\n",
        delivery.guid, delivery.signature,
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    // Refused before all was sent: the answer is there all the same.
    let _ = stream.write_all(head.as_bytes()).await;
    for part in delivery.parts() {
        let _ = stream.write_all(part).await;
    }
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    match head.split(' ').nth(1)? {
        "200" | "202" => {
            let seq = body.split_once("\"seq\":")?.1;
            Some(Answer::Acknowledged(seq.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?))
        }
        "503" => {
            assert!(head.to_ascii_lowercase().contains("\r\nretry-after: "), "{head}");
            Some(Answer::Refused)
        }
        // This machine could not send it in time.
        "408" => None,
        other => panic!("{other}: {body}"),
    }
}

#[derive(Default)]
struct Sent {
    acked: BTreeMap<u64, u64>,
    refused: u64,
    unanswered: u64,
    slowest: Duration,
}

/// Delivers all of them, so many at once. Whatever is not acknowledged is left out of `acked`.
async fn flood(port: u16, numbers: Vec<u64>, at_once: usize) -> Sent {
    let sent = Arc::new(Mutex::new(Sent::default()));
    let numbers = Arc::new(numbers);
    let next = Arc::new(AtomicUsize::new(0));
    let at_once = at_once.min(numbers.len());
    // The first ones are all signed before any is sent.
    let signed = Arc::new(Barrier::new(at_once));
    let senders: Vec<_> = (0..at_once)
        .map(|_| {
            let (sent, numbers, next, signed) = (sent.clone(), numbers.clone(), next.clone(), signed.clone());
            tokio::spawn(async move {
                let mut signed = Some(signed);
                while let Some(&n) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let delivery = Delivery::new(format!("guid-{n}"), n);
                    if let Some(signed) = signed.take() {
                        signed.wait().await;
                    }
                    let begun = Instant::now();
                    let answer = deliver(port, &delivery).await;
                    let mut sent = sent.lock().unwrap();
                    match answer {
                        Answer::Acknowledged(seq) => {
                            sent.slowest = sent.slowest.max(begun.elapsed());
                            sent.acked.insert(n, seq);
                        }
                        Answer::Refused => sent.refused += 1,
                        Answer::None => sent.unanswered += 1,
                    }
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    Arc::into_inner(sent).unwrap().into_inner().unwrap()
}

/// Megabytes: the most that it ever had in memory.
fn most_memory(service: &Service) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Everything that was acknowledged is there, once, as what it was acknowledged.
fn all_there(s: &Scene, acked: &BTreeMap<u64, u64>) {
    let view = s.view();
    for (n, seq) in acked {
        let kept = &view.entries[usize::try_from(*seq).unwrap()];
        assert_eq!(kept.key, format!("delivery:guid-{n}"));
        assert_eq!(kept.bodies["payload"].size, MEGABYTE as u64);
    }
    let seqs: BTreeSet<_> = acked.values().collect();
    assert_eq!(seqs.len(), acked.len());
}

/// A flood on a disk as it is; then a kill, and GitHub sends again what was not acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_large_deliveries_is_taken_in_bounded_memory() {
    match long() {
        false => is_taken(2_000, 200).await,
        true => {
            is_taken(10_000, 400).await;
            // More than there may be connections: those that keep it waiting are cut, and sent again.
            is_taken(10_000, 10_000).await;
        }
    }
}

async fn is_taken(deliveries: u64, at_once: usize) {
    let mut s = Scene::started().await;
    let begun = Instant::now();
    let mut sent = flood(s.service.port, (0..deliveries).collect(), at_once).await;
    let (took, memory) = (begun.elapsed(), most_memory(&s.service));
    let said = format!(
        "{deliveries} MB, {at_once} at once: {} acknowledged, {} refused, {} unanswered in {took:?}, slowest {:?}, at most {memory} MB",
        sent.acked.len(),
        sent.refused,
        sent.unanswered,
        sent.slowest
    );
    println!("{said}");
    measured(&format!("a flood of large deliveries, {at_once} at once"), &said);
    assert!(memory < MOST_MEMORY, "{said}");
    s.service.kill9().await;
    s.service.start().await;
    all_there(&s, &sent.acked);
    let mut acked = std::mem::take(&mut sent.acked);
    for _ in 0..50 {
        let left: Vec<u64> = (0..deliveries).filter(|n| !acked.contains_key(n)).collect();
        if left.is_empty() {
            break;
        }
        acked.extend(flood(s.service.port, left, 20).await.acked);
    }
    assert_eq!(acked.len() as u64, deliveries);
    all_there(&s, &acked);
    println!("after: {} MB", most_memory(&s.service));
}

/// GitHub hangs up after ten seconds; a slow disk is no reason that an event is recorded and never judged.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_before_the_answer_has_delivered_all_the_same() {
    let Some(_) = crate::shim::library() else { return };
    let mut s = Scene::set().await;
    let data = s.service.dir.join("data");
    fs::create_dir(&data).unwrap();
    s.service.start_with(Shim::over(&data).unwrap().delay("sync:.seg:1000").env()).await.unwrap();
    let mut impatient = vec![];
    for n in 0..4 {
        let port = s.service.port;
        impatient.push(tokio::spawn(async move {
            let delivery = Delivery::new(format!("guid-{n}"), n);
            tokio::time::timeout(Duration::from_millis(400), send(port, &delivery)).await.is_err()
        }));
    }
    for hung_up in impatient {
        assert!(hung_up.await.unwrap(), "the disk is not slow");
    }
    // Sent again, it is known or taken; and it is judged.
    let again = flood(s.service.port, (0..4).collect(), 4).await;
    assert_eq!(again.acked.len(), 4);
    let view = s.settle().await;
    for n in 0..4 {
        assert!(view.decision(&format!("guid-{n}")).is_some(), "guid-{n} was not judged");
    }
}

/// More than a slow disk can take in the time that GitHub gives it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_on_a_slow_disk_is_refused_in_bounded_memory() {
    let Some(_) = crate::shim::library() else { return };
    let (deliveries, at_once) = if long() { (4_000, 500) } else { (600, 500) };
    let mut s = Scene::set().await;
    let data = s.service.dir.join("data");
    fs::create_dir(&data).unwrap();
    s.service.start_with(Shim::over(&data).unwrap().delay("sync:.seg:2000").env()).await.unwrap();
    let sent = flood(s.service.port, (0..deliveries).collect(), at_once).await;
    let memory = most_memory(&s.service);
    let said = format!(
        "{deliveries} MB, {at_once} at once, fsync 2 s: {} acknowledged, {} refused, {} unanswered, slowest {:?}, at most {memory} MB",
        sent.acked.len(),
        sent.refused,
        sent.unanswered,
        sent.slowest
    );
    println!("{said}");
    measured("a flood on a slow disk", &said);
    if long() {
        acknowledges_again(s.service.port).await;
    }
    assert!(sent.refused > 0 && sent.slowest > Duration::from_secs(2), "{said}");
    assert!(memory < MOST_MEMORY, "{said}");
    s.service.kill9().await;
    s.service.start().await;
    all_there(&s, &sent.acked);
    let left: Vec<u64> = (0..deliveries).filter(|n| !sent.acked.contains_key(n)).collect();
    assert_eq!(flood(s.service.port, left.clone(), 20).await.acked.len(), left.len());
}

/// What was taken in hand is written first; then whoever comes is acknowledged again.
async fn acknowledges_again(port: u16) {
    let begun = Instant::now();
    let mut acked = 0;
    for n in 1_000_000.. {
        match deliver(port, &Delivery::new(format!("later-{n}"), n)).await {
            Answer::Acknowledged(_) => acked += 1,
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
        if acked == 5 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(180), "{acked} acknowledged");
    }
    measured("a slow disk after a flood", &format!("5 acknowledged again after {:?}", begun.elapsed()));
}

/// GitHub does not answer, so nothing can be judged. What is sent meanwhile is recorded, up to a bound;
/// then it is refused; and all of it is judged once GitHub is back.
#[tokio::test(flavor = "multi_thread")]
async fn more_events_than_can_wait_are_refused_until_some_are_judged() {
    if !long() {
        return;
    }
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let hook = s.gh.with(|w| w.comment("carol", REPO, pr, "A remark")).unwrap().hooks.remove(0);
    let hold = s.gh.hold(Route::Graphql);
    let before = most_memory(&s.service);
    let (refused, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let senders: Vec<_> = (0..64)
        .map(|_| {
            let (refused, next, hook, courier) =
                (refused.clone(), next.clone(), hook.clone(), s.gh.courier());
            tokio::spawn(async move {
                let mut acked = vec![];
                while refused.load(Ordering::Relaxed) < 64 {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let mut hook = Webhook { guid: format!("guid-{n}"), ..hook.clone() };
                    // Another body, or it would be a replay.
                    hook.payload["n"] = n.into();
                    match courier.deliver(&hook).await.unwrap().status {
                        202 => acked.push(hook.guid),
                        503 => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        other => panic!("{other}"),
                    }
                }
                acked
            })
        })
        .collect();
    let mut acked = vec![];
    for sender in senders {
        acked.extend(sender.await.unwrap());
    }
    let memory = most_memory(&s.service);
    let said = format!("{} events wait, then 503; {before} MB before, {memory} MB then", acked.len());
    println!("{said}");
    measured("more events than can be judged", &said);
    assert!(acked.len() >= 20_000 && memory < MOST_MEMORY, "{said}");
    hold.release();
    let view = s.settle().await;
    for guid in &acked {
        assert!(view.decision(guid).is_some(), "{guid} was not judged");
    }
}

/// What the largest payloads become while they are parsed and judged is many times their size.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_payloads_are_judged_in_bounded_memory() {
    if !long() {
        return;
    }
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let hook = s.gh.with(|w| w.comment("carol", REPO, pr, "A remark")).unwrap().hooks.remove(0);
    let item = serde_json::json!({"id": 1, "name": "src/main.rs", "flags": [true, null, "x"]});
    let senders: Vec<_> = (0..12)
        .map(|n| {
            let (courier, mut hook) = (s.gh.courier(), Webhook { guid: format!("guid-{n}"), ..hook.clone() });
            hook.payload["pull_request"]["number"] = (1000 + n).into();
            hook.payload["pad"] = vec![item.clone(); 300_000].into();
            tokio::spawn(async move { courier.deliver(&hook).await.map(|a| a.status) })
        })
        .collect();
    let mut taken = 0;
    for sender in senders {
        // 408: this machine could not send it in time.
        taken += u32::from(sender.await.unwrap().unwrap() == 202);
    }
    s.settle().await;
    let memory = most_memory(&s.service);
    let said = format!("{taken} of 16 MB at once, judged: at most {memory} MB");
    println!("{said}");
    measured("large payloads judged", &said);
    assert!(taken > 3 && memory < 2 * MOST_MEMORY, "{said}");
}

/// Of the room for large payloads an installation has a quarter, of 25 MB. What waits for it holds up nothing else, and
/// is judged when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_payload_waits_for_room_and_holds_up_no_small_one() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("github::timeout=return(600000)").await.unwrap();
    let mut pulls = vec![];
    for branch in ["one", "two", "three"] {
        pulls.push(s.pull(branch, "A door").await);
    }
    s.settle().await;
    let read = |number: u64| {
        let of_it = format!("\"number\":{number}");
        let of_it = |r: &&gatelog::simulated_github::Logged| {
            r.body.contains("query PrFacts") && r.body.contains(&of_it)
        };
        s.gh.requests().iter().filter(of_it).count()
    };
    let before: Vec<usize> = pulls.iter().map(|pr| read(*pr)).collect();
    let hold = s.gh.hold(Route::GraphqlWith("PrFacts".to_owned()));
    let mut guids = vec![];
    for (pr, size) in pulls.iter().zip([4 * MEGABYTE, 4 * MEGABYTE, 0]) {
        let mut hook = s.gh.with(|w| w.label("carol", REPO, *pr, "large")).unwrap().hooks.remove(0);
        hook.payload["pull_request"]["body"] = "x".repeat(size).into();
        assert_eq!(s.deliver(&hook).await.status, 202, "{}", s.service.log());
        guids.push(hook.guid);
        // The first has its room, and is held with it; the small one needs none.
        if *pr != pulls[1] {
            s.until("it is read", 60, || (read(*pr) > before[guids.len() - 1]).then_some(())).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(read(pulls[1]), before[1], "there is no room for the second");
    hold.release();
    s.gh.heal();
    let view = s.settle().await;
    assert!(guids.iter().all(|guid| view.decision(guid).is_some()));
    assert!(read(pulls[1]) > before[1]);
    s.service.stop().await;
    s.service.verify().await;
}
