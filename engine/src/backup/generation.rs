//! A generation as bytes, and back.
//!
//! Bytes: see [`backup`](crate::backup).

use crate::codec::{self, take, take_between, take_u8, varint};
use crate::error::{Error, Fault, Structure, VersionGap};
use crate::fact::Micros;
use crate::format::frame::FileKind;
use crate::format::names;
use crate::manifest::{Edit, Manifest, decode_edit, encode_edit};

const MAGIC: [u8; 8] = *b"\x89erbk\r\n\x1a";
const VERSION: u16 = 1;
const VERSION_AT: usize = 8;
const RESERVED_AT: usize = 10;
const CRC_AT: usize = 12;
const BODY_AT: usize = 16;
const _: () = assert!(MAGIC.len() == VERSION_AT && VERSION_AT + 2 == RESERVED_AT && RESERVED_AT + 2 == CRC_AT);
const _: () = assert!(CRC_AT + 4 == BODY_AT);

const EXTENSION: &str = "generation";

/// The store at one moment, as a backup holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number: the greater, the later.
    pub number: u64,
    /// When it was made.
    pub made: Micros,
    /// The recorded time of the store's last commit; `None` for an empty store.
    pub last_recorded: Option<Micros>,
    /// Which files were the store.
    pub state: Manifest,
    /// The segments of the state in their order, then the logs.
    pub files: Vec<Copied>,
}

/// A file of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its name in the store.
    pub name: String,
    /// Its name in the backup.
    pub kept_as: String,
    /// Its bytes.
    pub bytes: u64,
    /// XXH3-128 of its bytes.
    pub digest: u128,
}

/// The name of a generation's file.
pub(super) fn name(number: u64) -> String {
    format!("{number:010}.{EXTENSION}")
}

/// The number of a generation's file.
pub(super) fn parse(file: &str) -> Option<u64> {
    let (digits, extension) = file.split_once('.')?;
    let number = digits.parse().ok()?;
    (extension == EXTENSION && name(number) == file).then_some(number)
}

/// The name of a log's copy.
pub(super) fn log_name(log: &str, generation: u64) -> String {
    format!("{log}.{generation:010}")
}

/// The log and the generation of a log's copy.
pub(super) fn parse_log(file: &str) -> Option<(&str, u64)> {
    let (log, generation) = file.rsplit_once('.')?;
    let generation = generation.parse().ok()?;
    let is_log = names::parse(log).is_some_and(|(kind, _)| kind == FileKind::Log);
    (is_log && log_name(log, generation) == file).then_some((log, generation))
}

