//! Rewriting to OPA's meaning where regorus has another, before the engine reads the text.
//!
//! * **`not` over an undefined argument.** OPA evaluates arguments outside of `not`, so that the
//!   body is undefined with them; regorus makes `not f(<undefined>)` true, and a gate would open.
//!   `not f(x.y)` becomes `__n0 := x.y; not f(__n0)`, on the same line.
//! * **Values of `with`** that use rules spoil regorus' cache of those rules: the statement then sees
//!   what they were outside. They are taken out in the same way.
//! * **Variables of `every`** count as unbound inside, so `not s[v]` never holds there and `k = 1`
//!   always does. `every k, v in c { … }` gets `__e0 := k; __e1 := v;` and uses those.
//!
//! * **A clause of an `else` chain whose value is undefined.** OPA goes on to the next clause; regorus
//!   stops, and the whole rule is undefined. `f := x[0] if { a } else := …` becomes
//!   `f := __v0 if { a; __v0 := x[0] } else := …`.
//!
//! * **Imports** of packages in several files are written out (`spread`).
//!
//! The digest of a bundle is of the author's text; a verdict also names [`REWRITER`].

use std::{cell::LazyCell, collections::BTreeSet};

use regorus::unstable::{
    AssignOp, BoolOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleAssign, RuleHead, Span,
};

use super::{
    ast::{self, Visit},
    error::LoadError,
    extent::{Brackets, statement_end},
    names::Names,
    spread::Spread,
};

/// Version of what is done to a policy before and while it is judged: the rewriting, and the functions that
/// stand in for the engine's; and of what rules say by their names. Another version may judge the same bundle differently.
///
/// 2: `json.filter` and `json.remove` take paths apart as OPA does. 3: `deny_…`, `violation_…` and `warn_…` are sets
/// of findings, `exception` takes findings out.
pub const REWRITER: u32 = 3;

/// Passes over `not`s, each one level deeper; brackets nest 14 deep at most.
const MAX_PASSES: usize = 32;

/// The text that means to regorus what the author's text means to OPA.
///
/// # Errors
/// A variable of `every` that is declared again inside it; one with the name of an import that is written out.
pub(crate) fn rewrite(module: &Ref<Module>, names: &Names<'_>, spread: &Spread) -> Result<String, LoadError> {
    let path = module.package.span.source.file();
    // Only what was changed is parsed again.
    let mut parsed = module.clone();
    if let Some(text) = spread.write_out(&parsed, names)? {
        parsed = ast::parse(path, &text)?;
    }
    if let Some(text) = rewrite_else(&parsed, names) {
        parsed = ast::parse(path, &text)?;
    }
    if let Some(text) = rewrite_every(&parsed)? {
        parsed = ast::parse(path, &text)?;
    }
    let mut fresh = Fresh::new(parsed.package.span.source.contents(), "__n");
    for _ in 0..MAX_PASSES {
        match rewrite_not(&parsed, names, &mut fresh) {
            Pass::Nothing => return Ok(parsed.package.span.source.contents().clone()),
            Pass::Last(text) => return Ok(text),
            Pass::More(text) => parsed = ast::parse(path, &text)?,
        }
    }
    Err(LoadError::new(path, "`not` nested too deeply"))
}

/// Names that do not occur in a file.
pub(crate) struct Fresh {
    prefix: String,
    next: usize,
}

impl Fresh {
    pub(crate) fn new(text: &str, prefix: &str) -> Self {
        let mut prefix = prefix.to_owned();
        while text.contains(&prefix) {
            prefix.push('_');
        }
        Self { prefix, next: 0 }
    }

    pub(crate) fn name(&mut self) -> String {
        self.next += 1;
        format!("{}{}", self.prefix, self.next - 1)
    }
}

/// Replacements in a text: byte ranges that do not overlap. At one place they keep their order.
#[derive(Default)]
struct Edits(Vec<(usize, usize, String)>);

