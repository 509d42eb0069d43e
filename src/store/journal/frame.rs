//! The bytes of a segment: its header, frames, body records, the seal. Pure.

use bytes::Bytes;

use super::MAX_FRAME;
use crate::{
    ledger::{body::Salt, entry::Hash},
    store::{Record, SaltedBody, wire::Take},
};

pub const SEGMENT_HEADER: usize = 80;
pub const FRAME_HEADER: usize = 32;
/// Header and the CRC behind the payload.
pub const FRAME_OVERHEAD: usize = FRAME_HEADER + 4;
pub const SEAL: usize = 64;

const SEGMENT_MAGIC: [u8; 8] = *b"GATELOG1";
const FRAME_MAGIC: [u8; 4] = *b"gFRM";
const SEAL_MAGIC: [u8; 4] = *b"gEND";
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub ledger_id: [u8; 16],
    pub first: u64,
    /// Leaf hash of the entry before the first; zeros where there is none.
    pub prev: Hash,
    /// Bodies that are worth it were compressed.
    pub compressed: bool,
    /// 0: as it was first written. A rewrite gives a new random number, so that two versions of a segment
    /// are told apart by their first bytes.
    pub rewritten: u32,
}

/// In the header's flags.
const COMPRESSED: u32 = 1;

impl SegmentHeader {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(if self.compressed { COMPRESSED } else { 0 }).to_le_bytes());
        out.extend_from_slice(&self.ledger_id);
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.prev.0);
        out.extend_from_slice(&self.rewritten.to_le_bytes());
        with_crc(out)
    }

    /// `Err`: why these bytes are no header that we can read.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut take = checked(bytes, SEGMENT_HEADER).ok_or("the segment's header is damaged")?;
        let mut read = || {
            let (magic, version, flags) = (take.array()?, take.u32()?, take.u32()?);
            let (ledger_id, first, prev) = (take.array()?, take.u64()?, Hash(take.array()?));
            let (compressed, rewritten) = (flags & COMPRESSED != 0, take.u32()?);
            Some((magic, version, Self { ledger_id, first, prev, compressed, rewritten }))
        };
        match read() {
            Some((SEGMENT_MAGIC, VERSION, header)) => Ok(header),
            Some((SEGMENT_MAGIC, ..)) => Err("the segment was written by a newer gatelog"),
            _ => Err("the segment's header is damaged"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub first: u64,
    pub count: u32,
    /// Bytes of payload.
    pub length: u64,
}

impl FrameHeader {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRAME_OVERHEAD + usize::try_from(self.length).unwrap_or(0));
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        with_crc(out)
    }

    /// `None`: these bytes are no frame header.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = checked(bytes, FRAME_HEADER)?;
        if take.array()? != FRAME_MAGIC || take.u32()? != 0 {
            return None;
        }
        let header = Self { first: take.u64()?, count: take.u32()?, length: take.u64()? };
        (header.length <= MAX_FRAME && header.count > 0).then_some(header)
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn total(&self) -> u64 {
        FRAME_OVERHEAD as u64 + self.length
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Entries of the ledger up to here.
    pub next: u64,
    pub frames: u32,
    /// Leaf hash of the last entry.
    pub leaf: Hash,
    /// Of the file, this seal included.
    pub length: u64,
}

impl Seal {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEAL);
        out.extend_from_slice(&SEAL_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.next.to_le_bytes());
        out.extend_from_slice(&self.frames.to_le_bytes());
        out.extend_from_slice(&self.leaf.0);
        out.extend_from_slice(&self.length.to_le_bytes());
        with_crc(out)
    }

    /// `None`: these bytes are no seal.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = checked(bytes, SEAL)?;
        if take.array()? != SEAL_MAGIC || take.u32()? != 0 {
            return None;
        }
        Some(Self { next: take.u64()?, frames: take.u32()?, leaf: Hash(take.array()?), length: take.u64()? })
    }
}

/// How a body is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    Raw = 0,
    /// Written by [`super::rewrite`] alone, never when a group is appended.
    Zstd = 1,
    /// Erased: neither bytes nor salt.
    Absent = 2,
}

/// A body record as it lies in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRecord {
    pub name: String,
    pub codec: Codec,
    pub raw_length: u32,
    pub salt: Salt,
    pub stored: Bytes,
    /// Of the record, from the start of the payload.
    pub offset: usize,
}

