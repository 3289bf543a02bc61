#![doc = include_str!("frame.md")]

use crate::codec;
use crate::error::{Error, Fault, Structure, VersionGap};
use crate::fact::Micros;

/// The first bytes of every log, segment and manifest. Not text, so that a transfer that mends line ends is noticed.
pub const MAGIC: [u8; 8] = *b"\x89erst\r\n\x1a";

/// The oldest format that this program reads.
pub const VERSION_OLDEST: u16 = 1;
/// The newest format that this program reads, and the one it writes.
pub const VERSION_NEWEST: u16 = 1;

/// Bytes of a file header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 12;

const VERSION_AT: usize = 8;
const KIND_AT: usize = 10;
const RESERVED_AT: usize = 11;
const STORE_AT: usize = 16;
const NUMBER_AT: usize = 32;
const CREATED_AT: usize = 40;
const RESERVED_MORE_AT: usize = 48;
const HEADER_CRC_AT: usize = 60;
const _: () = assert!(MAGIC.len() == VERSION_AT && VERSION_AT + 2 == KIND_AT && KIND_AT + 1 == RESERVED_AT);
const _: () = assert!(RESERVED_AT + 5 == STORE_AT && STORE_AT + 16 == NUMBER_AT && NUMBER_AT + 8 == CREATED_AT);
const _: () = assert!(CREATED_AT + 8 == RESERVED_MORE_AT && RESERVED_MORE_AT + 12 == HEADER_CRC_AT);
const _: () = assert!(HEADER_CRC_AT + 4 == HEADER_BYTES);

const LEN_AT: usize = 0;
const TYPE_AT: usize = 4;
const FRAME_RESERVED_AT: usize = 5;
const CRC_AT: usize = 8;
const _: () = assert!(LEN_AT + 4 == TYPE_AT && TYPE_AT + 1 == FRAME_RESERVED_AT);
const _: () = assert!(FRAME_RESERVED_AT + 3 == CRC_AT && CRC_AT + 4 == FRAME_HEADER_BYTES);

/// The types of frames. The numbers are on disk: never reuse one, and 0 is none, so that a run of zeros is no frame.
pub mod kind {
    /// In a log, first: which log came before.
    pub const LOG_START: u8 = 0x01;
    /// In a log: a recorded batch.
    pub const BATCH: u8 = 0x02;
    /// In a manifest, first: the whole state.
    pub const SNAPSHOT: u8 = 0x11;
    /// In a manifest: a change of the state.
    pub const EDIT: u8 = 0x12;
    /// The first of the types that segments use.
    pub const SEGMENT_FIRST: u8 = 0x21;
    /// The last of the types that segments use.
    pub const SEGMENT_LAST: u8 = 0x3f;
    /// A type with this bit may be skipped by who does not know it.
    pub const OPTIONAL: u8 = 0x80;
    /// In a log, before a batch: what it holds.
    pub const DIGEST: u8 = OPTIONAL | BATCH;
    /// In a log: digests of batches before, once more.
    pub const DIGESTS_AGAIN: u8 = DIGEST + 1;
}

/// What a file is for. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FileKind {
    /// Batches in the order of their commits.
    Log = 1,
    /// Sealed history.
    Segment = 2,
    /// Which files are the store.
    Manifest = 3,
}

impl FileKind {
    /// All of them.
    pub const ALL: [FileKind; 3] = [FileKind::Log, FileKind::Segment, FileKind::Manifest];
}

/// What tells one file from every other of its kind: its store, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The store's own random number.
    pub store: [u8; 16],
    /// The file's number; the frames' types tell its kind.
    pub number: u64,
}

/// The first bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// What the file is for.
    pub kind: FileKind,
    /// Which file it is.
    pub id: FileId,
    /// When it was begun, by the store's clock.
    pub created: Micros,
}

/// Why the first bytes of a file are not a header that this program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// They are wrong.
    Fault(Fault),
    /// They are right, and of this version.
    Version(u16),
}

