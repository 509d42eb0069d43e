//! Is the query one that GitHub would run, and what does it cost?
//!
//! Cost: <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>:
//! the requests of every connection, its parents filled to their limit, over 100, rounded, at least 1.

use std::collections::BTreeSet;

use graphql_parser::query::{Field, Selection, SelectionSet, Type, Value as Literal};
use serde_json::{Value, json};

use super::{
    Cost, Refused,
    document::{Doc, Part, Variables, literal, on},
    schema::schema,
};

/// Nodes one call may ask for.
const NODE_LIMIT: u64 = 500_000;

/// A query that may run.
pub struct Plan {
    pub variables: Variables,
    pub cost: Cost,
}

/// # Errors
/// What GitHub refuses before running: unknown fields, arguments, fragments, variables; wrong values.
pub fn check(doc: &Doc<'_>, given: &Value) -> Result<Plan, Refused> {
    let mut walk = Walk { doc, errors: vec![], used: BTreeSet::new(), fragments: BTreeSet::new() };
    walk.set(&doc.query.selection_set, "Query");
    walk.unused();
    if !walk.errors.is_empty() {
        return Err(Refused(walk.errors));
    }
    let variables = variables(doc, given)?;
    let mut count = Count { doc, variables: &variables, requests: 0, nodes: 0, errors: vec![] };
    count.set(&doc.query.selection_set, "Query", 1);
    if count.nodes > NODE_LIMIT {
        let message = format!(
            "This query requests up to {} possible nodes which exceeds the maximum limit of 500,000.",
            count.nodes
        );
        count.errors.push(json!({"type": "MAX_NODE_LIMIT_EXCEEDED", "message": message}));
    }
    if !count.errors.is_empty() {
        return Err(Refused(count.errors));
    }
    let points = ((count.requests + 50) / 100).max(1);
    let nodes = count.nodes;
    Ok(Plan { variables, cost: Cost { points, nodes } })
}

/// Looks at every part, also those that `@include` switches off.
struct Walk<'d, 'a> {
    doc: &'d Doc<'a>,
    errors: Vec<Value>,
    used: BTreeSet<String>,
    fragments: BTreeSet<String>,
}

impl<'d, 'a> Walk<'d, 'a> {
    fn fail(&mut self, code: &str, message: String) {
        self.errors.push(json!({"message": message, "extensions": {"code": code}}));
    }

    fn set(&mut self, set: &'d SelectionSet<'a, String>, parent: &str) {
        for s in &set.items {
            match s {
                Selection::Field(f) => self.field(f, parent),
                Selection::InlineFragment(f) => {
                    self.directives(&f.directives);
                    let target = f.type_condition.as_ref().map_or(parent, on);
                    self.fits(target, parent);
                    self.set(&f.selection_set, target);
                }
                Selection::FragmentSpread(f) => {
                    self.directives(&f.directives);
                    self.spread(&f.fragment_name, parent);
                }
            }
        }
    }

    fn spread(&mut self, name: &str, parent: &str) {
        let doc: &'d Doc<'a> = self.doc;
        let Some(fragment) = doc.fragments.get(name) else {
            return self.fail("useAndDefineFragment", format!("Fragment {name} was used, but not defined"));
        };
        let target = on(&fragment.type_condition);
        self.fits(target, parent);
        // Once is enough, and a fragment that spreads itself would never end.
        if self.fragments.insert(name.to_owned()) {
            self.set(&fragment.selection_set, target);
        }
    }

    fn fits(&mut self, target: &str, parent: &str) {
        let s = schema();
        if !s.knows(target) {
            self.fail("undefinedType", format!("No such type {target}, so it can't be a fragment condition"));
        } else if s.possible(target).is_disjoint(&s.possible(parent)) {
            self.fail(
                "cannotSpreadFragment",
                format!("Fragment on {target} can't be spread inside {parent}"),
            );
        }
    }

    fn field(&mut self, f: &'d Field<'a, String>, parent: &str) {
        self.directives(&f.directives);
        f.arguments.iter().for_each(|(_, v)| self.value(v));
        if f.name == "__typename" {
            return;
        }
        let Some(known) = schema().field(parent, &f.name) else {
            let message = format!("Field '{}' doesn't exist on type '{parent}'", f.name);
            let extensions = json!({"code": "undefinedField", "typeName": parent, "fieldName": f.name});
            let locations = json!([{"line": f.position.line, "column": f.position.column}]);
            return self
                .errors
                .push(json!({"message": message, "extensions": extensions, "locations": locations}));
        };
        for (name, value) in &f.arguments {
            match known.arguments.get(name) {
                None => self.fail(
                    "argumentNotAccepted",
                    format!("Field '{}' doesn't accept argument '{name}'", f.name),
                ),
                Some((kind, _)) => self.enum_values(kind, value),
            }
        }
        for (name, _) in known.arguments.iter().filter(|(_, (_, must))| *must) {
            if !f.arguments.iter().any(|(n, _)| n == name) {
                let message = format!("Field '{}' is missing required arguments: {name}", f.name);
                self.fail("missingRequiredArguments", message);
            }
        }
        let object = schema().knows(&known.kind);
        if object == f.selection_set.items.is_empty() {
            let wrong = if object { "must have" } else { "can't have" };
            self.fail("selectionMismatch", format!("Field '{}' {wrong} selections", f.name));
        }
        if object {
            self.set(&f.selection_set, &known.kind);
        }
    }

