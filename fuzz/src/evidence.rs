//! Evidence comes from somebody who may want it to be believed, or the reader to choke on it.

use std::io::Cursor;

use gatelog::ledger::{
    chain::leaf_hash,
    checkpoint::Checkpoint,
    evidence::{
        CHECKPOINT, ENTRIES, MANIFEST, Manifest,
        archive::{Archive, Builder},
        verify::verify,
    },
    merkle::CompactRange,
    note::{Signer, Verifier, sign},
};

/// Between two files of the input.
const NEXT: u8 = 0x1e;

const ORIGIN: &str = "example.com/log/1";

/// The input as a zip file; then as the files of one: of each the first line is its name. The manifest is
/// made to name them all; an empty checkpoint is made to fit the entries, and signed.
pub fn evidence(data: &[u8]) {
    let signer = Signer::new(ORIGIN, &[1; 32]).expect("a name");
    let trusted = [signer.verifier().clone()];
    check(data, &trusted);
    if let Some(zip) = zip(data, &signer) {
        check(&zip, &trusted);
    }
}

fn check(zip: &[u8], trusted: &[Verifier]) {
    let Ok(mut files) = Archive::open(Cursor::new(zip)) else { return };
    match verify(&mut files, trusted) {
        Ok(checked) => {
            let range = checked.manifest.to - checked.manifest.from;
            assert!(checked.entries.len() as u64 >= range && range > 0);
        }
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

fn zip(data: &[u8], signer: &Signer) -> Option<Vec<u8>> {
    let files: Vec<(&[u8], &[u8])> = data.split(|b| *b == NEXT).map(super::first_line).collect();
    let named = |name: &str| files.iter().find(|(n, _)| *n == name.as_bytes()).map(|(_, content)| *content);
    let manifest: Manifest = serde_json::from_slice(named(MANIFEST)?).ok()?;
    let mut zip = Builder::new(Cursor::new(vec![]));
    for (name, content) in &files {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let fitting = (name == CHECKPOINT && content.is_empty())
            .then(|| signed(named(ENTRIES).unwrap_or_default(), signer));
        if name != MANIFEST {
            // A name that cannot be is refused here already.
            let _ = zip.add(name, fitting.as_deref().unwrap_or(content));
        }
    }
    Some(zip.finish(manifest).ok()?.into_inner())
}

fn signed(entries: &[u8], signer: &Signer) -> Vec<u8> {
    let mut tree = CompactRange::default();
    for line in entries.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        tree.push(leaf_hash(line));
    }
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: tree.size(), root: tree.root() };
    sign(&checkpoint.text(), [signer]).expect("its own text").into_bytes()
}
