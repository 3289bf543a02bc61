//! A text as tokens: what may vary from row to row, and what stands between.
//!
//! Invariants:
//! - The tokens of a text are the text: nothing is left out, and no token is empty.
//! - Where a token ends follows from the bytes before and one window after; equal texts have equal tokens.

/// Longer texts are not looked at.
pub(super) const TEXT_BYTES_MAX: usize = 2048;
/// Texts of more tokens are not looked at.
pub(super) const TOKENS_MAX: usize = 96;
/// Numbers of more digits are words.
pub(super) const DIGITS_MAX: usize = 18;
/// The length of a UUID as text.
pub(super) const UUID_BYTES: usize = 36;

/// What mixed letters and digits are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Alphabet {
    /// `0-9a-f`, four bits each.
    HexLower = 0,
    /// `0-9A-F`, four bits each.
    HexUpper = 1,
    /// `0-9A-Za-z`, six bits each.
    Alphanumeric = 2,
}

impl Alphabet {
    pub(super) const ALL: [Alphabet; 3] = [Alphabet::HexLower, Alphabet::HexUpper, Alphabet::Alphanumeric];

    pub(super) fn bits(self) -> u32 {
        if self == Alphabet::Alphanumeric { 6 } else { 4 }
    }

    /// The number of a character; whatever, if it is none of the alphabet's.
    #[inline]
    pub(super) fn number(self, byte: u8) -> u8 {
        match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            _ if self == Alphabet::Alphanumeric => byte.wrapping_sub(b'a').wrapping_add(36),
            _ => byte.wrapping_sub(b'a').wrapping_add(10),
        }
    }

    /// The character of a number.
    #[inline]
    pub(super) fn character(self, number: u8) -> Option<u8> {
        match number {
            0..10 => Some(b'0' + number),
            10..16 if self == Alphabet::HexLower => Some(b'a' + number - 10),
            10..36 => Some(b'A' + number - 10),
            36..62 => Some(b'a' + number - 36),
            _ => None,
        }
    }
}

/// What kind of token; tokens of one kind can take each other's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    /// What stands between: punctuation, spaces, control bytes.
    Between,
    /// A decimal without leading zeros.
    Digits,
    /// A decimal with leading zeros, of so many digits.
    Padded(u8),
    /// Letters (all bytes from 0x80 among them), and whatever is too long for another class.
    Letters,
    /// Letters and digits mixed, so many.
    Mixed(Alphabet, u8),
    /// Eight, four, four, four and twelve small hex digits with dashes between.
    Uuid,
}

/// A piece of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) class: Class,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Token {
    #[inline]
    pub(super) fn of<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..self.end as usize]
    }
}

const BETWEEN: u8 = 0;
const DIGIT: u8 = 1;
const LETTER: u8 = 2;

const KINDS: [u8; 256] = {
    let mut kinds = [BETWEEN; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => LETTER,
            _ => BETWEEN,
        };
        byte += 1;
    }
    kinds
};

#[inline]
fn kind(byte: u8) -> u8 {
    KINDS[usize::from(byte)]
}

/// Cuts a text into tokens, which replace those in `tokens`; `false` if it has too many bytes or tokens.
pub(super) fn tokenize(text: &[u8], tokens: &mut Vec<Token>) -> bool {
    tokens.clear();
    if text.len() > TEXT_BYTES_MAX {
        return false;
    }
    let mut at = 0;
    while at < text.len() {
        if tokens.len() >= TOKENS_MAX - 1 {
            return false;
        }
        let start = at;
        let mut last = kind(text[at]);
        if last == BETWEEN {
            while at < text.len() && kind(text[at]) == BETWEEN {
                at += 1;
            }
            tokens.push(Token { class: Class::Between, start: start as u32, end: at as u32 });
            continue;
        }
        let (mut changes, mut change_at) = (0, start);
        while at < text.len() && kind(text[at]) != BETWEEN {
            if kind(text[at]) != last {
                (changes, change_at, last) = (changes + 1, at, kind(text[at]));
            }
            at += 1;
        }
        if at - start == 8 && is_uuid(&text[start..]) {
            at = start + UUID_BYTES;
            tokens.push(Token { class: Class::Uuid, start: start as u32, end: at as u32 });
            continue;
        }
        let mut push = |from: usize, to: usize| {
            tokens.push(Token { class: class_of(&text[from..to]), start: from as u32, end: to as u32 });
        };
        if changes == 1 {
            push(start, change_at);
            push(change_at, at);
        } else {
            push(start, at);
        }
    }
    true
}

/// The class of a run of letters and digits.
fn class_of(run: &[u8]) -> Class {
    let digits = run.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == run.len() && digits <= DIGITS_MAX {
        return if run[0] == b'0' && digits > 1 { Class::Padded(digits as u8) } else { Class::Digits };
    }
    if digits == 0 || digits == run.len() || run.len() > 255 || !run.is_ascii() {
        return Class::Letters;
    }
    let alphabet = if run.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        Alphabet::HexLower
    } else if run.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')) {
        Alphabet::HexUpper
    } else {
        Alphabet::Alphanumeric
    };
    Class::Mixed(alphabet, run.len() as u8)
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() >= UUID_BYTES
        && text[..UUID_BYTES].iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
        && text.get(UUID_BYTES).is_none_or(|&byte| kind(byte) == BETWEEN)
}

/// A number of digits, or `None` if it would not be written so: at most [`DIGITS_MAX`] digits, no leading zero.
#[inline]
pub(super) fn parse_digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > DIGITS_MAX || (text[0] == b'0' && text.len() > 1) {
        return None;
    }
    parse_padded(text)
}

/// A number of at most [`DIGITS_MAX`] digits, with leading zeros or without.
#[inline]
pub(super) fn parse_padded(text: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

/// An integer in canonical decimal: a number of digits, negated unless it is zero.
#[inline]
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        None => parse_digits(text).map(|value| value as i64),
        Some(rest) => parse_digits(rest).filter(|value| *value > 0).map(|value| -(value as i64)),
    }
}

/// Appends a number in decimal.
#[inline]
pub(super) fn put_digits(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
