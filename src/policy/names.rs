//! Which rules there are, what each name means, who uses whom.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::OnceLock,
};

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleHead};

use super::{
    ast::{self, Visit},
    builtins,
    error::LoadError,
};

mod calls;
mod depth;

type Path = Vec<String>;

/// The rules of a bundle by their full path (`data`, package, name).
pub(crate) struct Names<'a> {
    rules: BTreeMap<Path, Vec<(&'a Module, &'a Rule)>>,
    /// By the path of the file.
    scopes: HashMap<&'a str, Scope>,
    /// Made when it is first asked for.
    graph: OnceLock<Vec<depth::Uses>>,
}

/// What the names in a file begin with.
#[derive(Clone)]
pub(crate) struct Scope {
    pub package: Path,
    /// Alias → path, for imports of `data` and `input`.
    pub imports: BTreeMap<String, Path>,
}

impl Scope {
    fn new(module: &Module) -> Self {
        Self { package: ast::package(module), imports: imports(module) }
    }

    /// What a reference without variable indexes means, from `data` on.
    fn resolve(&self, path: &[String]) -> Path {
        let Some((first, rest)) = path.split_first() else { return vec![] };
        match self.imports.get(first) {
            Some(import) => import.iter().chain(rest).cloned().collect(),
            None if first == "data" => path.to_vec(),
            None => full(&self.package, path),
        }
    }

    /// The same; `input` is what it is.
    pub(crate) fn resolve_any(&self, path: &[String]) -> Path {
        match path.first() {
            Some(first) if first == "input" && !self.imports.contains_key(first) => path.to_vec(),
            _ => self.resolve(path),
        }
    }
}

impl<'a> Names<'a> {
    pub(crate) fn new(modules: &'a [Ref<Module>]) -> Self {
        let mut rules: BTreeMap<Path, Vec<_>> = BTreeMap::new();
        let mut scopes = HashMap::new();
        for module in modules {
            let scope = Scope::new(module);
            for rule in &module.policy {
                let (head, _) = ast::path(ast::head(rule)).unwrap_or_default();
                let path = full(&scope.package, &head);
                rules.entry(path).or_default().push((module.as_ref(), rule.as_ref()));
            }
            scopes.insert(module.package.span.source.file().as_str(), scope);
        }
        Self { rules, scopes, graph: OnceLock::new() }
    }

    /// Package and imports of a module. One that was rewritten has those of the author's, whose path it has.
    pub(crate) fn scope(&self, module: &Module) -> Cow<'_, Scope> {
        match self.scopes.get(module.package.span.source.file().as_str()) {
            Some(scope) => Cow::Borrowed(scope),
            None => Cow::Owned(Scope::new(module)),
        }
    }

    /// Is there a rule at exactly `data.<package>.<name>`?
    pub(crate) fn declares(&self, package: &[String], name: &str) -> bool {
        self.rules.contains_key(&full(package, &[name.to_owned()]))
    }

    /// Names of the package's own rules that are no functions.
    pub(crate) fn values_of<'p>(&'p self, package: &[String]) -> impl Iterator<Item = &'p str> + use<'p, 'a> {
        let start = full(package, &[]);
        let below = self.rules.range(start.clone()..).take_while({
            let start = start.clone();
            move |(path, _)| path.starts_with(&start)
        });
        let own = below.filter(move |(path, rules)| {
            path.len() == start.len() + 1 && rules.iter().all(|(_, r)| ast::arity(r).is_none())
        });
        own.filter_map(|(path, _)| path.last()).map(String::as_str)
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
        let scope = self.scope(module);
        if scope.imports.contains_key(name) {
            return true;
        }
        let path = full(&scope.package, &[name.to_owned()]);
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
    fn resolve(&self, module: &Module, path: &[String]) -> Path {
        self.scope(module).resolve(path)
    }

    /// A reference to this path may evaluate a rule.
    pub(crate) fn touches(&self, path: &[String]) -> bool {
        self.touched(path).next().is_some()
    }

    /// There is a rule at exactly this path.
    pub(crate) fn is_path(&self, path: &[String]) -> bool {
        self.rules.contains_key(path)
    }

    /// Some rule of the module's package begins with this name.
    pub(crate) fn is_rule(&self, module: &Module, name: &str) -> bool {
        self.touched(&full(&self.scope(module).package, &[name.to_owned()])).next().is_some()
    }

    /// The definitions of the rule that a reference names, or goes through.
    pub(crate) fn rules_of(&self, module: &Module, expr: &Expr) -> Vec<&'a Rule> {
        let Some((path, _)) = ast::path(expr) else { return vec![] };
        let resolved = self.resolve(module, &path);
        let found = (2..=resolved.len()).find_map(|n| self.rules.get(&resolved[..n]));
        found.into_iter().flatten().map(|(_, rule)| *rule).collect()
    }

    /// The expression names a set or an object of rules: `deny contains …`, `latest[login] := …`.
    fn is_growing(&self, module: &Module, expr: &Expr) -> bool {
        let Some((path, true)) = ast::path(expr) else { return false };
        let grows = |r: &&Rule| is_partial(r) || matches!(r, Rule::Spec { head: RuleHead::Set { .. }, .. });
        self.rules.get(&self.resolve(module, &path)).is_some_and(|rules| rules.iter().any(|(_, r)| grows(r)))
    }

    /// The expression names a function, ours or the engine's (`with f as g`).
    pub(crate) fn is_function(&self, module: &Module, expr: &Expr) -> bool {
        let Some((path, true)) = ast::path(expr) else { return false };
        let name = path.join(".");
        match self.rules.get(&self.resolve(module, &path)) {
            Some(rules) => rules.iter().any(|(_, r)| ast::arity(r).is_some()),
            None => !matches!(builtins::known(&name), builtins::Known::No(_)),
        }
    }

    fn is_own_function(&self, module: &Module, expr: &Expr) -> bool {
        let path = ast::path(expr).map(|(path, _)| self.resolve(module, &path)).unwrap_or_default();
        self.rules.get(&path).is_some_and(|rules| rules.iter().any(|(_, r)| ast::arity(r).is_some()))
    }

    /// Nothing but literals and local variables: evaluating it evaluates no rule.
    pub(crate) fn is_plain(&self, module: &Module, expr: &Ref<Expr>) -> bool {
        match expr.as_ref() {
            Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. } => false,
            Expr::Var { span, .. } => {
                let path = full(&self.scope(module).package, &[span.text().to_owned()]);
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

    fn at_head(&self, path: &Path, message: impl Into<String>) -> LoadError {
        match self.rules.get(path).and_then(|r| r.first()) {
            Some((_, rule)) => LoadError::span(ast::head(rule).span(), message),
            None => LoadError::new("", message),
        }
    }

    /// A reference to `a.b` where both `a[k] := …` and `a.b := …` are rules: the engine sees the latter only.
    fn sees_half(&self, path: &[String]) -> bool {
        let fills = |r: &&Rule| ast::path(ast::head(r)).is_none_or(|(_, whole)| !whole);
        (2..path.len()).any(|n| {
            let filled = self.rules.get(&path[..n]).is_some_and(|rules| rules.iter().any(|(_, r)| fills(r)));
            filled && self.touched(path).any(|p| p.len() > n)
        })
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

/// From `data` on.
pub(crate) fn full(package: &[String], rest: &[String]) -> Path {
    std::iter::once("data".to_owned()).chain(package.iter().cloned()).chain(rest.iter().cloned()).collect()
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
