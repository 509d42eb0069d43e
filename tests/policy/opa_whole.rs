//! The same answer as OPA, or none: generated rules and probes, asked of both.
//!
//! An error of ours is fine where OPA has an answer (a control that errors blocks), another answer
//! never is.

use std::{collections::BTreeMap, path::Path};

use crate::common::foreign::{Tool, foreign};
use crate::opa_support::{Chance, cases, cut, drop_refused, eval, folder, refused, same, try_eval};
use gatelog::policy::testing::evaluate;
use serde_json::{Value, json};

// --- generated rules

/// Writes one package. Functions and rules it may call are in the same file.
struct Writer<'c> {
    chance: &'c mut Chance,
    vars: Vec<String>,
    next: usize,
}

const HELPERS: &str = r#"
f(x) := x

small(x) if x < 3

named(u) := u.login if u.id > 0

blocked(x) if x in ["abc", 3, "ann"]

maybe := input.missing

sure := 7

default flag := false

flag if input.b

set contains x if some x in input.xs

obj[k] := v if some k, v in input.o

pick(x) := x.a if {
	is_object(x)
} else := x[0] if {
	x != 3
} else := "none"

default size(_) := -1

size(x) := count(x) if not is_null(x)

nested.deep contains x if some x in input.ss

both(x, y) if {
	not small(x)
	not y == 3
}

both("abc", _) := true
"#;

