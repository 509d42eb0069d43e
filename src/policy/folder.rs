//! Reading a bundle's folder, and the archive that keeps it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{ast::MAX_FILE, error::LoadError};

const MAX_FILES: usize = 5_000;
/// Bytes of a whole bundle.
const MAX_TOTAL: usize = 16 << 20;
const MAX_FOLDERS: usize = 16;
/// First bytes of an archive, with its version.
const MAGIC: &[u8] = b"gatelog bundle 1\n";

/// All policy and data files below a folder: path with `/` → text.
///
/// Hidden folders and files of other kinds are passed over. A link to a file inside the folder is
/// followed (Kubernetes mounts are made of such links); any other link is refused.
pub(crate) fn read(dir: &Path) -> Result<BTreeMap<String, String>, LoadError> {
    let shown = || dir.display().to_string();
    let root = dir.canonicalize().map_err(|e| LoadError::new(shown(), format!("cannot be read: {e}")))?;
    if !root.is_dir() {
        return Err(LoadError::new(shown(), "is not a folder"));
    }
    let mut reader = Reader { root: root.clone(), files: BTreeMap::new(), total: 0 };
    reader.folder(&root, "", 0)?;
    Ok(reader.files)
}

/// Texts by the path that is shown, and the part of it under which a data file's content stands.
pub(crate) struct Below {
    pub files: BTreeMap<String, String>,
    pub places: BTreeMap<String, String>,
}

/// Several folders and files, shown with the paths as they were given. As in OPA, the content of a data
/// file stands under its path below the folder that was named.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Below, LoadError> {
    let mut out = Below { files: BTreeMap::new(), places: BTreeMap::new() };
    for given in paths {
        let shown = given.display().to_string().replace('\\', "/");
        let one = if given.is_file() { single(given)? } else { read(given)? };
        for (place, text) in one {
            let folder =
                if given.is_file() { shown.rsplit_once('/').map_or("", |(f, _)| f) } else { shown.as_str() };
            let path = match folder.trim_end_matches('/') {
                "" if shown.starts_with('/') => format!("/{place}"),
                "" | "." => place.clone(),
                folder => format!("{}/{place}", folder.strip_prefix("./").unwrap_or(folder)),
            };
            out.places.insert(path.clone(), place);
            out.files.insert(path, text);
        }
    }
    Ok(out)
}

/// One file that was named.
fn single(file: &Path) -> Result<BTreeMap<String, String>, LoadError> {
    let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if !is_policy(name) {
        return Err(LoadError::new(
            file.display().to_string(),
            "is neither Rego nor data (.rego, .yaml, .yml, .json)",
        ));
    }
    let mut reader = Reader { root: PathBuf::new(), files: BTreeMap::new(), total: 0 };
    reader.file(file, name)?;
    Ok(reader.files)
}

struct Reader {
    root: PathBuf,
    files: BTreeMap<String, String>,
    total: usize,
}

