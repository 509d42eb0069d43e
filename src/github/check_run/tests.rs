use super::*;
use crate::verdict::{WaivedBy, decide};

fn context() -> Context {
    Context {
        check_name: "gatelog".to_owned(),
        repository: "octo-org/payments".parse().unwrap(),
        head: "9ac3f1e0000000000000000000000000000000aa".parse().unwrap(),
        pull_request: Some(7),
        draft: false,
        judged_at: "2026-11-24T15:04:05Z".parse().unwrap(),
        entry: 12_071,
        leaf: "5f".repeat(32),
        tree_size: 12_072,
        root: "9c".repeat(32),
        in_the_way: None,
    }
}

fn control(id: &str, title: &str, outcome: Outcome, findings: Vec<Finding>) -> Control {
    Control {
        id: id.to_owned(),
        package: format!("controls.{}", title.to_lowercase().replace(' ', "_")),
        title: title.to_owned(),
        severity: Some("high".to_owned()),
        outcome,
        evaluate_only: false,
        findings,
        skip_reason: None,
        waived_by: vec![],
    }
}

fn finding(kind: FindingKind, msg: &str) -> Finding {
    Finding { kind, msg: msg.to_owned(), path: None, line: None, commit: None, who: None, fix: None }
}

fn verdict(reason: &str, controls: Vec<Control>) -> Verdict {
    Verdict {
        decision: decide(&controls),
        reason: reason.to_owned(),
        controls,
        valid_until: None,
        bundle: format!("sha256:{}", "3f".repeat(32)),
        engine: "regorus 0.14.1".to_owned(),
        rewriter: 1,
        answers: vec![],
    }
}

fn whole(r: &Rendered) -> String {
    assert!(r.summary.len() <= page::MAX_BYTES && r.text.len() <= page::MAX_BYTES);
    assert!(r.title.chars().count() <= MAX_TITLE);
    format!(
        "{} {}\n{}\n\n=== summary\n{}\n=== text\n{}",
        r.state.status(),
        r.state.conclusion().unwrap_or("-"),
        r.title,
        r.summary,
        r.text
    )
}

fn reviews_missing() -> Control {
    let deny = Finding {
        who: Some("anyone with write access but @alice and @bob".to_owned()),
        ..finding(FindingKind::Deny, "1 of 2 approvals; ignored: @alice (author of the last push)")
    };
    control("CHG-02", "Required reviews", Outcome::Deny, vec![deny])
}

fn unsigned() -> Control {
    let deny = Finding {
        commit: Some("41be0d2000000000000000000000000000000000".to_owned()),
        who: Some("the author".to_owned()),
        fix: Some("git commit --amend -S --no-edit && git push --force-with-lease".to_owned()),
        ..finding(FindingKind::Deny, "a commit is not verified: UNSIGNED")
    };
    let second = Finding {
        fix: Some(
            "git rebase --exec 'git commit --amend --no-edit -S' 1234567\ngit push --force-with-lease"
                .to_owned(),
        ),
        ..finding(FindingKind::Deny, "two more commits are not verified")
    };
    control("CHG-05", "Signed commits", Outcome::Deny, vec![deny, second])
}

fn skipped() -> Control {
    Control {
        skip_reason: Some("no rule for `main`".to_owned()),
        ..control("CHG-01", "Restricted branches", Outcome::Skip, vec![])
    }
}

#[test]
fn denied() {
    let v = verdict(
        "Blocked: 1 of 2 approvals (1 ignored: author of last push)",
        vec![
            skipped(),
            reviews_missing(),
            unsigned(),
            control("CHG-09", "Linear history", Outcome::Pass, vec![]),
        ],
    );
    insta::assert_snapshot!(whole(&render(&v, &context())));
}

#[test]
fn allowed() {
    let warn = Finding {
        path: Some(".github/CODEOWNERS".to_owned()),
        line: Some(3),
        ..finding(FindingKind::Warn, "a line of CODEOWNERS cannot be used")
    };
    let v = verdict(
        "2 controls passed",
        vec![
            skipped(),
            control("CHG-02", "Required reviews", Outcome::Warn, vec![warn]),
            control("CHG-05", "Signed commits", Outcome::Pass, vec![]),
        ],
    );
    insta::assert_snapshot!(whole(&render(&v, &context())));
}

