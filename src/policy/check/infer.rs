//! References into `input` that its schema does not have: a typo is silently undefined in Rego, and
//! a `deny` that reads it never fires.
//!
//! Forms are followed through aliases, `some … in`, `every`, comprehensions, rules (of other packages
//! too) and the arguments of functions from all their calls. What is not known is not spoken of, and
//! neither is what stands under `with input`.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead, Span};

use super::{
    super::{
        ast,
        bundle::{Checked, is_test},
        error::LoadError,
        names::{Names, Scope, full},
    },
    Finding, Level,
    types::{Miss, Type},
};

/// Rounds over all rules, until nothing new is learnt of their forms.
const ROUNDS: usize = 12;

type Path = Vec<String>;

/// What is known of the forms of rules, and the references that cannot be.
pub(super) struct Forms {
    pub unknown_references: Vec<Finding>,
    /// By full path, what the rule's value is.
    pub rules: BTreeMap<Path, Type>,
}

pub(super) fn forms(checked: &Checked, names: &Names<'_>, input: &Type) -> Forms {
    let mut known = Known { rules: BTreeMap::new(), args: BTreeMap::new() };
    let mut findings = Vec::new();
    let policies: Vec<(&Ref<Module>, Cow<'_, Scope>)> = checked
        .modules
        .iter()
        .filter(|m| !is_test(m.package.span.source.file()))
        .map(|m| (m, names.scope(m)))
        .collect();
    for _ in 0..ROUNDS {
        let mut next = Known { rules: BTreeMap::new(), args: BTreeMap::new() };
        findings.clear();
        for (module, scope) in &policies {
            for rule in &module.policy {
                let mut walk = Walk {
                    names,
                    module,
                    scope,
                    input,
                    known: &known,
                    next: &mut next,
                    locals: BTreeMap::new(),
                    findings: Some(&mut findings),
                };
                walk.rule(rule);
            }
        }
        if next == known {
            break;
        }
        known = next;
    }
    // One place may be looked at from several sides.
    findings.sort();
    findings.dedup();
    Forms { unknown_references: findings, rules: known.rules }
}

#[derive(PartialEq)]
struct Known {
    rules: BTreeMap<Path, Type>,
    /// Of functions, by the calls.
    args: BTreeMap<Path, Vec<Type>>,
}

struct Walk<'w, 'n> {
    names: &'w Names<'n>,
    module: &'w Module,
    scope: &'w Scope,
    input: &'w Type,
    known: &'w Known,
    next: &'w mut Known,
    locals: BTreeMap<String, Type>,
    /// `None`: not now.
    findings: Option<&'w mut Vec<Finding>>,
}

impl Walk<'_, '_> {
    fn rule(&mut self, rule: &Rule) {
        let head = ast::head(rule);
        let Some((name, whole)) = ast::path(head) else { return };
        let full = full(&self.scope.package, &name);
        let value = match rule {
            Rule::Default { value, args, .. } => {
                self.parameters(&full, args);
                self.expr(value)
            }
            Rule::Spec { head, bodies, .. } => {
                if let RuleHead::Func { args, .. } = head {
                    self.parameters(&full, args);
                }
                // Twice: what a statement learns may matter to one before it.
                let findings = self.findings.take();
                bodies.iter().for_each(|b| self.query(&b.query));
                self.findings = findings;
                bodies.iter().for_each(|b| self.query(&b.query));
                let own = ast::head_value(head).map(|v| self.expr(v));
                let others: Vec<Type> =
                    bodies.iter().filter_map(|b| b.assign.as_ref()).map(|a| self.expr(&a.value)).collect();
                for index in ast::children(ast_head(head)) {
                    self.expr(index);
                }
                let value = own.into_iter().chain(others).reduce(Type::or);
                match head {
                    RuleHead::Set { .. } => Type::Set(Arc::new(value.unwrap_or(Type::Any))),
                    _ => value.unwrap_or(Type::Scalar("a boolean")),
                }
            }
        };
        let value = if whole { value } else { Type::Object(Arc::default(), Some(Arc::new(value))) };
        let entry = self.next.rules.remove(&full);
        self.next.rules.insert(full, entry.map_or(value.clone(), |e| e.or(value)));
    }

    fn parameters(&mut self, function: &Path, args: &[Ref<Expr>]) {
        let known = self.known.args.get(function).cloned().unwrap_or_default();
        for (i, arg) in args.iter().enumerate() {
            let t = known.get(i).cloned().unwrap_or(Type::Any);
            self.bind(arg, &t);
        }
    }

    fn query(&mut self, query: &Query) {
        query.stmts.iter().for_each(|s| self.statement(s));
    }

    fn statement(&mut self, stmt: &LiteralStmt) {
        // Under `with input` another document is read.
        let replaced = |w: &regorus::unstable::WithModifier| {
            ast::path(&w.refr).is_some_and(|(p, _)| p.first().is_some_and(|f| f == "input"))
        };
        let quiet = stmt.with_mods.iter().any(replaced);
        let findings = if quiet { self.findings.take() } else { None };
        match &stmt.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                let of = self.expr(collection);
                self.bind(value, &of.element());
                key.iter().for_each(|k| self.bind(k, &Type::Any));
            }
            Literal::Every { key, value, domain, query, .. } => {
                let element = self.expr(domain).element();
                self.name(value.text(), &element);
                key.iter().for_each(|k| self.name(k.text(), &Type::Any));
                self.query(query);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => {
                self.expr(expr);
            }
        }
        stmt.with_mods.iter().for_each(|w| {
            self.expr(&w.r#as);
        });
        if quiet {
            self.findings = findings;
        }
    }

    fn name(&mut self, name: &str, t: &Type) {
        if name != "_" {
            let old = self.locals.remove(name);
            self.locals.insert(name.to_owned(), old.map_or(t.clone(), |o| o.or(t.clone())));
        }
    }

    fn bind(&mut self, pattern: &Ref<Expr>, t: &Type) {
        match pattern.as_ref() {
            Expr::Var { span, .. } => self.name(span.text(), t),
            Expr::Array { items, .. } => {
                let element = t.element();
                items.iter().for_each(|i| self.bind(i, &element));
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    let t = text(key).and_then(|k| t.field(&k).ok()).unwrap_or(Type::Any);
                    self.bind(value, &t);
                }
            }
            _ => {
                self.expr(pattern);
            }
        }
    }

    fn expr(&mut self, expr: &Ref<Expr>) -> Type {
        match expr.as_ref() {
            Expr::String { .. } | Expr::RawString { .. } => Type::Scalar("a string"),
            Expr::Number { .. } => Type::Scalar("a number"),
            Expr::Bool { .. } => Type::Scalar("a boolean"),
            Expr::Null { .. } => Type::Null,
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } => Type::Array(Arc::new(self.either(items))),
            Expr::Set { items, .. } => Type::Set(Arc::new(self.either(items))),
            Expr::Object { fields, .. } => self.object(fields),
            Expr::ArrayCompr { term, query, .. } => {
                self.query(query);
                Type::Array(Arc::new(self.expr(term)))
            }
            Expr::SetCompr { term, query, .. } => {
                self.query(query);
                Type::Set(Arc::new(self.expr(term)))
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.query(query);
                self.expr(key);
                Type::Object(Arc::default(), Some(Arc::new(self.expr(value))))
            }
            Expr::Call { fcn, params, .. } => self.call(fcn, params),
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                let t = self.expr(rhs);
                let local = |e: &Ref<Expr>| matches!(e.as_ref(), Expr::Var { span, .. } if !self.names.is_rule(self.module, span.text()) && !matches!(span.text(), "input" | "data"));
                if *op == AssignOp::ColEq || local(lhs) {
                    self.bind(lhs, &t);
                } else {
                    let t = self.expr(lhs);
                    if local(rhs) {
                        self.bind(rhs, &t);
                    }
                }
                Type::Any
            }
            Expr::BinExpr { lhs, rhs, .. } => {
                let (a, b) = (self.expr(lhs), self.expr(rhs));
                a.or(b)
            }
            Expr::ArithExpr { lhs, rhs, .. } => {
                // `-` is also the difference of sets.
                let (a, _) = (self.expr(lhs), self.expr(rhs));
                if matches!(a, Type::Set(_)) { a } else { Type::Any }
            }
            _ => {
                ast::children(expr).into_iter().for_each(|c| {
                    self.expr(c);
                });
                Type::Any
            }
        }
    }

    fn either(&mut self, items: &[Ref<Expr>]) -> Type {
        let all: Vec<Type> = items.iter().map(|i| self.expr(i)).collect();
        all.into_iter().reduce(Type::or).unwrap_or_else(Type::nothing)
    }

    fn object(&mut self, fields: &[(Span, Ref<Expr>, Ref<Expr>)]) -> Type {
        let (mut named, mut rest) = (BTreeMap::new(), None);
        for (_, key, value) in fields {
            let t = self.expr(value);
            match text(key) {
                Some(name) => {
                    named.insert(name, t);
                }
                None => {
                    self.expr(key);
                    rest = Some(Arc::new(Type::Any));
                }
            }
        }
        Type::Object(Arc::new(named), rest)
    }

    fn call(&mut self, fcn: &Ref<Expr>, params: &[Ref<Expr>]) -> Type {
        let given: Vec<Type> = params.iter().map(|p| self.expr(p)).collect();
        let Some((path, true)) = ast::path(fcn) else { return Type::Any };
        match (path.join(".").as_str(), params, given.as_slice()) {
            ("object.get", [_, key, _], [of, _, default]) => return self.get(of, key, default),
            ("array.concat" | "union" | "array.slice" | "array.reverse", _, [first, rest @ ..]) => {
                let lists = rest.iter().filter(|t| matches!(t, Type::Array(_) | Type::Any));
                return lists.cloned().fold(first.clone(), Type::or);
            }
            _ => {}
        }
        let target = self.scope.resolve_any(&path);
        if self.names.is_path(&target) {
            let known = self.next.args.entry(target.clone()).or_insert_with(|| given.clone());
            for (old, new) in known.iter_mut().zip(given) {
                *old = std::mem::replace(old, Type::Any).or(new);
            }
            return self.known.rules.get(&target).cloned().unwrap_or(Type::Any);
        }
        Type::Any
    }

    /// `object.get(x, "k", d)`, `object.get(x, ["k", "l"], d)`
    fn get(&mut self, of: &Type, key: &Ref<Expr>, default: &Type) -> Type {
        let steps: Vec<&Ref<Expr>> = match key.as_ref() {
            Expr::Array { items, .. } => items.iter().collect(),
            _ => vec![key],
        };
        let mut here = of.clone();
        for step in steps {
            here = match text(step) {
                Some(name) => self.step(&here, &name, step.span(), None),
                None => here.element(),
            };
        }
        here.or(default.clone())
    }

    /// Steps of a reference after its root: the name if it is known, its span, and the index.
    fn reference(&mut self, expr: &Ref<Expr>) -> Type {
        let mut steps: Vec<Step<'_>> = Vec::new();
        let mut here = expr;
        loop {
            match here.as_ref() {
                Expr::RefDot { refr, field, .. } => {
                    steps.push((Some(field.0.text().to_owned()), &field.0, None));
                    here = refr;
                }
                Expr::RefBrack { refr, index, .. } => {
                    steps.push((text(index), index.span(), Some(index)));
                    here = refr;
                }
                _ => break,
            }
        }
        steps.reverse();
        let (mut t, used, mut shown) = match here.as_ref() {
            Expr::Var { span, .. } => self.root(span.text(), &steps),
            _ => (self.expr(here), 0, None),
        };
        for (name, span, index) in &steps[used..] {
            t = match (name, index) {
                (Some(name), _) => {
                    let next = self.step(&t, name, span, shown.as_deref());
                    shown = shown.map(|s| format!("{s}.{name}"));
                    next
                }
                (None, Some(index)) => {
                    // An index that is a plain new variable is bound here.
                    if !matches!(index.as_ref(), Expr::Var { .. }) {
                        self.expr(index);
                    }
                    shown = shown.map(|s| format!("{s}[_]"));
                    t.element()
                }
                (None, None) => Type::Any,
            };
        }
        t
    }

    /// The form of a reference's root, how many steps belong to it, and how it is called in messages.
    fn root(&self, name: &str, steps: &[Step<'_>]) -> (Type, usize, Option<String>) {
        if name == "input" {
            return (self.input.clone(), 0, Some("input".to_owned()));
        }
        if let Some(t) = self.locals.get(name) {
            return (t.clone(), 0, Some(name.to_owned()));
        }
        if let Some(import) = self.scope.imports.get(name)
            && import.first().is_some_and(|f| f == "input")
        {
            let mut t = self.input.clone();
            for part in &import[1..] {
                t = t.field(part).unwrap_or(Type::Any);
            }
            return (t, 0, Some(name.to_owned()));
        }
        let mut path = vec![name.to_owned()];
        path.extend(steps.iter().map_while(|(n, ..)| n.clone()));
        let full = self.scope.resolve_any(&path);
        let extra = full.len() - path.len();
        // The shortest path that is a rule: what follows is inside its value.
        for n in 2..=full.len() {
            if let Some(t) = self.known.rules.get(&full[..n]) {
                let used = (n - extra).saturating_sub(1);
                let shown = ast::dotted(&path[..(used + 1).min(path.len())]);
                return (t.clone(), used.min(steps.len()), Some(shown));
            }
        }
        (Type::Any, 0, None)
    }

    fn step(&mut self, of: &Type, name: &str, span: &Span, shown: Option<&str>) -> Type {
        let miss = match of.field(name) {
            Ok(t) => return t,
            Err(miss) => miss,
        };
        let Some(findings) = self.findings.as_deref_mut() else { return Type::Any };
        let error = match miss {
            Miss::NoField(fields) => {
                let message = match shown {
                    Some(shown) => format!("`{shown}` has no `{name}`"),
                    None => format!("there is no `{name}`"),
                };
                let near = nearest(name, &fields);
                LoadError::span(span, message).help(near.unwrap_or_else(|| there_is(fields)))
            }
            Miss::NotAnObject(what) => {
                let help =
                    if what == "a list" { "go through it: `some x in …`" } else { "it has no fields" };
                let holder = shown.map_or("this".to_owned(), |s| format!("`{s}`"));
                LoadError::span(span, format!("{holder} is {what} and has no `{name}`")).help(help)
            }
        };
        findings.push(
            Finding::of("unknown-reference", Level::Error, error).why(
                "what is not there is undefined in Rego, without a word: a rule that reads it never holds",
            ),
        );
        Type::Any
    }
}

type Step<'e> = (Option<String>, &'e Span, Option<&'e Ref<Expr>>);

fn ast_head(head: &RuleHead) -> &Ref<Expr> {
    match head {
        RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. } => refr,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            Some(value.as_string().ok()?.to_string())
        }
        _ => None,
    }
}

fn there_is(mut fields: Vec<String>) -> String {
    fields.sort();
    fields.dedup();
    format!("there is: {}", fields.join(", "))
}

/// `did you mean …?`, for the name that is nearest by letters.
pub(super) fn nearest(name: &str, among: &[String]) -> Option<String> {
    let distance = |other: &&String| strsim::damerau_levenshtein(name, other);
    let best = among.iter().min_by_key(distance)?;
    let close = distance(&best) <= 1 + name.chars().count() / 3;
    close.then(|| format!("did you mean `{best}`?"))
}
