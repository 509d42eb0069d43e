//! Judging again what was judged before, from what was kept of it.

use std::sync::Arc;

use super::{Bundle, ENGINE, Input, Judge, REWRITER};
use crate::verdict::{Control, Outcome, Verdict};

/// How a verdict of then compares with one of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Byte for byte.
    Same,
    /// Decision and findings; the bytes name another version of the engine.
    SameMeaning,
    /// The same engine says something else: the verdict was changed, or judging is not deterministic.
    Differs(Difference),
    /// Another version of the engine says something else.
    DiffersByEngine(Difference),
    /// It cannot be known, and why.
    CannotTell(String),
}

/// The first thing that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// A control's package, or a field of the verdict.
    pub at: String,
    pub then: String,
    pub now: String,
}

/// Judges `input` with the bundle that judged it then, and compares with what was `recorded`.
pub async fn replay(judge: &Judge, bundle: Arc<Bundle>, input: Arc<Input>, recorded: &[u8]) -> Replayed {
    let then: Verdict = match serde_json::from_slice(recorded) {
        Ok(then) => then,
        Err(e) => return Replayed::CannotTell(format!("the recorded verdict cannot be read: {e}")),
    };
    if then.bundle != bundle.digest() {
        return Replayed::CannotTell(format!("it was judged by another bundle, {}", then.bundle));
    }
    compare(&then, recorded, &judge.judge(bundle, input).await)
}

fn compare(then: &Verdict, recorded: &[u8], now: &Verdict) -> Replayed {
    if now.to_bytes() == recorded {
        return Replayed::Same;
    }
    let same_engine = then.engine == ENGINE && then.rewriter == REWRITER;
    match difference(then, now) {
        None if same_engine => Replayed::Differs(Difference {
            at: "its bytes".into(),
            then: "not as gatelog writes them".into(),
            now: "canonical".into(),
        }),
        None => Replayed::SameMeaning,
        // A slow machine, or a busy one, may stop what another does not.
        Some(_) if then.controls.iter().chain(&now.controls).any(was_stopped) => {
            Replayed::CannotTell("a control was stopped at a limit, which depends on the machine".into())
        }
        Some(difference) if same_engine => Replayed::Differs(difference),
        Some(difference) => Replayed::DiffersByEngine(difference),
    }
}

/// Stopped from outside: nothing that a policy itself decided.
fn was_stopped(control: &Control) -> bool {
    const STOPPED: &[&str] = &["it reached the limit of ", "the judge process", "took longer than "];
    control.outcome == Outcome::Error
        && control.findings.iter().any(|f| STOPPED.iter().any(|text| f.msg.contains(text)))
}

fn difference(then: &Verdict, now: &Verdict) -> Option<Difference> {
    let differs = |at: &str, then: String, now: String| {
        (then != now).then(|| Difference { at: at.to_owned(), then, now })
    };
    let packages = |v: &Verdict| v.controls.iter().map(|c| c.package.clone()).collect::<Vec<_>>().join(", ");
    let control = |(then, now): (&Control, &Control)| differs(&then.package, said(then), said(now));
    differs("decision", then.decision.as_str().to_owned(), now.decision.as_str().to_owned())
        .or_else(|| differs("controls", packages(then), packages(now)))
        .or_else(|| then.controls.iter().zip(&now.controls).find_map(control))
        .or_else(|| differs("reason", then.reason.clone(), now.reason.clone()))
        .or_else(|| {
            differs("valid_until", format!("{:?}", then.valid_until), format!("{:?}", now.valid_until))
        })
}

/// Everything a control said, on one line.
fn said(control: &Control) -> String {
    serde_json::to_string(control).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Title → denied.
    fn bundle(dir: &std::path::Path) -> Arc<Bundle> {
        let rego = "package controls.titles\n\ndeny contains input.title if input.title != \"fine\"\n";
        std::fs::write(dir.join("titles.rego"), rego).unwrap();
        Arc::new(Bundle::load(dir).unwrap())
    }

    fn input(title: &str) -> Arc<Input> {
        let document = json!({
            "time": "2026-11-24T15:04:05.000000Z", "about": "none", "title": title, "event": {"payload": {}},
            "facts": {"complete": true, "missing": []},
        });
        Arc::new(Input::from_json(document).unwrap())
    }

    #[tokio::test]
    async fn what_was_judged_is_judged_the_same_again_or_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (judge, bundle) = (Judge::in_process(1).unwrap(), bundle(dir.path()));
        let then = bundle.judge(&input("rude"));
        let again = |title, bytes: Vec<u8>| {
            let (judge, bundle) = (judge.clone(), bundle.clone());
            async move { replay(&judge, bundle, input(title), &bytes).await }
        };
        assert_eq!(again("rude", then.to_bytes()).await, Replayed::Same);
        let Replayed::Differs(d) = again("fine", then.to_bytes()).await else { panic!() };
        assert_eq!((d.at.as_str(), d.then.as_str(), d.now.as_str()), ("decision", "deny", "allow"));
        let Replayed::Differs(d) = again("ruder", then.to_bytes()).await else { panic!() };
        assert_eq!(d.at, "controls.titles");
        let mut pretty = then.to_bytes();
        pretty.push(b'\n');
        assert!(matches!(again("rude", pretty).await, Replayed::Differs(d) if d.at == "its bytes"));

        let mut old = then.clone();
        old.engine = "regorus 0.1.0".into();
        assert_eq!(again("rude", old.to_bytes()).await, Replayed::SameMeaning);
        assert!(matches!(again("fine", old.to_bytes()).await, Replayed::DiffersByEngine(_)));
        let mut other = then.clone();
        other.bundle = "sha256:00".into();
        assert!(matches!(again("rude", other.to_bytes()).await, Replayed::CannotTell(_)));
        let mut stopped = then;
        stopped.controls[0].outcome = Outcome::Error;
        stopped.controls[0].findings[0].msg = "it reached the limit of wall time (30 s)".into();
        assert!(matches!(again("rude", stopped.to_bytes()).await, Replayed::CannotTell(_)));
        assert!(matches!(again("rude", b"{".to_vec()).await, Replayed::CannotTell(_)));
    }
}