impl Reader {
    fn folder(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<(), LoadError> {
        let at = |e: std::io::Error| LoadError::new(prefix, format!("cannot be read: {e}"));
        if depth > MAX_FOLDERS {
            return Err(LoadError::new(prefix, format!("folders nested deeper than {MAX_FOLDERS}")));
        }
        for entry in fs::read_dir(dir).map_err(at)? {
            let entry = entry.map_err(at)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(LoadError::new(prefix, "a file whose name is not UTF-8"));
            };
            self.entry(&entry.path(), &format!("{prefix}{name}"), name, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, file: &Path, path: &str, name: &str, depth: usize) -> Result<(), LoadError> {
        let at = |e: std::io::Error| LoadError::new(path, format!("cannot be read: {e}"));
        let kind = fs::symlink_metadata(file).map_err(at)?.file_type();
        let hidden = name.starts_with('.');
        if hidden && (kind.is_dir() || !is_policy(name)) {
            return Ok(());
        }
        if kind.is_dir() {
            return self.folder(file, &format!("{path}/"), depth + 1);
        }
        let target = file.canonicalize().map_err(at)?;
        if kind.is_symlink() && target.is_dir() {
            return Err(LoadError::new(path, "a link to a folder").help("put the folder itself there"));
        }
        if !is_policy(name) {
            return Ok(());
        }
        if hidden {
            return Err(
                LoadError::new(path, "a hidden policy file").help("OPA would load it: rename or remove it")
            );
        }
        if kind.is_symlink() && !target.starts_with(&self.root) {
            return Err(LoadError::new(path, "a link that leads out of the folder").help("copy the file"));
        }
        if !target.is_file() {
            return Err(LoadError::new(path, "is no ordinary file"));
        }
        self.file(&target, path)
    }

    fn file(&mut self, file: &Path, path: &str) -> Result<(), LoadError> {
        use std::io::Read as _;
        let at = |e: std::io::Error| LoadError::new(path, format!("cannot be read: {e}"));
        let mut bytes = Vec::new();
        fs::File::open(file).map_err(at)?.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(at)?;
        self.total += bytes.len();
        check_size(path, bytes.len(), self.total, self.files.len() + 1)?;
        let text = String::from_utf8(bytes).map_err(|_| LoadError::new(path, "is not UTF-8"))?;
        self.files.insert(path.to_owned(), text);
        Ok(())
    }
}

fn check_size(path: &str, size: usize, total: usize, files: usize) -> Result<(), LoadError> {
    if size > MAX_FILE {
        return Err(LoadError::new(path, format!("larger than {MAX_FILE} bytes")));
    }
    if total > MAX_TOTAL || files > MAX_FILES {
        return Err(LoadError::new(
            path,
            format!("a bundle of more than {MAX_TOTAL} bytes or {MAX_FILES} files"),
        ));
    }
    Ok(())
}

fn is_policy(name: &str) -> bool {
    [".rego", ".yaml", ".yml", ".json"].iter().any(|ext| name.ends_with(ext))
}

/// The number of files, then files in the order of their paths, each as length and bytes of path and
/// text (numbers: 8 bytes, big-endian).
pub(crate) fn pack(files: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend((files.len() as u64).to_be_bytes());
    for part in files.iter().flat_map(|(path, text)| [path, text]) {
        out.extend((part.len() as u64).to_be_bytes());
        out.extend(part.as_bytes());
    }
    out
}

/// # Errors
/// Anything that [`pack`] would not have written, or beyond the limits of a bundle.
pub(crate) fn unpack(archive: &[u8]) -> Result<BTreeMap<String, String>, LoadError> {
    let bad = |what: &str| LoadError::new("archive", what.to_owned());
    let mut rest =
        archive.strip_prefix(MAGIC).ok_or_else(|| bad("is no bundle archive of a version known here"))?;
    let count = rest.split_first_chunk::<8>().map(|(n, tail)| {
        rest = tail;
        u64::from_be_bytes(*n)
    });
    let mut files = BTreeMap::new();
    let mut total = 0;
    while !rest.is_empty() {
        let (Some(path), Some(text)) = (part(&mut rest), part(&mut rest)) else {
            return Err(bad("is cut off or not UTF-8"));
        };
        total += text.len();
        check_size(&path, text.len(), total, files.len() + 1)?;
        if files.last_key_value().is_some_and(|(last, _)| *last >= path) || !is_policy(&path) {
            return Err(bad("is not in order"));
        }
        if !is_inside(&path) {
            return Err(bad("names a path that no folder of policies has"));
        }
        files.insert(path, text);
    }
    if count != Some(files.len() as u64) {
        return Err(bad("is cut off"));
    }
    Ok(files)
}

/// What [`read`] could have found: nothing absolute, nothing hidden, no `..`.
fn is_inside(path: &str) -> bool {
    let parts = || path.split('/');
    parts().count() <= MAX_FOLDERS + 1
        && parts().all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('\0'))
}

fn part(rest: &mut &[u8]) -> Option<String> {
    let (length, tail) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    let (bytes, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(path: &str) -> Vec<u8> {
        pack(&BTreeMap::from([(path.to_owned(), "package a".to_owned())]))
    }

    #[test]
    fn an_archive_holds_only_paths_that_a_folder_could_have() {
        for path in ["a.rego", "controls/a/a.rego", "a b/ü.yaml"] {
            assert_eq!(unpack(&packed(path)).unwrap().len(), 1, "{path}");
        }
        let deep = "d/".repeat(MAX_FOLDERS + 1) + "a.rego";
        for path in
            ["../a.rego", "/a.rego", "a/../../b.rego", "a//b.rego", "./a.rego", ".a.rego", "a\0.rego", &deep]
        {
            let said = unpack(&packed(path)).unwrap_err().to_string();
            assert!(said.contains("names a path"), "{path}: {said}");
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut archive = MAGIC.to_vec();
        archive.extend(u64::MAX.to_be_bytes());
        assert!(unpack(&archive).is_err());
    }
}
