use crate::ingest::line::LINE_BYTES_MAX;
use crate::ingest::source::{
    Damage, Fault, Foreign, Format, HEAD_BYTES_MAX, LineSource, Lines as Came, SourceError, SourceLine,
};
use proptest::prelude::*;
use std::io::{self, Read, Write};

/// Hands out bytes in pieces of the given sizes, over and over.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: &'a [usize],
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let size = self.sizes[self.turn % self.sizes.len()].min(out.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(size);
        out[..size].copy_from_slice(now);
        self.bytes = later;
        Ok(size)
    }
}

type Lines = Vec<(u64, Vec<u8>, bool)>;

/// All lines and the error after them.
fn read(reader: impl Read) -> (Lines, Option<SourceError>) {
    let mut source = LineSource::new("input", reader);
    let mut lines = Vec::new();
    loop {
        match source.next_line() {
            Ok(Some(SourceLine::Line { offset, bytes, ended })) => lines.push((offset, bytes.to_vec(), ended)),
            Ok(Some(long)) => panic!("{long:?}"),
            Ok(None) => return (lines, None),
            Err(error) => {
                assert!(matches!(source.next_line(), Ok(None)), "an error is told once");
                return (lines, Some(error));
            }
        }
    }
}

/// All lines, as they come together, and the error after them. Buffers are given back now and then.
fn read_together(reader: impl Read) -> (Lines, Option<SourceError>) {
    let mut source = LineSource::new("input", reader);
    let (mut lines, mut spare) = (Vec::new(), None);
    loop {
        match source.next_lines(spare.take()) {
            Ok(Some(Came::Whole { offset, buffer, range })) => {
                let mut offset = offset;
                for piece in buffer[range].split_inclusive(|&byte| byte == b'\n') {
                    let line = piece.strip_suffix(b"\n").unwrap_or(piece);
                    lines.push((offset, line.to_vec(), line.len() < piece.len()));
                    offset += piece.len() as u64;
                }
                spare = Some(buffer).filter(|_| lines.len() % 3 > 0);
            }
            Ok(Some(Came::TooLong { offset, length, .. })) => panic!("{offset} {length}"),
            Ok(None) => return (lines, None),
            Err(error) => {
                assert!(matches!(source.next_lines(None), Ok(None)), "an error is told once");
                return (lines, Some(error));
            }
        }
    }
}

fn line(offset: u64, text: &str, ended: bool) -> (u64, Vec<u8>, bool) {
    (offset, text.as_bytes().to_vec(), ended)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .filename("results.log")
        .comment("rotated")
        .extra(vec![7; 300])
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Lines that do not compress well, so that there are many blocks.
fn text(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut text = Vec::with_capacity(bytes);
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.extend_from_slice(format!("{state:x}").as_bytes());
        if state >> 61 == 0 {
            text.push(b'\n');
        }
    }
    text
}

#[test]
fn lines_end_at_newlines() {
    assert_eq!(read(&b""[..]).0, []);
    assert_eq!(read(&b"a\n\nbc\r\n"[..]).0, [line(0, "a", true), line(2, "", true), line(3, "bc\r", true)]);
    assert_eq!(read(&b"a\nb"[..]).0, [line(0, "a", true), line(2, "b", false)]);
    assert_eq!(read(&b"\n"[..]).0, [line(0, "", true)]);
}

#[test]
fn a_byte_order_mark_is_skipped_at_the_start_only() {
    assert_eq!(read(&b"\xef\xbb\xbfa\n"[..]).0, [line(3, "a", true)]);
    assert_eq!(read(&b"\xef\xbb\xbf"[..]).0, []);
    assert_eq!(read(&b"a\n\xef\xbb\xbfb\n"[..]).0[1].1, b"\xef\xbb\xbfb");
    assert_eq!(read(&b"\xef\xbb"[..]).0, [(0, b"\xef\xbb".to_vec(), false)]);
    assert_eq!(read(&gzip(b"\xef\xbb\xbfa\n")[..]).0, [line(3, "a", true)]);
}

#[test]
fn formats_are_told_by_their_first_bytes() {
    let text = b"one\ntwo\nthree";
    let lines = [line(0, "one", true), line(4, "two", true), line(8, "three", false)];
    for packed in [gzip(text), zstd(text), text.to_vec()] {
        let (read, error) = read(&packed[..]);
        assert_eq!(read, lines);
        assert!(error.is_none(), "{error:?}");
    }
    // A file shorter than a magic is plain.
    assert_eq!(read(&b"\x1f"[..]).0.len(), 1);
    assert_eq!(read(&b"\x28\xb5\x2f"[..]).0.len(), 1);
    assert_eq!(read(&b"PK\n"[..]).0.len(), 1);
}

