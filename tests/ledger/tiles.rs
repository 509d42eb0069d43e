//! What a ledger gives out of its tree: the same after any restart, and without reading its entries.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use gatelog::{
    ledger::{
        Ledger,
        chain::leaf_hash,
        edge::Edge,
        entry::Hash,
        erasure::Bodies,
        proof::{verify_consistency, verify_inclusion},
        summary::Short,
        tile::{self, Kind, Tile, new_tiles},
    },
    store::{
        EraseError, Kept, ReadError, Record, SaltedBody, Scanned, Store, StoreError, StoreStats, Tip,
        memory::{Disk, Memory},
    },
    time::Time,
};

use crate::ledger_util::*;

async fn fill(ledger: &Ledger, to: u64) {
    while ledger.head().size < to {
        let first = ledger.head().size;
        let drafts =
            (first..to.min(first + 97)).map(|n| delivery(&format!("g{n}"), &format!("{{\"n\":{n}}}")));
        ledger.append(drafts.collect()).await.unwrap();
    }
}

fn leaves(ledger: &Ledger) -> Vec<Hash> {
    (0..ledger.head().size).map(|seq| ledger.entry(seq).unwrap().unwrap().leaf).collect()
}

/// Every file of the log at this size, and proofs between many sizes.
fn check(ledger: &Ledger) {
    let leaves = leaves(ledger);
    let size = leaves.len() as u64;
    let (mut edge, mut roots, mut full) = (Edge::default(), vec![Edge::default().root()], vec![]);
    for (n, leaf) in (1..).zip(&leaves) {
        full.extend((0..).zip(edge.push(*leaf)).map(|(l, t)| ((l, tile::hashes(l, n) / 256 - 1), t)));
        roots.push(edge.root());
    }
    assert_eq!((ledger.tree().root(), ledger.head().root), (edge.root(), edge.root()));
    assert_eq!(*ledger.tree(), edge);
    for tile in new_tiles(0, size) {
        let Kind::Hashes(level) = tile.kind else { panic!() };
        let hashes = full.iter().find(|(at, _)| *at == (level, tile.index)).map(|(_, t)| t.as_slice());
        let hashes = hashes.unwrap_or(edge.partial(level));
        assert_eq!(ledger.tile(&tile).unwrap().unwrap(), tile::encode_hashes(hashes), "{}", tile.path());
        let narrow = Tile { width: 1, ..tile };
        assert_eq!(ledger.tile(&narrow).unwrap().unwrap(), hashes[0].0);
        if level == 0 {
            let bundle = ledger.tile(&Tile { kind: Kind::Entries, ..tile }).unwrap().unwrap();
            let entries = tile::decode_entries(&Bytes::from(bundle)).unwrap();
            let found: Vec<Hash> = entries.iter().map(|e| leaf_hash(e)).collect();
            assert_eq!(found, hashes);
        }
    }
    assert_eq!(ledger.tile(&Tile { kind: Kind::Hashes(0), index: size / 256 + 1, width: 1 }).unwrap(), None);
    for at in (1..=size).step_by(37).chain([size]) {
        let at_root = roots[at as usize];
        assert_eq!(ledger.root_of(at).unwrap(), at_root);
        let proof = ledger.consistency(at, size).unwrap();
        verify_consistency(at, at_root, size, edge.root(), &proof).unwrap();
        for seq in [0, at / 2, at - 1] {
            let path = ledger.inclusion(seq, at).unwrap();
            verify_inclusion(leaves[seq as usize], seq, at, &path, at_root).unwrap();
        }
    }
    assert!(ledger.root_of(size + 1).is_err());
}

#[tokio::test]
async fn tiles_and_proofs_are_the_same_after_every_kind_of_restart() {
    let dir = Dir::new();
    for (to, close, forget) in
        [(255, false, false), (256, true, false), (257, false, true), (600, false, false), (700, true, true)]
    {
        let (ledger, _) = open(&dir.path());
        fill(&ledger, to).await;
        check(&ledger);
        if close {
            ledger.close().await.unwrap();
        }
        drop(ledger);
        if forget {
            fs::remove_dir_all(dir.path().join("sled")).unwrap();
        }
        let (ledger, report) = open(&dir.path());
        assert_eq!(report.rebuilt.is_some(), forget, "{report:?}");
        check(&ledger);
    }
}

/// A store that counts what is read of it.
#[derive(Default)]
pub struct Counting {
    pub inner: Option<Memory>,
    pub entries: AtomicU64,
    pub tiles: AtomicU64,
}

impl Counting {
    fn store(&self) -> &Memory {
        self.inner.as_ref().unwrap()
    }
}

impl Store for Counting {
    fn ledger_id(&self) -> [u8; 16] {
        self.store().ledger_id()
    }
    fn tip(&self) -> Tip {
        self.store().tip()
    }
    fn append(&self, expected: Tip, group: &[Record]) -> Result<(), StoreError> {
        self.store().append(expected, group)
    }
    fn entry(&self, seq: u64) -> Result<Option<Kept>, ReadError> {
        self.entries.fetch_add(1, Relaxed);
        self.store().entry(seq)
    }
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<Hash>>, ReadError> {
        self.tiles.fetch_add(1, Relaxed);
        self.store().tile(level, index)
    }
    fn body(&self, seq: u64, name: &str) -> Result<Option<SaltedBody>, ReadError> {
        self.store().body(seq, name)
    }
    fn scan(&self, each: &mut dyn FnMut(Scanned<'_>)) -> Result<(), ReadError> {
        self.store().scan(each)
    }
    fn erase(&self, bodies: &Bodies, through: u64) -> Result<Vec<(u64, Short)>, EraseError> {
        self.store().erase(bodies, through)
    }
    fn erased_through(&self) -> Result<Option<u64>, ReadError> {
        self.store().erased_through()
    }
    fn forget_fingerprints(&self, of: &[u64]) -> Result<Vec<(u64, Short)>, ReadError> {
        self.store().forget_fingerprints(of)
    }
    fn compress(&self, pause: &mut dyn FnMut() -> bool) -> Result<u64, ReadError> {
        self.store().compress(pause)
    }
    fn applied(&self) -> u64 {
        self.store().applied()
    }
    fn close(&self) -> Result<(), StoreError> {
        self.store().close()
    }
    fn stats(&self) -> StoreStats {
        self.store().stats()
    }
}

#[tokio::test]
async fn a_proof_reads_a_few_tiles_and_no_entry() {
    let store = Arc::new(Counting { inner: Some(Memory::open(&Disk::default())), ..Counting::default() });
    let (ledger, _) = Ledger::on_store(store.clone(), Time::now).unwrap();
    fill(&ledger, 3000).await;
    let reads = || (store.entries.swap(0, Relaxed), store.tiles.swap(0, Relaxed));
    reads();
    for seq in [0, 1, 255, 256, 1500, 2999] {
        ledger.inclusion(seq, 3000).unwrap();
        let (entries, tiles) = reads();
        assert!(entries == 0 && tiles <= 2, "{seq}: {entries} entries, {tiles} tiles");
    }
    ledger.consistency(1234, 2777).unwrap();
    let (entries, tiles) = reads();
    assert!(entries == 0 && tiles <= 3, "{entries} entries, {tiles} tiles");
    ledger.tile(&Tile { kind: Kind::Hashes(1), index: 0, width: 11 }).unwrap();
    assert_eq!(reads(), (0, 0));
}
