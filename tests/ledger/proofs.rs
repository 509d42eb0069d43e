//! Proofs, notes and tiles against what others made: vectors of transparency-dev/merkle, Tessera's own log,
//! and `ct-merkle` as a second opinion.

use std::{
    convert::Infallible,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use gatelog::ledger::{
    chain::{leaf_hash, node_hash},
    checkpoint::Checkpoint,
    edge::Edge,
    entry::Hash,
    note::Verifier,
    proof::{Node, ProofError, consistency, inclusion, verify_consistency, verify_inclusion},
    tile::{self, Kind, Tile},
};
use proptest::prelude::*;
use serde_json::Value;
use sha2_next::Sha256;

/// The vectors, beside the crate. `None`: they are not here, and that was said.
fn vectors(of: &str) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors").join(of);
    if dir.is_dir() {
        return Some(dir);
    }
    let line = format!("not run: vectors of {of}, because {} is not here\n", dir.display());
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}

fn json_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            json_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "json") {
            out.push(path);
        }
    }
}

/// `None`: it is not 32 bytes, so no proof of ours can hold it.
fn hash(v: &Value) -> Option<Hash> {
    let bytes = BASE64_STANDARD.decode(v.as_str().unwrap_or_default()).unwrap();
    // Roots whose bytes do not matter are "don't care 2" and so on: some hash each.
    if bytes.starts_with(b"don't care") {
        return Some(leaf_hash(&bytes));
    }
    Some(Hash(bytes.try_into().ok()?))
}

fn hashes(v: &Value) -> Option<Vec<Hash>> {
    v.as_array().map_or(Some(vec![]), |all| all.iter().map(hash).collect())
}

/// Why a vector is refused; `None`: it is not.
fn refused(v: &Value) -> Option<String> {
    let number = |name: &str| v[name].as_u64().unwrap();
    let Some(proof) = hashes(&v["proof"]) else { return Some("a hash is not 32 bytes".into()) };
    let result = if v.get("leafIdx").is_some() {
        let (Some(leaf), Some(root)) = (hash(&v["leafHash"]), hash(&v["root"])) else {
            return Some("a hash is not 32 bytes".into());
        };
        verify_inclusion(leaf, number("leafIdx"), number("treeSize"), &proof, root)
    } else {
        let (Some(old), Some(new)) = (hash(&v["root1"]), hash(&v["root2"])) else {
            return Some("a hash is not 32 bytes".into());
        };
        verify_consistency(number("size1"), old, number("size2"), new, &proof)
    };
    result.err().map(|e| e.to_string())
}

#[test]
fn vectors_of_transparency_dev() {
    let Some(dir) = vectors("merkle") else { return };
    let mut files = vec![];
    json_files(&dir, &mut files);
    let mut counts = (0, 0);
    for file in &files {
        let v: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let (why, wanted) = (refused(&v), v["wantErr"].as_bool().unwrap());
        assert_eq!(why.is_some(), wanted, "{}: {} {why:?}", file.display(), v["desc"]);
        if wanted { counts.1 += 1 } else { counts.0 += 1 }
    }
    assert_eq!(files.len(), 196);
    assert!(counts.0 > 5 && counts.1 > 100, "{counts:?}");
}

/// A log that others wrote: every checkpoint, tile, bundle and every proof between any two sizes.
#[test]
fn the_log_of_tessera() {
    let Some(dir) = vectors("tessera-log") else { return };
    let vkey = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
    let trusted: [Verifier; 1] = [vkey.parse().unwrap()];
    let read = |path: &str| fs::read(dir.join(path)).unwrap();
    let mut edge = Edge::default();
    let mut known = vec![];
    for size in 0..=15_u16 {
        let checkpoint = Checkpoint::open(&read(&format!("checkpoint.{size}")), &trusted).unwrap();
        if size > 0 {
            let bundle = Tile { kind: Kind::Entries, index: 0, width: size };
            let entries = tile::decode_entries(&Bytes::from(read(&bundle.path()))).unwrap();
            assert_eq!(entries.len(), usize::from(size));
            edge.push(leaf_hash(entries.last().unwrap()));
            let hashes = Tile { kind: Kind::Hashes(0), ..bundle };
            assert_eq!(tile::encode_hashes(edge.partial(0)), read(&hashes.path()));
        }
        assert_eq!((checkpoint.size, checkpoint.root), (size.into(), edge.root()));
        known.push(checkpoint);
    }
    let leaves = edge.partial(0).to_vec();
    let mut nodes = |node: Node| Ok::<_, Infallible>(tile::node_of(node, &leaves).unwrap());
    for new in &known {
        for index in 0..new.size {
            let path = inclusion(index, new.size, &mut nodes).unwrap();
            verify_inclusion(leaves[index as usize], index, new.size, &path, new.root).unwrap();
        }
        for old in known.iter().filter(|old| (1..=new.size).contains(&old.size)) {
            let proof = consistency(old.size, new.size, &mut nodes).unwrap();
            verify_consistency(old.size, old.root, new.size, new.root, &proof).unwrap();
        }
    }
}

