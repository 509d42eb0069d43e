//! Packages in several files, as OPA and conftest have them.
//!
//! The engine keeps imports by package, and evaluates a package as a whole in one file after the other: of two files it
//! would take one's imports for the other's, and see, through an import of the package, only some of its rules. So in the
//! text that it reads such imports are written out where they stand for something, and what would still be seen in part
//! is refused.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module, Ref, Span};

use super::{
    ast::{self, Visit},
    bundle::is_test,
    error::LoadError,
    names::{Names, Scope, full, locals},
};

/// Full paths (from `data` on) of packages in several files.
#[derive(Default)]
pub(crate) struct Spread {
    /// Several files besides tests.
    policies: BTreeSet<Vec<String>>,
    /// Shared with tests, which import something else under the same name.
    quarrels: BTreeSet<Vec<String>>,
}

impl Spread {
    pub(crate) fn of(modules: &[Ref<Module>], names: &Names<'_>) -> Self {
        let mut packages: BTreeMap<Vec<String>, Vec<&Ref<Module>>> = BTreeMap::new();
        for module in modules {
            packages.entry(full(&names.scope(module).package, &[])).or_default().push(module);
        }
        let mut out = Self::default();
        for (package, files) in packages.into_iter().filter(|(_, files)| files.len() > 1) {
            let tests = files.iter().filter(|m| is_test(m.package.span.source.file())).count();
            if files.len() - tests > 1 {
                out.policies.insert(package);
            } else if disagree(names, &files) {
                out.quarrels.insert(package);
            }
        }
        out
    }

    /// Refuses what the engine would see in part.
    ///
    /// # Errors
    /// A function in several files; a reference to the package as a whole.
    pub(crate) fn check(&self, modules: &[Ref<Module>], names: &Names<'_>) -> Result<(), LoadError> {
        if self.policies.is_empty() {
            return Ok(());
        }
        let mut functions: BTreeMap<Vec<String>, &Module> = BTreeMap::new();
        for module in modules {
            let scope = names.scope(module);
            let mut wholes = Wholes { spread: self, scope: &scope, error: None };
            ast::walk_module(module, &mut wholes);
            if let Some(e) = wholes.error {
                return Err(e);
            }
            if !self.policies.contains(&full(&scope.package, &[])) {
                continue;
            }
            for rule in module.policy.iter().filter(|rule| ast::arity(rule).is_some()) {
                let head = ast::head(rule);
                let Some((name, _)) = ast::path(head) else { continue };
                let first = *functions.entry(full(&scope.package, &name)).or_insert(module);
                if !std::ptr::eq(first, module.as_ref()) {
                    let other = first.package.span.source.file();
                    let message = format!("the function `{}` is in {other} too", ast::dotted(&name));
                    return Err(LoadError::span(head.span(), message).help("keep a function in one file"));
                }
            }
        }
        Ok(())
    }

    /// The text of a module with imports written out. `None`: nothing to change.
    ///
    /// # Errors
    /// A variable with the name of such an import.
    pub(crate) fn write_out(&self, module: &Module, names: &Names<'_>) -> Result<Option<String>, LoadError> {
        if self.policies.is_empty() && self.quarrels.is_empty() {
            return Ok(None);
        }
        let scope = names.scope(module);
        let package = full(&scope.package, &[]);
        let all = self.policies.contains(&package) || self.quarrels.contains(&package);
        let wanted: BTreeMap<&str, &[String]> = scope
            .imports
            .iter()
            .filter(|(_, path)| all || self.policies.iter().any(|p| p.starts_with(path)))
            .map(|(alias, path)| (alias.as_str(), path.as_slice()))
            .collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut uses = Uses { wanted: &wanted, found: vec![] };
        for rule in &module.policy {
            if let Some(name) = locals(rule).iter().find(|name| wanted.contains_key(name.as_str())) {
                let message = format!("`{name}` is a variable here and an import above");
                return Err(LoadError::span(ast::head(rule).span(), message)
                    .help("give one of them another name: a package of several files is involved"));
            }
            ast::walk_rule(rule, &mut uses);
        }
        let mut text = module.package.span.source.contents().clone();
        let mut edits = uses.found;
        for import in &module.imports {
            let alias = import.r#as.as_ref().map(|s| s.text().to_owned());
            let alias = alias.or_else(|| ast::path(&import.refr).and_then(|(path, _)| path.last().cloned()));
            if alias.is_some_and(|alias| wanted.contains_key(alias.as_str())) {
                let blank = |c: char| if c == '\n' { "\n".to_owned() } else { " ".repeat(c.len_utf8()) };
                edits.push((import.span.clone(), import.span.text().chars().map(blank).collect()));
            }
        }
        edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        for (span, new) in edits {
            text.replace_range(span.start as usize..span.end as usize, &new);
        }
        Ok(Some(text))
    }
}

/// Two files import different things under one name.
fn disagree(names: &Names<'_>, files: &[&Ref<Module>]) -> bool {
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    files
        .iter()
        .flat_map(|module| names.scope(module).imports.clone())
        .any(|(alias, path)| known.insert(alias, path.clone()).is_some_and(|other| other != path))
}

/// References that take a package as a whole.
struct Wholes<'s> {
    spread: &'s Spread,
    scope: &'s Scope,
    error: Option<LoadError>,
}

impl Visit for Wholes<'_> {
    fn expr(&mut self, expr: &Ref<Expr>) {
        let is_reference =
            matches!(expr.as_ref(), Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. });
        let Some((path, _)) = ast::path(expr).filter(|_| is_reference && self.error.is_none()) else {
            return;
        };
        let first = path.first().map_or("", String::as_str);
        if first != "data" && !self.scope.imports.contains_key(first) {
            return;
        }
        let path = self.scope.resolve_any(&path);
        if let Some(package) = self.spread.policies.iter().find(|package| package.starts_with(&path)) {
            let (whole, package) = (ast::dotted(&path), ast::dotted(package));
            let message =
                format!("`{whole}` as a whole, with the package `{package}`, which is in several files");
            self.error = Some(
                LoadError::span(ast::root(expr).span(), message)
                    .help(format!("name the rule, as in `{package}.deny`, or keep the package in one file")),
            );
        }
    }
}

/// Where imports are used.
struct Uses<'w> {
    wanted: &'w BTreeMap<&'w str, &'w [String]>,
    found: Vec<(Span, String)>,
}

impl Visit for Uses<'_> {
    fn expr(&mut self, expr: &Ref<Expr>) {
        if let Expr::Var { span, .. } = ast::root(expr)
            && let Some(path) = self.wanted.get(span.text())
        {
            self.found.push((span.clone(), ast::dotted(path)));
        }
    }
}
