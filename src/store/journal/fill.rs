//! Zeros ahead of the writer, written off the commit path by a thread of their own.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, SyncSender},
    },
    thread::JoinHandle,
};

use crate::store::files;

/// How far the unsealed segment is filled with zeros. Frames are written only below that, zeros only
/// above it, both decided under one lock: so zeros never meet a frame.
pub struct Fill {
    /// Opened for itself: a failed write is told once to each opened file, and what the filler hears
    /// must not be hidden from the commit.
    file: File,
    filled: AtomicU64,
    /// `true`: the segment is being sealed, fill no more ahead.
    closed: Mutex<bool>,
}

impl Fill {
    /// # Errors
    /// The file cannot be opened.
    pub fn new(path: &Path, filled: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Self { file, filled: AtomicU64::new(filled), closed: Mutex::new(false) })
    }

    /// Makes sure that the file holds `end` bytes.
    ///
    /// # Errors
    /// The disk is full or broken; what was filled before stays so.
    pub fn reserve(&self, end: u64) -> io::Result<()> {
        files::fail_at("journal.fill")?;
        if self.filled.load(Ordering::Acquire) >= end {
            return Ok(());
        }
        let _lock = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        self.extend(end)
    }

    /// To be called under the lock.
    fn extend(&self, end: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut at = self.filled.load(Ordering::Acquire);
        while at < end {
            let n = usize::try_from(end - at).map_or(ZEROS.len(), |n| n.min(ZEROS.len()));
            self.file.write_all_at(&ZEROS[..n], at)?;
            at += n as u64;
            self.filled.store(at, Ordering::Release);
        }
        Ok(())
    }

    fn fill_ahead(&self, end: u64) -> io::Result<()> {
        {
            let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            if *closed {
                return Ok(());
            }
            self.extend(end)?;
        }
        // Outside the lock, so that a commit never waits for this. Not needed for durability: it
        // only has the file's new length written before a commit would have to.
        self.file.sync_data()
    }

    /// Cuts the file at `end`; nothing is filled from now on.
    ///
    /// # Errors
    /// I/O.
    pub fn close_at(&self, end: u64) -> io::Result<()> {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = true;
        self.file.set_len(end)?;
        self.filled.store(end, Ordering::Release);
        Ok(())
    }

    /// Bytes between `position` and the end of the zeros.
    #[must_use]
    pub fn left(&self, position: u64) -> u64 {
        self.filled.load(Ordering::Acquire).saturating_sub(position)
    }
}

/// The thread that fills.
pub struct Filler {
    orders: Option<SyncSender<(Arc<Fill>, u64)>>,
    thread: Option<JoinHandle<()>>,
}

impl Filler {
    /// # Errors
    /// The thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let (orders, inbox) = mpsc::sync_channel::<(Arc<Fill>, u64)>(1);
        let thread = std::thread::Builder::new().name("journal-fill".into()).spawn(move || {
            for (fill, end) in inbox {
                // A full disk is found again, and told, by the commit that needs the room. A broken
                // one fails that commit's own sync, which ends the process.
                if let Err(error) = fill.fill_ahead(end) {
                    tracing::warn!(%error, "cannot fill the journal ahead of use");
                }
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Asks for zeros up to `end`. Does not wait; an order may be dropped while another is served.
    pub fn order(&self, fill: &Arc<Fill>, end: u64) {
        if let Some(orders) = &self.orders {
            let _ = orders.try_send((fill.clone(), end));
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
