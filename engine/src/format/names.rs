//! The names of a store's files.
//!
//! A numbered file is called by its number in decimal, zero-filled to ten digits, and its kind: `0000000012.log`. One
//! counter numbers logs and segments, another manifests, so a name is one file for ever.
//!
//! Invariants:
//! - [`parse`] takes exactly what the naming functions make, so every file has one name.

use super::frame::FileKind;

/// The file that names the manifest in force.
pub const CURRENT: &str = "CURRENT";

/// The next [`CURRENT`] while it is written.
pub const CURRENT_NEW: &str = "CURRENT.new";

/// The writer's lock, and the note by which it tells readers how far the log is durable.
pub const LOCK: &str = "LOCK";

/// The name of the log of this number.
pub fn log(number: u64) -> String {
    name(FileKind::Log, number)
}

/// The name of the segment of this number.
pub fn segment(number: u64) -> String {
    name(FileKind::Segment, number)
}

/// The name of the manifest of this number.
pub fn manifest(number: u64) -> String {
    name(FileKind::Manifest, number)
}

/// The name of the file of this kind and number.
pub fn name(kind: FileKind, number: u64) -> String {
    format!("{number:010}.{}", extension(kind))
}

fn extension(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Log => "log",
        FileKind::Segment => "segment",
        FileKind::Manifest => "manifest",
    }
}

/// The kind and number of a file, if it is named like one of a store.
pub fn parse(file: &str) -> Option<(FileKind, u64)> {
    let (digits, extension_found) = file.split_once('.')?;
    let number = digits.parse().ok()?;
    let kind = FileKind::ALL.into_iter().find(|kind| extension(*kind) == extension_found)?;
    (name(kind, number) == file).then_some((kind, number))
}

/// The greatest number that a file of one of these kinds carries; 0 if none carries one.
///
/// After a crash the directory may hold files that no manifest knows; who numbers the next file must go past them.
pub fn highest<'a>(files: impl IntoIterator<Item = &'a str>, kinds: &[FileKind]) -> u64 {
    files
        .into_iter()
        .filter_map(parse)
        .filter(|(kind, _)| kinds.contains(kind))
        .map(|(_, number)| number)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_parsed_back_and_nothing_else_is() {
        for number in [0, 12, 9_999_999_999, 10_000_000_000, u64::MAX] {
            for kind in FileKind::ALL {
                assert_eq!(parse(&name(kind, number)), Some((kind, number)));
            }
        }
        assert_eq!(log(12), "0000000012.log");
        for other in [
            "12.log",
            "00000000012.log",
            "+000000012.log",
            "0000000012.Log",
            "0000000012.log.tmp",
            "0000000012",
            "99999999999999999999.log",
            ".log",
            CURRENT,
            LOCK,
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        let files = [CURRENT, "0000000003.log", "0000000009.manifest"];
        assert_eq!(highest(files, &[FileKind::Log, FileKind::Segment]), 3);
        assert_eq!(highest(files, &[FileKind::Segment]), 0);
    }
}
