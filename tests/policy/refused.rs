//! What a bundle may not contain, and what its author is told.

use std::collections::BTreeMap;

use gatelog::policy::{Bundle, LoadError, testing::evaluate};
use serde_json::json;

fn refused(text: &str) -> String {
    let files = BTreeMap::from([("a.rego".to_owned(), format!("package a\n\n{text}\n"))]);
    evaluate(files, &[], &[]).expect_err("is not refused").to_string()
}

fn accepted(text: &str) {
    let files = BTreeMap::from([("a.rego".to_owned(), format!("package a\n\n{text}\n"))]);
    evaluate(files, &[], &[]).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn unknown_functions_show_their_place() {
    insta::assert_snapshot!(refused("x if {\n\tinput.a\n\tstring.upper(\"x\") == \"X\"\n}"), @r#"
    a.rego:5:2: there is no function `string.upper`
      |
    5 |  string.upper("x") == "X"
      |  ^
    "#);
    insta::assert_snapshot!(refused("x := crypto.sha256(\"a\")"), @r#"
    a.rego:3:6: there is no function `crypto.sha256`
      |
    3 | x := crypto.sha256("a")
      |      ^
      = cryptography is not for policies: ask for a fact instead
    "#);
    insta::assert_snapshot!(refused("import data.lib\n\nx := lib.nothing(1)"), @"
    a.rego:5:6: there is no function `lib.nothing`
      |
    5 | x := lib.nothing(1)
      |      ^
    ");
    insta::assert_snapshot!(refused("x := re_match(\"a\", \"b\")"), @r#"
    a.rego:3:6: there is no function `re_match`
      |
    3 | x := re_match("a", "b")
      |      ^
      = write `regex.match`
    "#);
    insta::assert_snapshot!(refused("x := azure.policy.fn.empty([])"), @"
    a.rego:3:6: there is no function `azure.policy.fn.empty`
      |
    3 | x := azure.policy.fn.empty([])
      |      ^
      = OPA does not have it
    ");
}

/// What OPA's conformance cases showed: another answer, so no answer.
#[test]
fn what_conformance_cases_found_is_refused() {
    insta::assert_snapshot!(refused("x := [v | [_, v] := walk(input)]"), @"
    a.rego:3:21: `walk` as a value is not as OPA has it
      |
    3 | x := [v | [_, v] := walk(input)]
      |                     ^
      = write `walk(x, [path, value])`
    ");
    accepted("x := [v | walk(input, [_, v])]");
    insta::assert_snapshot!(refused("default p.q.f(_) := 1\n\np.q.f(x) := x"), @"
    a.rego:3:9: `default` of a function in an object
      |
    3 | default p.q.f(_) := 1
      |         ^
      = give the function a plain name
    ");
    accepted("default f(_) := 1\n\nf(x) := x");
    let rules = "p[q].r contains s if some q, s in input\n\np.b.r contains 1";
    insta::assert_snapshot!(refused(&format!("{rules}\n\nx := p.b.r")), @"
    a.rego:7:6: `p.b.r`, which rules with fixed and with variable keys fill
      |
    7 | x := p.b.r
      |      ^
      = give the rules with fixed keys another name
    ");
    // Taken as a whole the object is right.
    let text = format!("package a\n\n{rules}\n\nk := \"b\"\n\nx := [p, p[k].r, [q | some q in p]]\n");
    let files = BTreeMap::from([("a.rego".to_owned(), text)]);
    let said = evaluate(files, &[json!({"b": 7, "c": 8})], &["data.a.x".to_owned()]).unwrap();
    let (b, c) = (json!({"r": [1, 7]}), json!({"r": [8]}));
    assert_eq!(said[0][0], Ok(Some(json!([{"b": b, "c": c}, [1, 7], [b, c]]))));
    accepted("p.a contains s if some s in input\n\np.b contains 1");
}

#[test]
fn a_package_may_be_in_several_files() {
    let said = |files: &[(&str, &str)], rules: &[&str]| {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let rules: Vec<String> = rules.iter().map(|r| (*r).to_owned()).collect();
        evaluate(files, &[json!({"n": 1})], &rules)
    };
    let one = (
        "a/one.rego",
        "package a\n\nimport data.b as x\n\nlimit := x.limit\n\ndeny contains \"one\" if input.n < limit\n",
    );
    let two = (
        "a/two.rego",
        "package a\n\nimport input.n as x\n\ndeny contains sprintf(\"two %d\", [limit]) if not x == limit\n",
    );
    let lib = ("b.rego", "package b\n\nlimit := 3\n");
    let reader = (
        "c.rego",
        "package c\n\nimport data.a\nimport data.a as again\n\nfound := a.deny | again.deny\n\nbound := a.limit + x\n\nx := 1\n",
    );
    let rules = ["data.a.deny", "data.c.found", "data.c.bound"];
    let all = said(&[one, two, lib, reader], &rules).unwrap_or_else(|e| panic!("{e}"));
    let both = Ok(Some(json!(["one", "two 3"])));
    assert_eq!(all[0], [both.clone(), both, Ok(Some(json!(4)))]);

    let refused = |files: &[(&str, &str)]| said(files, &[]).expect_err("is not refused").to_string();
    let function = |path| (path, "package a\n\nf(x) := x\n");
    insta::assert_snapshot!(refused(&[function("a/1.rego"), function("a/2.rego")]), @r#"
    a/2.rego:3:1: the function `f` is in a/1.rego too
      |
    3 | f(x) := x
      | ^
      = keep a function in one file
    "#);
    insta::assert_snapshot!(refused(&[one, two, lib, ("c.rego", "package c\n\nimport data.a\n\nall := [r | r := a[_]]\n")]), @r#"
    c.rego:5:18: `data.a` as a whole, with the package `data.a`, which is in several files
      |
    5 | all := [r | r := a[_]]
      |                  ^
      = name the rule, as in `data.a.deny`, or keep the package in one file
    "#);
    insta::assert_snapshot!(refused(&[one, two, lib, ("c.rego", "package c\n\nall[k] := v if some k, v in data\n")]), @r#"
    c.rego:3:29: `data` as a whole, with the package `data.a`, which is in several files
      |
    3 | all[k] := v if some k, v in data
      |                             ^
      = name the rule, as in `data.a.deny`, or keep the package in one file
    "#);
    insta::assert_snapshot!(refused(&[one, ("a/2.rego", "package a\n\nimport data.b\n\ny if { b := 1; b > 2 }\n"), lib]), @r#"
    a/2.rego:5:1: `b` is a variable here and an import above
      |
    5 | y if { b := 1; b > 2 }
      | ^
      = give one of them another name: a package of several files is involved
    "#);
    // A test may use the package of what it tests, and import something else under a name.
    let test = ("a/one_test.rego", "package a\n\nimport data.d as x\n\ntest_x if limit == x.limit + 1\n");
    let all =
        said(&[one, test, lib, ("d.rego", "package d\n\nlimit := 2\n")], &["data.a.limit", "data.a.test_x"]);
    assert_eq!(all.unwrap_or_else(|e| panic!("{e}"))[0], [Ok(Some(json!(3))), Ok(Some(json!(true)))]);
}

#[test]
fn chance_clock_and_network_are_forbidden() {
    insta::assert_snapshot!(refused("x := http.send({\"method\": \"get\", \"url\": \"a\"})"), @r#"
    a.rego:3:6: `http.send` is not allowed: a verdict must be reproducible; facts are fetched before judging
      |
    3 | x := http.send({"method": "get", "url": "a"})
      |      ^
    "#);
    for call in [
        "rand.intn(\"a\", 3)",
        "opa.runtime()",
        "uuid.rfc4122(\"a\")",
        "net.lookup_ip_addr(\"a\")",
        "rego.parse_module(\"a\", \"b\")",
    ] {
        assert!(refused(&format!("x := {call}")).contains("is not allowed"), "{call}");
    }
    accepted("x := time.now_ns()");
}

#[test]
fn functions_need_their_arguments() {
    insta::assert_snapshot!(refused("f(x) := x\n\ny := f(1, 2)"), @"
    a.rego:5:6: `f` takes 1 arguments, not 2
      |
    5 | y := f(1, 2)
      |      ^
      = write `x := f(…)` for its result
    ");
    insta::assert_snapshot!(refused("y := count()"), @"
    a.rego:3:6: `count` takes 1 arguments, not 0
      |
    3 | y := count()
      |      ^
    ");
    accepted("y if walk(input, [p, v])");
}

#[test]
fn recursion_is_refused() {
    insta::assert_snapshot!(refused("f(x) := f(x + 1)"), @"
    a.rego:3:1: recursion: a.f → a.f
      |
    3 | f(x) := f(x + 1)
      | ^
      = Rego has no recursion; OPA refuses it too
    ");
    insta::assert_snapshot!(refused("r if s\n\ns if t\n\nt if not r"), @"
    a.rego:3:1: recursion: a.r → a.s → a.t → a.r
      |
    3 | r if s
      | ^
      = Rego has no recursion; OPA refuses it too
    ");
    insta::assert_snapshot!(refused("r contains x if some x in data.a[input.k]"), @"
    a.rego:3:1: recursion: a.r → a.r
      |
    3 | r contains x if some x in data.a[input.k]
      | ^
      = Rego has no recursion; OPA refuses it too
    ");
    // A name of a local variable is no use of the rule.
    accepted("reviews := f(input.reviews)\n\nf(reviews) := count(reviews)");
}

#[test]
fn chains_are_bounded() {
    let chain = |n: usize| (0..n).map(|i| format!("r{i} if r{}\n", i + 1)).collect::<String>();
    insta::assert_snapshot!(refused(&format!("{}r1200 if true", chain(1200))), @"
    a.rego:203:1: rules that use each other in too long a chain
        |
    203 | r200 if r201
        | ^
        = at most 1000 rules deep: shorten the chain
    ");
    accepted(&format!("{}r900 if true", chain(900)));
}

#[test]
fn what_regorus_understands_otherwise_is_refused() {
    insta::assert_snapshot!(refused("x if not input.xs[_] == 1"), @"
    a.rego:3:19: `_` inside `not`
      |
    3 | x if not input.xs[_] == 1
      |                   ^
      = say it as a rule or function of its own and negate that
    ");
    insta::assert_snapshot!(refused("x if {\n\tsome i\n\tnot input.xs[i] == 1\n}"), @"
    a.rego:5:15: nothing binds `i` outside of `not`
      |
    5 |  not input.xs[i] == 1
      |               ^
      = say it as a rule or function of its own and negate that
    ");
    insta::assert_snapshot!(refused("x if 1, 2 in input.xs"), @"
    a.rego:3:6: `k, v in c` as a condition
      |
    3 | x if 1, 2 in input.xs
      |      ^
      = write `c[k] == v`, or `some k, v in c`
    ");
    insta::assert_snapshot!(refused("x := input.a in input.b"), @"
    a.rego:3:6: `v in c` as a value, with a part that may be undefined
      |
    3 | x := input.a in input.b
      |      ^
      = give the part a name first: `c := …`, then `x := v in c`
    ");
    insta::assert_snapshot!(refused("x if { {1} < input.b }"), @"
    a.rego:3:8: a set or object compared by order
      |
    3 | x if { {1} < input.b }
      |        ^
      = compare their `count`s
    ");
    insta::assert_snapshot!(refused("x if every v in input.xs { some v in [1] }"), @"
    a.rego:3:33: `v` is declared again inside `every`
      |
    3 | x if every v in input.xs { some v in [1] }
      |                                 ^
      = give one of them another name
    ");
    insta::assert_snapshot!(refused("f(x) := x\n\ntest_x if f(1) == 2 with data.a.f as 2"), @"
    a.rego:5:26: `with` in place of a function of the policies
      |
    5 | test_x if f(1) == 2 with data.a.f as 2
      |                          ^
      = put other `input` or `data` in place, which the function reads
    ");
    insta::assert_snapshot!(refused("x := yaml.unmarshal(\"a\")"), @r#"
    a.rego:3:6: `yaml.unmarshal` is not allowed: YAML has dialects; write `json.marshal` and `json.unmarshal`
      |
    3 | x := yaml.unmarshal("a")
      |      ^
    "#);
}

#[test]
fn what_is_no_rego_is_refused() {
    insta::assert_snapshot!(refused("deny contains x {\n\tx := 1\n}"), @"
    a.rego:3:17: `if` keyword is required before rule body
      |
    3 | deny contains x {
      |                 ^
    ");
    insta::assert_snapshot!(refused("x if y == input.a"), @"
    a.rego:3:6: use of undefined variable `y` is unsafe
      |
    3 | x if y == input.a
      |      ^
    ");
    insta::assert_snapshot!(refused("f(\"a\", 1)"), @r#"
    a.rego:3:1: rule must have a body or assignment
      |
    3 | f("a", 1)
      | ^
      = write `f("a") := true`
    "#);
}

#[test]
fn rules_and_data_do_not_meet() {
    let files = BTreeMap::from([
        ("a.rego".to_owned(), "package a.b\n\nx := 1\n".to_owned()),
        ("a/data.json".to_owned(), "{\"b\": {\"x\": 2}}".to_owned()),
    ]);
    insta::assert_snapshot!(evaluate(files, &[], &[]).unwrap_err().to_string(), @"
    a.rego:3:1: the rule stands where a data file has `data.a.b.x`
      |
    3 | x := 1
      | ^
    ");
}

// --- folders

fn load(files: &[(&str, &str)]) -> Result<Bundle, LoadError> {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = dir.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    Bundle::load(dir.path())
}

const CONTROL: &str = "package controls.c\n\ndeny contains \"no\" if input.bad\n";

#[test]
fn a_bundle_needs_controls_that_can_say_something() {
    insta::assert_snapshot!(load(&[("a.rego", "package a\n")]).unwrap_err().to_string(), @"
    policies: there is no control: no package `controls.<name>`
      = a gate without controls would allow everything
    ");
    insta::assert_snapshot!(load(&[("a.rego", "package controls.c\n\ndenny contains 1\n")]).unwrap_err().to_string(), @"
    a.rego:1:1: this control can say nothing
      |
    1 | package controls.c
      | ^
      = it needs one of the rules deny, violation, warn, pending, error, allow
    ");
    let same = "# METADATA\n# custom:\n#   id: X-1\n";
    let two = [
        ("a.rego", format!("{same}package controls.a\n\ndeny contains 1 if false\n")),
        ("b.rego", format!("{same}package controls.b\n\ndeny contains 1 if false\n")),
    ];
    let two: Vec<(&str, &str)> = two.iter().map(|(p, t)| (*p, t.as_str())).collect();
    insta::assert_snapshot!(load(&two).unwrap_err().to_string(), @"b.rego: `controls.a` has the id `X-1` too");
}

#[test]
fn the_digest_is_of_what_serves() {
    let plain = load(&[("c/c.rego", CONTROL), ("data.yaml", "a: 1")]).unwrap();
    let tests = load(&[
        ("data.yaml", "a: 1"),
        ("c/c.rego", CONTROL),
        ("c/c_test.rego", "package c_test\n"),
        ("README.md", "x"),
        (".git/x.rego", "!"),
    ])
    .unwrap();
    assert_eq!(plain.digest(), tests.digest());
    assert_eq!(plain.archive(), tests.archive());
    let again = Bundle::from_archive(&plain.archive()).unwrap();
    assert_eq!(again.digest(), plain.digest());
    for other in
        [[("c/c.rego", CONTROL), ("data.yaml", "a: 2")], [("c/d.rego", CONTROL), ("data.yaml", "a: 1")]]
    {
        assert_ne!(load(&other).unwrap().digest(), plain.digest());
    }
}

#[test]
fn damaged_archives_are_refused() {
    let archive = load(&[("c.rego", CONTROL), ("data.yaml", "a: 1")]).unwrap().archive();
    for n in 0..archive.len() {
        assert!(Bundle::from_archive(&archive[..n]).is_err(), "cut at {n}");
    }
    let mut huge = archive.clone();
    let at = huge.iter().position(|b| *b == b'\n').unwrap() + 1;
    huge[at] = 0xff;
    assert!(Bundle::from_archive(&huge).is_err());
}

#[cfg(unix)]
#[test]
fn links_are_followed_inside_only() {
    use std::os::unix::fs::symlink;
    let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("x.rego"), CONTROL).unwrap();
    // As a Kubernetes mount looks.
    std::fs::create_dir(dir.path().join("..2026")).unwrap();
    std::fs::write(dir.path().join("..2026/c.rego"), CONTROL).unwrap();
    symlink("..2026", dir.path().join("..data")).unwrap();
    symlink("..data/c.rego", dir.path().join("c.rego")).unwrap();
    Bundle::load(dir.path()).unwrap();

    symlink(outside.path().join("x.rego"), dir.path().join("d.rego")).unwrap();
    insta::assert_snapshot!(Bundle::load(dir.path()).unwrap_err().to_string(), @"
    d.rego: a link that leads out of the folder
      = copy the file
    ");
    std::fs::remove_file(dir.path().join("d.rego")).unwrap();
    symlink(outside.path(), dir.path().join("more")).unwrap();
    insta::assert_snapshot!(Bundle::load(dir.path()).unwrap_err().to_string(), @"
    more: a link to a folder
      = put the folder itself there
    ");
}

#[test]
fn odd_files_are_refused() {
    let e = |files: &[(&str, &str)]| load(files).unwrap_err().to_string();
    insta::assert_snapshot!(e(&[("c.rego", CONTROL), (".hidden.rego", "x")]), @"
    .hidden.rego: a hidden policy file
      = OPA would load it: rename or remove it
    ");
    assert!(e(&[("c.rego", CONTROL), ("big.json", &" ".repeat(2 << 20))]).contains("larger than"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.rego"), b"package a\n# \xff\n").unwrap();
    assert!(Bundle::load(dir.path()).unwrap_err().to_string().contains("not UTF-8"));
    assert!(
        Bundle::load(std::path::Path::new("/nonexistent/policies"))
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}