impl Writer<'_> {
    fn fresh(&mut self) -> String {
        self.next += 1;
        format!("v{}", self.next)
    }

    fn path(&mut self) -> String {
        let known = [
            "input.s",
            "input.n",
            "input.b",
            "input.nul",
            "input.xs",
            "input.ss",
            "input.o",
            "input.o.a",
            "input.o.b.c",
            "input.users[0].login",
            "input.users[1].id",
            "input.xs[1]",
        ];
        let unknown = [
            "input.missing",
            "input.o.zz",
            "input.users[7].login",
            "input.users[1].email",
            "input.s.x",
            "input.xs[9]",
            "data.nothing",
            "maybe",
            "obj.q",
            "input.o[input.zz]",
            "input.o[input.s]",
        ];
        match self.chance.below(7) {
            0..3 => self.chance.pick(&known).to_owned(),
            3..5 => self.chance.pick(&unknown).to_owned(),
            5 => self.chance.pick(&["sure", "flag", "set", "obj", "obj.a", "set[2]"]).to_owned(),
            _ => match self.vars.len() {
                0 => "input.n".to_owned(),
                n => self.vars[self.chance.below(n)].clone(),
            },
        }
    }

    fn term(&mut self, depth: usize) -> String {
        if depth == 0 || self.chance.one_in(3) {
            return match self.chance.below(4) {
                0 => self
                    .chance
                    .pick(&["1", "3", "\"abc\"", "\"ann\"", "true", "false", "null", "`a`", "[]", "{}"])
                    .to_owned(),
                _ => self.path(),
            };
        }
        let d = depth - 1;
        match self.chance.below(24) {
            0 => format!("f({})", self.term(d)),
            1 => format!("count({})", self.path()),
            2 => format!("lower({})", self.path()),
            3 => format!("object.get({}, \"a\", {})", self.path(), self.term(d)),
            4 => format!("[{}, {}]", self.term(d), self.term(d)),
            5 => format!("{{\"k\": {}}}", self.term(d)),
            6 => format!("{{{}, 1}}", self.term(d)),
            7 => format!("({} + 1)", self.path()),
            8 => format!("({} - {})", self.path(), self.path()),
            9 => {
                let coll = self.path();
                let v = self.fresh();
                let body = self.inside(&v, d);
                format!("[{v} | some {v} in {coll}; {body}]")
            }
            10 => {
                let coll = self.path();
                let v = self.fresh();
                let body = self.inside(&v, d);
                format!("{{{v} | some {v} in {coll}; {body}}}")
            }
            11 => format!("named({})", self.path()),
            12 => format!("({} == {})", self.path(), self.term(d)),
            13 => format!("pick({})", self.term(d)),
            14 => format!("size({})", self.path()),
            15 => format!("-1 + {}", self.path()),
            16 => {
                let (k, v) = (self.fresh(), self.fresh());
                let coll = self.path();
                self.vars.push(k.clone());
                let body = self.inside(&v, d);
                self.vars.retain(|x| *x != k);
                format!("{{{v}: {k} | some {k}, {v} in {coll}; {body}}}")
            }
            17 => format!("sprintf(\"%v\", [{}])", self.term(d)),
            18 => format!("({} - {{1, 2}})", self.chance.pick(&["set", "nested.deep", "{1, 3}"])),
            19 => format!(
                "({} | {})",
                self.chance.pick(&["set", "nested.deep", "{1, 3}"]),
                self.chance.pick(&["set", "maybe", "{7}"])
            ),
            20 => format!(
                "({} in {})",
                self.chance.pick(&["1", "\"a\"", "flag"]),
                self.chance.pick(&["set", "[1, \"a\"]", "{\"k\": 1}"])
            ),
            21 => format!(
                "object.union({}, {{\"z\": {}}})",
                self.chance.pick(&["input.o", "obj", "{}"]),
                self.term(d)
            ),
            22 => format!(
                "{}[_]",
                self.chance.pick(&["input.xs", "input.users", "input.o", "set", "nested.deep"])
            ),
            _ => format!("concat(\",\", [{}, \"x\"])", self.path()),
        }
    }

    /// A statement in which `v` is bound.
    fn inside(&mut self, v: &str, depth: usize) -> String {
        self.vars.push(v.to_owned());
        let out = self.statement(depth);
        self.vars.truncate(self.vars.iter().position(|x| x == v).unwrap_or(0));
        out
    }

    /// Something that holds or does not.
    fn condition(&mut self, depth: usize) -> String {
        let d = depth.saturating_sub(1);
        match self.chance.below(18) {
            0 => format!("blocked({})", self.term(d)),
            1 => format!("small({})", self.term(d)),
            2 => format!("{} in {}", self.term(d), self.path()),
            3 => format!("{}[{}]", self.chance.pick(&["set", "obj", "input.o", "input.xs"]), self.term(d)),
            4 => format!("{} == {}", self.term(d), self.term(d)),
            5 => format!("{} != {}", self.term(d), self.term(d)),
            6 => format!("{} > {}", self.term(d), self.term(d)),
            7 => format!("count({}) > {}", self.path(), self.chance.below(4)),
            8 => format!(
                "startswith({}, {})",
                self.path(),
                self.chance.pick(&["\"a\"", "input.s", "input.zz"])
            ),
            9 => format!("{} = {}", self.path(), self.term(d)),
            10 => self.path(),
            11 => format!("is_string({})", self.term(d)),
            12 => format!(
                "{} & {} == set()",
                self.chance.pick(&["set", "{1, 2}"]),
                self.chance.pick(&["set", "{3}", "maybe"])
            ),
            13 => format!(
                "{}[{}] == {}",
                self.chance.pick(&["input.xs", "input.o", "set"]),
                self.term(0),
                self.term(0)
            ),
            14 => format!("f({}) == {}", self.term(d), self.term(d)),
            15 => format!("both({}, {})", self.term(d), self.term(d)),
            16 => format!("nested.deep[{}]", self.term(d)),
            _ => self.term(d),
        }
    }

    fn statement(&mut self, depth: usize) -> String {
        let d = depth.saturating_sub(1);
        let with = |w: &mut Self| match w.chance.below(8) {
            0 => format!(" with input.s as {}", w.term(0)),
            1 => format!(" with input as {{\"s\": {}, \"xs\": [1]}}", w.path()),
            _ => String::new(),
        };
        match self.chance.below(13) {
            0..4 => {
                let c = self.condition(depth);
                let w = with(self);
                format!("not {c}{w}")
            }
            4 => {
                let c = self.condition(depth);
                let w = with(self);
                format!("{c}{w}")
            }
            5 if depth > 0 => {
                let coll = self.path();
                let (k, v) = (self.fresh(), self.fresh());
                self.vars.push(k.clone());
                let body = self.inside(&v, d);
                self.vars.retain(|x| *x != k);
                match self.chance.one_in(2) {
                    true => format!("every {k}, {v} in {coll} {{ {body} }}"),
                    false => format!("every {v} in {coll} {{ {} }}", body.replace(&k, &v)),
                }
            }
            6 => {
                let t = self.term(d);
                let v = self.fresh();
                self.vars.push(v.clone());
                format!("{v} := {t}")
            }
            7 => {
                let coll =
                    self.chance.pick(&["input.xs", "input.ss", "input.o", "input.users", "set"]).to_owned();
                let v = self.fresh();
                self.vars.push(v.clone());
                format!("some {v} in {coll}")
            }
            8 => {
                let (k, v) = (self.fresh(), self.fresh());
                self.vars.extend([k.clone(), v.clone()]);
                match self.chance.below(4) {
                    0 => format!(
                        "some {k}, {v} in {}",
                        self.chance.pick(&["input.xs", "input.o", "obj", "input.users"])
                    ),
                    1 => format!("some {{\"login\": {k}, \"id\": {v}}} in input.users"),
                    2 => format!("[{k}, {v}] := [{}, {}]", self.term(0), self.term(0)),
                    _ => format!(
                        "{v} := {}[{k}]",
                        self.chance.pick(&["input.xs", "input.o", "input.users", "obj"])
                    ),
                }
            }
            9 => {
                let v = self.fresh();
                let t = self.term(d);
                self.vars.push(v.clone());
                format!("{v} = {t}")
            }
            _ => self.condition(depth),
        }
    }

    fn rule(&mut self) -> String {
        let lines = 1 + self.chance.below(3);
        let body: Vec<String> = (0..lines).map(|_| self.statement(2)).collect();
        match self.chance.below(7) {
            0 => format!("r if {}", {
                self.vars.clear();
                self.statement(2)
            }),
            1 => format!("r := 1 if {{\n\t{}\n}} else := 2 if {}", body.join("\n\t"), {
                self.vars.clear();
                self.statement(1)
            }),
            2 => {
                let v = self.vars.last().cloned().unwrap_or_else(|| "1".to_owned());
                format!("r contains {v} if {{ {} }}", body.join("; "))
            }
            3 => format!("r := count([1 | {}])", body.join("; ")),
            4 => {
                let (a, b) = (self.term(2), {
                    self.vars.clear();
                    self.term(2)
                });
                format!(
                    "r := {a} if {{\n\t{}\n}} else := {b} if {} else := \"end\"",
                    body.join("\n\t"),
                    self.statement(1)
                )
            }
            _ => format!("r if {{\n\t{}\n}}", body.join("\n\t")),
        }
    }
}

