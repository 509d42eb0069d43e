//! What a judge process and its parent say to each other: frames of a length (4 bytes, little-endian,
//! of what follows), a kind (1 byte) and a payload.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    ops::Range,
};

use bytes::{Buf as _, BytesMut};

use crate::policy::{Need, judge::Judged, why::Told};

/// Bytes of a question. A webhook has at most 25 MB; facts come on top.
pub(crate) const MAX_REQUEST: usize = 128 << 20;
/// Bytes of an answer: 501 findings of six texts of 2,000 characters each fit.
pub(crate) const MAX_ANSWER: usize = 64 << 20;
/// Length and kind.
pub(crate) const HEADER: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Needs,
    Judge,
    /// Which rules gave the findings, and what kept the others from holding.
    Explain,
}

impl What {
    fn kind(self) -> u8 {
        match self {
            Self::Needs => b'N',
            Self::Judge => b'J',
            Self::Explain => b'E',
        }
    }
}

/// What the parent asks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// An archive of a bundle.
    Load(&'a [u8]),
    /// The controls `from..to` of the bundle about an input (JSON).
    Ask { what: What, from: usize, to: usize, input: &'a [u8] },
}

impl<'a> Request<'a> {
    pub(crate) fn parse(kind: u8, payload: &'a [u8]) -> Option<Self> {
        let what = match kind {
            b'L' => return Some(Self::Load(payload)),
            b'N' => What::Needs,
            b'J' => What::Judge,
            b'E' => What::Explain,
            _ => return None,
        };
        let (from, rest) = payload.split_first_chunk::<4>()?;
        let (to, input) = rest.split_first_chunk::<4>()?;
        let number = |b: &[u8; 4]| usize::try_from(u32::from_le_bytes(*b)).ok();
        Some(Self::Ask { what, from: number(from)?, to: number(to)?, input })
    }
}

/// The frame that loads a bundle.
///
/// # Errors
/// It would be larger than [`MAX_REQUEST`].
pub(crate) fn load(archive: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    frame.extend(archive);
    finish(frame, b'L', MAX_REQUEST)
}

/// The frame of a question; the input is written into it once, however often it is asked.
pub(crate) struct Question {
    frame: Vec<u8>,
}

impl Question {
    /// # Errors
    /// It would be larger than [`MAX_REQUEST`].
    pub(crate) fn new(what: What, input: &impl serde::Serialize) -> io::Result<Self> {
        let mut frame = vec![0; HEADER + 8];
        serde_json::to_writer(&mut frame, input)?;
        Ok(Self { frame: finish(frame, what.kind(), MAX_REQUEST)? })
    }

    /// About these controls.
    pub(crate) fn about(&mut self, controls: &Range<usize>) -> &[u8] {
        for (at, n) in [(HEADER, controls.start), (HEADER + 4, controls.end)] {
            let n = u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
            if let Some(place) = self.frame.get_mut(at..at + 4) {
                place.copy_from_slice(&n);
            }
        }
        &self.frame
    }
}

/// What a judge process answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It stands; whether system calls are filtered, or why not.
    Hello(Result<(), String>),
    /// A bundle's digest, or why it does not load.
    Loaded(Result<String, String>),
    /// The input was read, or why not; the controls' answers follow.
    Read(Result<(), String>),
    Needs(BTreeSet<Need>),
    Judged(Judged),
    Explained(Vec<Told>),
    /// All is answered and cleared up.
    Done,
}

impl Answer {
    pub(crate) fn frame(&self) -> io::Result<Vec<u8>> {
        let mut frame = vec![0; HEADER];
        let kind = match self {
            Self::Hello(said) => json(&mut frame, said, b'h')?,
            Self::Loaded(said) => json(&mut frame, said, b'l')?,
            Self::Read(said) => json(&mut frame, said, b'r')?,
            Self::Needs(said) => json(&mut frame, said, b'n')?,
            Self::Judged(said) => json(&mut frame, said, b'j')?,
            Self::Explained(said) => json(&mut frame, said, b'e')?,
            Self::Done => b'd',
        };
        finish(frame, kind, MAX_ANSWER)
    }

