//! The same answer as OPA, or none: generated rules and probes, asked of both.
//!
//! An error of ours is fine where OPA has an answer (a control that errors blocks), another answer
//! never is.

mod common;
mod opa_support;

use std::collections::BTreeMap;

use common::foreign::{Tool, foreign};
use gatelog::policy::testing::evaluate;
use opa_support::{Chance, cases, drop_refused, eval, folder, same};
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
        match self.chance.below(14) {
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
        match self.chance.below(16) {
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
        match self.chance.below(9) {
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
            _ => self.condition(depth),
        }
    }

    fn rule(&mut self) -> String {
        let lines = 1 + self.chance.below(3);
        let body: Vec<String> = (0..lines).map(|_| self.statement(2)).collect();
        match self.chance.below(6) {
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

#[test]
fn generated_rules_mean_the_same() {
    let Some(opa) = foreign(Tool::Opa) else { return };
    let mut chance = Chance::new(1);
    let mut files = BTreeMap::new();
    for i in 0..cases(900) {
        let mut writer = Writer { chance: &mut chance, vars: vec![], next: 0 };
        let rule = writer.rule();
        files.insert(format!("p{i}.rego"), format!("package p{i}\n{HELPERS}\n{rule}\n"));
    }
    drop_refused(&opa, &mut files);
    let all = files.len();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    // What we refuse must not keep the others from loading.
    files.retain(|path, text| match evaluate(BTreeMap::from([(path.clone(), text.clone())]), &[], &[]) {
        Ok(_) => true,
        Err(e) => {
            if std::env::var_os("GATELOG_SHOW").is_some() {
                println!("{}{e}", text.replace(HELPERS, ""));
            }
            *reasons.entry(e.message).or_default() += 1;
            false
        }
    });
    assert!(files.len() * 10 > all * 9, "refused {} of {all}: {reasons:?}", all - files.len());
    let rules: Vec<String> =
        files.keys().map(|f| format!("data.{}.r", f.trim_end_matches(".rego"))).collect();
    let ours = evaluate(files.clone(), &inputs(), &rules).unwrap_or_else(|e| panic!("{e}"));
    let dir = folder(&files);
    let (mut wrong, mut errors) = (Vec::new(), 0);
    for (input, ours) in inputs().iter().zip(ours) {
        let theirs = eval(&opa, dir.path(), input, "data");
        for (rule, ours) in rules.iter().zip(ours) {
            let theirs = theirs.pointer(&rule["data".len()..].replace('.', "/"));
            match &ours {
                Err(_) => errors += 1,
                Ok(None) if theirs.is_none() => {}
                Ok(Some(o)) if theirs.is_some_and(|t| same(o, t)) => {}
                Ok(o) => {
                    let text =
                        files[&format!("{}.rego", rule.split('.').nth(1).unwrap())].replace(HELPERS, "");
                    wrong.push(format!("{text}input {input}\nOPA {theirs:?}\nours {o:?}\n"));
                }
            }
        }
    }
    println!("{} rules, {} refused, {errors} errors of {}", all, all - rules.len(), rules.len() * 3);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(8)].join("\n"));
    assert!(errors < rules.len() * 3 / 3, "{errors} errors");
}
