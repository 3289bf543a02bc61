//! Decimal numbers as text: their exact value, their floor, and C's `%.15g`.
//!
//! Must stay true: values are compared and floored exactly, as decimals, never through a machine's float.

/// An exact decimal: `0.d₁d₂… × 10^point`, without leading or trailing zeros; zero has no digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

/// Reads `-?digits[.digits][e[+-]digits]`, the whole of the text, `E` too.
pub(crate) fn decimal(text: &[u8]) -> Option<Decimal> {
    let (negative, rest) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.iter().position(|&b| b == b'e' || b == b'E') {
        Some(at) => (&rest[..at], exponent(&rest[at + 1..])?),
        None => (rest, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|&b| b == b'.') {
        Some(at) => (&mantissa[..at], Some(&mantissa[at + 1..])),
        None => (mantissa, None),
    };
    if !is_digits(whole) || fraction.is_some_and(|f| !is_digits(f)) {
        return None;
    }
    let mut digits = whole.to_vec();
    digits.extend_from_slice(fraction.unwrap_or_default());
    let mut point = i64::try_from(whole.len()).ok()?.saturating_add(exponent);
    let zeros = digits.iter().take_while(|&&d| d == b'0').count();
    digits.drain(..zeros);
    point = point.saturating_sub(i64::try_from(zeros).ok()?);
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    if digits.is_empty() {
        return Some(Decimal { negative: false, digits, point: 0 });
    }
    Some(Decimal { negative, digits, point })
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// An exponent; one beyond the machine's integers is as far as they go.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if !is_digits(digits) {
        return None;
    }
    let mut value = 0_i64;
    for &digit in digits {
        value = value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    }
    let bounded = value.min(i64::MAX / 4);
    Some(if negative { -bounded } else { bounded })
}

impl Decimal {
    /// The largest integer that is not above; `None` beyond ±10^15.
    pub(crate) fn floor(&self) -> Option<i64> {
        if self.point > 15 {
            return None;
        }
        let whole_len = usize::try_from(self.point.max(0)).ok()?;
        let mut whole = 0_i64;
        for at in 0..whole_len {
            whole = whole * 10 + self.digits.get(at).map_or(0, |d| i64::from(d - b'0'));
        }
        let has_fraction = self.digits.len() > whole_len;
        Some(match (self.negative, has_fraction) {
            (false, _) => whole,
            (true, false) => -whole,
            (true, true) => -whole - 1,
        })
    }
}

/// An unsigned integer of 64 bits, written in decimal digits alone.
pub(crate) fn unsigned(text: &[u8]) -> Option<u64> {
    if !is_digits(text) {
        return None;
    }
    let mut value = 0_u64;
    for &digit in text {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

/// The canonical text of a DOUBLE column: C's `%.15g`, with `.0` if it then has neither point nor exponent; `None` where
/// the text is no finite decimal number.
pub(crate) fn double_text(text: &[u8]) -> Option<Vec<u8>> {
    decimal(text)?;
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    let scientific = format!("{value:.14e}");
    let (mantissa, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let mut out = sign.to_owned();
    if (-4..15).contains(&exponent) {
        let (whole, fraction) = if exponent < 0 {
            let zeros = "0".repeat(usize::try_from(-exponent - 1).ok()?);
            ("0".to_owned(), format!("{zeros}{digits}"))
        } else {
            let cut = usize::try_from(exponent + 1).ok()?;
            (digits[..cut].to_owned(), digits[cut..].to_owned())
        };
        let fraction = fraction.trim_end_matches('0');
        out.push_str(&whole);
        out.push('.');
        out.push_str(if fraction.is_empty() { "0" } else { fraction });
    } else {
        let fraction = digits[1..].trim_end_matches('0');
        out.push_str(&digits[..1]);
        if !fraction.is_empty() {
            out.push('.');
            out.push_str(fraction);
        }
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        out.push_str(&format!("e{exponent_sign}{:02}", exponent.abs()));
    }
    Some(out.into_bytes())
}