/// A file that another program wrote, and what this one reads.
pub(crate) fn version_gap(name: &str, found: u16) -> VersionGap {
    VersionGap { file: name.to_owned(), found, oldest: VERSION_OLDEST, newest: VERSION_NEWEST }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl FileHeader {
    /// The bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..VERSION_AT].copy_from_slice(&MAGIC);
        bytes[VERSION_AT..KIND_AT].copy_from_slice(&VERSION_NEWEST.to_le_bytes());
        bytes[KIND_AT] = self.kind as u8;
        bytes[STORE_AT..NUMBER_AT].copy_from_slice(&self.id.store);
        bytes[NUMBER_AT..CREATED_AT].copy_from_slice(&self.id.number.to_le_bytes());
        bytes[CREATED_AT..RESERVED_MORE_AT].copy_from_slice(&self.created.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the front of a file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<FileHeader, HeaderFault> {
        let fault = |fault: Fault| Err(HeaderFault::Fault(fault));
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return fault(length(HEADER_BYTES as u64, bytes.len()));
        };
        if !bytes.starts_with(&MAGIC) {
            return fault(Fault::Magic);
        }
        let (said, is) = (u32_at(bytes, HEADER_CRC_AT), crc32fast::hash(&bytes[..HEADER_CRC_AT]));
        if said != Some(is) {
            return fault(checksum(is, said.unwrap_or_default()));
        }
        let version = u16::from_le_bytes([bytes[VERSION_AT], bytes[VERSION_AT + 1]]);
        if !(VERSION_OLDEST..=VERSION_NEWEST).contains(&version) {
            return Err(HeaderFault::Version(version));
        }
        let reserved = [&bytes[RESERVED_AT..STORE_AT], &bytes[RESERVED_MORE_AT..HEADER_CRC_AT]];
        if reserved.concat().iter().any(|&byte| byte != 0) {
            return fault(Fault::Value { what: "reserved byte" });
        }
        let Some(kind) = FileKind::ALL.into_iter().find(|kind| *kind as u8 == bytes[KIND_AT]) else {
            return fault(Fault::Tag { what: "file kind", found: u64::from(bytes[KIND_AT]) });
        };
        let mut store = [0; 16];
        store.copy_from_slice(&bytes[STORE_AT..NUMBER_AT]);
        Ok(FileHeader {
            kind,
            id: FileId { store, number: u64_at(bytes, NUMBER_AT).unwrap_or_default() },
            created: u64_at(bytes, CREATED_AT).unwrap_or_default() as i64,
        })
    }

    /// The header of the file `name`, which must be of this kind and number.
    pub fn expect(bytes: &[u8], name: &str, kind: FileKind, number: u64) -> Result<FileHeader, Error> {
        let corrupt = |fault: Fault| Error::from(fault.at(name, 0, Structure::FileHeader));
        let header = FileHeader::decode(bytes).map_err(|fault| match fault {
            HeaderFault::Fault(fault) => corrupt(fault),
            HeaderFault::Version(found) => version_gap(name, found).into(),
        })?;
        if header.kind != kind {
            return Err(corrupt(Fault::Foreign { what: "kind of file" }));
        }
        if header.id.number != number {
            return Err(corrupt(Fault::Foreign { what: "file number" }));
        }
        Ok(header)
    }

    /// The header of the file `name`, which must be of this kind and this very file.
    pub fn expect_id(bytes: &[u8], name: &str, kind: FileKind, id: &FileId) -> Result<FileHeader, Error> {
        let header = FileHeader::expect(bytes, name, kind, id.number)?;
        if header.id.store != id.store {
            let fault = Fault::Foreign { what: "store" };
            return Err(fault.at(name, 0, Structure::FileHeader).into());
        }
        Ok(header)
    }
}

/// What the bytes of a header say, believed or not: for tools that show damaged files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnverifiedHeader {
    /// The version of the format.
    pub version: u16,
    /// What should be a [`FileKind`].
    pub kind: u8,
    /// Which file it is.
    pub id: FileId,
    /// When the file was begun.
    pub created: Micros,
}

impl UnverifiedHeader {
    /// The fields at the front of a file's bytes; `None` if these are too few for a header.
    pub fn read(bytes: &[u8]) -> Option<UnverifiedHeader> {
        let bytes = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(UnverifiedHeader {
            version: u16::from_le_bytes([bytes[VERSION_AT], bytes[VERSION_AT + 1]]),
            kind: bytes[KIND_AT],
            id: FileId { store: *bytes[STORE_AT..].first_chunk()?, number: u64_at(bytes, NUMBER_AT)? },
            created: u64_at(bytes, CREATED_AT)? as i64,
        })
    }
}