impl BodyRecord {
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.codec == Codec::Absent
    }

    /// What was recorded; `None`: it was erased.
    ///
    /// # Errors
    /// Why the stored bytes cannot be that.
    pub fn bytes(&self) -> Result<Option<Bytes>, &'static str> {
        match self.codec {
            Codec::Raw => Ok(Some(self.stored.clone())),
            Codec::Zstd => decompressed(&self.stored, self.raw_length).map(Some),
            Codec::Absent => Ok(None),
        }
    }
}

/// More than any body has: an append brings at most so much.
const MAX_BODY: u32 = 128 << 20;

/// No more than `length` bytes are made, whatever the stored ones say.
fn decompressed(stored: &[u8], length: u32) -> Result<Bytes, &'static str> {
    use std::io::Read as _;
    let bad = "its compressed bytes are damaged";
    if length > MAX_BODY {
        return Err(bad);
    }
    let mut out = Vec::new();
    let decoder = zstd::stream::Decoder::with_buffer(stored).map_err(|_| bad)?;
    decoder.take(u64::from(length) + 1).read_to_end(&mut out).map_err(|_| bad)?;
    if out.len() != length as usize { Err(bad) } else { Ok(out.into()) }
}

/// One entry of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    pub raw: Bytes,
    pub bodies: Vec<BodyRecord>,
}

/// A frame ready to be written, and for each record where its bodies' records begin, counted from
/// the frame's start.
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub places: Vec<Vec<u64>>,
}

/// Makes the frame of a group.
///
/// # Errors
/// The group cannot be a frame: too many entries, bodies or bytes.
pub fn encode(first: u64, group: &[Record]) -> Result<Encoded, &'static str> {
    encode_parts(first, group.len(), || {
        group.iter().map(|record| (&record.raw[..], record.bodies.iter().map(Part::of_new)))
    })
}

/// Makes the frame of entries that were read from one, and perhaps changed since.
///
/// # Errors
/// As for [`encode`].
pub fn encode_entries(first: u64, entries: &[FrameEntry]) -> Result<Encoded, &'static str> {
    encode_parts(first, entries.len(), || {
        entries.iter().map(|entry| (&entry.raw[..], entry.bodies.iter().map(Part::of_kept)))
    })
}

/// A body record before it is bytes.
struct Part<'a> {
    name: &'a str,
    codec: Codec,
    raw_length: usize,
    salt: &'a Salt,
    stored: &'a [u8],
}

impl<'a> Part<'a> {
    fn of_new(body: &'a SaltedBody) -> Self {
        let SaltedBody { name, salt, bytes } = body;
        Self { name, codec: Codec::Raw, raw_length: bytes.len(), salt, stored: bytes }
    }

    fn of_kept(body: &'a BodyRecord) -> Self {
        let BodyRecord { name, codec, raw_length, salt, stored, .. } = body;
        Self { name, codec: *codec, raw_length: *raw_length as usize, salt, stored }
    }

    fn length(&self) -> usize {
        1 + self.name.len() + 1 + 4 + 4 + 32 + self.stored.len()
    }
}

/// `entries`: raw bytes and bodies of each; called twice.
fn encode_parts<'a, E, B>(first: u64, count: usize, entries: impl Fn() -> E) -> Result<Encoded, &'static str>
where
    E: Iterator<Item = (&'a [u8], B)>,
    B: ExactSizeIterator<Item = Part<'a>>,
{
    let of_entry = |(raw, bodies): (&[u8], B)| 4 + raw.len() + 1 + bodies.map(|b| b.length()).sum::<usize>();
    let length = entries().map(of_entry).sum::<usize>() as u64;
    let count = u32::try_from(count).map_err(|_| "too many entries in one group")?;
    if length > MAX_FRAME {
        return Err("too many bytes in one group");
    }
    let mut bytes = FrameHeader { first, count, length }.encode();
    let mut places = Vec::with_capacity(count as usize);
    for (raw, bodies) in entries() {
        places.push(encode_entry(raw, bodies, &mut bytes)?);
    }
    let crc = crc32c::crc32c(&bytes[FRAME_HEADER..]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    Ok(Encoded { bytes, places })
}

fn encode_entry<'a>(
    raw: &[u8],
    bodies: impl ExactSizeIterator<Item = Part<'a>>,
    out: &mut Vec<u8>,
) -> Result<Vec<u64>, &'static str> {
    out.extend_from_slice(&length32(raw.len())?);
    out.extend_from_slice(raw);
    out.push(bodies.len().try_into().map_err(|_| "too many bodies of one entry")?);
    let mut places = Vec::with_capacity(bodies.len());
    for body in bodies {
        places.push(out.len() as u64);
        encode_body(&body, out)?;
    }
    Ok(places)
}

