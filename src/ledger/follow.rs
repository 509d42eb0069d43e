//! Following a log from outside: what an auditor keeps of it, and what is checked of what is new.
//!
//! The auditor keeps the last checkpoint and the right edge of the tree under it. Everything new is fetched
//! and hashed, so the new root is the auditor's own computation, and can be right only if nothing that was
//! there before was changed. Where it is not, the two signed checkpoints prove that the log was rewritten.

use std::collections::{HashMap, hash_map::Entry as Slot};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    chain::leaf_hash,
    checkpoint::{Checkpoint, CheckpointError},
    edge::Edge,
    entry::{Entry, Hash, Link, not_canonical},
    note::Verifier,
    proof::{self, Node, verify_consistency},
    quorum::{Demand, Unwitnessed},
    tile::{self, Kind, Tile, WIDTH, new_tiles},
};
use crate::time::Time;

mod generation;
mod news;
mod prove;

pub use generation::{Beginning, Begun};
pub use news::{Gap, News};
pub use prove::prove;

/// Gives the bytes of a file of the log, by its name behind the log's URL. `None`: it does not exist.
pub type Fetch<'a> = dyn FnMut(&str) -> Result<Option<Bytes>, String> + 'a;

/// What is kept between two looks: written to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Keys that are trusted to sign.
    pub vkeys: Vec<String>,
    /// Every key that ever was, to tell a new one on the command line from an old one.
    pub known: Vec<String>,
    /// The signed checkpoint under which all below was checked.
    pub checkpoint: Option<String>,
    pub size: u64,
    /// The tiles that are not full: the right edge of the tree.
    pub levels: Vec<Vec<Hash>>,
    /// Of the last entry.
    pub leaf: Hash,
    pub time: Option<Time>,
    /// When the service stopped, if that is the last that was heard of it.
    pub stopped: Option<Time>,
    /// The last checkpoints that were seen of the generations before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log cannot be read.
    #[error("{0}")]
    Unreachable(String),
    /// Something that the checkpoint covers is not served.
    #[error("{0} is not served, though the checkpoint covers it")]
    Missing(String),
    /// It may be, later.
    #[error("entry {seq} is not covered by the checkpoint, which has {size} entries")]
    NotCovered { seq: u64, size: u64 },
    /// An older checkpoint than before is served, one that fits: a stale copy.
    #[error("an older checkpoint is served: {served} entries, {kept} were seen")]
    Stale { served: u64, kept: u64 },
    /// What is served is not signed by the log.
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// It lacks the cosignatures that are demanded, or one of them is wrong.
    #[error("the checkpoint: {0}")]
    Unwitnessed(Unwitnessed),
    /// What is served is not what the checkpoint covers.
    #[error("entry {at}: {what}")]
    Broken { at: u64, what: String },
    #[error("{0}")]
    Tile(String),
    /// Both checkpoints are signed, and no log can have both.
    #[error("the log was rewritten: {0}")]
    Rewritten(Box<Misbehaviour>),
    /// The state is not one.
    #[error("the state: {0}")]
    State(String),
}

/// Two signed checkpoints that contradict each other: a proof for everybody who has the log's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misbehaviour {
    pub what: String,
    /// The signed checkpoint that was seen before.
    pub kept: String,
    /// The signed checkpoint that is served now.
    pub served: String,
    /// Where they are of different sizes: what the larger one has in place of the smaller one.
    pub prefix: Option<Prefix>,
    /// Where a new generation names what contradicts it: how that begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Beginning>,
}

/// The root over the first entries of a tree, and the consistency proof that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prefix {
    pub size: u64,
    pub root: Hash,
    pub proof: Vec<Hash>,
}

impl std::fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl State {
    /// Trusts the keys that were never heard of.
    pub fn trust(&mut self, vkeys: &[Verifier]) {
        for vkey in vkeys.iter().map(ToString::to_string) {
            if !self.known.contains(&vkey) {
                self.known.push(vkey.clone());
                self.vkeys.push(vkey);
            }
        }
    }

