//! The writer of JSON's own words: commas, strings of arbitrary bytes, times.

use crate::when::calendar::{write_micros, write_second};
use erstwhile_engine::fact::{Micros, Second};
use std::io::{self, Write};

/// Bytes that are gathered before they are handed on.
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes JSON without white space, field by field.
pub(crate) struct Json<'w> {
    out: &'w mut dyn Write,
    buffer: Vec<u8>,
    comma: bool,
    lossy: bool,
}

impl<'w> Json<'w> {
    pub(crate) fn new(out: &'w mut dyn Write) -> Json<'w> {
        Json { out, buffer: Vec::new(), comma: false, lossy: false }
    }

    /// Hands on everything.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        self.out.flush()
    }

    /// Ends a top-level value with a newline.
    pub(crate) fn line(&mut self) -> io::Result<()> {
        self.buffer.push(b'\n');
        self.comma = false;
        self.hand_on()
    }

    /// Hands on what is there if it is much.
    pub(crate) fn hand_on(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER_BYTES {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn separate(&mut self) {
        if std::mem::replace(&mut self.comma, true) {
            self.buffer.push(b',');
        }
    }

    pub(crate) fn open(&mut self, bracket: u8) {
        self.separate();
        self.buffer.push(bracket);
        self.comma = false;
    }

    pub(crate) fn close(&mut self, bracket: u8) {
        self.buffer.push(bracket);
        self.comma = true;
    }

    /// Opens an object that [`Json::close_entry`] closes, with `"lossy":true` if a text in it was not UTF-8.
    pub(crate) fn entry(&mut self) {
        self.open(b'{');
        self.lossy = false;
    }

    pub(crate) fn close_entry(&mut self) {
        if std::mem::take(&mut self.lossy) {
            self.bool("lossy", true);
        }
        self.close(b'}');
    }

    pub(crate) fn key(&mut self, key: &str) {
        self.text_key(key.as_bytes());
    }

    pub(crate) fn text_key(&mut self, key: &[u8]) {
        self.string(key);
        self.buffer.push(b':');
        self.comma = false;
    }

    pub(crate) fn text(&mut self, key: &str, text: &[u8]) {
        self.key(key);
        self.string(text);
    }

    pub(crate) fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        self.value(format_args!("{number}"));
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.key(key);
        self.value(format_args!("{value}"));
    }

    pub(crate) fn null(&mut self, key: &str) {
        self.key(key);
        self.value(format_args!("null"));
    }

    /// A bare value whose text is JSON already.
    pub(crate) fn value(&mut self, value: std::fmt::Arguments<'_>) {
        self.separate();
        // A vector takes every byte.
        let _ = self.buffer.write_fmt(value);
    }

    pub(crate) fn second(&mut self, key: &str, second: Option<Second>) {
        let Some(second) = second else {
            return self.null(key);
        };
        self.key(key);
        self.separate();
        self.buffer.push(b'"');
        let _ = write_second(&mut self.buffer, second);
        self.buffer.push(b'"');
    }

    pub(crate) fn micros(&mut self, key: &str, micros: Option<Micros>) {
        let Some(micros) = micros else {
            return self.null(key);
        };
        self.key(key);
        self.separate();
        self.buffer.push(b'"');
        let _ = write_micros(&mut self.buffer, micros);
        self.buffer.push(b'"');
    }

    /// A string; what is not UTF-8 becomes U+FFFD and is remembered.
    pub(crate) fn string(&mut self, text: &[u8]) {
        self.separate();
        self.buffer.push(b'"');
        for chunk in text.utf8_chunks() {
            self.escaped(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                self.lossy = true;
                self.buffer.extend("\u{fffd}".as_bytes());
            }
        }
        self.buffer.push(b'"');
    }

    fn escaped(&mut self, text: &[u8]) {
        let mut plain = 0;
        for (i, &byte) in text.iter().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.buffer.extend(&text[plain..i]);
            plain = i + 1;
            let short = match byte {
                b'"' | b'\\' => byte,
                8 => b'b',
                9 => b't',
                10 => b'n',
                12 => b'f',
                13 => b'r',
                _ => {
                    let _ = write!(self.buffer, "\\u{byte:04x}");
                    continue;
                }
            };
            self.buffer.extend([b'\\', short]);
        }
        self.buffer.extend(&text[plain..]);
    }
}

#[cfg(test)]
mod tests {
    use super::Json;

    fn string(text: &[u8]) -> (String, bool) {
        let mut out = Vec::new();
        let mut json = Json::new(&mut out);
        json.string(text);
        let lossy = json.lossy;
        json.flush().unwrap();
        (String::from_utf8(out).unwrap(), lossy)
    }

    #[test]
    fn a_string_is_what_serde_json_reads_back() {
        for text in ["", "plain", "q\"\\/\u{1}\u{1f}\u{7f}\n\r\t\u{8}\u{c}é\u{2028}😀"] {
            let (written, lossy) = string(text.as_bytes());
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
            assert!(!lossy);
        }
    }

    #[test]
    fn each_maximal_invalid_part_is_one_replacement() {
        for bytes in [&b"a\xff\xfeb"[..], b"\xe2\x82", b"\xf0\x9f\x98x\xe2", b"\xed\xa0\x80"] {
            let (written, lossy) = string(bytes);
            assert_eq!(written, format!("\"{}\"", String::from_utf8_lossy(bytes)));
            assert!(lossy);
        }
    }
}
