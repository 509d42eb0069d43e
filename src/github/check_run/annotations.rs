//! Findings that have a place in a file, shown at that place in *Files changed*.

use serde_json::{Value, json};

use crate::{
    escape::{terminal, terminal_up_to},
    verdict::{Control, Finding, FindingKind, Outcome, Verdict},
};

/// GitHub takes at most 50 in one request (REST API, "Create a check run").
const MOST: usize = 50;

/// Characters of a title that GitHub takes.
const MAX_TITLE: usize = 255;

/// An `annotation` of GitHub's `output.annotations`, for each finding with a path and a line: the worst
/// first, and each place and message once.
pub(super) fn annotations(verdict: &Verdict) -> Vec<Value> {
    let mut all: Vec<(u8, &Control, &Finding, &str, u64)> = Vec::new();
    for control in &verdict.controls {
        for finding in &control.findings {
            let (Some(path), Some(line @ 1..)) = (finding.path.as_deref(), finding.line) else { continue };
            let new = |(_, c, f, p, l): &(u8, &Control, &Finding, &str, u64)| {
                (*p, *l, &f.msg, &c.id) != (path, line, &finding.msg, &control.id)
            };
            if let (Some(level), true) = (level(control, finding), all.iter().all(new)) {
                all.push((level, control, finding, path, line));
            }
        }
    }
    // Stable: those of a level stay in the order of the controls.
    all.sort_by_key(|(level, ..)| *level);
    let shown = all.into_iter().take(MOST);
    shown.map(|(level, c, f, path, line)| annotation(LEVELS[usize::from(level)], c, f, path, line)).collect()
}

const LEVELS: [&str; 3] = ["failure", "warning", "notice"];

/// Index into [`LEVELS`]. `None`: it is not shown at its place.
fn level(control: &Control, finding: &Finding) -> Option<u8> {
    let counts = !control.evaluate_only && control.outcome != Outcome::Waived;
    match finding.kind {
        FindingKind::Deny | FindingKind::Error if counts => Some(0),
        FindingKind::Deny | FindingKind::Error | FindingKind::Warn => Some(1),
        FindingKind::Pending => Some(2),
        FindingKind::Excepted => None,
    }
}

/// Plain text, not Markdown, wherever GitHub shows it.
fn annotation(level: &str, control: &Control, finding: &Finding, path: &str, line: u64) -> Value {
    let mut message = terminal(&finding.msg);
    if let Some(fix) = &finding.fix {
        message = format!("{message}\nfix: {}", terminal(fix));
    }
    json!({
        "path": path,
        "start_line": line,
        "end_line": line,
        "annotation_level": level,
        "title": terminal_up_to(&format!("{} {}", control.id, control.title), MAX_TITLE),
        "message": message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::decide;

    fn control(id: &str, outcome: Outcome, findings: Vec<Finding>) -> Control {
        Control {
            id: id.to_owned(),
            package: "controls.workflows".to_owned(),
            title: "Workflow files".to_owned(),
            severity: None,
            outcome,
            evaluate_only: false,
            findings,
            skip_reason: None,
            waived_by: vec![],
        }
    }

    fn finding(kind: FindingKind, place: Option<(&str, Option<u64>)>) -> Finding {
        Finding {
            kind,
            msg: "`actions/checkout` is not\u{202e} pinned".to_owned(),
            path: place.map(|(path, _)| path.to_owned()),
            line: place.and_then(|(_, line)| line),
            commit: None,
            who: None,
            fix: Some("pin it to a commit".to_owned()),
        }
    }

    fn of(controls: Vec<Control>) -> Vec<Value> {
        annotations(&Verdict {
            decision: decide(&controls),
            reason: String::new(),
            controls,
            valid_until: None,
            bundle: String::new(),
            engine: String::new(),
            rewriter: 1,
            answers: vec![],
        })
    }

    #[test]
    fn only_what_has_a_file_and_a_line_is_shown_there() {
        let here = Some((".github/workflows/ci.yml", Some(7)));
        let all = vec![
            finding(FindingKind::Deny, None),
            finding(FindingKind::Deny, Some(("src/main.rs", None))),
            finding(FindingKind::Deny, Some(("src/main.rs", Some(0)))),
            finding(FindingKind::Excepted, here),
            finding(FindingKind::Deny, here),
            finding(FindingKind::Deny, here),
        ];
        let shown = of(vec![control("CHG-07", Outcome::Deny, all)]);
        insta::assert_json_snapshot!(shown, @r#"
        [
          {
            "annotation_level": "failure",
            "end_line": 7,
            "message": "`actions/checkout` is not\\u{202e} pinned\nfix: pin it to a commit",
            "path": ".github/workflows/ci.yml",
            "start_line": 7,
            "title": "CHG-07 Workflow files"
          }
        ]
        "#);
    }

    #[test]
    fn what_does_not_block_is_no_failure_and_stands_last() {
        let at = |line| Some(("a.yml", Some(line)));
        let mut tried = control("A", Outcome::Deny, vec![finding(FindingKind::Deny, at(1))]);
        tried.evaluate_only = true;
        let waived = control("B", Outcome::Waived, vec![finding(FindingKind::Deny, at(2))]);
        let waits = control("C", Outcome::Pending, vec![finding(FindingKind::Pending, at(3))]);
        let denied = control("D", Outcome::Deny, vec![finding(FindingKind::Deny, at(4))]);
        let levels: Vec<_> = of(vec![tried, waived, waits, denied])
            .into_iter()
            .map(|a| (a["annotation_level"].as_str().unwrap().to_owned(), a["start_line"].as_u64().unwrap()))
            .collect();
        let wanted = [("failure", 4), ("warning", 1), ("warning", 2), ("notice", 3)];
        assert_eq!(levels, wanted.map(|(level, line)| (level.to_owned(), line)));
    }

    #[test]
    fn github_takes_fifty() {
        let many = (1..=70).map(|n| finding(FindingKind::Deny, Some(("a.yml", Some(n))))).collect();
        assert_eq!(of(vec![control("A", Outcome::Deny, many)]).len(), MOST);
    }
}
