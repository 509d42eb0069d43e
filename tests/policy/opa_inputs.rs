//! The shipped policies under OPA: the same tests pass, and mutated inputs get the same answers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use crate::common::{
    foreign::{Tool, foreign},
    in_parallel,
};
use crate::opa_support::{
    Chance, ask_opa, cases, cut, equal, eval, folder,
    inputs::{files, inputs_of_tests, mutate},
    same,
};
use gatelog::policy::{
    Bundle, Input, Judge,
    testing::{self, Outcome, evaluate},
};
use serde_json::{Value, json};

/// What gatelog reads of a control.
const RULES: &[&str] = &[
    "deny",
    "violation",
    "warn",
    "pending",
    "error",
    "allow",
    "violations",
    "applies",
    "skip_reason",
    "needs",
    "valid_until",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The shipped policies and the fixtures that stand for somebody's own.
fn folders() -> Vec<PathBuf> {
    [root().join("policies"), root().join("tests/fixtures/policies")]
        .into_iter()
        .filter(|dir| dir.is_dir())
        .collect()
}

#[test]
fn tests_end_the_same() {
    let Some(opa) = foreign(Tool::Opa) else { return };
    for dir in folders() {
        let ours = testing::run(&dir, None).unwrap_or_else(|e| panic!("{e}"));
        let ours: BTreeMap<String, bool> =
            ours.tests.iter().map(|t| (t.name.clone(), t.outcome == Outcome::Pass)).collect();
        let out = Command::new(&opa)
            .args(["test", "--timeout", "120s", "--format", "json"])
            .arg(&dir)
            .output()
            .unwrap();
        let said: Vec<Value> = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", cut(&String::from_utf8_lossy(&out.stderr))));
        let passed =
            |t: &Value| t.get("fail").is_none() && t.get("error").is_none() && t.get("skip").is_none();
        let theirs: BTreeMap<String, bool> = said
            .iter()
            .map(|t| {
                (format!("{}.{}", t["package"].as_str().unwrap(), t["name"].as_str().unwrap()), passed(t))
            })
            .collect();
        let different: Vec<_> = ours.iter().filter(|(name, pass)| theirs.get(*name) != Some(pass)).collect();
        assert!(different.is_empty() && ours.len() == theirs.len(), "{}: {different:?}", dir.display());
        assert!(ours.values().all(|pass| *pass), "{}", dir.display());
    }
}

/// In a judge process and here: the same bytes, about everything that the tests ask and mutations of it.
#[tokio::test(flavor = "multi_thread")]
async fn judge_processes_give_the_same_bytes() {
    let program = Path::new(env!("CARGO_BIN_EXE_gatelog"));
    for dir in folders() {
        let bundle = Arc::new(Bundle::load(&dir).unwrap_or_else(|e| panic!("{e}")));
        let judge = Judge::in_processes_of(program, 2).unwrap();
        judge.prepare(&bundle).await.unwrap();
        let seeds = inputs_of_tests(&dir);
        let mut chance = Chance::new(11);
        let mutated: Vec<Value> =
            (0..cases(50)).map(|_| mutate(&seeds[chance.below(seeds.len())], &mut chance)).collect();
        let whole = json!({"time": "2026-11-24T15:00:00.000000Z", "event": {}, "facts": {"missing": []}});
        let mut judged = 0;
        for document in seeds.iter().chain(&mutated) {
            let mut document = document.clone();
            for (key, value) in whole.as_object().unwrap() {
                document[key] = document.get(key).unwrap_or(value).clone();
            }
            // A mutation may take away what an input must have.
            let Ok(input) = Input::from_json(document) else { continue };
            let input = Arc::new(input);
            let here = {
                let (bundle, input) = (bundle.clone(), input.clone());
                tokio::task::spawn_blocking(move || (bundle.judge(&input).to_bytes(), bundle.needs(&input)))
            };
            let there = judge.judge(bundle.clone(), input.clone()).await;
            let needs = judge.needs(bundle.clone(), input.clone()).await;
            assert_eq!((there.to_bytes(), needs), here.await.unwrap(), "{}", input.document());
            judged += 1;
        }
        println!("{}: {judged} inputs", dir.display());
        assert!(judged * 2 > seeds.len(), "{judged} of {}", seeds.len());
    }
}

#[test]
fn mutated_inputs_get_the_same_answers() {
    let Some(opa) = foreign(Tool::Opa) else { return };
    for dir in folders() {
        compare(&opa, &dir);
    }
}

fn compare(opa: &Path, dir: &Path) {
    let mut files = files(dir);
    files.retain(|path, _| {
        !path.ends_with("_test.rego") && [".rego", ".yaml", ".yml", ".json"].iter().any(|e| path.ends_with(e))
    });
    let seeds = inputs_of_tests(dir);
    assert!(!seeds.is_empty(), "no inputs in the tests of {}", dir.display());
    let mut chance = Chance::new(7);
    let mutated = (0..cases(200)).map(|_| mutate(&seeds[chance.below(seeds.len())], &mut chance));
    let inputs: Vec<Value> = seeds.iter().cloned().chain(mutated).collect();
    let rules = rules(dir);
    let chunks: Vec<&[Value]> = inputs.chunks(100).collect();
    let asked = in_parallel(&chunks, |chunk| {
        let ours = evaluate(files.clone(), chunk, &rules).unwrap_or_else(|e| panic!("{e}"));
        (ours, ask_opa(opa, &files, chunk, &rules))
    });
    let (mut wrong, mut errors, mut answers) = (Vec::new(), 0, 0);
    for (chunk, (ours, theirs)) in chunks.iter().zip(&asked) {
        for ((input, ours), theirs) in chunk.iter().zip(ours).zip(theirs) {
            for (rule, ours) in rules.iter().zip(ours) {
                let theirs = theirs.as_ref().map(|t| t[rule].get(0).cloned());
                answers += 1;
                match (ours, theirs) {
                    (Err(_), _) => errors += 1,
                    // OPA itself fails on this input.
                    (Ok(o), None) => wrong.push(format!("{rule}\ninput {input}\nOPA fails\nours {o:?}")),
                    (Ok(o), Some(t)) if equal(o.as_ref(), t.as_ref()) => {}
                    (Ok(o), Some(t)) => wrong.push(format!("{rule}\ninput {input}\nOPA {t:?}\nours {o:?}")),
                }
            }
        }
    }
    println!(
        "{}: {} inputs ({} from tests), {answers} answers, {errors} errors",
        dir.display(),
        inputs.len(),
        seeds.len()
    );
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(3)].join("\n\n"));
    assert!(errors * 2 < answers, "{errors} errors of {answers}");
}

