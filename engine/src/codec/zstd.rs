#![doc = include_str!("zstd.md")]

use super::{Fault, take, varint};
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// More room than this is given back.
const ROOM_BYTES_MAX: usize = 16 << 20;

thread_local! {
    // A context weighs hundreds of kilobytes, and a frame needs room before its size is known; a thread makes these once
    // and keeps them.
    static COMPRESSOR: RefCell<Option<(Compressor<'static>, Vec<u8>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Appends `bytes` as a frame if that takes less than `less_than` bytes; says whether it did.
///
/// `level` is zstd's; what lies outside its range counts as the nearest in it.
pub fn encode_if_smaller(bytes: &[u8], level: i32, less_than: usize, out: &mut Vec<u8>) -> bool {
    COMPRESSOR.with_borrow_mut(|slot| {
        let Some(frame) = compress(slot, bytes, level) else {
            return false;
        };
        let Some(body) = frame.strip_prefix(&MAGIC) else {
            return false;
        };
        if varint::len_u64(body.len() as u64) + body.len() >= less_than {
            return false;
        }
        varint::put_u64(out, body.len() as u64);
        out.extend_from_slice(body);
        if slot.as_ref().is_some_and(|(_, room)| room.capacity() > ROOM_BYTES_MAX) {
            *slot = None;
        }
        true
    })
}

/// Compression that fails (for want of memory) is compression that does not make smaller.
fn compress<'s>(slot: &'s mut Option<(Compressor<'static>, Vec<u8>)>, bytes: &[u8], level: i32) -> Option<&'s [u8]> {
    let range = zstd::compression_level_range();
    let level = level.clamp(*range.start(), *range.end());
    let (compressor, room) = match slot {
        Some(made) => made,
        None => slot.insert((Compressor::new(level).ok()?, Vec::new())),
    };
    compressor.set_compression_level(level).ok()?;
    room.clear();
    room.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
    compressor.compress_to_buffer(bytes, room).ok()?;
    Some(room)
}

/// Takes a frame off the front and appends its `expected` bytes to `out`.
pub fn decode(bytes: &mut &[u8], expected: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let len = varint::take_u64(bytes)?;
    let body = take(bytes, usize::try_from(len).unwrap_or(usize::MAX))?;
    let frame = [&MAGIC, body].concat();
    let start = out.len();
    out.resize(start + expected, 0);
    let found = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new().ok()?),
        };
        decompressor.decompress_to_buffer(&frame, &mut out[start..]).ok()
    });
    if found == Some(expected) {
        return Ok(());
    }
    out.truncate(start);
    Err(Fault::Zstd { expected: expected as u64, found: found.map(|found| found as u64) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_the_bytes_left_out() {
        let hex = MAGIC.map(|byte| format!("{byte:02x}")).join(" ");
        assert!(include_str!("zstd.md").contains(&format!("always `{hex}`")));
    }

    #[test]
    fn a_frame_is_exactly_as_long_as_expected_or_refused() {
        let (text, mut out) = (b"again and ".repeat(30), Vec::new());
        assert!(encode_if_smaller(&text, 3, text.len(), &mut out));
        let len = out.len();
        assert!(!encode_if_smaller(&text, 1000, 5, &mut out) && out.len() == len);
        out.push(9);
        let (mut rest, mut back) = (&out[..], vec![7]);
        decode(&mut rest, text.len(), &mut back).unwrap();
        assert_eq!((rest, back[0], &back[1..]), (&[9][..], 7, &text[..]));
        for wrong in [0, text.len() - 1, text.len() + 1] {
            let fault = decode(&mut &out[..], wrong, &mut back).unwrap_err();
            assert!(matches!(fault, Fault::Zstd { expected, .. } if expected == wrong as u64), "{fault}");
            assert_eq!(back.len(), text.len() + 1, "nothing is left behind");
        }
        for cut in 0..len {
            assert!(decode(&mut &out[..cut], text.len(), &mut back).is_err());
        }
    }
}