impl Edits {
    fn apply(mut self, text: &str) -> String {
        self.0.sort_by_key(|e| (e.0, e.1));
        let mut out = String::with_capacity(text.len() * 2);
        let mut done = 0;
        for (start, end, new) in self.0 {
            out.push_str(text.get(done..start).unwrap_or_default());
            out.push_str(&new);
            done = end;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        out
    }
}

// --- else

/// Takes the values of `else` chains into their bodies. `None`: nothing to change.
fn rewrite_else(module: &Module, names: &Names<'_>) -> Option<String> {
    let source = &module.package.span.source;
    let text = source.contents();
    let brackets = LazyCell::new(|| Brackets::new(source));
    let (mut fresh, mut edits) = (Fresh::new(text, "__v"), Edits::default());
    for rule in &module.policy {
        let Rule::Spec { head, bodies, .. } = rule.as_ref() else { continue };
        // After the last clause nothing follows: undefined is undefined.
        let Some((_, others)) = bodies.split_last() else { continue };
        for (at, body) in others.iter().enumerate().filter(|_| bodies.iter().any(|b| b.is_else)) {
            let assign = if at == 0 { head_assign(head) } else { body.assign.as_ref() };
            if let Some(assign) = assign.filter(|a| !names.has_value(module, &a.value)) {
                take_into_body(text, &brackets, &assign.value, &body.query, &fresh.name(), &mut edits);
            }
        }
    }
    (!edits.0.is_empty()).then(|| edits.apply(text))
}

fn head_assign(head: &RuleHead) -> Option<&RuleAssign> {
    match head {
        RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign.as_ref(),
        RuleHead::Set { .. } => None,
    }
}

fn take_into_body(
    text: &str,
    brackets: &Brackets,
    value: &Expr,
    query: &Query,
    name: &str,
    edits: &mut Edits,
) {
    let Some(last) = query.stmts.last() else { return };
    let (start, end) = brackets.extent(value);
    let bind = format!("{name} := ({})", text.get(start..end).unwrap_or_default());
    let (open, done) = (query.span.start as usize, statement_end(last));
    edits.0.push((start, end, apart(text, start, end, name)));
    let close = brackets.close.get(&open).filter(|_| query.span.text().starts_with('{'));
    match close.map(|close| close - 1) {
        // On a line of its own no `;` may stand before it.
        Some(close) if text.get(done..close).is_some_and(|t| t.contains('\n')) => {
            edits.0.push((close, close, format!("{bind} ")));
        }
        Some(close) => edits.0.push((close, close, format!("; {bind} "))),
        None => {
            edits.0.push((open, open, "{ ".to_owned()));
            edits.0.push((done, done, format!("; {bind} }}")));
        }
    }
}

// --- every

/// `None`: nothing to change.
fn rewrite_every(module: &Module) -> Result<Option<String>, LoadError> {
    let text = module.package.span.source.contents();
    let mut everys = Everys { edits: Edits::default(), fresh: Fresh::new(text, "__e"), error: None };
    ast::walk_module(module, &mut everys);
    match everys.error {
        Some(e) => Err(e),
        None if everys.edits.0.is_empty() => Ok(None),
        None => Ok(Some(everys.edits.apply(text))),
    }
}

struct Everys {
    edits: Edits,
    fresh: Fresh,
    error: Option<LoadError>,
}

impl Visit for Everys {
    fn statement(&mut self, stmt: &LiteralStmt) {
        if let Literal::Every { key, value, query, .. } = &stmt.literal {
            let vars = key.iter().chain([value]).filter(|v| v.text() != "_");
            if let Err(e) = one_every(vars, query, &mut self.edits, &mut self.fresh) {
                self.error.get_or_insert(e);
            }
        }
    }
}

fn one_every<'s>(
    vars: impl Iterator<Item = &'s Span>,
    query: &Query,
    edits: &mut Edits,
    fresh: &mut Fresh,
) -> Result<(), LoadError> {
    let mut bind = String::new();
    for var in vars {
        let mut uses = Occurrences { name: var.text(), found: vec![], declared: None };
        ast::walk_query(query, &mut uses);
        if let Some(at) = uses.declared {
            let message = format!("`{}` is declared again inside `every`", var.text());
            return Err(LoadError::span(&at, message).help("give one of them another name"));
        }
        let name = fresh.name();
        bind.push_str(&format!(" {name} := {};", var.text()));
        for span in uses.found {
            edits.0.push((span.start as usize, span.end as usize, name.clone()));
        }
    }
    if !bind.is_empty() {
        let inside = query.span.start as usize + 1;
        edits.0.push((inside, inside, bind));
    }
    Ok(())
}