    /// The keys that are trusted now.
    ///
    /// # Errors
    /// One is no key.
    pub fn trusted(&self) -> Result<Vec<Verifier>, FollowError> {
        self.vkeys.iter().map(|v| v.parse().map_err(|e| FollowError::State(format!("{v}: {e}")))).collect()
    }

    /// Looks at the log: checks everything that is new, and takes it into the state.
    ///
    /// # Errors
    /// See [`FollowError`]. The state is as it was then.
    pub fn follow(&mut self, fetch: &mut Fetch<'_>) -> Result<News, FollowError> {
        self.follow_witnessed(&Demand::default(), fetch)
    }

    /// As [`State::follow`], where the checkpoint must be cosigned.
    ///
    /// # Errors
    /// See [`FollowError`]. The state is as it was then.
    pub fn follow_witnessed(&mut self, demand: &Demand, fetch: &mut Fetch<'_>) -> Result<News, FollowError> {
        let note = get(fetch, "checkpoint")?;
        let trusted = self.trusted()?;
        let checkpoint = Checkpoint::open(&note, &trusted)?;
        if let Some((old, kept)) = self.kept()? {
            if generation::follows(&old.origin, &checkpoint.origin) {
                let begun = generation::begun((&old, &kept), (&note, &checkpoint), &trusted, fetch)?;
                let mut next = self.of_next(&old, kept);
                let news = next.take_in(&note, checkpoint, demand, fetch)?;
                *self = next;
                return Ok(News { begun: Some(begun), ..news });
            }
            if old.origin != checkpoint.origin {
                let what = format!("{} was followed, {} is served", old.origin, checkpoint.origin);
                return Err(FollowError::State(what));
            }
            not_older(&old, &checkpoint, &kept, &String::from_utf8_lossy(&note), fetch)?;
        }
        self.take_in(&note, checkpoint, demand, fetch)
    }

    /// What was seen last, opened and as a note.
    fn kept(&self) -> Result<Option<(Checkpoint, String)>, FollowError> {
        let Some(kept) = self.checkpoint.clone() else { return Ok(None) };
        let (old, edge) = (Checkpoint::open(kept.as_bytes(), &self.all_known()?)?, self.edge()?);
        if (old.size, old.root) != (edge.size(), edge.root()) {
            return Err(FollowError::State("it does not fit the checkpoint in it".into()));
        }
        Ok(Some((old, kept)))
    }

    /// Checks all that is new under a checkpoint of the log that is followed, which is not older.
    fn take_in(
        &mut self,
        note: &[u8],
        checkpoint: Checkpoint,
        demand: &Demand,
        fetch: &mut Fetch<'_>,
    ) -> Result<News, FollowError> {
        // A log that was rewritten is told even where the witnesses are missing.
        let cosigned = demand.check(note);
        let served = String::from_utf8_lossy(note).into_owned();
        let edge = self.edge()?;
        let mut look = Look { next: self.clone(), edge, full: HashMap::new(), news: News::default() };
        if let Err(wrong) = look.all(self.size, &checkpoint, fetch) {
            return Err(self.blame(wrong, &checkpoint, &served, fetch));
        }
        let cosigned = cosigned.map_err(FollowError::Unwitnessed)?;
        let Look { mut next, edge, mut news, .. } = look;
        next.checkpoint = Some(served);
        next.levels = edge.levels().to_vec();
        news.before = self.size;
        news.cosigned = cosigned;
        news.last = next.time;
        news.checkpoint = Some(checkpoint);
        *self = next;
        Ok(news)
    }

    fn edge(&self) -> Result<Edge, FollowError> {
        let malformed = || FollowError::State("its tree is malformed".into());
        Edge::load(self.size, &mut |level, _, count| {
            self.levels.get(usize::from(level)).filter(|l| l.len() == count).cloned().ok_or_else(malformed)
        })
    }

    fn all_known(&self) -> Result<Vec<Verifier>, FollowError> {
        self.known.iter().map(|v| v.parse().map_err(|e| FollowError::State(format!("{v}: {e}")))).collect()
    }

