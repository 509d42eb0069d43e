//! Bundles: a folder of Rego and data, as the author wrote it, checked and ready to judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use regorus::unstable::{Module, Ref, Rule};
use sha2::{Digest as _, Sha256};

use super::{
    ast, check,
    contents::{self, Content, Contents},
    data::Merged,
    engine::{self, Template},
    error::LoadError,
    folder,
    metadata::{self, ControlMeta},
    names::Names,
    on_big_stack, reads, rewrite, saying,
    spread::Spread,
    waived::{self, Waiving},
    why,
};

/// Policies that can judge. Cheap to share, never changed.
pub struct Bundle {
    files: BTreeMap<String, String>,
    digest: String,
    controls: Vec<ControlMeta>,
    waiving: Waiving,
    reads: BTreeSet<String>,
    template: Template,
}

/// What is known of files before they are loaded, or wanted of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// They are to be served.
    ToServe,
    /// They have loaded before.
    Loaded,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Reads a folder: `*.rego` without `*_test.rego`, and data files (`*.yaml`, `*.yml`, `*.json`).
    ///
    /// # Errors
    /// The first thing that keeps the bundle from being used, with its place. A bundle without
    /// controls is refused: it would allow everything.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        Self::from_files(without_tests(dir)?, Known::Nothing)
    }

    /// The same for serving: only one in which `policy check` finds no error.
    ///
    /// # Errors
    /// As [`Bundle::load`]; the first such error.
    pub(crate) fn load_for_serving(dir: &Path) -> Result<Self, LoadError> {
        Self::from_files(without_tests(dir)?, Known::ToServe)
    }

    /// The same from [`Bundle::archive`].
    ///
    /// # Errors
    /// As [`Bundle::load`]; an archive that is damaged or too large.
    pub fn from_archive(archive: &[u8]) -> Result<Self, LoadError> {
        Self::from_files(folder::unpack(archive)?, Known::Nothing)
    }

    /// The same from the archive of a bundle that has loaded, in another process of this program: what only
    /// finds mistakes of its author is left out.
    ///
    /// # Errors
    /// An archive that is damaged or too large, or that is of no bundle.
    pub(crate) fn from_archive_of_loaded(archive: &[u8]) -> Result<Self, LoadError> {
        Self::from_files(folder::unpack(archive)?, Known::Loaded)
    }

    /// What [`Bundle::load`] gives, with other values in its data: path (steps) → value. Only for asking
    /// what would be; its digest says so.
    ///
    /// # Errors
    /// As [`Bundle::load`]; a path that leads through something that is no object.
    pub fn what_if(dir: &Path, sets: &[(Vec<String>, serde_json::Value)]) -> Result<Self, LoadError> {
        let mut bundle = Self::adjusted(without_tests(dir)?, sets, Known::Nothing)?;
        bundle.digest = format!("{} with other data", bundle.digest);
        Ok(bundle)
    }

    /// Takes every control's rules apart under an input: which gave which finding, and what kept the
    /// others from holding.
    ///
    /// # Errors
    /// Files that do not load (they did once).
    pub fn explain(
        &self,
        input: &super::Input,
        sets: &[(Vec<String>, serde_json::Value)],
    ) -> Result<Vec<(String, Vec<why::Told>)>, LoadError> {
        on_big_stack(|| {
            let explainer = Explainer::new(self, sets)?;
            let one =
                |(i, control): (usize, &ControlMeta)| (control.package.clone(), explainer.told(i, input));
            Ok(self.controls.iter().enumerate().map(one).collect())
        })
        .unwrap_or_else(|e| Err(LoadError::new("policies", e)))
    }

    fn from_files(files: BTreeMap<String, String>, known: Known) -> Result<Self, LoadError> {
        Self::adjusted(files, &[], known)
    }

    fn adjusted(
        files: BTreeMap<String, String>,
        sets: &[(Vec<String>, serde_json::Value)],
        known: Known,
    ) -> Result<Self, LoadError> {
        on_big_stack(move || {
            let checked = Checked::new(files)?.with_data(sets)?;
            let names = Names::new(&checked.modules);
            let controls = checked.controls(&names)?;
            if controls.is_empty() {
                return Err(LoadError::new("policies", "there is no control: no package `controls.<name>`")
                    .help("a gate without controls would allow everything"));
            }
            let ids = controls.iter().map(|c| c.id.as_str()).collect();
            let waiving = waived::read(&checked.data, &ids)?;
            let reads = reads::reads(&controls, &checked.data);
            if known != Known::Loaded {
                // The author's own text first: what is wrong shows at the author's columns.
                engine::prepare(&checked, &checked.files, "")?;
            }
            let template = Template::new(&checked, &controls, &names)?;
            if known == Known::ToServe
                && let Some(error) = check::first_error(&checked, &names)
            {
                return Err(error);
            }
            let digest = digest(&checked.files);
            Ok(Self { digest, files: checked.files, controls, waiving, reads, template })
        })
        .unwrap_or_else(|e| Err(LoadError::new("policies", e)))
    }

    /// `sha256:` and hex over the author's text. The order of files does not matter; tests do not count.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// In the order of their ids.
    #[must_use]
    pub fn controls(&self) -> &[ControlMeta] {
        &self.controls
    }

    /// Exceptions that stand in its data, and who may make others.
    #[must_use]
    pub fn waiving(&self) -> &Waiving {
        &self.waiving
    }

    /// The facts that some control may ask for: names of [`crate::facts::FACTS`].
    #[must_use]
    pub fn reads(&self) -> &BTreeSet<String> {
        &self.reads
    }

    /// The author's text as bytes that [`Bundle::from_archive`] reads; the same files give the same bytes.
    #[must_use]
    pub fn archive(&self) -> Vec<u8> {
        folder::pack(&self.files)
    }

    pub(crate) fn template(&self) -> &Template {
        &self.template
    }
}

