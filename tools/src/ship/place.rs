#![doc = include_str!("place.md")]

use super::print::Print;
use flate2::Crc;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

const MAGIC: [u8; 8] = *b"erstship";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = MAGIC.len() + 4 + 8 + 4;
const CHECKED_BYTES: usize = HEADER_BYTES - 4;

const PACKED: u8 = 1;
const DONE: u8 = 2;

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) producer: u128,
    pub(super) next: u64,
    pub(super) sources: Vec<SourcePlace>,
    pub(super) batches: Vec<BatchPlace>,
}

/// A source, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourcePlace {
    pub(super) number: u32,
    pub(super) path: Vec<u8>,
    pub(super) offset: u64,
    pub(super) next_generation: u64,
    pub(super) caught_up: Option<i64>,
    pub(super) generations: Vec<Known>,
}

/// A generation, as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) number: u64,
    /// Of its file, when last its content was found to fit.
    pub(super) stat: Stat,
    pub(super) packed: bool,
    pub(super) done: bool,
    pub(super) head: Print,
    pub(super) mark: Print,
    pub(super) position: u64,
}

/// What the system says of a file. Equal ones are one file with one content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) mtime_nanos: i64,
}

impl Stat {
    pub(super) fn of(meta: &Metadata) -> Stat {
        let mtime_nanos = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Stat { dev: meta.dev(), ino: meta.ino(), size: meta.len(), mtime_nanos }
    }

    /// What names the file while it is there; numbers are used again afterwards.
    pub(super) fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

/// A batch, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchPlace {
    pub(super) sequence: u64,
    pub(super) pieces: Vec<Piece>,
}

/// Where a batch's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) source: u32,
    pub(super) generation: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) offset: u64,
    pub(super) crc: u32,
}

/// Why bytes are no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PlaceError {
    /// They were none, or are not any more.
    Damaged(&'static str),
    /// Another program's.
    Version(u32),
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceError::Damaged(what) => write!(f, "it is damaged ({what})"),
            PlaceError::Version(found) => {
                write!(
                    f,
                    "it has format version {found}, and this program reads {VERSION}: use the program that wrote it"
                )
            }
        }
    }
}

/// CRC-32.
pub(super) fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    for part in parts {
        crc.update(part);
    }
    crc.sum()
}

impl Place {
    /// The whole file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        out.extend(self.producer.to_le_bytes());
        out.extend(self.next.to_le_bytes());
        count(&mut out, self.sources.len());
        count(&mut out, self.batches.len());
        for source in &self.sources {
            out.extend(source.number.to_le_bytes());
            count(&mut out, source.path.len());
            out.extend(&source.path);
            out.extend(source.offset.to_le_bytes());
            out.extend(source.next_generation.to_le_bytes());
            out.extend(source.caught_up.unwrap_or(i64::MIN).to_le_bytes());
            count(&mut out, source.generations.len());
            for known in &source.generations {
                known.encode(&mut out);
            }
        }
        for batch in &self.batches {
            out.extend(batch.sequence.to_le_bytes());
            count(&mut out, batch.pieces.len());
            for piece in &batch.pieces {
                piece.encode(&mut out);
            }
        }
        let length = (out.len() - HEADER_BYTES) as u64;
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&length.to_le_bytes());
        let crc = crc(&[&out[..CHECKED_BYTES], &out[HEADER_BYTES..]]);
        out[CHECKED_BYTES..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a whole file.
    pub(super) fn decode(file: &[u8]) -> Result<Place, PlaceError> {
        let mut header = Reader(file);
        if header.take(8)? != MAGIC {
            return Err(PlaceError::Damaged("it does not begin as a place does"));
        }
        let (version, length, found) = (header.u32()?, header.u64()?, header.u32()?);
        let body = header.0;
        // Of another version only magic, version and checksum are known to mean the same.
        let whole = crc(&[&file[..CHECKED_BYTES], body]) == found;
        if !whole || length != body.len() as u64 {
            return Err(PlaceError::Damaged("its checksum does not match"));
        }
        if version != VERSION {
            return Err(PlaceError::Version(version));
        }
        let mut body = Reader(body);
        let mut place =
            Place { producer: u128::from_le_bytes(body.array()?), next: body.u64()?, sources: vec![], batches: vec![] };
        let (sources, batches) = (body.u32()?, body.u32()?);
        for _ in 0..sources {
            place.sources.push(body.source()?);
        }
        for _ in 0..batches {
            let (sequence, pieces) = (body.u64()?, body.u32()?);
            let pieces = (0..pieces).map(|_| body.piece()).collect::<Result<_, _>>()?;
            place.batches.push(BatchPlace { sequence, pieces });
        }
        if !body.0.is_empty() {
            return Err(PlaceError::Damaged("something follows its end"));
        }
        place.check()
    }

    /// What no shipper ever wrote is refused, whatever the checksum says.
    fn check(self) -> Result<Place, PlaceError> {
        let known = |piece: &Piece| {
            let source = self.sources.iter().find(|source| source.number == piece.source);
            source.is_some_and(|source| source.generations.iter().any(|known| known.number == piece.generation))
        };
        for (batch, expected) in self.batches.iter().rev().zip((1..self.next).rev()) {
            if batch.sequence != expected {
                return Err(PlaceError::Damaged("its batches do not follow each other"));
            }
            if !batch.pieces.iter().all(|piece| piece.from < piece.to && known(piece)) {
                return Err(PlaceError::Damaged("a batch is of what it does not know"));
            }
        }
        if self.batches.len() as u64 >= self.next {
            return Err(PlaceError::Damaged("it has more batches than there were"));
        }
        Ok(self)
    }
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.extend((count as u32).to_le_bytes());
}

