//! Reading the journal: group by group, segment by segment. Works on a live journal and on a copy.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use super::{
    JournalError,
    frame::{self, FRAME_HEADER, FrameEntry, FrameHeader, SEAL, SEGMENT_HEADER, Seal, SegmentHeader},
    segment_path, segments,
};
use crate::{
    ledger::{
        chain::leaf_hash,
        entry::{Hash, Link},
    },
    store::Tip,
};

/// A frame that was read: its CRCs are right.
#[derive(Clone, Debug)]
pub struct Group {
    pub first: u64,
    pub entries: Vec<FrameEntry>,
    /// Leaf hash of each entry, as computed.
    pub leaves: Vec<Hash>,
    /// Leaf hash of the entry before the group.
    pub before: Hash,
    pub segment: u64,
    /// Offset of the payload in the segment.
    pub payload: u64,
}

impl Group {
    /// What binds each entry to the one before, checked: `seq` counts on and `prev` is the leaf hash
    /// of the entry before.
    ///
    /// # Errors
    /// One is not an entry, or does not follow the one before.
    pub fn links(&self) -> Result<Vec<Link>, JournalError> {
        let before = std::iter::once(&self.before).chain(&self.leaves);
        (self.first..)
            .zip(self.entries.iter().zip(before))
            .map(|(seq, (e, prev))| link(seq, e, prev))
            .collect()
    }
}

fn link(seq: u64, entry: &FrameEntry, prev: &Hash) -> Result<Link, JournalError> {
    let link =
        Link::parse(&entry.raw).map_err(|e| JournalError::damaged(seq, format!("not an entry: {e}")))?;
    if link.seq != seq {
        return Err(JournalError::damaged(seq, format!("it says that it is entry {}", link.seq)));
    }
    if link.prev != *prev {
        return Err(JournalError::damaged(
            seq,
            "its `prev` is not the hash of the entry before: one of the two was changed",
        ));
    }
    Ok(link)
}

/// What stands where the next frame would begin, and is neither a frame nor a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Offset in the segment.
    pub at: u64,
    /// Bytes up to the last that is not zero; 0: nothing was begun here.
    pub garbage: u64,
    /// Offset of a whole frame or seal behind the bad bytes: they are no torn write then.
    pub later: Option<u64>,
}

pub enum Step {
    Group(Group),
    Sealed(Seal),
    Tail(Tail),
}

/// Reads one segment from its start.
pub struct SegmentReader {
    file: File,
    path: PathBuf,
    pub header: SegmentHeader,
    pub position: u64,
    pub frames: u32,
    /// What the next frame must follow.
    pub tip: Tip,
}

impl SegmentReader {
    /// # Errors
    /// I/O, or the header is not that of segment `first`.
    pub fn open(dir: &Path, first: u64) -> Result<Self, JournalError> {
        Self::open_file(segment_path(dir, first), first)
    }

    /// Segment `first`, in a file of another name.
    ///
    /// # Errors
    /// As [`SegmentReader::open`].
    pub fn open_file(path: PathBuf, first: u64) -> Result<Self, JournalError> {
        let file = File::open(&path).map_err(JournalError::io("opening", &path))?;
        Self::on_file(file, path, first)
    }

    /// Segment `first` in a file that is open; `path` is for messages.
    ///
    /// # Errors
    /// As [`SegmentReader::open`].
    pub fn on_file(file: File, path: PathBuf, first: u64) -> Result<Self, JournalError> {
        let mut bytes = vec![0; SEGMENT_HEADER];
        let n = read_up_to(&file, &mut bytes, 0).map_err(JournalError::io("reading", &path))?;
        let header = SegmentHeader::decode(&bytes[..n])
            .map_err(|why| JournalError::damaged(first, format!("{why} ({})", path.display())))?;
        if header.first != first {
            return Err(JournalError::damaged(
                first,
                format!("{} says that it begins with entry {}", path.display(), header.first),
            ));
        }
        let tip = Tip { size: first, leaf: header.prev };
        Ok(Self { file, path, header, position: SEGMENT_HEADER as u64, frames: 0, tip })
    }

    /// The next group, or how the segment ends.
    ///
    /// A writer may be at work: what looks like damage because two reads of ours met two states of
    /// the file is read again.
    ///
    /// # Errors
    /// I/O, or bytes that no torn write explains.
    pub fn step(&mut self) -> Result<Step, JournalError> {
        for _ in 0..5 {
            match self.try_step()? {
                Step::Tail(Tail { later: Some(_), .. }) => std::thread::sleep(Duration::from_millis(20)),
                step => return Ok(step),
            }
        }
        self.try_step()
    }