#[test]
fn members_and_frames_follow_each_other() {
    let lines = [line(0, "one", true), line(4, "two", false)];
    assert_eq!(read(&[gzip(b"one\nt"), gzip(b""), gzip(b"wo")].concat()[..]).0, lines);
    let skippable = b"\x53\x2a\x4d\x18\x05\0\0\0hello".to_vec();
    let frames = [skippable.clone(), zstd(b"one\nt"), zstd(b""), skippable, zstd(b"wo")].concat();
    let (read, error) = read(&frames[..]);
    assert_eq!(read, lines);
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn other_compressions_are_refused_by_name() {
    for (magic, foreign) in [
        (&b"\xfd7zXZ\0\0"[..], Foreign::Xz),
        (b"BZh91AY&SY", Foreign::Bzip2),
        (b"\x04\x22\x4d\x18", Foreign::Lz4),
        (b"PK\x03\x04", Foreign::Zip),
        (b"7z\xbc\xaf\x27\x1c", Foreign::SevenZip),
    ] {
        let error = read(magic).1.unwrap();
        assert!(matches!(error.fault, Fault::Foreign(found) if found == foreign), "{error}");
    }
}

#[test]
fn what_came_before_the_cut_is_delivered() {
    let text = text(2 << 20);
    for (format, packed) in [(Format::Gzip, gzip(&text)), (Format::Zstd, zstd(&text))] {
        for kept in [packed.len() - 1, packed.len() - 9, packed.len() / 2, 400] {
            let (lines, error) = read(&packed[..kept]);
            let error = error.unwrap();
            assert!(matches!(error.fault, Fault::Truncated(found) if found == format), "{error}");
            assert_eq!(error.bytes_in, kept as u64);
            let delivered: Vec<u8> = lines.iter().flat_map(|(_, line, _)| [line, &b"\n"[..]].concat()).collect();
            assert!(text.starts_with(&delivered));
            assert_eq!(error.offset, delivered.len() as u64);
            // At most one block of text is lost, and the line that it cut.
            let share = text.len() * kept / packed.len();
            assert!(delivered.len() + (200 << 10) > share, "{format:?} {kept} {} {share}", delivered.len());
        }
    }
}

#[test]
fn what_came_before_the_damage_is_delivered() {
    let text = text(2 << 20);
    for (format, packed) in [(Format::Gzip, gzip(&text)), (Format::Zstd, zstd(&text))] {
        for at in (0..40).map(|step| packed.len() / 8 + step * packed.len() / 50) {
            let mut damaged = packed.clone();
            for byte in damaged.iter_mut().skip(at).take(64) {
                *byte = !*byte;
            }
            let (lines, error) = read(&damaged[..]);
            let error = error.unwrap();
            assert!(
                matches!(error.fault, Fault::Corrupt(found, Damage::Data | Damage::Checksum) if found == format),
                "{error}"
            );
            let delivered: Vec<u8> = lines.iter().flat_map(|(_, line, _)| [line, &b"\n"[..]].concat()).collect();
            let same = delivered.iter().zip(&text).take_while(|(a, b)| a == b).count();
            let share = text.len() * at / packed.len();
            assert!(same + (200 << 10) > share, "{format:?} {at} {same} {share}");
        }
    }
}

/// A decoder that fails says nothing of the blocks that the same call had decoded before.
#[test]
fn no_block_before_a_damaged_one_is_lost() {
    for block in [7, 100_000, 128 << 10] {
        for blocks in 1..20 {
            // Magic, a descriptor that says only "a window follows", a window of 128 KiB, raw blocks, a reserved block.
            let mut frame = b"\x28\xb5\x2f\xfd\0\x38".to_vec();
            for _ in 0..blocks {
                frame.extend(&((block as u32) << 3).to_le_bytes()[..3]);
                frame.extend(std::iter::repeat_n(b'x', block - 1).chain([b'\n']));
            }
            frame.extend(b"\x0e\0\0\0");
            let (lines, error) = read(&frame[..]);
            assert_eq!((lines.len(), error.unwrap().offset), (blocks, (blocks * block) as u64));
        }
    }
}

#[test]
fn a_source_may_move_between_threads() {
    fn sends<T: Send>(_: &T) {}
    sends(&LineSource::new("input", &b""[..]));
}

#[test]
fn trailing_bytes_and_wrong_checksums_are_named() {
    for (format, packed) in [(Format::Gzip, gzip(b"a\nb\n")), (Format::Zstd, zstd(b"a\nb\n"))] {
        let (lines, error) = read(&[&packed[..], b"garbage"].concat()[..]);
        assert_eq!(lines.len(), 2);
        let error = error.unwrap();
        assert!(matches!(error.fault, Fault::Corrupt(found, Damage::Trailing) if found == format), "{error}");

        let mut wrong = packed.clone();
        let at = wrong.len() - if format == Format::Gzip { 8 } else { 4 };
        wrong[at] ^= 1;
        let (lines, error) = read(&wrong[..]);
        assert_eq!(lines.len(), 2);
        let error = error.unwrap();
        assert!(matches!(error.fault, Fault::Corrupt(found, Damage::Checksum) if found == format), "{error}");
        assert_eq!(error.offset, 4);
    }
    let error = read(&b"\x1f\x8b\x07\0\0\0\0\0\0\0"[..]).1.unwrap();
    assert!(matches!(error.fault, Fault::Corrupt(Format::Gzip, Damage::Header)), "{error}");
}

#[test]
fn a_zstd_window_beyond_the_limit_is_refused() {
    // Magic, a descriptor that says only "a window follows", the window, then one last raw block of two bytes.
    let frame = |window_log: u8| [&b"\x28\xb5\x2f\xfd\0"[..], &[(window_log - 10) << 3], b"\x11\0\0x\n"].concat();
    let (lines, error) = read(&frame(27)[..]);
    assert_eq!(lines, [line(0, "x", true)]);
    assert!(error.is_none(), "{error:?}");
    for window_log in [28, 31] {
        let error = read(&frame(window_log)[..]).1.unwrap();
        assert!(matches!(error.fault, Fault::Window), "{error}");
    }
    // A frame that names a dictionary.
    let error = read(&b"\x28\xb5\x2f\xfd\x01\x38\x05\x11\0\0x\n"[..]).1.unwrap();
    assert!(matches!(error.fault, Fault::Dictionary), "{error}");
}

#[test]
fn an_error_says_which_input_what_where_and_what_to_do() {
    let packed = gzip(b"one\ntwo\nthree");
    let mut source = LineSource::new("results.log.gz", &packed[..packed.len() - 3]);
    source.next_line().unwrap();
    source.next_line().unwrap();
    let bytes_in = packed.len() - 3;
    assert_eq!(
        source.next_line().unwrap_err().to_string(),
        format!(
            "results.log.gz: its gzip data is cut off (near byte {bytes_in} of the input); the lines in the first 8 bytes \
             of its text were delivered. Get the rest and read it again whole: lines that came twice count once"
        )
    );
}

#[test]
fn a_reader_that_fails_fails_after_its_lines() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            out[..5].copy_from_slice(b"one\nt");
            Ok(5)
        }
    }
    let (lines, error) = read(Broken(false));
    assert_eq!(lines, [line(0, "one", true)]);
    let error = error.unwrap();
    assert!(matches!(&error.fault, Fault::Read(error) if error.kind() == io::ErrorKind::ConnectionReset), "{error}");
    assert_eq!((error.offset, error.bytes_in), (4, 5));
}

