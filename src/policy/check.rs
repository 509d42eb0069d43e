//! `gatelog policy check`: everything that can be known of policies before they run.
//!
//! What keeps a bundle from loading is an error; so is what would make a control silent (a reference
//! that can never be there, a fact that nobody fetches). The rest are warnings.

use std::path::PathBuf;

use regorus::unstable::{Module, Ref};

use super::{
    ast,
    bundle::{Checked, is_test},
    contents::{self, Content},
    engine,
    error::{LoadError, Place},
    folder, metadata,
    names::Names,
    on_big_stack,
    pool::side_by_side,
    schema,
};

mod infer;
mod named;
mod parameters;
mod reads;
mod types;

/// One thing that is wrong or odd.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Finding {
    pub path: String,
    /// From 1; 0: the file as a whole.
    pub line: u32,
    pub column: u32,
    /// `unknown-reference`: see [`RULES`].
    pub rule: &'static str,
    pub level: Level,
    pub message: String,
    pub why: Option<String>,
    pub fix: Option<String>,
    /// The line of the source.
    pub source: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `serve` does not use the bundle.
    Error,
    Warning,
}

/// Names of the rules of the check, and what each is about.
pub const RULES: &[(&str, &str)] = &[
    ("not-loaded", "what keeps the bundle from loading at all"),
    ("unsafe-variable", "a variable in the head of a rule that nothing binds"),
    ("no-control", "a bundle without controls would allow everything"),
    ("unknown-reference", "a reference into `input` that its schema does not have"),
    ("undeclared-fact", "a control reads facts that its METADATA does not ask for"),
    ("silent-deny", "a control that passes without a word where the facts it reads are not there"),
    ("no-set", "a rule whose name says that it is a set of findings, and that is none"),
    ("helper-finds", "a rule that others use as a helper, and whose name makes its items findings"),
    ("unused-fact", "METADATA asks for a fact that nothing reads"),
    ("metadata", "METADATA is missing or says too little"),
    ("place", "a control's package does not match its folder"),
    ("unused-rule", "a rule that nothing reads"),
    ("no-data", "a reference into `data` where neither a rule nor a file has anything"),
    ("unused-parameter", "a parameter that no rule reads"),
    ("undefined-parameter", "a parameter that is read and that no data defines"),
];

impl Finding {
    fn of(rule: &'static str, level: Level, e: LoadError) -> Self {
        let (line, column, source) = match e.place {
            Some(Place { line, column, text }) => (line, column, Some(text)),
            None => (0, 0, None),
        };
        Self { path: e.path, line, column, rule, level, message: e.message, why: None, fix: e.help, source }
    }

    fn why(mut self, why: &str) -> Self {
        self.why = Some(why.to_owned());
        self
    }

    /// As a bundle that does not load says it.
    #[must_use]
    pub fn to_error(&self) -> LoadError {
        let place = self.source.as_ref().map(|text| Place {
            line: self.line,
            column: self.column,
            text: text.clone(),
        });
        LoadError { path: self.path.clone(), place, message: self.message.clone(), help: self.fix.clone() }
    }
}

/// Checks folders and files, tests included, shown with the paths as they are given.
///
/// # Errors
/// Files that cannot be read.
pub fn check(paths: &[PathBuf]) -> Result<Vec<Finding>, LoadError> {
    let below = folder::read_all(paths)?;
    on_big_stack(|| check_files(below)).map_err(|e| LoadError::new("policies", e))
}

fn check_files(below: folder::Below) -> Vec<Finding> {
    let not_loaded = |e| Finding::of("not-loaded", Level::Error, e);
    let contents = contents::in_parallel(&below.files);
    // Files that are no Rego and no data, all of them.
    let unreadable: Vec<Finding> =
        contents.iter().filter_map(|c| c.as_ref().err()).cloned().map(not_loaded).collect();
    if !unreadable.is_empty() {
        return unreadable;
    }
    let modules: Vec<Ref<Module>> = contents.iter().filter_map(policy).cloned().collect();
    let checked = match Checked::of(below.files, &below.places, contents) {
        Ok(checked) => checked,
        Err(first) => {
            // Every wrong call, not only the first.
            let calls = Names::new(&modules).all_bad_calls();
            return finished(std::iter::once(first).chain(calls).map(not_loaded).collect());
        }
    };
    // The engine reads everything once more, which takes as long as all the rest.
    let (prepared, mut out) =
        side_by_side(|| engine::prepare(&checked, &checked.files, "").map(drop), || of_loaded(&checked));
    let prepared = prepared.unwrap_or_else(|e| Err(LoadError::new("policies", e)));
    out.extend(prepared.err().map(not_loaded));
    finished(out)
}