impl Known {
    fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.number, self.stat.dev, self.stat.ino, self.stat.size] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.stat.mtime_nanos.to_le_bytes());
        out.push(if self.packed { PACKED } else { 0 } | if self.done { DONE } else { 0 });
        for number in [self.head.end, self.head.hash, self.mark.end, self.mark.hash, self.position] {
            out.extend(number.to_le_bytes());
        }
    }
}

impl Piece {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.source.to_le_bytes());
        for number in [self.generation, self.from, self.to, self.offset] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.crc.to_le_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], PlaceError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(PlaceError::Damaged("it is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PlaceError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, PlaceError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, PlaceError> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, PlaceError> {
        self.array().map(i64::from_le_bytes)
    }

    fn print(&mut self) -> Result<Print, PlaceError> {
        Ok(Print { end: self.u64()?, hash: self.u64()? })
    }

    fn source(&mut self) -> Result<SourcePlace, PlaceError> {
        let (number, length) = (self.u32()?, self.u32()?);
        let path = self.take(length as usize)?.to_vec();
        let (offset, next_generation) = (self.u64()?, self.u64()?);
        let caught_up = Some(self.i64()?).filter(|&micros| micros != i64::MIN);
        let generations = self.u32()?;
        let generations = (0..generations).map(|_| self.known()).collect::<Result<_, _>>()?;
        Ok(SourcePlace { number, path, offset, next_generation, caught_up, generations })
    }

    fn known(&mut self) -> Result<Known, PlaceError> {
        let number = self.u64()?;
        let stat = Stat { dev: self.u64()?, ino: self.u64()?, size: self.u64()?, mtime_nanos: self.i64()? };
        let [flags] = self.array()?;
        if flags & !(PACKED | DONE) != 0 {
            return Err(PlaceError::Damaged("a flag is not known"));
        }
        let (head, mark, position) = (self.print()?, self.print()?, self.u64()?);
        Ok(Known { number, stat, packed: flags & PACKED != 0, done: flags & DONE != 0, head, mark, position })
    }

    fn piece(&mut self) -> Result<Piece, PlaceError> {
        Ok(Piece {
            source: self.u32()?,
            generation: self.u64()?,
            from: self.u64()?,
            to: self.u64()?,
            offset: self.u64()?,
            crc: self.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("place.md");

    pub(in crate::ship) fn sample() -> Place {
        let known = |number, done| Known {
            number,
            stat: Stat { dev: 66, ino: 1000 + number, size: 6000, mtime_nanos: -1 },
            packed: done,
            done,
            head: Print::head(b"{\"name\":"),
            mark: Print { end: 5000, hash: number },
            position: 4000,
        };
        let piece = |generation, from, to| Piece { source: 3, generation, from, to, offset: from + 90, crc: 7 };
        Place {
            producer: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
            next: 9,
            sources: vec![
                SourcePlace {
                    number: 3,
                    path: b"/var/log/osquery/osqueryd.results.log".to_vec(),
                    offset: 7000,
                    next_generation: 6,
                    caught_up: None,
                    generations: vec![known(4, true), known(5, false)],
                },
                SourcePlace {
                    number: 4,
                    path: b"/var/log/\xff".to_vec(),
                    offset: 0,
                    next_generation: 0,
                    caught_up: Some(1_545_645_720_000_000),
                    generations: vec![],
                },
            ],
            batches: vec![
                BatchPlace { sequence: 7, pieces: vec![] },
                BatchPlace { sequence: 8, pieces: vec![piece(4, 10, 20), piece(5, 0, 4000)] },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for place in [Place { producer: 1, next: 1, ..Place::default() }, sample()] {
            assert_eq!(Place::decode(&place.encode()), Ok(place));
        }
    }

    #[test]
    fn every_byte_flipped_and_every_cut_is_refused() {
        let file = sample().encode();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[at] ^= 1 << bit;
                assert!(Place::decode(&flipped).is_err(), "byte {at}, bit {bit}");
            }
            assert!(Place::decode(&file[..at]).is_err(), "cut at {at}");
        }
        assert!(Place::decode(&[&file[..], b"\0"].concat()).is_err(), "longer by one");
    }

    /// Counts that the file has no room for must not make room in memory; contents that contradict each other must not
    /// be believed even with a good checksum.
    #[test]
    fn nonsense_with_a_good_checksum_is_refused() {
        let file = sample().encode();
        let seal = |mut file: Vec<u8>| {
            let crc = crc(&[&file[..CHECKED_BYTES], &file[HEADER_BYTES..]]);
            file[CHECKED_BYTES..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
            Place::decode(&file)
        };
        assert!(seal(file.clone()).is_ok());
        for at in HEADER_BYTES..file.len() - 3 {
            let mut wild = file.clone();
            wild[at..at + 4].fill(0xff);
            let _ = seal(wild);
        }
        let mut place = sample();
        place.next = 10;
        assert_eq!(seal(place.encode()), Err(PlaceError::Damaged("its batches do not follow each other")));
        place.batches.clear();
        assert!(seal(place.encode()).is_ok());
        let mut place = sample();
        place.sources.remove(0);
        assert_eq!(seal(place.encode()), Err(PlaceError::Damaged("a batch is of what it does not know")));
        let mut newer = file;
        newer[8] = 2;
        assert_eq!(seal(newer), Err(PlaceError::Version(2)));
    }

    #[test]
    fn the_page_has_the_sizes_of_the_code() {
        for row in [
            format!("| 0 | {} | bytes | magic: `erstship`", MAGIC.len()),
            format!("| 8 | 4 | u32 | format version | this program reads version {VERSION} |"),
            format!("| {CHECKED_BYTES} | 4 | u32 | checksum: CRC-32 of the {CHECKED_BYTES} bytes before"),
            format!("| {HEADER_BYTES} | length | bytes | body"),
        ] {
            assert!(PAGE.contains(&row), "{row}");
        }
        let size = |title: &str| {
            let table = PAGE[PAGE.find(title).expect(title)..].split("\n\n").nth(1).expect(title);
            let rows = table.lines().skip(2).map(|row| row.split('|').nth(1).expect(row));
            rows.flat_map(|size| size.split('+')).filter_map(|size| size.trim().parse::<usize>().ok()).sum::<usize>()
        };
        let bare = Place { next: 1, ..Place::default() };
        assert_eq!(bare.encode().len() - HEADER_BYTES, size("The body:"));
        let place = sample();
        let mut out = vec![];
        place.sources[0].generations[0].encode(&mut out);
        assert_eq!(out.len(), size("A generation is"));
        let with = |sources: &[SourcePlace], batches: &[BatchPlace]| {
            Place { sources: sources.to_vec(), batches: batches.to_vec(), ..bare.clone() }.encode().len()
        };
        let bare = with(&[], &[]);
        assert_eq!(with(&place.sources[1..], &[]) - bare - place.sources[1].path.len(), size("A source is"));
        assert_eq!(
            with(&[], &[BatchPlace { pieces: place.batches[1].pieces[..1].to_vec(), ..place.batches[1].clone() }])
                - bare,
            size("A batch was")
        );
        assert!(PAGE.contains(&format!("up to {}, and print", super::super::print::PRINT_BYTES)));
    }
}