/// Where a variable stands, and whether it is declared anew.
struct Occurrences<'n> {
    name: &'n str,
    found: Vec<Span>,
    declared: Option<Span>,
}

impl Occurrences<'_> {
    fn declares(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::Var { span, .. } if span.text() == self.name => self.declared = Some(span.clone()),
            Expr::Array { .. } | Expr::Object { .. } => {
                ast::children(expr).into_iter().for_each(|c| self.declares(c));
            }
            _ => {}
        }
    }
}

impl Visit for Occurrences<'_> {
    fn statement(&mut self, stmt: &LiteralStmt) {
        let spans: Vec<&Span> = match &stmt.literal {
            Literal::SomeVars { vars, .. } => vars.iter().collect(),
            Literal::Every { key, value, .. } => key.iter().chain([value]).collect(),
            Literal::SomeIn { key, value, .. } => {
                key.iter().chain([value]).for_each(|e| self.declares(e));
                vec![]
            }
            Literal::Expr { .. } | Literal::NotExpr { .. } => vec![],
        };
        if let Some(again) = spans.into_iter().find(|s| s.text() == self.name) {
            self.declared = Some(again.clone());
        }
    }

    fn expr(&mut self, expr: &Ref<Expr>) {
        if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref() {
            self.declares(lhs);
        }
        if let Expr::Var { span, .. } = ast::root(expr)
            && span.text() == self.name
        {
            self.found.push(span.clone());
        }
    }
}

// --- not

/// What one pass over the `not`s of a text came to.
enum Pass {
    Nothing,
    /// No statement waits for another pass.
    Last(String),
    More(String),
}

/// One pass: every `not` that is not inside another that was changed.
fn rewrite_not(module: &Module, names: &Names<'_>, fresh: &mut Fresh) -> Pass {
    let source = &module.package.span.source;
    let mut nots = Nots {
        module,
        names,
        fresh,
        text: source.contents(),
        bare: bare_bodies(module),
        brackets: LazyCell::new(Box::new(|| Brackets::new(source))),
        edits: Edits::default(),
        done: 0,
        waiting: false,
    };
    ast::walk_module(module, &mut nots);
    match (nots.edits.0.is_empty(), nots.waiting) {
        (true, _) => Pass::Nothing,
        (false, false) => Pass::Last(nots.edits.apply(nots.text)),
        (false, true) => Pass::More(nots.edits.apply(nots.text)),
    }
}

struct Nots<'p, 'n> {
    module: &'p Module,
    names: &'p Names<'n>,
    fresh: &'p mut Fresh,
    text: &'p str,
    brackets: LazyCell<Brackets, Box<dyn FnOnce() -> Brackets + 'p>>,
    /// Starts of statements that are a whole body without braces.
    bare: BTreeSet<u32>,
    edits: Edits,
    /// End of the last changed statement: what lies before it waits for the next pass.
    done: usize,
    /// Something does.
    waiting: bool,
}

