//! Runs a checked query over the state.

use graphql_parser::query::{Field, SelectionSet};
use serde_json::{Map, Value, json};

use super::{
    Request,
    document::{Doc, Part, literal},
    resolve::{Context, Node, Out},
    schema::schema,
    validate::Plan,
};
use crate::simulated_github::state::World;

/// Data and errors.
pub fn run(world: &World, request: &Request<'_>, doc: &Doc<'_>, plan: &Plan) -> (Value, Vec<Value>) {
    let context = Context { world, request, cost: plan.cost };
    let mut run = Run { doc, plan, context: &context, errors: vec![], path: vec![] };
    let data = run.object(&Node::Query, &[&doc.query.selection_set]);
    (data, run.errors)
}

struct Run<'d, 'a, 'w> {
    doc: &'d Doc<'a>,
    plan: &'d Plan,
    context: &'d Context<'w>,
    errors: Vec<Value>,
    path: Vec<Value>,
}

/// The fields asked under one response key; several when fragments ask for the same one.
struct Asked<'d, 'a> {
    key: &'d str,
    fields: Vec<&'d Field<'a, String>>,
}

impl<'d, 'a, 'w> Run<'d, 'a, 'w> {
    fn object(&mut self, node: &Node<'w>, sets: &[&'d SelectionSet<'a, String>]) -> Value {
        let kind = node.type_name();
        let mut asked = Vec::new();
        sets.iter().for_each(|s| self.collect(s, &kind, &mut asked));
        let mut out = Map::new();
        for a in asked {
            self.path.push(a.key.into());
            let value = self.field(node, &kind, &a);
            self.path.pop();
            out.insert(a.key.to_owned(), value);
        }
        Value::Object(out)
    }

    fn collect(&self, set: &'d SelectionSet<'a, String>, kind: &str, into: &mut Vec<Asked<'d, 'a>>) {
        for part in self.doc.parts(set, &self.plan.variables) {
            match part {
                Part::Field(f) => {
                    let key = f.alias.as_deref().unwrap_or(&f.name);
                    match into.iter_mut().find(|a| a.key == key) {
                        Some(a) => a.fields.push(f),
                        None => into.push(Asked { key, fields: vec![f] }),
                    }
                }
                Part::Nested(Some(target), _) if !schema().is(kind, target) => {}
                Part::Nested(_, set) => self.collect(set, kind, into),
            }
        }
    }

    fn field(&mut self, node: &Node<'w>, kind: &str, asked: &Asked<'d, 'a>) -> Value {
        let Some(field) = asked.fields.first() else { return Value::Null };
        if field.name == "__typename" {
            return kind.into();
        }
        let arguments: Map<String, Value> =
            field.arguments.iter().map(|(n, v)| (n.clone(), literal(v, &self.plan.variables))).collect();
        let expected = schema().field(kind, &field.name).map_or("", |f| f.kind.as_str());
        let sets: Vec<_> = asked.fields.iter().map(|f| &f.selection_set).collect();
        let out = self.context.resolve(node, &field.name, &arguments, expected);
        self.complete(out, &sets, field)
    }

    fn complete(
        &mut self,
        out: Out<'w>,
        sets: &[&'d SelectionSet<'a, String>],
        field: &Field<'a, String>,
    ) -> Value {
        match out {
            Out::Leaf(v) => v,
            Out::Node(n) => self.object(&n, sets),
            Out::List(all) => {
                let mut items = Vec::new();
                for (i, item) in all.into_iter().enumerate() {
                    self.path.push(i.into());
                    items.push(self.complete(item, sets, field));
                    self.path.pop();
                }
                Value::Array(items)
            }
            Out::Error(kind, message) => {
                self.errors.push(json!({
                    "type": kind,
                    "path": self.path,
                    "locations": [{"line": field.position.line, "column": field.position.column}],
                    "message": message,
                }));
                Value::Null
            }
        }
    }
}
