//! Which rules there are, what each name means, who uses whom.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleHead, Span};

use super::{
    ast::{self, Visit},
    builtins,
    error::LoadError,
};

/// Rules on the longest path of calls. Fits in 64 MiB of stack several times over.
const MAX_DEPTH: usize = 1000;
/// Nodes of syntax trees on that path, one inside the other.
const MAX_WEIGHT: usize = 10_000;

type Path = Vec<String>;

/// The rules of a bundle by their full path (`data`, package, name).
pub(crate) struct Names<'a> {
    rules: BTreeMap<Path, Vec<(&'a Module, &'a Rule)>>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(modules: &'a [Ref<Module>]) -> Self {
        let mut rules: BTreeMap<Path, Vec<_>> = BTreeMap::new();
        for module in modules {
            for rule in &module.policy {
                rules.entry(rule_path(module, rule)).or_default().push((module.as_ref(), rule.as_ref()));
            }
        }
        Self { rules }
    }

    /// Is there a rule at exactly `data.<package>.<name>`?
    pub(crate) fn declares(&self, package: &[String], name: &str) -> bool {
        self.rules.contains_key(&full(package, &[name.to_owned()]))
    }

    /// Rules at, above or below a path: what a reference to it may evaluate.
    fn touched<'s, 'p>(&'s self, path: &'p [String]) -> impl Iterator<Item = &'s Path> + use<'s, 'p, 'a> {
        let above = (2..path.len()).filter_map(|n| self.rules.get_key_value(&path[..n]).map(|(k, _)| k));
        let below =
            self.rules.range(path.to_vec()..).map(|(k, _)| k).take_while(move |k| k.starts_with(path));
        above.chain(below)
    }

    /// The name may be a rule or import of this module: its value may be undefined.
    pub(crate) fn may_be_undefined(&self, module: &Module, name: &str) -> bool {
        if imports(module).contains_key(name) {
            return true;
        }
        let path = full(&ast::package(module), &[name.to_owned()]);
        let mut found = self.touched(&path).peekable();
        found.peek().is_some() && !self.always_defined(&path)
    }

    /// The expression has a value whatever the input is.
    pub(crate) fn has_value(&self, module: &Module, expr: &Ref<Expr>) -> bool {
        match expr.as_ref() {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::ArrayCompr { .. }
            | Expr::SetCompr { .. }
            | Expr::ObjectCompr { .. } => true,
            Expr::Var { span, .. } => !self.may_be_undefined(module, span.text()),
            Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } => {
                ast::children(expr).into_iter().all(|c| self.has_value(module, c))
            }
            _ => false,
        }
    }

    /// What a reference without variable indexes means in a module, from `data` on.
    fn resolve(module: &Module, path: &[String]) -> Path {
        let Some((first, rest)) = path.split_first() else { return vec![] };
        match imports(module).get(first) {
            Some(import) => import.iter().chain(rest).cloned().collect(),
            None if first == "data" => path.to_vec(),
            None => full(&ast::package(module), path),
        }
    }

    /// Full paths of the rules that some rule refers to.
    pub(crate) fn used(&self) -> BTreeSet<Path> {
        self.graph().values().flat_map(|(uses, _)| uses.iter().map(|p| (*p).clone())).collect()
    }

    /// A reference to this path may evaluate a rule.
    pub(crate) fn touches(&self, path: &[String]) -> bool {
        self.touched(path).next().is_some()
    }

    /// The module and all whose rules it uses, directly or not.
    pub(crate) fn modules_below<'m>(
        &self,
        modules: &'m [Ref<Module>],
        start: &Module,
    ) -> Vec<&'m Ref<Module>> {
        let graph = self.graph();
        let package = full(&ast::package(start), &[]);
        let mut todo: Vec<&Path> = self.rules.keys().filter(|p| p.starts_with(&package)).collect();
        let mut seen: BTreeSet<&Path> = todo.iter().copied().collect();
        while let Some(rule) = todo.pop() {
            for next in graph.get(rule).into_iter().flat_map(|(uses, _)| uses.iter().copied()) {
                if seen.insert(next) {
                    todo.push(next);
                }
            }
        }
        let used = |m: &&Ref<Module>| {
            let package = full(&ast::package(m), &[]);
            seen.iter().any(|rule| rule.len() > package.len() && rule.starts_with(&package))
        };
        modules.iter().filter(used).collect()
    }

    /// There is a rule at exactly this path.
    pub(crate) fn is_path(&self, path: &[String]) -> bool {
        self.rules.contains_key(path)
    }

    /// Some rule of the module's package begins with this name.
    pub(crate) fn is_rule(&self, module: &Module, name: &str) -> bool {
        self.touched(&full(&ast::package(module), &[name.to_owned()])).next().is_some()
    }

    /// The definitions of the rule that a reference names, or goes through.
    pub(crate) fn rules_of(&self, module: &Module, expr: &Expr) -> Vec<&'a Rule> {
        let Some((path, _)) = ast::path(expr) else { return vec![] };
        let resolved = Self::resolve(module, &path);
        let found = (2..=resolved.len()).find_map(|n| self.rules.get(&resolved[..n]));
        found.into_iter().flatten().map(|(_, rule)| *rule).collect()
    }

    /// The expression names a set or an object of rules: `deny contains …`, `latest[login] := …`.
    fn is_growing(&self, module: &Module, expr: &Expr) -> bool {
        let Some((path, true)) = ast::path(expr) else { return false };
        let grows = |r: &&Rule| is_partial(r) || matches!(r, Rule::Spec { head: RuleHead::Set { .. }, .. });
        self.rules.get(&Self::resolve(module, &path)).is_some_and(|rules| rules.iter().any(|(_, r)| grows(r)))
    }

    /// The expression names a function, ours or the engine's (`with f as g`).
    pub(crate) fn is_function(&self, module: &Module, expr: &Expr) -> bool {
        let Some((path, true)) = ast::path(expr) else { return false };
        let name = path.join(".");
        match self.rules.get(&Self::resolve(module, &path)) {
            Some(rules) => rules.iter().any(|(_, r)| ast::arity(r).is_some()),
            None => !matches!(builtins::known(&name), builtins::Known::No(_)),
        }
    }

    fn is_own_function(&self, module: &Module, expr: &Expr) -> bool {
        let path = ast::path(expr).map(|(path, _)| Self::resolve(module, &path)).unwrap_or_default();
        self.rules.get(&path).is_some_and(|rules| rules.iter().any(|(_, r)| ast::arity(r).is_some()))
    }

    /// Nothing but literals and local variables: evaluating it evaluates no rule.
    pub(crate) fn is_plain(&self, module: &Module, expr: &Ref<Expr>) -> bool {
        match expr.as_ref() {
            Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. } => false,
            Expr::Var { span, .. } => {
                let path = full(&ast::package(module), &[span.text().to_owned()]);
                self.touched(&path).next().is_none() && self.has_value(module, expr)
            }
            Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } => {
                ast::children(expr).into_iter().all(|c| self.is_plain(module, c))
            }
            _ => self.has_value(module, expr),
        }
    }

    /// Sets, and rules with a default, have a value whatever happens.
    fn always_defined(&self, path: &[String]) -> bool {
        self.rules.get(path).is_some_and(|rules| {
            rules.iter().any(|(_, r)| {
                matches!(r, Rule::Default { .. } | Rule::Spec { head: RuleHead::Set { .. }, .. })
                    || is_partial(r)
            })
        })
    }

    /// Refuses unknown and forbidden functions, wrong numbers of arguments, and functions mocked in a
    /// way that regorus does not see.
    pub(crate) fn check_calls(&self) -> Result<(), LoadError> {
        for (module, rule) in self.rules.values().flatten() {
            let mut check =
                Calls { names: self, module, imports: imports(module), condition: None, error: None };
            ast::walk_rule(rule, &mut check);
            if let Some(e) = check.error {
                return Err(e);
            }
            self.check_negated(module, rule)?;
        }
        Ok(())
    }

    /// Everything that [`Names::check_calls`] would refuse.
    pub(crate) fn all_bad_calls(&self) -> Vec<LoadError> {
        let mut out = Vec::new();
        for (module, rule) in self.rules.values().flatten() {
            let mut check =
                Calls { names: self, module, imports: imports(module), condition: None, error: None };
            ast::walk_rule(rule, &mut check);
            out.extend(check.error.into_iter().chain(self.check_negated(module, rule).err()));
        }
        out
    }

    /// Refuses variables that only negated expressions use: OPA calls them unsafe, regorus tries none.
    fn check_negated(&self, module: &Module, rule: &Rule) -> Result<(), LoadError> {
        let mut vars = Polarity::default();
        if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } = rule {
            args.iter().for_each(|a| vars.bind(a));
        }
        ast::walk_rule(rule, &mut vars);
        let open = |s: &&Span| {
            let name = s.text();
            !vars.bound.contains(name)
                && !matches!(name, "input" | "data")
                && !self.may_be_undefined(module, name)
                && self.touched(&full(&ast::package(module), &[name.to_owned()])).next().is_none()
        };
        match vars.negated.iter().find(open) {
            Some(span) => {
                Err(LoadError::span(span, format!("nothing binds `{}` outside of `not`", span.text()))
                    .help("say it as a rule or function of its own and negate that"))
            }
            None => Ok(()),
        }
    }

    /// Refuses recursion and chains that are too deep.
    pub(crate) fn check_depth(&self) -> Result<(), LoadError> {
        let graph = self.graph();
        let mut done: BTreeMap<&Path, (usize, usize)> = BTreeMap::new();
        for start in self.rules.keys() {
            self.measure(start, &graph, &mut done)?;
        }
        Ok(())
    }

    fn graph(&self) -> BTreeMap<&Path, (BTreeSet<&Path>, usize)> {
        self.rules
            .iter()
            .map(|(path, rules)| {
                let mut uses = BTreeSet::new();
                let mut weight = 0;
                for (module, rule) in rules {
                    let mut seen = Uses {
                        names: self,
                        package: ast::package(module),
                        imports: imports(module),
                        locals: locals(rule),
                        out: vec![],
                    };
                    ast::walk_rule(rule, &mut seen);
                    for target in &seen.out {
                        uses.extend(self.touched(target));
                    }
                    weight = weight.max(ast::depth(rule));
                }
                (path, (uses, weight))
            })
            .collect()
    }

    /// Depth-first with a stack of its own: the chains it looks for would overflow the real one.
    fn measure<'g>(
        &self,
        start: &'g Path,
        graph: &BTreeMap<&'g Path, (BTreeSet<&'g Path>, usize)>,
        done: &mut BTreeMap<&'g Path, (usize, usize)>,
    ) -> Result<(), LoadError> {
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.last().copied() {
            let Some((uses, weight)) = graph.get(node).filter(|_| !done.contains_key(node)) else {
                stack.pop();
                continue;
            };
            if let Some(target) = uses.iter().nth(next) {
                if let Some(from) = stack.iter().position(|(n, _)| n == target) {
                    return Err(self.recursion(&stack[from..]));
                }
                if let Some(top) = stack.last_mut() {
                    top.1 += 1;
                }
                stack.push((target, 0));
                continue;
            }
            let below =
                uses.iter().filter_map(|u| done.get(*u)).fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
            let (rules, nodes) = (below.0 + 1, below.1 + weight);
            if rules > MAX_DEPTH || nodes > MAX_WEIGHT {
                let e = self.at_head(node, "rules that use each other in too long a chain");
                return Err(e.help(format!("at most {MAX_DEPTH} rules deep: shorten the chain")));
            }
            done.insert(node, (rules, nodes));
            stack.pop();
        }
        Ok(())
    }

    fn recursion(&self, cycle: &[(&Path, usize)]) -> LoadError {
        let mut names: Vec<String> = cycle.iter().take(8).map(|(p, _)| ast::dotted(&p[1..])).collect();
        names.extend(cycle.first().map(|(p, _)| ast::dotted(&p[1..])));
        let e = match cycle.first() {
            Some((first, _)) => self.at_head(first, format!("recursion: {}", names.join(" → "))),
            None => LoadError::new("", "recursion"),
        };
        e.help("Rego has no recursion; OPA refuses it too")
    }

    fn at_head(&self, path: &Path, message: impl Into<String>) -> LoadError {
        match self.rules.get(path).and_then(|r| r.first()) {
            Some((_, rule)) => LoadError::span(ast::head(rule).span(), message),
            None => LoadError::new("", message),
        }
    }

    /// Refuses rules that stand where data stands; OPA refuses them too.
    pub(crate) fn check_data(
        &self,
        data: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), LoadError> {
        for path in self.rules.keys() {
            let mut here = Some(data);
            for (i, part) in path[1..].iter().enumerate() {
                match here.and_then(|m| m.get(part)) {
                    None => break,
                    Some(serde_json::Value::Object(inner)) if i + 2 < path.len() => here = Some(inner),
                    Some(_) => {
                        let name = ast::dotted(path);
                        return Err(
                            self.at_head(path, format!("the rule stands where a data file has `{name}`"))
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

fn full(package: &[String], rest: &[String]) -> Path {
    std::iter::once("data".to_owned()).chain(package.iter().cloned()).chain(rest.iter().cloned()).collect()
}

fn rule_path(module: &Module, rule: &Rule) -> Path {
    let (head, _) = ast::path(ast::head(rule)).unwrap_or_default();
    full(&ast::package(module), &head)
}

/// `a[k] := v`: an object that grows, defined even when empty.
fn is_partial(rule: &Rule) -> bool {
    matches!(rule, Rule::Spec { head: RuleHead::Compr { refr, .. }, .. }
        if ast::path(refr).is_none_or(|(_, whole)| !whole))
}

/// Alias → path, for imports of `data` and `input`.
pub(crate) fn imports(module: &Module) -> BTreeMap<String, Path> {
    let one = |i: &regorus::unstable::Import| {
        let (path, _) = ast::path(&i.refr)?;
        let alias = i.r#as.as_ref().map(|s| s.text().to_owned()).or_else(|| path.last().cloned())?;
        matches!(path.first().map(String::as_str), Some("data" | "input")).then_some((alias, path))
    };
    module.imports.iter().filter_map(one).collect()
}

/// Every variable that a rule declares anywhere.
pub(crate) fn locals(rule: &Rule) -> BTreeSet<String> {
    struct Locals(BTreeSet<String>);
    impl Locals {
        fn pattern(&mut self, expr: &Ref<Expr>) {
            if let Expr::Var { span, .. } = expr.as_ref() {
                self.0.insert(span.text().to_owned());
            }
            if matches!(expr.as_ref(), Expr::Array { .. } | Expr::Object { .. }) {
                ast::children(expr).into_iter().for_each(|c| self.pattern(c));
            }
        }
    }
    impl Visit for Locals {
        fn statement(&mut self, stmt: &LiteralStmt) {
            match &stmt.literal {
                Literal::SomeVars { vars, .. } => self.0.extend(vars.iter().map(|v| v.text().to_owned())),
                Literal::SomeIn { key, value, .. } => key.iter().chain([value]).for_each(|e| self.pattern(e)),
                Literal::Every { key, value, .. } => {
                    self.0.extend(key.iter().chain([value]).map(|v| v.text().to_owned()));
                }
                Literal::Expr { .. } | Literal::NotExpr { .. } => {}
            }
        }
        fn expr(&mut self, expr: &Ref<Expr>) {
            if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref() {
                self.pattern(lhs);
            }
        }
    }
    let mut out = Locals(BTreeSet::new());
    if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } | Rule::Default { args, .. } = rule {
        args.iter().for_each(|a| out.pattern(a));
    }
    ast::walk_rule(rule, &mut out);
    out.0
}

/// Variables by whether something other than a negation speaks of them.
#[derive(Default)]
struct Polarity {
    bound: BTreeSet<String>,
    negated: Vec<Span>,
}

impl Polarity {
    fn vars(expr: &Ref<Expr>, found: &mut impl FnMut(&Span)) {
        if let Expr::Var { span, .. } = ast::root(expr) {
            found(span);
        }
        ast::children(expr).into_iter().for_each(|c| Self::vars(c, found));
    }

    fn bind(&mut self, expr: &Ref<Expr>) {
        Self::vars(expr, &mut |span| {
            self.bound.insert(span.text().to_owned());
        });
    }
}

impl Visit for Polarity {
    fn statement(&mut self, stmt: &LiteralStmt) {
        match &stmt.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|e| self.bind(e));
            }
            Literal::Every { key, value, domain, .. } => {
                self.bound.extend(key.iter().chain([value]).map(|v| v.text().to_owned()));
                self.bind(domain);
            }
            Literal::Expr { expr, .. } => self.bind(expr),
            Literal::NotExpr { expr, .. } => {
                let negated = &mut self.negated;
                // The name of a called function is no variable.
                let called = |e: &Ref<Expr>| match e.as_ref() {
                    Expr::Call { fcn, .. } => Some(fcn.span().start),
                    _ => None,
                };
                let mut functions = BTreeSet::new();
                Self::calls(expr, &mut |e| functions.extend(called(e)));
                Self::vars(expr, &mut |span| {
                    if !functions.contains(&span.start) {
                        negated.push(span.clone());
                    }
                });
            }
        }
    }
}

impl Polarity {
    fn calls(expr: &Ref<Expr>, found: &mut impl FnMut(&Ref<Expr>)) {
        found(expr);
        ast::children(expr).into_iter().for_each(|c| Self::calls(c, found));
    }
}

/// Collects the full paths that a rule refers to.
struct Uses<'s, 'a> {
    names: &'s Names<'a>,
    package: Path,
    imports: BTreeMap<String, Path>,
    locals: BTreeSet<String>,
    out: Vec<Path>,
}

impl Uses<'_, '_> {
    fn refer(&mut self, expr: &Expr, is_call: bool) {
        let Some((path, _)) = ast::path(expr) else { return };
        let Some(first) = path.first() else { return };
        if first == "data" {
            self.out.push(path);
        } else if !is_call && self.locals.contains(first) {
        } else if let Some(import) = self.imports.get(first) {
            self.out.push(import.iter().chain(&path[1..]).cloned().collect());
        } else {
            let own = full(&self.package, &path);
            if self.names.touched(&own).next().is_some() {
                self.out.push(own);
            }
        }
    }
}

impl Visit for Uses<'_, '_> {
    fn expr(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.refer(expr, false),
            Expr::Call { fcn, .. } => self.refer(fcn, true),
            _ => {}
        }
    }
}

struct Calls<'s, 'a> {
    names: &'s Names<'a>,
    module: &'a Module,
    imports: BTreeMap<String, Path>,
    /// Index of the expression that is a statement of its own.
    condition: Option<u32>,
    error: Option<LoadError>,
}

impl Calls<'_, '_> {
    fn check(&self, fcn: &Expr, given: usize) -> Result<(), LoadError> {
        let Some((path, true)) = ast::path(fcn) else {
            return Err(LoadError::span(fcn.span(), "a call needs a plain name"));
        };
        let name = path.join(".");
        let resolved = Names::resolve(self.module, &path);
        let named = path.first().is_some_and(|first| first == "data" || self.imports.contains_key(first));
        let target = (named || self.names.rules.contains_key(&resolved)).then_some(resolved);
        let expected = match target {
            Some(target) => {
                self.names.rules.get(&target).and_then(|r| r.iter().find_map(|(_, r)| ast::arity(r)))
            }
            None => match builtins::known(&name) {
                builtins::Known::Yes(arity) => arity.or(Some(given)),
                builtins::Known::Forbidden(why) => {
                    return Err(LoadError::span(fcn.span(), format!("`{name}` is not allowed: {why}")));
                }
                builtins::Known::No(help) => {
                    let e = LoadError::span(fcn.span(), format!("there is no function `{name}`"));
                    return Err(match help {
                        Some(help) => e.help(help),
                        None => e,
                    });
                }
            },
        };
        match expected {
            None => Err(LoadError::span(fcn.span(), format!("there is no function `{name}`"))),
            Some(n) if n == given => Ok(()),
            // The one relation: `walk(x, [path, value])` iterates, in both engines.
            Some(1) if given == 2 && name == "walk" => Ok(()),
            Some(n) => {
                let e = LoadError::span(fcn.span(), format!("`{name}` takes {n} arguments, not {given}"));
                Err(if given == n + 1 {
                    e.help(format!("write `x := {name}(…)` for its result"))
                } else {
                    e
                })
            }
        }
    }
}

impl Calls<'_, '_> {
    /// As a value, `x in <undefined>` is false here and undefined in OPA. As a condition it is the same.
    fn membership(&self, expr: &Ref<Expr>) -> Result<(), LoadError> {
        if self.condition == Some(expr.eidx()) || !matches!(expr.as_ref(), Expr::Membership { .. }) {
            return Ok(());
        }
        match ast::children(expr).into_iter().find(|e| !self.names.has_value(self.module, e)) {
            Some(e) => {
                Err(LoadError::span(e.span(), "`v in c` as a value, with a part that may be undefined")
                    .help("give the part a name first: `c := …`, then `x := v in c`"))
            }
            None => Ok(()),
        }
    }
}

impl Calls<'_, '_> {
    /// Sets stand before objects here and after them in OPA.
    fn order(&self, expr: &Ref<Expr>) -> Result<(), LoadError> {
        let Expr::BoolExpr { op, lhs, rhs, .. } = expr.as_ref() else { return Ok(()) };
        if matches!(op, BoolOp::Eq | BoolOp::Ne) {
            return Ok(());
        }
        match [lhs, rhs].into_iter().find(|e| self.is_set_or_object(e)) {
            Some(side) => Err(LoadError::span(side.span(), "a set or object compared by order")
                .help("compare their `count`s")),
            None => Ok(()),
        }
    }

    fn is_set_or_object(&self, expr: &Ref<Expr>) -> bool {
        match expr.as_ref() {
            Expr::Set { .. }
            | Expr::Object { .. }
            | Expr::SetCompr { .. }
            | Expr::ObjectCompr { .. }
            | Expr::BinExpr { .. } => true,
            Expr::ArithExpr { lhs, rhs, .. } => self.is_set_or_object(lhs) || self.is_set_or_object(rhs),
            Expr::Call { fcn, .. } => {
                matches!(
                    fcn.span().text(),
                    "union"
                        | "intersection"
                        | "object.union"
                        | "object.union_n"
                        | "object.filter"
                        | "object.remove"
                        | "object.keys"
                        | "json.filter"
                        | "json.remove"
                )
            }
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                self.names.is_growing(self.module, expr)
            }
            _ => false,
        }
    }
}

impl Visit for Calls<'_, '_> {
    fn statement(&mut self, stmt: &LiteralStmt) {
        // regorus does not carry such a mock to calls inside the function's own package.
        let mocked = stmt.with_mods.iter().find(|w| self.names.is_own_function(self.module, &w.refr));
        if let (Some(with), None) = (mocked, &self.error) {
            let e = LoadError::span(with.refr.span(), "`with` in place of a function of the policies");
            self.error = Some(e.help("put other `input` or `data` in place, which the function reads"));
        }
        self.condition = match &stmt.literal {
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => Some(expr.eidx()),
            _ => None,
        };
    }

    fn expr(&mut self, expr: &Ref<Expr>) {
        if self.error.is_none() {
            self.error = self.membership(expr).and_then(|()| self.order(expr)).err();
        }
        if let (Expr::Call { fcn, params, .. }, None) = (expr.as_ref(), &self.error) {
            self.error = self.check(fcn, params.len()).err();
        }
    }
}