/// A bundle's text, ready to be taken apart.
pub(crate) struct Explainer<'b> {
    bundle: &'b Bundle,
    checked: Checked,
}

impl<'b> Explainer<'b> {
    /// On a large stack.
    pub(crate) fn new(
        bundle: &'b Bundle,
        sets: &[(Vec<String>, serde_json::Value)],
    ) -> Result<Self, LoadError> {
        Ok(Self { bundle, checked: Checked::new(bundle.files.clone())?.with_data(sets)? })
    }

    /// What the rules of a control did that say something.
    pub(crate) fn told(&self, control: usize, input: &super::Input) -> Vec<why::Told> {
        let Some(control) = self.bundle.controls.get(control) else { return vec![] };
        let names = Names::new(&self.checked.modules);
        let of_control = |m: &&Ref<Module>| ast::dotted(&names.scope(m).package) == control.package;
        let modules = self.checked.modules.iter().filter(of_control);
        let says = |rule: &&Ref<Rule>| {
            ast::path(ast::head(rule)).is_some_and(|(path, _)| {
                matches!(path.as_slice(), [name] if saying::says(name) || name == "exception" || name == "applies" || name == "violations")
            })
        };
        let rules: Vec<&Rule> = modules.flat_map(|m| &m.policy).filter(says).map(|r| r.as_ref()).collect();
        let told = why::explain(&self.checked, &names, &rules, input.value(), input.time());
        told.into_iter().flatten().collect()
    }
}

/// What [`Bundle::load`] loads of a folder.
pub(crate) fn without_tests(dir: &Path) -> Result<BTreeMap<String, String>, LoadError> {
    let mut files = folder::read(dir)?;
    files.retain(|path, _| !is_test(path));
    Ok(files)
}

/// Files of tests are not loaded for serving.
pub(crate) fn is_test(path: &str) -> bool {
    path.ends_with("_test.rego")
}

/// SHA-256 over the archive, whose order is that of the paths.
fn digest(files: &BTreeMap<String, String>) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(folder::pack(files))))
}

/// Files that were admitted, parsed and checked, and their texts rewritten to OPA's meaning.
pub(crate) struct Checked {
    pub files: BTreeMap<String, String>,
    /// As the author wrote them, in the order of the paths.
    pub modules: Vec<Ref<Module>>,
    /// Path → what the engine is given.
    pub rewritten: BTreeMap<String, String>,
    pub data: serde_json::Value,
}

