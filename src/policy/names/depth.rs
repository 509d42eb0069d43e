//! Who uses whom, how deep: recursion and chains that would overflow the stack are refused.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Ref};

use super::{
    super::{
        ast::{self, Visit},
        error::LoadError,
    },
    Names, Path, full, imports, locals,
};

/// Rules on the longest path of calls. Fits in 64 MiB of stack several times over.
const MAX_DEPTH: usize = 1000;
/// Nodes of syntax trees on that path, one inside the other.
const MAX_WEIGHT: usize = 10_000;

impl Names<'_> {
    /// Refuses recursion and chains that are too deep.
    pub(crate) fn check_depth(&self) -> Result<(), LoadError> {
        let graph = self.graph();
        let mut done: BTreeMap<&Path, (usize, usize)> = BTreeMap::new();
        for start in self.rules.keys() {
            self.measure(start, &graph, &mut done)?;
        }
        Ok(())
    }

    pub(super) fn graph(&self) -> BTreeMap<&Path, (BTreeSet<&Path>, usize)> {
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
