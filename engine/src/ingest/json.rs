//! A strict JSON scanner that keeps bytes as they are.
//!
//! Agents write values that are not UTF-8 into JSON strings, and a parser that insists on UTF-8 loses the whole line
//! with them. This one checks the grammar of RFC 8259 to the letter, except that a string may hold any bytes from 0x20
//! up. It builds no tree: it hands out spans of the line and leaves unescaping to whoever needs the text.
//!
//! Invariants:
//! - Constant stack: nesting is a counter and one bit a level, limited to [`DEPTH_MAX`].
//! - Of the two faults that a text may have, the one further left is reported.
//! - A scanner never reads beyond its bytes; at their end it sees NUL, which no JSON token contains.
//!
//! Steps: [`Scanner::object`] and [`Scanner::list`] walk the members of a container whose content matters;
//! [`Scanner::value`] takes everything else in one piece.

use memchr::memchr;
use std::borrow::Cow;

/// The deepest nesting allowed; a line's own object is 1.
pub const DEPTH_MAX: u32 = 64;

/// Why a text is no JSON that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nesting went beyond [`DEPTH_MAX`].
    TooDeep,
    /// The grammar was broken.
    NotJson,
}

/// A validated JSON string, without its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The bytes between the quotes as written.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Whether the bytes it stands for are others than those written.
    pub fn is_escaped(self) -> bool {
        self.escaped
    }

    /// The bytes it stands for; `scratch` holds them if there were escapes.
    #[inline]
    pub fn bytes<'b>(self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if !self.escaped {
            return self.raw;
        }
        scratch.clear();
        unescape(self.raw, scratch);
        scratch
    }

    /// The bytes it stands for; allocates only if there were escapes.
    pub fn into_cow(self) -> Cow<'a, [u8]> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut bytes = Vec::with_capacity(self.raw.len());
        unescape(self.raw, &mut bytes);
        Cow::Owned(bytes)
    }
}