    /// `None`: nonsense.
    pub(crate) fn parse(kind: u8, payload: &[u8]) -> Option<Self> {
        Some(match kind {
            b'h' => Self::Hello(serde_json::from_slice(payload).ok()?),
            b'l' => Self::Loaded(serde_json::from_slice(payload).ok()?),
            b'r' => Self::Read(serde_json::from_slice(payload).ok()?),
            b'n' => Self::Needs(serde_json::from_slice(payload).ok()?),
            b'j' => Self::Judged(serde_json::from_slice(payload).ok()?),
            b'e' => Self::Explained(serde_json::from_slice(payload).ok()?),
            b'd' => Self::Done,
            _ => return None,
        })
    }
}

fn json(frame: &mut Vec<u8>, said: &impl serde::Serialize, kind: u8) -> io::Result<u8> {
    serde_json::to_writer(frame, said)?;
    Ok(kind)
}

fn finish(mut frame: Vec<u8>, kind: u8, max: usize) -> io::Result<Vec<u8>> {
    let length = u32::try_from(frame.len() - 4).ok().filter(|_| frame.len() <= max);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "too large"))?;
    if let Some((head, [place, ..])) = frame.split_first_chunk_mut::<4>() {
        *head = length.to_le_bytes();
        *place = kind;
    }
    Ok(frame)
}

/// Bytes that no judge process writes that does what it should.
#[derive(Debug)]
pub(crate) struct Nonsense;

/// Takes the first answer off what has come so far. `None`: it has not all come yet, and nothing was taken.
pub(crate) fn take_answer(buffer: &mut BytesMut) -> Result<Option<Answer>, Nonsense> {
    let Some((header, _)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = length(*header, MAX_ANSWER).ok_or(Nonsense)?;
    if buffer.len() < length {
        return Ok(None);
    }
    let mut frame = buffer.split_to(length);
    let kind = frame.get(HEADER - 1).copied().ok_or(Nonsense)?;
    frame.advance(HEADER);
    Answer::parse(kind, &frame).map(Some).ok_or(Nonsense)
}

/// Length of the whole frame that begins with these bytes; `None`: too long to be true, or empty.
fn length(header: [u8; 4], max: usize) -> Option<usize> {
    let length = usize::try_from(u32::from_le_bytes(header)).ok()?.checked_add(4)?;
    (HEADER..=max).contains(&length).then_some(length)
}

/// The next request: kind and payload. `None`: the parent is gone, or wants no more.
///
/// # Errors
/// A frame that is cut off, empty or too long.
pub(crate) fn read(input: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0; 4];
    match input.read_exact(&mut header) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let length = length(header, MAX_REQUEST).ok_or(io::ErrorKind::InvalidData)?;
    let mut kind = [0];
    input.read_exact(&mut kind)?;
    let mut payload = vec![0; length - HEADER];
    input.read_exact(&mut payload)?;
    Ok(Some((kind[0], payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_as_it_was_asked() {
        let mut question = Question::new(What::Judge, &serde_json::json!({"a": "ü"})).unwrap();
        for range in [0..3, 2..3] {
            let (kind, payload) = read(&mut question.about(&range)).unwrap().unwrap();
            let (from, to) = (range.start, range.end);
            let expected = Request::Ask { what: What::Judge, from, to, input: "{\"a\":\"ü\"}".as_bytes() };
            assert_eq!(Request::parse(kind, &payload), Some(expected));
        }
        let frame = load(b"text").unwrap();
        let (kind, payload) = read(&mut frame.as_slice()).unwrap().unwrap();
        assert_eq!(Request::parse(kind, &payload), Some(Request::Load(b"text")));
    }

    #[test]
    fn frames_that_cannot_be_are_refused() {
        for (name, bytes) in [
            ("huge", [0xff, 0xff, 0xff, 0xff, b'L'].as_slice()),
            ("empty", &[0, 0, 0, 0, b'L']),
            ("cut off", &[9, 0, 0, 0, b'L', 1]),
        ] {
            assert!(read(&mut &bytes[..]).is_err(), "{name}");
        }
        assert!(read(&mut [].as_slice()).unwrap().is_none());
        assert_eq!(Request::parse(b'J', &[1, 2, 3]), None);
        assert_eq!(Request::parse(b'?', b""), None);
        assert!(Answer::parse(b'j', b"{}").is_none());
    }
}