#[test]
fn pending() {
    let wait =
        finding(FindingKind::Pending, "GitHub could not check the signature yet (GPGVERIFY_UNAVAILABLE)");
    let mut v = verdict(
        "the signature of 1 commit is not checked yet",
        vec![control("CHG-05", "Signed commits", Outcome::Pending, vec![wait])],
    );
    v.valid_until = Some("2026-11-24T15:09:05Z".parse().unwrap());
    insta::assert_snapshot!(whole(&render(&v, &context())));
}

#[test]
fn error() {
    let why = finding(FindingKind::Error, "team octo-org/payments cannot be read: 403");
    let v = verdict(
        "team octo-org/payments cannot be read",
        vec![
            control("CHG-02", "Required reviews", Outcome::Error, vec![why]),
            control("CHG-05", "Signed commits", Outcome::Error, vec![]),
        ],
    );
    insta::assert_snapshot!(whole(&render(&v, &context())));
}

#[test]
fn nothing_applies() {
    let v = verdict("no control applies", vec![skipped()]);
    insta::assert_snapshot!(whole(&render(&v, &context())));
}

#[test]
fn evaluated_only_and_waived() {
    let trial = Control { evaluate_only: true, ..reviews_missing() };
    let denied =
        Finding { path: Some("vendor/x.c".to_owned()), ..finding(FindingKind::Deny, "licence <unknown>") };
    let by = |entry, break_glass, reason: &str| WaivedBy {
        entry,
        break_glass,
        owner: "sec-lead".to_owned(),
        reason: reason.to_owned(),
        until: "2026-12-02T00:00:00Z".parse().unwrap(),
    };
    let mut waived = control("CHG-07", "Licences", Outcome::Waived, vec![denied]);
    waived.waived_by = vec![by(None, false, "vendor import"), by(Some(12_071), true, "the shop | is down")];
    let signed = control("CHG-05", "Signed commits", Outcome::Pass, vec![]);
    let mut v = verdict("1 of 2 controls, 1 waived", vec![trial, waived, signed]);
    v.answers = vec!["@mona: waive CHG-05: refused, [nobody](http://x) may (entry 9)".to_owned()];
    assert_eq!(v.decision, Decision::Allow);
    insta::assert_snapshot!(whole(&render(&v, &context())));
}

#[test]
fn draft_with_another_pull_request_in_the_way() {
    let v = verdict("2 controls passed", vec![control("CHG-05", "Signed commits", Outcome::Pass, vec![])]);
    let context = Context {
        draft: true,
        in_the_way: Some(InTheWay {
            number: 12,
            decision: Decision::Deny,
            reason: "Blocked: 0 of 1 approvals".to_owned(),
            entry: 12_060,
        }),
        ..context()
    };
    insta::assert_snapshot!(whole(&render(&v, &context)));
}

#[test]
fn the_worse_of_two_decisions_is_shown() {
    let other = |decision| Some(InTheWay { number: 12, decision, reason: "x".to_owned(), entry: 1 });
    let deny = verdict("a", vec![reviews_missing()]);
    let shown = render(&deny, &Context { in_the_way: other(Decision::Allow), ..context() });
    assert_eq!((shown.state, shown.title.as_str()), (State::Failure, "Blocked: a"));
    let allow = verdict("a", vec![]);
    let shown = render(&allow, &Context { in_the_way: other(Decision::Pending), ..context() });
    assert_eq!(shown.state, State::InProgress);
    assert_eq!(shown.title, "Waiting by #12, which has the same head: x");
}