/// A long line between two short ones.
fn around(length: u64, end: &'static [u8]) -> impl Read {
    (&b"before\n"[..]).chain(io::repeat(b'x').take(length)).chain(end)
}

#[test]
fn a_line_at_the_limit_is_whole() {
    let mut source = LineSource::new("input", around(LINE_BYTES_MAX as u64, b"\nafter\n"));
    source.next_line().unwrap();
    match source.next_line().unwrap() {
        Some(SourceLine::Line { offset: 7, bytes, ended: true }) => assert_eq!(bytes.len(), LINE_BYTES_MAX),
        _ => panic!(),
    }
    let offset = 8 + LINE_BYTES_MAX as u64;
    assert_eq!(source.next_line().unwrap(), Some(SourceLine::Line { offset, bytes: b"after", ended: true }));
    assert_eq!(source.next_line().unwrap(), None);
}

#[test]
fn a_line_beyond_the_limit_is_skipped() {
    for extra in [1, 2 << 20, 100 << 20] {
        for ended in [true, false] {
            let length = LINE_BYTES_MAX as u64 + extra;
            let end: &[u8] = if ended { b"\nafter\n" } else { b"" };
            let mut source = LineSource::new("input", around(length, end));
            source.next_line().unwrap();
            let head = &[b'x'; HEAD_BYTES_MAX];
            assert_eq!(source.next_line().unwrap(), Some(SourceLine::TooLong { offset: 7, head, length, ended }));
            if ended {
                let after = SourceLine::Line { offset: 8 + length, bytes: b"after", ended };
                assert_eq!(source.next_line().unwrap(), Some(after));
            }
            assert_eq!(source.next_line().unwrap(), None);
            assert_eq!(source.bytes_in(), 7 + length + end.len() as u64);
        }
    }
}

