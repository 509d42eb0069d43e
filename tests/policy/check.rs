//! `gatelog policy check`: what is found before anything runs, and what `serve` then does.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::common::{
    foreign::{Tool, foreign},
    in_parallel,
    program::gatelog,
};
use crate::opa_support::{folder, refused_with};
use gatelog::policy::{check, schema};
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(parts: &[(&str, &str)]) -> BTreeMap<String, String> {
    parts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

const TYPOS: &str = r#"# METADATA
# title: A
# custom:
#   id: A-1
#   facts: [reviews, codeowners]
package controls.a

import data.lib.nope
import input.pull_request as pull

deny contains "x" if input.pull_request.usr.login == "bob"

deny contains "y" if {
	pr := input.pull_request
	pr.head.shaa == "x"
}

deny contains "z" if {
	some r in input.reviews
	r.sate == "APPROVED"
}

deny contains "c" if {
	some c in input.commits
	not verified(c)
}

verified(c) if c.verification.veriffied

denny contains "a" if input.pull_request.draft

deny contains "b" if input.reviews.state == "x"

deny contains "g" if object.get(input, ["pull_request", "titel"], "") == ""

deny contains "d" if data.parms.x

deny contains "e" if nope.foo

deny contains "pl" if input.event.payload.anything.goes

deny contains "label" if {
	labels := {l.nam | some l in input.pull_request.labels}
	"x" in labels
}

deny contains "alias" if pull.titel == "x"

deny contains "every" if every r in input.reviews { r.user.loginn != "x" }

deny contains "rule" if newest.shaa == "x"

newest := input.pull_request.head

deny contains "elsewhere" if newest.sha == "x" with input as {"pull_request": {"head": {"shaa": "x"}}}

deny contains "latest" if latest.bob.stat == "x"

latest[login] := review if {
	some review in input.reviews
	login := review.user.login
}
"#;

#[test]
fn what_can_never_be_there_is_found() {
    let dir = folder(&files(&[
        ("policies/controls/a/a.rego", TYPOS),
        ("policies/data.yaml", "params:\n  defaults:\n    a: {limit: 1}\n    zz: {}\n"),
    ]));
    let out = gatelog(&["policy", "check"], dir.path());
    assert_eq!(out.status.code(), Some(1));
    insta::assert_snapshot!(text(&out.stdout));
    for format in ["sarif", "github"] {
        let out = gatelog(&["policy", "check", "--format", format], dir.path());
        assert_eq!(out.status.code(), Some(1), "{format}");
        insta::assert_snapshot!(format, text(&out.stdout));
    }
}

#[test]
fn all_that_is_no_rego_is_said_at_once() {
    let dir = folder(&files(&[
        ("policies/controls/a/a.rego", "package controls.a\n\ndeny contains x {\n\tx := 1\n}\n"),
        ("policies/controls/b/b.rego", "package controls.b\n\ndeny contains x if {\n"),
        ("policies/data.yaml", "a: [1\n"),
    ]));
    let out = gatelog(&["policy", "check", "--format", "json"], dir.path());
    let said: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    let paths: BTreeSet<&str> = said.iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(paths.len(), 3, "{said:#?}");
    let calls = "package controls.a\n\ndeny contains x if {\n\tx := string.upper(\"a\")\n}\n\nwarn contains x if x := count(1, 2, 3)\n\npending contains rand.intn(\"a\", 3)\n";
    let dir = folder(&files(&[("policies/a.rego", calls)]));
    let said: Vec<Value> =
        serde_json::from_slice(&gatelog(&["policy", "check", "--format", "json"], dir.path()).stdout)
            .unwrap();
    assert_eq!(said.iter().filter(|f| f["rule"] == "not-loaded").count(), 3, "{said:#?}");
}

/// The bundles that are shipped, that tests use, and that authors begin with.
#[test]
fn the_shipped_policies_are_clean() {
    let out = gatelog(&["policy", "check", "policies", "--strict"], &root());
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stdout));
    let out = gatelog(&["policy", "check", "tests/fixtures/policies"], &root());
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stdout));
}