    /// Goes on to the frame that holds entry `seq`, or to the one before it, reading nothing but headers of
    /// frames. What was passed over is not checked; the first entry from here on is believed to name the
    /// right one before it.
    ///
    /// # Errors
    /// I/O.
    pub fn skip_to(&mut self, seq: u64) -> Result<(), JournalError> {
        let mut skipped = false;
        loop {
            let mut start = [0; FRAME_HEADER];
            let n = self.read(&mut start, self.position)?;
            let header = FrameHeader::decode(&start[..n]).filter(|h| h.first == self.tip.size);
            let Some(header) = header.filter(|h| h.first + u64::from(h.count) <= seq) else { break };
            if self.position + header.total() > self.length()? {
                break;
            }
            self.position += header.total();
            self.frames += 1;
            self.tip.size += u64::from(header.count);
            skipped = true;
        }
        if skipped {
            // Nothing but the seal follows: it names the last entry that was passed over.
            let mut end = [0; SEAL];
            let n = self.read(&mut end, self.position)?;
            if let Some(seal) = Seal::decode(&end[..n]).filter(|seal| seal.next == self.tip.size) {
                self.tip.leaf = seal.leaf;
                return Ok(());
            }
            let mut ahead = Self {
                file: self.file.try_clone().map_err(JournalError::io("opening", &self.path))?,
                path: self.path.clone(),
                header: self.header.clone(),
                ..*self
            };
            if let Step::Group(group) = ahead.step()?
                && let Some(link) = group.entries.first().and_then(|e| Link::parse(&e.raw).ok())
            {
                self.tip.leaf = link.prev;
            } else if let Some(seal) = self.seal_at_end()? {
                self.tip.leaf = seal.leaf;
            }
        }
        Ok(())
    }

    fn try_step(&mut self) -> Result<Step, JournalError> {
        let mut start = [0; SEAL];
        let n = self.read(&mut start, self.position)?;
        if let Some(seal) = Seal::decode(&start[..n]) {
            return self.check_seal(seal).map(Step::Sealed);
        }
        if let Some(header) = FrameHeader::decode(&start[..n]) {
            self.check_order(&header)?;
            if let Some(group) = self.read_group(&header)? {
                return Ok(Step::Group(group));
            }
        }
        self.tail().map(Step::Tail)
    }

    fn check_order(&self, header: &FrameHeader) -> Result<(), JournalError> {
        if header.first == self.tip.size {
            return Ok(());
        }
        Err(self.damaged(format!("a frame that begins with entry {} stands in its place", header.first)))
    }

    /// `None`: the payload is not whole.
    fn read_group(&mut self, header: &FrameHeader) -> Result<Option<Group>, JournalError> {
        if self.position + header.total() > self.length()? {
            return Ok(None);
        }
        // At most MAX_FRAME, and no more than the file holds.
        let mut bytes = vec![0; usize::try_from(header.total()).unwrap_or(0)];
        let n = self.read(&mut bytes, self.position)?;
        bytes.truncate(n);
        let bytes = Bytes::from(bytes);
        let Some(payload) = frame::payload_of(header, &bytes).map(|p| bytes.slice_ref(p)) else {
            return Ok(None);
        };
        let entries = frame::decode_payload(&payload, header.count)
            .ok_or_else(|| self.damaged("the frame does not hold what its header says"))?;
        let group = Group {
            first: header.first,
            leaves: entries.iter().map(|e| leaf_hash(&e.raw)).collect(),
            entries,
            before: self.tip.leaf,
            segment: self.header.first,
            payload: self.position + FRAME_HEADER as u64,
        };
        self.position += header.total();
        self.frames += 1;
        self.tip.size += u64::from(header.count);
        self.tip.leaf = group.leaves.last().copied().unwrap_or(self.tip.leaf);
        Ok(Some(group))
    }

    fn check_seal(&self, seal: Seal) -> Result<Seal, JournalError> {
        if seal.next != self.tip.size || seal.leaf != self.tip.leaf || seal.frames != self.frames {
            return Err(self.damaged("the segment's seal does not fit what is in it"));
        }
        if seal.length != self.position + SEAL as u64 || seal.length != self.length()? {
            return Err(self.damaged("the segment does not end with its seal"));
        }
        Ok(seal)
    }