impl Generation {
    /// All of its bytes together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The copies of logs.
    pub(super) fn logs(&self) -> &[Copied] {
        self.files.get(self.state.segments.len()..).unwrap_or_default()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.resize(BODY_AT, 0);
        out.extend_from_slice(&self.state.store_id);
        varint::put_u64(&mut out, self.number);
        varint::put_i64(&mut out, self.made);
        out.push(u8::from(self.last_recorded.is_some()));
        if let Some(recorded) = self.last_recorded {
            varint::put_i64(&mut out, recorded);
        }
        let state = &self.state;
        put_text(
            &mut out,
            &encode_edit(&Edit {
                add: state.segments.values().cloned().collect(),
                remove: Vec::new(),
                log_floor: Some(state.log_floor),
                last_recorded: Some(state.last_recorded),
                next_file: state.next_file,
            }),
        );
        varint::put_u64(&mut out, self.files.len() as u64);
        for file in &self.files {
            put_text(&mut out, file.name.as_bytes());
            put_text(&mut out, file.kept_as.as_bytes());
            varint::put_u64(&mut out, file.bytes);
            out.extend_from_slice(&file.digest.to_le_bytes());
        }
        let crc = checksum(&out);
        out[CRC_AT..BODY_AT].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The generation of a file's bytes.
    pub(super) fn decode(file: &str, number: u64, bytes: &[u8]) -> Result<Generation, Error> {
        let corrupt = |fault: Fault| Error::Backup(fault.at(file, 0, Structure::Generation));
        let Some(head) = bytes.first_chunk::<BODY_AT>() else {
            let fault = codec::Fault::Length { needed: BODY_AT as u64, found: bytes.len() as u64 };
            return Err(corrupt(fault.into()));
        };
        if !head.starts_with(&MAGIC) {
            return Err(corrupt(Fault::Magic));
        }
        let [.., a, b, c, d] = *head;
        let (expected, found) = (u32::from_le_bytes([a, b, c, d]), checksum(bytes));
        if expected != found {
            return Err(corrupt(codec::Fault::Checksum { expected, found }.into()));
        }
        let version = u16::from_le_bytes([head[VERSION_AT], head[VERSION_AT + 1]]);
        if version != VERSION {
            let file = file.to_owned();
            return Err(VersionGap { file, found: version, oldest: VERSION, newest: VERSION }.into());
        }
        if head[RESERVED_AT..CRC_AT] != [0; CRC_AT - RESERVED_AT] {
            return Err(corrupt(Fault::Value { what: "reserved byte" }));
        }
        let generation = Generation::take(&bytes[BODY_AT..]).map_err(corrupt)?;
        if generation.number != number {
            return Err(corrupt(Fault::Foreign { what: "generation" }));
        }
        Ok(generation)
    }

    fn take(mut bytes: &[u8]) -> Result<Generation, Fault> {
        let bytes = &mut bytes;
        let mut store_id = [0; 16];
        store_id.copy_from_slice(take(bytes, 16)?);
        let number = varint::take_u64(bytes)?;
        let made = varint::take_i64(bytes)?;
        let last_recorded = match take_u8(bytes)? {
            0 => None,
            1 => Some(varint::take_i64(bytes)?),
            _ => return Err(Fault::Value { what: "flag of a commit" }),
        };
        let edit = decode_edit(take_text(bytes)?)?;
        let state = Manifest::empty(store_id).after(&edit).map_err(Fault::Edit)?;
        let mut files = Vec::new();
        for _ in 0..take_between(bytes, 0, bytes.len() as u64)? {
            let (name, kept_as) = (take_name(bytes)?, take_name(bytes)?);
            let size = varint::take_u64(bytes)?;
            let mut digest = [0; 16];
            digest.copy_from_slice(take(bytes, 16)?);
            files.push(Copied { name, kept_as, bytes: size, digest: u128::from_le_bytes(digest) });
        }
        codec::finish(bytes)?;
        let generation = Generation { number, made, last_recorded, state, files };
        generation.check()?;
        Ok(generation)
    }

    /// Names are those of the state and of logs, and nothing else: no name leads out of the directory.
    fn check(&self) -> Result<(), Fault> {
        let segments = self.state.segments.keys().map(|&number| names::segment(number));
        let mut files = self.files.iter();
        for segment in segments {
            if files.next().is_none_or(|file| file.name != segment || file.kept_as != segment) {
                return Err(Fault::Value { what: "list of segments" });
            }
        }
        let mut last = None;
        for file in files {
            let number = names::parse(&file.name).filter(|(kind, _)| *kind == FileKind::Log).map(|(_, number)| number);
            let is_its = parse_log(&file.kept_as).is_some_and(|(log, _)| log == file.name);
            if number.is_none() || !is_its || number <= last {
                return Err(Fault::Value { what: "list of logs" });
            }
            last = number;
        }
        Ok(())
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CRC_AT]);
    hasher.update(&bytes[BODY_AT..]);
    hasher.finalize()
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    varint::put_u64(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
    Ok(take(bytes, len)?)
}

fn take_name(bytes: &mut &[u8]) -> Result<String, Fault> {
    let name = take_text(bytes)?.to_vec();
    String::from_utf8(name).map_err(|_| Fault::Value { what: "name of a file" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn generation() -> Generation {
        let file = Copied { name: names::log(7), kept_as: log_name(&names::log(7), 3), bytes: 4_096, digest: 1 << 100 };
        let state = Manifest { next_file: 9, log_floor: 7, ..Manifest::empty(*b"sixteen bytes id") };
        Generation { number: 3, made: -5, last_recorded: Some(8), state, files: vec![file] }
    }

    #[test]
    fn a_generation_is_read_back_and_no_changed_byte_is_believed() {
        let (generation, name) = (generation(), name(3));
        let bytes = generation.encode();
        assert_eq!(Generation::decode(&name, 3, &bytes).unwrap(), generation);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                Generation::decode(&name, 3, &bytes).unwrap_err();
            }
            Generation::decode(&name, 3, &bytes[..at]).unwrap_err();
        }
        Generation::decode(&name, 4, &bytes).unwrap_err();
    }

    #[test]
    fn a_generation_of_the_future_is_refused_as_that() {
        let mut bytes = generation().encode();
        bytes[VERSION_AT] = 9;
        let crc = checksum(&bytes);
        bytes[CRC_AT..BODY_AT].copy_from_slice(&crc.to_le_bytes());
        let error = Generation::decode("0000000003.generation", 3, &bytes).unwrap_err();
        assert!(error.to_string().contains("newer erstwhile"), "{error}");
    }

    #[test]
    fn names_lead_nowhere_else() {
        for (name, kept_as) in [("0000000007.log", "../0000000007.log"), ("../x", "../x"), ("CURRENT", "CURRENT")] {
            let mut generation = generation();
            (generation.files[0].name, generation.files[0].kept_as) = (name.to_owned(), kept_as.to_owned());
            Generation::decode(&super::name(3), 3, &generation.encode()).unwrap_err();
        }
        assert_eq!(parse(&name(12)), Some(12));
        assert_eq!(parse("12.generation"), None);
        assert_eq!(parse_log("0000000007.log.0000000003"), Some(("0000000007.log", 3)));
        assert_eq!(parse_log("0000000007.log"), None);
    }

    #[test]
    fn the_page_names_the_offsets_of_the_code() {
        let page = include_str!("backup.md");
        let magic: Vec<String> = MAGIC.iter().map(|byte| format!("{byte:02x}")).collect();
        for row in [
            format!("| 0 | {} | bytes | magic | `{}`", MAGIC.len(), magic.join(" ")),
            format!("| {VERSION_AT} | 2 | u16 | version | {VERSION} |"),
            format!("| {RESERVED_AT} | 2 | zeros | reserved"),
            format!("| {CRC_AT} | 4 | u32 | checksum"),
            format!("| {BODY_AT} | 16 | bytes | store id"),
        ] {
            assert!(page.contains(&row), "{row}");
        }
    }

    proptest! {
        #[test]
        fn bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = generation().encode();
            bytes.truncate(BODY_AT);
            bytes.extend(body);
            let crc = checksum(&bytes);
            bytes[CRC_AT..BODY_AT].copy_from_slice(&crc.to_le_bytes());
            let _ = Generation::decode("g", 3, &bytes);
        }
    }
}