#[test]
fn hostile() {
    let deny = Finding {
        path: Some("a|b`c\u{202e}txt".to_owned()),
        line: Some(1),
        commit: Some("</td>".to_owned()),
        who: Some("@octo-org/everyone ![x](https://evil.example/x.png)".to_owned()),
        fix: Some("echo `id` | sh\n``` <script>".to_owned()),
        ..finding(
            FindingKind::Deny,
            "</details>\n\n# Approved | by | all [here](https://evil.example) #1 \u{1b}[2J",
        )
    };
    let warn = Finding { fix: Some("a | `b`".to_owned()), ..finding(FindingKind::Warn, "- [x] <b>done</b>") };
    let mut c = control("CHG|<1>", "Title\n| x | @all", Outcome::Deny, vec![deny, warn]);
    c.severity = Some("<i>high".to_owned());
    let v = verdict("Blocked: <b>\u{1b}]0;x\u{7} title by @octo-org/all\nsecond line \u{202e}", vec![c]);
    insta::assert_snapshot!(whole(&render(&v, &context())));
}

#[test]
fn long_verdicts_are_cut_honestly() {
    let many: Vec<Finding> =
        (0..400).map(|n| finding(FindingKind::Deny, &format!("{n} {}", "<\u{202e}|".repeat(400)))).collect();
    let mut controls = vec![reviews_missing()];
    controls.push(control("CHG-05", "Signed commits", Outcome::Deny, many));
    let r = render(&verdict(&"long ".repeat(200), controls), &context());
    whole(&r);
    assert_eq!(r.title.chars().count(), MAX_TITLE);
    for page in [&r.summary, &r.text] {
        assert!(page.len() > page::MAX_BYTES / 2);
        assert!(page.contains("**Cut here: "), "{page}");
        assert!(page.contains(&context().root), "the footer is never cut");
        assert_eq!(page.matches("<details>").count(), page.matches("</details>").count());
    }
}

#[test]
fn while_nothing_is_decided() {
    let context = context();
    insta::assert_snapshot!("in_progress", whole(&in_progress(&context)));
    let reason = "rate limited until 15:20:00 <b>";
    insta::assert_snapshot!("waiting_for_github", whole(&waiting_for_github(reason, &context)));
    insta::assert_snapshot!("no_answer", whole(&github_did_not_answer("502 \u{1b}", 10, &context)));
}

#[test]
fn a_check_run_is_never_neutral() {
    use Decision::*;
    let shown =
        [Allow, Pending, Error, Deny, Superseded].map(|d| State::of(d).map(|s| (s.status(), s.conclusion())));
    assert_eq!(
        shown,
        [
            Some(("completed", Some("success"))),
            Some(("in_progress", None)),
            Some(("completed", Some("failure"))),
            Some(("completed", Some("failure"))),
            None
        ]
    );
}

#[test]
fn an_explanation_fits_and_says_where_the_whole_is() {
    let controls = vec![
        control("CHG-05", "Signed commits", Outcome::Pass, vec![]),
        control("CHG-02", "Required reviews", Outcome::Deny, vec![finding(FindingKind::Deny, "0 of 1")]),
        control("CHG-09", "Deployments", Outcome::Skip, vec![]),
    ];
    let verdict = verdict("0 of 1", controls);
    let rule = |lines: &str| ("deny (a`b.rego:3)".to_owned(), lines.to_owned());
    let of = |package: &str, rules| Explained { package: package.to_owned(), rules };
    let small = [
        of("controls.signed_commits", Err("stopped: it reached the limit of <memory>".to_owned())),
        of("controls.required_reviews", Ok(vec![rule("a.rego:4:2: does not hold\n  4 | x > 1\n```\n")])),
    ];
    insta::assert_snapshot!(explanation(&verdict, &small, "Note.", &context()));
    let large = [of("controls.required_reviews", Ok(vec![rule(&"a line\n".repeat(1000)); 20]))];
    let text = explanation(&verdict, &large, "Note.", &context());
    assert!(text.len() <= page::MAX_BYTES && text.len() > page::MAX_BYTES - 9_000, "{}", text.len());
    assert!(text.contains(
        "did not fit into what GitHub shows.** All of it: `gatelog policy eval --entry 12071 --explain`"
    ));
    assert!(text.contains("leaf       5f5f"), "the proof is always there");
}