fn inputs() -> Vec<Value> {
    vec![
        json!({"s": "abc", "n": 3, "b": true, "nul": null, "xs": [1, 2, 3], "ss": ["a", "b"],
            "o": {"a": 1, "b": {"c": 2}, "abc": 5}, "users": [{"login": "ann", "id": 1}, {"login": "bob"}]}),
        json!({"s": "ann", "n": 0, "b": false, "xs": [], "ss": ["abc"], "o": {}, "users": []}),
        json!({}),
    ]
}

/// What came of a batch of generated rules.
#[derive(Default)]
struct Tally {
    asked: usize,
    refused: usize,
    errors: usize,
    reasons: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

#[test]
fn generated_rules_mean_the_same() {
    let Some(opa) = foreign(Tool::Opa) else { return };
    let mut chance = Chance::new(1);
    let mut tally = Tally::default();
    for _ in 0..cases(3) {
        batch(&opa, &mut chance, &mut tally);
    }
    let Tally { asked, refused, errors, reasons, wrong } = tally;
    println!("{asked} rules under {} inputs, {refused} refused, {errors} errors", inputs().len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(8)].join("\n"));
    assert!(refused * 10 < asked, "refused {refused} of {asked}: {reasons:?}");
    assert!(errors < asked, "{errors} errors");
}

