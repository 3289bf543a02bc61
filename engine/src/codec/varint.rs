#![doc = include_str!("varint.md")]

use super::Fault;

/// No varint is longer.
pub const BYTES_MAX: usize = 10;

/// Appends an unsigned integer.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes an unsigned integer to the front of bytes that have room for it; tells how many it takes.
pub fn write_u64(to: &mut [u8], mut value: u64) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        to[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    to[at] = value as u8;
    at + 1
}

/// Appends a signed integer.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, fold(value));
}

/// How many bytes [`put_u64`] appends.
pub fn len_u64(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// How many bytes [`put_i64`] appends.
pub fn len_i64(value: i64) -> usize {
    len_u64(fold(value))
}

/// Takes an unsigned integer off the front.
#[inline]
pub fn take_u64(bytes: &mut &[u8]) -> Result<u64, Fault> {
    match bytes.first() {
        Some(&byte) if byte < 0x80 => {
            *bytes = &bytes[1..];
            Ok(u64::from(byte))
        }
        _ => take_long(bytes),
    }
}

fn take_long(bytes: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            if (byte == 0 && i > 0) || (i == BYTES_MAX - 1 && byte > 1) {
                return Err(Fault::Varint { last: byte, bytes: i as u8 + 1 });
            }
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    match bytes.get(BYTES_MAX - 1) {
        Some(&last) => Err(Fault::Varint { last, bytes: BYTES_MAX as u8 }),
        None => Err(Fault::Length { needed: bytes.len() as u64 + 1, found: bytes.len() as u64 }),
    }
}

/// Takes a signed integer off the front.
pub fn take_i64(bytes: &mut &[u8]) -> Result<i64, Fault> {
    take_u64(bytes).map(unfold)
}

/// Zigzag: small magnitudes become small.
pub fn fold(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`fold`].
pub fn unfold(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, value);
        out
    }

    #[test]
    fn the_page_tells_the_bytes() {
        let page = include_str!("varint.md");
        for (text, value) in
            [("0", 0), ("127", 127), ("128", 128), ("300", 300), ("2^64 - 1", u64::MAX), ("signed -1", 1)]
        {
            let hex: Vec<String> = bytes(value).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(page.contains(&format!("\n| {text} | `{}` |", hex.join(" "))), "{text}");
        }
        assert!(page.contains(&format!("Worst case: {BYTES_MAX} bytes")));
        assert_eq!([0, -1, 1, -2].map(fold), [0, 1, 2, 3]);
    }

    #[test]
    fn only_the_shortest_form_is_taken() {
        let fault = |bytes: &[u8]| take_u64(&mut &*bytes).unwrap_err();
        assert_eq!(fault(&[0x80, 0]), Fault::Varint { last: 0, bytes: 2 });
        assert_eq!(fault(&[]), Fault::Length { needed: 1, found: 0 });
        assert_eq!(fault(&[0xff; 9]), Fault::Length { needed: 10, found: 9 });
        assert_eq!(fault(&[0xff; 12]), Fault::Varint { last: 0xff, bytes: 10 });
        let mut over = bytes(u64::MAX);
        over[9] = 2;
        assert_eq!(fault(&over), Fault::Varint { last: 2, bytes: 10 });
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let out = bytes(value);
            prop_assert_eq!(out.len(), len_u64(value));
            let mut rest = &out[..];
            prop_assert_eq!(take_u64(&mut rest), Ok(value));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(fold(unfold(value)), value);
        }

        #[test]
        fn what_is_taken_would_be_put_so(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = &bytes[..];
            if let Ok(value) = take_u64(&mut rest) {
                prop_assert_eq!(&self::bytes(value)[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