    /// What is served does not fit: is it these bytes, or was the log rewritten?
    fn blame(
        &self,
        wrong: FollowError,
        new: &Checkpoint,
        served: &str,
        fetch: &mut Fetch<'_>,
    ) -> FollowError {
        let (Some(kept), Ok(edge)) = (&self.checkpoint, self.edge()) else { return wrong };
        if self.size == 0 || !matches!(wrong, FollowError::Broken { .. } | FollowError::Tile(_)) {
            return wrong;
        }
        match shown(self.size, new, fetch) {
            Ok(prefix) if prefix.root != edge.root() => {
                let what = format!(
                    "the {} entries signed now do not begin with the {} signed before",
                    new.size, self.size
                );
                rewritten(what, kept, served, Some(prefix))
            }
            // The log goes on from what it was, or does not show enough to tell.
            _ => wrong,
        }
    }
}

fn rewritten(what: String, kept: &str, served: &str, prefix: Option<Prefix>) -> FollowError {
    let (kept, served) = (kept.to_owned(), served.to_owned());
    FollowError::Rewritten(Box::new(Misbehaviour { what, kept, served, prefix, generation: None }))
}

/// Told apart: a stale copy of a checkpoint, and a log that was cut or forked.
fn not_older(
    old: &Checkpoint,
    new: &Checkpoint,
    kept: &str,
    served: &str,
    fetch: &mut Fetch<'_>,
) -> Result<(), FollowError> {
    if new.size == old.size && new.root != old.root {
        return Err(rewritten(format!("two roots are signed for {} entries", new.size), kept, served, None));
    }
    if new.size >= old.size {
        return Ok(());
    }
    let stale = FollowError::Stale { served: new.size, kept: old.size };
    let what = |how: &str| format!("{} entries were signed before, now {} are, {how}", old.size, new.size);
    match shown(new.size, old, fetch) {
        _ if new.size == 0 => Err(stale),
        Ok(prefix) if prefix.root == new.root => Err(stale),
        Ok(prefix) => Err(rewritten(what("which do not begin them"), kept, served, Some(prefix))),
        Err(e @ FollowError::Unreachable(_)) => Err(e),
        Err(_) => Err(rewritten(what("and the others are not served any more"), kept, served, None)),
    }
}

/// The root over the first `size` entries of the tree of `whole`, from the tiles that are served, proved to
/// belong to it.
fn shown(size: u64, whole: &Checkpoint, fetch: &mut Fetch<'_>) -> Result<Prefix, FollowError> {
    let mut nodes = nodes(whole.size, fetch);
    let root = proof::root(size, &mut nodes)?;
    let proof = proof::consistency(size, whole.size, &mut nodes)?;
    verify_consistency(size, root, whole.size, whole.root, &proof)
        .map_err(|e| FollowError::Tile(format!("the tiles that are served: {e}")))?;
    Ok(Prefix { size, root, proof })
}

/// Roots of perfect subtrees of a log of `size` entries, from its tiles: each is fetched once.
fn nodes(size: u64, fetch: &mut Fetch<'_>) -> impl FnMut(Node) -> Result<Hash, FollowError> {
    let mut tiles: HashMap<(u8, u64), Vec<Hash>> = HashMap::new();
    move |node| {
        let (level, index, ..) = tile::place(node);
        let known = match tiles.entry((level, index)) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(slot) => {
                let tile = Tile::of(Kind::Hashes(level), index, size);
                let tile = tile.ok_or_else(|| FollowError::Tile("there is no such tile".into()))?;
                slot.insert(hashes(tile, fetch)?)
            }
        };
        tile::node_of(node, known).ok_or_else(|| FollowError::Tile("a tile is too narrow".into()))
    }
}

fn hashes(tile: Tile, fetch: &mut Fetch<'_>) -> Result<Vec<Hash>, FollowError> {
    let width = usize::from(tile.width);
    let bytes = get_tile(fetch, tile)?;
    let hashes = tile::decode_hashes(bytes.get(..width * 32).unwrap_or(&bytes)).filter(|h| h.len() == width);
    hashes.ok_or_else(|| FollowError::Tile(format!("{} does not have {} hashes", tile.path(), tile.width)))
}