    fn tail(&self) -> Result<Tail, JournalError> {
        let at = self.position;
        let mut rest = vec![0; usize::try_from(self.length()?.saturating_sub(at)).unwrap_or(0)];
        let n = self.read(&mut rest, at)?;
        rest.truncate(n);
        let garbage = frame::without_zeros(&rest).len();
        let later = self.find_later(&rest, garbage).map(|offset| at + offset as u64);
        Ok(Tail { at, garbage: garbage as u64, later })
    }

    /// A whole frame or seal in `rest`, which begins with bad bytes and has nothing but zeros from `end` on. If a
    /// frame's header is whole, what it claims as its payload is not searched: bodies may hold anything.
    fn find_later(&self, rest: &[u8], end: usize) -> Option<usize> {
        let claimed = FrameHeader::decode(rest).and_then(|h| usize::try_from(h.total()).ok());
        let mut from = claimed.unwrap_or(1);
        while let Some(found) = frame::find_magic(&rest[..end], from) {
            // To the end: zeros may belong to it.
            let candidate = &rest[found..];
            let frame = FrameHeader::decode(candidate)
                .is_some_and(|h| h.first >= self.tip.size && frame::payload_of(&h, candidate).is_some());
            if frame || Seal::decode(candidate).is_some_and(|s| s.next >= self.tip.size) {
                return Some(found);
            }
            from = found + 1;
        }
        None
    }

    /// The seal at the end of the file, if there is one; nothing before it is read.
    ///
    /// # Errors
    /// I/O.
    pub fn seal_at_end(&self) -> Result<Option<Seal>, JournalError> {
        let length = self.length()?;
        let Some(at) = length.checked_sub(SEAL as u64).filter(|at| *at >= SEGMENT_HEADER as u64) else {
            return Ok(None);
        };
        let mut bytes = [0; SEAL];
        let n = self.read(&mut bytes, at)?;
        Ok(Seal::decode(&bytes[..n]).filter(|seal| seal.length == length))
    }

    /// Makes what was read durable, if its writer has not done so yet.
    ///
    /// # Errors
    /// I/O.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Writes the first `length` bytes of the file to `out`.
    ///
    /// # Errors
    /// I/O, or the file is shorter.
    pub fn copy(&self, length: u64, out: &mut impl io::Write) -> io::Result<()> {
        let mut buffer = vec![0; 256 << 10];
        let mut at = 0;
        while at < length {
            let wanted = usize::try_from(length - at).map_or(buffer.len(), |n| n.min(buffer.len()));
            self.file.read_exact_at(&mut buffer[..wanted], at)?;
            out.write_all(&buffer[..wanted])?;
            at += wanted as u64;
        }
        Ok(())
    }

    fn damaged(&self, what: impl Into<String>) -> JournalError {
        JournalError::damaged(self.tip.size, what)
    }

    fn length(&self) -> Result<u64, JournalError> {
        Ok(self.file.metadata().map_err(JournalError::io("reading", &self.path))?.len())
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<usize, JournalError> {
        read_up_to(&self.file, buffer, at).map_err(JournalError::io("reading", &self.path))
    }
}

/// The segments of a journal. `headless`: the last file, and its length, if it is too short to be one
/// yet: nothing can have been written to it.
pub struct Listed {
    pub firsts: Vec<u64>,
    pub headless: Option<(u64, u64)>,
}

/// # Errors
/// I/O.
pub fn list(dir: &Path) -> Result<Listed, JournalError> {
    let mut firsts = segments(dir).map_err(JournalError::io("listing", dir))?;
    let mut headless = None;
    if let Some(&last) = firsts.last() {
        let path = segment_path(dir, last);
        // A clean stop removes a segment that nothing was written to: it may be gone by now.
        let length = std::fs::metadata(&path).map_or(0, |m| m.len());
        if length < SEGMENT_HEADER as u64 {
            headless = Some((last, length));
            firsts.pop();
        }
    }
    Ok(Listed { firsts, headless })
}

/// Reads until the buffer is full or the file ends.
///
/// # Errors
/// I/O.
pub fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// All groups of a journal in order. Checks that segments follow each other; whether entries do is
/// [`Group::links`].
pub struct Groups {
    dir: PathBuf,
    todo: VecDeque<u64>,
    current: Option<SegmentReader>,
    pub ledger_id: [u8; 16],
    pub tip: Tip,
    header: SegmentHeader,
    sealed: bool,
    /// First entry of the segment that was read last.
    pub segment: u64,
    /// How the last segment ends; set when the last group was read.
    pub tail: Option<Tail>,
}

impl Groups {
    /// From the first entry. `None`: there are no segments.
    ///
    /// # Errors
    /// I/O, or the first segment is missing or damaged.
    pub fn open(dir: &Path) -> Result<Option<Self>, JournalError> {
        Self::open_at(dir, 0)
    }