impl Checked {
    /// The same with other values in the data.
    fn with_data(mut self, sets: &[(Vec<String>, serde_json::Value)]) -> Result<Self, LoadError> {
        for (path, value) in sets {
            let mut here = &mut self.data;
            for step in path {
                let Some(object) = here.as_object_mut() else {
                    let at = ast::dotted(path);
                    return Err(LoadError::new(
                        "data",
                        format!("`{at}` leads through something that is no mapping"),
                    ));
                };
                here = object.entry(step.clone()).or_insert_with(|| serde_json::json!({}));
            }
            *here = value.clone();
        }
        Ok(self)
    }

    pub(crate) fn new(files: BTreeMap<String, String>) -> Result<Self, LoadError> {
        let contents = contents::one_by_one(&files);
        Self::of(files, &BTreeMap::new(), contents)
    }

    /// Of files that are shown with other paths than those their data stands under.
    pub(crate) fn below(below: folder::Below) -> Result<Self, LoadError> {
        let contents = contents::in_parallel(&below.files);
        Self::of(below.files, &below.places, contents)
    }

    /// Of what was read: the first thing that is wrong is the error.
    pub(crate) fn of(
        files: BTreeMap<String, String>,
        places: &BTreeMap<String, String>,
        contents: Contents,
    ) -> Result<Self, LoadError> {
        let mut modules = Vec::new();
        let mut merged = Merged::default();
        for (path, content) in files.keys().zip(contents) {
            match content? {
                Content::Policy(module) => modules.push(module),
                Content::Data(value) => {
                    let place = places.get(path).unwrap_or(path);
                    merged.add(place, value).map_err(|e| LoadError { path: path.clone(), ..e })?;
                }
            }
        }
        let names = Names::new(&modules);
        let spread = Spread::of(&modules, &names);
        spread.check(&modules, &names)?;
        names.check_calls()?;
        names.check_depth()?;
        names.check_data(merged.root())?;
        let mut rewritten = BTreeMap::new();
        for module in &modules {
            let path = module.package.span.source.file().clone();
            let text = rewrite::rewrite(module, &names, &spread)?;
            rewritten.insert(path, text);
        }
        Ok(Self { files, modules, rewritten, data: merged.into_value() })
    }

    /// The controls of the bundle, in the order of their ids.
    pub(crate) fn controls(&self, names: &Names<'_>) -> Result<Vec<ControlMeta>, LoadError> {
        let mut found: BTreeMap<String, (ControlMeta, bool)> = BTreeMap::new();
        for module in &self.modules {
            let package = ast::package(module);
            let [first, name] = package.as_slice() else { continue };
            if first != "controls" || is_test(module.package.span.source.file()) {
                continue;
            }
            if !ast::is_identifier(name) {
                return Err(LoadError::span(&module.package.span, "a control's name must be an identifier"));
            }
            let (path, text) = (module.package.span.source.file(), module.package.span.source.contents());
            let annotations = metadata::read(path, text)?;
            let said = annotations.is_some();
            let meta = ControlMeta::new(
                ast::dotted(&package),
                path.clone(),
                annotations.map(|a| a.0).unwrap_or_default(),
            );
            match found.get(&meta.package) {
                Some((_, true)) if said => {
                    return Err(LoadError::span(&module.package.span, "the package has METADATA twice"));
                }
                Some(_) if !said => {}
                _ => {
                    found.insert(meta.package.clone(), (meta, said));
                }
            }
            if !names.values_of(&package).any(saying::says) {
                return Err(LoadError::span(&module.package.span, "this control can say nothing")
                    .help(format!("it needs one of the rules {}", saying::SAYING)));
            }
        }
        let mut controls: Vec<ControlMeta> = found.into_values().map(|(meta, _)| meta).collect();
        controls.sort_by(|a, b| (&a.id, &a.package).cmp(&(&b.id, &b.package)));
        match controls.windows(2).find(|w| w[0].id == w[1].id) {
            Some(w) => {
                Err(LoadError::new(&w[1].path, format!("`{}` has the id `{}` too", w[0].package, w[0].id)))
            }
            None => Ok(controls),
        }
    }
}
