//! A query in a form that is easy to walk.

use std::collections::BTreeMap;

use graphql_parser::query::{
    Definition, Directive, Document, FragmentDefinition, OperationDefinition, Query, Selection, SelectionSet,
    TypeCondition, Value as Literal, parse_query,
};
use serde_json::{Map, Value};

use super::Refused;

pub struct Doc<'a> {
    pub query: Query<'a, String>,
    pub fragments: BTreeMap<String, FragmentDefinition<'a, String>>,
}

/// Variables with their defaults.
pub type Variables = Map<String, Value>;

/// Parses a document with one query.
///
/// # Errors
/// A syntax error, or anything but one named or anonymous query.
pub fn parse(text: &str) -> Result<Doc<'_>, Refused> {
    let document: Document<'_, String> =
        parse_query(text).map_err(|e| Refused::one(format!("Parse error: {e}")))?;
    let mut query = None;
    let mut fragments = BTreeMap::new();
    for d in document.definitions {
        match d {
            Definition::Operation(OperationDefinition::Query(q)) if query.is_none() => query = Some(q),
            Definition::Operation(OperationDefinition::SelectionSet(s)) if query.is_none() => {
                query = Some(Query {
                    position: s.span.0,
                    name: None,
                    variable_definitions: vec![],
                    directives: vec![],
                    selection_set: s,
                });
            }
            Definition::Operation(_) => {
                return Err(Refused::one("one query, and no mutation, is answered here"));
            }
            Definition::Fragment(f) => {
                fragments.insert(f.name.clone(), f);
            }
        }
    }
    let query =
        query.ok_or_else(|| Refused::one("A query attribute must be specified and must be a string."))?;
    Ok(Doc { query, fragments })
}

/// Part of a selection, with fragments resolved: the type it is for (`None`: the parent's).
pub enum Part<'d, 'a> {
    Field(&'d graphql_parser::query::Field<'a, String>),
    Nested(Option<&'d str>, &'d SelectionSet<'a, String>),
}

impl<'a> Doc<'a> {
    /// The parts of a selection that `@include` and `@skip` leave.
    pub fn parts<'d>(&'d self, set: &'d SelectionSet<'a, String>, vars: &Variables) -> Vec<Part<'d, 'a>> {
        set.items.iter().filter_map(|s| self.part(s, vars)).collect()
    }

    fn part<'d>(&'d self, s: &'d Selection<'a, String>, vars: &Variables) -> Option<Part<'d, 'a>> {
        match s {
            Selection::Field(f) => wanted(&f.directives, vars).then_some(Part::Field(f)),
            Selection::InlineFragment(f) => wanted(&f.directives, vars)
                .then(|| Part::Nested(f.type_condition.as_ref().map(on), &f.selection_set)),
            Selection::FragmentSpread(f) => {
                let fragment = self.fragments.get(&f.fragment_name)?;
                wanted(&f.directives, vars)
                    .then_some(Part::Nested(Some(on(&fragment.type_condition)), &fragment.selection_set))
            }
        }
    }
}

pub fn on<'d>(c: &'d TypeCondition<'_, String>) -> &'d str {
    let TypeCondition::On(name) = c;
    name
}

fn wanted(directives: &[Directive<'_, String>], vars: &Variables) -> bool {
    directives.iter().all(|d| {
        let condition = d.arguments.iter().find(|(n, _)| n == "if").map(|(_, v)| literal(v, vars));
        let truth = condition == Some(Value::Bool(true));
        match d.name.as_str() {
            "include" => truth,
            "skip" => !truth,
            _ => true,
        }
    })
}

/// A literal as JSON, variables filled in. An enum is its name; an absent variable is `null`.
pub fn literal(v: &Literal<'_, String>, vars: &Variables) -> Value {
    match v {
        Literal::Variable(name) => vars.get(name).cloned().unwrap_or(Value::Null),
        Literal::Int(n) => n.as_i64().into(),
        Literal::Float(f) => (*f).into(),
        Literal::String(s) | Literal::Enum(s) => s.as_str().into(),
        Literal::Boolean(b) => (*b).into(),
        Literal::Null => Value::Null,
        Literal::List(l) => l.iter().map(|v| literal(v, vars)).collect(),
        Literal::Object(o) => Value::Object(o.iter().map(|(k, v)| (k.clone(), literal(v, vars))).collect()),
    }
}