    /// From the start of the segment that holds entry `seq`. `None`: there are no segments.
    ///
    /// # Errors
    /// I/O, or that segment is missing or damaged.
    pub fn open_at(dir: &Path, seq: u64) -> Result<Option<Self>, JournalError> {
        let all = list(dir)?.firsts;
        let Some(&oldest) = all.first() else { return Ok(None) };
        if oldest != 0 {
            return Err(JournalError::damaged(0, format!("entries 0..{} are missing", oldest - 1)));
        }
        let start = all.partition_point(|first| *first <= seq) - 1;
        let first = SegmentReader::open(dir, all[start])?;
        if all[start] == 0 && first.header.prev != Hash::default() {
            return Err(JournalError::damaged(0, "the first segment says that there were entries before it"));
        }
        Ok(Some(Self {
            dir: dir.to_owned(),
            todo: all[start + 1..].iter().copied().collect(),
            ledger_id: first.header.ledger_id,
            tip: first.tip,
            header: first.header.clone(),
            current: Some(first),
            sealed: false,
            segment: all[start],
            tail: None,
        }))
    }

    /// From the frame that holds entry `seq`: see [`SegmentReader::skip_to`]. `None`: there are no segments.
    ///
    /// # Errors
    /// As [`Groups::open_at`].
    pub fn open_near(dir: &Path, seq: u64) -> Result<Option<Self>, JournalError> {
        let mut groups = Self::open_at(dir, seq)?;
        if let Some(groups) = &mut groups
            && let Some(reader) = &mut groups.current
        {
            reader.skip_to(seq)?;
            groups.tip = reader.tip;
        }
        Ok(groups)
    }

    /// Goes on to the frame that holds entry `seq`, as [`SegmentReader::skip_to`]. `false`: it lies in another
    /// segment, or before what was read.
    ///
    /// # Errors
    /// I/O.
    pub fn skip_to(&mut self, seq: u64) -> Result<bool, JournalError> {
        let here = self.todo.front().is_none_or(|next| seq < *next);
        match &mut self.current {
            Some(reader) if here && reader.tip.size <= seq => {
                reader.skip_to(seq)?;
                self.tip = reader.tip;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The header of the segment that was read last.
    #[must_use]
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// `None`: all were read.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn next_group(&mut self) -> Result<Option<Group>, JournalError> {
        loop {
            let Some(reader) = &mut self.current else {
                if !self.next_segment()? {
                    return Ok(None);
                }
                continue;
            };
            let step = reader.step()?;
            self.tip = reader.tip;
            match step {
                Step::Group(group) => return Ok(Some(group)),
                Step::Sealed(_) => self.sealed = true,
                Step::Tail(tail) => self.end_unsealed(tail)?,
            }
            self.current = None;
        }
    }

    fn end_unsealed(&mut self, tail: Tail) -> Result<(), JournalError> {
        let damaged = |what: &str| Err(JournalError::damaged(self.tip.size, what));
        match tail {
            Tail { later: Some(_), .. } => damaged("its frame is damaged, and whole frames follow it"),
            _ if !self.todo.is_empty() => damaged("the segment has no seal, and another follows it"),
            tail => {
                (self.sealed, self.tail) = (false, Some(tail));
                Ok(())
            }
        }
    }

    fn next_segment(&mut self) -> Result<bool, JournalError> {
        let Some(first) = self.todo.pop_front() else { return Ok(false) };
        let damaged = |what: String| Err(JournalError::damaged(self.tip.size, what));
        if first != self.tip.size {
            return damaged(format!("the next segment begins with entry {first}"));
        }
        let reader = match SegmentReader::open(&self.dir, first) {
            // A clean stop removes a segment that nothing was written to.
            Err(JournalError::Io { error, .. })
                if error.kind() == io::ErrorKind::NotFound && self.todo.is_empty() =>
            {
                return Ok(false);
            }
            reader => reader?,
        };
        if reader.header.ledger_id != self.ledger_id {
            return damaged("the next segment is of another ledger".into());
        }
        if reader.header.prev != self.tip.leaf {
            return damaged("the next segment does not follow the entry before it".into());
        }
        self.header = reader.header.clone();
        (self.current, self.segment) = (Some(reader), first);
        Ok(true)
    }

    /// The journal ends with a seal: every byte is covered.
    #[must_use]
    pub fn sealed(&self) -> bool {
        self.sealed
    }
}
