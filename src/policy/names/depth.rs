//! Who uses whom, how deep: recursion and chains that would overflow the stack are refused.

use std::collections::{BTreeSet, HashMap};

use regorus::unstable::{Expr, Module, Ref, Rule};

use super::{
    super::{
        ast::{self, Visit},
        error::LoadError,
    },
    Names, Path, Scope, full, locals,
};

/// Rules on the longest path of calls. Fits in 64 MiB of stack several times over.
const MAX_DEPTH: usize = 1000;
/// Nodes of syntax trees on that path, one inside the other.
const MAX_WEIGHT: usize = 10_000;

/// What a rule uses.
pub(super) struct Uses {
    /// Numbers of rules, in the order of their paths.
    rules: Vec<usize>,
    /// Nodes of its syntax tree, one inside the other.
    weight: usize,
}

impl Names<'_> {
    /// Refuses recursion and chains that are too deep.
    pub(crate) fn check_depth(&self) -> Result<(), LoadError> {
        let paths: Vec<&Path> = self.rules.keys().collect();
        let mut done = vec![None; paths.len()];
        (0..paths.len()).try_for_each(|start| self.measure(start, &paths, &mut done))
    }

    /// Full paths of the rules that some rule of these modules refers to.
    pub(crate) fn used(&self, by: impl Fn(&Module) -> bool) -> BTreeSet<&[String]> {
        let paths: Vec<&Path> = self.rules.keys().collect();
        let users = self.rules.values().zip(self.graph());
        let users = users.filter(|(rules, _)| rules.iter().any(|(module, _)| by(module)));
        users.flat_map(|(_, uses)| &uses.rules).map(|n| paths[*n].as_slice()).collect()
    }

    /// The module and all whose rules it uses, directly or not.
    pub(crate) fn modules_below<'m>(
        &self,
        modules: &'m [Ref<Module>],
        start: &Module,
    ) -> Vec<&'m Ref<Module>> {
        let paths: Vec<&Path> = self.rules.keys().collect();
        let package = full(&self.scope(start).package, &[]);
        let mut todo: Vec<usize> = (0..paths.len()).filter(|n| paths[*n].starts_with(&package)).collect();
        let mut seen: BTreeSet<usize> = todo.iter().copied().collect();
        while let Some(rule) = todo.pop() {
            todo.extend(self.graph()[rule].rules.iter().copied().filter(|next| seen.insert(*next)));
        }
        let used = |m: &&Ref<Module>| {
            let package = full(&self.scope(m).package, &[]);
            seen.iter().any(|n| paths[*n].len() > package.len() && paths[*n].starts_with(&package))
        };
        modules.iter().filter(used).collect()
    }

    /// What each rule uses, in the order of the paths.
    fn graph(&self) -> &[Uses] {
        self.graph.get_or_init(|| {
            let numbers: HashMap<&Path, usize> = self.rules.keys().zip(0..).collect();
            let one = |rules: &Vec<(&Module, &Rule)>| {
                let mut uses = BTreeSet::new();
                let mut weight = 0;
                for (module, rule) in rules {
                    let scope = self.scope(module);
                    let mut seen =
                        References { names: self, scope: &scope, locals: locals(rule), out: vec![] };
                    ast::walk_rule(rule, &mut seen);
                    for target in &seen.out {
                        uses.extend(self.touched(target).filter_map(|path| numbers.get(path)));
                    }
                    weight = weight.max(ast::depth(rule));
                }
                Uses { rules: uses.into_iter().collect(), weight }
            };
            self.rules.values().map(one).collect()
        })
    }

    /// Depth-first with a stack of its own: the chains it looks for would overflow the real one.
    fn measure(
        &self,
        start: usize,
        paths: &[&Path],
        done: &mut [Option<(usize, usize)>],
    ) -> Result<(), LoadError> {
        let graph = self.graph();
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.last().copied() {
            if done[node].is_some() {
                stack.pop();
                continue;
            }
            let Uses { rules: uses, weight } = &graph[node];
            if let Some(target) = uses.get(next) {
                if let Some(from) = stack.iter().position(|(n, _)| n == target) {
                    let cycle: Vec<&Path> = stack[from..].iter().map(|(n, _)| paths[*n]).collect();
                    return Err(self.recursion(&cycle));
                }
                if let Some(top) = stack.last_mut() {
                    top.1 += 1;
                }
                stack.push((*target, 0));
                continue;
            }
            let below =
                uses.iter().filter_map(|u| done[*u]).fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
            let (rules, nodes) = (below.0 + 1, below.1 + weight);
            if rules > MAX_DEPTH || nodes > MAX_WEIGHT {
                let e = self.at_head(paths[node], "rules that use each other in too long a chain");
                return Err(e.help(format!("at most {MAX_DEPTH} rules deep: shorten the chain")));
            }
            done[node] = Some((rules, nodes));
            stack.pop();
        }
        Ok(())
    }

    fn recursion(&self, cycle: &[&Path]) -> LoadError {
        let mut names: Vec<String> = cycle.iter().take(8).map(|p| ast::dotted(&p[1..])).collect();
        names.extend(cycle.first().map(|p| ast::dotted(&p[1..])));
        let e = match cycle.first() {
            Some(first) => self.at_head(first, format!("recursion: {}", names.join(" → "))),
            None => LoadError::new("", "recursion"),
        };
        e.help("Rego has no recursion; OPA refuses it too")
    }
}

/// Collects the full paths that a rule refers to.
struct References<'s, 'a> {
    names: &'s Names<'a>,
    scope: &'s Scope,
    locals: BTreeSet<String>,
    out: Vec<Path>,
}

impl References<'_, '_> {
    fn refer(&mut self, expr: &Expr, is_call: bool) {
        let Some((path, _)) = ast::path(expr) else { return };
        let Some(first) = path.first() else { return };
        if first == "data" {
            self.out.push(path);
        } else if !is_call && self.locals.contains(first) {
        } else if let Some(import) = self.scope.imports.get(first) {
            self.out.push(import.iter().chain(&path[1..]).cloned().collect());
        } else {
            let own = full(&self.scope.package, &path);
            if self.names.touched(&own).next().is_some() {
                self.out.push(own);
            }
        }
    }
}

impl Visit for References<'_, '_> {
    fn expr(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.refer(expr, false),
            Expr::Call { fcn, .. } => self.refer(fcn, true),
            _ => {}
        }
    }
}