fn batch(opa: &Path, chance: &mut Chance, tally: &mut Tally) {
    let mut files = BTreeMap::new();
    for i in 0..300 {
        let mut writer = Writer { chance, vars: vec![], next: 0 };
        let rule = writer.rule();
        files.insert(format!("p{i}.rego"), format!("package p{i}\n{HELPERS}\n{rule}\n"));
    }
    drop_refused(opa, &mut files);
    tally.asked += files.len();
    // What we refuse must not keep the others from loading.
    files.retain(|path, text| match evaluate(BTreeMap::from([(path.clone(), text.clone())]), &[], &[]) {
        Ok(_) => true,
        Err(e) => {
            tally.refused += 1;
            *tally.reasons.entry(e.message).or_default() += 1;
            false
        }
    });
    let rules: Vec<String> =
        files.keys().map(|f| format!("data.{}.r", f.trim_end_matches(".rego"))).collect();
    let ours = evaluate(files.clone(), &inputs(), &rules).unwrap_or_else(|e| panic!("{e}"));
    let mut left = files.clone();
    for (input, ours) in inputs().iter().zip(ours) {
        // A rule with two values stops OPA: it has no answer, so it is no case.
        let theirs = loop {
            match try_eval(opa, folder(&left).path(), input, "data") {
                Ok(value) => break value,
                Err((file, why)) => assert!(left.remove(&file).is_some(), "{why}"),
            }
        };
        for (rule, ours) in rules.iter().zip(ours) {
            let name = rule.split('.').nth(1).unwrap_or_default();
            if !left.contains_key(&format!("{name}.rego")) {
                continue;
            }
            let theirs = theirs.pointer(&rule["data".len()..].replace('.', "/"));
            match &ours {
                Err(_) => tally.errors += 1,
                Ok(None) if theirs.is_none() => {}
                Ok(Some(o)) if theirs.is_some_and(|t| same(o, t)) => {}
                Ok(o) => {
                    let text =
                        files[&format!("{}.rego", rule.split('.').nth(1).unwrap())].replace(HELPERS, "");
                    tally.wrong.push(format!("{text}input {input}\nOPA {theirs:?}\nours {o:?}\n"));
                }
            }
        }
    }
}

// --- probes of built-in functions

/// Asks both for each expression. `exact`: an error of ours must be OPA's (which shows as undefined).
fn probe(what: &str, expressions: &[String], exact: bool) {
    let Some(opa) = foreign(Tool::Opa) else { return };
    let mut lines: BTreeMap<usize, &String> = expressions.iter().enumerate().collect();
    let (mut refused_by_opa, mut refused_here) = (0, 0);
    let text = loop {
        let rules = lines.iter().map(|(i, e)| format!("r{i} := {e}\n"));
        let text: String = std::iter::once("package p\n".to_owned()).chain(rules).collect();
        let files = BTreeMap::from([("p.rego".to_owned(), text)]);
        // Line 1 is the package.
        let numbers: Vec<usize> = lines.keys().copied().collect();
        let bad: Vec<usize> = match evaluate(files.clone(), &[], &[]) {
            Err(e) => {
                refused_here += 1;
                if std::env::var_os("GATELOG_SHOW").is_some() {
                    println!("{e}");
                }
                vec![e.place.map_or(0, |p| p.line as usize)]
            }
            Ok(_) => {
                let dir = folder(&files);
                let bad: Vec<usize> = refused(&opa, dir.path()).into_iter().map(|(_, line)| line).collect();
                refused_by_opa += bad.len();
                bad
            }
        };
        if bad.is_empty() {
            break files;
        }
        for line in bad {
            lines.remove(&numbers[line - 2]);
        }
    };
    let rules: Vec<String> = lines.keys().map(|i| format!("data.p.r{i}")).collect();
    let ours = evaluate(text.clone(), &[json!({})], &rules).unwrap_or_else(|e| panic!("{e}"));
    let theirs = eval(&opa, folder(&text).path(), &json!({}), "data.p");
    let (mut wrong, mut errors) = (Vec::new(), 0);
    for ((i, expression), ours) in lines.iter().zip(&ours[0]) {
        let theirs = theirs.get(format!("r{i}"));
        let right = match ours {
            Err(_) => {
                errors += usize::from(theirs.is_some());
                !exact || theirs.is_none()
            }
            Ok(None) => theirs.is_none(),
            Ok(Some(o)) => theirs.is_some_and(|t| same(o, t)),
        };
        if !right {
            let theirs = theirs.map_or("undefined".to_owned(), Value::to_string);
            wrong.push(cut(&format!("{expression}\n    OPA {theirs}, ours {ours:?}")));
        }
    }
    println!(
        "{what}: {} probes; refused {refused_by_opa} by OPA and {refused_here} here; {errors} errors where OPA has an answer",
        rules.len()
    );
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}

