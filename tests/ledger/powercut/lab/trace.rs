//! What the shim recorded: each step once it was done, in the order of effects.
//!
//! A record is: kind 1 · length of path 4 · length of other path 4 · offset 8 · length of data 8 · path ·
//! other path · data; numbers little-endian, paths below the folder that was looked at.

use std::{fs, path::Path};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Create(String),
    Truncate(String, u64),
    Write {
        path: String,
        offset: u64,
        data: Vec<u8>,
    },
    Fsync(String),
    Fdatasync(String),
    Rename(String, String),
    Unlink(String),
    Mkdir(String),
    Rmdir(String),
    /// Somebody outside is about to be told this.
    Ack(String),
    /// Another process begins.
    Start,
}

/// Every whole record of a trace.
pub fn read(file: &Path) -> Vec<Step> {
    let bytes = fs::read(file).unwrap();
    let mut rest = &bytes[..];
    let mut steps = vec![];
    while let Some(head) = take(&mut rest, 25) {
        let number = |at: usize, n: usize| {
            let mut le = [0; 8];
            le[..n].copy_from_slice(&head[at..at + n]);
            u64::from_le_bytes(le)
        };
        let mut text = |n: u64| String::from_utf8_lossy(take(&mut rest, n as usize).unwrap()).into_owned();
        let (path, other) = (text(number(1, 4)), text(number(5, 4)));
        let offset = number(9, 8);
        // A process that was killed may have died while it wrote its record: only the last can be cut.
        let Some(data) = take(&mut rest, number(17, 8) as usize) else { break };
        steps.push(match head[0] {
            1 => Step::Create(path),
            2 => Step::Truncate(path, offset),
            3 => Step::Write { path, offset, data: data.to_vec() },
            4 => Step::Fsync(path),
            5 => Step::Fdatasync(path),
            6 => Step::Rename(path, other),
            7 => Step::Unlink(path),
            8 => Step::Mkdir(path),
            9 => Step::Rmdir(path),
            10 => Step::Ack(String::from_utf8_lossy(data).into_owned()),
            11 => Step::Start,
            other => panic!("a record of kind {other}"),
        });
    }
    steps
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(n)?;
    *rest = left;
    Some(taken)
}

impl Step {
    /// What it did, without the data: for a report.
    pub fn shown(&self) -> String {
        match self {
            Self::Write { path, offset, data } => format!("write {path} {offset}+{}", data.len()),
            other => format!("{other:?}"),
        }
    }
}