/// A partial tile may be gone once the full one is there: its beginning is the same.
fn get_tile(fetch: &mut Fetch<'_>, tile: Tile) -> Result<Bytes, FollowError> {
    match get(fetch, &tile.path()) {
        Err(FollowError::Missing(name)) if !tile.is_full() => {
            let full = Tile { width: 256, ..tile };
            get(fetch, &full.path()).map_err(|e| match e {
                FollowError::Missing(_) => FollowError::Missing(name),
                e => e,
            })
        }
        got => got,
    }
}

fn get(fetch: &mut Fetch<'_>, name: &str) -> Result<Bytes, FollowError> {
    fetch(name).map_err(FollowError::Unreachable)?.ok_or_else(|| FollowError::Missing(name.to_owned()))
}

/// One look at what is new.
struct Look {
    /// The state to be.
    next: State,
    edge: Edge,
    /// Tiles that became full, by level and index.
    full: HashMap<(u8, u64), Vec<Hash>>,
    news: News,
}

impl Look {
    fn all(&mut self, old: u64, new: &Checkpoint, fetch: &mut Fetch<'_>) -> Result<(), FollowError> {
        self.entries(new.size, fetch)?;
        if self.edge.root() != new.root {
            let what = "the entries from here on are not those of the root that is signed".into();
            return Err(FollowError::Broken { at: old, what });
        }
        self.tiles(old, new.size, fetch)
    }

    fn entries(&mut self, size: u64, fetch: &mut Fetch<'_>) -> Result<(), FollowError> {
        while self.next.size < size {
            let index = self.next.size / WIDTH;
            // Below `size`, so there is one.
            let Some(tile) = Tile::of(Kind::Entries, index, size) else { break };
            let bytes = get_tile(fetch, tile)?;
            let bundle = tile::decode_entries(&bytes).filter(|e| e.len() >= usize::from(tile.width));
            let mut bundle = bundle.ok_or_else(|| {
                FollowError::Tile(format!("{} does not have {} entries", tile.path(), tile.width))
            })?;
            bundle.truncate(tile.width.into());
            // Below 256.
            let known = (self.next.size % WIDTH) as usize;
            for raw in &bundle[known..] {
                self.entry(raw)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, raw: &Bytes) -> Result<(), FollowError> {
        let at = self.next.size;
        let broken = |what: String| Err(FollowError::Broken { at, what });
        let link = match Link::parse(raw) {
            Ok(link) => link,
            Err(e) => return broken(format!("not an entry: {e}")),
        };
        if link.seq != at {
            return broken(format!("it says that it is entry {}", link.seq));
        }
        if link.prev != self.next.leaf {
            return broken("its `prev` is not the hash of the entry before".into());
        }
        if let Some(before) = self.next.time.filter(|before| link.time < *before) {
            return broken(format!("time order: {} is before {before} of the entry before", link.time));
        }
        if let Some(e) = not_canonical(raw) {
            self.news.lints.push((at, e.to_string()));
        }
        if let Ok(entry) = Entry::parse(raw) {
            self.news.take(&entry, &mut self.next);
        }
        let leaf = leaf_hash(raw);
        for (level, tile) in (0..).zip(self.edge.push(leaf)) {
            self.full.insert((level, tile::hashes(level, at + 1) / WIDTH - 1), tile);
        }
        (self.next.size, self.next.leaf, self.next.time) = (at + 1, leaf, Some(link.time));
        Ok(())
    }

    /// The hashes that are served are those of the entries.
    fn tiles(&mut self, old: u64, new: u64, fetch: &mut Fetch<'_>) -> Result<(), FollowError> {
        for tile in new_tiles(old, new) {
            let Kind::Hashes(level) = tile.kind else { continue };
            let ours = self.full.get(&(level, tile.index)).map_or(self.edge.partial(level), Vec::as_slice);
            if hashes(tile, fetch)? != ours {
                return Err(FollowError::Tile(format!(
                    "{} does not hold the hashes of the entries",
                    tile.path()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
