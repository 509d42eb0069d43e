//! `gatelog policy check`: everything that can be known of policies before they run.
//!
//! What keeps a bundle from loading is an error; so is what would make a control silent (a reference
//! that can never be there, a fact that nobody fetches). The rest are warnings.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use regorus::unstable::{Module, Ref};

use super::{
    admission, ast,
    bundle::{Checked, is_test},
    data, engine,
    error::{LoadError, Place},
    folder, metadata,
    names::Names,
    on_big_stack, schema,
};

mod infer;
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

/// The first error-level finding of a folder as `serve` loads it: without tests.
///
/// # Errors
/// That finding.
pub fn admit(dir: &Path) -> Result<(), LoadError> {
    let mut files = folder::read(dir)?;
    files.retain(|path, _| !is_test(path));
    let below = folder::Below { places: files.keys().map(|p| (p.clone(), p.clone())).collect(), files };
    let found = on_big_stack(|| check_files(below)).map_err(|e| LoadError::new("policies", e))?;
    match found.into_iter().find(|f| f.level == Level::Error) {
        Some(finding) => Err(finding.to_error()),
        None => Ok(()),
    }
}

fn check_files(below: folder::Below) -> Vec<Finding> {
    let mut out = unreadable(&below);
    if !out.is_empty() {
        return out;
    }
    let not_loaded = |e| Finding::of("not-loaded", Level::Error, e);
    let texts = below.files.clone();
    let checked = match Checked::below(below) {
        Ok(checked) => checked,
        Err(first) => {
            out.push(not_loaded(first));
            out.extend(bad_calls(&texts).into_iter().map(not_loaded));
            return finished(out);
        }
    };
    let names = Names::new(&checked.modules);
    if let Err(e) = engine::prepare(&checked, &checked.files, "") {
        out.push(not_loaded(e));
    }
    out.extend(of_checked(&checked, &names));
    for module in &checked.modules {
        out.extend(about_module(module));
    }
    out.extend(reads::unused_rules(&checked, &names));
    out.extend(reads::data(&checked, &names));
    out.extend(parameters::findings(&checked));
    finished(out)
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
    out.extend(infer::unknown_references(checked, names, &input));
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

/// Files that are no Rego and no data, all of them.
fn unreadable(below: &folder::Below) -> Vec<Finding> {
    let mut out = Vec::new();
    for (path, text) in &below.files {
        let read = if path.ends_with(".rego") {
            admission::admit(path, text)
                .and_then(|()| ast::parse(path, text))
                .and_then(|m| admission::admit_module(&m))
        } else {
            data::parse(path, text).map(|_| ())
        };
        out.extend(read.err().map(|e| Finding::of("not-loaded", Level::Error, e)));
    }
    out
}

/// Every wrong call, not only the first.
fn bad_calls(texts: &BTreeMap<String, String>) -> Vec<LoadError> {
    let rego = texts.iter().filter(|(path, _)| path.ends_with(".rego"));
    let modules: Vec<Ref<Module>> = rego.filter_map(|(path, text)| ast::parse(path, text).ok()).collect();
    Names::new(&modules).all_bad_calls()
}

/// METADATA and place of a control.
fn about_module(module: &Ref<Module>) -> Vec<Finding> {
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
