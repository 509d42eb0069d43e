//! The schema, read once from `schema.graphql`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use graphql_parser::schema::{Definition, Document, Type, TypeDefinition, parse_schema};

const TEXT: &str = include_str!("schema.graphql");

#[derive(Default)]
pub struct Schema {
    /// Object and interface types → field → what it is.
    pub types: BTreeMap<String, BTreeMap<String, Field>>,
    /// Interface or union → the object types it may be.
    pub possible: BTreeMap<String, BTreeSet<String>>,
    pub enums: BTreeMap<String, BTreeSet<String>>,
}

pub struct Field {
    /// Name of its type without list and `!`.
    pub kind: String,
    /// Argument → (its type, whether it must be given).
    pub arguments: BTreeMap<String, (String, bool)>,
}

/// The schema; empty (so that every query is refused) if the embedded text were broken, which a test rules out.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| parse_schema::<String>(TEXT).map(|d| read(&d)).unwrap_or_default())
}

impl Schema {
    pub fn field(&self, on: &str, name: &str) -> Option<&Field> {
        self.types.get(on)?.get(name)
    }

    /// The object types that a value of this type may be.
    pub fn possible(&self, name: &str) -> BTreeSet<String> {
        self.possible.get(name).cloned().unwrap_or_else(|| BTreeSet::from([name.to_owned()]))
    }

    /// Whether an object of type `object` is a `name`.
    pub fn is(&self, object: &str, name: &str) -> bool {
        object == name || self.possible.get(name).is_some_and(|p| p.contains(object))
    }

    pub fn knows(&self, name: &str) -> bool {
        self.types.contains_key(name) || self.possible.contains_key(name)
    }
}

fn read(doc: &Document<'_, String>) -> Schema {
    let mut s = Schema::default();
    for d in &doc.definitions {
        let Definition::TypeDefinition(t) = d else { continue };
        match t {
            TypeDefinition::Object(o) => {
                s.types.insert(o.name.clone(), fields(&o.fields));
                for i in &o.implements_interfaces {
                    s.possible.entry(i.clone()).or_default().insert(o.name.clone());
                }
            }
            TypeDefinition::Interface(i) => {
                s.types.insert(i.name.clone(), fields(&i.fields));
                s.possible.entry(i.name.clone()).or_default();
            }
            TypeDefinition::Union(u) => {
                s.types.insert(u.name.clone(), BTreeMap::new());
                s.possible.entry(u.name.clone()).or_default().extend(u.types.iter().cloned());
            }
            TypeDefinition::Enum(e) => {
                s.enums.insert(e.name.clone(), e.values.iter().map(|v| v.name.clone()).collect());
            }
            TypeDefinition::Scalar(_) | TypeDefinition::InputObject(_) => {}
        }
    }
    s
}

fn fields(all: &[graphql_parser::schema::Field<'_, String>]) -> BTreeMap<String, Field> {
    let argument = |a: &graphql_parser::schema::InputValue<'_, String>| {
        (a.name.clone(), (base(&a.value_type), matches!(a.value_type, Type::NonNullType(_))))
    };
    let field = |f: &graphql_parser::schema::Field<'_, String>| {
        let kind = base(&f.field_type);
        (f.name.clone(), Field { kind, arguments: f.arguments.iter().map(argument).collect() })
    };
    all.iter().map(field).collect()
}

/// A type's name without list and `!`.
pub fn base(t: &Type<'_, String>) -> String {
    match t {
        Type::NamedType(n) => n.clone(),
        Type::ListType(t) | Type::NonNullType(t) => base(t),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_embedded_schema_reads_and_names_only_types_it_defines() {
        let doc = graphql_parser::schema::parse_schema::<String>(super::TEXT);
        assert!(doc.is_ok(), "{:?}", doc.err());
        let s = super::schema();
        let scalars = ["Int", "String", "Boolean", "ID", "DateTime", "BigInt", "GitObjectID"];
        for (on, fields) in &s.types {
            for (name, f) in fields {
                let known =
                    s.knows(&f.kind) || s.enums.contains_key(&f.kind) || scalars.contains(&f.kind.as_str());
                assert!(known, "{on}.{name} is of the unknown type {}", f.kind);
            }
        }
    }
}