/// What the bytes of a frame's header say, believed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnverifiedFrame {
    /// Bytes of the payload.
    pub payload_len: u32,
    /// The type, one of [`kind`].
    pub kind: u8,
    /// Whether the reserved bytes are zero, as they are in every frame.
    pub is_plausible: bool,
}

impl UnverifiedFrame {
    /// The fields at the front of `bytes`; `None` if these are too few for a frame's header.
    pub fn read(bytes: &[u8]) -> Option<UnverifiedFrame> {
        let header = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        Some(UnverifiedFrame {
            payload_len: u32_at(header, LEN_AT)?,
            kind: header[TYPE_AT],
            is_plausible: header[FRAME_RESERVED_AT..CRC_AT] == [0; 3],
        })
    }
}

/// A verified frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type, one of [`kind`].
    pub kind: u8,
    /// What it holds.
    pub payload: &'a [u8],
    /// Where the next one begins in the file.
    pub end: u64,
}

impl Frame<'_> {
    /// Whether who does not know the frame's type may pass over it.
    pub fn is_optional(&self) -> bool {
        self.kind & kind::OPTIONAL != 0
    }
}

/// Appends a frame that will stand at `offset` of the file.
///
/// # Panics
///
/// If the payload has 4 GiB or more.
pub fn put_frame(out: &mut Vec<u8>, id: &FileId, offset: u64, kind: u8, payload: &[u8]) {
    let open = open_frame(out, kind);
    out.extend_from_slice(payload);
    open.close(out, id, offset);
}

/// Begins a frame whose payload the caller appends; [`OpenFrame::close`] ends it.
pub fn open_frame(out: &mut Vec<u8>, kind: u8) -> OpenFrame {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    out[start + TYPE_AT] = kind;
    OpenFrame { start }
}

/// A frame whose payload is being appended.
#[must_use = "an open frame has neither length nor checksum"]
#[derive(Debug)]
pub struct OpenFrame {
    start: usize,
}

impl OpenFrame {
    /// Everything appended since is the payload; the frame will stand at `offset` of the file.
    ///
    /// # Panics
    ///
    /// If the payload has 4 GiB or more.
    pub fn close(self, out: &mut [u8], id: &FileId, offset: u64) {
        let frame = &mut out[self.start..];
        let len = frame.len() - FRAME_HEADER_BYTES;
        let len = u32::try_from(len).expect("a payload's length fits 32 bits");
        frame[LEN_AT..TYPE_AT].copy_from_slice(&len.to_le_bytes());
        let crc = frame_crc(frame, id, offset);
        frame[CRC_AT..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    }

    /// Forgets the frame and what was appended since.
    pub fn abandon(self, out: &mut Vec<u8>) {
        out.truncate(self.start);
    }
}

/// The checksum of where a frame is: which file it is of, and where it begins there.
pub fn place_crc(id: &FileId, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.store);
    hasher.update(&id.number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

/// The checksum of a whole frame: where it is, then all of it but the checksum.
fn frame_crc(frame: &[u8], id: &FileId, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(place_crc(id, offset));
    hasher.update(&frame[..CRC_AT]);
    hasher.update(&frame[FRAME_HEADER_BYTES..]);
    hasher.finalize()
}

/// The frame at the front of `bytes`, which are a file's bytes from `offset` on.
pub fn read_frame<'a>(bytes: &'a [u8], id: &FileId, offset: u64) -> Result<Frame<'a>, Fault> {
    let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Err(length(FRAME_HEADER_BYTES as u64, bytes.len()));
    };
    let payload_len = u32_at(header, LEN_AT).unwrap_or_default();
    let needed = FRAME_HEADER_BYTES as u64 + u64::from(payload_len);
    let Some(frame) = usize::try_from(needed).ok().and_then(|len| bytes.get(..len)) else {
        return Err(length(needed, bytes.len()));
    };
    let (said, is) = (u32_at(header, CRC_AT).unwrap_or_default(), frame_crc(frame, id, offset));
    if said != is {
        return Err(checksum(is, said));
    }
    if header[FRAME_RESERVED_AT..CRC_AT] != [0; 3] {
        return Err(Fault::Value { what: "reserved byte" });
    }
    Ok(Frame { kind: header[TYPE_AT], payload: &frame[FRAME_HEADER_BYTES..], end: offset + needed })
}

