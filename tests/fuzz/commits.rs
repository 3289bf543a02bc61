//! A commit in the store's log: a byte for its form, two for the length announced of its content, the content.
//!
//! What must hold:
//! - Decoding ends, and takes no more memory than so many times what was announced and what is there.
//! - What is decoded is encoded, and that is decoded to the same.

use allocation_counter::measure;
use erstwhile_engine::log::{decode_batch, encode_batch};

/// The form whose content is there as it is, as long as announced.
const FORM_PLAIN: u8 = 0;

/// Bytes of a payload before the length: recorded time, producer, sequence.
const HEAD_BYTES: usize = 32;

/// Memory that decoding may take: so many bytes for a byte announced or there …
const BYTES_EACH: u64 = 128;
/// … and so many beside, which zstd takes whatever comes.
const BYTES_BESIDE: u64 = 1 << 20;

/// Runs an input.
pub fn run(input: &[u8]) {
    let Some((&[form, low, high], content)) = input.split_first_chunk() else { return };
    let announced = match form {
        FORM_PLAIN => content.len() as u32,
        _ => u32::from(u16::from_le_bytes([low, high])),
    };
    let head = [0; HEAD_BYTES];
    let payload = [&head[..], &announced.to_le_bytes(), &[form], content].concat();
    let mut decoded = None;
    let taken = measure(|| decoded = decode_batch(&payload).ok()).bytes_max;
    let bound = BYTES_EACH * (u64::from(announced) + content.len() as u64) + BYTES_BESIDE;
    assert!(taken <= bound, "{taken} bytes for {announced} announced and {} there", content.len());
    if let Some(commit) = decoded {
        let mut again = Vec::new();
        encode_batch(&commit, &mut again).expect("what is read can be written");
        assert_eq!(decode_batch(&again).as_ref(), Ok(&commit));
    }
}
