//! Proofs about the tree, made and verified: RFC 9162 §2.1.3 and §2.1.4, and the file that carries one
//! away, C2SP tlog-proof.
//!
//! Making a proof asks for roots of perfect subtrees, O(log n) of them; where they come from is the
//! caller's. Verifying needs nothing but what is given.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    chain::{empty_root, node_hash},
    checkpoint::{Checkpoint, CheckpointError, decimal, hash},
    entry::Hash,
    note::Verifier,
};

/// A perfect subtree: the leaves `index << height .. (index + 1) << height`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub height: u8,
    pub index: u64,
}

/// Hashes of a proof at most: a tree has fewer than 2^64 leaves, and both edges of it are walked.
pub const MAX_HASHES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("entry {index} is not in a tree of {size}")]
    Outside { index: u64, size: u64 },
    #[error("a tree of {new} entries cannot go on from one of {old}")]
    Sizes { old: u64, new: u64 },
    #[error("the proof has too many or too few hashes")]
    Length,
    #[error("the proof does not lead to the root")]
    Root,
}

/// The audit path of leaf `index` in the tree of `size` leaves: sibling of the leaf first.
///
/// `nodes` gives the roots of perfect subtrees.
///
/// # Errors
/// What `nodes` says. An `index` outside of the tree has the empty path.
pub fn inclusion<E>(
    index: u64,
    size: u64,
    nodes: &mut impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let mut path = vec![];
    let (mut lo, mut hi) = (0, size);
    let mut siblings = vec![];
    while index < size && hi - lo > 1 {
        let middle = lo + split(hi - lo);
        if index < middle {
            siblings.push((middle, hi));
            hi = middle;
        } else {
            siblings.push((lo, middle));
            lo = middle;
        }
    }
    for (lo, hi) in siblings.into_iter().rev() {
        path.push(root_of(lo, hi, nodes)?);
    }
    Ok(path)
}

/// The proof that the tree of `new` leaves goes on from the one of `old`; empty where either is all of
/// the other or nothing.
///
/// # Errors
/// What `nodes` says.
pub fn consistency<E>(
    old: u64,
    new: u64,
    nodes: &mut impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if old == 0 || old >= new {
        return Ok(vec![]);
    }
    let mut siblings = vec![];
    let (mut lo, mut hi) = (0, new);
    while old != hi {
        let middle = lo + split(hi - lo);
        if old <= middle {
            siblings.push((middle, hi));
            hi = middle;
        } else {
            siblings.push((lo, middle));
            lo = middle;
        }
    }
    let mut proof = vec![];
    // What begins at the first leaf is the old root itself, which the verifier has.
    if lo > 0 {
        proof.push(root_of(lo, hi, nodes)?);
    }
    for (lo, hi) in siblings.into_iter().rev() {
        proof.push(root_of(lo, hi, nodes)?);
    }
    Ok(proof)
}

/// The root over the first `size` leaves.
///
/// # Errors
/// What `nodes` says.
pub fn root<E>(size: u64, nodes: &mut impl FnMut(Node) -> Result<Hash, E>) -> Result<Hash, E> {
    if size == 0 { Ok(empty_root()) } else { root_of(0, size, nodes) }
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// `MTH` of the leaves `lo..hi`, where `lo` is a multiple of a power of two that is at least `hi - lo`.
fn root_of<E>(lo: u64, hi: u64, nodes: &mut impl FnMut(Node) -> Result<Hash, E>) -> Result<Hash, E> {
    let (mut at, mut left, mut peaks) = (lo, hi - lo, vec![]);
    while left > 0 {
        let height = left.ilog2();
        peaks.push(nodes(Node { height: height as u8, index: at >> height })?);
        at += 1 << height;
        left -= 1 << height;
    }
    let right = peaks.pop().unwrap_or_default();
    Ok(peaks.iter().rev().fold(right, |right, left| node_hash(left, &right)))
}

/// RFC 9162 §2.1.3.2.
///
/// # Errors
/// The proof does not show that `leaf` is the leaf `index` of the tree.
pub fn verify_inclusion(
    leaf: Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Outside { index, size });
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            skip_lone(&mut at, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    finish(last, hash == root)
}

/// RFC 9162 §2.1.4.2. That a tree goes on from nothing needs no proof, and is an error here as in the
/// verifiers of transparency-dev: whoever has seen nothing has nothing to compare.
///
/// # Errors
/// The proof does not show that the new tree begins with the old one.
pub fn verify_consistency(
    old: u64,
    old_root: Hash,
    new: u64,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::Sizes { old, new });
    }
    if old == new {
        return if proof.is_empty() { finish(0, old_root == new_root) } else { Err(ProofError::Length) };
    }
    // A perfect old tree is itself the first node of the way.
    let (first, rest) = match proof.split_first() {
        _ if old.is_power_of_two() => (old_root, proof),
        Some((first, rest)) => (*first, rest),
        None => return Err(ProofError::Length),
    };
    let (mut at, mut last) = (old - 1, new - 1);
    let shared = at.trailing_ones();
    (at, last) = (at >> shared, last >> shared);
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            skip_lone(&mut at, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    finish(last, old_hash == old_root && new_hash == new_root)
}