/// A validated JSON value as a span of its line.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A string.
    String(Text<'a>),
    /// A number's characters as written.
    Number(&'a [u8]),
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A list with its brackets, as written.
    List(&'a [u8]),
    /// An object with its braces, as written.
    Object(&'a [u8]),
}

/// Walks over JSON from left to right.
#[derive(Clone)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, at: 0 }
    }

    /// The byte at hand; NUL at the end.
    #[inline]
    pub fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Whether every byte was consumed.
    #[inline]
    pub fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Passes over bytes that are known to be whole tokens.
    #[inline]
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// What was not consumed.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at.min(self.bytes.len())..]
    }

    /// How many bytes were consumed.
    #[inline]
    pub fn position(&self) -> usize {
        self.at
    }

    /// What was consumed since `start`.
    #[inline]
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Consumes white space.
    #[inline]
    pub fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Consumes white space and demands that nothing follows.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at_end() { Ok(()) } else { Err(Fault::NotJson) }
    }

    /// Consumes one value that stands inside `outer` containers.
    #[inline]
    pub fn value(&mut self, outer: u32) -> Result<Value<'a>, Fault> {
        let start = self.at;
        match self.peek() {
            b'"' => Ok(Value::String(self.text()?)),
            b'{' => self.nested(outer).map(|()| Value::Object(self.since(start))),
            b'[' => self.nested(outer).map(|()| Value::List(self.since(start))),
            b't' => self.word(b"true").map(|()| Value::True),
            b'f' => self.word(b"false").map(|()| Value::False),
            b'n' => self.word(b"null").map(|()| Value::Null),
            _ => self.number().map(|()| Value::Number(self.since(start))),
        }
    }

    /// Consumes an object; `each` gets every key and must consume exactly its value.
    #[inline]
    pub fn object(
        &mut self,
        mut each: impl FnMut(&mut Scanner<'a>, Text<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.byte(b'{')?;
        self.space();
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.key()?;
            each(self, key)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return Err(Fault::NotJson),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    /// Consumes a list; `each` must consume exactly one member.
    #[inline]
    pub fn list(&mut self, mut each: impl FnMut(&mut Scanner<'a>) -> Result<(), Fault>) -> Result<(), Fault> {
        self.byte(b'[')?;
        self.space();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            each(self)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b']' => break,
                _ => return Err(Fault::NotJson),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    /// Consumes a container with all that is in it.
    fn nested(&mut self, outer: u32) -> Result<(), Fault> {
        // One bit an open container, the innermost lowest: whether it is an object.
        let (mut objects, mut depth) = (0u64, outer);
        loop {
            // A value begins here.
            match self.peek() {
                b'"' => drop(self.text()?),
                open @ (b'{' | b'[') => {
                    if depth >= DEPTH_MAX {
                        return Err(Fault::TooDeep);
                    }
                    self.at += 1;
                    self.space();
                    if self.peek() == open + 2 {
                        self.at += 1;
                    } else {
                        depth += 1;
                        objects = (objects << 1) | u64::from(open == b'{');
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => self.number()?,
            }
            // A value ended here, and containers may end with it.
            loop {
                if depth == outer {
                    return Ok(());
                }
                self.space();
                match (self.peek(), objects & 1 == 1) {
                    (b',', in_object) => {
                        self.at += 1;
                        self.space();
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        depth -= 1;
                        objects >>= 1;
                    }
                    _ => return Err(Fault::NotJson),
                }
            }
        }
    }

    /// Consumes a key, the colon after it and the space around that.
    #[inline]
    fn key(&mut self) -> Result<Text<'a>, Fault> {
        let key = self.text()?;
        self.space();
        self.byte(b':')?;
        self.space();
        Ok(key)
    }

    #[inline]
    fn byte(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() != byte {
            return Err(Fault::NotJson);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(Fault::NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Fault::NotJson) }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Consumes a string.
    #[inline]
    pub fn text(&mut self) -> Result<Text<'a>, Fault> {
        self.byte(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_bytes(&self.bytes[self.at..]);
            match self.peek() {
                b'"' => {
                    let raw = self.since(start);
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                // A control byte, or the end.
                _ => return Err(Fault::NotJson),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' if hex(&self.bytes[self.at + 1..]).is_some() => self.at += 5,
            _ => return Err(Fault::NotJson),
        }
        Ok(())
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many leading bytes are neither a quote nor a backslash nor a control byte.
#[inline]
pub(super) fn plain_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Eight bytes at a time: a borrow can only mark bytes above a truly marked one, so the lowest mark is right.
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & HIGHS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    at + bytes[at..].iter().take_while(|byte| plain(byte)).count()
}

/// The four hexadecimal digits of a `\u` escape.
fn hex(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>()?.iter().try_fold(0, |unit, &byte| Some(unit * 16 + char::from(byte).to_digit(16)?))
}

/// Appends what a validated string stands for; a lone surrogate becomes U+FFFD.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(plain) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..plain]);
        let kind = rest.get(plain + 1).copied().unwrap_or(b'\\');
        rest = rest.get(plain + 2..).unwrap_or_default();
        match kind {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let unit;
                (unit, rest) = code_point(rest);
                let char = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
            byte => out.push(byte),
        }
    }
    out.extend_from_slice(rest);
}

/// The code point of the escape whose digits stand at the start, with a low surrogate that follows a high one.
fn code_point(bytes: &[u8]) -> (u32, &[u8]) {
    let unit = hex(bytes).unwrap_or(0xd800);
    let rest = bytes.get(4..).unwrap_or_default();
    if (0xd800..0xdc00).contains(&unit)
        && let Some(after) = rest.strip_prefix(b"\\u")
        && let Some(low @ 0xdc00..0xe000) = hex(after)
    {
        return (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), &after[4..]);
    }
    (unit, rest)
}

/// A validated value without the white space outside its strings; `scratch` holds it if there was any.
pub fn compact<'b>(raw: &'b [u8], scratch: &'b mut Vec<u8>) -> &'b [u8] {
    if !raw.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
        return raw;
    }
    scratch.clear();
    let mut scanner = Scanner::new(raw);
    while !scanner.at_end() {
        let start = scanner.at;
        match scanner.peek() {
            b'"' if scanner.text().is_ok() => scratch.extend_from_slice(scanner.since(start)),
            b' ' | b'\t' | b'\n' | b'\r' => scanner.space(),
            byte => {
                scanner.at += 1;
                scratch.push(byte);
            }
        }
    }
    scratch
}
