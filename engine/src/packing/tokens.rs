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

const DIGIT: u8 = 1;
const LETTER: u8 = 2;
const HEX_LOWER: u8 = 4;
const HEX_UPPER: u8 = 8;
const ASCII: u8 = 16;

/// What each byte may be; a byte that stands between is none of it.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT | HEX_LOWER | HEX_UPPER | ASCII,
            b'a'..=b'f' => LETTER | HEX_LOWER | ASCII,
            b'A'..=b'F' => LETTER | HEX_UPPER | ASCII,
            b'g'..=b'z' | b'G'..=b'Z' => LETTER | ASCII,
            0x80.. => LETTER,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

#[inline]
fn kind(byte: u8) -> u8 {
    KINDS[usize::from(byte)]
}

/// How many bytes from the front are of a kind.
#[inline]
fn run(text: &[u8], of: u8) -> usize {
    text.iter().position(|byte| kind(*byte) & of == 0).unwrap_or(text.len())
}

/// Cuts a text into tokens, which replace those in `tokens`; `false` if it has too many bytes or tokens.
pub(super) fn tokenize(text: &[u8], tokens: &mut Vec<Token>) -> bool {
    tokens.clear();
    if text.len() > TEXT_BYTES_MAX {
        return false;
    }
    let mut at = 0;
    while at < text.len() {
        if tokens.len() >= TOKENS_MAX {
            return false;
        }
        let rest = &text[at..];
        let (class, len) = first_token(rest);
        tokens.push(Token { class, start: at as u32, end: (at + len) as u32 });
        at += len;
    }
    true
}

/// The class and length of the token at the front of a text that is not empty.
///
/// Letters and digits that change more than once are one token, mixed; those that change once are two.
fn first_token(text: &[u8]) -> (Class, usize) {
    let first = kind(text[0]);
    if first == 0 {
        let between = text.iter().position(|byte| kind(*byte) != 0).unwrap_or(text.len());
        return (Class::Between, between);
    }
    let all = run(text, DIGIT | LETTER);
    if all == 8 && is_uuid(text) {
        return (Class::Uuid, UUID_BYTES);
    }
    let like_first = run(&text[..all], first & (DIGIT | LETTER));
    let changes_again = like_first < all && {
        let next = &text[like_first..all];
        run(next, kind(next[0]) & (DIGIT | LETTER)) < next.len()
    };
    if first & DIGIT != 0 && !changes_again && like_first <= DIGITS_MAX {
        let class = if text[0] == b'0' && like_first > 1 { Class::Padded(like_first as u8) } else { Class::Digits };
        return (class, like_first);
    }
    if (changes_again || first & DIGIT != 0) && all <= 255 {
        let common = text[..all].iter().fold(ASCII | HEX_LOWER | HEX_UPPER, |common, byte| common & kind(*byte));
        if common & HEX_LOWER != 0 {
            return (Class::Mixed(Alphabet::HexLower, all as u8), all);
        }
        if common & HEX_UPPER != 0 {
            return (Class::Mixed(Alphabet::HexUpper, all as u8), all);
        }
        if common & ASCII != 0 {
            return (Class::Mixed(Alphabet::Alphanumeric, all as u8), all);
        }
    }
    // What is too long for a number, or has letters beyond ASCII, is taken apart.
    if first & DIGIT != 0 {
        let len = like_first.min(DIGITS_MAX);
        let class = if text[0] == b'0' && len > 1 { Class::Padded(len as u8) } else { Class::Digits };
        return (class, len);
    }
    (Class::Letters, like_first)
}

/// The length of the token of a class at the front of a text, if there is one: of what may stand in a slot, as much as
/// there is.
#[inline]
pub(super) fn take_class(text: &[u8], class: Class) -> Option<usize> {
    let len = match class {
        Class::Between => 0,
        Class::Digits => run(text, DIGIT).min(DIGITS_MAX),
        Class::Padded(digits) => {
            let digits = usize::from(digits);
            let found = run(text, DIGIT);
            if found == digits { digits } else { 0 }
        }
        Class::Letters => run(text, LETTER),
        Class::Mixed(alphabet, len) => {
            let kind = match alphabet {
                Alphabet::HexLower => HEX_LOWER,
                Alphabet::HexUpper => HEX_UPPER,
                Alphabet::Alphanumeric => ASCII,
            };
            let len = usize::from(len);
            if text.len() >= len && run(&text[..len], kind) == len { len } else { 0 }
        }
        Class::Uuid => {
            if is_uuid(text) {
                UUID_BYTES
            } else {
                0
            }
        }
    };
    (len > 0).then_some(len)
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() >= UUID_BYTES
        && text[..UUID_BYTES].iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
        && text.get(UUID_BYTES).is_none_or(|&byte| kind(byte) == 0)
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

/// The most bytes that [`put_digits`] touches.
pub(super) const DIGITS_ROOM: usize = 24;

/// The digits of a number below 10^8, with leading zeros, as the bytes 0 to 9 of a little-endian word.
///
/// First fours, then pairs, then single digits, all at once; the divisions are multiplications that are exact below
/// the bound of each.
#[inline]
fn eight_digits(value: u64) -> u64 {
    let (high, low) = (value / 10_000, value % 10_000);
    let fours = high | low << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
}

const ZEROS: u64 = u64::from_le_bytes(*b"00000000");

/// Writes a number in decimal to the front of the bytes, and says how many digits it has.
#[inline]
pub(super) fn put_digits(value: u64, out: &mut [u8; DIGITS_ROOM]) -> usize {
    const SPLIT: u64 = 100_000_000;
    if value < SPLIT {
        return put_few_digits(value, out);
    }
    let len = put_digits_above(value / SPLIT, out);
    out[len..len + 8].copy_from_slice(&(eight_digits(value % SPLIT) | ZEROS).to_le_bytes());
    len + 8
}

/// As [`put_digits`], below 10^12.
#[inline]
fn put_digits_above(value: u64, out: &mut [u8; DIGITS_ROOM]) -> usize {
    const SPLIT: u64 = 100_000_000;
    if value < SPLIT {
        return put_few_digits(value, out);
    }
    let len = put_few_digits(value / SPLIT, out);
    out[len..len + 8].copy_from_slice(&(eight_digits(value % SPLIT) | ZEROS).to_le_bytes());
    len + 8
}

/// As [`put_digits`], below 10^8.
#[inline]
fn put_few_digits(value: u64, out: &mut [u8; DIGITS_ROOM]) -> usize {
    let digits = eight_digits(value);
    // The last digit is written even if it is zero.
    let zeros = ((digits | 1 << 56).trailing_zeros() / 8) as usize;
    out[..8].copy_from_slice(&((digits | ZEROS) >> (8 * zeros)).to_le_bytes());
    8 - zeros
}