fn quoted(s: &str) -> String {
    json!(s).to_string()
}

fn word(chance: &mut Chance, from: &[&str], most: usize) -> String {
    let n = chance.below(most + 1);
    (0..n).map(|_| chance.pick(from)).collect()
}

#[test]
fn globs_match_the_same() {
    let mut chance = Chance::new(2);
    let fixed = [
        ("src/**.rs", "src/a/b.rs"),
        ("**.lock", "a/b.lock"),
        ("**/Cargo.lock", "Cargo.lock"),
        ("a/**/b", "a/b"),
        ("**/*.rs", "lib.rs"),
        ("?", "ü"),
        ("[^a]", "^"),
        ("[!a]", "b"),
        ("{a,b}/*", "b/x"),
        ("a***b", "a/x/b"),
    ];
    let mut probes: Vec<String> =
        fixed.iter().map(|(p, t)| format!("glob.match({}, [\"/\"], {})", quoted(p), quoted(t))).collect();
    let parts = [
        "a", "b", "/", ".", "*", "**", "?", "[", "]", "{", "}", ",", "!", "-", "\\", "ü", "[ab]", "{a,b}",
        "[!a]", "[a-c]",
    ];
    let text = ["a", "b", "c", "/", ".", "ü", "-", "*", "{", ",", "\n"];
    for _ in 0..cases(700) {
        let delimiters = chance.pick(&["[]", "[\"/\"]", "null", "[\"/\", \".\"]", "[\"ab\"]"]);
        let pattern = word(&mut chance, &parts, 6);
        let text = word(&mut chance, &text, 5);
        probes.push(format!("glob.match({}, {delimiters}, {})", quoted(&pattern), quoted(&text)));
        if chance.one_in(10) {
            probes.push(format!("glob.quote_meta({})", quoted(&pattern)));
        }
    }
    probe("globs", &probes, true);
}

#[test]
fn regular_expressions_match_the_same() {
    let mut chance = Chance::new(3);
    let parts = [
        "a",
        "b",
        "ü",
        "1",
        ".",
        "*",
        "+",
        "?",
        "|",
        "(",
        ")",
        "[",
        "]",
        "^",
        "$",
        "-",
        "\\d",
        "\\w",
        "\\s",
        "\\b",
        "\\W",
        "\\D",
        "[a-c]",
        "[^b]",
        "(a|b)",
        "{2}",
        "{1,2}",
        "{,2}",
        "(?i)",
        "(?:ab)",
        "[[:alpha:]]",
        "[\\w-]",
        "&&",
        "\\.",
        "\\pL",
        "K",
        "(?s).",
        "a*?",
        "[a&&b]",
        "~~",
        "\\x41",
        "{",
        "}",
        "(?P<n>b)",
        "\\B",
        "\\A",
        "\\z",
        "\\n",
    ];
    let text = [
        "a", "b", "c", "ü", "1", "٣", " ", "\n", "-", "&", "A", "K", "\u{212a}", "~", "_", "{", "é", "\u{a0}",
    ];
    let mut probes = Vec::new();
    for _ in 0..cases(700) {
        let (pattern, text) = (quoted(&word(&mut chance, &parts, 5)), quoted(&word(&mut chance, &text, 6)));
        probes.push(match chance.below(8) {
            0 => format!("regex.split({pattern}, {text})"),
            1 => format!("regex.find_n({pattern}, {text}, {})", chance.pick(&["-1", "0", "1", "2"])),
            2 => format!(
                "regex.replace({text}, {pattern}, {})",
                chance.pick(&["\"x\"", "\"<$1>\"", "\"${n}\"", "\"$$\"", "\"$1a\""])
            ),
            3 => format!("regex.find_all_string_submatch_n({pattern}, {text}, -1)"),
            4 => format!("regex.is_valid({pattern})"),
            _ => format!("regex.match({pattern}, {text})"),
        });
    }
    probe("regular expressions", &probes, false);
}

