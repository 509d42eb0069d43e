//! Which functions rules call, and what they compare: what regorus answers otherwise than OPA is refused.

use std::collections::BTreeSet;

use regorus::unstable::{BoolOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleHead, Span};

use super::{
    super::{
        ast::{self, Visit},
        builtins,
        error::LoadError,
    },
    Names, Scope,
};

impl Names<'_> {
    /// Refuses unknown and forbidden functions, wrong numbers of arguments, and functions mocked in a
    /// way that regorus does not see.
    pub(crate) fn check_calls(&self) -> Result<(), LoadError> {
        for (module, rule) in self.rules.values().flatten() {
            let scope = self.scope(module);
            let mut check = Calls { names: self, module, scope: &scope, condition: None, error: None };
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
            let scope = self.scope(module);
            let mut check = Calls { names: self, module, scope: &scope, condition: None, error: None };
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
        match vars.negated.iter().find(|s| self.is_open(module, &vars, s)) {
            Some(span) => {
                Err(LoadError::span(span, format!("nothing binds `{}` outside of `not`", span.text()))
                    .help("say it as a rule or function of its own and negate that"))
            }
            None => Ok(()),
        }
    }

    /// A variable that no rule, import or statement gives a value.
    fn is_open(&self, module: &Module, vars: &Polarity, span: &Span) -> bool {
        let name = span.text();
        !vars.bound.contains(name) && !matches!(name, "input" | "data") && !self.is_named(module, name)
    }

    /// The name of a rule or an import.
    fn is_named(&self, module: &Module, name: &str) -> bool {
        self.scope(module).imports.contains_key(name) || self.is_rule(module, name)
    }

    /// Variables in heads that nothing binds: OPA calls them unsafe; regorus finds them when it evaluates.
    pub(crate) fn unsafe_heads(&self) -> Vec<LoadError> {
        self.rules.values().flatten().filter_map(|(module, rule)| self.unsafe_head(module, rule)).collect()
    }

    fn unsafe_head(&self, module: &Module, rule: &Rule) -> Option<LoadError> {
        let Rule::Spec { head, bodies, .. } = rule else { return None };
        let mut vars = Polarity::default();
        if let RuleHead::Func { args, .. } = head {
            args.iter().for_each(|a| vars.bind(a));
        }
        // What a comprehension binds is its own.
        bodies.iter().flat_map(|b| &b.query.stmts).for_each(|stmt| vars.statement(stmt));
        let mut used = Vec::new();
        // `latest[login] := …`: each index is a value that is given; in a value, an index may find its own.
        for index in ast::children(ast::head(rule)) {
            vars.head(index, &mut used);
        }
        let values = bodies.iter().filter_map(|b| b.assign.as_ref()).map(|a| &a.value);
        ast::head_value(head).into_iter().chain(values).for_each(|e| vars.head(e, &mut used));
        let open = used.iter().find(|s| self.is_open(module, &vars, s))?;
        let e = LoadError::span(open, format!("nothing binds `{}`", open.text()));
        Some(e.help("give it a value in the body"))
    }
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

impl Polarity {
    /// The variables of a head's expression. An index that is a variable runs through what is there, and so
    /// has a value; a comprehension sees to its own.
    fn head(&mut self, expr: &Ref<Expr>, used: &mut Vec<Span>) {
        if ast::comprehension(expr).is_some() {
            return;
        }
        if let Expr::Var { span, .. } = ast::root(expr) {
            used.push(span.clone());
        }
        let parts = match expr.as_ref() {
            Expr::Call { params, .. } => params.iter().collect(),
            _ => ast::children(expr),
        };
        let is_reference = matches!(expr.as_ref(), Expr::RefDot { .. } | Expr::RefBrack { .. });
        for part in parts {
            match part.as_ref() {
                Expr::Var { .. } if is_reference => self.bind(part),
                _ => self.head(part, used),
            }
        }
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

struct Calls<'s, 'a> {
    names: &'s Names<'a>,
    module: &'a Module,
    scope: &'s Scope,
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
        let resolved = self.scope.resolve(&path);
        let named =
            path.first().is_some_and(|first| first == "data" || self.scope.imports.contains_key(first));
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
            Some(1) if given == 1 && name == "walk" => {
                let e = LoadError::span(fcn.span(), "`walk` as a value is not as OPA has it");
                Err(e.help("write `walk(x, [path, value])`"))
            }
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

    /// One of the rules that make an object is not all of it.
    fn half(&self, expr: &Ref<Expr>) -> Result<(), LoadError> {
        let (Expr::RefDot { .. } | Expr::RefBrack { .. }) = expr.as_ref() else { return Ok(()) };
        let Some((path, _)) = ast::path(expr) else { return Ok(()) };
        match self.names.sees_half(&self.scope.resolve(&path)) {
            true => Err(LoadError::span(
                ast::root(expr).span(),
                format!("`{}`, which rules with fixed and with variable keys fill", ast::dotted(&path)),
            )
            .help("give the rules with fixed keys another name")),
            false => Ok(()),
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
            self.error =
                self.membership(expr).and_then(|()| self.order(expr)).and_then(|()| self.half(expr)).err();
        }
        if let (Expr::Call { fcn, params, .. }, None) = (expr.as_ref(), &self.error) {
            self.error = self.check(fcn, params.len()).err();
        }
    }
}