/// `data.controls.<name>.<rule>` that exist.
fn rules(dir: &Path) -> Vec<String> {
    let bundle = Bundle::load(dir).unwrap_or_else(|e| panic!("{e}"));
    let text: BTreeMap<String, String> = files(dir);
    let declared = |package: &str, rule: &str| {
        let head =
            |l: &str| l.strip_prefix("default ").unwrap_or(l).split([' ', '(', '[']).next() == Some(rule);
        text.values()
            .filter(|t| t.lines().any(|l| l.trim_end() == format!("package {package}")))
            .any(|t| t.lines().any(head))
    };
    let mut out = Vec::new();
    for control in bundle.controls() {
        for rule in RULES.iter().filter(|rule| declared(&control.package, rule)) {
            out.push(format!("data.{}.{rule}", control.package));
        }
    }
    out
}

#[test]
fn data_files_are_merged_the_same() {
    let Some(opa) = foreign(Tool::Opa) else { return };
    let files = BTreeMap::from(
        [
            ("data.yaml", "top: 1\ndeep: {a: {b: [1, 2.5, -3, 1e3]}}"),
            ("x/data.json", "{\"k\": {\"v\": null}, \"big\": 9007199254740993}"),
            ("x/more.yml", "k: {w: yes}\non: off\nday: 2026-01-01\nhex: 0x1F\ntilde: ~\nempty:\nfold: >\n  a\n  b\nquoted: '010'"),
            ("x/y/list.json", "[1, {\"a\": 2}]"),
            ("a.b/z.yaml", "anchor: &a {p: 1}\nuse: *a\nplus: +5\ndot: .5\n\"true\": t"),
            ("q.rego", "package q\n\nv := data.top"),
        ]
        .map(|(p, t)| (p.to_owned(), t.to_owned())),
    );
    let theirs = eval(&opa, folder(&files).path(), &json!({}), "data");
    let mut asking = files.clone();
    asking.insert(
        "ask.rego".to_owned(),
        "package ask\n\nr := {k: data[k] | some k in [\"top\", \"deep\", \"x\", \"a.b\"]}".to_owned(),
    );
    let e = evaluate(asking.clone(), &[], &[]).unwrap_err().to_string();
    assert!(e.contains("recursion"), "{e}");
    let text = "package ask\n\nr := {\"top\": data.top, \"deep\": data.deep, \"x\": data.x, \"a.b\": data[\"a.b\"], \"q\": data.q.v}";
    asking.insert("ask.rego".to_owned(), text.to_owned());
    let ours = evaluate(asking, &[json!({})], &["data.ask.r".to_owned()]).unwrap_or_else(|e| panic!("{e}"));
    let ours = ours[0][0].clone().unwrap().unwrap();
    for key in ["top", "deep", "x", "a.b"] {
        assert!(same(&ours[key], &theirs[key]), "{key}\nOPA {}\nours {}", theirs[key], ours[key]);
    }
}
