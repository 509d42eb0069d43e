//! Writing the journal: one group at a time, durable on return.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    Sizes,
    fill::{Fill, Filler},
    frame::{self, SEAL, SEGMENT_HEADER, Seal, SegmentHeader},
    mark,
    recover::Unsealed,
    segment_path,
};
use crate::store::{
    Record, StoreError, StoreStats, Tip,
    files::{self, fail_at, sync_dir},
    journal::Place,
};

/// The only writer of a journal.
pub struct Writer {
    dir: PathBuf,
    ledger_id: [u8; 16],
    sizes: Sizes,
    tip: Tip,
    /// `None`: the last segment is sealed, the next append creates one.
    active: Option<Active>,
    filler: Filler,
    /// Why no more is taken.
    ended: Option<String>,
    pub stats: StoreStats,
}

/// The segment being written.
struct Active {
    file: File,
    fill: Arc<Fill>,
    first: u64,
    position: u64,
    frames: u32,
}

impl Writer {
    /// Goes on where [`super::recover::recover`] found the end.
    ///
    /// # Errors
    /// I/O.
    pub fn open(
        dir: &Path,
        ledger_id: [u8; 16],
        tip: Tip,
        unsealed: Option<Unsealed>,
        sizes: Sizes,
    ) -> io::Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            ledger_id,
            sizes,
            tip,
            active: unsealed.map(|u| Active::reopen(dir, u)).transpose()?,
            filler: Filler::start()?,
            ended: None,
            stats: StoreStats::default(),
        })
    }

    #[must_use]
    pub fn tip(&self) -> Tip {
        self.tip
    }

    #[must_use]
    pub fn ledger_id(&self) -> [u8; 16] {
        self.ledger_id
    }

    /// Appends a group; where each record's bodies lie is returned, in the order of the group.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was written. [`StoreError::Fatal`]: it may be there or not.
    pub fn append(&mut self, group: &[Record]) -> Result<Vec<Vec<Place>>, StoreError> {
        if let Some(why) = &self.ended {
            return Err(StoreError::Fatal(why.clone()));
        }
        self.try_append(group).inspect_err(|e| {
            if let StoreError::Fatal(why) = e {
                self.ended = Some(why.clone());
            }
        })
    }

    fn try_append(&mut self, group: &[Record]) -> Result<Vec<Vec<Place>>, StoreError> {
        let started = Instant::now();
        let encoded = frame::encode(self.tip.size, group).map_err(|why| StoreError::Fatal(why.to_owned()))?;
        self.roll_if_needed(encoded.bytes.len() as u64)?;
        let Some(active) = &mut self.active else {
            return Err(StoreError::Fatal("the journal has no open segment".into()));
        };
        let place = Place { segment: active.first, offset: active.position };
        active.write(&encoded.bytes)?;
        // Durable from here: whatever happens now, opening again finds the group.
        self.tip.size += group.len() as u64;
        self.tip.leaf = group.last().map_or(self.tip.leaf, |r| r.leaf);
        active.order_fill(&self.filler, self.sizes.ahead);
        self.stats.syncs += 1;
        self.stats.bytes += encoded.bytes.len() as u64;
        self.stats.busy += started.elapsed();
        let at = |offset: u64| Place { offset: place.offset + offset, ..place };
        Ok(encoded.places.into_iter().map(|record| record.into_iter().map(at).collect()).collect())
    }

    /// Makes sure that there is a segment with room for a frame of `length` bytes.
    fn roll_if_needed(&mut self, length: u64) -> Result<(), StoreError> {
        let full = |a: &Active| a.frames > 0 && a.position + length + SEAL as u64 > self.sizes.segment;
        if self.active.as_ref().is_some_and(full) {
            self.seal().map_err(|e| full_or_fatal("sealing a segment", &e))?;
        }
        if self.active.is_none() {
            let active = Active::create(&self.dir, self.ledger_id, self.tip, self.sizes)
                .map_err(|e| full_or_fatal("creating a segment", &e))?;
            self.active = Some(active);
        }
        Ok(())
    }

    /// Seals the segment that is written to if entry `seq` lies in it; the next append begins another.
    ///
    /// # Errors
    /// As for [`Writer::append`].
    pub fn seal_over(&mut self, seq: u64) -> Result<(), StoreError> {
        if let Some(why) = &self.ended {
            return Err(StoreError::Fatal(why.clone()));
        }
        if self.active.as_ref().is_none_or(|a| a.frames == 0 || seq < a.first) {
            return Ok(());
        }
        self.seal().map_err(|e| full_or_fatal("sealing a segment", &e)).inspect_err(|e| {
            if let StoreError::Fatal(why) = e {
                self.ended = Some(why.clone());
            }
        })
    }

    fn seal(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            active.seal(self.tip)?;
            self.active = None;
        }
        Ok(())
    }

    /// A clean stop: the last segment is sealed (or, without a frame, removed) and the mark written.
    ///
    /// # Errors
    /// I/O. Every entry is durable all the same.
    pub fn stop(&mut self) -> io::Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        self.ended = Some("the journal is closed".into());
        if let Some(empty) = self.active.take_if(|a| a.frames == 0) {
            empty.fill.close_at(SEGMENT_HEADER as u64)?;
            fs::remove_file(segment_path(&self.dir, empty.first))?;
            sync_dir(&self.dir)?;
        }
        self.seal()?;
        // Between the two: sealed, but the mark is the older one, which is still true.
        mark::write_stopped(&self.dir, self.tip)
    }
}