#[test]
fn a_fault_inside_a_long_line_is_told() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let mut source = LineSource::new("input", around(LINE_BYTES_MAX as u64 + 5, b"").chain(Broken));
    source.next_line().unwrap();
    assert_eq!(source.next_line().unwrap_err().offset, 7);
    assert_eq!(source.next_line().unwrap(), None);
}

#[test]
fn a_long_line_among_lines_that_come_together() {
    let came = |length: u64| {
        let reader = around(length, b"\nafter");
        let mut source = LineSource::new("input", reader);
        let mut came = Vec::new();
        while let Some(lines) = source.next_lines(None).unwrap() {
            came.push(match lines {
                Came::Whole { offset, buffer, range } => (offset, range.len() as u64, buffer[range.start]),
                Came::TooLong { offset, head, length } => {
                    assert_eq!(head.len(), HEAD_BYTES_MAX);
                    (offset, length, 0)
                }
            });
        }
        came
    };
    let long = LINE_BYTES_MAX as u64 * 2;
    assert_eq!(came(long), [(0, 7, b'b'), (7, long, 0), (8 + long, 5, b'a')]);
    let most = LINE_BYTES_MAX as u64;
    let whole: u64 = came(most).iter().map(|(_, length, first)| length * u64::from(*first > 0)).sum();
    assert_eq!(whole, 7 + most + 1 + 5, "a line at the limit is whole");
}

/// The lines of a text, cut the plain way.
fn naive(text: &[u8]) -> Lines {
    let mut offset = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut lines = Vec::new();
    for piece in text[offset..].split_inclusive(|&byte| byte == b'\n') {
        let line = piece.strip_suffix(b"\n").unwrap_or(piece);
        lines.push((offset as u64, line.to_vec(), line.len() < piece.len()));
        offset += piece.len();
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_do_not_depend_on_the_reads(
        mark in any::<bool>(),
        pieces in prop::collection::vec((prop::collection::vec(b'a'..=b'z', 0..30), 1..2000usize, any::<bool>()), 0..40),
        sizes in prop::collection::vec(1..5000usize, 1..5),
    ) {
        let mut text = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        for (piece, times, newline) in pieces {
            text.extend(piece.repeat(times));
            text.extend(newline.then_some(b'\n'));
        }
        for packed in [gzip(&text), zstd(&text), text.clone()] {
            let (lines, error) = read(Pieces { bytes: &packed, sizes: &sizes, turn: 0 });
            prop_assert!(error.is_none(), "{:?}", error);
            prop_assert_eq!(lines, naive(&text));
            let (lines, error) = read_together(Pieces { bytes: &packed, sizes: &sizes, turn: 0 });
            prop_assert!(error.is_none(), "{:?}", error);
            prop_assert_eq!(lines, naive(&text));
        }
    }

    #[test]
    fn no_bytes_panic(
        start in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"\x1f\x8b\x08\xff", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        read(&[start, &bytes].concat()[..]);
    }

    #[test]
    fn no_damage_panics(at in any::<prop::sample::Index>(), flip in 1..=255u8, packer in 0..2usize) {
        let text = text(300 << 10);
        let mut packed = [gzip, zstd][packer](&text);
        let at = at.index(packed.len());
        packed[at] ^= flip;
        let (lines, error) = read(&packed[..]);
        let (together, fault) = read_together(&packed[..]);
        prop_assert_eq!(lines, together);
        prop_assert_eq!(error.map(|error| error.to_string()), fault.map(|error| error.to_string()));
    }
}