impl Visit for Nots<'_, '_> {
    fn statement(&mut self, stmt: &LiteralStmt) {
        let negated = match &stmt.literal {
            Literal::NotExpr { expr, .. } => Some(expr),
            _ if stmt.with_mods.is_empty() => return,
            _ => None,
        };
        let (start, end) = (stmt.span.start as usize, statement_end(stmt));
        if start < self.done {
            self.waiting = true;
            return;
        }
        let mut before = String::new();
        let mut edits = Vec::new();
        // Values of `with` first: they are evaluated outside of it.
        let mut withs = String::new();
        for with in &stmt.with_mods {
            let (value_start, value_end) = self.brackets.extent(&with.r#as);
            let head = self.text.get(with.span.start as usize..value_start).unwrap_or_default();
            if self.names.is_plain(self.module, &with.r#as) || self.names.is_function(self.module, &with.r#as)
            {
                withs.push_str(&format!(" {head}{}", self.slice(value_start, value_end)));
                continue;
            }
            let name = self.lift(&with.r#as, "", &mut before, &mut edits);
            withs.push_str(&format!(" {head}{name}"));
        }
        for part in negated.map(|e| self.lifted(e)).unwrap_or_default() {
            self.lift(part, &withs, &mut before, &mut edits);
        }
        if edits.is_empty() {
            return;
        }
        let (open, close) = if self.bare.contains(&stmt.span.start) { ("{ ", " }") } else { ("", "") };
        self.edits.0.push((start, start, format!("{open}{before}")));
        self.edits.0.append(&mut edits);
        self.edits.0.push((end, end, close.to_owned()));
        self.done = end;
    }
}

impl Nots<'_, '_> {
    fn slice(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    fn has_value(&self, expr: &Ref<Expr>) -> bool {
        self.names.has_value(self.module, expr)
    }

    /// Gives an expression a name, in a statement before the `not`.
    fn lift(
        &mut self,
        expr: &Ref<Expr>,
        withs: &str,
        before: &mut String,
        edits: &mut Vec<(usize, usize, String)>,
    ) -> String {
        let (start, end) = self.brackets.extent(expr);
        let name = self.fresh.name();
        before.push_str(&format!("{name} := ({}){withs}; ", self.slice(start, end)));
        edits.push((start, end, apart(self.text, start, end, &name)));
        name
    }

    /// The parts of a negated expression that OPA evaluates outside of `not`.
    fn lifted<'e>(&self, expr: &'e Ref<Expr>) -> Vec<&'e Ref<Expr>> {
        let parts: Vec<&Ref<Expr>> = match expr.as_ref() {
            Expr::Call { params, .. } => params.iter().collect(),
            // `==` and `=` unify: a bare reference stays inside, its indexes do not.
            Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } | Expr::AssignExpr { lhs, rhs, .. } => [lhs, rhs]
                .into_iter()
                .flat_map(|side| if is_reference(side) { ast::children(side) } else { vec![side] })
                .collect(),
            Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } => vec![expr],
            Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. } => vec![],
            _ => ast::children(expr),
        };
        parts.into_iter().filter(|p| !self.has_value(p)).collect()
    }
}

/// A name in the place of a range: with spaces where it would grow together with a word (`not[x]`,
/// `f(x)in s`).
fn apart(text: &str, start: usize, end: usize, name: &str) -> String {
    let word = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let before = if word(text.as_bytes()[..start].last()) { " " } else { "" };
    let after = if word(text.as_bytes().get(end)) { " " } else { "" };
    format!("{before}{name}{after}")
}

fn is_reference(expr: &Expr) -> bool {
    matches!(expr, Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. })
}