/// A tree in tiles, as we store it, and the same tree of `ct-merkle`.
struct Both {
    theirs: MemoryBackedTree<Sha256, Vec<u8>>,
    tiles: std::collections::HashMap<(u8, u64), Vec<Hash>>,
    edge: Edge,
    roots: Vec<Hash>,
}

impl Both {
    fn of(size: u64) -> Self {
        let mut both = Self {
            theirs: MemoryBackedTree::new(),
            tiles: Default::default(),
            edge: Edge::default(),
            roots: vec![],
        };
        both.roots.push(both.edge.root());
        for n in 0..size {
            let leaf = n.to_le_bytes().to_vec();
            for (level, full) in (0..).zip(both.edge.push(leaf_hash(&leaf))) {
                let index = tile::hashes(level, n + 1) / 256 - 1;
                both.tiles.insert((level, index), full);
            }
            both.theirs.push(leaf);
            both.roots.push(both.edge.root());
        }
        both
    }

    fn node(&self, node: Node) -> Result<Hash, Infallible> {
        let (level, index, ..) = tile::place(node);
        let hashes = self.tiles.get(&(level, index)).map_or(self.edge.partial(level), Vec::as_slice);
        Ok(tile::node_of(node, hashes).unwrap())
    }

    fn root(&self, size: u64) -> Hash {
        self.roots[size as usize]
    }

    fn check_inclusion(&self, index: u64) {
        let size = self.edge.size();
        let path = inclusion(index, size, &mut |n| self.node(n)).unwrap();
        let theirs = self.theirs.prove_inclusion(index as usize);
        assert_eq!(tile::encode_hashes(&path), theirs.as_bytes(), "{index} of {size}");
        let leaf = leaf_hash(&index.to_le_bytes());
        verify_inclusion(leaf, index, size, &path, self.root(size)).unwrap();
        for i in 0..path.len() {
            let mut bad = path.clone();
            bad[i].0[7] ^= 1;
            assert_eq!(verify_inclusion(leaf, index, size, &bad, self.root(size)), Err(ProofError::Root));
        }
        let longer = [&path[..], &[Hash([0; 32])]].concat();
        assert!(verify_inclusion(leaf, index, size, &longer, self.root(size)).is_err());
        if let Some((_, shorter)) = path.split_last() {
            assert!(verify_inclusion(leaf, index, size, &path[..shorter.len()], self.root(size)).is_err());
        }
    }

    fn check_consistency(&self, old: u64) {
        let size = self.edge.size();
        let proof = consistency(old, size, &mut |n| self.node(n)).unwrap();
        let (old_root, root) = (self.root(old), self.root(size));
        if old == 0 {
            assert!(verify_consistency(old, old_root, size, root, &proof).is_err());
            return;
        }
        if old < size {
            let theirs = self.theirs.prove_consistency((size - old) as usize);
            assert_eq!(tile::encode_hashes(&proof), theirs.as_bytes(), "{old} to {size}");
        }
        verify_consistency(old, old_root, size, root, &proof).unwrap();
        let wrong = node_hash(&root, &root);
        assert!(verify_consistency(old, wrong, size, root, &proof).is_err());
        assert!(verify_consistency(old, old_root, size, wrong, &proof).is_err());
    }
}

const SIZES: [u64; 9] = [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000];

#[test]
fn ct_merkle_agrees_at_every_edge_of_a_tile() {
    for size in SIZES {
        let both = Both::of(size);
        assert_eq!(both.edge.root().0[..], both.theirs.root().as_bytes()[..], "{size}");
        let places = SIZES.iter().flat_map(|s| [s.saturating_sub(1), *s, s + 1, s / 2, s / 3]);
        for at in places.filter(|at| *at <= size) {
            if at < size {
                both.check_inclusion(at);
            }
            both.check_consistency(at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn ct_merkle_agrees_at_any_size(size in 1_u64..1200, at in any::<prop::sample::Index>()) {
        let both = Both::of(size);
        let at = at.index(size as usize) as u64;
        both.check_inclusion(at);
        both.check_consistency(at);
    }
}