/// Goes up as long as the node has no sibling on its right.
fn skip_lone(at: &mut u64, last: &mut u64) {
    if *at & 1 == 0 {
        // `at` is not zero: it equals `last`, which is not zero.
        let levels = at.trailing_zeros().min(63);
        (*at, *last) = (*at >> levels, *last >> levels);
    }
}

fn finish(last: u64, equal: bool) -> Result<(), ProofError> {
    match (last, equal) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

const TLOG_PROOF: &str = "c2sp.org/tlog-proof@v1";

/// A file that proves one entry offline: C2SP tlog-proof.
///
/// ```text
/// c2sp.org/tlog-proof@v1\n
/// [extra <base64>\n]                      proves nothing
/// index <decimal>\n
/// <hash in base64>\n …                    the audit path
/// \n
/// <signed checkpoint, as it was published>
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    pub extra: Option<Vec<u8>>,
    pub index: u64,
    pub path: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    #[error("it is no proof: {0}")]
    Malformed(&'static str),
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("{0}")]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{TLOG_PROOF}\n");
        if let Some(extra) = &self.extra {
            out += &format!("extra {}\n", BASE64_STANDARD.encode(extra));
        }
        out += &format!("index {}\n", self.index);
        for hash in &self.path {
            out += &format!("{}\n", BASE64_STANDARD.encode(hash.0));
        }
        out + "\n" + &self.checkpoint
    }

    /// # Errors
    /// [`TlogProofError::Malformed`]. Nothing is verified.
    pub fn parse(file: &[u8]) -> Result<Self, TlogProofError> {
        use TlogProofError::Malformed;
        let text = std::str::from_utf8(file).map_err(|_| Malformed("it is not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(Malformed("it has no checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(TLOG_PROOF) {
            return Err(Malformed("its first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = match lines.next_if(|l| l.starts_with("extra ")) {
            Some(line) => Some(
                BASE64_STANDARD.decode(&line["extra ".len()..]).map_err(|_| Malformed("bad extra line"))?,
            ),
            None => None,
        };
        let index = lines.next().and_then(|l| decimal(l.strip_prefix("index ")?));
        let index = index.ok_or(Malformed("it has no index"))?;
        let path: Option<Vec<Hash>> = lines.map(hash).collect();
        let path = path.filter(|p| p.len() <= MAX_HASHES).ok_or(Malformed("its path is malformed"))?;
        Ok(Self { extra, index, path, checkpoint: checkpoint.to_owned() })
    }

    /// That a checkpoint which a trusted key signed holds `leaf`; which one.
    ///
    /// # Errors
    /// See [`TlogProofError`].
    pub fn verify(&self, leaf: Hash, trusted: &[Verifier]) -> Result<Checkpoint, TlogProofError> {
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), trusted)?;
        verify_inclusion(leaf, self.index, checkpoint.size, &self.path, checkpoint.root)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::{Signer, sign};

    fn proof() -> (TlogProof, Signer) {
        let signer = Signer::new("gate.example.com/log/1", &[1; 32]).unwrap();
        let root = node_hash(&Hash([1; 32]), &Hash([2; 32]));
        let checkpoint = Checkpoint { origin: "gate.example.com/log/1".into(), size: 2, root };
        let checkpoint = sign(&checkpoint.text(), [&signer]).unwrap();
        (TlogProof { extra: None, index: 1, path: vec![Hash([1; 32])], checkpoint }, signer)
    }

    #[test]
    fn a_file_reads_as_it_was_written() {
        let (mut proof, signer) = proof();
        let trusted = [signer.verifier().clone()];
        for extra in [None, Some(b"more".to_vec())] {
            proof.extra = extra;
            let read = TlogProof::parse(proof.text().as_bytes()).unwrap();
            assert_eq!(read, proof);
            assert_eq!(read.verify(Hash([2; 32]), &trusted).unwrap().size, 2);
            let wrong = read.verify(Hash([3; 32]), &trusted);
            assert_eq!(wrong, Err(TlogProofError::Proof(ProofError::Root)));
        }
        let text = TlogProof { extra: None, ..proof }.text();
        let head = "c2sp.org/tlog-proof@v1\nindex 1\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n\ngate.example.com/log/1\n2\n";
        assert!(text.starts_with(head), "{text}");
    }

    #[test]
    fn what_is_no_proof_is_refused() {
        let text = proof().0.text();
        for (from, to) in [
            ("@v1", "@v2"),
            ("index 1", "index 01"),
            ("index 1", "index"),
            ("index 1\n", ""),
            ("\nAQEB", "\nextra AQEB"),
            ("\nAQEB", "\nAQE"),
            ("\n\ngate", "\ngate"),
        ] {
            assert!(text.contains(from));
            assert!(TlogProof::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{from:?} to {to:?}");
        }
    }
}