/// Typos planted one at a time into the shipped policies: most are found, and where `opa check` with
/// our schema finds one, so do we.
#[test]
fn planted_typos_are_found_as_opa_finds_them() {
    let opa = foreign(Tool::Opa);
    let schemas = tempfile::tempdir().unwrap();
    let schema_file = schemas.path().join("input.json");
    std::fs::write(&schema_file, schema::input().to_string()).unwrap();
    let words = [
        "pull_request.head.sha",
        "review.can_push",
        "commit.verification",
        "file.filename",
        "pull.base.ref",
        "push.pusher",
        "review.state",
        "commit.sha",
        "input.repository.name",
        "entry.line",
        "review.user",
        "input.target.name",
    ];
    let mut files: BTreeMap<String, String> = policy_files(&root().join("policies")).into_iter().collect();
    files.retain(|path, _| !path.ends_with("_test.rego"));
    let typos: Vec<(&String, &str, usize)> = files
        .iter()
        .filter(|(path, _)| path.ends_with(".rego"))
        .flat_map(|(path, text)| words.iter().filter_map(move |word| Some((path, *word, text.find(word)?))))
        .collect();
    let planted = typos.len();
    // Whether we find it, and whether opa finds what we do not.
    let judged = in_parallel(&typos, |(path, word, at)| {
        let mut all = files.clone();
        all.get_mut(*path).unwrap().insert(at + word.len(), 'q');
        let dir = folder(&all);
        let found = check::check(&[dir.path().to_owned()]).unwrap();
        let ours = found.iter().any(|f| f.rule == "unknown-reference");
        let worse = !ours && opa.as_ref().is_some_and(|opa| refused_with(opa, dir.path(), &schema_file));
        (ours, worse)
    });
    let named = |wanted: &dyn Fn(&(bool, bool)) -> bool| -> Vec<String> {
        let pairs = typos.iter().zip(&judged).filter(|(_, judged)| wanted(judged));
        pairs.map(|((path, word, _), _)| format!("{path}: {word}")).collect()
    };
    let (missed, worse) = (named(&|(ours, _)| !ours), named(&|(_, worse)| *worse));
    println!("{planted} typos, {} missed: {missed:#?}", missed.len());
    assert!(worse.is_empty(), "opa finds what we do not: {worse:#?}");
    assert!(missed.len() * 8 < planted, "{} of {planted} missed: {missed:#?}", missed.len());
}