fn policy(content: &Result<Content, LoadError>) -> Option<&Ref<Module>> {
    match content {
        Ok(Content::Policy(module)) => Some(module),
        _ => None,
    }
}

fn of_loaded(checked: &Checked) -> Vec<Finding> {
    let names = Names::new(&checked.modules);
    let mut out = of_checked(checked, &names);
    for module in &checked.modules {
        out.extend(about_module(checked, module));
    }
    out.extend(named::helpers(checked, &names));
    out.extend(reads::unused_rules(checked, &names));
    out.extend(reads::data(checked, &names));
    out.extend(parameters::findings(checked, &names));
    out
}

/// What is an error though it loads.
fn of_checked(checked: &Checked, names: &Names<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    match checked.controls(names) {
        Ok(controls) if controls.is_empty() => {
            let e = LoadError::new("policies", "there is no control");
            out.push(Finding::of("no-control", Level::Error, e));
        }
        Ok(controls) => out.extend(reads::facts(checked, names, &controls)),
        Err(e) => out.push(Finding::of("not-loaded", Level::Error, e)),
    }
    out.extend(names.unsafe_heads().into_iter().map(|e| Finding::of("unsafe-variable", Level::Error, e)));
    let input = types::Type::of_schema(&schema::input());
    let forms = infer::forms(checked, names, &input);
    out.extend(named::no_sets(checked, names, &forms.rules));
    out.extend(forms.unknown_references);
    out
}

/// The first thing that keeps `serve` from using what loads.
pub(crate) fn first_error(checked: &Checked, names: &Names<'_>) -> Option<LoadError> {
    let found = finished(of_checked(checked, names));
    found.into_iter().find(|f| f.level == Level::Error).map(|f| f.to_error())
}

fn finished(mut out: Vec<Finding>) -> Vec<Finding> {
    out.sort();
    out.dedup();
    out
}

/// The other files of a package.
fn others<'c>(checked: &'c Checked, module: &'c Ref<Module>) -> impl Iterator<Item = &'c Ref<Module>> {
    let package = ast::package(module);
    let other =
        move |m: &&Ref<Module>| !std::ptr::eq(m.as_ref(), module.as_ref()) && ast::package(m) == package;
    checked.modules.iter().filter(|m| !is_test(m.package.span.source.file())).filter(other)
}

fn has_metadata(module: &Ref<Module>) -> bool {
    let source = &module.package.span.source;
    matches!(metadata::read(source.file(), source.contents()), Ok(Some(_)))
}

/// METADATA and place of a control.
fn about_module(checked: &Checked, module: &Ref<Module>) -> Vec<Finding> {
    let (path, text) = (module.package.span.source.file(), module.package.span.source.contents());
    let package = ast::package(module);
    let [first, name] = package.as_slice() else { return vec![] };
    if first != "controls" || is_test(path) {
        return vec![];
    }
    let at_package = |message: String| LoadError::span(&module.package.span, message);
    let mut out = Vec::new();
    match metadata::read(path, text) {
        // Said by `controls`.
        Err(_) => {}
        // One file of a package says it for all; where none does, the first is told.
        Ok(None)
            if others(checked, module).any(|m| has_metadata(m) || m.package.span.source.file() < path) => {}
        Ok(None) => out.push(Finding::of(
            "metadata",
            Level::Warning,
            at_package("the control has no METADATA".to_owned()).help(
                "write `# METADATA` with title and custom.id above `package`; `gatelog policy new` shows how",
            ),
        )),
        Ok(Some((annotations, line))) => {
            let lacking = annotations.lacking();
            if !lacking.is_empty() {
                let message = format!("METADATA does not say {}", lacking.join(", "));
                out.push(Finding::of(
                    "metadata",
                    Level::Warning,
                    LoadError::at_line(path, text, line, 1, message),
                ));
            }
        }
    }
    let file = path.rsplit('/').next().unwrap_or(path);
    let folder = path.rsplit('/').nth(1);
    if file != format!("{name}.rego") && folder != Some(name) {
        let e = at_package(format!("the package `controls.{name}` is in {file}"));
        out.push(Finding::of(
            "place",
            Level::Warning,
            e.help(format!("put it into controls/{name}/{name}.rego")),
        ));
    }
    out
}