fn encode_body(body: &Part<'_>, out: &mut Vec<u8>) -> Result<(), &'static str> {
    out.push(body.name.len().try_into().map_err(|_| "the name of a body is too long")?);
    out.extend_from_slice(body.name.as_bytes());
    out.push(body.codec as u8);
    out.extend_from_slice(&length32(body.stored.len())?);
    out.extend_from_slice(&length32(body.raw_length)?);
    out.extend_from_slice(&body.salt.0);
    out.extend_from_slice(body.stored);
    Ok(())
}

fn length32(n: usize) -> Result<[u8; 4], &'static str> {
    u32::try_from(n).map(u32::to_le_bytes).map_err(|_| "too many bytes in one body")
}

/// Takes a payload, whose CRC was checked, apart. `None`: not `count` entries and nothing else.
#[must_use]
pub fn decode_payload(payload: &Bytes, count: u32) -> Option<Vec<FrameEntry>> {
    let mut take = Take(payload);
    let mut entries = vec![];
    for _ in 0..count {
        let n = take.u32()?;
        let raw = payload.slice_ref(take.bytes(n as usize)?);
        let bodies = (0..take.u8()?).map(|_| decode_body(payload, &mut take)).collect::<Option<_>>()?;
        entries.push(FrameEntry { raw, bodies });
    }
    take.0.is_empty().then_some(entries)
}

/// The longest start of a body record, up to its bytes: enough to be read before the rest.
pub const BODY_START: usize = 1 + 255 + 1 + 4 + 4 + 32;

/// The start of a body record: everything but its bytes, whose number is given instead.
#[must_use]
pub fn decode_body_start(take: &mut Take<'_>) -> Option<(BodyRecord, usize)> {
    let name = std::str::from_utf8(take.short()?).ok()?.to_owned();
    let codec = match take.u8()? {
        0 => Codec::Raw,
        1 => Codec::Zstd,
        2 => Codec::Absent,
        _ => return None,
    };
    let (stored, raw_length) = (take.u32()?, take.u32()?);
    let salt = Salt(take.array()?);
    Some((BodyRecord { name, codec, raw_length, salt, stored: Bytes::new(), offset: 0 }, stored as usize))
}

fn decode_body(payload: &Bytes, take: &mut Take<'_>) -> Option<BodyRecord> {
    let offset = payload.len() - take.0.len();
    let (mut record, stored) = decode_body_start(take)?;
    record.offset = offset;
    record.stored = payload.slice_ref(take.bytes(stored)?);
    Some(record)
}

fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The first `size` bytes without their CRC, if that is right.
fn checked(bytes: &[u8], size: usize) -> Option<Take<'_>> {
    let (content, crc) = bytes.get(..size)?.split_last_chunk::<4>()?;
    (crc32c::crc32c(content) == u32::from_le_bytes(*crc)).then_some(Take(content))
}

/// Where the next frame or seal could begin at or after `from`: its magic stands there.
#[must_use]
pub fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let found = bytes.get(from..)?.windows(4).position(|w| w == FRAME_MAGIC || w == SEAL_MAGIC)?;
    Some(from + found)
}

/// The bytes up to the last that is not zero. What is filled ahead ([`super::AHEAD`]) is passed over by the page: whoever
/// follows a ledger that is being written meets it again and again.
#[must_use]
pub fn without_zeros(bytes: &[u8]) -> &[u8] {
    const PAGE: [u8; 4096] = [0; 4096];
    let pages = bytes.rchunks(PAGE.len()).take_while(|page| **page == PAGE[..page.len()]);
    let zeros: usize = pages.map(<[u8]>::len).sum();
    let rest = &bytes[..bytes.len() - zeros];
    let length = rest.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    &rest[..length]
}