    /// Literal enum values must be known; signature states and the like never come in as arguments.
    fn enum_values(&mut self, kind: &str, value: &Literal<'a, String>) {
        let Some(known) = schema().enums.get(kind) else { return };
        match value {
            Literal::List(l) => l.iter().for_each(|v| self.enum_values(kind, v)),
            Literal::Enum(e) if known.contains(e) => {}
            Literal::Variable(_) | Literal::Null => {}
            other => self.fail("argumentLiteralsIncompatible", format!("'{other}' is not a {kind}")),
        }
    }

    fn directives(&mut self, all: &'d [graphql_parser::query::Directive<'a, String>]) {
        for d in all {
            if !["include", "skip"].contains(&d.name.as_str()) {
                self.fail("undefinedDirective", format!("Directive @{} is not defined", d.name));
            }
            d.arguments.iter().for_each(|(_, v)| self.value(v));
        }
    }

    fn value(&mut self, v: &Literal<'a, String>) {
        match v {
            Literal::Variable(name) => {
                self.used.insert(name.clone());
                if !self.doc.query.variable_definitions.iter().any(|d| &d.name == name) {
                    self.fail("variableNotDefined", format!("Variable ${name} is used but not declared"));
                }
            }
            Literal::List(l) => l.iter().for_each(|v| self.value(v)),
            Literal::Object(o) => o.values().for_each(|v| self.value(v)),
            _ => {}
        }
    }

    /// GitHub refuses declared variables and fragments that nothing uses.
    fn unused(&mut self) {
        for d in &self.doc.query.variable_definitions {
            if !self.used.contains(&d.name) {
                self.fail("variableNotUsed", format!("Variable ${} is declared but not used", d.name));
            }
        }
        for name in self.doc.fragments.keys() {
            if !self.fragments.contains(name) {
                self.fail("useAndDefineFragment", format!("Fragment {name} was defined, but not used"));
            }
        }
    }
}

fn variables(doc: &Doc<'_>, given: &Value) -> Result<Variables, Refused> {
    let mut out = Variables::new();
    for d in &doc.query.variable_definitions {
        let value = match given.get(&d.name) {
            Some(v) => Some(v.clone()),
            None => d.default_value.as_ref().map(|v| literal(v, &Variables::new())),
        };
        let Some(value) = value else {
            if matches!(d.var_type, Type::NonNullType(_)) {
                return Err(wrong_variable(&d.name, &d.var_type, &Value::Null));
            }
            continue;
        };
        if !acceptable(&value, &d.var_type) {
            return Err(wrong_variable(&d.name, &d.var_type, &value));
        }
        out.insert(d.name.clone(), value);
    }
    Ok(out)
}

fn wrong_variable(name: &str, kind: &Type<'_, String>, value: &Value) -> Refused {
    let message = format!("Variable ${name} of type {kind} was provided invalid value");
    let extensions = json!({"value": value, "problems": [{"path": [], "explanation": "invalid value"}]});
    Refused(vec![json!({"message": message, "extensions": extensions})])
}

fn acceptable(v: &Value, t: &Type<'_, String>) -> bool {
    match (t, v) {
        (Type::NonNullType(t), v) => !v.is_null() && acceptable(v, t),
        (_, Value::Null) => true,
        (Type::ListType(t), Value::Array(l)) => l.iter().all(|v| acceptable(v, t)),
        (Type::ListType(t), v) => acceptable(v, t),
        (Type::NamedType(n), v) => match n.as_str() {
            "Int" => v.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            "Boolean" => v.is_boolean(),
            "GitObjectID" => {
                v.as_str().is_some_and(|s| s.len() == 40 && s.bytes().all(|b| b.is_ascii_hexdigit()))
            }
            "String" | "ID" | "DateTime" => v.is_string(),
            other => match schema().enums.get(other) {
                Some(values) => v.as_str().is_some_and(|s| values.contains(s)),
                None => true,
            },
        },
    }
}

/// Adds up connections, with `@include` applied (GitHub's treatment of those is not documented).
struct Count<'d, 'a> {
    doc: &'d Doc<'a>,
    variables: &'d Variables,
    requests: u64,
    nodes: u64,
    errors: Vec<Value>,
}

impl<'d, 'a> Count<'d, 'a> {
    fn set(&mut self, set: &'d SelectionSet<'a, String>, parent: &str, times: u64) {
        let doc = self.doc;
        for part in doc.parts(set, self.variables) {
            match part {
                Part::Nested(target, set) => self.set(set, target.unwrap_or(parent), times),
                Part::Field(f) => self.field(f, parent, times),
            }
        }
    }

    fn field(&mut self, f: &'d Field<'a, String>, parent: &str, times: u64) {
        let Some(known) = schema().field(parent, &f.name) else { return };
        if !known.arguments.contains_key("first") {
            return self.set(&f.selection_set, &known.kind, times);
        }
        let asked = |name: &str| {
            let (_, value) = f.arguments.iter().find(|(n, _)| n == name)?;
            literal(value, self.variables).as_i64()
        };
        let per_page = match (asked("first"), asked("last")) {
            (None, None) => {
                let message = format!(
                    "You must provide a `first` or `last` value to properly paginate the `{}` connection.",
                    f.name
                );
                return self
                    .errors
                    .push(json!({"type": "MISSING_PAGINATION_BOUNDARIES", "message": message}));
            }
            (first, last) => first.or(last).unwrap_or_default(),
        };
        if !(1..=100).contains(&per_page) {
            let message = format!(
                "Requesting {per_page} records on the `{}` connection exceeds the `first` limit of 100 records.",
                f.name
            );
            return self.errors.push(json!({"type": "EXCESSIVE_PAGINATION", "message": message}));
        }
        let nodes = times.saturating_mul(per_page.unsigned_abs());
        self.requests = self.requests.saturating_add(times);
        self.nodes = self.nodes.saturating_add(nodes);
        self.set(&f.selection_set, &known.kind, nodes);
    }
}