/// Starts of statements that are a rule's whole body without braces: `r if not f(x.y)`.
fn bare_bodies(module: &Module) -> BTreeSet<u32> {
    let mut out = BTreeSet::new();
    for rule in &module.policy {
        let Rule::Spec { bodies, .. } = rule.as_ref() else { continue };
        for body in bodies {
            if let [stmt] = body.query.stmts.as_slice()
                && !body.query.span.text().starts_with('{')
            {
                out.insert(stmt.span.start);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "\nf(x) := x\n\nset contains 1\n\ndefault flag := false\n\nmaybe := input.m\n";

    fn rewritten(rule: &str) -> String {
        let text = format!("package a\n\n{rule}{RULES}");
        let modules = vec![ast::parse("a.rego", &text).unwrap()];
        let out = rewrite(&modules[0], &Names::new(&modules), &Spread::default()).unwrap();
        // Lines stay where they were.
        assert_eq!(out.lines().count(), text.lines().count());
        out.strip_prefix("package a\n\n").unwrap().strip_suffix(RULES).unwrap().to_owned()
    }

    #[test]
    fn arguments_of_not_are_taken_out() {
        insta::assert_snapshot!(rewritten("r if not f(input.x)"), @"r if { __n0 := (input.x); not f(__n0) }");
        insta::assert_snapshot!(rewritten("r if {\n\tx := 1\n\tnot f(x)\n\tnot f(maybe)\n\tnot f(flag)\n\tnot set[input.k]\n}"), @"
        r if {
        	x := 1
        	not f(x)
        	__n0 := (maybe); not f(__n0)
        	not f(flag)
        	__n1 := (input.k); not set[__n1]
        }
        ");
        insta::assert_snapshot!(rewritten("r if { not \"a\" in input.x }"), @r#"r if { __n0 := (input.x); not "a" in __n0 }"#);
        insta::assert_snapshot!(rewritten("r if { not input.x == f(input.y) }"), @"r if { __n0 := (f(input.y)); not input.x == __n0 }");
        insta::assert_snapshot!(rewritten("r if { not f([x | some x in input.xs; not f(x.y)]) }"), @"r if { not f([x | some x in input.xs; __n0 := (x.y); not f(__n0)]) }");
        insta::assert_snapshot!(rewritten("r if { not count({\"k\": 1, \"l\": input.x}) > 1 }"), @r#"r if { __n0 := (count({"k": 1, "l": input.x})); not __n0 > 1 }"#);
        insta::assert_snapshot!(rewritten("r := 1 if { input.a } else := 2 if not f(input.b)"), @"r := 1 if { input.a } else := 2 if { __n0 := (input.b); not f(__n0) }");
    }

    #[test]
    fn values_of_with_are_taken_out_first() {
        insta::assert_snapshot!(rewritten("r if not f(input.x) with input.y as \"z\""), @r#"r if { __n0 := (input.x) with input.y as "z"; not f(__n0) with input.y as "z" }"#);
        insta::assert_snapshot!(rewritten("r if { flag with input as {\"a\": maybe, \"b\": \"c\"} }"), @r#"r if { __n0 := ({"a": maybe, "b": "c"}); flag with input as __n0 }"#);
        insta::assert_snapshot!(rewritten("r if { count([1]) == 2 with count as f }"), @"r if { count([1]) == 2 with count as f }");
    }

    #[test]
    fn variables_of_every_get_other_names() {
        insta::assert_snapshot!(rewritten("r if every k, v in input.o { not set[v]; k = 1 }"), @"r if every k, v in input.o { __e0 := k; __e1 := v; not set[__e1]; __e0 = 1 }");
        insta::assert_snapshot!(rewritten("r if every x in input.xs { every y in x.ys { y.a == x.a } }"), @"r if every x in input.xs { __e0 := x; every y in __e0.ys { __e1 := y; __e1.a == __e0.a } }");
        insta::assert_snapshot!(rewritten("r if every _ in input.xs { input.a }"), @"r if every _ in input.xs { input.a }");
    }

    #[test]
    fn values_of_else_chains_go_into_the_body() {
        insta::assert_snapshot!(rewritten("r := input.x if { input.a } else := input.y if { input.b } else := 3"), @"r := __v0 if { input.a ; __v0 := (input.x) } else := __v1 if { input.b ; __v1 := (input.y) } else := 3");
    }

    #[test]
    fn names_do_not_meet_the_authors() {
        insta::assert_snapshot!(rewritten("r if {\n\t__n0 := 1\n\tnot f(input.x)\n}"), @"
        r if {
        	__n0 := 1
        	__n_0 := (input.x); not f(__n_0)
        }
        ");
        insta::assert_snapshot!(rewritten("r if { not[input.x] }"), @"r if { __n0 := ([input.x]); not __n0 }");
        insta::assert_snapshot!(rewritten("r if { not f(input.x)in input.y }"), @"r if { __n0 := (f(input.x)); __n1 := (input.y); not __n0 in __n1 }");
    }

    #[test]
    fn what_needs_nothing_stays() {
        for rule in [
            "r if input.x",
            "r if { x := [1 | input.y]; count(x) == 1 }",
            "r if not input.x",
            "r if { not set[1] }",
        ] {
            assert_eq!(rewritten(rule), rule);
        }
    }
}
