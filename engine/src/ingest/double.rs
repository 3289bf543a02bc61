//! The one rewriting of values: text of DOUBLE columns in the form that newer agents write.
//!
//! Agents before 5.13 wrote 17 significant digits and later ones 15, so one value has two texts and a removed row may
//! not equal the row that was added. Both become C's `%.15g`, with `.0` added if neither point nor exponent is left.
//!
//! Invariants:
//! - Rounding is from the exact value of the double, ties to the even digit, as glibc does it.
//! - Rewriting is idempotent.

use super::decimal::Decimal;
use std::io::Write;
use std::ops::Deref;

/// Significant digits of `%.15g`.
const DIGITS: usize = 15;

/// A rewritten text, held in place.
#[derive(Clone, Copy)]
pub struct DoubleText {
    bytes: [u8; 24],
    len: usize,
}

impl DoubleText {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl Deref for DoubleText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The text as `%.15g` writes it; `None` if it is no decimal number or none that is finite as a double.
pub fn rewrite(text: &[u8]) -> Option<DoubleText> {
    Decimal::parse(text)?;
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then(|| format(value))
}

/// A finite double as `%.15g` writes it, with `.0` where that leaves an integer.
pub fn format(value: f64) -> DoubleText {
    debug_assert!(value.is_finite());
    // One digit, the point, fourteen digits, `e`, the exponent: of a sign apart never more than 21 bytes.
    let mut scientific = [0u8; 24];
    let mut rest = &mut scientific[..];
    let written = write!(rest, "{:.*e}", DIGITS - 1, value.abs());
    debug_assert!(written.is_ok());
    let unused = rest.len();
    let (digits, exponent) = split(&scientific[..scientific.len() - unused]);
    let kept = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..kept];

    let mut out = DoubleText { bytes: [0; 24], len: 0 };
    if value.is_sign_negative() {
        out.push(b"-");
    }
    match exponent {
        0..15 => {
            let whole = exponent as usize + 1;
            let (before, after) = digits.split_at(whole.min(kept));
            out.push(before);
            out.push(&[b'0'; DIGITS][..whole - before.len()]);
            out.push(b".");
            out.push(if after.is_empty() { b"0" } else { after });
        }
        -4..0 => {
            out.push(b"0.");
            out.push(&[b'0'; 3][..(-exponent - 1) as usize]);
            out.push(digits);
        }
        _ => {
            out.push(&digits[..1]);
            if kept > 1 {
                out.push(b".");
                out.push(&digits[1..]);
            }
            out.push(if exponent < 0 { b"e-" } else { b"e+" });
            let size = exponent.unsigned_abs();
            if size >= 100 {
                out.push(&[b'0' + (size / 100) as u8]);
            }
            out.push(&[b'0' + (size / 10 % 10) as u8, b'0' + (size % 10) as u8]);
        }
    }
    out
}

/// The fifteen digits and the exponent of Rust's `d.dddddddddddddde-x`.
fn split(scientific: &[u8]) -> ([u8; DIGITS], i32) {
    let mut digits = [b'0'; DIGITS];
    let (mantissa, exponent) = match scientific.iter().position(|&byte| byte == b'e') {
        Some(e) => (&scientific[..e], &scientific[e + 1..]),
        None => (scientific, &[][..]),
    };
    for (digit, byte) in digits.iter_mut().zip(mantissa.iter().filter(|&&byte| byte != b'.')) {
        *digit = *byte;
    }
    let negative = exponent.first() == Some(&b'-');
    let size = exponent.iter().filter(|byte| byte.is_ascii_digit());
    let size = size.fold(0, |n, digit| n * 10 + i32::from(digit - b'0'));
    (digits, if negative { -size } else { size })
}
