//! The zip file, read and written with bounds: it comes from somebody who may want to harm the reader.

use std::{
    collections::BTreeMap,
    io::{Read, Seek, Write},
};

use sha2::{Digest as _, Sha256};
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions};

use super::{MANIFEST, Manifest};

/// Bytes of one file at most, unpacked. Ten million entries have 6 GB: ask for less at once.
pub const MAX_FILE: u64 = 1 << 30;

/// Bytes of all files together at most, unpacked: some ten seconds of work for whoever reads them.
pub const MAX_TOTAL: u64 = 8 << 30;

/// Files at most.
pub const MAX_FILES: usize = 1_000_000;

/// Evidence being read.
pub struct Archive<R> {
    zip: ZipArchive<R>,
    names: Vec<String>,
}

impl<R: Read + Seek> Archive<R> {
    /// # Errors
    /// It is no zip file, or not one that gatelog writes.
    pub fn open(file: R) -> Result<Self, String> {
        let mut zip = ZipArchive::new(file).map_err(|e| format!("it is no zip file: {e}"))?;
        if zip.len() > MAX_FILES {
            return Err(format!("it holds more than {MAX_FILES} files"));
        }
        // Who unpacks it may see the one, and who verifies it the other.
        if zip.has_duplicate_names() {
            return Err("it holds two files of one name".into());
        }
        let names: Result<Vec<String>, _> = zip.file_names().map(|n| n.map(|n| n.into_owned())).collect();
        let names = names.map_err(|e| format!("a name in it cannot be read: {e}"))?;
        if let Some(name) = names.iter().find(|name| !is_plain(name)) {
            return Err(format!("it holds a file of the odd name {name:?}"));
        }
        // Said in the directory at its end, before anything is unpacked; `read` holds every file to it. Files
        // that share their bytes count each.
        if claimed(&mut zip)? > u128::from(MAX_TOTAL) {
            return Err(format!("it unpacks to more than {MAX_TOTAL} bytes"));
        }
        Ok(Self { zip, names })
    }

    /// Of all files.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// `None`: there is no such file.
    ///
    /// # Errors
    /// It is damaged, larger than [`MAX_FILE`], or not as large as it is said to be.
    pub fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let file = match self.zip.by_name(name) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(e) => return Err(format!("{name}: {e}")),
        };
        let said = file.size();
        if said > MAX_FILE {
            return Err(format!("{name} has more than {MAX_FILE} bytes"));
        }
        let mut bytes = vec![];
        file.take(said + 1).read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
        if bytes.len() as u64 != said {
            return Err(format!("{name} does not have the {said} bytes that it is said to have"));
        }
        Ok(Some(bytes))
    }
}

/// Bytes of all files together, as the directory says.
fn claimed<R: Read + Seek>(zip: &mut ZipArchive<R>) -> Result<u128, String> {
    if let Some(bytes) = zip.decompressed_size() {
        return Ok(bytes);
    }
    // Made by a program that could not go back to say it before each file.
    let count = zip.len();
    let size = |i| zip.by_index_raw(i).map(|f| u128::from(f.size())).map_err(|e| e.to_string());
    (0..count).map(size).sum()
}

/// Relative, of letters, digits, `.`, `-`, `_`: nothing that leads out of a folder it is unpacked in.
fn is_plain(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    name.split('/').all(plain)
}

/// Evidence being written. The same content gives the same bytes.
pub struct Builder<W: Write + Seek> {
    zip: ZipWriter<W>,
    files: BTreeMap<String, String>,
    total: u64,
}

impl<W: Write + Seek> Builder<W> {
    pub fn new(file: W) -> Self {
        Self { zip: ZipWriter::new(file), files: BTreeMap::new(), total: 0 }
    }

    /// # Errors
    /// I/O, or a name that nobody should unpack.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.files.insert(name.to_owned(), hex::encode(Sha256::digest(bytes)));
        self.write(name, bytes)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        if !is_plain(name) {
            return Err(format!("{name:?} cannot be the name of a file"));
        }
        if bytes.len() as u64 > MAX_FILE {
            return Err(format!("{name} would have more than {MAX_FILE} bytes: ask for less"));
        }
        self.total += bytes.len() as u64;
        if self.total > MAX_TOTAL {
            return Err(format!("it would unpack to more than {MAX_TOTAL} bytes: ask for less"));
        }
        // The time of making is none of the content's.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644);
        self.zip.start_file(name, options).map_err(|e| e.to_string())?;
        self.zip.write_all(bytes).map_err(|e| e.to_string())
    }

    /// Writes the manifest, which names all other files, and the end.
    ///
    /// # Errors
    /// I/O.
    pub fn finish(mut self, manifest: Manifest) -> Result<W, String> {
        let manifest = Manifest { files: std::mem::take(&mut self.files), ..manifest };
        let json = serde_json::to_vec_pretty(&manifest).map_err(|e| e.to_string())?;
        self.write(MANIFEST, &json)?;
        self.zip.finish().map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere() {
        for good in ["README.txt", "bodies/12/check_run", "a-b/c.d"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a\\b", "C:x", "a/.b", "a\0", "é", "a/"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