/// Creates the first segment of a new ledger.
///
/// # Errors
/// I/O.
pub fn begin(dir: &Path, ledger_id: [u8; 16], sizes: Sizes) -> io::Result<()> {
    Active::create(dir, ledger_id, Tip::default(), sizes).map(drop)
}

impl Active {
    /// Creates the segment aside, syncs it, gives it its name, syncs the folder: a segment with a
    /// name has a whole header. A crash before leaves a `.new` file that the next open removes.
    fn create(dir: &Path, ledger_id: [u8; 16], tip: Tip, sizes: Sizes) -> io::Result<Self> {
        fail_at("journal.create.before")?;
        let path = segment_path(dir, tip.size);
        let aside = path.with_extension("seg.new");
        let header =
            SegmentHeader { ledger_id, first: tip.size, prev: tip.leaf, compressed: false, rewritten: 0 };
        let made = Self::fill_new(&aside, &header, sizes);
        let (file, fill) = match made {
            Ok(made) => made,
            Err(e) => {
                let _ = fs::remove_file(&aside);
                return Err(e);
            }
        };
        fs::rename(&aside, &path)?;
        sync_dir(dir).map_err(failed_sync)?;
        fail_at("journal.create.after")?;
        Ok(Self { file, fill, first: tip.size, position: SEGMENT_HEADER as u64, frames: 0 })
    }

    fn fill_new(aside: &Path, header: &SegmentHeader, sizes: Sizes) -> io::Result<(File, Arc<Fill>)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(aside)?;
        let header = header.encode();
        file.write_all_at(&header, 0)?;
        let fill = Arc::new(Fill::new(aside, header.len() as u64)?);
        fill.reserve(header.len() as u64 + sizes.ahead)?;
        // If this fails the file is thrown away, so that even a full disk here is only a full disk.
        file.sync_all()?;
        Ok((file, fill))
    }

    fn reopen(dir: &Path, unsealed: Unsealed) -> io::Result<Self> {
        let path = segment_path(dir, unsealed.first);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        // Everything behind the last frame is zeros: recovery saw to it.
        let fill = Arc::new(Fill::new(&path, file.metadata()?.len().max(unsealed.position))?);
        let Unsealed { first, position, frames } = unsealed;
        Ok(Self { file, fill, first, position, frames })
    }

    /// Writes a frame and syncs it. A full disk shows while room is made or the frame is written; any
    /// other error after the room was made leaves it unknown whether the frame is there.
    fn write(&mut self, frame: &[u8]) -> Result<(), StoreError> {
        let end = self.position + frame.len() as u64;
        self.fill.reserve(end).map_err(|e| full_or_fatal("making room in the journal", &e))?;
        if let Err((written, e)) = self.write_frame(frame) {
            return Err(if files::is_full(&e) { self.take_back(written) } else { fatal(WRITING, &e) });
        }
        self.sync().map_err(|e| fatal(WRITING, &e))?;
        self.position = end;
        self.frames += 1;
        Ok(())
    }

    /// The error comes with how many bytes were written.
    fn write_frame(&self, frame: &[u8]) -> Result<(), (usize, io::Error)> {
        fail_at("journal.write.before").map_err(|e| (0, e))?;
        let torn = fail_at("journal.write.torn");
        let end = if torn.is_err() { frame.len() / 2 } else { frame.len() };
        let mut done = 0;
        while done < end {
            match self.file.write_at(&frame[done..end], self.position + done as u64) {
                Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err((done, e)),
            }
        }
        torn.map_err(|e| (done, e))
    }

    /// File systems that never write in place can be full even where there was room. The part of the
    /// frame that was written becomes zeros again before anything is written over it; the next sync
    /// makes both durable. A crash before leaves a torn write, as any other.
    fn take_back(&self, written: usize) -> StoreError {
        match self.file.write_all_at(&vec![0; written], self.position) {
            Ok(()) => StoreError::Full,
            Err(e) => fatal("the disk is full; taking back what was written to the journal", &e),
        }
    }

    fn sync(&self) -> io::Result<()> {
        fail_at("journal.sync.before")?;
        self.file.sync_data()?;
        fail_at("journal.sync.after")
    }

    fn order_fill(&self, filler: &Filler, ahead: u64) {
        if self.fill.left(self.position) < ahead {
            // A few times the distance, so that a busy writer is not always just short of it.
            filler.order(&self.fill, self.position + 4 * ahead);
        }
    }

    /// Cuts the zeros off and writes the seal. A crash between leaves an unsealed segment without
    /// zeros, or a torn seal, which recovery zeroes like any torn write.
    fn seal(&mut self, tip: Tip) -> io::Result<()> {
        fail_at("journal.seal.before")?;
        self.fill.close_at(self.position)?;
        // Without this, the power could go when the seal is on the disk and the new length is not: a
        // whole seal with zeros behind it, which nothing but damage explains.
        self.file.sync_all().map_err(failed_sync)?;
        let length = self.position + SEAL as u64;
        let seal = Seal { next: tip.size, frames: self.frames, leaf: tip.leaf, length };
        self.file.write_all_at(&seal.encode(), self.position)?;
        self.file.sync_all().map_err(failed_sync)?;
        fail_at("journal.seal.after")
    }
}

const WRITING: &str = "writing the journal";

/// After a failed sync nobody knows what is on the disk: never to be taken for a full disk.
fn failed_sync(e: io::Error) -> io::Error {
    io::Error::other(format!("sync failed: {e}"))
}

fn full_or_fatal(doing: &str, e: &io::Error) -> StoreError {
    if files::is_full(e) { StoreError::Full } else { fatal(doing, e) }
}

fn fatal(doing: &str, e: &io::Error) -> StoreError {
    StoreError::Fatal(format!("{doing}: {e}"))
}