/// The payload of the frame at the front of `bytes`, which [`read_frame`] has verified before.
pub fn reread_frame(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32_at(bytes, LEN_AT)?;
    bytes.get(FRAME_HEADER_BYTES..)?.get(..len as usize)
}

/// The verified frames of one type that begin anywhere in `bytes`, which are a file's bytes from `offset` on: where
/// reading resumes after damage.
///
/// Costs a checksum only where a header is plausible, so about one look per byte.
pub fn scan_frames<'a>(
    bytes: &'a [u8],
    id: &'a FileId,
    offset: u64,
    kind: u8,
) -> impl Iterator<Item = (u64, Frame<'a>)> + 'a {
    let plausible = [kind, 0, 0, 0];
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(at..)?;
            let header = rest.first_chunk::<FRAME_HEADER_BYTES>()?;
            let here = offset + at as u64;
            if header[TYPE_AT..CRC_AT] == plausible
                && let Ok(frame) = read_frame(rest, id, here)
            {
                at += (frame.end - here) as usize;
                return Some((here, frame));
            }
            at += 1;
        }
    })
}

fn length(needed: u64, available: usize) -> Fault {
    Fault::Code(codec::Fault::Length { needed, found: available as u64 })
}

/// The codec's words: `is` is what the bytes sum to, `said` what they should.
fn checksum(is: u32, said: u32) -> Fault {
    Fault::Code(codec::Fault::Checksum { expected: said, found: is })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = include_str!("frame.md");
    const ID: FileId = FileId { store: *b"sixteen bytes id", number: 12 };

    fn hex(bytes: &[u8]) -> String {
        let line = |bytes: &[u8]| {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            hex.join(" ")
        };
        bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
    }

    fn header() -> FileHeader {
        FileHeader { kind: FileKind::Log, id: ID, created: 1_545_645_600_000_000 }
    }

    #[test]
    fn the_page_names_the_offsets_of_the_code() {
        let rows = [
            (0, MAGIC.len(), "bytes | magic"),
            (VERSION_AT, 2, "u16 | format version"),
            (KIND_AT, 1, "u8 | kind"),
            (RESERVED_AT, STORE_AT - RESERVED_AT, "zeros | reserved"),
            (STORE_AT, 16, "bytes | store id"),
            (NUMBER_AT, 8, "u64 | file number"),
            (CREATED_AT, 8, "i64 | created"),
            (RESERVED_MORE_AT, HEADER_CRC_AT - RESERVED_MORE_AT, "zeros | reserved"),
            (HEADER_CRC_AT, 4, "u32 | checksum"),
            (LEN_AT, 4, "u32 | length"),
            (TYPE_AT, 1, "u8 | type"),
            (FRAME_RESERVED_AT, 3, "zeros | reserved"),
            (CRC_AT, 4, "u32 | checksum"),
        ];
        for (at, size, what) in rows {
            assert!(PAGE.contains(&format!("\n| {at} | {size} | {what}")), "{at} {what}");
        }
        assert!(PAGE.contains(&format!("\n| {FRAME_HEADER_BYTES} | length | bytes | payload")));
        assert!(PAGE.contains(&format!("formats {VERSION_OLDEST} to {VERSION_NEWEST}")));
        for (number, what) in [
            (kind::LOG_START, "log start"),
            (kind::BATCH, "batch"),
            (kind::DIGEST, "digest"),
            (kind::DIGESTS_AGAIN, "digests again"),
            (kind::SNAPSHOT, "snapshot"),
            (kind::EDIT, "edit"),
        ] {
            assert!(PAGE.contains(&format!("\n| `0x{number:02x}` | {what} |")), "{what}");
        }
        let segments = format!("`0x{:02x}`–`0x{:02x}`", kind::SEGMENT_FIRST, kind::SEGMENT_LAST);
        assert!(PAGE.contains(&segments));
        for (kind, word) in FileKind::ALL.into_iter().zip(["log", "segment", "manifest"]) {
            assert!(PAGE.contains(&format!("{} = {word}", kind as u8)), "{word}");
        }
    }

    #[test]
    fn golden_bytes() {
        let mut bytes = header().encode().to_vec();
        assert_eq!(FileHeader::decode(&bytes), Ok(header()));
        put_frame(&mut bytes, &ID, 64, 0x7f, b"payload");
        assert!(PAGE.contains(&hex(&bytes)), "{}", hex(&bytes));
        let frame = read_frame(&bytes[64..], &ID, 64).unwrap();
        assert_eq!((frame.kind, frame.payload, frame.end), (0x7f, &b"payload"[..], 83));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = header().encode().to_vec();
        put_frame(&mut bytes, &ID, 64, 0x7f, b"payload");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                if at < HEADER_BYTES {
                    FileHeader::decode(&bytes).unwrap_err();
                } else {
                    read_frame(&bytes[64..], &ID, 64).unwrap_err();
                }
            }
        }
        for cut in 0..HEADER_BYTES {
            FileHeader::decode(&bytes[..cut]).unwrap_err();
        }
        for cut in HEADER_BYTES..bytes.len() {
            read_frame(&bytes[64..cut], &ID, 64).unwrap_err();
        }
    }

    /// A disk may return a whole, sound sector of another file, or of another place in the same one.
    #[test]
    fn a_frame_counts_only_where_it_was_put() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, &ID, 64, 0x7f, b"payload");
        let other = FileId { number: 13, ..ID };
        read_frame(&bytes, &other, 64).unwrap_err();
        let other = FileId { store: *b"another store id", ..ID };
        read_frame(&bytes, &other, 64).unwrap_err();
        read_frame(&bytes, &ID, 65).unwrap_err();
    }

    #[test]
    fn a_header_of_another_version_says_who_would_read_it() {
        let mut bytes = header().encode();
        bytes[VERSION_AT] = 7;
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        let error = FileHeader::expect(&bytes, "0000000012.log", FileKind::Log, 12).unwrap_err();
        assert!(matches!(&error, Error::Version(gap) if gap.found == 7), "{error}");
    }

    #[test]
    fn a_header_must_be_of_its_file() {
        let bytes = header().encode();
        let what = |error: Error| match error {
            Error::Corrupt(corrupt) => corrupt.fault,
            other => panic!("{other}"),
        };
        let name = "0000000012.log";
        assert_eq!(
            what(FileHeader::expect(&bytes, name, FileKind::Segment, 12).unwrap_err()),
            Fault::Foreign { what: "kind of file" }
        );
        assert_eq!(
            what(FileHeader::expect(&bytes, name, FileKind::Log, 13).unwrap_err()),
            Fault::Foreign { what: "file number" }
        );
        let id = FileId { store: [0; 16], ..ID };
        assert_eq!(
            what(FileHeader::expect_id(&bytes, name, FileKind::Log, &id).unwrap_err()),
            Fault::Foreign { what: "store" }
        );
    }

    #[test]
    fn a_scan_finds_the_frames_behind_damage() {
        let mut bytes = vec![0xaa; 100];
        put_frame(&mut bytes, &ID, 164, kind::BATCH, b"one");
        bytes.extend([0; 9]);
        let second = 64 + bytes.len() as u64;
        put_frame(&mut bytes, &ID, second, kind::BATCH, b"two");
        bytes.extend([0; 5]);
        let found: Vec<_> =
            scan_frames(&bytes, &ID, 64, kind::BATCH).map(|(at, frame)| (at, frame.payload.to_vec())).collect();
        assert_eq!(found, [(164, b"one".to_vec()), (second, b"two".to_vec())]);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), offset: u32) {
            let _ = FileHeader::decode(&bytes);
            let _ = read_frame(&bytes, &ID, u64::from(offset));
            prop_assert_eq!(scan_frames(&bytes, &ID, 0, kind::BATCH).count(), 0);
        }
    }
}
