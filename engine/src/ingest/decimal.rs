//! Decimal numbers as text: `-?digits[.digits][e[+-]digits]`, with `e` or `E`.
//!
//! Every JSON number has this form; it also allows leading zeros. Times are floored here digit by digit, because a
//! double would round 253402300799.99999999 up into a year that does not exist.

use crate::fact::Second;

/// The last second of the year 9999.
pub const SECOND_MAX: Second = 253_402_300_799;

/// A decimal number, not yet rounded to anything.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    /// Cut to what an `i64` holds; a text is far too short for the difference to matter.
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Takes a text that as a whole is a decimal number.
    pub fn parse(text: &'a [u8]) -> Option<Decimal<'a>> {
        let negative = text.first() == Some(&b'-');
        let (whole, rest) = digits(&text[usize::from(negative)..])?;
        let (fraction, rest) = match rest.strip_prefix(b".") {
            Some(rest) => digits(rest)?,
            None => (&[][..], rest),
        };
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        Some(Decimal { negative, whole, fraction, exponent })
    }

    /// The number floored, as an observed time: `None` outside the years 1970 to 9999.
    pub fn second(self) -> Option<Second> {
        let all = || self.whole.iter().chain(self.fraction).copied();
        let zeros = all().take_while(|&digit| digit == b'0').count();
        if zeros == self.whole.len() + self.fraction.len() {
            return Some(0);
        }
        if self.negative {
            return None;
        }
        // How many significant digits stand before the point.
        let before = (self.whole.len() as i64 - zeros as i64).saturating_add(self.exponent);
        if before > 12 {
            return None;
        }
        let mut significant = all().skip(zeros);
        let second = (0..before).fold(0, |n, _| n * 10 + Second::from(significant.next().unwrap_or(b'0') - b'0'));
        (second <= SECOND_MAX).then_some(second)
    }
}

/// One or more digits and what follows them.
fn digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (len > 0).then(|| text.split_at(len))
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (sign, text) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    };
    let (digits, rest) = digits(text)?;
    let value = digits.iter().fold(0i64, |n, digit| n.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    rest.is_empty().then_some(sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(text: &str) -> Option<Second> {
        Decimal::parse(text.as_bytes()).expect(text).second()
    }

    #[test]
    fn a_fraction_is_floored_exactly() {
        assert_eq!(second("1514471990"), Some(1_514_471_990));
        assert_eq!(second("1514471990.999999999999999999999"), Some(1_514_471_990));
        assert_eq!(second("253402300799.99999999999999"), Some(SECOND_MAX), "a double would round this up");
        assert_eq!(second("1.5144719909e9"), Some(1_514_471_990));
        assert_eq!(second("15144719909E-1"), Some(1_514_471_990));
        assert_eq!(second("0.00000012e+9"), Some(120));
        assert_eq!(second("007"), Some(7));
        assert_eq!(second("0.9"), Some(0));
        assert_eq!(second("9e-99999999999999999999999"), Some(0));
    }

    #[test]
    fn beyond_the_years_it_is_none() {
        assert_eq!(second("253402300800"), None);
        assert_eq!(second("1e999999999999999999999999"), None);
        assert_eq!(second("-1"), None);
        assert_eq!(second("-0.0000001"), None, "floored it is -1");
        assert_eq!(second("-0.000"), Some(0));
        assert_eq!(second("0e999999999999999999999999"), Some(0));
    }

    #[test]
    fn other_texts_are_no_decimals() {
        for text in ["", "-", "+1", ".5", "1.", "1e", "1e+", "1 ", " 1", "0x1", "1.5.2", "1e5.0", "inf", "--1", "1_000"]
        {
            assert!(Decimal::parse(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