fn policy_files(dir: &Path) -> Vec<(String, String)> {
    fn read(dir: &Path, prefix: &str, out: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                read(&entry.path(), &format!("{path}/"), out);
            } else {
                out.push((path, std::fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    read(dir, "", &mut out);
    out
}

/// What OPA's own check says with our schemas.
#[test]
fn opa_check_passes_with_our_schemas() {
    let Some(opa) = foreign(Tool::Opa) else { return };
    let dir = tempfile::tempdir().unwrap();
    for of in ["input", "data", "metadata"] {
        let out = gatelog(&["schema", of], &root());
        assert_eq!(out.status.code(), Some(0));
        let schema: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert!(schema["properties"].is_object(), "{of}");
        std::fs::write(dir.path().join(format!("{of}.json")), out.stdout).unwrap();
    }
    let out = Command::new(&opa)
        .args(["check", "--strict", "--schema"])
        .arg(dir.path().join("input.json"))
        .arg(root().join("policies"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out =
        Command::new(&opa).args(["fmt", "--fail", "--list"]).arg(root().join("policies")).output().unwrap();
    assert!(out.status.success(), "`opa fmt --write` would change {}", text(&out.stdout));
}

/// Whatever the tests of the shipped policies and a real judgement build fits the schema's fields.
#[test]
fn the_schema_of_the_input_is_a_snapshot() {
    fn fields(schema: &Value, at: &str, out: &mut Vec<String>) {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            out.push(at.clone());
            fields(inner, &at, out);
        }
        for inner in schema["anyOf"].as_array().into_iter().flatten() {
            fields(inner, at, out);
        }
        if schema["items"].is_object() {
            fields(&schema["items"], &format!("{at}[]"), out);
        }
    }
    let mut out = Vec::new();
    fields(&schema::input(), "input", &mut out);
    insta::assert_snapshot!(out.join("\n"));
}

#[test]
fn a_bundle_with_an_error_is_not_served() {
    let control = "# METADATA\n# title: A\n# custom:\n#   id: A-1\n#   facts: [pull_request]\npackage controls.a\n\ndeny contains \"x\" if input.pull_request.titel == \"x\"\n";
    let dir = folder(&files(&[
        ("controls/a/a.rego", control),
        (
            "controls/a/a_test.rego",
            "package controls.a_test\n\nimport data.controls.a\n\ntest_a if count(a.deny) == 0 with input as {}\n",
        ),
    ]));
    let refused = gatelog::gate::load(dir.path()).unwrap_err().to_string();
    insta::assert_snapshot!(refused);
    // `test` runs, and warns.
    let out = gatelog(&["policy", "test", "."], dir.path());
    assert_eq!(out.status.code(), Some(0));
    assert!(text(&out.stderr).contains("`serve` would refuse"), "{}", text(&out.stderr));
    std::fs::write(dir.path().join("controls/a/a.rego"), control.replace("titel", "title")).unwrap();
    gatelog::gate::load(dir.path()).unwrap();
}

const META: &str = "# METADATA\n# title: A\n# custom:\n#   id: A-1\n#   facts: [pull_request]\n";

/// One bad folder for each kind of finding: what its author is told.
#[test]
fn every_kind_of_finding_says_what_and_how() {
    let a = "policies/controls/a/a.rego";
    let with = |rules: &str| format!("{META}package controls.a\n\n{rules}\n");
    let bad: Vec<(&str, Vec<(&str, String)>)> = vec![
        ("not-loaded", vec![(a, with("deny contains x {\n\tx := input.time\n}"))]),
        ("unsafe-variable", vec![(a, with("deny contains {\"msg\": sprintf(\"%s\", [who])} if input.pull_request.draft"))]),
        ("no-control", vec![("policies/lib/x.rego", "package lib.x\n".to_owned())]),
        ("unknown-reference", vec![(a, with("deny contains \"x\" if input.pull_request.usr.login == \"bob\""))]),
        ("undeclared-fact", vec![(a, with("deny contains \"x\" if count(input.reviews) == 0"))]),
        (
            "silent-deny",
            vec![(
                a,
                "package controls.a\n\ndeny contains \"x\" if {\n\tinput.pull_request.draft\n\tcount(input.reviews) == 0\n}\n"
                    .to_owned(),
            )],
        ),
        (
            "no-set",
            vec![(a, with("deny contains \"x\" if input.pull_request.draft\n\ndeny_reason := \"frozen\" if input.about == \"push\""))],
        ),
        (
            "helper-finds",
            vec![(
                a,
                with("deny contains \"x\" if input.pull_request.user.login in deny_logins\n\ndeny_logins := {\"bob\"}\n\nwarn_words := {\"wip\"}\n\ndeny_labels contains \"stop\"\n\nerror contains \"e\" if \"x\" in deny_labels"),
            )],
        ),
        (
            "unused-fact",
            vec![(a, with("deny contains \"x\" if input.pull_request.draft").replace("[pull_request]", "[files]"))],
        ),
        ("metadata", vec![(a, "package controls.a\n\ndeny contains \"x\" if input.about == \"push\"\n".to_owned())]),
        ("place", vec![("policies/controls/b/b.rego", with("deny contains \"x\" if input.pull_request.draft"))]),
        (
            "unused-rule",
            vec![(a, with("deny contains \"x\" if input.pull_request.draft\n\ndenny contains \"y\" if input.time == \"\""))],
        ),
        (
            "no-data",
            vec![
                (a, with("deny contains \"x\" if data.parms.x == input.about\n\ndeny contains \"y\" if data.lib.x.nope\n\ndeny contains \"z\" if data.lib.x.more")),
                ("policies/controls/a/a_test.rego", "package controls.a_test\n\nimport data.lib.x\n\ntest_x if x.other == x.yes\n".to_owned()),
                ("policies/lib/x.rego", "package lib.x\n\nyes := 1\n".to_owned()),
                ("policies/lib/x/data.yaml", "more: 2\n".to_owned()),
            ],
        ),
        (
            "unused-parameter",
            vec![
                (a, with("deny contains \"x\" if data.params.defaults.a.limit == input.about")),
                ("policies/data.yaml", "params: {defaults: {a: {limit: x, limits: y}}}\n".to_owned()),
            ],
        ),
        (
            "undefined-parameter",
            vec![
                (
                    a,
                    with("import data.lib.params\n\nsettings := params.effective(\"a\")\n\nmore := {\"depth\": \"count?\"}\n\ndeny contains more if {\n\tsettings.limit == input.about\n\tsettings.limits == input.about\n\tparams.effective(\"a\")[\"limt\"]\n\tsettings.depth\n\tdata.params.defaults.a.lim\n}"),
                ),
                ("policies/lib/params.rego", "package lib.params\n\neffective(control) := data.params.defaults[control]\n".to_owned()),
                ("policies/data.yaml", "params: {defaults: {a: {limit: x}}}\n".to_owned()),
            ],
        ),
    ];
    let mut said = String::new();
    for (rule, parts) in &bad {
        let parts: Vec<(&str, &str)> = parts.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let dir = folder(&files(&parts));
        let out = gatelog(&["policy", "check", "--strict"], dir.path());
        assert_eq!(out.status.code(), Some(1), "{rule}");
        let out = text(&out.stdout);
        assert!(out.contains(&format!("[{rule}]")), "{rule}: {out}");
        said.push_str(&format!("## {rule}\n{out}\n"));
    }
    let tried: BTreeSet<&str> = bad.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(tried, check::RULES.iter().map(|(rule, _)| *rule).collect::<BTreeSet<_>>());
    insta::assert_snapshot!(said);
}

/// A guard that can notice what is not there, facts that are asked for, a rule with a suffix: no false alarm.
#[test]
fn what_is_guarded_is_not_called_silent() {
    let reads = "deny_unreviewed contains \"x\" if count(input.reviews) == 0\n";
    let said = |text: String| {
        let dir = folder(&files(&[("policies/controls/a/a.rego", &text)]));
        let out = gatelog(&["policy", "check", "--format", "json"], dir.path());
        let found: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
        found.iter().map(|f| f["rule"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(said(format!("package controls.a\n\n{reads}")), ["metadata", "silent-deny"]);
    for guard in [
        "applies if input.about == \"pull_request\"",
        "error contains \"x\" if not input.reviews",
        "default allow := false",
        "needs contains {\"fact\": \"reviews\"}",
    ] {
        let found = said(format!("package controls.a\n\n{guard}\n\n{reads}"));
        assert_eq!(found, ["metadata", "undeclared-fact"], "{guard}");
    }
    let meta = META.replace("[pull_request]", "[reviews]");
    assert_eq!(said(format!("{meta}package controls.a\n\n{reads}")), Vec::<String>::new());
}

#[test]
fn a_package_in_several_files_has_metadata_once() {
    let said = |second: &str| {
        let dir = folder(&files(&[
            (
                "policies/controls/a/one.rego",
                "package controls.a\n\ndeny_a contains \"x\" if input.about == \"push\"\n",
            ),
            (
                "policies/controls/a/two.rego",
                &format!("{second}package controls.a\n\nwarn contains \"w\" if input.about == \"push\"\n"),
            ),
        ]));
        let found = check::check(&[dir.path().join("policies")]).unwrap();
        found.iter().map(|f| (f.rule, f.path.ends_with("one.rego"))).collect::<Vec<_>>()
    };
    assert_eq!(said(""), [("metadata", true)]);
    assert_eq!(said(META), []);
    assert_eq!(said(&META.replace("[pull_request]", "[files]")), [("unused-fact", false)]);
}

/// What code scanning and other readers of SARIF 2.1.0 need, by the text of the standard.
#[test]
fn sarif_is_as_the_standard_has_it() {
    let dir = folder(&files(&[("policies/controls/a/a.rego", TYPOS)]));
    let out = gatelog(&["policy", "check", "--format", "sarif"], dir.path());
    let log: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(log["runs"].as_array().unwrap().len(), 1);
    let run = &log["runs"][0];
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let rules: Vec<&str> = run["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["id"].as_str().unwrap())
        .collect();
    assert_eq!(rules.iter().collect::<BTreeSet<_>>().len(), rules.len(), "an id is there twice");
    let results = run["results"].as_array().unwrap();
    assert!(!results.is_empty());
    for result in results {
        assert!(rules.contains(&result["ruleId"].as_str().unwrap()), "{result}");
        assert!(
            ["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()),
            "{result}"
        );
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(
            dir.path().join(uri).is_file() && !uri.starts_with('/') && !uri.contains(['\\', ' ']),
            "{uri}"
        );
        let region = place["region"].as_object().unwrap();
        assert!(
            region["startLine"].as_u64() > Some(0) && region["startColumn"].as_u64() > Some(0),
            "{result}"
        );
    }
}

/// By the schema of the standard, which somebody else carries; what fits it not is refused.
#[test]
fn sarif_fits_the_schema() {
    let Some(sarif) = foreign(Tool::Sarif) else { return };
    let module = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3"])
        .current_dir(root().join("tests/foreign/sarif"))
        .output()
        .unwrap();
    let module = text(&module.stdout).trim().to_owned();
    let judge = |document: &[u8]| {
        let mut child = Command::new(&sarif)
            .arg(&module)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(document).unwrap();
        let out = child.wait_with_output().unwrap();
        (out.status.code(), text(&out.stdout) + &text(&out.stderr))
    };
    let a = "policies/controls/a/a.rego";
    let clean = format!("{META}package controls.a\n\ndeny contains \"x\" if input.pull_request.draft\n");
    let folders = [
        (vec![(a, TYPOS)], 16),
        (
            vec![
                (a, "package controls.a\n\ndeny contains x {\n\tx := 1\n}\n"),
                ("policies/data.yaml", "a: [1\n"),
            ],
            2,
        ),
        // A finding about no file.
        (vec![("policies/lib/a.rego", "package lib.a\n")], 1),
        // A name that is no URI as it stands.
        (
            vec![(
                "policies/controls/ä b%/c d.rego",
                "package controls.a\n\ndeny contains 1 if input.abouut\n",
            )],
            3,
        ),
        (vec![(a, clean.as_str())], 0),
    ];
    for (parts, results) in folders {
        let dir = folder(&files(&parts));
        let out = gatelog(&["policy", "check", "--format", "sarif"], dir.path());
        let said = judge(&out.stdout);
        assert_eq!(
            said,
            (Some(0), format!("SARIF 2.1.0, 1 runs, {results} results\n")),
            "{parts:?}\n{}",
            text(&out.stdout)
        );
        let mut log: Value = serde_json::from_slice(&out.stdout).unwrap();
        log["runs"][0]["columns"] = "characters".into();
        assert_eq!(judge(log.to_string().as_bytes()).0, Some(1), "an unknown field is let through");
    }
}

/// Regal is built with all of OPA, which takes minutes: with `GATELOG_EFFORT=long`, where it is required, and
/// where it was built once.
fn regal() -> Option<PathBuf> {
    let required = std::env::var("GATELOG_REQUIRE").is_ok_and(|r| r.split(',').any(|t| t.trim() == "regal"));
    let built = root().join("target/tools/regal").exists();
    (crate::common::long() || required || built).then(|| foreign(Tool::Regal)).flatten()
}

/// With the rules that `.regal/config.yaml` leaves on: there each that is off has its reason.
#[test]
fn regal_finds_nothing_in_the_shipped_policies() {
    let Some(regal) = regal() else { return };
    let lint = |dir: &Path| {
        let out = Command::new(&regal)
            .args(["lint", "--format", "json", "--config-file"])
            .arg(root().join(".regal/config.yaml"))
            .arg("policies")
            .current_dir(dir)
            .output()
            .unwrap();
        let said: Value =
            serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&out.stderr)));
        let found = said["violations"].as_array().unwrap();
        let found =
            found.iter().map(|v| format!("{} {}", v["title"], v["location"]["file"])).collect::<Vec<_>>();
        (out.status.code(), said["summary"]["files_scanned"].as_u64(), found)
    };
    let (code, scanned, found) = lint(&root());
    assert_eq!((code, found), (Some(0), vec![]));
    assert!(scanned > Some(50), "{scanned:?}");
    // It would have said something.
    let bad = "package controls.a\n\nall := [1]\n\ndeny contains \"x\" if input.a in all\n";
    let (code, _, found) = lint(folder(&files(&[("policies/controls/a/a.rego", bad)])).path());
    assert!(code == Some(3) && !found.is_empty(), "{code:?} {found:?}");
}

/// What OPA takes for bound, and what it does not.
#[test]
fn variables_in_heads_are_bound_as_opa_has_it() {
    let opa = foreign(Tool::Opa);
    let cases = [
        ("deny contains x if input.time", false),
        ("deny contains {\"msg\": x} if input.time", false),
        ("deny[x] if input.time", false),
        ("f(a) := b if a", false),
        ("v := x if input.time else := y", false),
        ("deny contains x if not x == 1", false),
        ("o[k] := 1 if input.time", false),
        ("deny contains count([x]) if input.time", false),
        ("deny contains {\"a\": {z | some y in input.a; z := y}, \"b\": z} if input.time", false),
        ("deny contains x if some x in input.labels", true),
        ("deny contains x if x := input.time", true),
        ("deny contains x if input.labels[x]", true),
        ("deny contains x if { [x, _] := [1, 2] }", true),
        ("deny contains [y | some y in input.a] if input.time", true),
        ("deny contains {\"msg\": f(y)} if some y in input.a\n\nf(z) := z", true),
        ("o[k] := v if some k, v in input.a", true),
        ("deny contains input.labels[i].name if input.time", true),
        ("deny contains r if input.time\n\nr := 1", true),
        ("v := 1 if input.time else := input.x", true),
        ("deny contains x if every y in input.a { y == 1 }", false),
        ("deny contains x if { walk(input, [x, _]) }", true),
        ("deny contains object.get(input, \"a\", 1) if input.time", true),
    ];
    let mut wrong = Vec::new();
    for (rules, safe) in cases {
        let text =
            format!("{META}package controls.a\n\n{rules}\n\nwarn contains \"w\" if input.time == \"\"\n");
        let dir = folder(&files(&[("policies/controls/a/a.rego", &text)]));
        let found = check::check(&[dir.path().to_owned()]).unwrap();
        let refused = |f: &check::Finding| f.rule == "unsafe-variable" || f.rule == "not-loaded";
        let ours = !found.iter().any(refused);
        let theirs = opa.as_ref().map(|opa| {
            let out = Command::new(opa).args(["check", "."]).current_dir(dir.path()).output().unwrap();
            out.status.success()
        });
        if ours != safe || theirs.is_some_and(|t| t != safe) {
            wrong.push(format!("{rules}: {safe} expected, here {ours}, opa {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