/// The payload of the frame that `bytes` begin with, if it is whole and its CRC is right.
#[must_use]
pub fn payload_of<'a>(header: &FrameHeader, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let end = FRAME_HEADER + usize::try_from(header.length).ok()?;
    let payload = bytes.get(FRAME_HEADER..end)?;
    let crc: [u8; 4] = bytes.get(end..end + 4)?.try_into().ok()?;
    (crc32c::crc32c(payload) == u32::from_le_bytes(crc)).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{chain::leaf_hash, summary::Summary};

    #[test]
    fn zeros_at_the_end_are_passed_over() {
        for length in [0, 1, 3, 4095, 4096, 4097, 8192, 10_000] {
            let mut bytes = vec![0; length];
            assert_eq!(without_zeros(&bytes), b"", "{length}");
            // Of two bytes the later one counts.
            for at in [0, 1, 4, 4095, 4096, 5_903, 5_904, 9_999].into_iter().filter(|at| *at < length) {
                bytes[at] = 1;
                assert_eq!(without_zeros(&bytes).len(), at + 1, "{length}");
            }
        }
    }

    fn record() -> Record {
        let raw = Bytes::from_static(b"{\"v\":1}");
        Record {
            leaf: leaf_hash(&raw),
            raw,
            tiles: vec![],
            summary: Summary::opaque("2026-11-24T15:04:05Z".parse().unwrap()),
            bodies: vec![SaltedBody {
                name: "payload".into(),
                salt: Salt([0x11; 32]),
                bytes: Bytes::from_static(b"hello"),
            }],
        }
    }

    /// The format is a promise: these bytes, made by another program, change only with the version.
    #[test]
    fn golden_frame() {
        let frame = encode(258, &[record()]).unwrap();
        let expected = concat!(
            "6746524d00000000020100000000000001000000420000000000000051cdb662",
            "070000007b2276223a317d01077061796c6f6164000500000005000000",
            "1111111111111111111111111111111111111111111111111111111111111111",
            "68656c6c6f2f3e2ac9",
        );
        assert_eq!(hex::encode(&frame.bytes), expected);
        assert_eq!(frame.places, [[44]]);
    }

    #[test]
    fn golden_header_and_seal() {
        let header = SegmentHeader {
            ledger_id: [0x22; 16],
            first: 3,
            prev: Hash([0x33; 32]),
            compressed: false,
            rewritten: 0,
        };
        let seal = Seal { next: 9, frames: 2, leaf: Hash([0x44; 32]), length: 500 };
        let expected = concat!(
            "474154454c4f4731010000000000000022222222222222222222222222222222",
            "0300000000000000333333333333333333333333333333333333333333333333",
            "333333333333333300000000dfd3a618",
        );
        assert_eq!(hex::encode(header.encode()), expected);
        let expected = concat!(
            "67454e4400000000090000000000000002000000444444444444444444444444",
            "4444444444444444444444444444444444444444f4010000000000003985a207",
        );
        assert_eq!(hex::encode(seal.encode()), expected);
    }

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let frame = encode(258, &[record(), record()]).unwrap().bytes;
        let header = FrameHeader::decode(&frame).unwrap();
        assert_eq!((header.first, header.count, header.total()), (258, 2, frame.len() as u64));
        let payload = Bytes::copy_from_slice(payload_of(&header, &frame).unwrap());
        let entries = decode_payload(&payload, 2).unwrap();
        assert_eq!(entries[1].raw, record().raw);
        assert_eq!(entries[1].bodies[0].stored, "hello");
        assert!(decode_payload(&payload, 1).is_none() && decode_payload(&payload, 3).is_none());

        let header = SegmentHeader {
            ledger_id: [1; 16],
            first: 3,
            prev: Hash([2; 32]),
            compressed: true,
            rewritten: 7,
        };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        let seal = Seal { next: 9, frames: 2, leaf: Hash([4; 32]), length: 500 };
        assert_eq!(Seal::decode(&seal.encode()), Some(seal));
    }

    #[test]
    fn compressed_bytes_give_what_they_promise_or_nothing() {
        let raw = b"the same and the same and the same and the same".repeat(9);
        let record = |raw_length, stored: &[u8]| BodyRecord {
            name: "payload".into(),
            codec: Codec::Zstd,
            raw_length,
            salt: Salt([1; 32]),
            stored: Bytes::copy_from_slice(stored),
            offset: 0,
        };
        let (small, length) = (zstd::bulk::compress(&raw, 3).unwrap(), u32::try_from(raw.len()).unwrap());
        assert_eq!(record(length, &small).bytes(), Ok(Some(raw.clone().into())));
        for (length, stored) in
            [(length - 1, &small[..]), (length + 1, &small), (length, &small[1..]), (0, b"")]
        {
            record(length, stored).bytes().unwrap_err();
        }
        let bomb = zstd::bulk::compress(&vec![0; 200 << 20], 1).unwrap();
        record(200 << 20, &bomb).bytes().unwrap_err();
        record(10, &bomb).bytes().unwrap_err();
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let frame = encode(258, &[record()]).unwrap().bytes;
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let header = FrameHeader::decode(&bad);
            assert!(header.is_none_or(|h| payload_of(&h, &bad).is_none()), "bit {bit}");
        }
    }
}