#[test]
fn built_in_functions_answer_the_same() {
    let values: &[&str] = &[
        "0",
        "1",
        "-1",
        "3",
        "2.5",
        "-7",
        "100",
        "\"\"",
        "\"a\"",
        "\"abc\"",
        "\"a,b,c\"",
        "\"Hällo W\"",
        "\" x \"",
        "\"12\"",
        "\"1.5\"",
        "\" 1\"",
        "\"0x10\"",
        "\"a/b\"",
        "\"<&>\"",
        "true",
        "false",
        "null",
        "[]",
        "[1, 2, 3]",
        "[\"b\", \"a\"]",
        "[[1, 2], [3]]",
        "set()",
        "{1, 2}",
        "{\"a\", \"b\"}",
        "{{1}, {2}}",
        "{}",
        "{\"a\": 1}",
        "{\"a\": {\"b\": 2}, \"c\": [1]}",
        "{\"b\": 2, \"a\": 1}",
        "\"10.0.0.0/8\"",
        "\"10.1.2.3\"",
        "\"1.2.3\"",
        "\"v1.2.3\"",
        "\"1.2.3-rc1\"",
        "\"2026-11-24T15:04:05Z\"",
        "\"2026-11-24 15:04:05Z\"",
        "\"2026-11-24t15:04:05z\"",
        "\"2026-11-24T15:04:60Z\"",
        "\"1h30m\"",
        "1763996645000000000",
        "\"YWJj\"",
        "\"616263\"",
        "\"a=1&b=2\"",
        "\"10Ki\"",
        "\"5GB\"",
        "[\"a\", {\"b\": 1}]",
        "{\"1\": 1, 1: 2}",
        "\"a\\nb\"",
        "\"%\"",
        "[1763996645000000000, \"UTC\"]",
        "[1763996645000000000, \"Europe/Paris\"]",
        "\"[1, {\\\"a\\\": null}]\"",
        "[\"a\", \"ab\"]",
        "9007199254740993",
        "18446744073709551615",
    ];
    // Name and number of arguments. Numbers are written plainly above: their spelling (`1e3`, `1.0`)
    // is lost here, and OPA keeps it in text.
    let functions: &[(&str, usize)] = &[
        ("abs", 1),
        ("array.concat", 2),
        ("array.reverse", 1),
        ("array.slice", 3),
        ("base64.decode", 1),
        ("base64.encode", 1),
        ("base64.is_valid", 1),
        ("base64url.decode", 1),
        ("base64url.encode", 1),
        ("base64url.encode_no_pad", 1),
        ("bits.and", 2),
        ("bits.lsh", 2),
        ("bits.negate", 1),
        ("bits.or", 2),
        ("bits.rsh", 2),
        ("bits.xor", 2),
        ("ceil", 1),
        ("concat", 2),
        ("contains", 2),
        ("count", 1),
        ("endswith", 2),
        ("floor", 1),
        ("format_int", 2),
        ("graph.reachable", 2),
        ("hex.decode", 1),
        ("hex.encode", 1),
        ("indexof", 2),
        ("indexof_n", 2),
        ("intersection", 1),
        ("is_array", 1),
        ("is_boolean", 1),
        ("is_null", 1),
        ("is_number", 1),
        ("is_object", 1),
        ("is_set", 1),
        ("is_string", 1),
        ("json.filter", 2),
        ("json.is_valid", 1),
        ("json.marshal", 1),
        ("json.patch", 2),
        ("json.remove", 2),
        ("json.unmarshal", 1),
        ("lower", 1),
        ("max", 1),
        ("min", 1),
        ("net.cidr_contains", 2),
        ("net.cidr_is_valid", 1),
        ("numbers.range", 2),
        ("numbers.range_step", 3),
        ("object.filter", 2),
        ("object.get", 3),
        ("object.keys", 1),
        ("object.remove", 2),
        ("object.subset", 2),
        ("object.union", 2),
        ("object.union_n", 1),
        ("product", 1),
        ("replace", 3),
        ("round", 1),
        ("semver.compare", 2),
        ("semver.is_valid", 1),
        ("sort", 1),
        ("split", 2),
        ("sprintf", 2),
        ("startswith", 2),
        ("strings.any_prefix_match", 2),
        ("strings.any_suffix_match", 2),
        ("strings.count", 2),
        ("strings.replace_n", 2),
        ("strings.reverse", 1),
        ("substring", 3),
        ("sum", 1),
        ("time.add_date", 4),
        ("time.clock", 1),
        ("time.date", 1),
        ("time.diff", 2),
        ("time.format", 1),
        ("time.parse_duration_ns", 1),
        ("time.parse_rfc3339_ns", 1),
        ("time.weekday", 1),
        ("to_number", 1),
        ("trim", 2),
        ("trim_left", 2),
        ("trim_prefix", 2),
        ("trim_right", 2),
        ("trim_space", 1),
        ("trim_suffix", 2),
        ("type_name", 1),
        ("union", 1),
        ("units.parse", 1),
        ("units.parse_bytes", 1),
        ("upper", 1),
        ("urlquery.decode", 1),
        ("urlquery.decode_object", 1),
        ("urlquery.encode", 1),
        ("urlquery.encode_object", 1),
        ("graph.reachable_paths", 2),
        ("json.marshal_with_options", 2),
    ];
    let mut chance = Chance::new(4);
    let mut probes = Vec::new();
    for (name, arity) in functions {
        if *arity == 1 {
            probes.extend(values.iter().map(|v| format!("{name}({v})")));
            continue;
        }
        for _ in 0..cases(70) {
            let args: Vec<&str> = (0..*arity).map(|_| chance.pick(values)).collect();
            // OPA itself falls over huge shifts and ranges.
            let big = args.iter().any(|a| a.len() > 12 && a.bytes().all(|b| b.is_ascii_digit()));
            if !(big && (name.starts_with("bits.") || name.starts_with("numbers."))) {
                probes.push(format!("{name}({})", args.join(", ")));
            }
        }
    }
    let formats = [
        "%d", "%s", "%v", "%5d|", "%-5s|", "%05d", "%x", "%q", "%.2f", "%%", "%+d", "%f", "%5.1f|", "%t",
        "a", "%.1s|",
    ];
    for _ in 0..cases(200) {
        let format = word(&mut chance, &formats, 3);
        let args: Vec<&str> = (0..chance.below(3)).map(|_| chance.pick(values)).collect();
        probes.push(format!("sprintf({}, [{}])", quoted(&format), args.join(", ")));
    }
    for op in ["+", "-", "*", "/", "%", "&", "|", "==", "!=", "<", ">", "<=", ">="] {
        for _ in 0..cases(30) {
            let (a, b) = (chance.pick(values), chance.pick(values));
            // Refused here.
            if op.starts_with(['<', '>']) && [a, b].iter().any(|v| v.starts_with('{') || *v == "set()") {
                continue;
            }
            probes.push(format!("[x | x := {a} {op} {b}]"));
        }
    }
    probe("built-in functions", &probes, false);
}
