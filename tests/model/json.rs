//! JSON as it stands in a log: every byte of every string, every character of every number.
//!
//! A general parser would refuse bytes that are not UTF-8 and would read numbers into machine types; both change what a
//! row says. Must stay true:
//! - A string is its bytes after unescaping; bytes that are not UTF-8 pass unchanged; a lone surrogate is U+FFFD.
//! - A number is its characters.
//! - A list or an object can give back its own text without the white space outside its strings.

/// One JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number's characters.
    Number(Vec<u8>),
    /// A string's bytes.
    Text(Vec<u8>),
    /// Elements, and the compact text.
    List(Vec<Json>, Vec<u8>),
    /// Members in written order, and the compact text.
    Object(Vec<(Vec<u8>, Json)>, Vec<u8>),
}

impl Json {
    /// The last member of this name, if this is an object that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members, _) => members.iter().rev().find(|(name, _)| name == key.as_bytes()).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text that a value in a row stands for.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        match self {
            Json::Null => Vec::new(),
            Json::Bool(true) => b"true".to_vec(),
            Json::Bool(false) => b"false".to_vec(),
            Json::Number(text) | Json::Text(text) | Json::List(_, text) | Json::Object(_, text) => text.clone(),
        }
    }
}

/// Does nesting exceed 64 anywhere, brackets inside strings aside?
pub(crate) fn is_too_deep(bytes: &[u8]) -> bool {
    let mut depth = 0_u32;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in bytes {
        if in_string {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                in_string = false;
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > 64 {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The one value that the bytes hold, white space around it allowed; `None` if they are not JSON.
///
/// The caller has made sure that the nesting is bounded.
pub(crate) fn parse(bytes: &[u8]) -> Option<Json> {
    let mut parser = Parser { bytes, at: 0 };
    parser.skip_white();
    let value = parser.value()?;
    parser.skip_white();
    (parser.at == bytes.len()).then_some(value)
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        if here {
            self.at += 1;
        }
        here
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end)? != word.as_bytes() {
            return None;
        }
        self.at = end;
        Some(value)
    }

    fn value(&mut self) -> Option<Json> {
        match self.peek()? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => Some(Json::Text(self.string()?)),
            b'[' => self.list(),
            b'{' => self.object(),
            _ => self.number(),
        }
    }

    fn list(&mut self) -> Option<Json> {
        let start = self.at;
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_white();
        if !self.take(b']') {
            loop {
                self.skip_white();
                elements.push(self.value()?);
                self.skip_white();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return None;
                }
            }
        }
        Some(Json::List(elements, compact(&self.bytes[start..self.at])))
    }

    fn object(&mut self) -> Option<Json> {
        let start = self.at;
        self.at += 1;
        let mut members = Vec::new();
        self.skip_white();
        if !self.take(b'}') {
            loop {
                self.skip_white();
                if self.peek() != Some(b'"') {
                    return None;
                }
                let name = self.string()?;
                self.skip_white();
                if !self.take(b':') {
                    return None;
                }
                self.skip_white();
                members.push((name, self.value()?));
                self.skip_white();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return None;
                }
            }
        }
        Some(Json::Object(members, compact(&self.bytes[start..self.at])))
    }

    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        let found = self.at - start;
        (found > 0).then_some(found)
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        self.take(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits()?;
        if leading_zero && whole > 1 {
            return None;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Some(Json::Number(self.bytes[start..self.at].to_vec()))
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(text),
                b'\\' => self.escape(&mut text)?,
                0..=0x1f => return None,
                _ => text.push(byte),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' => text.push(byte),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'u' => {
                let unit = self.hex4()?;
                let mut point = u32::from(unit);
                if (0xd800..0xdc00).contains(&unit) && self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.hex4()?;
                    if (0xdc00..0xe000).contains(&low) {
                        point = 0x10000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
                    } else {
                        self.at = back;
                    }
                }
                let letter = char::from_u32(point).unwrap_or('\u{fffd}');
                text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
        Some(())
    }

    fn hex4(&mut self) -> Option<u16> {
        let four = self.bytes.get(self.at..self.at + 4)?;
        let mut unit = 0_u16;
        for &digit in four {
            unit = unit * 16 + u16::try_from(char::from(digit).to_digit(16)?).ok()?;
        }
        self.at += 4;
        Some(unit)
    }
}

/// The same JSON without white space outside strings.
fn compact(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    let mut in_string = false;
    let mut escaped = false;
    for &byte in raw {
        if in_string {
            text.push(byte);
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                in_string = false;
            }
        } else if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            text.push(byte);
            in_string = byte == b'"';
        }
    }
    text
}

/// Appends a string as compact JSON: quotes, backslashes and control characters escaped, all else as it is.
pub(crate) fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
