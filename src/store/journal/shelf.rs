//! Reading bodies from segments, some of which were rewritten.
//!
//! A place that was noted when a group was appended holds as long as its segment is as it was written. In
//! a rewritten one frames lie elsewhere: where its bodies are is found by reading it once. The file and
//! what is known of it are one thing here, so a reader that took it before a rewrite reads on in peace.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::{
    JournalError, Place,
    frame::{self, BodyRecord, SEGMENT_HEADER, SegmentHeader},
    reader::{SegmentReader, Step, read_up_to},
    segment_path, segments,
};
use crate::store::wire::Take;

/// Most reads are of recent segments; a handful of files is plenty.
const OPEN: usize = 64;

/// The segments of one journal, to read bodies from.
pub struct Shelf {
    journal: PathBuf,
    open: Mutex<HashMap<u64, Arc<Volume>>>,
    /// One rewrite at a time.
    rewriting: Mutex<()>,
}

/// A segment that is open.
struct Volume {
    file: File,
    header: SegmentHeader,
    /// Of a rewritten segment: entry and offset of each body record, ascending.
    found: OnceLock<Vec<(u64, u64)>>,
}

impl Shelf {
    #[must_use]
    pub fn new(journal: PathBuf) -> Self {
        Self { journal, open: Mutex::default(), rewriting: Mutex::default() }
    }

    /// To be held while a segment is rewritten.
    pub fn rewriting(&self) -> MutexGuard<'_, ()> {
        self.rewriting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segment was replaced: who reads from now on opens it again.
    pub fn replaced(&self, first: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&first);
    }

    /// The record of body `name` of entry `seq`, noted at `place` when it was written. Whether it was
    /// erased, and what its bytes are, says the record.
    ///
    /// # Errors
    /// I/O; [`io::ErrorKind::InvalidData`]: another thing lies there.
    pub fn body(&self, seq: u64, name: &str, place: Place) -> io::Result<BodyRecord> {
        let volume = self.volume(place.segment)?;
        if volume.header.rewritten == 0 {
            return volume.record(seq, place.offset);
        }
        for &(_, offset) in volume.of_entry(&self.journal, seq)? {
            let record = volume.record(seq, offset)?;
            if record.name == name {
                return Ok(record);
            }
        }
        Err(broken(seq, "is not in its segment"))
    }

    fn volume(&self, first: u64) -> io::Result<Arc<Volume>> {
        // Opened under the lock: after a rewrite, what was opened before it is not put back.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(volume) = open.get(&first) {
            return Ok(volume.clone());
        }
        let volume = Arc::new(Volume::open(&self.journal, first)?);
        if open.len() >= OPEN {
            open.clear();
        }
        open.insert(first, volume.clone());
        Ok(volume)
    }

    /// The segments that are sealed because another follows, and whether each is compressed.
    ///
    /// # Errors
    /// I/O, or a header is damaged.
    pub fn sealed(&self) -> Result<Vec<(u64, bool)>, JournalError> {
        let mut all = segments(&self.journal).map_err(JournalError::io("listing", &self.journal))?;
        all.pop();
        all.into_iter()
            .map(|first| Ok((first, SegmentReader::open(&self.journal, first)?.header.compressed)))
            .collect()
    }
}

impl Volume {
    fn open(journal: &std::path::Path, first: u64) -> io::Result<Self> {
        let file = File::open(segment_path(journal, first))?;
        let mut bytes = [0; SEGMENT_HEADER];
        let n = read_up_to(&file, &mut bytes, 0)?;
        let header = SegmentHeader::decode(&bytes[..n]).map_err(|why| broken(first, why))?;
        Ok(Self { file, header, found: OnceLock::new() })
    }

    fn of_entry(&self, journal: &std::path::Path, seq: u64) -> io::Result<&[(u64, u64)]> {
        let found = match self.found.get() {
            Some(found) => found,
            None => {
                let found = self.find(journal)?;
                self.found.get_or_init(|| found)
            }
        };
        let (from, to) =
            (found.partition_point(|(s, _)| *s < seq), found.partition_point(|(s, _)| *s <= seq));
        Ok(&found[from..to])
    }

    /// Reads this file, whatever bears its name by now.
    fn find(&self, journal: &std::path::Path) -> io::Result<Vec<(u64, u64)>> {
        let first = self.header.first;
        let path = segment_path(journal, first);
        let mut reader = SegmentReader::on_file(self.file.try_clone()?, path, first).map_err(as_io)?;
        let mut found = vec![];
        while let Step::Group(group) = reader.step().map_err(as_io)? {
            for (seq, entry) in (group.first..).zip(&group.entries) {
                found.extend(entry.bodies.iter().map(|b| (seq, group.payload + b.offset as u64)));
            }
        }
        Ok(found)
    }

    fn record(&self, seq: u64, offset: u64) -> io::Result<BodyRecord> {
        let what = "does not lie where it was noted";
        let mut start = [0; frame::BODY_START];
        let n = read_up_to(&self.file, &mut start, offset)?;
        let mut take = Take(&start[..n]);
        let (record, length) = frame::decode_body_start(&mut take).ok_or_else(|| broken(seq, what))?;
        let at = offset + (n - take.0.len()) as u64;
        if self.file.metadata()?.len() < at + length as u64 {
            return Err(broken(seq, what));
        }
        let mut bytes = vec![0; length];
        read_up_to(&self.file, &mut bytes, at)?;
        Ok(BodyRecord { stored: bytes.into(), ..record })
    }
}

fn as_io(e: JournalError) -> io::Error {
    match e {
        JournalError::Io { error, .. } => error,
        damaged @ JournalError::Damaged { .. } => {
            io::Error::new(io::ErrorKind::InvalidData, damaged.to_string())
        }
    }
}

fn broken(seq: u64, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a body of entry {seq} {what}"))
}
