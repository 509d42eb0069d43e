//! The story: what happens on GitHub, and what must be decided.

use serde_json::json;

use super::{
    super::Failure,
    scene::REPO,
    show,
    stage::{Expect, GREEN, QUIET, Stage, red, seq},
};
use crate::simulated_github::{CheckRun, Method, Route, Webhook, commit};

/// Pushes show under a name of their own.
const PUSH_CHECK: &str = "gatelog/push";

/// Plays everything. Returns the check run to show at the end.
///
/// # Errors
/// The story cannot go on.
pub async fn play(s: &mut Stage) -> Result<CheckRun, Failure> {
    let number = first_pull_request(s).await?;
    killed_in_the_middle(s, number).await?;
    let shown = force_push_and_merge(s, number).await?;
    past_the_gate(s).await?;
    let last = queue_and_others(s).await?;
    what_is_not_judged(s, &last).await?;
    Ok(shown)
}

async fn first_pull_request(s: &mut Stage) -> Result<u64, Failure> {
    show::act(
        "alice pushes a branch with an unsigned commit and opens a pull request. main wants two approvals.",
    )?;
    let unsigned = commit("alice", "Count items").write("src/cart.rs", "pub fn items() -> u32 { 0 }\n");
    s.play(|w| w.push("alice", REPO, "cart", &[unsigned]), &[QUIET, QUIET]).await?;
    let opened = red(&["0 of 2 approvals", "not signed"]);
    let number =
        s.play(|w| w.open_pull("alice", REPO, "cart", "main", "Count items in the cart"), &[opened]).await?;

    show::act("She approves it herself. carol only comments.")?;
    s.play(
        |w| w.approve("alice", REPO, number),
        &[red(&["0 of 2 approvals (1 ignored: @alice, author of the pull request)"])],
    )
    .await?;
    s.play(|w| w.comment("carol", REPO, number, "nice"), &[red(&["0 of 2 approvals"])]).await?;

    show::act("alice signs the commit (a force push), then bob approves.")?;
    s.play(|w| w.sign_head("alice", REPO, "cart"), &[QUIET, red(&["0 of 2 approvals"])]).await?;
    s.play(|w| w.approve("bob", REPO, number), &[red(&["1 of 2 approvals"])]).await?;
    Ok(number)
}

/// GitHub's answer is held back, so the delivery is surely unfinished when the server dies.
async fn killed_in_the_middle(s: &mut Stage, number: u64) -> Result<(), Failure> {
    show::act("carol approves. While that delivery is being judged, the server is killed with SIGKILL.")?;
    let hold = s.github.hold(Route::Graphql);
    let did = s.act(|w| w.approve("carol", REPO, number))?;
    let Some(hook) = did.hooks.first() else { return Ok(()) };
    let event = s.deliver(hook).await?;
    hold.arrived(1).await;
    s.server.kill().await?;
    if s.journal.is_judged(event)? {
        s.wrong.push(format!("entry {event} was judged before the server was killed"));
    }
    show::note(&format!("killed: entry {event} is durable and has no verdict"))?;
    s.github.heal();
    hold.release();
    s.server.restart().await?;
    show::note("started again, on the same ledger")?;
    let verdict = s.outcome(hook, event, GREEN).await?;
    let sent = s.times_sent(verdict);
    if sent != 1 {
        s.wrong.push(format!("verdict {verdict} was sent to GitHub {sent} times"));
    }
    show::note(&format!("nothing lost, nothing twice: the verdict was sent to GitHub {sent} time"))
}

async fn force_push_and_merge(s: &mut Stage, number: u64) -> Result<CheckRun, Failure> {
    show::act("alice force-pushes something else after the approvals.")?;
    let other =
        commit("alice", "Count items twice").write("src/cart.rs", "pub fn items() -> u32 { 2 }\n").signed();
    let stale = red(&["0 of 2 approvals", "@bob, stale", "@carol, stale"]);
    let head = s.play(|w| w.force_push("alice", REPO, "cart", "main", &[other]), &[QUIET, stale]).await?;
    let shown = s.runs(&head, "gatelog").pop();
    let shown = shown.ok_or_else(|| Failure::could_not_run("there is no check run after the force push"))?;

    show::act("bob and carol approve again, carol merges.")?;
    s.play(|w| w.approve("bob", REPO, number), &[red(&["1 of 2 approvals"])]).await?;
    s.play(|w| w.approve("carol", REPO, number), &[GREEN]).await?;
    s.play(|w| w.merge("carol", REPO, number, Method::Merge), &[QUIET, GREEN.under(PUSH_CHECK)]).await?;
    Ok(shown)
}

async fn past_the_gate(s: &mut Stage) -> Result<(), Failure> {
    show::act("eve pushes to main directly; only the release team may. Then a tag is made.")?;
    let quick = commit("eve", "Quick fix").write("src/cart.rs", "pub fn items() -> u32 { 1 }\n").signed();
    let denied: Expect = red(&["eve"]).under(PUSH_CHECK);
    let sha = s.play(|w| w.push("eve", REPO, "main", &[quick]), &[denied]).await?;
    s.play(|w| w.tag("dana", REPO, "v1.0", &sha), &[QUIET, QUIET]).await
}

async fn queue_and_others(s: &mut Stage) -> Result<Webhook, Failure> {
    show::act("A second pull request goes through the merge queue. A workflow runs.")?;
    let door = commit("dana", "A door").write("src/door.rs", "// open\n").signed();
    s.play(|w| w.push("dana", REPO, "door", &[door]), &[QUIET, QUIET]).await?;
    let number = s.play(|w| w.open_pull("dana", REPO, "door", "main", "A door"), &[red(&["0 of 2"])]).await?;
    s.play(|w| w.approve("bob", REPO, number), &[red(&["1 of 2"])]).await?;
    s.play(|w| w.approve("carol", REPO, number), &[GREEN]).await?;
    let group = s.play(|w| w.enqueue("dana", REPO, number), &[GREEN, GREEN]).await?;
    s.play(|w| w.workflow_run("dana", REPO, &group, "completed", Some("success")), &[QUIET]).await?;

    show::act("GitHub sends an event that gatelog has never heard of.")?;
    let did = s.act(|w| w.any_event("dana", REPO, "quantum_merge", json!({"action": "entangled"})))?;
    let hook = did.hooks.into_iter().next();
    let hook = hook.ok_or_else(|| Failure::could_not_run("the story: there is no unknown event"))?;
    let event = s.deliver(&hook).await?;
    s.outcome(&hook, event, QUIET).await?;
    Ok(hook)
}

async fn what_is_not_judged(s: &mut Stage, hook: &Webhook) -> Result<(), Failure> {
    show::act("The same delivery comes again, then one whose signature is wrong.")?;
    let failed = |e: crate::simulated_github::DeliveryError| Failure::could_not_run(e.to_string());
    let again = s.github.deliver(hook).await.map_err(failed)?;
    let first = seq(&again)?;
    show::undecided(
        hook,
        Some(first),
        "same",
        &format!("answered {}: it is entry {first} already", again.status),
    )?;
    if again.status != 200 {
        s.wrong.push(format!("a repeated delivery was answered {}", again.status));
    }
    let forged = s.github.courier().deliver_badly_signed(hook).await.map_err(failed)?;
    show::undecided(hook, None, "refused", &format!("answered {}: nothing is stored", forged.status))?;
    if forged.status != 401 {
        s.wrong.push(format!("a delivery with a wrong signature was answered {}", forged.status));
    }
    Ok(())
}
